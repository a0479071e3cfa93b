"""Splines as formulas: a C2 cubic with straight tails, for activations that have no closed form.

    s(x) = natural cubic spline through (a + i h, v_i), i = 0 .. n-1; beyond its ends the tangent line: C2 everywhere

In an expression a spline is the SymPy function `spline(u, name, order)`: the order-th derivative, at u, of the table
that is kept under `name`. The name is a digest of the numbers, so equal splines are equal expressions, and a table
never changes under its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray
from scipy import interpolate

from actsmith.errors import FormulaError
from actsmith.formula.primitives import Primitive

__all__ = [
    "Table",
    "cell_of",
    "register",
    "spline",
    "spline_expression",
    "spline_numpy",
    "spline_torch",
    "table",
    "tables_of",
]

FEWEST, MOST = 4, 4096


@dataclass(frozen=True, eq=False)
class Table:
    """Values on equally spaced knots.

    Attributes:
        low, high: the first and the last knot, low < high.
        values: s at the knots, float64 (n,), 4 <= n <= 4096.

    Raises:
        FormulaError: the ends do not increase, or the values are not finite or not that many.
    """

    low: float
    high: float
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(float(v) for v in self.values))
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise FormulaError(f"spline: expected finite ends low < high, got {self.low} and {self.high}")
        if not FEWEST <= len(self.values) <= MOST or not np.isfinite(self.values).all():
            raise FormulaError(f"spline: expected {FEWEST} to {MOST:,} finite values, got {len(self.values):,}")

    @cached_property
    def name(self) -> str:
        """The table's digest, as an identifier."""
        numbers = np.array([self.low, self.high, *self.values])
        return "t_" + hashlib.sha256(numbers.tobytes()).hexdigest()[:16]

    @property
    def step(self) -> float:
        """h, the distance between knots."""
        return (self.high - self.low) / (len(self.values) - 1)

    @cached_property
    def coefficients(self) -> NDArray[np.float64]:
        """c[i] of s = c0 + c1 t + c2 t^2 + c3 t^3, t = x - knot_i, shape (n + 1, 4); row 0 and row n are the tails."""
        knots = np.linspace(self.low, self.high, len(self.values))
        cubic = interpolate.CubicSpline(knots, self.values, bc_type="natural")
        inner = cubic.c[::-1].T
        slopes = cubic(np.array([self.low, self.high]), 1)
        left = [self.values[0], slopes[0], 0.0, 0.0]
        right = [self.values[-1], slopes[1], 0.0, 0.0]
        result: NDArray[np.float64] = np.array([left, *inner, right])
        return result

    def derivative_coefficients(self, order: int) -> NDArray[np.float64]:
        """The same for the order-th derivative: (n + 1, 4), zero-padded."""
        c = self.coefficients
        for _ in range(order):
            c = np.concatenate([c[:, 1:] * np.array([1.0, 2.0, 3.0]), np.zeros((len(c), 1))], axis=1)
        return c

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"low": self.low, "high": self.high, "values": list(self.values)}


_TABLES: dict[str, Table] = {}


def register(table: Table) -> str:
    """Keep a table under its digest; returns the name."""
    _TABLES.setdefault(table.name, table)
    return table.name


def table(name: str) -> Table:
    """The table of that name.

    Raises:
        FormulaError: none is known; a formula that was saved carries its tables in `to_dict()["tables"]`.
    """
    if name not in _TABLES:
        raise FormulaError(f"spline: no table {name!r} is known here; load the formula with Formula.from_dict")
    return _TABLES[name]


def tables_of(expression: sp.Expr) -> Mapping[str, Table]:
    """The tables that an expression uses."""
    names = sorted({str(node.args[1]) for node in expression.atoms(spline)})
    return {name: table(name) for name in names}


class spline(Primitive):  # noqa: N801  (named as it is written in formulas)
    """spline(u, name, order): the order-th derivative at u of the table `name`."""

    text, latex_name = "spline", r"\mathrm{spline}"

    @classmethod
    def eval(cls, u: sp.Expr, name: sp.Symbol, order: sp.Integer) -> sp.Expr | None:
        return sp.S.Zero if order > 3 else None

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        u, name, order = self.args
        return spline(u, name, order + 1) * u.diff(symbol)

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        symbols: set[sp.Symbol] = self.args[0].free_symbols
        return symbols


@lru_cache(maxsize=256)
def _rows(name: str, order: int) -> NDArray[np.float64]:
    return table(name).derivative_coefficients(order)


def cell_of(name: str, order: int, x: float) -> tuple[float, NDArray[np.float64]]:
    """The knot that x is measured from, and the four coefficients of the order-th derivative there."""
    t = table(name)
    cell = int(np.clip(np.floor((x - t.low) / t.step), -1, len(t.values) - 1))
    return t.low + max(cell, 0) * t.step, _rows(name, order)[cell + 1]


def spline_numpy(name: str, order: int, u: Any) -> Any:
    """The order-th derivative of a table at an array u, in float64 and back in u's dtype."""
    t, c = table(name), _rows(name, order)
    x = np.asarray(u, np.float64)
    last = len(t.values) - 1
    cell = np.clip(np.floor((np.nan_to_num(x) - t.low) / t.step), -1, last).astype(np.intp)
    d = x - (t.low + np.maximum(cell, 0) * t.step)
    row = c[cell + 1]
    value = row[..., 0] + d * (row[..., 1] + d * (row[..., 2] + d * row[..., 3]))
    return value.astype(np.result_type(u), copy=False)


def spline_torch(name: str, order: int, u: Any) -> Any:
    """The order-th derivative of a table at a tensor u; dtype and device kept."""
    import torch

    t = table(name)
    c = torch.tensor(_rows(name, order).tolist(), dtype=u.dtype, device=u.device)
    last = len(t.values) - 1
    cell = torch.clamp(torch.floor((torch.nan_to_num(u) - t.low) / t.step), -1, last)
    d = u - (t.low + torch.relu(cell) * t.step)
    row = c[cell.long() + 1]
    return row[..., 0] + d * (row[..., 1] + d * (row[..., 2] + d * row[..., 3]))


def spline_expression(u: sp.Expr, knots: ArrayLike, values: ArrayLike) -> sp.Expr:
    """The spline through equally spaced knots as an expression of u."""
    k = np.asarray(knots, dtype=np.float64)
    name = register(Table(float(k[0]), float(k[-1]), tuple(np.asarray(values, dtype=np.float64))))
    return spline(u, sp.Symbol(name), sp.Integer(0))
