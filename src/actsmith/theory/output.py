"""The law of the output Z = f(X): monotone branches, preimages, and the density by change of variables.

    q(z) = sum over branches j with z in f(branch_j) of p(x_j)/|f'(x_j)|,   x_j = f^-1(z) on branch j

plus an atom of mass P(X in piece) for every flat piece. Branches end at kinks and at folds (roots of f'). q has an
inverse-square-root edge at a fold's value, so quadrature splits at every preimage of every branch end.

| symbol | meaning                                        |
|--------|------------------------------------------------|
| fold   | x0 with f'(x0) = 0 where f turns               |
| branch | an interval on which f is strictly monotone    |
| T      | distance of z from f at an end of a branch     |

Preimages come by Newton's method on f, near a fold from its Taylor polynomial, and wherever z is so near to f at an end
of the branch that the difference has lost its digits, from T (`actsmith.theory.preimages`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np

from actsmith.errors import FormulaError, NumericsError
from actsmith.formula.formula import Formula
from actsmith.theory.law import Array, Law
from actsmith.theory.preimages import Branch, ends_of, inverse, preimage_at
from actsmith.theory.quadrature import Nodes, nodes

__all__ = ["Atom", "Branch", "OutputLaw", "branches_of", "inverse", "log_slope", "output_law", "overlap", "reach"]

MOST_FOLDS = 64
SCAN_STEP = 0.025  # 40 nodes for every factor e of distance from a kink or a centre of the law
SCAN_POINTS = 801
UNDERFLOW = 1e-280
SADDLE = 0.02  # a smaller slope at an inflection, relative to the largest, makes log|f'| nearly singular there
FLAT = 1e-13  # a relative change of f below this is rounding, and so is the sign of its slope
NARROW = 1e-13  # a fold this near to a kink is the kink, found again
LOG_FLOOR = -700.0  # log|f'| at the one node in 1e16 that rounds onto a fold
CANCELLED = 1e-8  # a difference of values of f below this, relative to f's size, has lost half its digits
SAME = 1e-13  # ends of branches whose values differ by less, relative to f's size, are one value
MOST_WORK = 10_000_000  # nodes times branches: some seconds at half a microsecond each
LOG_TWO = 0.6931471805599453
WEIGHTLESS = 1e-19  # what a node or a branch of a smaller probability does to the entropy cannot be seen
TAYLOR = 0.1  # the Taylor polynomial of a fold serves where its third and fourth order change it by less than this
FOLD_SERIES = 1e-3  # nearer than this to a fold, preimages come from its Taylor polynomial: f(x) - f(x0) cancels


@dataclass(frozen=True)
class Atom:
    """P(Z = value) = mass, from the flat piece low < x < high."""

    value: float
    mass: float
    low: float
    high: float


@dataclass(frozen=True)
class Branches:
    """How f maps the support of a law: its branches and atoms from left to right, its folds, and the
    saddles where f' comes close to zero without a turn, and how large |f| typically is."""

    branches: tuple[Branch, ...]
    atoms: tuple[Atom, ...]
    folds: tuple[float, ...]
    saddles: tuple[float, ...]
    low: float
    high: float
    typical: float

    def size(self, branch: Branch) -> float:
        """How large |f| is on a branch; its rounding is that of this size."""
        return max(min(self.typical, max(map(abs, branch.ends()))), 1e-300)


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
    _require_finite(f, law, rule, f(rule.x))
    core = law.quantile(np.linspace(0.01, 0.99, 99))
    # The rule is sparse between its centres, where folds of f may be: a uniform grid over the bulk sees those.
    first, last = law.quantile(np.array([1e-9, 1 - 1e-9])).tolist()
    bulk = np.linspace(first, last, SCAN_POINTS)
    scan = np.union1d(rule.x, bulk[(bulk > low) & (bulk < high)])
    values, slopes, bends = f.jet(scan, 2)
    typical, spread = np.abs(f(core)).max(), core[-1] - core[0]
    found: list[Branch] = []
    atoms: list[Atom] = []
    folds: list[float] = []
    saddles: list[float] = []
    for a, b in pairwise(ends):
        inside = (scan > a) & (scan < b)
        if not np.any(slopes[inside]) and np.ptp(values[inside]) == 0:
            mass = float(law.cdf(b) - law.cdf(a)) if b < law.mean else float(law.survival(a) - law.survival(b))
            atoms.append(Atom(float(values[inside][0]), mass, a, b))
            continue
        inflections = np.array(_roots(f, 2, scan[inside], bends[inside]))
        level = f.jet(inflections, 1)[1] if len(inflections) else inflections
        # Folds come in pairs between two nodes: there f' has its other sign at the inflection between them.
        x, slope = np.concatenate([scan[inside], inflections]), np.concatenate([slopes[inside], level])
        value = np.concatenate([values[inside], f(inflections) if len(inflections) else inflections])
        with np.errstate(over="ignore"):
            rise, size = np.abs(slope) * (spread + np.abs(x)), np.abs(value)
            certain = rise > FLAT * np.maximum(size, typical)
        borne_out = _borne_out(scan[inside], values[inside], slopes[inside])
        certain[: borne_out.size] |= borne_out & (rise > FLAT * size)[: borne_out.size]
        turns = [t for t in _roots(f, 1, x[certain], slope[certain]) if min(t - a, b - t) > NARROW * max(1.0, abs(t))]
        folds += turns
        if len(inflections):
            flat = np.abs(level) < SADDLE * np.abs(slopes[inside]).max()
            saddles += [float(x) for x in inflections[flat]]
        for left, right in pairwise([a, *turns, b]):
            inner_left, inner_right = np.nextafter(left, right), np.nextafter(right, left)
            z_low, z_high = f(np.array([inner_left, inner_right]))
            found.append(Branch(left, right, float(z_low), float(z_high)))
    size = float(typical) if np.isfinite(typical) else 1.0
    return Branches(tuple(found), tuple(atoms), tuple(folds), tuple(saddles), low, high, size)


def _borne_out(x: Array, values: Array, slopes: Array) -> np.ndarray:
    """Where the slope is that of the differences of f to both sides, so that it is no rounding: f may be far smaller
    here than it typically is."""
    with np.errstate(all="ignore"):
        secants = np.diff(values) / np.diff(x)
        agree = [
            (0.5 * each < near) & (near < 2 * each)
            for each, near in (
                (np.abs(slopes[:-1]), secants * np.sign(slopes[:-1])),
                (np.abs(slopes[1:]), secants * np.sign(slopes[1:])),
            )
        ]
    result: np.ndarray = np.concatenate([agree[0], [False]]) & np.concatenate([[False], agree[1]])
    return result


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
        raise NumericsError(
            f"{f.name[:60]} folds {len(at)} times or more on the law's support, more than {MOST_FOLDS}: the density of "
            "its output is not resolved. The smoothed entropy needs no inverse"
        )
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
        doubt: how far off log_q may be because a preimage is, (n,).
        flat: nodes on a flat piece, where log_q has no meaning, (n,) bool.
        atoms: the point masses of Z.
        branches: the monotone branches.
    """

    rule: Nodes
    p: Array
    z: Array
    slope: Array
    log_q: Array
    doubt: Array
    flat: np.ndarray
    atoms: tuple[Atom, ...]
    branches: tuple[Branch, ...]

    @property
    def atom_mass(self) -> float:
        return float(sum(a.mass for a in self.atoms))


@lru_cache(maxsize=8)  # its entropy and its picture follow each other
def output_law(f: Formula, law: Law, step: float = 0.1, extra: tuple[float, ...] = ()) -> OutputLaw:
    """Z = f(X), X ~ law, on a rule of the given step, split also at the points `extra`.

    Raises:
        FormulaError, NumericsError: as `branches_of`; f has so many branches that their preimages take too long.
    """
    b = branches_of(f, law)
    overlapping = overlap(b.branches)
    splits = [0.0, *b.folds, *b.saddles]
    if overlapping:
        splits += _preimages_of_edges(f, law, b)
    points = (*splits, *f.kinks, *law.breakpoints, *extra)
    rule = nodes(points, low=b.low, high=b.high, step=step)
    z, slope = f.jet(rule.x, 1)
    log_p = law.logpdf(rule.x)
    flat = np.zeros(len(rule.x), bool)
    for atom in b.atoms:
        flat |= (rule.x > atom.low) & (rule.x < atom.high)
    log_q = np.where(flat, -np.inf, log_p - log_slope(f, rule.x, slope))
    doubt = np.zeros(len(rule.x))
    if overlapping:
        counts = ~flat & (np.exp(log_p) * rule.w > WEIGHTLESS)
        branches = tuple(branch for branch in b.branches if _mass(law, branch) > WEIGHTLESS)
        if (work := int(counts.sum()) * len(branches)) > MOST_WORK:
            raise NumericsError(
                f"{f.name[:60]} has {len(branches)} monotone branches under {law}: the {work:.1e} preimages would take "
                "too long. The smoothed entropy needs none"
            )
        _add_other_branches(f, law, replace(b, branches=branches), (rule.x, z, counts), (log_q, doubt))
    return OutputLaw(rule, np.exp(log_p), z, slope, log_q, doubt, flat, b.atoms, b.branches)


def _preimages_of_edges(f: Formula, law: Law, b: Branches) -> list[float]:
    """q is not smooth at the ends of the branches' images, nor where a kink of the law's density is mapped to."""
    ends = np.array([z for branch in b.branches for z in branch.ends()])
    mapped = f(np.array(law.breakpoints))
    values = np.unique(np.concatenate([ends, mapped[np.isfinite(mapped)]]))
    values = values[np.isfinite(values)]
    gap = SAME * np.maximum(np.abs(values), min(b.size(branch) for branch in b.branches))
    apart = np.concatenate([[True], np.diff(values) > gap[1:]])[: values.size]
    edges, gap = values[apart], gap[apart]
    found: list[float] = []
    for branch in b.branches:
        low, high = sorted(branch.ends())
        inside = edges[branch.covers(edges) & (edges > low + gap) & (edges < high - gap)]
        if len(inside):
            found += inverse(f, branch, inside)[0].tolist()
    return found


def _mass(law: Law, branch: Branch) -> float:
    """P(X on the branch), by the smaller tail."""
    below = float(law.cdf(branch.high) - law.cdf(branch.low))
    return below if branch.high < law.mean else float(law.survival(branch.low) - law.survival(branch.high))


def _add_other_branches(
    f: Formula, law: Law, b: Branches, at_nodes: tuple[Array, Array, np.ndarray], into: tuple[Array, Array]
) -> None:
    """Add to log q, and to its doubt, at the nodes that count what the other branches give."""
    (x, z, counts), (all_log_q, all_doubt) = at_nodes, into
    x, z, log_q, doubt = x[counts], z[counts], all_log_q[counts], all_doubt[counts]
    flat = np.zeros(x.shape, bool)
    near = _near_ends(f, b, x, z, flat)
    spread = max(float(np.ptp(law.quantile(np.array([0.25, 0.75])))), 1e-300)
    for branch in b.branches:
        outside = ~flat & ((x < branch.low) | (x > branch.high))
        beside = _across_fold(f, branch, b.folds, x)
        matched, distance, right = near.on(branch)
        lost = outside & matched & (beside == 0)
        unseen = lost & ~(distance > UNDERFLOW)  # as deep in the tail of another branch: q may be twice what is known
        doubt[unseen] += LOG_TWO
        lost &= ~unseen
        plain = outside & ~lost & ~unseen & (branch.covers(z) | (beside > 0)) & np.isfinite(z)
        preimage, off, reached = np.full(x.shape, np.nan), np.zeros(x.shape), plain.copy()
        for side in (False, True):
            here = lost & (right == side)
            if here.any():
                preimage[here], reached[here] = preimage_at(f, branch, side, distance[here])
        if plain.any():
            preimage[plain], off[plain] = _preimages(f, branch, beside[plain], x[plain], z[plain])
        if not reached.any():
            continue
        at = preimage[reached]
        slope = f.jet(at, 1)[1]
        term = law.logpdf(at) - log_slope(f, at, slope)
        before = log_q[reached]
        log_q[reached] = np.logaddexp(before, term)
        # dx of a preimage changes log p by about dx over the law's width, log|f'| by dx over the distance to an end.
        with np.errstate(all="ignore"):
            rounding = np.where(beside[reached] > 0, 0.0, np.spacing(np.abs(z[reached])) / np.abs(slope))
            rounding[lost[reached]] = 0.0
            room = np.minimum(np.abs(at - branch.low), np.abs(at - branch.high)) + np.abs(at) * 1e-16
            wrong = (off[reached] + rounding) * (1 / room + 1 / spread) * np.exp(term - log_q[reached])
        doubt[reached] += np.minimum(np.nan_to_num(wrong, nan=10.0, posinf=10.0), 10.0)
    all_log_q[counts], all_doubt[counts] = log_q, doubt


@dataclass(frozen=True, eq=False)
class _NearEnds:
    """Nodes whose z has lost its digits beside the value at an end of their branch.

    Attributes:
        near: whether a node is one, (n,).
        value: the value at that end, (n,).
        distance: T to it, (n,).
        above: whether z is larger than the value, (n,).
        branches: of f, whose sizes say within which two values are one.
    """

    near: np.ndarray
    value: Array
    distance: Array
    above: np.ndarray
    branches: Branches

    def on(self, branch: Branch) -> tuple[np.ndarray, Array, np.ndarray]:
        """Which nodes' values a branch has beside an end of its own, their T, and whether that is its right end."""
        matched, right = np.zeros(self.near.shape, bool), np.zeros(self.near.shape, bool)
        if self.near.any():
            gap = SAME * self.branches.size(branch)
            for is_right, (end, other) in enumerate((branch.ends(), branch.ends()[::-1])):
                here = self.near & (np.abs(self.value - end) <= gap) & (self.above == (other > end))
                matched |= here
                right[here] = bool(is_right)
        return matched, self.distance, right


def _near_ends(f: Formula, b: Branches, x: Array, z: Array, flat: np.ndarray) -> _NearEnds:
    near, above = np.zeros(x.shape, bool), np.zeros(x.shape, bool)
    value, distance = np.full(x.shape, np.nan), np.full(x.shape, np.nan)
    ends = [end for branch in b.branches for end in branch.ends()]
    for branch in b.branches:
        on = ~flat & (x > branch.low) & (x < branch.high)
        gap, reach_of_end = SAME * b.size(branch), CANCELLED * b.size(branch)
        for right, (end, other) in enumerate((branch.ends(), branch.ends()[::-1])):
            if not np.isfinite(end) or sum(abs(end - e) <= gap for e in ends) < 2:
                continue
            here = on & (np.abs(z - end) <= reach_of_end) & (np.abs(z - end) <= np.abs(z - other))
            if here.any():
                near[here], value[here], above[here] = True, end, other > end
                distance[here] = ends_of(f, branch, bool(right)).distance(x[here])
    return _NearEnds(near, value, distance, above, b)


def log_slope(f: Formula, x: Array, slope: Array) -> Array:
    """log|f'(x)|, through the formula's structure where f' itself underflows."""
    with np.errstate(divide="ignore"):
        log = np.log(np.abs(slope))
    tiny = ~((np.abs(slope) >= UNDERFLOW) & np.isfinite(slope))
    if tiny.any():
        log[tiny] = f.log_abs_derivative(x[tiny])
    return np.where(log == -np.inf, LOG_FLOOR, log)


def overlap(branches: tuple[Branch, ...]) -> bool:
    """Whether two branches have values in common: f is not monotone."""
    images = sorted(sorted((b.z_low, b.z_high)) for b in branches)
    return any(left[1] > right[0] for left, right in pairwise(images))


def _across_fold(f: Formula, branch: Branch, folds: tuple[float, ...], x: Array) -> np.ndarray:
    """1 where x lies just across the fold that ends the branch on its left, 2 on its right, else 0; near a fold whose
    Taylor polynomial does not serve, of higher order or beside a kink, always 0."""
    near = FOLD_SERIES * np.maximum(1.0, np.abs(x))
    left = (branch.low in folds and _parabolic(f, branch.low)) & (x < branch.low) & (branch.low - x < near)
    right = (branch.high in folds and _parabolic(f, branch.high)) & (x > branch.high) & (x - branch.high < near)
    return np.where(left, 1, np.where(right, 2, 0))


def _preimages(f: Formula, branch: Branch, beside: np.ndarray, x: Array, z: Array) -> tuple[Array, Array]:
    """Preimages on `branch` of z = f(x), x on other branches, and how far off they may be; by the fold's Taylor
    polynomial when x is just across a fold that ends the branch, where z - f(fold) has lost its digits."""
    result, off = np.empty_like(x), np.zeros_like(x)
    for side, fold in ((1, branch.low), (2, branch.high)):
        near = beside == side
        if near.any():
            result[near] = fold + _reflect(f, fold, x[near] - fold)
    far = beside == 0
    if far.any():
        result[far], off[far] = inverse(f, branch, z[far])
    return result, off


@lru_cache(maxsize=1024)
def _taylor(f: Formula, fold: float) -> tuple[float, float, float]:
    """f2, c = f3/(3 f2) and e = f4/(12 f2) at a fold."""
    h = 1e-2 * max(1.0, abs(fold))
    with np.errstate(all="ignore"):
        f2 = f.jet(fold + h * np.arange(-2.0, 3.0), 2)[2]
        third = (f2[0] - 8 * f2[1] + 8 * f2[3] - f2[4]) / (12 * h)
        fourth = (-f2[0] + 16 * f2[1] - 30 * f2[2] + 16 * f2[3] - f2[4]) / (12 * h * h)
        return float(f2[2]), float(third / (3 * f2[2])), float(fourth / (12 * f2[2]))


def _parabolic(f: Formula, fold: float) -> bool:
    """Whether the Taylor polynomial of order 4 is f near the fold: the fold is of order 2, and no kink is near."""
    near = 2 * FOLD_SERIES * max(1.0, abs(fold))
    if any(abs(k - fold) < 40 * near for k in f.kinks):
        return False
    f2, c, e = _taylor(f, fold)
    return bool(np.isfinite([f2, c, e]).all() and f2 != 0 and abs(c) * near < TAYLOR and abs(e) * near**2 < TAYLOR**2)


def _reflect(f: Formula, fold: float, d: Array) -> Array:
    """d' on the other side of a fold with T(d') = T(d), T the Taylor polynomial of f about the fold to order 4.

    With c = f3/(3 f2), e = f4/(12 f2):  d'^2 (1 + c d' + e d'^2) = d^2 (1 + c d + e d^2), by fixed-point iteration.
    """
    _, c, e = _taylor(f, fold)
    target = d * np.sqrt(1 + c * d + e * d * d)
    other = -d
    for _ in range(8):
        other = -target / np.sqrt(1 + c * other + e * other * other)
    return other
