"""dH/deps at eps = 0 for f + eps psi: what the first step along psi does to the entropy of the output.

On the part of the line where f is not flat, and given that part,

    f monotone    dH/deps = E[psi'(X)/f'(X)]                         (THEORY 1.1: H = H(X) + E log|f'|)
    f folds       the difference quotient of H(f + eps psi) itself   (E[psi'/f'] has no meaning at a fold)

Where psi jumps by J and f does not, the images of the two sides part for one sign of eps and overlap for the other, on
a width |eps J| with the densities a = p/|f'(k-)| and b = p/|f'(k+)|. There the entropy is less by

    |eps J| ((a + b) log(a + b) - a log a - b log b)

so dH/deps from the left and from the right differ. Where the integral diverges the entropy is no smooth function of eps
(f = relu(x)^2, psi = (x + 1/x) exp(-x^2/2): H rises like |eps|^(1/3) for eps < 0), and there is no rate.

| symbol | meaning                                  |
|--------|------------------------------------------|
| k      | a kink of psi, at which it jumps         |
| J      | psi(k+) - psi(k-)                        |
| a, b   | densities of the output beside f(k)      |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isfinite

import numpy as np
import sympy as sp
from scipy import special

from actsmith.errors import NumericsError
from actsmith.formula.formula import Formula
from actsmith.formula.parse import X
from actsmith.formula.primitives import where
from actsmith.theory.entropy import mixed_entropy
from actsmith.theory.law import Array, Law
from actsmith.theory.output import UNDERFLOW, branches_of, overlap
from actsmith.theory.quadrature import NEGLIGIBLE, Estimate, Nodes, nodes

__all__ = ["EntropyRates", "entropy_rates", "moved_entropy", "variance_fault"]

RESOLVED = 1e-3  # a rate with a larger relative error is none: a divergent sum has at least 0.5%
ROUNDING = 1e-9
TOLERANCE = 1e-11
HALVINGS = 4
BESIDE = 1e-12  # how far from a kink its two sides are looked at
STEP = 0.002
STEPS = 7  # down to STEP/64
SHRINKING = 0.75  # a term like |eps|^1.5 halves the change at 0.71, one like eps log|eps| leaves it


@dataclass(frozen=True)
class EntropyRates:
    """dH/deps in nats, from the left (eps < 0) and from the right (eps > 0), and the jumps of psi that part them."""

    below: Estimate
    above: Estimate
    jumps: tuple[float, ...] = ()


def entropy_rates(f: Formula, psi: Formula, law: Law) -> EntropyRates:
    """dH/deps of f + eps psi at eps = 0, on the part of the line where f is not flat and given that part.

    Raises:
        NumericsError: it does not exist or is not resolved; says why, and where.
    """
    branches = branches_of(f, law)
    if not overlap(branches.branches):
        smooth = _mean_ratio(f, psi, law)
        return _with_jumps(f, psi, law, smooth)
    if not branches.folds and (jumps := [k for k, _ in _jumps(f, psi, law)]):
        raise NumericsError(f"dH/deps: psi jumps at x = {jumps[0]:.6g} and f turns at a kink; that is not resolved")
    rate = _difference_quotient(f, psi, law)
    return EntropyRates(rate, rate)


def _resolved(rate: Estimate) -> bool:
    return isfinite(rate.value) and rate.error <= RESOLVED * abs(rate.value) + ROUNDING


def _moving_mass(f: Formula, law: Law) -> float:
    ends = [piece.bounds for piece in f.pieces if not piece.is_constant]
    return sum(float(law.cdf(high) - law.cdf(low)) for low, high in ends)


def variance_fault(f: Formula, psi: Formula, law: Law) -> str:
    """Why f + eps psi has no finite variance, however small eps is, as where f' has a root and psi a pole; else "".

    E psi^2 is summed to 1e-37 beside every kink, so that what diverges there shows.
    """
    low, high = law.support
    splits = (*f.kinks, *psi.kinks, *law.breakpoints, *branches_of(f, law).saddles)
    rule = nodes(splits, low=low, high=high, cut=law.cut)
    with np.errstate(all="ignore"):
        terms = psi(rule.x) ** 2 * law.pdf(rule.x)
    terms = np.where(~np.isfinite(terms) & (law.pdf(rule.x) * rule.w < NEGLIGIBLE), 0.0, terms)
    if np.isfinite(terms).all():
        total = rule.integrate(terms)
        if total.error <= RESOLVED * total.value:
            return ""
    return f"E psi^2 does not converge {_place(terms, law, rule, splits)}: f + eps psi has no finite variance"


# ------------------------------------------------------------------------------------------------ monotone f


def _mean_ratio(f: Formula, psi: Formula, law: Law) -> Estimate:
    """E[psi'/f' | f is not flat]; the roots of f' at which f does not turn are ends of panels like the kinks."""
    low, high = law.support
    splits = (*f.kinks, *psi.kinks, *law.breakpoints, *branches_of(f, law).saddles)
    best = Estimate(np.nan, inf)
    for level in range(HALVINGS):
        rule = nodes(splits, low=low, high=high, cut=law.cut, step=0.1 / 2**level)
        terms = _ratio(f, psi, law, rule)
        if not np.isfinite(terms).all():
            best = Estimate(np.nan, inf)
            break
        total = rule.integrate(terms)
        if total.error < best.error:
            best = total
        if best.error <= TOLERANCE * max(1.0, abs(best.value)):
            break
    if not _resolved(best):
        size = f" (error {best.error:.1e})" if isfinite(best.error) else ""
        raise NumericsError(f"E[psi'/f'] does not converge {_place(terms, law, rule, splits)}{size}")
    mass = _moving_mass(f, law)
    return Estimate(best.value / mass, best.error / mass)


def _ratio(f: Formula, psi: Formula, law: Law, rule: Nodes) -> Array:
    """p psi'/f' at the nodes, 0 where f is flat; by logarithms where a factor underflows, so that no tail is lost."""
    x, p = rule.x, law.pdf(rule.x)
    change, slope = psi.jet(x, 1)[1], f.jet(x, 1)[1]
    flat = np.zeros(x.shape, bool)
    for piece in f.pieces:
        if piece.is_constant:
            flat |= (piece.bounds[0] < x) & (x < piece.bounds[1])
    tiny = ~flat & (np.minimum(np.minimum(np.abs(change), np.abs(slope)), p) < UNDERFLOW)
    with np.errstate(all="ignore"):
        value = p * change / slope
        log = law.logpdf(x[tiny]) + psi.log_abs_derivative(x[tiny]) - f.log_abs_derivative(x[tiny])
        # a sign that has underflowed is taken as +: what such a node adds is nothing, or infinite and refused
        value[tiny] = np.where((change[tiny] < 0) == (slope[tiny] < 0), 1.0, -1.0) * np.exp(log)
    lost = np.isnan(value) & (p * rule.w < NEGLIGIBLE)
    return np.where(flat | lost, 0.0, value)


def _place(terms: Array, law: Law, rule: Nodes, splits: tuple[float, ...]) -> str:
    """Where the integrand has its largest share, in words; of several poles the one with the most mass beside it."""
    with np.errstate(all="ignore"):
        share = np.where(np.isfinite(terms), np.abs(terms), law.pdf(rule.x) / NEGLIGIBLE) * rule.w
    x = float(rule.x[np.argmax(share)])
    points = [point for point in (*splits, *law.support) if isfinite(point)] or [0.0]
    nearest = min(points, key=lambda point: abs(point - x))
    outside = not min(points) <= x <= max(points)
    if outside and abs(x - nearest) > law.quantile(0.75) - law.quantile(0.25):
        return f"in the {'left' if x < nearest else 'right'} tail"
    return f"near x = {nearest:.4g}"


def _jumps(f: Formula, psi: Formula, law: Law) -> list[tuple[float, Array]]:
    """(k, points left and right of k) of every jump of psi inside the support at which f is continuous and moving."""
    low, high = law.support
    found = []
    for k in sorted({*f.kinks, *psi.kinks}):
        if not low < k < high:
            continue
        sides = k + BESIDE * max(1.0, abs(k)) * np.array([-1.0, 1.0])
        flat = [piece.is_constant for x in sides for piece in f.pieces if piece.bounds[0] < x < piece.bounds[1]]
        size, height = (ROUNDING * (1 + np.abs(g(sides)).max()) for g in (f, psi))
        if not any(flat) and abs(np.ptp(f(sides))) <= size and abs(np.ptp(psi(sides))) > height:
            found.append((k, sides))
    return found


def _with_jumps(f: Formula, psi: Formula, law: Law, smooth: Estimate) -> EntropyRates:
    """The rates on both sides of eps = 0: `smooth` where the images part, less by the overlap's entropy elsewhere."""
    mass, lost = _moving_mass(f, law), {-1: 0.0, 1: 0.0}
    jumps = _jumps(f, psi, law)
    for k, sides in jumps:
        slope = f.jet(sides, 1)[1]
        with np.errstate(divide="ignore"):
            densities = law.pdf(k) / np.abs(slope)
        jump = float(np.diff(psi(sides))[0] * np.sign(slope[0]))
        shared = float(special.entr(densities).sum() - special.entr(densities.sum()))
        lost[-1 if jump > 0 else 1] += abs(jump) * shared / mass  # eps jump < 0: the images overlap
    error = smooth.error + ROUNDING * (lost[-1] + lost[1])
    below, above = Estimate(smooth.value + lost[-1], error), Estimate(smooth.value - lost[1], error)
    return EntropyRates(below, above, tuple(k for k, _ in jumps))


# ------------------------------------------------------------------------------------------------ f that folds


def _difference_quotient(f: Formula, psi: Formula, law: Law) -> Estimate:
    """dH/deps of f + eps psi at 0 by differences of the entropy itself, to fourth order, with flat pieces left flat.

    The step is halved from 0.002, at most six times, until the quotient changes by less than 1e-6 of itself. It counts
    as settled while every halving changes it by less than the one before: where H has a term like eps log|eps|, the
    change stays the same for ever, however small it is beside the quotient.
    """
    shape = _still_where_flat(f, psi)
    found: dict[float, Estimate] = {}

    def level(eps: float) -> Estimate:
        if eps not in found:
            moved = Formula(f.bound + sp.Rational(f"{eps:.12g}") * shape, name=f"{f.name}{eps:+g}*psi")
            found[eps] = mixed_entropy(moved, law)
        return found[eps]

    quotients = [_quotient(level, 2 * STEP)]
    changes: list[float] = []
    for k in range(STEPS):
        quotients.append(_quotient(level, STEP / 2**k))
        changes.append(max(abs(quotients[-1].value - quotients[-2].value), quotients[-1].error))
        close = changes[-1] <= 1e-6 * abs(quotients[-1].value) + ROUNDING
        if len(changes) > 1 and (close or _shrinking(changes) > 1):
            break
    ratio = 0.0 if close else _shrinking(changes)
    error = changes[-1] / (1 - ratio) + quotients[-1].error if ratio < SHRINKING else inf
    best = Estimate(quotients[-1].value, error)
    if not _resolved(best):
        raise NumericsError(
            f"the differences of H(f + eps psi) do not settle as eps -> 0 (changes of {changes[-2]:.1e} and "
            f"{changes[-1]:.1e} about {best.value:.3g}), so dH/deps is not resolved"
        )
    mass = _moving_mass(f, law)
    return Estimate(best.value / mass, best.error / mass)


def moved_entropy(f: Formula, psi: Formula, law: Law, eps: float) -> Estimate:
    """H(f + eps psi) where f is not flat and given that part, with flat pieces left flat, up to a constant of f alone.

    Raises:
        NumericsError: it is not resolved.
    """
    shape = _still_where_flat(f, psi)
    moved = Formula(f.bound + sp.Rational(f"{eps:.12g}") * shape, name=f"{f.name}{eps:+g}*psi")
    found, mass = mixed_entropy(moved, law), _moving_mass(f, law)
    return Estimate(found.value / mass, found.error / mass)


def _quotient(level: Callable[[float], Estimate], h: float) -> Estimate:
    """H'(0) from H at -2h, -h, h and 2h."""
    a, b, c, d = (level(j * h) for j in (-2, -1, 1, 2))
    value = (a.value - 8 * b.value + 8 * c.value - d.value) / (12 * h)
    return Estimate(value, (a.error + 8 * b.error + 8 * c.error + d.error) / (12 * h))


def _shrinking(changes: list[float]) -> float:
    """By what factor the last two halvings shrank the change, at worst; 0 while that is not known."""
    return max(after / before for before, after in pairwise(changes[-3:])) if len(changes) > 2 else 0.0


def _still_where_flat(f: Formula, psi: Formula) -> sp.Expr:
    """psi where f is not flat, 0 elsewhere: an atom that is moved apart has an entropy like log|eps|, and no rate."""
    pieces = list(f.pieces)
    if not any(piece.is_constant for piece in pieces):
        return psi.expr
    result: sp.Expr = sp.S.Zero if pieces[-1].is_constant else psi.expr
    for left in reversed(pieces[:-1]):
        result = where(X - sp.nsimplify(left.high, rational=True), result, sp.S.Zero if left.is_constant else psi.expr)
    return result
