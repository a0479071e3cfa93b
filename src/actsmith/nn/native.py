"""Formulas that torch has a kernel for, which then gives their value: bit for bit as torch, on every route and device.

Only kernels that are right to rounding wherever the formula is finite, give an element the same value wherever it
stands in memory, and can be differentiated twice in graphs. That leaves out GELU (torch's is 0 below x = -6 and NaN at
infinity), sigmoid and SiLU (which differ in the last place between the vectors and the rest of a tensor) and hard
sigmoid. Derivatives are Actsmith's own on every order: torch's of tanh vanishes from x = 9 on.

torch's tanh takes up to five times as long as a generated kernel, as `nn.Tanh` does: the price of its bits. Others that
a generated kernel computes several times faster, to 2 units in the last place (erf, sin, softplus, mish, ELU), stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import sympy as sp
import torch
from torch import Tensor
from torch.nn import functional

from actsmith.formula.catalogue import get_activation

__all__ = ["NATIVE", "native"]

NATIVE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "hardswish": functional.hardswish,
}
"""By name in the catalogue."""


def native(expression: sp.Expr) -> Callable[[Tensor], Tensor] | None:
    """torch's function of that expression in x, if it has one."""
    return _by_expression().get(expression)


@cache
def _by_expression() -> dict[sp.Expr, Callable[[Tensor], Tensor]]:
    return {get_activation(name).bound: function for name, function in NATIVE.items()}
