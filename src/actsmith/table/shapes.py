"""The functions of a table as points: what a surrogate, a neighbour search and an evolution see of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    prefers.

    Args:
        points: where something is known, (n, k).
        scores: what is known there, (n,).
    """

    def __init__(self, points: Array, scores: Array) -> None:
        self.points = points
        self.mean, self.scale = float(scores.mean()), float(scores.std()) or 1.0
        y = (scores - self.mean) / self.scale
        squares = _squares(points, points)
        positive = squares[squares > 0]
        median = float(np.median(positive)) if positive.size else 1.0
        best = -np.inf
        for length in LENGTHS:
            kernel = np.exp(-squares / (2 * length**2 * median))
            for noise in NOISES:
                root = np.linalg.cholesky(kernel + noise * np.eye(len(y)))
                solved = np.linalg.solve(root.T, np.linalg.solve(root, y))
                likelihood = -0.5 * float(y @ solved) - float(np.log(np.diag(root)).sum())
                if likelihood > best:
                    best, self.spread, self.root, self.solved = likelihood, length**2 * median, root, solved

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Mean and deviation at other points (m, k), each (m,)."""
        kernel = np.exp(-_squares(points, self.points) / (2 * self.spread))
        inner = np.linalg.solve(self.root, kernel.T)
        deviation = np.sqrt(np.maximum(1 - (inner**2).sum(0), 0))
        return self.mean + self.scale * (kernel @ self.solved), self.scale * deviation


def _squares(a: Array, b: Array) -> Array:
    found = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.asarray(np.maximum(found, 0))
