"""What every image problem shares: how images are treated, batches mixed and erased, a loss for labels that are mixed.

| symbol | meaning                                          | shape                  |
|--------|--------------------------------------------------|------------------------|
| x      | a batch, each channel of mean 0 and deviation 1  | (batch, channels, ...) |
| y      | its labels, or their probabilities where mixed   | (batch[, classes])     |
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from actsmith.errors import require
from actsmith.training.problem import Classification

__all__ = ["SCORED_AT_ONCE", "ImageProblem", "Treatment", "seeded"]

SCORED_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """How many images there are, and what is done to them.

    Attributes:
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

    train: int | None = None
    validation: int | None = None
    test: int | None = None
    size: int | None = None
    augment: bool = False
    mix: float = 0.0
    erase: float = 0.0
    smoothing: float = 0.0
    workers: int | None = None


class ImageProblem(Classification):
    """Classification of images that are treated in batches.

    Args:
        treatment: how.
    """

    def __init__(self, treatment: Treatment) -> None:
        self.treatment, self.smoothing = treatment, treatment.smoothing
        self.random = bool(treatment.augment or treatment.mix or treatment.erase)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        # Probabilities are smoothed already.
        return functional.cross_entropy(model(x).float(), y) if y.is_floating_point() else super().loss(model, batch)

    def disturbed(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Images (batch, ...) and labels (batch,), mixed and erased as the treatment says; labels of batches that may
        be mixed become probabilities (batch, outputs), smoothed."""
        mix, erase = self.treatment.mix, self.treatment.erase
        if not (mix or erase):
            return x, y
        mixup_of = require("timm.data.mixup", "vision", "images: mix").Mixup
        erasing_of = require("timm.data.random_erasing", "vision", "images: erase").RandomErasing
        with seeded(int(torch.randint(2**31, ()))):
            if mix:
                mixup = mixup_of(0.8, 1.0, prob=mix, label_smoothing=self.smoothing, num_classes=self.outputs)
                # An odd batch has no pairs: timm wants an even one, so the last image is left out.
                even = len(x) // 2 * 2
                x, y = mixup(x[:even].clone(), y[:even])
            if erase:
                x = erasing_of(erase, mode="pixel", device=str(x.device))(x)
        return x, y


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
