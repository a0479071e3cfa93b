"""The smoothed entropy J_tau[f] = H((Z - E Z)/std Z + tau N), its score, and its first variation.

q_tau(u) = E phi((u - U)/tau)/tau with U = (f(X) - mean)/std. The expectation runs over Gauss-Legendre panels in x that
are short in x and in U; each node is laid on a uniform grid in u by its Hermite expansion about the nearest grid point

    phi((u - U)/tau) = sum_k (delta/tau)^k/k! He_k((u - c)/tau) phi((u - c)/tau),   U = c + delta,

so the cost is linear in the number of nodes. H = -int q_tau log q_tau du is a trapezoid sum on that grid, which for a
function smooth on the scale tau is exact to rounding. Outside |u| <= `limit` (heavy tails only) the smoothing changes
nothing that counts, and the change-of-variables density serves.

| symbol | meaning                                      | shape |
|--------|----------------------------------------------|-------|
| u      | grid, step tau/4                             | (m,)  |
| q      | density of the smoothed output on the grid   | (m,)  |
| x, w   | Gauss-Legendre nodes; w holds p(x) dx        | (n,)  |
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import log, pi, sqrt
from typing import Any, Protocol

import numpy as np
from scipy import special

from actsmith.errors import NumericsError
from actsmith.theory.law import Array, Law
from actsmith.theory.output import reach
from actsmith.theory.quadrature import Estimate

__all__ = ["Moments", "SmoothedOutput", "smoothed_output"]

PER_TAU = 4  # grid points per tau
ORDER = 10  # of the Hermite expansion: remainder (1/8)^10/10! of the kernel
REACH = 9.0  # kernels are cut at 9 tau
POINTS = 12  # Gauss-Legendre nodes per panel
WIDE = 2.0  # a panel is at most 2 tau wide in u
MOST_NODES = 400_000
LIMIT = 60.0  # standard deviations; what lies beyond is not smoothed


class Function(Protocol):
    """What is smoothed: a Formula, or anything that is called like one and knows its kinks."""

    @property
    def name(self) -> str: ...
    @property
    def kinks(self) -> tuple[float, ...]: ...
    def __call__(self, x: Any) -> Any: ...


@dataclass(frozen=True)
class Moments:
    """E Z and std Z of Z = f(X), with a bound on their error."""

    mean: float
    std: float
    error: float


@dataclass(frozen=True, eq=False)
class SmoothedOutput:
    """The law of the standardised output plus tau N, from which entropy and score are read."""

    tau: float
    moments: Moments
    grid: Array
    density: Array
    x: Array
    weight: Array
    standardised: Array
    outside: float

    @property
    def entropy(self) -> float:
        """-int q log q du over the grid, in nats."""
        return float(special.entr(self.density).sum() * (self.grid[1] - self.grid[0]))

    @property
    def score(self) -> Array:
        """(log q_tau)' on the grid, (m,)."""
        slope = deposit(self.standardised, self.weight, self.tau, self.grid[0], self.grid[-1], derivative=1)[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            score = slope / self.density
        return np.where(self.density > 1e-200, score, 0.0)

    def variation(self, direction: Array) -> float:
        """dJ_tau for f -> f + h, from h at the nodes: -E[h~ (log q_tau)'(U + tau N)], with h~ the change of U.

        h~ = (h - E h)/std - U Cov(U, h)/std, and the expectation over N is one more deposit on the grid.
        """
        mass = self.weight.sum()
        centred = (direction - (self.weight @ direction) / mass) / self.moments.std
        along = (self.weight @ (centred * self.standardised)) / mass
        change = self.weight * (centred - self.standardised * along)
        moved = deposit(self.standardised, change, self.tau, self.grid[0], self.grid[-1])[1]
        return float(-(self.score @ moved) * (self.grid[1] - self.grid[0]))


@lru_cache(maxsize=8)
def _kernels(tau: float, derivative: int) -> Array:
    """He_k(v) phi(v)/(k! tau) at v = j/PER_TAU, |v| <= REACH, k = 0 .. ORDER - 1, or its derivative by tau v:
    shape (ORDER, 2 j_max + 1)."""
    v = np.arange(-round(REACH * PER_TAU), round(REACH * PER_TAU) + 1) / PER_TAU
    hermite = [np.ones_like(v), v]
    for k in range(1, ORDER):
        hermite.append(v * hermite[k] - k * hermite[k - 1])
    scale = np.array([special.factorial(k) for k in range(ORDER)])[:, None]
    # (He_k phi)' = -He_{k+1} phi
    chosen = -np.array(hermite[1:]) / tau if derivative else np.array(hermite[:-1])
    result: Array = chosen * np.exp(-v * v / 2) / sqrt(2 * pi) / scale / tau
    return result


def deposit(
    u: Array, weight: Array, tau: float, low: float, high: float, *, derivative: int = 0
) -> tuple[Array, Array]:
    """The density (or its derivative) of u + tau N for points u of the given weights, on a grid of step tau/4 that
    covers [low, high]: grid (m,), values (m,)."""
    step = float(tau / PER_TAU)
    first = int(np.floor(low / step + 1e-9))
    size = int(np.ceil(high / step - 1e-9)) - first + 1
    pad = round(REACH * PER_TAU)
    nearest = np.rint(u / step).astype(np.int64) - first
    kept = (nearest >= -pad) & (nearest < size + pad)  # points beyond the grid still reach into it
    index, moment = nearest[kept], weight[kept]
    delta = (u[kept] - (index + first) * step) / tau
    total = np.zeros(size + 2 * pad)
    for kernel in _kernels(tau, derivative):
        total += _spread(index + pad, moment, kernel, size + 2 * pad)
        moment = moment * delta
    grid = (np.arange(size, dtype=np.float64) + first) * step
    return grid, total[pad : pad + size]


def _spread(index: np.ndarray, moment: Array, kernel: Array, size: int) -> Array:
    counts = np.bincount(index, moment, minlength=size)
    result: Array = np.convolve(counts, kernel, mode="same")
    return result


def smoothed_output(f: Function, law: Law, moments: Moments, tau: float, points: int = POINTS) -> SmoothedOutput:
    """The smoothed standardised output of f under the law.

    Args:
        moments: E f(X) and std f(X), std > 0 and finite.
        tau: width of the smoothing in standard deviations of the output.
        points: Gauss-Legendre nodes per panel.

    Raises:
        NumericsError: f varies too fast on the support for MOST_NODES nodes.
    """
    x, dx = _panels(f, law, moments, tau, points)
    weight = law.pdf(x) * dx
    u = (f(x) - moments.mean) / moments.std
    inside = np.isfinite(u) & (np.abs(u) <= LIMIT + 1)
    low, high = u[inside].min() - REACH * tau, u[inside].max() + REACH * tau
    outside = float(weight[~inside].sum())
    x, weight, u = x[inside], weight[inside], u[inside]
    grid, density = deposit(u, weight, tau, max(low, -LIMIT), min(high, LIMIT))
    return SmoothedOutput(tau, moments, grid, np.maximum(density, 0.0), x, weight, u, outside)


def _panels(f: Function, law: Law, moments: Moments, tau: float, points: int) -> tuple[Array, Array]:
    """Nodes and dx weights on panels that are short against the law's own scale and against tau in the output."""
    low, high = reach(law)
    marks = [low, *sorted({p for p in (*f.kinks, *law.breakpoints, 0.0) if low < p < high}), high]
    edges = np.unique(np.concatenate([graded(a, b, law) for a, b in pairwise(marks)]))
    widest = WIDE * tau * moments.std
    a, b = edges[:-1], edges[1:]
    for _ in range(40):
        middle = 0.5 * (a + b)
        # Two of the places are no simple fraction: what oscillates may be the same at the others.
        places = [np.nextafter(a, b), a + 0.2371 * (b - a), middle, a + 0.7813 * (b - a), np.nextafter(b, a)]
        probes = f(np.stack(places))
        with np.errstate(invalid="ignore"):
            change = np.abs(np.diff(probes, axis=0)).max(axis=0) * 2
            far = np.abs(probes - moments.mean).min(axis=0) > (LIMIT + 1) * moments.std
        light = law.pdf(middle) * (b - a) < 1e-19
        split = (change > widest) & ~far & ~light
        if not split.any():
            break
        if (len(a) + split.sum()) * points > MOST_NODES:
            raise NumericsError(f"{f.name} varies too fast under {law} to be smoothed on {MOST_NODES:,} nodes")
        a, b = (
            np.concatenate([a[~split], a[split], middle[split]]),
            np.concatenate([b[~split], middle[split], b[split]]),
        )
    t, w = special.roots_legendre(points)
    half = 0.5 * (b - a)
    x = (0.5 * (a + b))[:, None] + half[:, None] * t
    return x.ravel(), (half[:, None] * w).ravel()


def graded(a: float, b: float, law: Law) -> Array:
    """Panel edges on [a, b]: at most half the law's scale near its centres, growing with the distance in the tails."""
    scale = _scale(law)
    if b - a < 64 * scale:
        return np.linspace(a, b, max(2, int(np.ceil((b - a) / (0.5 * scale))) + 1))
    low, high = reach(law)
    # From every end that is a mark, a kink or a centre of the law's mass, half way to the next one; a far end is none.
    middle = b if b == high and a != low else a if a == low and b != high else 0.5 * (a + b)
    sides = []
    for end, length, sign in ((a, middle - a, 1), (b, b - middle, -1)):
        if length > 0:
            count = int(np.ceil(np.arcsinh(length / scale) * 4)) + 1
            sides.append(
                end + sign * np.minimum(scale * np.sinh(np.linspace(0, np.arcsinh(length / scale), count)), length)
            )
    edges = np.unique(np.concatenate([[a, b], *sides]))
    edges[0], edges[-1] = a, b
    return edges


def _scale(law: Law) -> float:
    """The shortest length on which the law's density changes: half an interquartile range, or a component's, or the
    kernels' width of an empirical law."""
    parts = getattr(law, "laws", None)
    if parts:
        return min(_scale(part) for part in parts)
    lower, upper = law.quantile(np.array([0.25, 0.75]))
    scale = float(upper - lower) / 1.349
    bandwidth = getattr(law, "bandwidth", None)
    return scale * min(1.0, 4 * bandwidth) if bandwidth else scale


def estimate(f: Function, law: Law, moments: Moments, tau: float) -> tuple[Estimate, float]:
    """J_tau from the grid with its error, and the mass left outside it.

    The error is the difference between 12 and 9 nodes per panel, plus the mass that quadrature lost.
    """
    fine = smoothed_output(f, law, moments, tau)
    coarse = smoothed_output(f, law, moments, tau, points=9)
    lost = abs(fine.weight.sum() + fine.outside - 1.0)
    relative = moments.error * (1 + abs(log(tau)))
    gap = abs(fine.entropy - coarse.entropy)
    # Two rules that have not settled may agree better than they should.
    error = (gap if gap < 1e-8 else 4 * gap) + 50 * lost + relative + 1e-12
    return Estimate(fine.entropy, error), fine.outside
