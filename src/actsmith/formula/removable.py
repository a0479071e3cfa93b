"""Removable singularities: sin(x)/x at 0, (exp(x) - 1)/x, (x - 1)/(x^2 - 1) at 1.

About such a point x0 f is analytic although its expression is 0/0, and beside it the expression cancels. There f is its
Taylor polynomial, interpolated from values to 60 digits at Chebyshev points on [x0 - r, x0 + r]; that its coefficients
fall to 1e-15 is what tells the point from a pole.

| symbol | meaning                                             |
|--------|-----------------------------------------------------|
| r      | how far the polynomial serves                       |
| c_k    | f(x0 + r t) = sum_k c_k t^k, k = 0 .. DEGREE        |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from actsmith.formula.parse import X
from actsmith.formula.primitives import where

__all__ = ["Limit", "Patch", "limit_of", "may_have_singularities", "patch_at", "patched", "with_limits"]

Array = NDArray[np.float64]

DEGREE = 20
NODES = DEGREE + 2  # an even number of Chebyshev points leaves out the middle, which is the singularity
LEARNED_NODES, LEARNED_RADIUS = 8, 0.05  # where the coefficients are sums of values at nodes: few, to keep float32's
DIGITS = 60
SETTLED = 1e-15
RADII = (0.1, 0.02, 0.004, 5e-4)  # relative to max(1, |x0|)


@dataclass(frozen=True)
class Patch:
    """f about a removable singularity.

    Attributes:
        centre, radius: x0 and r.
        coefficients: c_0 .. c_DEGREE.
    """

    centre: float
    radius: float
    coefficients: tuple[float, ...]

    def derivative(self, x: Array, order: int) -> Array:
        """f^(order)(x) for |x - x0| <= r."""
        c = np.array(self.coefficients)
        for _ in range(order):
            c = c[1:] * np.arange(1, c.size) / self.radius
        t = (x - self.centre) / self.radius
        result = np.zeros_like(t)
        for coefficient in c[::-1]:
            result = result * t + coefficient
        return result


def may_have_singularities(expression: sp.Expr) -> bool:
    """Whether a denominator with x in it stands in the expression that is not known to be positive."""
    return any(
        X in power.base.free_symbols and not (power.exp.is_positive or power.base.is_positive)
        for power in expression.atoms(sp.Pow)
    )


def patch_at(expression: sp.Expr, point: sp.Expr, others: Sequence[float]) -> Patch | None:
    """The polynomial about a point where a smooth expression is singular; None where that is a pole or a branch point.

    Args:
        others: kinks and singularities that the polynomial must keep away from.
    """
    if any(X in power.exp.free_symbols for power in expression.atoms(sp.Pow) if power.base.has(X)):
        return None  # x**x and its towers: no quotient, and minutes to evaluate to 60 digits
    centre = float(point)
    beside = [expression.subs(X, point + sign * sp.Rational(1, 10**12)).evalf(DIGITS) for sign in (-1, 1)]
    if not all(v.is_Float or v.is_Rational for v in beside) or abs(beside[1] - beside[0]) > 1e-6 * (1 + abs(beside[0])):
        return None
    nearest = min((abs(k - centre) for k in others if k != centre), default=math.inf)
    for relative in RADII:
        radius = min(relative * max(1.0, abs(centre)), 0.25 * nearest)
        coefficients = _interpolate(expression, point, radius)
        if coefficients is not None:
            return Patch(centre, radius, coefficients)
    return None


@lru_cache(maxsize=1)
def _powers_of_values() -> tuple[list[Any], Any]:
    """Chebyshev nodes on [-1, 1] and the matrix that takes values at them to coefficients of powers, to DIGITS."""
    import mpmath as mp

    with mp.workdps(DIGITS):
        t = [mp.cos(mp.pi * (2 * k + 1) / (2 * NODES)) for k in range(NODES)]
        return t, mp.matrix([[node**k for k in range(NODES)] for node in t]) ** -1


def _interpolate(expression: sp.Expr, point: sp.Expr, radius: float) -> tuple[float, ...] | None:
    import mpmath as mp

    with mp.workdps(DIGITS):
        t, coefficients_of = _powers_of_values()
        values: list[Any] = []
        exact = sp.Float(point, DIGITS) if not point.is_Rational else point
        for node in t:
            at = exact + sp.Rational(repr(radius)) * sp.Float(str(node), DIGITS)
            value = expression.xreplace({X: at}).evalf(DIGITS)
            if not value.is_Float and not value.is_Rational:
                return None
            values.append(mp.mpf(str(value)))
        c = coefficients_of * mp.matrix(values)
        size = max(abs(v) for v in c)
        if size == 0 or not mp.isfinite(size) or max(abs(c[NODES - 1]), abs(c[NODES - 2])) > SETTLED * size:
            return None
        return tuple(float(v) for v in c)


def patched(values: Array, x: Array, patches: Sequence[Patch], order: int) -> Array:
    """f^(order) at x with the polynomials where they serve."""
    result = values
    for patch in patches:
        near = np.abs(x - patch.centre) <= patch.radius
        if near.any():
            result = np.array(result, copy=True)
            result[near] = patch.derivative(x[near], order)
    return result


@dataclass(frozen=True)
class Limit:
    """f about a removable singularity as an expression: coefficients c_k that may hold parameters."""

    centre: float
    radius: float
    coefficients: tuple[sp.Expr, ...]

    @property
    def near(self) -> sp.Expr:
        """Positive where the polynomial serves."""
        return _exact(self.radius) ** 2 - (X - _exact(self.centre)) ** 2

    def derivative(self, order: Sequence[int], symbols: Sequence[sp.Symbol]) -> sp.Expr:
        """The polynomial differentiated order[i] times in symbols[i], x the first, by Horner's rule; c_0 far away."""
        c = list(self.coefficients)
        for _ in range(order[0]):
            c = [k * e / _exact(self.radius) for k, e in enumerate(c)][1:]
        for symbol, count in zip(symbols[1:], order[1:], strict=True):
            c = [e.diff(symbol, count) for e in c]
        t = where(self.near, (X - _exact(self.centre)) / _exact(self.radius), sp.S.Zero)
        result: sp.Expr = sp.S.Zero
        for e in reversed(c):
            result = sp.Add(sp.Mul(result, t, evaluate=False), e, evaluate=False) if result != 0 else e
        return result


def limit_of(patch: Patch, expression: sp.Expr | None = None) -> Limit:
    """A patch as an expression; of an `expression` with parameters, by its values at nodes beside the singularity."""
    if expression is None:
        least = 1e-20 * max(abs(c) for c in patch.coefficients)
        last = max(k for k, c in enumerate(patch.coefficients) if abs(c) > least)
        return Limit(patch.centre, patch.radius, tuple(_exact(c) for c in patch.coefficients[: last + 1]))
    radius = min(patch.radius, LEARNED_RADIUS * max(1.0, abs(patch.centre)))
    t = np.cos(np.pi * (2 * np.arange(LEARNED_NODES) + 1) / (2 * LEARNED_NODES))
    values = [expression.subs(X, _exact(patch.centre + radius * float(u))) for u in t]
    rows = np.linalg.inv(np.vander(t, increasing=True))
    sums = [sp.Add(*(_exact(float(m)) * v for m, v in zip(row, values, strict=True))) for row in rows]
    return Limit(patch.centre, radius, tuple(sums))


def with_limits(
    expression: sp.Expr, limits: Sequence[Limit], order: Sequence[int] = (0,), symbols: Sequence[sp.Symbol] = (X,)
) -> sp.Expr:
    """An expression, a derivative of that order of what the limits are of, with their polynomials where they serve.

    There it is not evaluated beside the singularity, so that no route meets 0/0.
    """
    for limit in limits:
        beside = _exact(limit.centre) + _exact(limit.radius)
        away = expression.xreplace({X: where(limit.near, beside, X)})
        expression = where(limit.near, limit.derivative(order, symbols), away)
    return expression


def _exact(value: float) -> sp.Rational:
    return sp.Rational(repr(value))
