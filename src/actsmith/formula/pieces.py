"""Where a formula is not smooth, and the smooth expression it is in between.

| symbol  | meaning                                                        |
|---------|----------------------------------------------------------------|
| kink    | a point where f is not infinitely differentiable, or singular  |
| piece   | an open interval without kinks, with f's expression there      |
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp

from actsmith.errors import FormulaError
from actsmith.formula import primitives as pr
from actsmith.formula.lower import lower
from actsmith.formula.parse import X
from actsmith.formula.primitives import constant_value

__all__ = ["Piece", "find_kinks", "find_pieces", "find_smoothness", "resolve", "sample_point"]

SMOOTHNESS_LIMIT, MOST_KINKS = 8, 64
_MOST_SEARCHES = 160  # intervals in which a switch's zeros are looked for; some seconds
_MOST_DEGREE = 30  # of a polynomial whose roots the companion matrix still gives to 1e-9
_VANISHING: Any = (*pr.SWITCHES, sp.log)  # functions that are not smooth where their first argument vanishes
_SCAN = np.sinh(np.linspace(-10, 10, 2002))  # |x| up to 11,000, densest at 0, which it avoids


@dataclass(frozen=True)
class Piece:
    """f(x) = expr for low < x < high, with expr free of kinks there. `low` and `high` are SymPy numbers, exact where
    the kink is (rational roots), or infinite."""

    low: sp.Expr
    high: sp.Expr
    expr: sp.Expr

    @property
    def is_constant(self) -> bool:
        return X not in self.expr.free_symbols

    @property
    def bounds(self) -> tuple[float, float]:
        return float(self.low), float(self.high)


def resolve(expression: sp.Expr, sample: sp.Expr) -> sp.Expr:
    """The smooth expression that `expression` is around `sample`: every switch replaced by the side it is on there."""

    def value(u: sp.Expr) -> float:
        return float(u.subs(X, sample).evalf(20))

    rules = (
        (pr.relu, lambda u: u if value(u) > 0 else sp.S.Zero),
        (pr.step, lambda u: sp.S.One if value(u) > 0 else sp.S.Zero),
        (pr.sign, lambda u: sp.Integer(int(np.sign(value(u))))),
        (pr.absolute, lambda u: u if value(u) > 0 else -u),
        (pr.floor, lambda u: sp.Integer(math.floor(value(u)))),
        (pr.where, lambda c, a, b: a if value(c) > 0 else b),
        (pr.maximum, lambda a, b: a if value(a) > value(b) else b),
        (pr.minimum, lambda a, b: a if value(a) < value(b) else b),
    )
    for switch, rule in rules:
        if expression.has(switch):
            expression = expression.replace(switch, rule)
    return expression


def find_kinks(expression: sp.Expr) -> tuple[sp.Expr, ...]:
    """The kinks of a parameter-free expression, ascending: zeros of the switches' arguments, and singular points
    (zeros of denominators, of logarithms' arguments and of bases of fractional powers). A zero where nothing happens,
    as of x in relu(x) - relu(-x), is none. Of more than MOST_KINKS, as of relu(sin(x)), the ones nearest 0."""
    kinks: list[sp.Expr] = []
    searched = 0
    for argument in _critical_arguments(expression):
        searched += len(kinks) + 1
        if searched > _MOST_SEARCHES:
            raise FormulaError(f"formula {str(expression)[:60]}: too many switches inside switches to find its kinks")
        for low, high in itertools.pairwise([-sp.oo, *kinks, sp.oo]):
            local = resolve(argument, _inside(low, high))
            for root in _roots(local, float(low), float(high)):
                if all(abs(float(root) - float(k)) > 1e-12 * max(1.0, abs(float(root))) for k in kinks):
                    kinks = sorted([*kinks, root], key=float)
        kinks = _nearest(kinks)
    sides = find_pieces(expression, kinks)
    return tuple(
        kink
        for kink, left, right in zip(kinks, sides, sides[1:], strict=False)
        if left.expr != right.expr or _is_singular(left.expr, float(kink))
    )


def _nearest(points: Sequence[sp.Expr]) -> list[sp.Expr]:
    return sorted(sorted(points, key=lambda p: abs(float(p)))[:MOST_KINKS], key=float)


def _is_singular(smooth: sp.Expr, point: float) -> bool:
    """Whether a denominator, a logarithm's argument or the base of a fractional power vanishes at the point."""
    for argument in _critical_arguments(smooth):
        at, scale = lower([argument], [X], {}).numpy(np.array([point, point + 1e-3 * max(1.0, abs(point))]))[0]
        if not abs(at) > 1e-9 * abs(scale):
            return True
    return False


def _critical_arguments(expression: sp.Expr) -> list[sp.Expr]:
    """Arguments whose zeros may be kinks, innermost first, each once."""
    found: list[sp.Expr] = []
    nodes: list[Any] = list(dict.fromkeys(sp.postorder_traversal(expression)))
    for node in nodes:
        if X not in node.free_symbols:
            continue
        if isinstance(node, (pr.maximum, pr.minimum)):
            found.append(node.args[0] - node.args[1])
        elif isinstance(node, pr.floor):
            found.append(sp.sin(sp.pi * node.args[0]))
        elif isinstance(node, _VANISHING):
            found.append(node.args[0])
        elif isinstance(node, (pr.log1p, pr.sqrt1pm1)):
            found.append(1 + node.args[0])
        elif isinstance(node, sp.Pow) and not (node.exp.is_integer and node.exp.is_positive):
            found.append(node.base)
    return list(dict.fromkeys(u for u in found if X in u.free_symbols and not u.is_positive))


def _roots(u: sp.Expr, low: float, high: float) -> Sequence[sp.Expr]:
    """Zeros of a smooth u(x) in (low, high): exact for lines, by companion matrix for polynomials of moderate degree,
    by scan otherwise."""
    if X not in u.free_symbols:
        return []
    if _degree(u) <= _MOST_DEGREE:
        coefficients = sp.Poly(u, X).all_coeffs()
        if len(coefficients) == 2:
            root = -coefficients[1] / coefficients[0]
            return [root] if low < float(root) < high else []
        candidates = np.roots([constant_value(c) for c in coefficients])
        real = [float(r.real) for r in candidates if abs(r.imag) < 1e-9 * max(1.0, abs(r))]
    else:
        real = _scan(u, low, high)
    return [_as_exact(u, r) for r in real if low < r < high]


def _degree(u: sp.Expr) -> float:
    """A bound of the degree of the polynomial u in x, infinite where u is none. Nothing is expanded."""
    if X not in u.free_symbols:
        return 0
    if u == X:
        return 1
    if isinstance(u, sp.Add):
        return max(_degree(term) for term in u.args)
    if isinstance(u, sp.Mul):
        return sum(_degree(factor) for factor in u.args)
    if isinstance(u, sp.Pow) and u.exp.is_Integer and u.exp.is_positive:
        return _degree(u.base) * int(u.exp)
    return math.inf


def _scan(u: sp.Expr, low: float, high: float) -> list[float]:
    """Sign changes of u between the points of a fixed grid, all bisected at once down to neighbouring floats.

    A point of the grid where u is 0 is a root if its neighbours are none: on a whole stretch of zeros u underflows.
    """
    program = lower([u], [X], {})
    grid = np.unique(np.concatenate([_SCAN[(low < _SCAN) & (high > _SCAN)], [0.0] if low < 0 < high else []]))
    values = program.numpy(grid)[0]
    finite = np.isfinite(values)
    brackets = np.nonzero((np.sign(values[:-1]) * np.sign(values[1:]) < 0) & finite[:-1] & finite[1:])[0]
    brackets = brackets[np.argsort(np.abs(grid[brackets]), kind="stable")[:MOST_KINKS]]
    left, right, side = grid[brackets], grid[brackets + 1], np.sign(values[brackets])
    while np.any(right - left > np.spacing(np.maximum(np.abs(left), np.abs(right)))):
        middle = left + (right - left) / 2
        before = np.sign(program.numpy(middle)[0]) == side
        left, right = np.where(before, middle, left), np.where(before, right, middle)
    zero = np.concatenate([[False], values == 0, [False]])
    alone = zero[1:-1] & ~zero[:-2] & ~zero[2:]
    return [float(x) for x in (*grid[alone], *right)]


def _as_exact(u: sp.Expr, root: float) -> sp.Expr:
    near = sp.Rational(Fraction(root).limit_denominator(10**6))
    return near if u.subs(X, near) == 0 else sp.Float(root)


def _inside(low: sp.Expr, high: sp.Expr) -> sp.Expr:
    """A point of (low, high) at which no formula is special: not 0, not a half."""
    if low.is_infinite and high.is_infinite:
        return sp.Rational(1234567, 10**6)
    if low.is_infinite:
        return high - sp.Rational(1234567, 10**6)
    if high.is_infinite:
        return low + sp.Rational(1234567, 10**6)
    return low + (high - low) * sp.Rational(4871, 10**4)


def sample_point(piece: Piece) -> sp.Expr:
    """A rational point inside the piece."""
    return _inside(piece.low, piece.high)


def find_pieces(expression: sp.Expr, kinks: Sequence[sp.Expr]) -> tuple[Piece, ...]:
    """The smooth pieces of a parameter-free expression, from left to right."""
    ends = [-sp.oo, *kinks, sp.oo]
    return tuple(Piece(a, b, resolve(expression, _inside(a, b))) for a, b in itertools.pairwise(ends))


def find_smoothness(pieces: Sequence[Piece]) -> int | None:
    """The largest k with f in C^k: -1 where f jumps, None where no derivative up to SMOOTHNESS_LIMIT does."""
    for order in range(SMOOTHNESS_LIMIT + 1):
        for left, right in itertools.pairwise(pieces):
            kink = float(left.high)
            before, after = (_limit(p.expr.diff(X, order), kink, side) for p, side in ((left, -1), (right, 1)))
            if not abs(before - after) <= 1e-9 * max(1.0, abs(before), abs(after)):
                return order - 1
    return None


def _limit(expression: sp.Expr, kink: float, side: int) -> float:
    """The one-sided limit at a kink, NaN where the expression is singular there."""
    near = kink + side * 1e-9 * max(1.0, abs(kink))
    at, beside = lower([expression], [X], {}).numpy(np.array([kink, near]))[0]
    return float(at) if abs(at - beside) <= 1e-4 * max(1.0, abs(at)) else math.nan
