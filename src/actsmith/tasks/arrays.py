"""A task from arrays: the easy way to own one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from actsmith.errors import ActsmithError
from actsmith.tasks.flat import moments, standardised
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.splits import stratified
from actsmith.tasks.task import Task
from actsmith.training.problem import Classification, digest_of
from actsmith.training.recipe import Recipe

__all__ = ["GivenArrays", "task_from_arrays"]

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class GivenArrays:
    """Splits that a user gave, each (features (n, k), labels (n,)); in plain values their digest stands for them.

    Attributes:
        digest: of the splits.
        classes: labels are 0 ... classes - 1.
    """

    digest: str
    classes: int
    train: Pair = field(repr=False, compare=False)
    validation: Pair = field(repr=False, compare=False)
    test: Pair = field(repr=False, compare=False)
    metric = Classification.metric

    def load(self, data: Path | None) -> Classification:
        """The problem; `data` is not looked at."""
        return Classification(self.train, self.validation, self.test, outputs=self.classes)


def task_from_arrays(
    name: str,
    x: ArrayLike,
    y: ArrayLike,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    validation_share: float = 0.2,
    test_share: float = 0.4,
    seed: int = 0,
    width: int = 64,
    depth: int = 6,
    epochs: int = 16,
    batch: int = 32,
) -> Task:
    """A perceptron's task from raw features and labels: stratified splits, standardised on the training split alone.

    Args:
        name: what reports call it.
        x: features, (n, ...), flattened to (n, features).
        y: labels, whole numbers from 0 on, (n,).
        test: features and labels of a test split that already exists; `test_share` is then unused.
        validation_share, test_share: of the samples of each class in x.
        seed: of the split.
        width, depth: units in a hidden layer, number of hidden layers.
        epochs, batch: the training budget.

    Raises:
        ActsmithError: shapes that do not agree, features that are not finite, labels that are not whole numbers from 0
            on (one-hot rows are none), a share that leaves a split without samples.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> task = task_from_arrays("blobs", rng.normal(size=(100, 4)), np.arange(100) % 2)
        >>> [len(split[1]) for split in (task.problem.train, task.problem.validation, task.problem.test)]
        [40, 20, 40]
    """
    inputs, labels = _checked(f"task {name}", x, y)
    shares = (validation_share,) if test is not None else (validation_share, test_share)
    if not all(0 < share < 1 for share in shares) or sum(shares) >= 1:
        raise ActsmithError(f"task {name}: got shares {shares}; expected positive numbers whose sum is below 1")
    parts = stratified(labels, shares, seed)
    raw = [(inputs[part], labels[part]) for part in parts]
    if test is not None:
        raw.append(_checked(f"task {name}: test", *test, features=inputs.shape[1]))
    if not all(len(part[1]) for part in raw):
        raise ActsmithError(
            f"task {name}: got splits of {[len(p[1]) for p in raw]} samples; expected 1 or more in each"
        )
    mean, std = moments(raw[0][0])
    train, validation, tested = (
        (torch.from_numpy(standardised(a, mean, std)), torch.from_numpy(np.ascontiguousarray(b))) for a, b in raw
    )
    classes = max(int(part[1].max()) for part in raw) + 1
    problem = GivenArrays(digest_of(*train, *validation, *tested), classes, train, validation, tested)
    return Task(name, problem, Mlp(width, depth), Recipe(epochs, batch))


def _checked(where: str, x: ArrayLike, y: ArrayLike, features: int | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Features (n, k) in float32 and labels (n,) in int64."""
    inputs, labels = np.asarray(x), np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise ActsmithError(
            f"{where}: got labels {labels.shape}; expected the number of each sample's class, (n,): of one-hot rows "
            "y.argmax(1)"
        )
    if labels.ndim != 1 or not len(labels) or inputs.ndim < 1 or len(inputs) != len(labels):
        raise ActsmithError(
            f"{where}: got features {inputs.shape} and labels {labels.shape}; expected (n, ...) and (n,), n >= 1"
        )
    flat = np.ascontiguousarray(inputs.reshape(len(inputs), -1), dtype=np.float32)
    if not flat.shape[1] or (features is not None and flat.shape[1] != features):
        raise ActsmithError(f"{where}: got {flat.shape[1]} features; expected {features or '1 or more'}")
    if not np.isfinite(flat).all():
        raise ActsmithError(f"{where}: got features that are not finite; expected finite numbers")
    if labels.dtype.kind not in "iufb" or not (np.isfinite(labels) & (labels >= 0) & (labels == np.rint(labels))).all():
        raise ActsmithError(f"{where}: got labels {labels[:5].tolist()} ...; expected whole numbers from 0 on")
    return flat, labels.astype(np.int64)
