"""Image sets as flat vectors, for perceptrons."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from actsmith.errors import ActsmithError
from actsmith.tasks.files import read_images
from actsmith.tasks.splits import ImageSet, some_of
from actsmith.training.problem import Classification

__all__ = ["FlatImages", "moments", "standardised"]


@dataclass(frozen=True)
class FlatImages:
    """An image set, or a part of it, flattened; each feature of mean 0 and deviation 1 over the training images.

    Attributes:
        name: of the set.
        train, validation, test: images of each split that are kept, every class in its share; None for all.
        pool: squares of this side are averaged.
    """

    name: str = "digits"
    train: int | None = None
    validation: int | None = None
    test: int | None = None
    pool: int = 1
    metric = Classification.metric

    def load(self, data: Path | None) -> Classification:
        """Inputs (n, features) and labels.

        Raises:
            ActsmithError: no such data set, its files are missing, more images are asked for than there are, or a pool
                that does not tile them.
        """
        images = read_images(self.name, data)
        side = images.train.x.shape[1]
        if self.pool < 1 or side % self.pool:
            raise ActsmithError(f"images {self.name}: pool: got {self.pool}; expected a divisor of their side, {side}")
        counts = (self.train, self.validation, self.test)
        parts = []
        for split, count, name in zip(images, counts, ImageSet._fields, strict=True):
            chosen = some_of(np.arange(len(split.y)), split.y, count, name)
            x = _pooled(split.x[chosen], self.pool)
            parts.append((x.reshape(len(x), -1), torch.from_numpy(split.y[chosen])))
        mean, std = moments(parts[0][0])
        train, validation, test = ((torch.from_numpy(standardised(x, mean, std)), y) for x, y in parts)
        return Classification(train, validation, test, outputs=images.classes)


def _pooled(images: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """(n, height, width, ...) averaged over squares of `side`."""
    n, height, width = images.shape[:3]
    blocks = images.reshape(n, height // side, side, width // side, side, -1)
    means: NDArray[np.float32] = blocks.mean((2, 4), dtype=np.float32)
    return means


def moments(x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and deviation of each feature; 1 for a deviation of 0, so that a constant feature becomes 0."""
    std = x.std(axis=0, dtype=np.float64)
    return x.mean(axis=0, dtype=np.float64).astype(np.float32), np.where(std > 0, std, 1.0).astype(np.float32)


def standardised(x: NDArray[np.float32], mean: NDArray[np.float32], std: NDArray[np.float32]) -> NDArray[np.float32]:
    """(x - mean)/std in float32, without a second copy."""
    result = x.astype(np.float32)
    result -= mean
    result /= std
    return result
