"""Signal propagation at large width: the kernel K, its recursion and its two susceptibilities.

    K' = C_b + C_W g(K),   chi_par = C_W g'(K),   chi_perp = C_W E[s'(z)^2],   z ~ N(0, K)

("The Principles of Deep Learning Theory", Roberts, Yaida, Hanin 2022, chapters 4 and 5.) f and f' are evaluated once,
on nodes that crowd geometrically at 0 and at every kink; after that each K is one row of Gaussian weights, so that one
matrix product serves a whole array of K between SMALLEST_K and LARGEST_K. Other K get nodes of their own.

| symbol | meaning                                                             | shape  |
|--------|---------------------------------------------------------------------|--------|
| s, s'  | the activation and its pointwise derivative at the nodes            | (n,)   |
| g      | E[s^2]                                                              | K's    |
| g'     | E[z s s']/K; where s jumps E[(z^2 - K) s^2]/(2 K^2)                 | K's    |
| g''    | E[(z^2 - 3K) z s s']/(2 K^3); undefined where s jumps               | K's    |

Both forms of g' follow by parts on the Gaussian. The first needs a continuous s and is the more accurate: at small K
with s(0) != 0 the second loses eps/K, the first eps/sqrt(K); for bounded s at large K the second loses sqrt(K).
The second holds for every s. A pointwise s'' is used nowhere: kinks would be missed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actsmith.errors import NumericsError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula
from actsmith.theory import adaptive
from actsmith.theory.arguments import number, numbers, whole
from actsmith.theory.closed import closed_moments
from actsmith.theory.expansion import kernel_expansion
from actsmith.theory.quadrature import EPS, SLOWEST, STEEPEST, Nodes, nodes

__all__ = ["Moments", "Susceptibilities", "kernel_flow", "moments", "susceptibilities"]

Array = NDArray[np.float64]

SMALLEST_K, LARGEST_K = 1e-30, 1e8
# Every Gaussian weight beyond 40 standard deviations is below the smallest float64.
CUT = 40.0
# The error estimate is the rule with twice the step: at 1/8 it is right to rounding for an f that is analytic within 45
# degrees of the real axis. What has poles nearer to it, or oscillates, asks for a finer step.
STEPS = (1 / 16, 1 / 32, 1 / 64, 1 / 128)
# Resolved: two steps agree to this fraction of the integral of |v|; the finer is then right to about its square.
RESOLVED = 1e-10
# Halving the step must reduce the error of a K at least tenfold, or that K is given up: it oscillates too fast.
HOPELESS = 0.1
# Larger integrands count as infinite.
HUGE = 1e250
# Where the expansion of g at 0 is tried in place of the quadrature: it takes a tenth of the time.
SERIES_FROM = (1e-2, 1e-3, 1e-4)
# Rows of the weight matrix made at once.
ROWS = 32
# exp(-u) is 1 in float64 for smaller u.
FLAT = 1e-17
# |v| that grows towards a point like d^-POLE or faster has no integral there; log d would need 1e300.
POLE = 0.985
# The number of K up to which what the quadrature leaves unresolved is integrated by halved panels: a scan has more.
FEW = 8
# A number of the recursion must be right to this, relatively, or there is none.
KNOWN = 1e-6
# What is shown with its error must be right to this, relatively.
RELIED = 1e-3
# f is taken to jump where its values on both sides of a kink, at most 1e-16 apart, differ by this.
JUMP = 1e-5

S2, ZSD, D2, S4, Z3SD, Z2S2 = range(6)


@dataclass(frozen=True, eq=False)
class Moments:
    """Gaussian moments of an activation at the kernel values K; every array has K's shape.

    Attributes:
        g: E[s^2].
        dg: g'(K) = chi_par/C_W.
        perp: E[s'^2] = chi_perp/C_W; infinite where s jumps, because s' is then no function.
        fourth: E[s^4].
        d2g: g''(K); NaN where s jumps.
        g_error, dg_error, perp_error, fourth_error, d2g_error: bounds on their errors, in their units.
    """

    K: Array
    g: Array
    dg: Array
    perp: Array
    fourth: Array
    d2g: Array
    g_error: Array
    dg_error: Array
    perp_error: Array
    fourth_error: Array
    d2g_error: Array


@dataclass(frozen=True)
class Susceptibilities:
    """chi_par = dK'/dK and chi_perp, by which differences perpendicular to the signal and gradients grow per layer."""

    chi_par: float
    chi_perp: float
    chi_par_error: float
    chi_perp_error: float


def moments(f: FormulaLike, K: ArrayLike) -> Moments:
    """g, g', E[s'^2], E[s^4] and g'' for z ~ N(0, K), with errors.

    Values that overflow or diverge are inf; where f is not a number, or the error exceeds the value, NaN. K = 0 gives
    the limits from above.

    Raises:
        NumericsError: a K is negative or not finite.

    >>> round(float(moments("relu", 3.0).g), 12)
    1.5
    """
    formula = resolve(f)
    k = numbers("K", K, low=0.0, empty=True)
    flat = k.reshape(-1)
    value, error = expectations(formula, flat, Z2S2 + 1)
    v, e = list(value.T), list(error.T)
    jumps = table(formula, STEPS[0]).jumps
    with np.errstate(all="ignore"):
        if jumps:
            dg, dg_error = (v[Z2S2] - flat * v[S2]) / (2 * flat**2), (e[Z2S2] + flat * e[S2]) / (2 * flat**2)
            perp, perp_error = np.full_like(flat, np.inf), np.zeros_like(flat)
            d2g, d2g_error = np.full_like(flat, np.nan), np.full_like(flat, np.nan)
        else:
            dg, dg_error, perp, perp_error = v[ZSD] / flat, e[ZSD] / flat, v[D2], e[D2]
            # Division by K^3 in three steps: K^3 itself underflows for K < 1e-103.
            d2g = (v[Z3SD] / flat - 3 * v[ZSD]) / (2 * flat) / flat
            d2g_error = (e[Z3SD] / flat + 3 * e[ZSD]) / (2 * flat) / flat
    for column, bound in ((v[S2], e[S2]), (perp, perp_error), (v[S4], e[S4])):
        # These are means of squares: one that is smaller than its error is not known at all.
        column[np.isfinite(column) & (bound > np.abs(column)) & (flat > 0)] = np.nan
    columns = [flat, v[S2], dg, perp, v[S4], d2g, e[S2], dg_error, perp_error, e[S4], d2g_error]
    if np.any(flat == 0):
        _at_zero(formula, jumps, columns)
    return Moments(*(c.reshape(k.shape) for c in columns))


def _at_zero(formula: Formula, jumps: bool, columns: list[Array]) -> None:
    """Put the limits K -> 0+ where K = 0: from the expansion at 0, else from K = SMALLEST_K."""
    at = columns[0] == 0
    small = moments(formula, SMALLEST_K)
    limits = [small.g, small.dg, small.perp, small.fourth, small.d2g]
    expansion = kernel_expansion(formula)
    if expansion is not None and not jumps:
        g, perp = expansion.g, expansion.perp
        dg = g[2] if g[1] == 0 else math.copysign(math.inf, g[1])
        d2g = 2 * g[4] if g[1] == g[3] == 0 else math.copysign(math.inf, g[3] if g[1] == 0 else -g[1])
        fourth = (expansion.value[0] ** 4 + expansion.value[1] ** 4) / 2
        limits = [np.asarray(limit) for limit in (g[0], dg, perp[0], fourth, d2g)]
    for column, limit in zip(columns[1:6], limits, strict=True):
        column[at] = limit
    for column, limit in zip(columns[6:], limits, strict=True):
        column[at] = abs(limit) * 16 * EPS if np.isfinite(limit) else 0.0


def susceptibilities(f: FormulaLike, K: float, C_W: float) -> Susceptibilities:
    """chi_par = C_W g'(K) and chi_perp = C_W E[s'^2] at z ~ N(0, K), with their errors.

    Raises:
        NumericsError: K or C_W is no finite number, not negative, or the moments are not resolved.

    >>> round(susceptibilities("relu", 1.0, 2.0).chi_par, 12)
    1.0
    """
    formula, k, c_w = resolve(f), number("K", K, low=0.0), number("C_W", C_W, low=0.0)
    m = moments(formula, k)
    par, perp, par_error, perp_error = (float(v) for v in (m.dg, m.perp, m.dg_error, m.perp_error))
    if not (perp_error <= RELIED * abs(perp) or math.isinf(perp)) and np.isfinite(perp_error):
        raise NumericsError(_unresolved(formula, "E[f'(z)^2]", k, perp, perp_error))
    if math.isfinite(par) and not par_error <= RELIED * max(abs(par), min(perp, 1e300)):
        raise NumericsError(_unresolved(formula, "E[z f f']/K", k, par, par_error))
    return Susceptibilities(c_w * par, c_w * perp, c_w * par_error, c_w * perp_error)


def kernel_flow(f: FormulaLike, K0: ArrayLike, depth: int, C_W: float, C_b: float = 0.0) -> Array:
    """K^(0) = K0, K^(l+1) = C_b + C_W g(K^(l)): shape (depth + 1, *K0's shape); inf once it has blown up.

    Raises:
        NumericsError: K0 is negative or no number, depth is no whole number, C_W or C_b is negative or not finite, or
            E[f^2] is not resolved at a K on the way.

    >>> kernel_flow("relu", 1.0, 3, 1.0).round(12).tolist()
    [1.0, 0.5, 0.25, 0.125]
    """
    formula = resolve(f)
    start, depth = numbers("K0", K0, low=0.0, infinite=True), whole("depth", depth)
    C_W, C_b = number("C_W", C_W, low=0.0), number("C_b", C_b, low=0.0)
    g = second_moment(formula)
    flow = np.empty((depth + 1, start.size))
    for i, k in enumerate(start.reshape(-1).tolist()):
        flow[0, i] = k
        for layer in range(depth):
            k = C_b + C_W * g(k) if C_W > 0 else C_b  # noqa: PLW2901
            flow[layer + 1, i] = k
    return flow.reshape(depth + 1, *start.shape)


def _unresolved(formula: Formula, what: str, K: float, value: float, error: float) -> str:
    return (
        f"{what} of {formula.name[:60]} at K = {K:.6g} is not resolved: {value:.4g} with an error of {error:.1e}; "
        "f varies too fast for the quadrature and has no closed form here"
    )


class SecondMoment:
    """g(K) for one K at a time, as the recursion needs it; inf and NaN pass through. Some 6 microseconds a call."""

    def __init__(self, formula: Formula) -> None:
        self.formula = formula
        self.rules: dict[float, tuple[Array, Array, Array]] = {}
        self.steps: dict[int, float | None] = {}
        plain = table(formula, STEPS[0])
        expansion = kernel_expansion(formula)
        self.small = None if expansion is None or not expansion.g.any() else expansion.g
        self.plain = not plain.truncated[S2] and plain.undefined.size == 0 and bool(np.isinf(plain.poles[S2]))
        self.series, self.series_below = self._small_series()

    def _small_series(self) -> tuple[list[float], float]:
        """Coefficients of g in powers of sqrt(K), the highest first, and the K below which they give it to rounding.

        That is where the last two known terms vanish beside g and the sum is what the quadrature says.
        """
        if self.small is None or not self.plain:
            return [], 0.0
        known = self.small[: int(np.argmax(np.isnan(self.small)))] if np.isnan(self.small).any() else self.small
        n = np.arange(known.size)
        for K in SERIES_FROM:
            terms = known * K ** (n / 2)
            exact, error = expectations(self.formula, np.array([K]), 1)
            g = float(exact[0, 0])
            last = np.abs(terms[np.flatnonzero(known)[-2:]]).max()
            if last <= EPS * g and abs(terms.sum() - g) <= 4 * EPS * g + float(error[0, 0]):
                return known[::-1].tolist(), K
        return [], 0.0

    def __call__(self, K: float) -> float:
        if SMALLEST_K <= K < self.series_below:
            root, total = math.sqrt(K), 0.0
            for coefficient in self.series:
                total = total * root + coefficient
            return total
        if not math.isfinite(K):
            return K
        if K < SMALLEST_K and self.small is not None:
            first = int(np.flatnonzero(self.small)[0])  # the terms after the next are eps times this one
            return float(sum(self.small[n] * K ** (n / 2) for n in range(first, min(first + 2, self.small.size))))
        if not (self.plain and SMALLEST_K <= K <= LARGEST_K):
            return self._slow(K)
        decade = math.floor(math.log10(K))
        if decade not in self.steps:
            self.steps[decade] = self._step(decade)
        step = self.steps[decade]
        if step is None:
            return self._slow(K)
        half_square, column, below = self.rules[step]
        flat, reach = half_square.searchsorted((FLAT * K, CUT**2 / 2 * K))
        weight = np.exp(half_square[flat:reach] * (-1 / K))
        return float((weight @ column[flat:reach] + below[flat]) / math.sqrt(2 * math.pi * K))

    def _slow(self, K: float) -> float:
        value, error = (float(v[0, 0]) for v in expectations(self.formula, np.array([K]), 1))
        if math.isfinite(value) and not error <= KNOWN * value:
            raise NumericsError(_unresolved(self.formula, "E[f(z)^2]", K, value, error))
        return value

    def _step(self, decade: int) -> float | None:
        """The coarsest step that resolves s^2 on all of a decade of K; None where none does."""
        k = 10.0 ** (decade + np.linspace(0, 1, 5))
        for step in STEPS:
            t = table(self.formula, step, 1)
            if step not in self.rules:
                self.rules[step] = t.half_square, np.ascontiguousarray(t.columns[:, 0]), t.below[:, 0].copy()
            if _integrate(t, k, 1)[2].max() <= RESOLVED:
                return step
        return None


@lru_cache(maxsize=64)
def second_moment(formula: Formula) -> SecondMoment:
    """The function K -> g(K), cached per formula."""
    return SecondMoment(formula)


# ------------------------------------------------------------------------------------------------ the quadrature


@dataclass(frozen=True, eq=False)
class Table:
    """An activation on a quadrature rule.

    Attributes:
        half_square: u^2/2 at the nodes, in ascending order, (n,).
        columns: for each of m integrands v (s^2, z s s', s'^2, s^4, z^3 s s', z^2 s^2) three columns: v times the
            rule's weights, v times the coarse rule's, |v| times the error bound's. (n, 3m).
        below: sums of the columns over the nodes before each one, (n + 1, 3m).
        truncated: whether an integrand was cut off where it overflows, (m,).
        undefined: the weights where f is not a number, else 0, (n,).
        poles: x^2/2 of the nearest pole that each integrand has no integral at, inf where it has none, (m,).
        jumps: whether f jumps at a kink.
    """

    half_square: Array
    columns: Array
    below: Array
    truncated: NDArray[np.bool_]
    undefined: Array
    poles: Array
    jumps: bool


def table(formula: Formula, step: float, count: int = Z2S2 + 1) -> Table:
    """The table that serves SMALLEST_K <= K <= LARGEST_K, of `count` integrands or more.

    The coarsest step has all six, because most K need no other; a finer one has three where three will do.
    """
    return _table(formula, step, D2 + 1 if count <= D2 + 1 and step < STEPS[0] else Z2S2 + 1)


@lru_cache(maxsize=96)
def _table(formula: Formula, step: float, count: int) -> Table:
    return _tabulate(formula, step, 1.0, CUT * math.sqrt(LARGEST_K), count)


def _tabulate(formula: Formula, step: float, scale: float, cut: float, count: int) -> Table:
    """f, f' and the integrands at x = scale * u, u the nodes split at 0 and at the kinks over scale, up to the cut."""
    rule = nodes((0.0, *(k / scale for k in formula.kinks if abs(k) < cut * scale)), cut=cut, step=step)
    x = scale * rule.x
    with np.errstate(all="ignore"):
        s, d = formula.jet(x, 1)
        cross = x * s * d
        v = np.empty((count, x.size))
        v[S2], v[ZSD], v[D2] = s * s, cross, d * d
        if count > D2 + 1:
            v[S4], v[Z3SD], v[Z2S2] = v[S2] ** 2, x * x * cross, (x * s) ** 2
        jumps = _jumps(s, x, rule.panel)
    nan = np.isnan(s) | np.isnan(d)
    cut_off = ~(np.abs(v) <= HUGE)
    poles, steep = _poles(v, rule)
    v[cut_off] = 0.0
    sums = np.empty((count, 3, x.size))
    sums[:, 0], sums[:, 1], sums[:, 2] = v * rule.w, v * rule.coarse, np.abs(v) * rule.bound
    for integrand, node, excess in steep:
        sums[integrand, 2, node] += abs(v[integrand, node]) * rule.w[node] * excess
    if cut_off.any():
        # Where an integrand is cut off, what is lost counts SLOWEST/h times as much as a first lost node of HUGE.
        edge = cut_off & ~(np.roll(cut_off, 1, axis=1) & np.roll(cut_off, -1, axis=1))
        sums[:, 2] += np.where(cut_off, HUGE * rule.w, 0.0) + np.where(edge, HUGE * rule.w * SLOWEST / step, 0.0)
    columns = sums.reshape(3 * count, -1).T
    order = np.argsort(np.abs(x), kind="stable")
    columns = np.ascontiguousarray(columns[order])
    return Table(
        rule.x[order] ** 2 / 2,
        columns,
        np.concatenate([np.zeros((1, columns.shape[1])), np.cumsum(columns, axis=0)]),
        (cut_off & ~nan).any(axis=1),
        np.where(nan, rule.w, 0.0)[order] if nan.any() else np.zeros(0),
        poles,
        jumps,
    )


def _poles(v: Array, rule: Nodes) -> tuple[Array, list[tuple[int, int, float]]]:
    """How the integrands grow towards the ends of the panels, from two nodes near each: |v| ~ d^-a.

    Returns u^2/2 of the nearest end with a >= 1 for each integrand, (m,), and for 1/2 < a < 1 the nearest node with the
    share of its term that is lost inside it beyond what the rule's bound allows: (integrand, node, excess).
    """
    poles, steep = np.full(v.shape[0], np.inf), list[tuple[int, int, float]]()
    firsts = np.flatnonzero(np.diff(rule.panel, prepend=-1))
    lasts = np.append(firsts[1:] - 1, rule.x.size - 1)
    inner, outer = round(6 / rule.step), round(14 / rule.step)
    for first, last in zip(firsts, lasts, strict=True):
        for near, sign in ((first, 1), (last, -1)):
            if last - first <= 2 * outer or (near == lasts[-1] and sign < 0) or (near == firsts[0] and sign > 0):
                continue  # too short a panel to tell, or the cut of the half-line
            a, b = near + sign * inner, near + sign * outer
            with np.errstate(all="ignore"):
                power = np.log(np.abs(v[:, a] / v[:, b])) / (rule.step * (outer - inner))
            for i in np.flatnonzero((power > 0.5) | ~np.isfinite(v[:, near])):
                if power[i] < POLE:
                    excess = max(1 / (1 - power[i]) - STEEPEST, 0.0) / rule.step
                    steep.append((int(i), int(near), float(excess)))
                elif power[i] >= POLE or np.isinf(v[i, near]):
                    poles[i] = min(poles[i], rule.x[near] ** 2 / 2)
    return poles, steep


def _jumps(s: Array, x: Array, panel: NDArray[np.intp]) -> bool:
    """Whether s differs across the end of a panel by more than JUMP of its size within a distance 1 of it."""
    size = np.nan_to_num(np.abs(s), nan=0.0, posinf=0.0)
    for left in np.flatnonzero(np.diff(panel)):
        near = size[np.abs(x - x[left]) <= 1.0]
        if abs(s[left + 1] - s[left]) > JUMP * near.max():
            return True
    return False


def expectations(formula: Formula, K: Array, count: int) -> tuple[Array, Array]:
    """The first `count` integrands' expectations at K, shape (n,), and their errors: two arrays (n, count)."""
    value, error = np.empty((K.size, count)), np.empty((K.size, count))
    inside = (K >= SMALLEST_K) & (K <= LARGEST_K)
    doubt_outside = np.zeros(K.size)
    for i in np.flatnonzero(~inside):
        scale = math.sqrt(K[i])
        if scale == 0:
            value[i], error[i] = second_moment_at_zero(formula), 0.0
            continue
        own = _tabulate(formula, STEPS[0], scale, CUT, max(count, D2 + 1))
        value[i], error[i], doubt_outside[i] = (r[0] for r in _integrate(own, np.ones(1), count))
    todo, before = np.flatnonzero(inside), np.full(K.size, np.inf)
    value[inside], error[inside] = 0.0, 0.0
    for step in STEPS:
        if todo.size == 0:
            break
        v, e, doubt = _integrate(table(formula, step, count), K[todo], count)
        converging = (doubt <= RESOLVED) | (doubt < HOPELESS * before[todo])
        # An integrand that oscillates between the nodes may look settled by chance: then the largest of all counts.
        with np.errstate(invalid="ignore"):
            worst = np.fmax(np.fmax(e, error[todo]), np.abs(v - value[todo]))
        error[todo] = np.where(converging[:, None], e, worst)
        better = converging | (doubt < before[todo])
        value[todo[better]] = v[better]
        before[todo] = np.where(converging | (doubt < before[todo]), doubt, before[todo])
        todo = todo[converging & (doubt > RESOLVED)]
    before[~inside] = doubt_outside[~inside]
    _resolve_rest(formula, K, np.flatnonzero(before > RESOLVED), value, error)
    return value, error


def _resolve_rest(formula: Formula, K: Array, rest: NDArray[np.intp], value: Array, error: Array) -> None:
    """Put closed forms, or for a few K halved panels, where the quadrature has not settled and they are better."""
    if rest.size == 0:
        return
    count = value.shape[1]
    found = closed_moments(formula, K[rest], count)
    if found is None and rest.size <= FEW:
        found = _halved(formula, K[rest], count)
    if found is None:
        return
    better = (found[1] < error[rest]) & ~np.isnan(found[0]) & ~np.isinf(value[rest])
    value[rest], error[rest] = np.where(better, found[0], value[rest]), np.where(better, found[1], error[rest])


def _halved(formula: Formula, K: Array, count: int) -> tuple[Array, Array]:
    """The expectations by `actsmith.theory.adaptive`, split at 0 and the kinks; NaN where f is not finite."""
    value, error = np.full((K.size, count), np.nan), np.full((K.size, count), np.inf)
    for i, k in enumerate(K):
        scale = math.sqrt(k)
        marks = np.concatenate([[0.0], np.geomspace(1e-3, CUT, 24), np.array(formula.kinks) / scale])
        ends = np.unique(np.concatenate([marks, -marks]))

        def integrand(u: Array, scale: float = scale) -> Array:
            x = scale * u
            with np.errstate(all="ignore"):
                s, d = formula.jet(x, 1)
                cross = x * s * d
                v = np.stack([s * s, cross, d * d, s**4, x * x * cross, (x * s) ** 2][:count])
                v *= np.exp(-u * u / 2) / math.sqrt(2 * math.pi)
            v[:, np.abs(u) > CUT - 2] = np.nan_to_num(v[:, np.abs(u) > CUT - 2], nan=0.0, posinf=0.0, neginf=0.0)
            return v

        v, e, _ = adaptive.integrate(integrand, ends[np.abs(ends) <= CUT])
        if np.isfinite(v).all():
            value[i], error[i] = v, e
    return value, error


def second_moment_at_zero(formula: Formula) -> float:
    """g(0) = (f(0+)^2 + f(0-)^2)/2, from the nodes next to 0."""
    with np.errstate(all="ignore"):
        right, left = formula(np.array([1e-300, -1e-300]))
    return float(right**2 + left**2) / 2


def _integrate(t: Table, K: Array, count: int) -> tuple[Array, Array, Array]:
    """Values and errors (n, count), and how unresolved the worst integrand is, (n,)."""
    order = np.argsort(K)
    ascending = K[order]
    sums = np.empty((K.size, count, 3))
    columns = t.columns[:, : 3 * count]
    undefined = np.zeros(K.size)
    with np.errstate(all="ignore"):
        for start in range(0, K.size, ROWS):
            rows = slice(start, start + ROWS)
            k = ascending[rows]
            flat, reach = np.searchsorted(t.half_square, [FLAT * k[0], CUT**2 / 2 * k[-1]]).tolist()
            weight = t.half_square[flat:reach] * (-1 / k[:, None])
            np.exp(weight, out=weight)
            total = weight @ columns[flat:reach] + t.below[flat, : 3 * count]
            height = 1 / np.sqrt(2 * math.pi * k)
            sums[order[rows]] = (total * height[:, None]).reshape(k.size, count, 3)
            if t.undefined.size:
                undefined[order[rows]] = weight @ t.undefined[flat:reach] + t.undefined[:flat].sum()
        fine, coarse, bound = np.moveaxis(sums, 2, 0)
        difference = np.abs(fine - coarse)
        error = difference + bound
        diverges = t.truncated[:count] & ~((bound <= 1e-6 * np.abs(fine)) & np.isfinite(fine))
        diverges |= np.exp(-t.poles[:count] / K[:, None]) > 0
        value = np.where(diverges, np.inf, fine)
        value[undefined > 0] = np.nan
        doubt = np.where(diverges, 0.0, difference / (bound / (16 * EPS) + 1e-300)).max(axis=1)
    return value, error, np.where(np.isfinite(doubt), doubt, 0.0)
