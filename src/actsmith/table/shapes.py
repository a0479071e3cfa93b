"""The functions of a table as points: what a surrogate, a neighbour search and an evolution see of them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular

from actsmith.formula.formula import Formula
from actsmith.search.draft import Grid
from actsmith.search.surrogate import coordinates
from actsmith.theory.laws import Normal
from actsmith.theory.measured import MeasuredTable

__all__ = ["Process", "Shapes", "shapes_of"]

Array = NDArray[Any]

LENGTHS = (0.5, 1.0, 2.0, 4.0)
"""Length scales that the likelihood chooses from, as multiples of the median distance."""
NOISES = (0.01, 0.1, 0.5)
"""Likewise the variance of the noise, of a signal of variance 1."""
FITTED = 512
"""Points whose likelihood chooses the two."""


@dataclass(frozen=True, eq=False)
class Shapes:
    """Points of the functions.

    Attributes:
        points: principal components of shape and slope and what theory says, see `search.surrogate`, (n, k).
        outputs: values on the law's quantiles, each function centred and scaled, (n, m).
    """

    points: Array
    outputs: Array


def shapes_of(table: MeasuredTable) -> Shapes:
    """Of every function under N(0, 1)."""
    grid = Grid.of(Normal())
    looks = [grid.look(Formula(text)) for text in table.formulas]
    values, slopes = (np.nan_to_num(np.stack([look[i] for look in looks])) for i in (0, 1))
    centred = values - (values @ grid.weights)[:, None]
    deviation = np.sqrt((centred**2) @ grid.weights)[:, None]
    outputs = centred / np.maximum(deviation, 1e-12) * np.sqrt(grid.weights)
    return Shapes(coordinates(values, slopes, grid), outputs)


class Process:
    """A Gaussian process with a squared-exponential kernel; its two constants are those of a grid that the likelihood
    of at most `FITTED` of the points, evenly spaced, prefers.

    Args:
        points: where something is known, (n, k).
        scores: what is known there, (n,).
    """

    def __init__(self, points: Array, scores: Array) -> None:
        self.points = points
        self.mean, self.scale = float(scores.mean()), float(scores.std()) or 1.0
        y = (scores - self.mean) / self.scale
        some = np.unique(np.linspace(0, len(y) - 1, min(FITTED, len(y))).round().astype(int))
        squares = _squares(points[some], points[some])
        positive = squares[squares > 0]
        median = float(np.median(positive)) if positive.size else 1.0
        best, noise = -np.inf, NOISES[0]
        for length, tried in itertools.product(LENGTHS, NOISES):
            root = _root(squares, length**2 * median, tried)
            likelihood = -0.5 * float(y[some] @ cho_solve((root, True), y[some])) - float(np.log(np.diag(root)).sum())
            if likelihood > best:
                best, self.spread, noise = likelihood, length**2 * median, tried
        self.root = _root(_squares(points, points), self.spread, noise)
        self.solved = cho_solve((self.root, True), y)

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Mean and deviation at other points (m, k), each (m,)."""
        kernel = np.exp(-_squares(points, self.points) / (2 * self.spread))
        inner = solve_triangular(self.root, kernel.T, lower=True)
        deviation = np.sqrt(np.maximum(1 - (inner**2).sum(0), 0))
        return self.mean + self.scale * (kernel @ self.solved), self.scale * deviation


def _root(squares: Array, spread: float, noise: float) -> Array:
    """The lower Cholesky factor of the kernel with noise."""
    kernel = np.exp(-squares / (2 * spread))
    kernel[np.diag_indices_from(kernel)] += noise
    return np.asarray(np.linalg.cholesky(kernel))


def _squares(a: Array, b: Array) -> Array:
    found = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.asarray(np.maximum(found, 0))
