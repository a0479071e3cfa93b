"""The log-normal law: pre-activations that are positive and spread over orders of magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, expm1, log, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from actsmith.errors import LawError
from actsmith.theory.law import Array, Law, at_probabilities, decimal_text, exact, generator, require_number

__all__ = ["LogNormal"]

WIDEST = 6.0


@dataclass(frozen=True)
class LogNormal(Law):
    """X = exp(mu + sigma N): p(x) = exp(-z^2/2)/(x sigma sqrt(2 pi)) for x > 0, z = (log x - mu)/sigma, sigma <= 6.

    Example:
        >>> float(LogNormal(0, 1).quantile(0.5))
        1.0
    """

    mu: float = 0.0
    sigma: float = 1.0
    name = "lognormal"

    def __post_init__(self) -> None:
        require_number(self, "mu")
        require_number(self, "sigma", positive=True)
        if self.sigma > WIDEST or abs(self.mu) > 100:
            raise LawError(
                f"LogNormal: got mu={self.mu!r}, sigma={self.sigma!r}; expected |mu| <= 100 and sigma <= {WIDEST:g}"
            )

    @property
    def mean(self) -> float:
        return exp(self.mu + self.sigma**2 / 2)

    @property
    def std(self) -> float:
        return self.mean * sqrt(expm1(self.sigma**2))

    @property
    def support(self) -> tuple[float, float]:
        return 0.0, np.inf

    @property
    def breakpoints(self) -> tuple[float, ...]:
        return (exp(self.mu),)

    @property
    def cut(self) -> float:
        # x^k p has its mass k sigma further out: room for the fourth moment
        return exp(self.mu + self.sigma * (10 + 4 * self.sigma))

    @property
    def spec(self) -> str:
        return f"lognormal({decimal_text(self.mu)},{decimal_text(self.sigma)})"

    def _z(self, x: ArrayLike) -> Array:
        a = np.asarray(x, dtype=np.float64)
        with np.errstate(all="ignore"):
            return np.asarray((np.log(np.where(a > 0, a, np.nan)) - self.mu) / self.sigma)

    def logpdf(self, x: ArrayLike) -> Array:
        a, z = np.asarray(x, dtype=np.float64), self._z(x)
        with np.errstate(all="ignore"):
            inside = -(z**2) / 2 - (self.mu + self.sigma * z) - log(self.sigma * sqrt(2 * pi))
        return np.where(a > 0, inside, np.where(np.isnan(a), np.nan, -np.inf))

    def score(self, x: ArrayLike) -> Array:
        a, z = np.asarray(x, dtype=np.float64), self._z(x)
        with np.errstate(all="ignore"):
            return np.asarray(np.where(a > 0, -(1 + z / self.sigma) / a, np.nan))

    def cdf(self, x: ArrayLike) -> Array:
        a = np.asarray(x, dtype=np.float64)
        return np.where(a > 0, special.ndtr(self._z(x)), np.where(np.isnan(a), np.nan, 0.0))

    def survival(self, x: ArrayLike) -> Array:
        a = np.asarray(x, dtype=np.float64)
        return np.where(a > 0, special.ndtr(-self._z(x)), np.where(np.isnan(a), np.nan, 1.0))

    def quantile(self, u: ArrayLike) -> Array:
        return at_probabilities(u, self.support, lambda p: np.exp(self.mu + self.sigma * special.ndtri(p)))

    def sample(self, n: int, seed: int) -> Array:
        return np.exp(self.mu + self.sigma * generator(n, seed).standard_normal(n))

    def _closed_entropy(self) -> float:
        return self.mu + log(self.sigma) + log(2 * pi) / 2 + 0.5

    def density(self, x: Any) -> Any:
        import sympy

        m, s = exact(self.mu), exact(self.sigma)
        inside = sympy.exp(-(((sympy.log(x) - m) / s) ** 2) / 2) / (x * s * sympy.sqrt(2 * sympy.pi))
        return sympy.Piecewise((inside, x > 0), (0, True))
