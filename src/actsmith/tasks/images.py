"""Image problems in memory: bytes, normalised and augmented batch by batch.

| symbol | meaning                                          | shape                      |
|--------|--------------------------------------------------|----------------------------|
| pixels | an image set, bytes                              | (n, channels, side, side)  |
| x      | a batch, each channel of mean 0 and deviation 1  | (batch, channels, ...)     |
| y      | its labels                                       | (batch,)                   |
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from actsmith.files import data_folder
from actsmith.tasks.files import read_images
from actsmith.tasks.image_folders import FolderImages
from actsmith.tasks.image_problem import SCORED_AT_ONCE, ImageProblem, Treatment
from actsmith.tasks.splits import ImageSet, Labelled, some_of
from actsmith.training.problem import Classification, digest_of

__all__ = ["Images", "MemoryImages", "pixels_of"]

PADDING = 1 / 8
"""Share of the side by which an image is padded before a random crop (4 pixels of 32)."""
MIRRORED = ("cifar10", "cifar100")
"""Sets whose images may be mirrored: a digit may not, and a shoe's toe points left."""


@dataclass(frozen=True)
class Images(Treatment):
    """An image classification problem.

    A tenth of the training images is held out as validation split, every class in its share; of ImageNet 1 %, of
    mnist-5k and the digits a fifth of all.

    Attributes:
        dataset: its name; also that of its folder in the folder of the data.
    """

    dataset: Literal["cifar10", "cifar100", "mnist", "mnist-5k", "fashion-mnist", "digits", "imagenet"] = "cifar10"
    metric = Classification.metric

    def load(self, data: Path | None) -> ImageProblem:
        """The images, in memory, or for ImageNet the list of its files.

        Raises:
            ActsmithError: no such data set, its files are missing, or more images are asked for than there are.
        """
        if self.dataset == "imagenet":
            return FolderImages(self, data_folder(data, "imagenet"))
        return MemoryImages(self, read_images(self.dataset, data), mirror=self.dataset in MIRRORED)


class MemoryImages(ImageProblem):
    """Images as bytes in memory.

    Args:
        treatment: how many, and what is done to them.
        images: the three splits.
        mirror: whether a mirror image means the same.
        classes: how many there are, where some may have no image.
    """

    def __init__(
        self, treatment: Treatment, images: ImageSet, mirror: bool = False, classes: int | None = None
    ) -> None:
        super().__init__(treatment)
        self.mirror = mirror
        counts = (treatment.train, treatment.validation, treatment.test)
        train, validation, test = (
            _chosen(split, count, name, treatment.size)
            for split, count, name in zip(images, counts, ImageSet._fields, strict=True)
        )
        self.train, self.splits = train, {"validation": validation, "test": test}
        pixels = train[0]
        side = treatment.size or pixels.shape[-1]
        self.size, self.inputs, self.outputs = len(pixels), (pixels.shape[1], side, side), classes or images.classes
        self.mean, self.std = _moments(pixels)

    @cached_property
    def fingerprint(self) -> str:
        """Of the bytes and labels of all three splits."""
        return digest_of(*self.train, *self.splits["validation"], *self.splits["test"])

    def batch(self, order: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        pixels, y = self.train
        chosen = pixels[order]
        if self.treatment.augment:
            chosen = _cropped(chosen, self.mirror)
        return self.disturbed(self.normalised(chosen.to(device)), y[order].to(device))

    def normalised(self, pixels: Tensor) -> Tensor:
        """Bytes (n, channels, ...) as float32, each channel of mean 0 and deviation 1 over the training images, and
        enlarged where they are to be."""
        mean, std = (v.to(pixels.device).view(-1, 1, 1) for v in (self.mean, self.std))
        x = (pixels.float() - mean) / std
        side = self.inputs[-1]
        return x if x.shape[-1] == side else functional.interpolate(x, (side, side), mode="bicubic")

    @torch.no_grad()
    def outputs_of(self, model: nn.Module, x: Tensor, device: torch.device) -> Tensor:
        """The model's outputs on bytes (n, channels, ...), in float32."""
        chunks = (self.normalised(chunk.to(device)) for chunk in torch.split(x, SCORED_AT_ONCE))
        return torch.cat([model(chunk).float() for chunk in chunks])


def _chosen(split: Labelled, count: int | None, name: str, size: int | None) -> tuple[Tensor, Tensor]:
    """`count` images of a split as bytes (n, channels, side, side), and their labels."""
    chosen = some_of(np.arange(len(split.y)), split.y, count, name)
    return pixels_of(split.x[chosen], size), torch.from_numpy(split.y[chosen])


def pixels_of(x: NDArray[np.uint8], size: int | None) -> Tensor:
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
    std = (square - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 0, std, 1.0).float()  # a constant channel becomes 0


def _cropped(pixels: Tensor, mirror: bool) -> Tensor:
    """Each image of (n, channels, side, side) moved by a random whole number of pixels, and mirrored half the time."""
    (count, _, side, _), device = pixels.shape, pixels.device
    padding = max(round(PADDING * side), 1)
    padded = functional.pad(pixels, [padding] * 4)
    top, left = torch.randint(2 * padding + 1, (2, count), device=device)
    along = torch.arange(side, device=device)
    rows, columns = top[:, None] + along, left[:, None] + along
    if mirror:
        flipped = torch.rand(count, device=device) < 0.5
        columns = torch.where(flipped[:, None], columns.flip(1), columns)
    found = padded[torch.arange(count, device=device)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return found.permute(0, 3, 1, 2)
