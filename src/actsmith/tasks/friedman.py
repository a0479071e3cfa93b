"""Regression of a smooth function of several variables, some of which say nothing.

    y = 10 sin(pi x_1 x_2) + 20 (x_3 - 1/2)^2 + 10 x_4 + 5 x_5,   x uniform on [0, 1]^10

J. H. Friedman, Multivariate adaptive regression splines, The Annals of Statistics 19 (1991) 1-67, section 4.3; without
its noise, so that a network's error is its own.

| symbol | meaning                                                    | shape    |
|--------|------------------------------------------------------------|----------|
| x      | inputs, each variable of mean 0 and deviation 1            | (n, 10)  |
| y      | the function there, over its deviation on the training set | (n, 1)   |
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actsmith.training.problem import Regression

__all__ = ["VARIABLES", "Friedman", "friedman"]

VARIABLES = 10


def friedman(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (n,) at x (n, 10) in [0, 1].

    >>> friedman(np.full((1, 10), 0.5)).round(4).tolist()
    [14.5711]
    """
    y: NDArray[np.float64] = (
        10 * np.sin(pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    )
    return y


@dataclass(frozen=True)
class Friedman:
    """The problem, by plain values.

    Attributes:
        size, held_out: training examples; examples of the validation split and of the test split.
        seed: of the points.
    """

    size: int = 2048
    held_out: int = 2048
    seed: int = 0
    metric = Regression.metric

    def load(self, data: Path | None) -> Regression:
        """The problem; needs no data."""
        generator = np.random.default_rng(self.seed)
        points = [generator.uniform(size=(count, VARIABLES)) for count in (self.size, self.held_out, self.held_out)]
        values = [friedman(x) for x in points]
        mean, scale = float(values[0].mean()), float(values[0].std())
        train, validation, test = (
            (_tensor(sqrt(12) * (x - 0.5)), _tensor((y[:, None] - mean) / scale))
            for x, y in zip(points, values, strict=True)
        )
        return Regression(train, validation, test, outputs=1)


def _tensor(x: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(x).float()
