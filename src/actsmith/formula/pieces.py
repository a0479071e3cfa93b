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
from actsmith.formula.lower import Program, lower
from actsmith.formula.parse import X
from actsmith.formula.primitives import constant_value
from actsmith.formula.removable import Patch, patch_at

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


def find_kinks(expression: sp.Expr) -> tuple[tuple[sp.Expr, ...], tuple[Patch, ...]]:
    """The kinks of a parameter-free expression, ascending, and its removable singularities.

    Kinks are zeros of the switches' arguments, and singular points (zeros of denominators, of logarithms' arguments and
    of bases of fractional powers). A zero where nothing happens, as of x in relu(x) - relu(-x), is none, and so is one
    where a singularity is removable, as of sin(x)/x. Of more than MOST_KINKS, as of relu(sin(x)), the ones nearest 0.
    """
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
    patches: list[Patch] = []
    kept: list[sp.Expr] = []
    for kink, left, right in zip(kinks, sides, sides[1:], strict=False):
        if left.expr != right.expr:
            kept.append(kink)
        elif _is_singular(left.expr, float(kink)):
            patch = patch_at(left.expr, kink, [float(k) for k in kinks])
            if patch is None:
                kept.append(kink)
            else:
                patches.append(patch)
    return tuple(kept), tuple(patches)


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
    """Sign changes of u between the points of a fixed grid and the ends, all bisected at once down to neighbouring
    floats. Roots come in pairs between two points too: where |u| has a minimum between them it is looked for.

    A point of the grid where u is 0 is a root if its neighbours are none: on a whole stretch of zeros u underflows.
    """
    program = lower([u], [X], {})
    grid = np.unique(np.concatenate([_SCAN[(low < _SCAN) & (high > _SCAN)], [0.0] if low < 0 < high else []]))
    grid = np.unique(np.concatenate([_beside(low, high), grid]))
    values = program.numpy(grid)[0]
    grid, values = _with_minima(program, grid, values)
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


def _beside(low: float, high: float) -> np.ndarray:
    """Points beside the finite ends of an interval, where a kink may hide a root from the grid."""
    length = min(high - low, 1.0)
    near = length * np.geomspace(1e-9, 0.25, 18)
    points = [end + sign * near for end, sign in ((low, 1), (high, -1)) if math.isfinite(end)]
    beside = np.concatenate(points) if points else np.zeros(0)
    return np.asarray(beside[(beside > low) & (beside < high)])


def _with_minima(program: Program, grid: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The grid with the minima of |u| between points where u has one sign, found by golden sections."""
    with np.errstate(all="ignore"):
        size = np.abs(values)
        same = (np.sign(values[1:-1]) == np.sign(values[:-2])) & (np.sign(values[1:-1]) == np.sign(values[2:]))
        dips = np.flatnonzero((size[1:-1] <= size[:-2]) & (size[1:-1] <= size[2:]) & same & (values[1:-1] != 0)) + 1
        # A minimum that is far above 0 on the scale of the curve about it cannot cross.
        curve = size[dips - 1] + size[dips + 1] - 2 * size[dips]
        dips = dips[size[dips] <= 4 * curve]
    if dips.size == 0:
        return grid, values
    side = np.sign(values[dips])
    a, b = grid[dips - 1], grid[dips + 1]
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(80):
        c, d = b - golden * (b - a), a + golden * (b - a)
        left = side * program.numpy(c)[0] < side * program.numpy(d)[0]
        a, b = np.where(left, a, c), np.where(left, d, b)
    lowest = 0.5 * (a + b)
    found = program.numpy(lowest)[0]
    # Where it only touches 0, to rounding, it is a root as well.
    found = np.where(np.abs(found) <= 1e-15 * np.maximum(size[dips - 1], size[dips + 1]), 0.0, found)
    crossing = side * found <= 0
    points = np.concatenate([grid, lowest[crossing]])
    order = np.argsort(points, kind="stable")
    return points[order], np.concatenate([values, found[crossing]])[order]


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
    """The largest k with f in C^k: -1 where f jumps, None where no derivative up to SMOOTHNESS_LIMIT does.

    At an exact kink both sides are looked at to 80 digits; the order n to which their difference vanishes there makes
    f C^(n-1), or C^floor(n) where n is no whole number, also beyond the derivatives that are taken.
    """
    levels = [_smoothness_at(left, right) for left, right in itertools.pairwise(pieces)]
    known = [level for level in levels if level is not None]
    return min(known) if known else None


def _smoothness_at(left: Piece, right: Piece) -> int | None:
    kink = left.high
    before, after = left.expr, right.expr
    for order in range(SMOOTHNESS_LIMIT + 1):
        if order:
            before, after = before.diff(X), after.diff(X)
        if not _continuous(before, after, kink):
            return order - 1
        if order == 2 and (vanishing := _vanishing_order(left.expr, right.expr, kink)) is not None:
            return vanishing
    return None


def _vanishing_order(left: sp.Expr, right: sp.Expr, kink: sp.Expr) -> int | None:
    """The smoothness at a kink of which one side is analytic, by how the difference of the sides falls towards it."""
    if not kink.is_Rational:
        return None
    steps = [sp.Rational(1, 10**20), sp.Rational(1, 10**25)]
    for side in (1, -1):
        logs = []
        for step in steps:
            gap = (right - left).subs(X, kink + side * step).evalf(400, maxn=4000)
            if not gap.is_Float or gap == 0:
                break
            logs.append(float(sp.log(sp.Abs(gap)).evalf(30)))
        else:
            order = (logs[0] - logs[1]) / (5 * math.log(10))
            if not order < 10_000:
                return None
            return round(order) - 1 if abs(order - round(order)) < 1e-3 else math.floor(order)
    return None


def _continuous(before: sp.Expr, after: sp.Expr, kink: sp.Expr) -> bool:
    """Whether two expressions have one limit at a kink, from the left and from the right."""
    sides = [_limit(before, kink, -1), _limit(after, kink, 1)]
    return bool(abs(sides[0] - sides[1]) <= 1e-9 * max(1.0, abs(sides[0]), abs(sides[1])))


def _limit(expression: sp.Expr, kink: sp.Expr, side: int) -> float:
    """The one-sided limit at a kink, NaN where the expression is singular there."""
    point = float(kink)
    near = point + side * 1e-9 * max(1.0, abs(point))
    at, beside = lower([expression], [X], {}).numpy(np.array([point, near]))[0]
    if abs(at - beside) <= 1e-4 * max(1.0, abs(at)):
        return float(at)
    if not kink.is_Rational:
        return math.nan
    values = [_digits(expression, kink + side * sp.Rational(1, 10**k)) for k in (30, 45)]
    return values[1] if abs(values[0] - values[1]) <= 1e-4 * max(1.0, abs(values[1])) else math.nan


def _digits(expression: sp.Expr, at: sp.Expr) -> float:
    value = expression.subs(X, at).evalf(80, maxn=2000)
    return float(value) if value.is_real else math.nan
