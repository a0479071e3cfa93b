"""Image problems: small sets in memory as bytes, normalised and augmented batch by batch; ImageNet from its folders.

| symbol | meaning                                          | shape                        |
|--------|--------------------------------------------------|------------------------------|
| pixels | an image set, bytes                              | (n, channels, side, side)    |
| x      | a batch, each channel of mean 0 and deviation 1  | (nets, batch, channels, ...) |
| y      | its labels                                       | (nets, batch)                |
"""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
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
from torch.utils.data import DataLoader, Dataset

from actsmith.errors import ActsmithError
from actsmith.experiments import files
from actsmith.experiments.cifar100 import cifar100_arrays
from actsmith.experiments.problem import Classification, Problem, Split

__all__ = ["FolderImages", "Images", "MemoryImages"]

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]

SPLIT_SEED = 0
"""Decides which training images are held out and, of the others, which are kept."""
PADDING = 1 / 8
"""Share of the side by which an image is padded before a random crop (4 pixels of 32)."""
SCORED_AT_ONCE = 256
MIRRORED = ("cifar10", "cifar100")
"""Sets whose images may be mirrored: a digit may not, and a shoe's toe points left."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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

    dataset: Literal["cifar10", "cifar100", "mnist", "fashion-mnist", "digits", "imagenet"] = "cifar10"
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
    test, rest = _shares(y, 0.4)
    return x[rest], y[rest], x[test], y[test]


_READ: dict[str, Callable[[Path | None], Arrays]] = {
    "cifar10": files.cifar10_arrays,
    "cifar100": cifar100_arrays,
    "mnist": lambda folder: files.mnist_arrays(folder),
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


class _Images(Classification):
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
        from timm.data.mixup import Mixup
        from timm.data.random_erasing import RandomErasing

        with _seeded(int(torch.randint(2**31, ()))):
            if self.config.mix:
                mixup = Mixup(
                    0.8, 1.0, prob=self.config.mix, label_smoothing=self.smoothing, num_classes=self.outputs
                )
                # An odd batch has no pairs: timm wants an even one, so the last image is left out.
                even = x.shape[1] // 2 * 2
                mixed = [mixup(a[:even].clone(), b[:even]) for a, b in zip(x, y, strict=True)]
                x, y = (torch.stack(parts) for parts in zip(*mixed, strict=True))
            if self.config.erase:
                erasing = RandomErasing(self.config.erase, mode="pixel", device=str(x.device))
                x = erasing(x.flatten(0, 1)).view(x.shape)
        return x, y


class MemoryImages(_Images):
    """Images as bytes in memory.

    Args:
        config: which, how many, and how they are treated.
        arrays: images (n, side, side) or (n, side, side, channels) and labels (n,), then those of the test split.
    """

    def __init__(self, config: Images, arrays: Arrays) -> None:
        x, y, test_x, test_y = arrays
        self.config, self.smoothing = config, config.smoothing
        held_out, rest = _shares(y, 0.1)
        chosen = {
            "train": _some(rest, y, config.train, "train"),
            "validation": _some(held_out, y, config.validation, "validation"),
        }
        test = _some(np.arange(len(test_y)), test_y, config.test, "test")
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


def _shares(labels: NDArray[np.int64], share: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of a share of every class, and of the rest."""
    order = _interleaved(np.arange(len(labels)), labels)
    count = round(share * len(labels))
    return np.sort(order[:count]), np.sort(order[count:])


def _some(indices: NDArray[np.intp], labels: NDArray[np.int64], count: int | None, split: str) -> NDArray[np.intp]:
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


class FolderImages(_Images):
    """ImageNet's folders train/CLASS/*.JPEG and val/CLASS/*.JPEG, read ahead by worker processes through timm.

    Args:
        config: how many, and how they are treated.
        folder: holds `train` and `val`.

    Raises:
        ActsmithError: timm is missing, or the folders are.
    """

    def __init__(self, config: Images, folder: Path | None) -> None:
        try:
            from timm.data import create_transform
            from torchvision.datasets import ImageFolder
        except ImportError as error:
            raise ActsmithError(f"images: {error.name} is missing; pip install 'actsmith[vision]'") from None
        if folder is None or not ((folder / "train").is_dir() and (folder / "val").is_dir()):
            raise ActsmithError(
                f"images imagenet: got {str(folder) if folder else 'no folder'}; expected one with train/CLASS/*.JPEG "
                "and val/CLASS/*.JPEG (--data DIR, or DIR/imagenet); the set is to be had from image-net.org"
            )
        side = config.size or 224
        still = create_transform(side, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        lively = still
        if config.augment:
            lively = create_transform(
                side, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", mean=IMAGENET_MEAN, std=IMAGENET_STD
            )
        train, test = ImageFolder(str(folder / "train")), ImageFolder(str(folder / "val"))
        labels, test_labels = (np.asarray(s.targets, np.int64) for s in (train, test))
        held_out, rest = _shares(labels, 0.01)
        all_tested = np.arange(len(test_labels))
        self.config, self.smoothing = config, config.smoothing
        self.workers = config.workers if config.workers is not None else os.cpu_count() or 1
        self.reader = _Files(train, _some(rest, labels, config.train, "train"), lively)
        self.readers = {
            "validation": _Files(train, _some(held_out, labels, config.validation, "validation"), still),
            "test": _Files(test, _some(all_tested, test_labels, config.test, "test"), still),
        }
        self.size, self.inputs, self.outputs = len(self.reader), (3, side, side), len(train.classes)

    def batch(self, order: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        return next(self.batches(iter([order]), device))

    def batches(self, orders: Iterable[Tensor], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Reads ahead; torch's generator is, at every step, as if it did not."""
        seeds: deque[int] = deque()

        def wanted() -> Iterator[list[tuple[int, int]]]:
            for order in orders:
                seeds.append(torch.initial_seed())
                yield [(int(i), seeds[-1] + place) for place, i in enumerate(order.flatten())]

        loader = DataLoader(self.reader, batch_sampler=wanted(), **self._options(device))  # type: ignore[arg-type]
        for x, y in loader:
            torch.manual_seed(seeds.popleft())
            yield self.disturbed(x[None].to(device, non_blocking=True), y[None].to(device, non_blocking=True))

    @torch.no_grad()
    def score(self, model: nn.Module, split: Split) -> dict[str, Tensor]:
        device = next(model.parameters()).device
        right, loss, count = 0.0, 0.0, 0
        for x, y in DataLoader(self.readers[split], SCORED_AT_ONCE, **self._options(device)):
            logits, labels = model(x[None].to(device))[0].float(), y.to(device)
            right += float(((logits.argmax(-1) == labels) & torch.isfinite(logits).all(-1)).sum())
            loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
            count += len(y)
        return {"accuracy": torch.tensor([right / count]), "loss": torch.tensor([loss / count])}

    def _options(self, device: torch.device) -> dict[str, Any]:
        return {"num_workers": self.workers, "pin_memory": device.type == "cuda"}


class _Files(Dataset[tuple[Tensor, int]]):
    """Some images of a folder; asked for by number, or by (number, seed of the transform's draws)."""

    def __init__(self, folder: Any, chosen: NDArray[np.intp], transform: Callable[[Any], Tensor]) -> None:
        self.folder, self.chosen, self.transform = folder, chosen, transform

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, asked: int | tuple[int, int]) -> tuple[Tensor, int]:
        number, seed = asked if isinstance(asked, tuple) else (asked, None)
        image, label = self.folder[int(self.chosen[number])]
        if seed is None:
            return self.transform(image), label
        with _seeded(seed), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            return self.transform(image), label


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Python's and numpy's generators, from which timm draws, start from the seed, and are afterwards as before."""
    before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
