"""Small tasks for perceptrons: parts of image sets, flattened, and a random polynomial."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actsmith.experiments.files import cifar10_arrays, fashion_mnist_arrays
from actsmith.experiments.problem import Classification, Problem, Regression
from actsmith.experiments.tasks import Task, load_task, task_from_arrays

__all__ = ["FlatImages", "Polynomial"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FlatImages:
    """A part of an image set, flattened and standardised.

    Attributes:
        name: "digits" (all of it), "fashion-mnist" or "cifar10".
        train, test: images, the first of a fixed permutation; a sixth of the training images are for validation.
        pool: squares of this side are averaged.
    """

    name: str
    train: int = 4000
    test: int = 2000
    pool: int = 2
    metric = Classification.metric

    def load(self, data: Path | None) -> Problem:
        """Inputs (n, features) and labels."""
        task = load_task("digits") if self.name == "digits" else self._task(data)
        train, validation, test = (
            (torch.from_numpy(s.x), torch.from_numpy(s.y)) for s in (task.train, task.validation, task.test)
        )
        return Classification(train, validation, test, outputs=task.classes)

    def _task(self, data: Path | None) -> Task:
        x, y, test_x, test_y = _read_images(self.name, data)
        rng = np.random.Generator(np.random.PCG64(0))
        chosen, tested = rng.permutation(len(x))[: self.train], rng.permutation(len(test_x))[: self.test]
        test = (_pooled(test_x[tested], self.pool), test_y[tested])
        return task_from_arrays(self.name, _pooled(x[chosen], self.pool), y[chosen], test, validation_share=1 / 6)


def _read_images(name: str, data: Path | None) -> Any:
    """Fashion-MNIST from data/fashion-mnist, the Debian package or torchvision; CIFAR-10 from data/cifar10 or data."""
    own = data / name if data is not None and (data / name).is_dir() else None
    return fashion_mnist_arrays(own) if name == "fashion-mnist" else cifar10_arrays(own or data)


def _pooled(images: NDArray[np.uint8], side: int) -> Floats:
    """(n, height, width, ...) averaged over squares of `side`."""
    n, height, width = images.shape[:3]
    blocks = images.reshape(n, height // side, side, width // side, side, -1)
    means: Floats = blocks.mean((2, 4), dtype=np.float64)
    return means


@dataclass(frozen=True)
class Polynomial:
    """y = sum_j a_j product of `degree` random coordinates, x uniform in [-1, 1]^variables, y standardised.

    Attributes:
        variables, degree, terms: of the polynomial; drawn once, from seed 0.
        train, evaluated: examples of the training split, of each of the other two.
    """

    variables: int = 6
    degree: int = 3
    terms: int = 12
    train: int = 3000
    evaluated: int = 2000
    metric = Regression.metric

    def load(self, data: Path | None) -> Problem:
        """Inputs (n, variables) and targets (n, 1)."""
        rng = np.random.Generator(np.random.PCG64(0))
        factors = rng.integers(self.variables, size=(self.terms, self.degree))
        weights = rng.standard_normal(self.terms)
        splits, moments_of_train = [], (0.0, 1.0)
        for i, size in enumerate((self.train, self.evaluated, self.evaluated)):
            x = rng.uniform(-1, 1, (size, self.variables))
            y = x[:, factors].prod(-1) @ weights
            if i == 0:
                moments_of_train = (float(y.mean()), float(y.std()))
            y = (y - moments_of_train[0]) / moments_of_train[1]
            splits.append((torch.from_numpy(x).float(), torch.from_numpy(y[:, None]).float()))
        train, validation, test = splits
        return Regression(train, validation, test, outputs=1)
