"""Critical initialisation: W ~ N(0, C_W/fan_in), b ~ N(0, C_b) (THEORY: section 2; Roberts, Yaida, Hanin 2022)."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import nn

from actsmith.errors import ActsmithError

if TYPE_CHECKING:
    from actsmith.formula.catalogue import FormulaLike

__all__ = ["critical_init_", "init_"]

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def critical_init_(
    module: nn.Module,
    formula: FormulaLike,
    C_W: float | None = None,
    C_b: float | None = None,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """Draw the Linear and Conv layers of `module` at a critical point of the activation `formula`; returns `module`.

    Args:
        module: a layer or a model; every Linear and Conv layer in it is drawn.
        formula: the activation between the layers.
        C_W, C_b: the point, both or neither; without them the first critical point of the formula.
        generator: of the randomness.

    Raises:
        ActsmithError: the formula has no critical point; one of C_W and C_b is missing or negative; no layer.
    """
    if (C_W is None) != (C_b is None):
        raise ActsmithError(f"critical_init_: got C_W={C_W}, C_b={C_b}; expected both or neither")
    if C_W is None or C_b is None:
        from actsmith.formula.catalogue import resolve
        from actsmith.theory.criticality import criticality

        f = resolve(formula)
        points = criticality(f).points
        if not points:
            raise ActsmithError(f"critical_init_: {f.name} has no critical point; give C_W and C_b")
        C_W, C_b = points[0].C_W, points[0].C_b
    return init_(module, C_W, C_b, generator)


def init_(module: nn.Module, C_W: float, C_b: float, generator: torch.Generator | None = None) -> nn.Module:
    """W ~ N(0, C_W/fan_in), b ~ N(0, C_b) in every Linear and Conv layer of `module`; returns `module`."""
    if not (C_W >= 0 and C_b >= 0):
        raise ActsmithError(f"init_: got C_W={C_W}, C_b={C_b}; expected variances, 0 or more")
    layers = [m for m in module.modules() if isinstance(m, _LAYERS)]
    if not layers:
        raise ActsmithError(f"init_: {type(module).__name__} holds no Linear or Conv layer")
    with torch.no_grad():
        for layer in layers:
            fan_in = layer.weight[0].numel()
            layer.weight.normal_(0.0, sqrt(C_W / fan_in), generator=generator)
            if layer.bias is not None:
                layer.bias.normal_(0.0, sqrt(C_b), generator=generator)
    return module
