"""Image problems: small sets in memory as bytes, normalised and augmented batch by batch.

| symbol | meaning                                          | shape                        |
|--------|--------------------------------------------------|------------------------------|
| pixels | an image set, bytes                              | (n, channels, side, side)    |
| x      | a batch, each channel of mean 0 and deviation 1  | (nets, batch, channels, ...) |
| y      | its labels                                       | (nets, batch)                |
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.experiments import files
from actsmith.experiments.problem import Classification, Problem

__all__ = ["ImageProblem", "Images", "MemoryImages", "held_out_share", "seeded", "some_of"]

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]

SPLIT_SEED = 0
"""Decides which training images are held out and, of the others, which are kept."""
PADDING = 1 / 8
"""Share of the side by which an image is padded before a random crop (4 pixels of 32)."""
SCORED_AT_ONCE = 256
MIRRORED = ("cifar10", "cifar100")
"""Sets whose images may be mirrored: a digit may not, and a shoe's toe points left."""


@dataclass(frozen=True)
class Images:
    """An image classification problem.

    A tenth of the training images is held out as validation split, every class in its share, of ImageNet 1 %.

    Attributes:
        dataset: its name; also that of its folder in the folder of the data.
        train: training images that are kept, every class in its share; None for all.
        validation, test: likewise, of the other splits.
        size: side in pixels to which images are resized; None leaves them as they are (224 for ImageNet).
        augment: random crops of the padded image, and mirror images where they mean the same; for ImageNet timm's
            random resized crops with RandAugment.
        mix: probability that a batch is mixed by timm's Mixup (alpha 0.8) or CutMix (alpha 1), each half the time.
        erase: probability that a part of an image is erased by timm's RandomErasing.
        smoothing: of the labels, in the loss.
        workers: processes that read ImageNet; None for one a core.
    """

    dataset: Literal["cifar10", "cifar100", "mnist", "mnist-5k", "fashion-mnist", "digits", "imagenet"] = "cifar10"
    train: int | None = None
    validation: int | None = None
    test: int | None = None
    size: int | None = None
    augment: bool = False
    mix: float = 0.0
    erase: float = 0.0
    smoothing: float = 0.0
    workers: int | None = None

    def load(self, data: Path | None) -> Problem:
        """The images, in memory, or for ImageNet the list of its files.

        Raises:
            ActsmithError: no such data set, its files are missing, or more images are asked for than there are.
        """
        if self.dataset == "imagenet":
            from actsmith.experiments.image_folders import FolderImages

            return FolderImages(self, _folder(data, "imagenet"))
        if self.dataset not in _READ:
            raise ActsmithError(f"images: dataset: got {self.dataset!r}; expected {', '.join(_READ)} or imagenet")
        return MemoryImages(self, _read(self.dataset, _folder(data, self.dataset)))


def _digits(folder: Path | None) -> Arrays:
    """scikit-learn's 1,797 images of 8x8; two fifths are the test split."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ActsmithError("images digits: scikit-learn is missing; pip install 'actsmith[search]'") from None
    found = load_digits()
    x, y = np.rint(found.images * (255 / 16)).astype(np.uint8), found.target.astype(np.int64)
    test, rest = held_out_share(y, 0.4)
    return x[rest], y[rest], x[test], y[test]


_READ: dict[str, Callable[[Path | None], Arrays]] = {
    "cifar10": files.cifar10_arrays,
    "cifar100": files.cifar100_arrays,
    "mnist": files.mnist_arrays,
    "mnist-5k": files.mnist_5k_arrays,
    "fashion-mnist": files.fashion_mnist_arrays,
    "digits": _digits,
}


@lru_cache(maxsize=1)
def _read(dataset: str, folder: Path | None) -> Arrays:
    """The last set read is kept: several parts of one run learn from it."""
    return _READ[dataset](folder)


def _folder(data: Path | None, name: str) -> Path | None:
    """data/name where there is such a folder, else data itself."""
    return data / name if data is not None and (data / name).is_dir() else data


class ImageProblem(Classification):
    """What both kinds share: mixing and erasing whole batches, and a loss for labels that are mixed."""

    outputs: int
    config: Images

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        if not y.is_floating_point():
            return super().loss(model, batch)
        each = functional.cross_entropy(model(x).flatten(0, 1), y.flatten(0, 1), reduction="none")
        return each.view(y.shape[:2]).mean(1)

    def disturbed(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Images (nets, batch, ...) and labels (nets, batch), mixed and erased as the configuration says; labels of
        batches that may be mixed become probabilities (nets, batch, outputs), smoothed."""
        if not (self.config.mix or self.config.erase):
            return x, y
        mixup_of, erasing_of = _timm_augmentations()
        with seeded(int(torch.randint(2**31, ()))):
            if self.config.mix:
                mixup = mixup_of(
                    0.8, 1.0, prob=self.config.mix, label_smoothing=self.smoothing, num_classes=self.outputs
                )
                # An odd batch has no pairs: timm wants an even one, so the last image is left out.
                even = x.shape[1] // 2 * 2
                mixed = [mixup(a[:even].clone(), b[:even]) for a, b in zip(x, y, strict=True)]
                x, y = (torch.stack(parts) for parts in zip(*mixed, strict=True))
            if self.config.erase:
                erasing = erasing_of(self.config.erase, mode="pixel", device=str(x.device))
                x = erasing(x.flatten(0, 1)).view(x.shape)
        return x, y


def _timm_augmentations() -> tuple[Any, Any]:
    try:
        from timm.data.mixup import Mixup
        from timm.data.random_erasing import RandomErasing
    except ImportError:
        raise ActsmithError("images: mix, erase: timm is missing; pip install 'actsmith[vision]'") from None
    return Mixup, RandomErasing


class MemoryImages(ImageProblem):
    """Images as bytes in memory.

    Args:
        config: which, how many, and how they are treated.
        arrays: images (n, side, side) or (n, side, side, channels) and labels (n,), then those of the test split.
    """

    def __init__(self, config: Images, arrays: Arrays) -> None:
        x, y, test_x, test_y = arrays
        self.config, self.smoothing = config, config.smoothing
        held_out, rest = held_out_share(y, 0.1)
        chosen = {
            "train": some_of(rest, y, config.train, "train"),
            "validation": some_of(held_out, y, config.validation, "validation"),
        }
        test = some_of(np.arange(len(test_y)), test_y, config.test, "test")
        self.train = _pixels(x[chosen["train"]], config.size), torch.from_numpy(y[chosen["train"]])
        self.splits = {
            "validation": (_pixels(x[chosen["validation"]], config.size), torch.from_numpy(y[chosen["validation"]])),
            "test": (_pixels(test_x[test], config.size), torch.from_numpy(test_y[test])),
        }
        pixels = self.train[0]
        self.size, side = len(pixels), config.size or pixels.shape[-1]
        self.inputs, self.outputs = (pixels.shape[1], side, side), int(y.max()) + 1
        self.mean, self.std = _moments(pixels)

    def batch(self, order: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        pixels, y = self.train
        chosen = pixels[order].flatten(0, 1)
        if self.config.augment:
            chosen = _cropped(chosen, self.config.dataset in MIRRORED)
        x = self.normalised(chosen.to(device)).view(*order.shape, *self.inputs)
        return self.disturbed(x, y[order].to(device))

    def normalised(self, pixels: Tensor) -> Tensor:
        """Bytes (n, channels, ...) as float32, each channel of mean 0 and deviation 1 over the training images, and
        enlarged where they are to be."""
        mean, std = (v.to(pixels.device).view(-1, 1, 1) for v in (self.mean, self.std))
        x = (pixels.float() - mean) / std
        side = self.inputs[-1]
        return x if x.shape[-1] == side else functional.interpolate(x, (side, side), mode="bicubic")

    @torch.no_grad()
    def outputs_of(self, model: nn.Module, x: Tensor, device: torch.device) -> Tensor:
        """The model's outputs on bytes (n, channels, ...) that all nets share, (nets, n, outputs)."""
        nets = getattr(model, "nets", 1)
        chunks = (self.normalised(chunk.to(device)) for chunk in torch.split(x, SCORED_AT_ONCE))
        return torch.cat([model(c.expand(nets, *c.shape)).float() for c in chunks], 1)


def _pixels(x: NDArray[np.uint8], size: int | None) -> Tensor:
    """Images (n, side, side[, channels]) as bytes (n, channels, side, side), reduced to `size` where it is smaller."""
    images = torch.from_numpy(np.array(x if x.ndim == 4 else x[..., None])).permute(0, 3, 1, 2).contiguous()
    if size is None or size >= images.shape[-1]:
        return images
    parts = torch.split(images, 1024)
    resized = [functional.interpolate(p, (size, size), mode="bilinear", antialias=True) for p in parts]
    return torch.cat(resized)


def _moments(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, (channels,)."""
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in pixels.unbind(1)]).double()
    value = torch.arange(256.0, dtype=torch.float64)
    mean = (counts @ value) / counts.sum(1)
    square = (counts @ value.square()) / counts.sum(1)
    return mean.float(), (square - mean.square()).sqrt().float()


def _cropped(pixels: Tensor, mirror: bool) -> Tensor:
    """Each image of (n, channels, side, side) moved by a random whole number of pixels, and mirrored half the time."""
    count, _, side, _ = pixels.shape
    padding = max(round(PADDING * side), 1)
    padded = functional.pad(pixels, [padding] * 4)
    top, left = torch.randint(2 * padding + 1, (2, count))
    along = torch.arange(side)
    rows, columns = top[:, None] + along, left[:, None] + along
    if mirror:
        flipped = torch.rand(count) < 0.5
        columns = torch.where(flipped[:, None], columns.flip(1), columns)
    found = padded[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return found.permute(0, 3, 1, 2)


def held_out_share(labels: NDArray[np.int64], share: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of a share of every class, and of the rest."""
    order = _interleaved(np.arange(len(labels)), labels)
    count = round(share * len(labels))
    return np.sort(order[:count]), np.sort(order[count:])


def some_of(indices: NDArray[np.intp], labels: NDArray[np.int64], count: int | None, split: str) -> NDArray[np.intp]:
    """`count` of the indices, every class in its share.

    Raises:
        ActsmithError: there are not that many.
    """
    if count is None:
        return indices
    if not 1 <= count <= len(indices):
        raise ActsmithError(f"images: {split}: got {count} images; expected 1 to {len(indices)}, as many as there are")
    return np.sort(_interleaved(indices, labels[indices])[:count])


def _interleaved(indices: NDArray[np.intp], labels: NDArray[np.int64]) -> NDArray[np.intp]:
    """The indices in a random order whose every beginning holds each class in its share, within one."""
    shuffled = np.random.Generator(np.random.PCG64(SPLIT_SEED)).permutation(len(indices))
    place = np.empty(len(indices))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return indices[shuffled[np.argsort(place[shuffled], kind="stable")]]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's generator and numpy's global one, from which timm draws, start from the seed, and are afterwards as
    before."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
