"""EAFO by numbers, where symbols end: splines for laws without a closed density, and the exact inverse of a step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sympy as sp

from actsmith.errors import ActsmithError, FormulaError, NumericsError
from actsmith.formula.formula import Formula
from actsmith.formula.parse import X
from actsmith.formula.primitives import where
from actsmith.formula.spline import spline_expression
from actsmith.theory.law import Array, Law, exact
from actsmith.theory.output import reach

__all__ = ["cdf_spline", "direction_spline", "exact_step"]

CDF_KNOTS = 4_096  # the entropy's error is the square of the slope's, which falls with the cube of the step
DIRECTION_KNOTS = 513
EXACT_KNOTS = 1_025
HEAVY = 100.0  # a law whose range exceeds this many interquartile ranges is tabulated in asinh of x
POLE = 50.0  # by how much d^(-1/2) grows, nearly, while d shrinks to a 10,000th
OUTSIDE = 1e-13  # mass beyond either end of a tabulated distribution function, where it goes on as a line


def cdf_spline(law: Law, low: float, high: float) -> sp.Expr:
    """low + (high - low) P(X <= x) on knots that leave 1e-13 of the mass outside; the tails are its tangents.

    Raises:
        NumericsError: the spline is not monotone: the law has a feature narrower than a 4,096th of its range.
    """
    ends = law.quantile(np.array([OUTSIDE, 0.25, 0.5, 0.75, 1 - OUTSIDE]))
    ends, (lower, centre, upper) = ends[[0, -1]], ends[1:4]
    spread = float(upper - lower)
    if np.ptp(ends) > HEAVY * spread:
        # u = asinh((x - c)/s) is linear about the centre and logarithmic in the tails.
        u = np.arcsinh((ends - centre) / spread)
        knots = np.linspace(u[0], u[1], CDF_KNOTS)
        inner = sp.asinh((X - exact(float(centre))) / exact(spread))
        x = centre + spread * np.sinh(knots)
    else:
        knots, inner = np.linspace(ends[0], ends[1], CDF_KNOTS), X
        x = knots
    values = np.where(x < centre, low + (high - low) * law.cdf(x), high - (high - low) * law.survival(x))
    expression = spline_expression(inner, knots, values)
    slopes = Formula(expression).jet(np.unique(np.concatenate([x, 0.5 * (x[1:] + x[:-1])])), 1)[1]
    if slopes.min() <= 0:
        raise NumericsError(
            f"worst_activation: {law} has a feature too narrow for {CDF_KNOTS:,} knots; expected a smoother law"
        )
    return expression


def direction_spline(f: Formula, law: Law, bends: Sequence[tuple[sp.Expr, int] | None]) -> sp.Expr:
    """d = s (-p' + p f''/f') on knots, scaled to the height of x exp(-x^2/2), with f''/f' and s = sgn f' from `bends`,
    one for each smooth piece of f; a flat piece (None) continues its neighbour, the right one first.

    Raises:
        FormulaError: d vanishes: the output density is flat; or it has a pole, which no table shows.
    """
    ends = law.quantile(np.array([1e-6, 1 - 1e-6]))
    margin = 0.1 * (ends[1] - ends[0])
    knots = np.linspace(ends[0] - margin, ends[1] + margin, DIRECTION_KNOTS)
    known = [i for i, bend in enumerate(bends) if bend is not None]
    p = law.pdf(knots)
    own = -p * law.score(knots)
    values = own.copy()
    for i, piece in enumerate(f.pieces):
        low, high = piece.bounds
        inside = (low <= knots) & (knots < high)
        bend, side = bends[min((abs(j - i), -j, j) for j in known)[2]] or (sp.S.Zero, 1)
        if inside.any() and bend != 0:
            _refuse_pole(f, law, Formula(bend), [end for end in (low, high) if knots[0] < end < knots[-1]])
        if inside.any():
            values[inside] = side * (own[inside] + (p[inside] * Formula(bend)(knots[inside]) if bend != 0 else 0.0))
    if not np.abs(values).max() > 1e-12 * p.max():
        raise FormulaError(
            f"correction: the entropy of {f.name} under {law} is stationary; there is nothing to correct"
        )
    values *= law.std * np.exp(-0.5) / np.abs(values).max()
    values[[0, -1]] = 0.0
    return spline_expression(X, knots, values)


def _refuse_pole(f: Formula, law: Law, bend: Formula, points: Sequence[float]) -> None:
    """Raise where f''/f' grows like d^(-1/2) or faster towards an end of its piece: E d^2 is infinite there."""
    for x0 in points:
        near, far = np.array([1e-10, 1e-6]) * max(1.0, abs(x0))
        sides = np.array([[x0 - near, x0 - far], [x0 + near, x0 + far]])
        with np.errstate(all="ignore"):
            growth = np.abs(bend(sides[:, 0]) / bend(sides[:, 1]))
        if law.pdf(x0) > 0 and np.nanmax(growth) > POLE:
            raise FormulaError(
                f"correction: f'' / f' of {f.name} has a pole at x = {x0:.6g}, where {law} has mass; a law with a "
                "closed density gives the correction as an expression, and no table holds it"
            )


def exact_step(f: Formula, law: Law, psi: Formula, eps: float) -> sp.Expr:
    """g^-1 with g(z) = y(z) - eps psi(y(z))/f'(y(z)): the corrected inverse, inverted.

    In terms of x = y(z) the new curve is (x - eps psi(x)/f'(x), f(x)). It is tabulated on every monotone piece of f
    that the law reaches, as a spline in x; a flat piece stays.

    Raises:
        ActsmithError: the step breaks monotonicity; says where, and how large a step keeps it.
    """
    low, high = reach(law)
    pieces: list[tuple[float, sp.Expr]] = []  # (where it begins, expression)
    for piece in f.pieces:
        a, b = (max(low, piece.bounds[0]), min(high, piece.bounds[1]))
        if a >= b:
            continue
        if piece.is_constant:
            pieces.append((a, piece.expr))
            continue
        start, expression = _exact_piece(f, psi, eps, a, b)
        pieces.append((start, expression))
    result = pieces[-1][1]
    for (_, left), (begin, _) in zip(reversed(pieces[:-1]), reversed(pieces[1:]), strict=True):
        result = where(X - sp.Rational(f"{begin:.15g}"), result, left)
    return result


def _exact_piece(f: Formula, psi: Formula, eps: float, a: float, b: float) -> tuple[float, sp.Expr]:
    """Where the piece's new curve begins, and its spline."""
    inner_a, inner_b = np.nextafter(a, b), np.nextafter(b, a)

    def moved(x: Array) -> Array:
        image: Array = x - eps * psi(x) / f.jet(x, 1)[1]
        return image

    grid = np.linspace(inner_a, inner_b, 8 * EXACT_KNOTS)
    image = moved(grid)
    rise = np.diff(image) / np.diff(grid)
    if not np.all(rise > 0):
        worst = int(np.argmin(rise))
        raise ActsmithError(
            f"improve: a step with eps = {eps:g} breaks monotonicity near x = {grid[worst]:.4g}; |eps| below about "
            f"{abs(eps) / (1 - rise[worst]):.3g} keeps it"
        )
    knots = np.linspace(image[0], image[-1], EXACT_KNOTS)
    left, right = np.full(EXACT_KNOTS, inner_a), np.full(EXACT_KNOTS, inner_b)
    for _ in range(100):
        middle = 0.5 * (left + right)
        below = moved(middle) < knots
        left, right = np.where(below, middle, left), np.where(below, right, middle)
        if np.all(right - left <= 4e-16 * np.abs(middle) + 1e-300):
            break
    begins = a if abs(image[0] - a) < 1e-9 * max(1.0, abs(a)) else float(image[0])
    return begins, spline_expression(X, knots, f(0.5 * (left + right)))
