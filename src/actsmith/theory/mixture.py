"""Mixtures of laws."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, log, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from actsmith.errors import LawError
from actsmith.theory.law import Array, Law, at_probabilities, decimal_text, exact, generator, invert


@dataclass(frozen=True)
class Mixture(Law):
    """A mixture of laws, p(x) = sum_i w_i p_i(x), w_i > 0, sum_i w_i = 1 within 1e-12.

    Example:
        >>> from actsmith.theory.laws import Normal
        >>> Mixture((0.5, 0.5), (Normal(-2, 1), Normal(2, 1))).std
        2.23606797749979
    """

    weights: tuple[float, ...]
    laws: tuple[Law, ...]
    name = "mixture"

    def __post_init__(self) -> None:
        try:
            weights = tuple(float(w) for w in self.weights)
            laws = tuple(self.laws)
        except (TypeError, ValueError):
            raise LawError(f"Mixture: weights: got {self.weights!r}; expected a sequence of numbers") from None
        if len(weights) != len(laws) or not laws:
            raise LawError(f"Mixture: got {len(weights)} weights for {len(laws)} laws; expected as many, at least one")
        for law in laws:
            if not isinstance(law, Law):
                raise LawError(f"Mixture: laws: got {law!r}; expected laws")
        if not all(isfinite(w) and w > 0 for w in weights):
            raise LawError(f"Mixture: weights: got {weights}; expected finite positive numbers")
        if abs(sum(weights) - 1) > 1e-12:
            raise LawError(f"Mixture: weights: got a sum of {sum(weights)!r}; expected 1 within 1e-12")
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "laws", laws)

    def _sum(self, parts: list[Any]) -> Any:
        return sum(w * part for w, part in zip(self.weights, parts, strict=True))

    @property
    def mean(self) -> float:
        return float(self._sum([law.mean for law in self.laws]))

    @property
    def std(self) -> float:
        """sqrt(sum_i w_i (s_i^2 + (m_i - m)^2))."""
        return sqrt(self._sum([law.std**2 + (law.mean - self.mean) ** 2 for law in self.laws]))

    @property
    def support(self) -> tuple[float, float]:
        return min(law.support[0] for law in self.laws), max(law.support[1] for law in self.laws)

    @property
    def breakpoints(self) -> tuple[float, ...]:
        low, high = self.support
        points = {b for law in self.laws for b in (*law.breakpoints, *law.support) if isfinite(b)}
        return tuple(sorted(b for b in points if low < b < high))

    @property
    def cut(self) -> float:
        return max(law.cut for law in self.laws)

    @property
    def spec(self) -> str:
        parts = (f"{decimal_text(w)}*{law.spec}" for w, law in zip(self.weights, self.laws, strict=True))
        return f"mixture({'+'.join(parts)})"

    def _terms(self, x: ArrayLike) -> Array:
        """log(w_i p_i(x)), shape (laws, ...)."""
        return np.stack([log(w) + law.logpdf(x) for w, law in zip(self.weights, self.laws, strict=True)])

    def logpdf(self, x: ArrayLike) -> Array:
        with np.errstate(invalid="ignore"):
            return np.asarray(np.logaddexp.reduce(self._terms(x), axis=0))

    def score(self, x: ArrayLike) -> Array:
        """sum_i r_i s_i with r_i = w_i p_i/p, the share of law i at x."""
        terms = self._terms(x)
        with np.errstate(invalid="ignore"):
            share = np.exp(terms - np.logaddexp.reduce(terms, axis=0))
        scores = np.stack([law.score(x) for law in self.laws])
        return np.asarray(np.sum(np.where(share == 0, 0.0, share * scores), axis=0))

    def cdf(self, x: ArrayLike) -> Array:
        return np.asarray(self._sum([law.cdf(x) for law in self.laws]))

    def survival(self, x: ArrayLike) -> Array:
        return np.asarray(self._sum([law.survival(x) for law in self.laws]))

    def quantile(self, u: ArrayLike) -> Array:
        """Between the smallest and the largest of the laws' own quantiles."""

        def solve(p: Array) -> Array:
            each = np.stack([law.quantile(p) for law in self.laws])
            return invert(p, each.min(0), each.max(0), lambda x: (self.cdf(x), self.survival(x), self.pdf(x)))

        return at_probabilities(u, self.support, solve)

    def sample(self, n: int, seed: int) -> Array:
        rng = generator(n, seed)
        which = rng.choice(len(self.laws), size=n, p=np.asarray(self.weights) / sum(self.weights))
        x = np.empty(n)
        for i, law in enumerate(self.laws):
            chosen = which == i
            x[chosen] = law.sample(int(chosen.sum()), int(rng.integers(2**63)))
        return x

    def _closed_entropy(self) -> float | None:
        return self.laws[0].entropy if len(self.laws) == 1 else None

    def density(self, x: Any) -> Any:
        parts = [law.density(x) for law in self.laws]
        if any(part is None for part in parts):
            return None
        return sum(exact(w) * part for w, part in zip(self.weights, parts, strict=True))

    def to_dict(self) -> dict[str, Any]:
        return {"law": self.name, "weights": list(self.weights), "laws": [law.to_dict() for law in self.laws]}
