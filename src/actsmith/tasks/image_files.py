"""A user's own images: a folder in the Hub's Parquet format, or one of image files by split and class.

    DIR/train*.parquet [, validation*.parquet, test*.parquet], in DIR itself or in DIR/data: columns image|img, label
    DIR/train/CLASS/* [, DIR/val|validation|valid/CLASS/*, DIR/test/CLASS/*]

Where there is no validation split, a tenth of the training images is held out for it; where there is no test split,
a fifth.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from actsmith.errors import ActsmithError, require
from actsmith.names import did_you_mean
from actsmith.tasks.image_problem import Treatment
from actsmith.tasks.images import MemoryImages
from actsmith.tasks.splits import ImageSet, Labelled, held_out_share, some_of
from actsmith.training.problem import Classification

__all__ = ["FileImages", "Found", "find_images"]

SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}
"""What a split may be called in the names of files and folders."""
IMAGES = ("image", "img")
LABELS = ("label", "labels", "fine_label")
KINDS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
HELD_OUT = {"validation": 0.1, "test": 0.2}


class _Source(Protocol):
    """The images of one split: their labels, and one by its number."""

    labels: list[Any]

    def image(self, number: int) -> Any: ...


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        within: the folder inside of it that holds the images, "" for itself.
        label: the column with the labels; "" for image files.
        counts: images in each split there is.
        classes: how many there are.
        side: the shorter side of the first training image, in pixels.
    """

    within: str
    label: str
    counts: dict[str, int]
    classes: int
    side: int


@dataclass(frozen=True)
class FileImages(Treatment):
    """A user's own images, resized to squares in memory; `size` must be given.

    Attributes:
        within: the folder inside of the data's that holds them, "" for that itself.
        label: the column with the labels, None for the one that is there.
    """

    within: str = ""
    label: str | None = None
    metric = Classification.metric

    def load(self, data: Path | None) -> MemoryImages:
        """Reads the images that are wanted, and no others.

        Raises:
            ActsmithError: no folder, files that are missing or damaged, more images than there are.
        """
        if self.size is None:
            raise ActsmithError("images: size: got None; expected the side in pixels to which they are resized")
        folder = _given(data) / self.within
        return _loaded(self, folder, self.size)


def find_images(data: str | Path | None, label: str | None = None) -> Found:
    """The image set in a folder, or in the only one of its folders that holds one.

    Args:
        data: the folder.
        label: the column with the labels, where the files have several.

    Raises:
        ActsmithError: no folder, no image set or several, no column of labels.
    """
    top = _given(data)
    homes = [top] if _kind(top) else sorted(f for f in top.iterdir() if f.is_dir() and _kind(f))
    if len(homes) != 1:
        several = f"holds {', '.join(f.name for f in homes)}; give the one to learn (--data)"
        raise ActsmithError(f"images: {str(top)!r} {several}" if homes else f"images: {str(top)!r} {_EXPECTED}")
    sources = _sources(homes[0], label)
    train = sources["train"]
    return Found(
        within="" if homes[0] == top else homes[0].name,
        label=train.column if isinstance(train, _Parquet) else "",
        counts={name: len(source.labels) for name, source in sources.items()},
        classes=len(set(train.labels)),
        side=min(train.image(0).size),
    )


_EXPECTED = (
    "is no image set, nor is one folder inside; expected train*.parquet with columns image and label (as the Hub has "
    "them), or train/CLASS/*.png"
)


def _given(data: str | Path | None) -> Path:
    if data is None:
        raise ActsmithError("images: no folder was given; give the one that holds them (--data DIR)")
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise ActsmithError(f"images: no folder {str(data)!r}; give the one that holds them (--data DIR)")
    return folder


def _parquets(folder: Path, split: str) -> list[Path]:
    names = SPLITS[split]
    for place in (folder, folder / "data"):
        found = [p for name in names for p in sorted(place.glob("*.parquet")) if _is_split(p.stem, name)]
        if found:
            return found
    return []


def _is_split(stem: str, name: str) -> bool:
    return stem == name or stem.startswith((f"{name}-", f"{name}_", f"{name}."))


def _kind(folder: Path) -> Callable[..., _Source] | None:
    """How the folder is read; None where it is no image set."""
    if _parquets(folder, "train"):
        return _Parquet
    train = folder / "train"
    return _Files if train.is_dir() and any(f.is_dir() for f in train.iterdir()) else None


@lru_cache(maxsize=1)
def _sources(folder: Path, label: str | None) -> dict[str, _Source]:
    kind = _kind(folder)
    if kind is None:
        raise ActsmithError(f"images: {str(folder)!r} {_EXPECTED}")
    if kind is _Parquet:
        files = {split: _parquets(folder, split) for split in SPLITS}
        return {split: _Parquet(paths, label) for split, paths in files.items() if paths}
    folders = {split: [folder / n for n in names if (folder / n).is_dir()] for split, names in SPLITS.items()}
    return {split: _Files(found[0]) for split, found in folders.items() if found}


class _Parquet:
    """Rows of Parquet files, with the column of images as {bytes, path}."""

    def __init__(self, paths: list[Path], label: str | None) -> None:
        parquet = require("pyarrow.parquet", "vision", "images")
        arrow = require("pyarrow", "vision", "images")
        self.path = paths[0]
        try:
            tables = [parquet.read_table(p) for p in paths]
        except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise ActsmithError(f"{self.path}: not a Parquet file ({error}); fetch it again") from None
        table = arrow.concat_tables(tables)
        names = table.column_names
        pixels = next((n for n in IMAGES if n in names), None)
        whole = [n for n in names if arrow.types.is_integer(table.schema.field(n).type)]
        self.column = label or next((n for n in LABELS if n in names), whole[0] if len(whole) == 1 else "")
        if pixels is None or self.column not in names:
            hint = did_you_mean(self.column, names) if label else ""
            wanted = f"{' or '.join(IMAGES)}, and {label or ' or '.join(LABELS)}"
            raise ActsmithError(f"{self.path}: got columns {', '.join(names)}; expected {wanted}; {hint}".rstrip("; "))
        self.images, self.labels = table.column(pixels), table.column(self.column).to_pylist()
        if None in self.labels or not all(isinstance(y, int | str) for y in self.labels):
            raise ActsmithError(f"{self.path}: {self.column}: expected a whole number or a text in every row")

    def image(self, number: int) -> Any:
        row = self.images[number].as_py()
        content = row["bytes"] if isinstance(row, dict) else row
        if not isinstance(content, bytes):
            raise ActsmithError(f"{self.path}: image {number} has no bytes; expected the file's content in the column")
        return _opened(io.BytesIO(content), f"{self.path}: image {number}")


class _Files:
    """Image files in a folder for each class."""

    def __init__(self, folder: Path) -> None:
        found = [(p, c.name) for c in sorted(folder.iterdir()) if c.is_dir() for p in sorted(c.iterdir())]
        chosen = [(p, c) for p, c in found if p.suffix.lower() in KINDS]
        if not chosen:
            raise ActsmithError(f"images: {str(folder)!r} holds no image; expected CLASS/*.png, *.jpg or the like")
        self.paths, self.labels = [p for p, _ in chosen], [c for _, c in chosen]

    def image(self, number: int) -> Any:
        path = self.paths[number]
        return _opened(path, str(path))


def _opened(file: Any, where: str) -> Any:
    """Decoded, in RGB."""
    try:
        return require("PIL.Image", "vision", "images").open(file).convert("RGB")
    except (OSError, SyntaxError) as error:  # Pillow's word for a damaged PNG
        raise ActsmithError(f"{where}: cannot be read as an image ({error})") from None


@lru_cache(maxsize=1)
def _loaded(config: FileImages, folder: Path, size: int) -> MemoryImages:
    sources = _sources(folder, config.label)
    classes = {label: i for i, label in enumerate(sorted(set(sources["train"].labels), key=_order))}
    labels = {name: _numbers(source, classes, name, folder) for name, source in sources.items()}
    rows = {name: (name, np.arange(len(y))) for name, y in labels.items()}
    for name in ("test", "validation"):
        if name not in rows:
            rest = rows["train"][1]
            held, kept = held_out_share(labels["train"][rest], HELD_OUT[name])
            rows[name], rows["train"] = ("train", rest[held]), ("train", rest[kept])
    counts = {"train": config.train, "validation": config.validation, "test": config.test}
    parts = []
    for name in ("train", "validation", "test"):
        source, available = rows[name]
        chosen = some_of(available, labels[source], counts[name], name)
        pixels = [_square(sources[source].image(int(i)), size) for i in chosen]
        parts.append(Labelled(np.stack(pixels), labels[source][chosen]))
    return MemoryImages(_without_counts(config), ImageSet(*parts), classes=len(classes))


def _without_counts(config: FileImages) -> Treatment:
    return Treatment(augment=config.augment, mix=config.mix, erase=config.erase, smoothing=config.smoothing)


def _order(label: int | str) -> tuple[bool, int, str]:
    return (True, 0, label) if isinstance(label, str) else (False, label, "")


def _numbers(source: _Source, classes: dict[Any, int], split: str, folder: Path) -> NDArray[np.int64]:
    strange = set(source.labels) - set(classes)
    if strange:
        raise ActsmithError(
            f"images: {str(folder)!r}: {split}: got the class {min(strange, key=_order)!r}, not in train"
        )
    return np.array([classes[label] for label in source.labels], np.int64)


def _square(image: Any, size: int) -> NDArray[np.uint8]:
    """The middle square, size by size pixels."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    lanczos = require("PIL.Image", "vision", "images").Resampling.LANCZOS
    return np.asarray(image.resize((size, size), lanczos, box=box))
