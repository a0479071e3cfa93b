"""Which examples of a data set are for training, for choices and for claims: always the same ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actsmith.errors import ActsmithError

__all__ = ["ImageSet", "Labelled", "held_out", "held_out_share", "some_of", "stratified"]

SPLIT_SEED = 0
"""Decides which training images are held out and, of the others, which are kept."""
Labels = NDArray[np.int64]
Indices = NDArray[np.intp]


class Labelled(NamedTuple):
    """Images as bytes, (n, height, width) or (n, height, width, channels), and labels (n,)."""

    x: NDArray[np.uint8]
    y: Labels


class ImageSet(NamedTuple):
    """The three splits of a data set: weights see the first, choices the second, claims the third."""

    train: Labelled
    validation: Labelled
    test: Labelled

    @property
    def classes(self) -> int:
        """Labels are 0 ... classes - 1."""
        return max(int(split.y.max()) for split in self) + 1


def held_out(x: NDArray[np.uint8], y: Labels, test: Labelled, share: float = 0.1) -> ImageSet:
    """A share of the training images becomes the validation split, every class in its own share."""
    chosen, rest = held_out_share(y, share)
    return ImageSet(Labelled(x[rest], y[rest]), Labelled(x[chosen], y[chosen]), test)


def held_out_share(labels: Labels, share: float) -> tuple[Indices, Indices]:
    """Indices of a share of every class, and of the rest."""
    order = _interleaved(np.arange(len(labels)), labels)
    count = round(share * len(labels))
    return np.sort(order[:count]), np.sort(order[count:])


def some_of(indices: Indices, labels: Labels, count: int | None, split: str) -> Indices:
    """`count` of the indices, every class in its share; fewer are among more.

    Args:
        indices: of the split's examples.
        labels: of all examples.
        count: how many; None for all.
        split: what the message calls it.

    Raises:
        ActsmithError: there are not that many.
    """
    if count is None:
        return indices
    if not 1 <= count <= len(indices):
        raise ActsmithError(f"images: {split}: got {count} images; expected 1 to {len(indices)}, as many as there are")
    return np.sort(_interleaved(indices, labels[indices])[:count])


def _interleaved(indices: Indices, labels: Labels) -> Indices:
    """The indices in a random order whose every beginning holds each class in its share, within one."""
    shuffled = np.random.Generator(np.random.PCG64(SPLIT_SEED)).permutation(len(indices))
    place = np.empty(len(indices))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return indices[shuffled[np.argsort(place[shuffled], kind="stable")]]


def stratified(labels: Labels, shares: tuple[float, ...], seed: int) -> list[Indices]:
    """Indices of the training part, then of one part for each share, every class in its share. Ascending."""
    rng = np.random.Generator(np.random.PCG64(seed))
    parts: list[list[Indices]] = [[] for _ in range(len(shares) + 1)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        ends = np.round(np.cumsum([0.0, *shares]) * len(members)).astype(int)
        for i in range(len(shares)):
            parts[i + 1].append(members[ends[i] : ends[i + 1]])
        parts[0].append(members[ends[-1] :])
    return [np.sort(np.concatenate(part)) for part in parts]
