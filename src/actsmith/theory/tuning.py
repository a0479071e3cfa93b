"""Tuning: the affine change of an activation, inside and outside, that makes LeCun-normal initialisation critical.

    s_hat(x) = c (s(a x + b) + d),   E s_hat^2 = E s_hat'^2 = 1 and chi_par = 1 at K = 1

so that C_W = 1, C_b = 0 is critical with the fixed point K* = 1. With u(x) = s(a x + b), x ~ N(0, 1), and a, b given,
the first two conditions fix c and, up to a sign, d; the third is one equation between a and b:

    c = 1/sqrt(E u'^2),   d = -E u ± r,   r^2 = E u'^2 - Var u >= 0 (Poincare's inequality)
    F(a, b) = E[(u + d) u''] = 0,   by parts E[x (u + d) u'] - E u'^2

Its solutions are curves; the one taken is nearest to a = 1, b = 0 in log(a)^2 + b^2. The transformation is that of
Martens et al., "Rapid training of deep neural networks without skip connections or normalization layers using deep
kernel shaping", arXiv:2110.01765, whose four conditions include no chi_par at finite depth; ours are those of
criticality.

| symbol | meaning                                             |
|--------|-----------------------------------------------------|
| rho    | distance of (log a, b) from (0, 0)                  |
| theta  | direction: (log a, b) = rho (cos theta, sin theta)  |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import sympy as sp
from numpy.typing import NDArray
from scipy import optimize

from actsmith.errors import FormulaError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula
from actsmith.formula.parse import X
from actsmith.theory import adaptive
from actsmith.theory.kernel import STEPS, moments, table
from actsmith.theory.quadrature import nodes

__all__ = ["Tuning", "critical_form", "tuning"]

Array = NDArray[np.float64]

FARTHEST = 5.0
"""How far from a = 1, b = 0 a solution is looked for, in rho."""

RADII = np.linspace(0.0, FARTHEST, 61)
ANGLES = np.linspace(-math.pi, math.pi, 96, endpoint=False)
# The search uses the trapezoid on these: right to 1e-10 for a smooth f and a <= 4, to 1e-4 across kinks, which is what
# finding a change of sign needs. What is found is solved with the quadrature split at the kinks.
SEARCH = np.linspace(-8.0, 8.0, 257)
# F within this of 0, relative to E u'^2, is 0.
ZERO = 1e-13
# What the search rule calls F beyond this is not its rounding.
NOISE = 1e-9
# Where the quadrature's error is above this, relative to E u'^2, its panels are halved.
ROUGH = 1e-9
MOST_NODES = 60_000
# A reason counts what a rule of half the points agrees with to this, and at whose ends no more than that share lies.
SURE, END = 0.2, 1e-6
# The conditions must hold to this in the finished formula.
MET = 1e-10


@dataclass(frozen=True)
class Tuning:
    """s_hat(x) = c (s(a x + b) + d).

    Attributes:
        formula: s_hat.
        a, b: inner scale and shift.
        c, d: outer scale and shift.
        error: the largest of |E s_hat^2 - 1|, |E s_hat'^2 - 1|, |chi_par - 1| at K = 1, of the finished formula.
    """

    formula: Formula
    a: float
    b: float
    c: float
    d: float
    error: float


def critical_form(f: FormulaLike) -> Formula:
    """c (f(a x + b) + d), for which C_W = 1, C_b = 0 is critical with K* = 1 (LeCun-normal weights, zero biases).

    Raises:
        FormulaError: there is no such transformation; the message says why.

    >>> from actsmith.theory.kernel import kernel_flow
    >>> abs(float(kernel_flow(critical_form("gelu"), 1.0, 100, C_W=1.0)[-1]) - 1) < 1e-10
    True
    """
    return tuning(f).formula


def tuning(f: FormulaLike) -> Tuning:
    """The formula of `critical_form` with its coefficients.

    Raises:
        FormulaError: see `critical_form`.
    """
    formula = resolve(f)
    return _tuning(formula, formula.name)


@lru_cache(maxsize=256)
def _tuning(formula: Formula, name: str) -> Tuning:
    _possible(formula)
    found = _nearest(formula)
    if found is None:
        raise FormulaError(f"critical_form: {name} has no critical affine form: {_why_none(formula)}")
    rho, theta, sign = found
    a, b = _point(rho, theta)
    u, u2, slope, _, _ = _means(formula, a, b)
    c, d = 1 / math.sqrt(slope), float(-u + sign * math.sqrt(max(slope - (u2 - u * u), 0.0)))
    d = 0.0 if abs(d) <= 4e-16 * (abs(u) + math.sqrt(slope)) else d
    tuned = _transformed(formula, a, b, c, d)
    m = moments(tuned, 1.0)
    error = max(abs(float(v) - 1) for v in (m.g, m.dg, m.perp))
    if not error <= MET:
        raise FormulaError(
            f"critical_form: {name} at a = {a:.6g}, b = {b:.6g} meets the conditions to {error:.1e} only; "
            f"expected {MET:g}"
        )
    return Tuning(tuned, a, b, c, d, error)


def _transformed(formula: Formula, a: float, b: float, c: float, d: float) -> Formula:
    a_, b_, c_, shift = (sp.Rational(repr(v)) for v in (a, b, c, c * d))
    u = formula.expr if (a, b) == (1.0, 0.0) else formula.expr.subs(X, a_ * X + b_)
    return Formula(c_ * u + shift, formula.params, f"{formula.name}_tuned")


def _possible(formula: Formula) -> None:
    if table(formula, STEPS[0]).jumps:
        raise FormulaError(f"critical_form: {formula.name} jumps, so E f'^2 is infinite at every scale")
    s, d = _jet(formula, SEARCH)
    if not np.isfinite(s).all():
        where = SEARCH[int(np.argmin(np.isfinite(s)))]
        raise FormulaError(
            f"critical_form: {formula.name} is not finite at x = {where:g}; expected a function on the whole line"
        )
    if not d.any():
        raise FormulaError(f"critical_form: {formula.name} is constant, so no gradient passes it")


def _jet(formula: Formula, x: Array) -> Array:
    with np.errstate(all="ignore"):
        return formula.jet(x, 1)


# ------------------------------------------------------------------------------------------------ the equation


def _point(rho: float, theta: float) -> tuple[float, float]:
    """(a, b)"""
    b = rho * math.sin(theta)
    return math.exp(rho * math.cos(theta)), b if abs(b) > 1e-15 * rho else 0.0


def _both(means: Array) -> Array:
    """F/E u'^2 for the two signs of r from (E u, E u^2, E u'^2, E[x u u'], E[x u']), (5, ...) -> (2, ...)."""
    u, u2, slope, cross, curve = means
    with np.errstate(all="ignore"):
        r = np.sqrt(np.maximum(slope - (u2 - u * u), 0.0))
        return np.stack([(cross - u * curve + sign * r * curve - slope) / slope for sign in (1.0, -1.0)])


def _search(formula: Formula, a: Array, b: Array, *, sure: bool = False) -> Array:
    """`_both` by the trapezoid rule for arrays a, b of shape (n,): (2, n), NaN where f is not finite.

    With `sure`, NaN also where the rule is not right: f turns between its points, or its moments lie beyond them.
    """
    weight = np.exp(-(SEARCH**2) / 2)
    weight /= weight.sum()
    s, d = _jet(formula, a[:, None] * SEARCH + b[:, None])
    with np.errstate(all="ignore"):
        d = d * a[:, None]
        values = np.stack([s, s * s, d * d, SEARCH * s * d, SEARCH * d])
        means = values @ weight
        found = _both(means)
        if sure:
            fewer = values[..., ::2] @ weight[::2] * 2
            ends = (values * weight)[1:3, :, [0, -1]].sum(-1) > END * means[1:3]
            unsure = (ends | (np.abs(means - fewer)[1:3] > SURE * means[1:3])).any(0)
            found[unsure | (np.abs(found - _both(fewer)) > SURE * (1 + np.abs(found)))] = np.nan
        return found


def _means(formula: Formula, a: float, b: float) -> Array:
    """(E u, E u^2, E u'^2, E[x u u'], E[x u']), split at the kinks."""
    for step in STEPS:
        rule = nodes((0.0, *((k - b) / a for k in formula.kinks)), step=step)
        with np.errstate(all="ignore"):
            density = np.exp(-(rule.x**2) / 2) / math.sqrt(2 * math.pi)
            s, d = _jet(formula, a * rule.x + b)
            d = d * a
            values = np.stack([s, s * s, d * d, rule.x * s * d, rule.x * d]) * density
        values[~np.isfinite(values) & (density < 1e-30)] = 0.0
        means, error = rule.integrate_many(values)
        if np.all(error <= 1e-13 * np.abs(means[2]) + 1e-13 * np.abs(means)):
            return means
    if np.all(error <= ROUGH * np.abs(means[2])):
        return means
    return _halved_means(formula, a, b)


def _halved_means(formula: Formula, a: float, b: float) -> Array:
    """`_means` on halved panels: for what turns sharply, or oscillates, where no panel ends."""

    def integrands(x: Array) -> Array:
        with np.errstate(all="ignore"):
            density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
            s, d = _jet(formula, a * x + b)
            d = d * a
            values = np.stack([s, s * s, d * d, x * s * d, x * d]) * density
        values[~np.isfinite(values) & (density < 1e-30)] = 0.0
        return values

    ends = np.union1d(np.linspace(-38, 38, 77), [(k - b) / a for k in (0.0, *formula.kinks) if abs(k - b) < 38 * a])
    means, _, _ = adaptive.integrate(integrands, ends, most=MOST_NODES)
    return means


# ------------------------------------------------------------------------------------------------ the nearest solution


def _nearest(formula: Formula) -> tuple[float, float, float] | None:
    """(rho, theta, sign of r) of the solution nearest to a = 1, b = 0; None where F changes sign nowhere."""
    here = _both(_means(formula, 1.0, 0.0))
    for which in np.argsort(np.abs(here)):
        if abs(here[which]) <= ZERO:
            return 0.0, 0.0, (1.0, -1.0)[which]
    rays = [_ray(formula, float(theta), here) for theta in ANGLES]
    candidates: list[tuple[float, float, int]] = []
    for which in (0, 1):
        brackets = [
            (bracket, float(t)) for ray, t in zip(rays, ANGLES, strict=True) if (bracket := _bracket(ray[which]))
        ]
        for bracket, theta in sorted(brackets):
            if candidates and bracket[0] >= min(candidates)[0]:
                break
            rho = _solve(formula, theta, which, bracket)
            if rho is not None:
                candidates.append((rho, theta, which))
    if not candidates:
        return None
    rho, theta, which = min(candidates)

    def distance(angle: float) -> float:
        bracket = _bracket(_ray(formula, angle, here)[which])
        return FARTHEST if bracket is None else _solve(formula, angle, which, bracket) or FARTHEST

    width = 2 * math.pi / ANGLES.size
    best = optimize.minimize_scalar(
        distance, bounds=(theta - width, theta + width), method="bounded", options={"xatol": 1e-4}
    )
    return (*min((rho, theta), (float(best.fun), float(best.x))), (1.0, -1.0)[which])


def _ray(formula: Formula, theta: float, here: Array, *, sure: bool = False) -> Array:
    """F/E u'^2 at the radii by the search, but exact at a = 1, b = 0: a solution may be as near to it as rounding."""
    values = _search(formula, np.exp(RADII * math.cos(theta)), RADII * math.sin(theta), sure=sure)
    values[:, 0] = here
    return values


def _bracket(values: Array) -> tuple[float, float] | None:
    """The radii about the first change of sign."""
    beyond = np.abs(values) > NOISE
    beyond[0] = True
    known = np.flatnonzero(beyond)
    change = np.flatnonzero(values[known[:-1]] * values[known[1:]] < 0)
    return (float(RADII[known[change[0]]]), float(RADII[known[change[0] + 1]])) if change.size else None


def _solve(formula: Formula, theta: float, which: int, bracket: tuple[float, float]) -> float | None:
    """rho with F = 0 on a ray, to rounding; None where the search rule was wrong about the change of sign."""

    def exact(rho: float) -> float:
        return float(_both(_means(formula, *_point(rho, theta)))[which])

    if not exact(bracket[0]) * exact(bracket[1]) <= 0:
        return None
    try:
        return float(optimize.brentq(exact, *bracket, xtol=1e-15, rtol=1e-15))
    except ValueError:  # the moments are not finite somewhere on the way
        return None


def _why_none(formula: Formula) -> str:
    """Where chi_par lies for the two shifts d, each by itself: it need not be on one side of 1 for both."""
    here = _both(_means(formula, 1.0, 0.0))
    values = np.concatenate([_ray(formula, float(theta), here, sure=True) for theta in ANGLES], axis=1)
    reach = f"for every inner scale and shift searched (log(a)^2 + b^2 <= {FARTHEST:g}^2)"
    if not np.isfinite(values).all():
        reach += f", where its moments are known: at {np.isfinite(values).all(0).mean():.0%} of them"
    sides: list[str] = []
    for row in values:
        known = row[np.isfinite(row)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
        side = "above" if low > -NOISE else "below" if high < NOISE else ""
        sides.append(
            f"{f'stays {side} 1' if side else 'meets 1 at no place that holds'}, {1 + low:.4g} to {1 + high:.4g}"
        )
    named = (
        sides[0] if sides[0] == sides[1] else f"{sides[0]}, with the larger shift d, and {sides[1]}, with the smaller,"
    )
    return f"with E f^2 = E f'^2 = 1 at K = 1, chi_par {named} {reach}"
