"""The law of measured pre-activations: a smooth density from samples or from a histogram.

Transformation kernel density estimate (Wand, Marron, Ruppert, "Transformations in density estimation", JASA 86, 1991):

    u = asinh((x - m)/s),   q(u) = sum_i w_i phi((u - c_i)/h)/h,   p(x) = q(u) / (s cosh u)

m is the median, s = IQR/1.349. About the centre the kernels are s h wide, far out they widen with the distance, so a
power tail keeps its shape and every far sample its mass. h is the improved Sheather-Jones bandwidth (Botev, Grotowski,
Kroese, "Kernel density estimation via diffusion", Annals of Statistics 38, 2010, Algorithm 1), which several modes do
not oversmooth. The centres are sharpened (Choi, Hall, "Data sharpening as a prelude to density estimation", Biometrika
86, 1999): c_i is a bin's centre moved uphill by h^2/2 (log q)', which takes back what the kernels widen a mode by, to
O(h^4). That leaves room for kernels 1.4 times as wide, and a smaller error altogether.

| symbol | meaning                       | shape |
|--------|-------------------------------|-------|
| c, w   | centres in u, weights (sum 1) | (k,)  |
| h      | bandwidth in u                | ()    |
| n      | number of samples             | ()    |
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil, exp, inf, isfinite, log, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, optimize, special

from actsmith.errors import LawError
from actsmith.theory.histogram import NORMAL_IQR, WIDTH, Bins, Histogram, check_count
from actsmith.theory.law import Array, Law, at_probabilities, generator, invert

# Kernels this many bandwidths away are below the smallest float64.
REACH = 39.0
# Bins that the bandwidth is chosen from, and of the narrow ones.
MOST_BINS, MOST_NARROW = 1 << 13, 1 << 16
# A kernel is left out where the nearest one is larger by exp(75).
WINDOW = 150.0
# A bandwidth below this many bins is that of the bins, not of the samples.
RESOLVED_BINS = 4.0
FINER = 32
# A sharpened estimate with kernels this much wider has the variance of the plain one, nearly, and a bias of O(h^4).
WIDER = 1.4
# Panels of 16 bandwidths: their nodes are 0.4 h apart at the default step.
PANEL = 16.0


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Empirical(Law):
    """The law of samples, n >= 100 finite numbers of any shape: p(x) = sum_i w_i phi((u - c_i)/h)/(h s cosh u).

    The samples are not kept. The smoothing widens the law a little: `mean` and `std` are those of the smooth law,
    `sample_mean` and `sample_std` those of the samples.

    Attributes:
        count: n.
        origin, spread: m and s.
        centres, weights, bandwidth: c, w and h, in u.

    Raises:
        LawError: fewer than 100 numbers, some not finite, all equal, or one that repeats in over 1% of them (an atom).

    Example:
        >>> law = Empirical(np.random.default_rng(0).normal(size=100_000))
        >>> abs(float(law.pdf(0.0)) - 0.3989) < 0.01
        True
    """

    count: float
    origin: float
    spread: float
    centres: Array
    weights: Array
    bandwidth: float
    sample_mean: float
    sample_std: float
    name = "empirical"

    def __init__(self, samples: ArrayLike) -> None:
        histogram = Histogram()
        histogram.update(samples)
        law = Empirical.from_bins(histogram.bins())
        if law.bandwidth < WIDER * RESOLVED_BINS * WIDTH:
            # Structure as narrow as a bin: the samples are here, so narrower bins are.
            narrow = Histogram(WIDTH / FINER)
            narrow.update(samples)
            law = Empirical.from_bins(narrow.bins())
        object.__setattr__(self, "__dict__", dict(vars(law)))

    @classmethod
    def from_histogram(cls, edges: ArrayLike, counts: ArrayLike) -> Empirical:
        """The law of samples that were counted in bins: edges (k + 1,) increasing, counts (k,).

        The samples of a bin are taken as evenly spread over it; an atom cannot be seen.

        Raises:
            LawError: bad edges or counts, fewer than 100 counted, or all in one bin.
        """
        x, c = np.asarray(edges, dtype=np.float64).reshape(-1), np.asarray(counts, dtype=np.float64).reshape(-1)
        if x.size != c.size + 1 or not np.isfinite(x).all() or not (np.diff(x) > 0).all():
            raise LawError(f"edges: got {x.size} for {c.size} counts; expected one more, finite and increasing")
        if not (np.isfinite(c).all() and (c >= 0).all()):
            raise LawError("counts: got a negative or non-finite one; expected numbers of samples")
        n = float(c.sum())
        check_count(n)
        if np.count_nonzero(c) < 2:
            raise LawError("counts: got all samples in one bin; expected a spread over several")
        below = np.concatenate([[0.0], np.cumsum(c)])
        lower, origin, upper = np.interp([n / 4, n / 2, 3 * n / 4], below, x)
        spread = (upper - lower) / NORMAL_IQR
        if not spread > 0:
            raise LawError("counts: got a range too small for float64; expected a spread")
        u = np.arcsinh((x - origin) / spread) / WIDTH
        first, last = int(np.floor(u[0])), int(np.ceil(u[-1]))
        fine = origin + spread * np.sinh(np.arange(first, last + 1) * WIDTH)
        middle = (x[1:] + x[:-1]) / 2
        mean = float(c @ middle / n)
        variance = float(c @ ((middle - mean) ** 2 + np.diff(x) ** 2 / 12) / n)
        counted = np.diff(np.interp(fine, x, below))
        return cls.from_bins(Bins(float(origin), float(spread), first, counted, n, mean, sqrt(variance)))

    @classmethod
    def from_bins(cls, bins: Bins) -> Empirical:
        """The law of samples counted on the asinh scale: `Histogram.bins()`.

        Raises:
            LawError: fewer than 100 counted, or all in one bin.
        """
        n, counts = bins.count, np.asarray(bins.counts, dtype=np.float64)
        check_count(n)
        if np.count_nonzero(counts) < 2:
            near = f"within {bins.width * bins.spread:.1e} of {bins.origin:.17g}"
            raise LawError(f"samples: got {n:.0f} numbers {near}; expected a spread")
        h = bandwidth(counts, n, bins.width)
        # Bins are gathered four to a bandwidth, each at its own centre of mass, which keeps the mean in u.
        group = max(int(h / (4 * bins.width)), 1)
        index = np.arange(counts.size)
        mass = np.bincount(index // group, counts)
        moment = np.bincount(index // group, counts * (bins.first + index + 0.5) * bins.width)
        centres, weights = (moment / np.where(mass > 0, mass, 1.0))[mass > 0], mass[mass > 0] / mass.sum()
        return cls._assemble(
            count=n,
            origin=bins.origin,
            spread=bins.spread,
            centres=centres,
            weights=weights,
            bandwidth=WIDER * h,
            sample_mean=bins.mean,
            sample_std=bins.std,
        )._sharpened()

    def _sharpened(self) -> Empirical:
        """The law with its centres moved uphill; their order stays, for (log q)'' >= -1/h^2."""
        slope = self._slope(self.centres, slope=True)[1]
        return Empirical._assemble(**vars(self) | {"centres": self.centres + self.bandwidth**2 / 2 * slope})

    @classmethod
    def _assemble(
        cls,
        *,
        count: float,
        origin: float,
        spread: float,
        centres: Any,
        weights: Any,
        bandwidth: float,
        sample_mean: float,
        sample_std: float,
    ) -> Empirical:
        law = object.__new__(cls)
        c, w = np.array(centres, dtype=np.float64), np.array(weights, dtype=np.float64)
        c.flags.writeable = w.flags.writeable = False
        numbers = {"count": count, "origin": origin, "spread": spread, "bandwidth": bandwidth}
        numbers |= {"sample_mean": sample_mean, "sample_std": sample_std}
        for name, value in ({k: float(v) for k, v in numbers.items()} | {"centres": c, "weights": w}).items():
            object.__setattr__(law, name, value)
        return law

    def to_dict(self) -> dict[str, Any]:
        values = super().to_dict()
        return values | {"centres": self.centres.tolist(), "weights": self.weights.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Empirical:
        """The inverse of `to_dict`, whose entry `law` may be missing.

        Raises:
            LawError: the values make no law.
        """
        law = cls._assemble(**{k: v for k, v in values.items() if k != "law"})
        shapes = law.centres.ndim == 1 and law.centres.shape == law.weights.shape and law.centres.size > 0
        numbers = (law.origin, law.spread, law.bandwidth, float(law.centres.sum()), float(law.weights.sum()))
        if not (shapes and all(isfinite(v) for v in numbers) and law.spread > 0 and law.bandwidth > 0):
            raise LawError("empirical law from a dictionary: expected finite centres and weights, positive widths")
        if not ((np.diff(law.centres) > 0).all() and (law.weights >= 0).all()):
            raise LawError("empirical law from a dictionary: expected increasing centres and no negative weight")
        return law

    @cached_property
    def _digest(self) -> str:
        numbers = np.array([self.count, self.origin, self.spread, self.bandwidth, self.sample_mean, self.sample_std])
        return hashlib.sha256(b"".join(a.tobytes() for a in (numbers, self.centres, self.weights))).hexdigest()

    def __eq__(self, other: object) -> bool:
        return self._digest == other._digest if isinstance(other, Empirical) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        return f"Empirical(n={self.count:.0f}, mean={self.mean:.6g}, std={self.std:.6g}, {self._digest[:8]})"

    @property
    def spec(self) -> str:
        return f"empirical(n={self.count:.0f},{self._digest[:8]})"

    @property
    def mean(self) -> float:
        """E X = m + s sum_i w_i sinh(c_i) exp(h^2/2)."""
        return self.origin + self.spread * exp(self.bandwidth**2 / 2) * float(self.weights @ np.sinh(self.centres))

    @property
    def std(self) -> float:
        """E ((X - m)/s)^2 = (sum_i w_i cosh(2 c_i) exp(2 h^2) - 1)/2."""
        square = (exp(2 * self.bandwidth**2) * float(self.weights @ np.cosh(2 * self.centres)) - 1) / 2
        return self.spread * sqrt(max(square - ((self.mean - self.origin) / self.spread) ** 2, 0.0))

    @property
    def breakpoints(self) -> tuple[float, ...]:
        first, last = float(self.centres[0]), float(self.centres[-1])
        panels = min(max(ceil((last - first) / (PANEL * self.bandwidth)), 2), 64)
        return tuple(sorted({self.origin, *self._x(np.linspace(first, last, panels + 1)).tolist()}))

    @property
    def cut(self) -> float:
        first, last, tail = float(self.centres[0]), float(self.centres[-1]), REACH * self.bandwidth
        a, b, c, d = self._x(np.array([first - tail, first, last, last + tail])).tolist()
        return float(max(b - a, d - c))

    def _u(self, x: ArrayLike) -> Array:
        return np.asarray(np.arcsinh((np.asarray(x, dtype=np.float64) - self.origin) / self.spread))

    def _x(self, u: Array) -> Array:
        return np.asarray(self.origin + self.spread * np.sinh(u))

    def _windows(self, u: Array) -> Iterator[tuple[NDArray[np.intp], slice, Array]]:
        """Blocks of points near each other: (their indices, the kernels that matter, z = (u - c)/h)."""
        order, c, h = np.argsort(u), self.centres, self.bandwidth
        for start in range(0, u.size, 128):
            block = order[start : start + 128]
            v = u[block]
            right = np.clip(np.searchsorted(c, v), 1, max(c.size - 1, 1))
            nearest = np.minimum(np.abs(v - c[right - 1]), np.abs(v - c[np.minimum(right, c.size - 1)]))
            reach = sqrt(float(nearest.max()) ** 2 + WINDOW * h * h)
            span = slice(*np.searchsorted(c, [v[0] - reach, v[-1] + reach]).tolist())
            yield block, span, (v[:, None] - c[span]) / h

    def _slope(self, u: Array, *, slope: bool) -> tuple[Array, Array]:
        """log q and d log q/du at u, (n,); the second is zeros unless wanted."""
        value, derivative = np.full(u.shape, -inf), np.zeros(u.shape)
        logs = np.log(self.weights)
        finite = np.flatnonzero(np.isfinite(u))
        for block, span, z in self._windows(u[finite]):
            terms = logs[span] - z * z / 2
            top = terms.max(axis=1, keepdims=True)
            kernel = np.exp(terms - top)
            total = kernel.sum(axis=1)
            value[finite[block]] = np.log(total) + top[:, 0] - log(self.bandwidth * sqrt(2 * pi))
            if slope:
                derivative[finite[block]] = -(kernel * z).sum(axis=1) / (total * self.bandwidth)
        value[np.isnan(u)] = np.nan
        return value, derivative

    def _tail(self, u: Array, side: int) -> Array:
        """P(U <= u) for side = 1, P(U > u) for side = -1."""
        p = np.where(np.isnan(u), np.nan, np.where(side * u > 0, 1.0, 0.0))
        total = np.concatenate([[0.0], np.cumsum(self.weights)])
        finite = np.flatnonzero(np.isfinite(u))
        for block, span, z in self._windows(u[finite]):
            behind = total[span.start] if side > 0 else float(self.weights[span.stop :].sum())
            p[finite[block]] = np.minimum(behind + special.ndtr(side * z) @ self.weights[span], 1.0)
        return p

    def logpdf(self, x: ArrayLike) -> Array:
        u = self._u(x)
        value = self._slope(u.reshape(-1), slope=False)[0].reshape(u.shape)
        # log cosh u = |u| + log(1 + exp(-2|u|)) - log 2
        return np.asarray(value - np.abs(u) - np.log1p(np.exp(-2 * np.abs(u))) + log(2) - log(self.spread))

    def score(self, x: ArrayLike) -> Array:
        """(d log q/du - tanh u)/(s cosh u)."""
        u = self._u(x)
        slope = self._slope(u.reshape(-1), slope=True)[1].reshape(u.shape)
        return np.asarray((slope - np.tanh(u)) / (self.spread * np.cosh(u)))

    def cdf(self, x: ArrayLike) -> Array:
        u = self._u(x)
        return self._tail(u.reshape(-1), 1).reshape(u.shape)

    def survival(self, x: ArrayLike) -> Array:
        u = self._u(x)
        return self._tail(u.reshape(-1), -1).reshape(u.shape)

    @cached_property
    def _table(self) -> tuple[Array, Array]:
        """Some u and P(U <= u), to start an inversion from."""
        tail = 8 * self.bandwidth
        grid = np.linspace(self.centres[0] - tail, self.centres[-1] + tail, 1025)
        return grid, np.maximum.accumulate(self._tail(grid, 1))

    def quantile(self, u: ArrayLike) -> Array:
        """By inversion of the cdf in u, between the first kernel's and the last kernel's own quantiles."""

        def solve(p: Array) -> Array:
            own = special.ndtri(p) * self.bandwidth
            low, high = self.centres[0] + own, self.centres[-1] + own
            grid, below = self._table
            at = np.searchsorted(below, p)
            inside = (at > 0) & (at < grid.size) & (p > 1e-9) & (p < 1 - 1e-9)
            at = np.clip(at, 1, grid.size - 1)
            return self._x(
                invert(
                    p,
                    np.where(inside, grid[at - 1], low),
                    np.where(inside, grid[at], high),
                    lambda v: (self._tail(v, 1), self._tail(v, -1), np.exp(self._slope(v, slope=False)[0])),
                )
            )

        return at_probabilities(u, self.support, solve)

    def sample(self, n: int, seed: int) -> Array:
        """Draws from the smooth law, not from the samples."""
        rng = generator(n, seed)
        which = np.searchsorted(np.cumsum(self.weights)[:-1], rng.random(n), side="right")
        return self._x(self.centres[which] + self.bandwidth * rng.standard_normal(n))

    def density(self, x: Any) -> None:
        return None


def bandwidth(counts: Array, n: float, width: float) -> float:
    """The improved Sheather-Jones bandwidth of n samples counted in uniform bins, in the unit of the width.

    The smallest root of t = xi gamma^[7](t), Botev et al. 2010, Algorithm 1; h = sqrt(t). Without a root (few samples,
    or many ties) Silverman's robust rule 0.9 min(std, IQR/1.349) n^(-1/5) stands in. Never below the bins' own width.
    """
    size = 1 << (counts.size - 1).bit_length()
    padded = np.concatenate([counts, np.zeros(size - counts.size)])
    most = MOST_BINS if width >= WIDTH else MOST_NARROW
    while size > most:
        size //= 2
        padded, width = padded.reshape(size, 2).sum(axis=1), 2 * width
    length = size * width
    # Squared cosine coefficients of the histogram on [0, 1]
    a2 = (fft.dct(padded / n, type=2)[1:] / 2) ** 2
    k2 = np.arange(1, size, dtype=np.float64) ** 2

    def norm(order: int, t: float) -> float:
        """The squared norm of the derivative of that order of the density smoothed by t."""
        decay = np.exp(-k2 * (pi * pi * t))
        return float(2 * pi ** (2 * order) * ((k2**order * a2) @ decay))

    def miss(t: float) -> float:
        f = norm(7, t)
        for s in range(6, 1, -1):
            odd = float(special.factorial2(2 * s - 1)) / sqrt(2 * pi)
            f = norm(s, (2 * (1 + 0.5 ** (s + 0.5)) / 3 * odd / (n * f)) ** (2 / (3 + 2 * s)))
        return float(t - (2 * n * sqrt(pi) * f) ** (-2 / 5))

    position = (np.arange(size) + 0.5) * width
    mean = float(padded @ position) / n
    std = sqrt(float(padded @ (position - mean) ** 2) / n)
    lower, upper = np.interp([n / 4, 3 * n / 4], np.cumsum(padded), position + width / 2)
    silverman = 0.9 * min(std, float(upper - lower) / NORMAL_IQR or std) * n**-0.2
    try:
        # From a bin's width up to twice the rule that one normal mode would need.
        trial = np.geomspace(width / 2, max(2 * silverman, 2 * width), 32)
        values = [miss(float(h / length) ** 2) for h in trial]
        if values[0] >= 0:  # the smallest root lies within a bin
            return width
        at = next(i for i in range(31) if values[i] < 0 <= values[i + 1])
        t = optimize.brentq(miss, (trial[at] / length) ** 2, (trial[at + 1] / length) ** 2, rtol=1e-6)
        return max(sqrt(t) * length, width)
    except (StopIteration, ZeroDivisionError, OverflowError):
        return float(max(silverman, width))
