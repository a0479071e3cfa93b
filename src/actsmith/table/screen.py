"""A Gaussian process over the functions of a draw, quick enough for a million choices: kernels are looked up.

| symbol | meaning                                              | shape  |
|--------|------------------------------------------------------|--------|
| K      | kernel, one of those of the draw                     | (p, p) |
| v      | share of noise in a score: covariance (1 - v) K + v I |        |
| L      | its Cholesky factor over what was tried              | (t, t) |
| y      | normal scores of what was tried, lower is better     | (t,)   |
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular

__all__ = ["Screen"]

Array = NDArray[Any]

NOISES = (0.05, 0.2, 0.5)
"""Among which the likelihood chooses."""


class Screen:
    """Mean and deviation of every function's score, given some.

    Args:
        kernels: among which the likelihood chooses, (lengths, p, p).
        tried: places, (t,).
        scores: of these, (t,).
        more: how many may be taken afterwards.

    Attributes:
        mean, variance: of every function's score without its noise, (p,).
    """

    def __init__(self, kernels: Array, tried: Array, scores: Array, more: int = 0) -> None:
        self.scores, best, count = scores.astype(kernels.dtype), -np.inf, len(tried)
        diagonal = np.arange(count)
        for candidate in kernels:
            block = candidate[np.ix_(tried, tried)]
            for noise in NOISES:
                covariance = (1 - noise) * block
                covariance[diagonal, diagonal] += noise
                factor = np.linalg.cholesky(covariance)
                white = solve_triangular(factor, self.scores, lower=True, check_finite=False)
                likelihood = -0.5 * float(white @ white) - float(np.log(factor[diagonal, diagonal]).sum())
                if likelihood > best:
                    best, self.factor, self.noise, self.kernel, told = likelihood, factor, noise, candidate, white
        signal = 1 - self.noise
        self._rows = np.empty((count + more, len(self.kernel)), kernels.dtype)
        self._rows[:count] = solve_triangular(self.factor, signal * self.kernel[tried], lower=True, check_finite=False)
        self._count = count
        self.mean = told @ self._rows[:count]
        self.variance = signal - (self._rows[:count] ** 2).sum(0)

    def take(self, place: int) -> None:
        """As if the score of this one were known, and as expected: the means stay, its neighbours become certain."""
        rows, signal = self._rows[: self._count], 1 - self.noise
        own = rows[:, place]
        row = (signal * self.kernel[place] - own @ rows) / np.sqrt(max(signal - float(own @ own), 0.0) + self.noise)
        self._rows[self._count] = row
        self._count += 1
        self.variance -= row**2

    @property
    def deviation(self) -> Array:
        """Of the score without its noise, (p,)."""
        return np.asarray(np.sqrt(np.maximum(self.variance, 0.0)))

    def left_out(self, size: int) -> float:
        """Rank correlation of the scores and of what is said of each `size` in turn from the others.

        With A the inverse of the covariance, the prediction of a part G without it is y_G - A_GG^-1 (A y)_G.
        """
        count = len(self.scores)
        precision = cho_solve((self.factor, True), np.eye(count, dtype=self.factor.dtype), check_finite=False)
        told, predicted = precision @ self.scores, np.empty(count)
        for first in range(0, count, size):
            part = slice(first, first + size)
            predicted[part] = self.scores[part] - np.linalg.solve(precision[part, part], told[part])
        a, b = (np.argsort(np.argsort(values)) for values in (predicted, self.scores))
        return float(np.corrcoef(a, b)[0, 1])
