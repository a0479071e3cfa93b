"""A streaming histogram in bounded memory, on a scale that no outlier can spoil."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actsmith.errors import LawError

Array = NDArray[np.float64]

# Bin width in u: a bin is 1/1024 of the spread at the centre, 1/1024 of the distance from it far away.
WIDTH = 2.0**-10
# IQR of the standard normal, 2 ndtri(3/4)
NORMAL_IQR = 1.3489795003921634
FEWEST = 100
ATOM_SHARE = 0.01
ATOM_COUNT = 10
LARGEST = 1e150
_CHUNK = 1 << 16
_WARM_UP = 256
_CANDIDATES = 8


@dataclass(frozen=True)
class Bins:
    """Counts of u = asinh((x - origin)/spread) in bins of a width, 1/1024 unless asked for, the first from first*width.

    Attributes:
        counts: (k,), whole numbers or shares of them.
        count, mean, std: of the values themselves.
    """

    origin: float
    spread: float
    first: int
    counts: NDArray[Any]
    count: float
    mean: float
    std: float
    width: float = WIDTH


class Histogram:
    """Counts of u = asinh((x - origin)/spread) in bins of width 1/1024, grown as values come.

    Linear about the origin and logarithmic far out: every float64 up to 1e150 has |u| below 1100, so the memory is
    bounded (some 40 kB for usual data) and no rebinning is ever needed. `origin` and `spread` are the median and
    IQR/1.349 of the first values. Values that were rounded to bfloat16 or float16 are spread out to the neighbouring
    numbers, so that the comb of representable numbers is not taken for structure. Exact repeats are counted as atoms.

    Attributes:
        count: how many values came.
        mean, m2: their mean and sum of squared deviations (Chan, Golub, LeVeque 1983).
        low, high: the smallest and the largest.

    Example:
        >>> h = Histogram()
        >>> for seed in range(4):
        ...     h.update(np.random.default_rng(seed).normal(size=5000))
        >>> h.count
        20000
    """

    def __init__(self, width: float = WIDTH) -> None:
        self.width = width
        self.count = 0
        self.mean = 0.0
        self.m2 = 0.0
        self.low, self.high = np.inf, -np.inf
        self.origin = 0.0
        self.spread = 0.0
        self.first = 0
        self.counts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.atoms: dict[float, int] = {}
        self._waiting: list[Array] = []
        self._rng = np.random.Generator(np.random.PCG64(0))

    @property
    def std(self) -> float:
        """The standard deviation of the values so far."""
        return sqrt(self.m2 / self.count) if self.count else 0.0

    def update(self, values: ArrayLike) -> None:
        """Count some values: any shape, any real dtype.

        Raises:
            LawError: they are not finite real numbers up to 1e150; says how many are not and where the first is.
        """
        x = np.asarray(values)
        if x.dtype.kind not in "fiu":
            raise LawError(f"samples: got dtype {x.dtype}; expected real numbers")
        x = x.reshape(-1)
        if not x.size:
            return
        low, high = float(x.min()), float(x.max())
        # A nan makes both comparisons false.
        if not (low >= -LARGEST and high <= LARGEST):
            bad = np.flatnonzero(~(np.abs(x.astype(np.float64)) <= LARGEST))
            raise LawError(
                f"samples: got {bad.size} of {x.size} that are not finite numbers up to 1e150, the first "
                f"({x[bad[0]]}) at index {bad[0]}; expected finite pre-activations"
            )
        self.low, self.high = min(self.low, low), max(self.high, high)
        seen = x if x.size <= 1 << 14 else x[self._rng.integers(x.size, size=1 << 14)]
        digits = _rounded_digits(seen)
        self._count_atoms(x, seen, digits)
        for start in range(0, x.size, _CHUNK):
            chunk = np.array(x[start : start + _CHUNK], dtype=np.float64)
            self._moments(chunk)
            if digits:
                # frexp: |x| in [2^(e-1), 2^e), so numbers of that many digits are 2^(e - digits) apart
                exponent = np.frexp(chunk)[1]
                # Two uniforms make a triangle, which joins the counts of neighbouring numbers without steps.
                noise = self._rng.random(chunk.size) - self._rng.random(chunk.size)
                chunk += np.where(chunk == 0, 0.0, np.ldexp(noise, exponent - digits))
            self._add(chunk)

    def bins(self) -> Bins:
        """The counts so far, of which `Empirical.from_bins` makes the smooth law.

        Raises:
            LawError: fewer than 100, all equal, or a value that repeats (an atom): there is no density.
        """
        self._flush()
        check_count(self.count)
        self.check_atoms()
        return Bins(self.origin, self.spread, self.first, self.counts, self.count, self.mean, self.std, self.width)

    def check_atoms(self) -> None:
        """Raise LawError if a value makes up over 1% of the values, and came ten times or more."""
        for value, times in self.atoms.items():
            if times >= ATOM_COUNT and times > ATOM_SHARE * self.count:
                if self.low == self.high:
                    raise LawError(f"samples: got {self.count} times {value!r}; expected numbers that differ")
                raise LawError(
                    f"samples: got the value {value!r} in {times} of {self.count} ({times / self.count:.1%}): the "
                    "law has an atom there; expected a continuous law. Take pre-activations, not outputs of an "
                    "activation; if these are pre-activations, add a small jitter on purpose"
                )

    def _count_atoms(self, x: Any, seen: Any, digits: int) -> None:
        """Count exact repeats of every value that stood out in a random part of some update.

        Rounded values repeat by nature: for them only what exceeds twice the neighbouring number's count is an atom's.
        """
        value, times = np.unique(seen, return_counts=True)
        often = (times >= 2) & (times > ATOM_SHARE / 2 * seen.size)
        order = np.argsort(-times[often], kind="stable")[:_CANDIDATES]
        for v in value[often][order]:
            if float(v) not in self.atoms and len(self.atoms) >= _CANDIDATES:
                del self.atoms[min(self.atoms, key=lambda a: self.atoms[a])]
            self.atoms.setdefault(float(v), 0)
        for v in self.atoms:
            repeats = int(np.count_nonzero(x == v))
            if digits and v:
                gap = float(np.ldexp(1.0, np.frexp(v)[1] - digits))
                repeats -= 2 * int(max(np.count_nonzero(x == v - gap), np.count_nonzero(x == v + gap)))
            self.atoms[v] += max(repeats, 0)

    def _moments(self, x: Array) -> None:
        n, mean = x.size, float(x.mean())
        delta, total = mean - self.mean, self.count + n
        self.m2 += float(np.square(x - mean).sum()) + delta * delta * (self.count / total) * n
        self.mean += delta * (n / total)
        self.count = total

    def _add(self, x: Array) -> None:
        if self.spread:
            self._bin(x)
            return
        self._waiting.append(x)
        if self.count >= _WARM_UP:
            self._flush()

    def _flush(self) -> None:
        if self.spread or not self._waiting:
            return
        x = np.concatenate(self._waiting)
        self._waiting = []
        lower, middle, upper = np.quantile(x, [0.25, 0.5, 0.75])
        self.origin = float(middle)
        # Without spread yet, a tiny one: far from the origin the bins are relative, so later values still fare well.
        self.spread = float(upper - lower) / NORMAL_IQR or max(abs(self.origin), 1.0) * 2.0**-20
        self._bin(x)

    def _bin(self, x: Array) -> None:
        u = x - self.origin
        u /= self.spread
        np.arcsinh(u, out=u)
        u *= 1 / self.width
        index = np.floor(u, out=u).astype(np.int32)
        low, high = int(index.min()), int(index.max())
        if not self.counts.size:
            self.first = low
        before, after = max(self.first - low, 0), max(high + 1 - self.first - self.counts.size, 0)
        if before or after:
            self.counts = np.pad(self.counts, (before, after))
            self.first -= before
        index -= low
        part = np.bincount(index)
        start = low - self.first
        self.counts[start : start + part.size] += part


def check_count(n: float) -> None:
    """Raise LawError if n values are too few for a density."""
    if n < FEWEST:
        raise LawError(f"samples: got {n:.0f}; expected at least {FEWEST} for a density")


def _rounded_digits(x: Any) -> int:
    """8 if all values are bfloat16 numbers, 11 if float16, else 0: the binary digits they keep."""
    if x.dtype.kind != "f":
        return 0
    with np.errstate(over="ignore", under="ignore"):
        single = np.ascontiguousarray(x, dtype=np.float32)
        if not np.array_equal(single, x):
            return 0
        if not np.any(single.view(np.uint32) & 0xFFFF):
            return 8
        return 11 if np.array_equal(single.astype(np.float16), single) else 0
