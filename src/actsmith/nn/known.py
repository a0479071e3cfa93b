"""What is known of activations by name: torch's functions, and the classes of torch, transformers and timm.

What a module or function computes is for `actsmith.nn.recognise` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula
from actsmith.nn.activation import Activation

__all__ = ["CLAMPS", "FUNCTIONS", "formula_of_call", "formula_of_class", "is_known", "may_be_activation"]


def _gelu(approximate: str = "none") -> Formula:
    return get_activation("gelu_tanh" if approximate == "tanh" else "gelu")


def _leaky_relu(negative_slope: float = 0.01) -> Formula:
    if 0 <= negative_slope <= 1:
        return get_activation("leaky_relu", slope=negative_slope)
    return Formula("where(x, x, slope*x)", {"slope": negative_slope}, "leaky_relu")


def _rrelu(lower: float = 1 / 8, upper: float = 1 / 3) -> Formula:
    return _leaky_relu((lower + upper) / 2)  # what it is in evaluation


def _softplus(beta: float = 1.0, threshold: float = 20.0) -> Formula:
    del threshold  # beyond it the difference from x is below exp(-threshold)/beta
    return get_activation("softplus") if beta == 1 else Formula("softplus(beta*x)/beta", {"beta": beta}, "softplus")


def _hardtanh(min_val: float = -1.0, max_val: float = 1.0) -> Formula:
    if (min_val, max_val) == (-1.0, 1.0):
        return get_activation("hardtanh")
    return Formula("clip(x, low, high)", {"low": min_val, "high": max_val}, "hardtanh")


def _clamp(min: float | None = None, max: float | None = None) -> Formula:
    if min is not None and max is not None:
        return Formula("clip(x, low, high)", {"low": min, "high": max})
    if min is not None:
        return Formula("max(x, low)", {"low": min})
    return get_activation("identity") if max is None else Formula("min(x, high)", {"high": max})


def _elu(alpha: float = 1.0) -> Formula:
    return get_activation("elu", alpha=alpha)


def _celu(alpha: float = 1.0) -> Formula:
    return get_activation("celu", alpha=alpha)


def _softshrink(lambd: float = 0.5) -> Formula:
    return get_activation("softshrink", lambd=lambd)


def _hardshrink(lambd: float = 0.5) -> Formula:
    return get_activation("hardshrink", lambd=lambd)


FUNCTIONS = frozenset((
    "celu", "elu", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid",
    "log_sigmoid", "mish", "relu", "relu6", "rrelu", "selu", "sigmoid", "silu", "softplus", "softshrink", "softsign",
    "tanh", "tanhshrink", "threshold", "clamp", "clip", "clamp_min", "expit",
))  # fmt: skip
"""Functions of torch that are activations, by name without a trailing underscore."""
CLAMPS = ("clamp", "clip", "clamp_min")
"""Those that are activations with some arguments alone."""

_WITH_ARGUMENTS: dict[str, tuple[tuple[str, ...], Callable[..., Formula]]] = {
    "gelu": (("approximate",), _gelu),
    "leaky_relu": (("negative_slope",), _leaky_relu),
    "rrelu": (("lower", "upper"), _rrelu),
    "softplus": (("beta", "threshold"), _softplus),
    "hardtanh": (("min_val", "max_val"), _hardtanh),
    "clamp": (("min", "max"), _clamp),
    "clip": (("min", "max"), _clamp),
    "elu": (("alpha",), _elu),
    "celu": (("alpha",), _celu),
    "softshrink": (("lambd",), _softshrink),
    "hardshrink": (("lambd",), _hardshrink),
}
_CATALOGUE = (
    "relu", "relu6", "selu", "silu", "mish", "tanh", "sigmoid", "softsign", "hardswish", "hardsigmoid", "logsigmoid",
    "erf", "sin",
)  # fmt: skip
_TEXT = {
    "tanhshrink": "x - tanh(x)", "exp": "exp(x)", "expm1": "expm1(x)", "log1p": "log1p(x)", "cos": "cos(x)",
    "arctan": "atan(x)", "atan": "atan(x)", "square": "x**2", "abs": "abs(x)", "absolute": "abs(x)", "neg": "-x",
    "sqrt": "sqrt(x)", "sinh": "sinh(x)", "cosh": "cosh(x)", "asinh": "asinh(x)", "sign": "sign(x)",
}  # fmt: skip
_MODULES: dict[type[nn.Module], str] = {
    nn.CELU: "celu", nn.ELU: "elu", nn.GELU: "gelu", nn.Hardshrink: "hardshrink", nn.Hardsigmoid: "hardsigmoid",
    nn.Hardswish: "hardswish", nn.ReLU6: "relu6", nn.Hardtanh: "hardtanh", nn.LeakyReLU: "leaky_relu",
    nn.LogSigmoid: "logsigmoid", nn.Mish: "mish", nn.ReLU: "relu", nn.RReLU: "rrelu", nn.SELU: "selu",
    nn.SiLU: "silu", nn.Sigmoid: "sigmoid", nn.Softplus: "softplus", nn.Softshrink: "softshrink",
    nn.Softsign: "softsign", nn.Tanh: "tanh", nn.Tanhshrink: "tanhshrink",
}  # fmt: skip


_PACKAGES = ("transformers.activations", "timm.layers.activations")
_NOT_ACTIVATIONS = ("LinearActivation",)


def formula_of_call(name: str, arguments: Sequence[Any] = (), keywords: dict[str, Any] | None = None) -> Formula | None:
    """The formula of a torch function or tensor method by its name; `arguments` without the tensor itself.

    None where it is no elementwise function that is known, or an argument is no plain number.

    >>> formula_of_call("leaky_relu", (0.2,)).text
    'where(x, x, slope*x)'
    """
    name = name.removesuffix("_").removeprefix("special_")
    name = "logsigmoid" if name == "log_sigmoid" else name
    if name in _CATALOGUE:
        return get_activation(name)
    if name in _TEXT:
        return Formula(_TEXT[name], name=name if name == "tanhshrink" else None)
    if name not in _WITH_ARGUMENTS:
        return None
    names, build = _WITH_ARGUMENTS[name]
    values = dict(zip(names, arguments, strict=False)) | {k: v for k, v in (keywords or {}).items() if k in names}
    plain = all(isinstance(v, int | float | str | None) for v in values.values())
    return build(**values) if plain else None


def is_known(module: nn.Module) -> bool:
    """Whether it is an activation by its class: of torch, ours, or of transformers' or timm's activations."""
    kind = type(module)
    listed = kind.__module__.startswith(_PACKAGES) and kind.__name__ not in _NOT_ACTIVATIONS
    return isinstance(module, (Activation, nn.PReLU, nn.Threshold, *_MODULES)) or listed


def may_be_activation(module: nn.Module) -> bool:
    """Whether it is known, or may be one by what it computes: of another class than torch's, with no children and no
    state but scalars and per-channel vectors that are learned."""
    if next(module.children(), None) is not None:
        return False
    other = not type(module).__module__.startswith("torch.nn.")
    plain = all(p.ndim <= 1 for p in module.parameters()) and next(module.buffers(), None) is None
    return is_known(module) or (other and plain)


def formula_of_class(module: nn.Module) -> Formula | None:
    """The formula that torch's own class says, with the module's arguments; None for others, and for a subclass or an
    instance with a forward of its own.

    >>> formula_of_class(nn.ELU(alpha=0.5)).params["alpha"].value
    0.5
    """
    for kind, name in _MODULES.items():
        if isinstance(module, kind) and type(module).forward is kind.forward and "forward" not in vars(module):
            names = _WITH_ARGUMENTS.get(name, ((), None))[0]
            return formula_of_call(name, (), {n: getattr(module, n) for n in names})
    return None
