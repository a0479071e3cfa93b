"""`SplineActivation`: an activation of any shape, learned: a C2 cubic spline with straight tails.

    f = the natural cubic spline through (knot_j, v_j), beyond the ends its tangents

f is linear in the values v at the knots: with A the constant map from values to coefficients, c = A v holds the cubic
of every cell, and f(x) = c_0 + c_1 d + c_2 d^2 + c_3 d^3 with d = x - knot of x's cell.

| symbol | meaning                                         | shape           |
|--------|-------------------------------------------------|-----------------|
| v      | values at the knots, learnable                  | (knots,)        |
| A      | values -> coefficients                          | (knots + 1, 4, knots) |
| c      | coefficients; the first and last cell are tails | (knots + 1, 4)  |
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula
from actsmith.formula.parse import X
from actsmith.formula.spline import FEWEST, MOST, Table, spline_expression
from actsmith.nn.family import compute_dtype
from actsmith.nn.jet_tensor import Jet
from actsmith.nn.leaf import recorded
from actsmith.nn.piecewise import Grid, piecewise

__all__ = ["SplineActivation"]


class SplineActivation(nn.Module):
    """A learnable C2 spline, elementwise, from any base.

    Dtype and device of the input are kept; float16 and bfloat16 are computed in float32. Derivatives of every order in
    the input and in the values are exact (the third in the input is constant in each cell, the fourth 0). On the CPU
    value and gradients are one compiled kernel each.

    Args:
        base: where the values start. Between the knots and in the tails the spline approximates it: with 32 knots on
            [-4, 4] GELU to 0.0012, and ReLU, whose kink it rounds, to 0.045. Its tails are straight.
        knots: how many, equally spaced.
        reach: they lie on [-reach, reach].

    Attributes:
        values: v, the parameter.

    Raises:
        ActsmithError: fewer than 4 or more than 4096 knots, a reach that is not positive, or a base that is not finite
            at a knot.

    Example:
        >>> act = SplineActivation("gelu")
        >>> bool((act(torch.linspace(-6, 6, 1001)) - torch.nn.GELU()(torch.linspace(-6, 6, 1001))).abs().max() < 3e-3)
        True
    """

    transform: Tensor

    def __init__(self, base: FormulaLike = "relu", knots: int = 32, reach: float = 4.0) -> None:
        super().__init__()
        if not isinstance(knots, int) or not FEWEST <= knots <= MOST or not 0 < reach < float("inf"):
            raise ActsmithError(
                f"spline activation: got knots={knots}, reach={reach}; expected {FEWEST} to {MOST} knots, reach > 0"
            )
        base = resolve(base)
        start = np.asarray(base(np.linspace(-reach, reach, knots)))
        if not np.isfinite(start).all():
            raise ActsmithError(f"spline activation: {base.name} is not finite everywhere on [-{reach:g}, {reach:g}]")
        self.name = base.name
        self.grid = Grid(-reach, 2 * reach / (knots - 1), knots + 1)
        self.reach = reach
        self.values = nn.Parameter(torch.tensor(start, dtype=torch.get_default_dtype()))
        self.register_buffer("transform", self._made_transform(), persistent=False)

    def _made_transform(self) -> Tensor:
        """A beside the values, in float32 at least; a tensor of this module's own, that autograd may save."""
        with torch.inference_mode(False):
            wide = torch.promote_types(self.values.dtype, torch.float32)
            return _transform(len(self.values), self.reach).to(self.values.device, wide, copy=True)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moves and casts the values; A is constant, so it is made anew, from its exact value."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.transform = self._made_transform()
        return self

    def forward(self, x: Any) -> Any:
        """f(x): shape, dtype and device of x."""
        if not isinstance(x, Tensor | Jet) or not x.is_floating_point():
            if (proxy := recorded(self, x)) is not None:
                return proxy
            got = f"a tensor of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
            raise ActsmithError(f"spline activation: got {got}; expected a floating-point tensor")
        wide = compute_dtype(x)
        coefficients = (self.transform.to(wide) * self.values.to(wide)).sum(-1)  # no product that autocast would round
        if isinstance(x, Jet):
            at = x.to(wide)
            return at.through(lambda k: piecewise(at.value, coefficients, self.grid, k)).to(x.dtype)
        return piecewise(x.to(wide), coefficients, self.grid).to(x.dtype)

    @property
    def formula(self) -> Formula:
        """The present shape, exactly, as a fixed formula."""
        values = self.values.detach().double().cpu().numpy()
        knots = np.linspace(-self.reach, self.reach, len(values))
        return Formula(spline_expression(X, knots, values), name=f"{self.name}+spline")

    def extra_repr(self) -> str:
        return f"from {self.name}, {len(self.values)} knots on [-{self.reach:g}, {self.reach:g}]"


@lru_cache(maxsize=16)
def _transform(knots: int, reach: float) -> Tensor:
    """A: the coefficients of the splines through the unit vectors, float64."""
    columns = [Table(-reach, reach, tuple(row)).coefficients for row in np.eye(knots).tolist()]
    return torch.from_numpy(np.stack(columns, -1))
