"""The law of the output Z = f(X): monotone branches, preimages, and the density by change of variables.

    q(z) = sum over branches j with z in f(branch_j) of p(x_j)/|f'(x_j)|,   x_j = f^-1(z) on branch j

plus an atom of mass P(X in piece) for every flat piece. Branches end at kinks and at folds (roots of f'). q has an
inverse-square-root edge at a fold's value, so quadrature splits at every preimage of every branch end.

| symbol | meaning                                        |
|--------|------------------------------------------------|
| fold   | x0 with f'(x0) = 0 where f turns               |
| branch | an interval on which f is strictly monotone    |
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from actsmith.errors import FormulaError, NumericsError
from actsmith.formula.formula import Formula
from actsmith.theory.law import Array, Law
from actsmith.theory.quadrature import Nodes, nodes

__all__ = ["Atom", "Branch", "OutputLaw", "branches_of", "inverse", "log_slope", "output_law", "overlap", "reach"]

MOST_FOLDS = 64
SCAN_STEP = 0.025  # 40 nodes for every factor e of distance from a kink or a centre of the law
UNDERFLOW = 1e-280
SADDLE = 0.02  # a smaller slope at an inflection, relative to the largest, makes log|f'| nearly singular there
FLAT = 1e-13  # a relative change of f below this is rounding, and so is the sign of its slope
LOG_FLOOR = -700.0  # log|f'| at the one node in 1e16 that rounds onto a fold
FOLD_SERIES = 1e-3  # nearer than this to a fold, preimages come from its Taylor polynomial: f(x) - f(x0) cancels


@dataclass(frozen=True)
class Atom:
    """P(Z = value) = mass, from the flat piece low < x < high."""

    value: float
    mass: float
    low: float
    high: float


@dataclass(frozen=True)
class Branch:
    """An interval on which f is strictly monotone, from z_low = f(low+) to z_high = f(high-)."""

    low: float
    high: float
    z_low: float
    z_high: float

    def covers(self, z: Array) -> np.ndarray:
        """Where z is a value of f on the open branch."""
        low, high = sorted((self.z_low, self.z_high))
        inside: np.ndarray = (low < z) & (z < high)
        return inside


@dataclass(frozen=True)
class Branches:
    """How f maps the support of a law: its branches and atoms from left to right, its folds, and the
    saddles where f' comes close to zero without a turn."""

    branches: tuple[Branch, ...]
    atoms: tuple[Atom, ...]
    folds: tuple[float, ...]
    saddles: tuple[float, ...]
    low: float
    high: float


@lru_cache(maxsize=512)
def branches_of(f: Formula, law: Law) -> Branches:
    """The monotone branches and flat pieces of f on the part of the line where `law` has its mass.

    Raises:
        FormulaError: f is not finite on a part of the support that carries mass.
        NumericsError: f folds more than 64 times there.
    """
    low, high = reach(law)
    ends = [low, *(k for k in f.kinks if low < k < high), high]
    rule = nodes((*f.kinks, *law.breakpoints, 0.0), low=low, high=high, step=SCAN_STEP)
    values, slopes, bends = f.jet(rule.x, 2)
    _require_finite(f, law, rule, values)
    core = law.quantile(np.linspace(0.01, 0.99, 99))
    typical, spread = np.abs(f(core)).max(), core[-1] - core[0]
    found: list[Branch] = []
    atoms: list[Atom] = []
    folds: list[float] = []
    saddles: list[float] = []
    for a, b in pairwise(ends):
        inside = (rule.x > a) & (rule.x < b)
        if not np.any(slopes[inside]) and np.ptp(values[inside]) == 0:
            mass = float(law.cdf(b) - law.cdf(a)) if b < law.mean else float(law.survival(a) - law.survival(b))
            atoms.append(Atom(float(values[inside][0]), mass, a, b))
            continue
        certain = np.abs(slopes[inside]) * (spread + np.abs(rule.x[inside])) > FLAT * np.maximum(
            np.abs(values[inside]), typical
        )
        turns = _roots(f, 1, rule.x[inside][certain], slopes[inside][certain])
        folds += turns
        inflections = np.array(_roots(f, 2, rule.x[inside], bends[inside]))
        if len(inflections):
            level = np.abs(f.jet(inflections, 1)[1])
            saddles += [float(x) for x in inflections[level < SADDLE * np.abs(slopes[inside]).max()]]
        for left, right in pairwise([a, *turns, b]):
            inner_left, inner_right = np.nextafter(left, right), np.nextafter(right, left)
            z_low, z_high = f(np.array([inner_left, inner_right]))
            found.append(Branch(left, right, float(z_low), float(z_high)))
    return Branches(tuple(found), tuple(atoms), tuple(folds), tuple(saddles), low, high)


@lru_cache(maxsize=256)
def reach(law: Law) -> tuple[float, float]:
    """The interval that quadrature covers: the support, cut where p(x) |x - centre|^3 has fallen below exp(-48), so
    that neither the entropy nor a second moment sees the rest."""
    low, high = law.support
    points = [p for p in (*law.breakpoints, low, high) if np.isfinite(p)] or [0.0]
    distance = law.cut * np.exp(np.linspace(-8, 0, 161)) if law.cut < 1e6 else np.array([law.cut])
    ends = []
    for end, anchor, side in ((low, min(points), -1), (high, max(points), 1)):
        if np.isfinite(end):
            ends.append(end)
            continue
        x = anchor + side * distance
        gone = law.logpdf(x) + 3 * np.log(distance / law.cut * 40) < -48
        ends.append(float(x[np.argmax(gone)]) if gone.any() else float(x[-1]))
    return ends[0], ends[1]


def _require_finite(f: Formula, law: Law, rule: Nodes, values: Array) -> None:
    bad = ~np.isfinite(values)
    if not bad.any():
        return
    mass = np.where(bad, law.pdf(rule.x) * rule.w, 0.0)
    if mass.sum() > 1e-18:
        at = rule.x[np.argmax(mass)]
        raise FormulaError(
            f"{f.name} is not a finite real number near x = {at:.4g}, where {law} has mass {mass.sum():.2g}; "
            "expected a formula that is defined on the whole support of the law"
        )


def _roots(f: Formula, order: int, x: Array, values: Array) -> list[float]:
    """Where f^(order) changes sign, by bisection between neighbours; values that all but underflow are passed over."""
    ascending = np.argsort(x)
    x, values = x[ascending], values[ascending]
    keep = np.abs(values) > UNDERFLOW
    x, signs = x[keep], np.sign(values[keep])
    at = np.nonzero(signs[:-1] * signs[1:] < 0)[0]
    if not len(at):
        return []
    if len(at) > MOST_FOLDS and order == 1:
        raise NumericsError(f"{f.name} folds more than {MOST_FOLDS} times on the law's support; it is not resolved")
    left, right, sign = x[at].copy(), x[at + 1].copy(), signs[at]
    for _ in range(200):
        middle = 0.5 * (left + right)
        if np.all((middle <= left) | (middle >= right)):
            break
        before = np.sign(f.jet(middle, order)[order]) == sign
        left, right = np.where(before, middle, left), np.where(before, right, middle)
    return [float(r) for r in 0.5 * (left + right)]


@dataclass(frozen=True)
class OutputLaw:
    """Z = f(X) at the nodes of a quadrature rule on the branches: everything an entropy needs.

    Attributes:
        rule: nodes x and weights; expectations are sums over it.
        p: density of X at the nodes, (n,).
        z, slope: f and f' at the nodes, (n,).
        log_q: log of the continuous part of Z's density at z, (n,).
        flat: nodes on a flat piece, where log_q has no meaning, (n,) bool.
        atoms: the point masses of Z.
        branches: the monotone branches.
    """

    rule: Nodes
    p: Array
    z: Array
    slope: Array
    log_q: Array
    flat: np.ndarray
    atoms: tuple[Atom, ...]
    branches: tuple[Branch, ...]

    @property
    def atom_mass(self) -> float:
        return float(sum(a.mass for a in self.atoms))


def output_law(f: Formula, law: Law, step: float = 0.1, extra: tuple[float, ...] = ()) -> OutputLaw:
    """Z = f(X), X ~ law, on a rule of the given step, split also at the points `extra`."""
    b = branches_of(f, law)
    overlapping = overlap(b.branches)
    splits = [0.0, *b.folds, *b.saddles]
    if overlapping:
        # q is not smooth at the ends of the branches' images, nor where a kink of the law's density is mapped to
        ends = [z for branch in b.branches for z in (branch.z_low, branch.z_high)]
        edges = np.unique([*ends, *f(np.array(law.breakpoints))])
        for branch in b.branches:
            inside = edges[branch.covers(edges)]
            if len(inside):
                splits += list(inverse(f, branch, inside))
    points = (*splits, *f.kinks, *law.breakpoints, *extra)
    rule = nodes(points, low=b.low, high=b.high, step=step)
    z, slope = f.jet(rule.x, 1)
    log_p = law.logpdf(rule.x)
    flat = np.zeros(len(rule.x), bool)
    for atom in b.atoms:
        flat |= (rule.x > atom.low) & (rule.x < atom.high)
    own = log_p - log_slope(f, rule.x, slope)
    log_q = np.where(flat, -np.inf, own)
    if overlapping:
        for branch in b.branches:
            beside = _across_fold(branch, b.folds, rule.x)
            elsewhere = ~flat & ((rule.x < branch.low) | (rule.x > branch.high)) & (branch.covers(z) | (beside > 0))
            if elsewhere.any():
                preimage = _preimages(f, branch, beside[elsewhere], rule.x[elsewhere], z[elsewhere])
                term = law.logpdf(preimage) - log_slope(f, preimage, f.jet(preimage, 1)[1])
                log_q[elsewhere] = np.logaddexp(log_q[elsewhere], term)
    return OutputLaw(rule, np.exp(log_p), z, slope, log_q, flat, b.atoms, b.branches)


def log_slope(f: Formula, x: Array, slope: Array) -> Array:
    """log|f'(x)|, through the formula's structure where f' itself underflows."""
    with np.errstate(divide="ignore"):
        log = np.log(np.abs(slope))
    tiny = np.abs(slope) < UNDERFLOW
    if tiny.any():
        log[tiny] = f.log_abs_derivative(x[tiny])
    return np.where(log == -np.inf, LOG_FLOOR, log)


def overlap(branches: tuple[Branch, ...]) -> bool:
    """Whether two branches have values in common: f is not monotone."""
    images = sorted(sorted((b.z_low, b.z_high)) for b in branches)
    return any(left[1] > right[0] for left, right in pairwise(images))


def inverse(f: Formula, branch: Branch, z: Array) -> Array:
    """x on the branch with f(x) = z: a table of f gives the cell, safeguarded Newton the rest.

    Raises:
        NumericsError: it did not converge.
    """
    table = _table(f, branch)
    x, values = table
    cell = np.clip(np.searchsorted(values, z), 1, len(x) - 1)
    rising = branch.z_high > branch.z_low
    low, high = np.minimum(x[cell - 1], x[cell]), np.maximum(x[cell - 1], x[cell])
    with np.errstate(all="ignore"):
        share = (z - values[cell - 1]) / (values[cell] - values[cell - 1])
    guess = np.where(np.isfinite(share), x[cell - 1] + share * (x[cell] - x[cell - 1]), 0.5 * (low + high))
    done = np.zeros(len(z), bool)
    for _ in range(200):
        value, slope = f.jet(guess, 1)
        above = (value > z) == rising
        high, low = np.where(above, guess, high), np.where(above, low, guess)
        with np.errstate(all="ignore"):
            newton = guess - (value - z) / slope
        inside = (newton > low) & (newton < high)
        proposal = np.where(inside, newton, 0.5 * (low + high))
        resolution = 4e-16 * np.abs(guess) + 1e-45
        done |= (np.abs(value - z) <= 4e-16 * np.abs(z)) | (np.abs(newton - guess) <= resolution)
        done |= high - low <= resolution
        if done.all():
            return guess
        guess = np.where(done, guess, proposal)
    raise NumericsError(f"{f.name}: the inverse on ({branch.low:.6g}, {branch.high:.6g}) did not converge")


@lru_cache(maxsize=256)
def _table(f: Formula, branch: Branch) -> tuple[Array, Array]:
    """x ordered so that f(x) ascends, with f(x), on the branch and at its ends."""
    rule = nodes((0.0,) if branch.low < 0 < branch.high else (), low=branch.low, high=branch.high, step=0.1)
    x = np.sort(np.concatenate([[branch.low, branch.high], rule.x]))
    values = np.concatenate([[branch.z_low], f(x[1:-1]), [branch.z_high]])
    if branch.z_high < branch.z_low:
        x, values = x[::-1], values[::-1]
    return x, np.maximum.accumulate(values)


def _across_fold(branch: Branch, folds: tuple[float, ...], x: Array) -> np.ndarray:
    """1 where x lies just across the fold that ends the branch on its left, 2 on its right, else 0."""
    near = FOLD_SERIES * np.maximum(1.0, np.abs(x))
    left = (branch.low in folds) & (x < branch.low) & (branch.low - x < near)
    right = (branch.high in folds) & (x > branch.high) & (x - branch.high < near)
    return np.where(left, 1, np.where(right, 2, 0))


def _preimages(f: Formula, branch: Branch, beside: np.ndarray, x: Array, z: Array) -> Array:
    """Preimages on `branch` of z = f(x), x on other branches; by the fold's Taylor polynomial when x is just across a
    fold that ends the branch, where z - f(fold) has lost its digits."""
    result = np.empty_like(x)
    for side, fold in ((1, branch.low), (2, branch.high)):
        near = beside == side
        if near.any():
            result[near] = fold + _reflect(f, fold, x[near] - fold)
    far = beside == 0
    if far.any():
        result[far] = inverse(f, branch, z[far])
    return result


def _reflect(f: Formula, fold: float, d: Array) -> Array:
    """d' on the other side of a fold with T(d') = T(d), T the Taylor polynomial of f about the fold to order 4.

    With c = f3/(3 f2), e = f4/(12 f2):  d'^2 (1 + c d' + e d'^2) = d^2 (1 + c d + e d^2), by fixed-point iteration.
    """
    h = 1e-2 * max(1.0, abs(fold))
    f2 = f.jet(fold + h * np.arange(-2.0, 3.0), 2)[2]
    third = (f2[0] - 8 * f2[1] + 8 * f2[3] - f2[4]) / (12 * h)
    fourth = (-f2[0] + 16 * f2[1] - 30 * f2[2] + 16 * f2[3] - f2[4]) / (12 * h * h)
    c, e = third / (3 * f2[2]), fourth / (12 * f2[2])
    target = d * np.sqrt(1 + c * d + e * d * d)
    other = -d
    for _ in range(8):
        other = -target / np.sqrt(1 + c * other + e * other * other)
    return other
