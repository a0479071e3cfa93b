"""Which modules of a model are activations: by class, and by what they do where the class is unknown."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from actsmith.nn.activation import Activation

__all__ = ["LOOKED_FOR", "activation_modules", "is_activation"]

LOOKED_FOR = (
    "modules of torch.nn's elementwise activations, of actsmith.nn.Activation, of the transformers and timm "
    "activation classes, and other modules without children whose output is a nonlinear elementwise function of "
    "their input; calls of functions such as torch.nn.functional.relu are no modules and are not seen"
)

_TORCH = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid,
    nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6, nn.RReLU, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Softshrink,
    nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Threshold,
)  # fmt: skip
_PACKAGES = ("transformers.activations", "timm.layers.activations")
_NOT_ACTIVATIONS = ("LinearActivation",)


def activation_modules(model: nn.Module) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    """The modules of `model` that are activations by class, and those that may be (see `is_activation`), by path."""
    known: dict[str, nn.Module] = {}
    possible: dict[str, nn.Module] = {}
    for path, module in model.named_modules():
        if next(module.children(), None) is not None:
            continue
        if _is_known(module):
            known[path] = module
        elif _may_be(module):
            possible[path] = module
    return known, possible


def _is_known(module: nn.Module) -> bool:
    kind = type(module)
    listed = kind.__module__.startswith(_PACKAGES) and kind.__name__ not in _NOT_ACTIVATIONS
    return isinstance(module, (*_TORCH, Activation)) or listed


def _may_be(module: nn.Module) -> bool:
    """Of a class not in torch.nn, with no state but scalars and per-channel vectors that are learned."""
    ours = not type(module).__module__.startswith("torch.nn.")
    return ours and all(p.ndim <= 1 for p in module.parameters()) and next(module.buffers(), None) is None


@torch.no_grad()
def is_activation(module: nn.Module, x: Tensor) -> bool:
    """Whether `module`, in evaluation mode, is elementwise and nonlinear around the input x.

    Elementwise: changing every other element leaves the outputs at the rest as they are. Nonlinear: a second difference
    over the scale of x does not vanish, so neither dropout nor a layer scale passes.
    """
    if not x.is_floating_point() or x.numel() < 2:
        return False
    step = float(x.float().std()) or 1.0
    rest = torch.zeros(x.numel(), dtype=torch.bool, device=x.device)
    rest[::2] = True
    rest = rest.reshape(x.shape)
    f = [module.forward(x.clone()), module.forward(torch.where(rest, x, x + step))]
    if not all(isinstance(y, Tensor) and y.shape == x.shape and y.is_floating_point() for y in f):
        return False
    if not torch.equal(f[0][rest].nan_to_num(), f[1][rest].nan_to_num()):
        return False
    f = [module.forward(x + k * step).double() for k in (-2, 0, 2)]
    bend = (f[0] - 2 * f[1] + f[2]).abs().max()
    size = torch.stack(f).abs().max()
    return bool(bend > 64 * torch.finfo(x.dtype).eps * size)
