"""Drawing the weights of one layer: W ~ N(0, C_W/fan_in), or orthonormal with that variance; b ~ N(0, C_b)."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn

from actsmith.nn.following import TRANSPOSED, is_turned

__all__ = ["draw_bias", "draw_coordinates", "draw_weight", "fan_in"]


def fan_in(module: nn.Module) -> int:
    """Inputs that one output sums: of a grouped convolution those of its group; 0 where there is no one number."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    unknown = isinstance(weight, nn.parameter.UninitializedParameter) or isinstance(module, TRANSPOSED)
    return 0 if unknown else weight.numel() // max(weight.shape[1] if is_turned(module) else len(weight), 1)


@torch.no_grad()
def draw_weight(module: nn.Module, C_W: float, orthogonal: bool, generator: torch.Generator | None) -> None:
    """Variance C_W/fan_in; `orthogonal`: orthonormal rows or, where there are more rows than inputs, columns."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    inputs = fan_in(module)
    weight = weight.T if is_turned(module) else weight  # a view: rows are outputs from here on
    if weight.numel() and orthogonal:
        # torch's has orthonormal rows (variance 1/fan_in) or, where there are more rows than that, columns (1/rows).
        wide = torch.empty(len(weight), inputs, dtype=torch.float32 if weight.itemsize < 4 else weight.dtype)
        wide = nn.init.orthogonal_(wide.to(weight.device), generator=generator)
        weight.copy_((wide * sqrt(C_W * max(1.0, len(weight) / inputs))).reshape(weight.shape))
    elif weight.numel():
        weight.normal_(0.0, sqrt(C_W / inputs), generator=generator)


@torch.no_grad()
def draw_bias(module: nn.Module, C_b: float, generator: torch.Generator | None) -> None:
    """Variance C_b, where there is a bias."""
    bias = module.bias
    if isinstance(bias, Tensor):
        bias.normal_(0.0, sqrt(C_b), generator=generator)


@torch.no_grad()
def draw_coordinates(module: nn.Module, middle: Tensor, scales: Tensor) -> None:
    """Of a drawn Linear: the same function of (x - middle) scales, whose variance as a whole was drawn already."""
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    weight.mul_((scales / scales.square().mean().sqrt()).to(weight))
    if isinstance(bias, Tensor):
        bias.sub_((weight.double() @ middle.to(weight.device)).to(bias))
