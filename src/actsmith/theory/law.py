"""The contract of a law: what the theory may ask of the distribution of a pre-activation X ~ p."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields
from functools import cached_property
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actsmith.errors import LawError
from actsmith.theory.quadrature import EPS, Estimate, expectation

Array = NDArray[np.float64]


LARGEST = 1e100
"""Means and scales are at most this: squares of samples and densities must fit float64."""


class Law(ABC):
    """A continuous distribution on an interval of the line. Immutable, hashable, picklable.

    A member gives the abstract methods; everything takes and returns float64 of any shape. `logpdf`, `cdf` and
    `survival` keep their relative accuracy in the tails, as far as float64 reaches.
    """

    name: str

    @property
    @abstractmethod
    def mean(self) -> float:
        """E X."""

    @property
    @abstractmethod
    def std(self) -> float:
        """The standard deviation; inf where the variance is infinite, nan where there is no mean."""

    @property
    def support(self) -> tuple[float, float]:
        """The interval outside which the density is zero."""
        return (-np.inf, np.inf)

    @property
    @abstractmethod
    def breakpoints(self) -> tuple[float, ...]:
        """Where quadrature must split: kinks of the density inside the support, and the centres it gathers about."""

    @property
    @abstractmethod
    def cut(self) -> float:
        """Where quadrature may end: this far beyond the outermost breakpoint less than 1e-20 of the mass is left."""

    @property
    @abstractmethod
    def spec(self) -> str:
        """The law as text for reports, as in `normal(0,1)`."""

    @abstractmethod
    def logpdf(self, x: ArrayLike) -> Array:
        """log p(x); -inf outside the support."""

    @abstractmethod
    def score(self, x: ArrayLike) -> Array:
        """d log p/dx; nan outside the support."""

    @abstractmethod
    def cdf(self, x: ArrayLike) -> Array:
        """P(X <= x)."""

    @abstractmethod
    def survival(self, x: ArrayLike) -> Array:
        """P(X > x), not computed as 1 - cdf."""

    @abstractmethod
    def quantile(self, u: ArrayLike) -> Array:
        """The x with P(X <= x) = u; the ends of the support at u = 0 and 1, nan outside [0, 1]."""

    @abstractmethod
    def sample(self, n: int, seed: int) -> Array:
        """n independent draws, float64 (n,), from numpy's PCG64(seed)."""

    @abstractmethod
    def density(self, x: Any) -> Any:
        """p as a SymPy expression of the symbol x; None for a law that has none (Empirical)."""

    def pdf(self, x: ArrayLike) -> Array:
        """p(x)."""
        p: Array = np.exp(self.logpdf(x))
        return p

    @property
    def entropy(self) -> float:
        """H(X) = -int p log p dx in nats: the closed form where there is one, else by quadrature."""
        return self._entropy.value

    @property
    def entropy_error(self) -> float:
        """A bound on the error of `entropy`."""
        return self._entropy.error

    @cached_property
    def _entropy(self) -> Estimate:
        value = self._closed_entropy()
        if value is not None:
            return Estimate(value, 32 * EPS * (1 + abs(value)))
        return expectation(lambda x: -self.logpdf(x), self, strict=False)

    def _closed_entropy(self) -> float | None:
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the inverse of `law_from_dict`."""
        return {"law": self.name, **{f.name: getattr(self, f.name) for f in fields(self)}}  # type: ignore[arg-type]

    def __str__(self) -> str:
        return self.spec


def require_number(owner: object, name: str, *, positive: bool = False) -> None:
    """Make a field of a frozen dataclass a finite (positive) float.

    Raises:
        LawError: it is not one.
    """
    got = getattr(owner, name)
    expected = "a finite positive number" if positive else "a finite number"
    try:
        value = float(got)
    except (TypeError, ValueError):
        raise LawError(f"{type(owner).__name__}: {name}: got {got!r}; expected {expected}") from None
    if not isfinite(value) or (positive and value <= 0):
        raise LawError(f"{type(owner).__name__}: {name}: got {got!r}; expected {expected}")
    if abs(value) > LARGEST or (positive and value < 1 / LARGEST):
        raise LawError(
            f"{type(owner).__name__}: {name}: got {got!r}; expected {expected} whose square float64 can hold, "
            f"{1 / LARGEST:g} to {LARGEST:g} in size"
        )
    object.__setattr__(owner, name, value)


def generator(n: int, seed: int) -> np.random.Generator:
    """PCG64(seed), after a look at how many draws are wanted."""
    if n < 0:
        raise LawError(f"sample: n: got {n}; expected zero or more")
    return np.random.Generator(np.random.PCG64(seed))


def invert(
    u: Array,
    low: Array,
    high: Array,
    tails: Callable[[Array], tuple[Array, Array, Array]],
) -> Array:
    """Solve P(X <= x) = u between low and high by Newton's method on log P, guarded by bisection.

    Args:
        u: probabilities inside (0, 1), (n,).
        low, high: brackets, (n,).
        tails: x -> (P(X <= x), P(X > x), p(x)).
    """
    root = low + (high - low) / 2
    busy = np.arange(u.size)
    for _ in range(200):
        x, lower = root[busy], u <= 0.5
        below, above, p = tails(x)
        # The smaller tail keeps its digits, and its logarithm is nearly straight.
        with np.errstate(all="ignore"):
            tail, target = np.where(lower, below, above), np.where(lower, u, 1 - u)
            step = np.where(lower, -1.0, 1.0) * tail / p * np.log(tail / target)
            done = (np.abs(step) <= 4 * EPS * (np.abs(x) + tail / p)) & np.isfinite(step)
        over = np.where(lower, tail >= target, tail <= target)
        high, low = np.where(over, x, high), np.where(over, low, x)
        newton = x + step
        good = np.isfinite(newton) & (newton > low) & (newton < high)
        root[busy] = np.where(good, newton, np.where(done, x, low + (high - low) / 2))
        going = ~(done | (high - low <= 2 * EPS * np.abs(x)))
        busy, u, low, high = busy[going], u[going], low[going], high[going]
        if not busy.size:
            break
    return root


def at_probabilities(u: ArrayLike, support: tuple[float, float], solve: Callable[[Array], Array]) -> Array:
    """A quantile function from one that knows only probabilities inside (0, 1)."""
    p = np.asarray(u, dtype=np.float64)
    x = np.full(p.shape, np.nan)
    x[p == 0], x[p == 1] = support
    inside = (p > 0) & (p < 1)
    if inside.any():
        x[inside] = solve(p[inside])
    return x


def decimal_text(value: float) -> str:
    """The number as short as it reads back."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def exact(value: float) -> Any:
    """The decimal that the number shows, as an exact rational."""
    import sympy

    return sympy.Rational(repr(value))
