"""ImageNet from its folders, read ahead by worker processes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from actsmith.errors import ActsmithError, require
from actsmith.tasks.image_problem import SCORED_AT_ONCE, ImageProblem, Treatment, seeded
from actsmith.tasks.splits import held_out_share, some_of
from actsmith.training.problem import Split, digest_of

__all__ = ["FolderImages"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, by channel."""


class FolderImages(ImageProblem):
    """ImageNet's folders train/CLASS/*.JPEG and val/CLASS/*.JPEG, read ahead by worker processes through timm.

    Args:
        treatment: how many, and what is done to them.
        folder: holds `train` and `val`.

    Raises:
        ActsmithError: timm is missing, or the folders are.
    """

    alone = True

    def __init__(self, treatment: Treatment, folder: Path | None) -> None:
        super().__init__(treatment)
        create_transform = require("timm.data.transforms_factory", "vision", "images imagenet").create_transform
        image_folder = require("torchvision.datasets", "vision", "images imagenet").ImageFolder
        if folder is None or not ((folder / "train").is_dir() and (folder / "val").is_dir()):
            raise ActsmithError(
                f"images imagenet: got {str(folder) if folder else 'no folder'}; expected one with train/CLASS/*.JPEG "
                "and val/CLASS/*.JPEG (--data DIR, or DIR/imagenet); the set is to be had from image-net.org"
            )
        side = treatment.size or 224
        still = create_transform(side, mean=MEAN, std=STD)
        lively = still
        if treatment.augment:
            lively = create_transform(side, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", mean=MEAN, std=STD)
        train, test = image_folder(str(folder / "train")), image_folder(str(folder / "val"))
        labels, test_labels = (np.asarray(s.targets, np.int64) for s in (train, test))
        held_out, rest = held_out_share(labels, 0.01)
        all_tested = np.arange(len(test_labels))
        self.workers = treatment.workers if treatment.workers is not None else os.cpu_count() or 1
        self.reader = _Files(train, some_of(rest, labels, treatment.train, "train"), lively)
        self.readers = {
            "validation": _Files(train, some_of(held_out, labels, treatment.validation, "validation"), still),
            "test": _Files(test, some_of(all_tested, test_labels, treatment.test, "test"), still),
        }
        self.size, self.inputs, self.outputs = len(self.reader), (3, side, side), len(train.classes)

    @property
    def fingerprint(self) -> str:
        """Of the names, sizes and labels of the files: their content would have to be read for it."""
        readers = (self.reader, *self.readers.values())
        return digest_of(*(f"{name} {size} {label}" for r in readers for name, size, label in r.listed()))

    def batch(self, order: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        return next(self.batches(iter([order]), device))

    def batches(self, orders: Iterable[Tensor], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Reads ahead; torch's generator is, at every step, as if it did not."""
        seeds: deque[int] = deque()

        def wanted() -> Iterator[list[tuple[int, int]]]:
            for order in orders:
                seeds.append(torch.initial_seed())
                yield [(int(i), seeds[-1] + place) for place, i in enumerate(order)]

        loader = DataLoader(self.reader, batch_sampler=wanted(), **self._options(device))
        for x, y in loader:
            torch.manual_seed(seeds.popleft())
            yield self.disturbed(x.to(device, non_blocking=True), y.to(device, non_blocking=True))

    @torch.no_grad()
    def score(self, model: nn.Module, split: Split) -> dict[str, Tensor]:
        device = next(model.parameters()).device
        right, loss, count = 0.0, 0.0, 0
        for x, y in DataLoader(self.readers[split], SCORED_AT_ONCE, **self._options(device)):
            logits, labels = model(x.to(device)).float(), y.to(device)
            right += float(((logits.argmax(-1) == labels) & torch.isfinite(logits).all(-1)).sum())
            loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
            count += len(y)
        return {"accuracy": torch.tensor(right / count), "loss": torch.tensor(loss / count)}

    def _options(self, device: torch.device) -> dict[str, Any]:
        return {"num_workers": self.workers, "pin_memory": device.type == "cuda"}


class _Files(Dataset[tuple[Tensor, int]]):
    """Some images of a folder; asked for by number, or by (number, seed of the transform's draws)."""

    def __init__(self, folder: Any, chosen: NDArray[np.intp], transform: Callable[[Any], Tensor]) -> None:
        self.folder, self.chosen, self.transform = folder, chosen, transform

    def listed(self) -> Iterator[tuple[str, int, int]]:
        """Name, size and label of each file."""
        root = Path(self.folder.root)
        for number in self.chosen:
            path, label = self.folder.samples[int(number)]
            yield str(Path(path).relative_to(root)), Path(path).stat().st_size, label

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, asked: int | tuple[int, int]) -> tuple[Tensor, int]:
        number, seed = asked if isinstance(asked, tuple) else (asked, None)
        image, label = self.folder[int(self.chosen[number])]
        if seed is None:
            return self.transform(image), label
        with seeded(seed), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            return self.transform(image), label
