"""CIFAR-100 as the Hub's Parquet files or as torchvision keeps it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actsmith.errors import ActsmithError
from actsmith.experiments.files import _download, _torchvision

__all__ = ["cifar100_arrays"]

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]


def cifar100_arrays(folder: Path | None) -> Arrays:
    """Images (50000, 32, 32, 3) and fine labels (50000,), then those of the test split.

    Args:
        folder: holds train.parquet and test.parquet with the columns img {bytes, path} and fine_label, as in the Hub's
            uoft-cs/cifar100, or torchvision's `cifar-100-python`; None fetches the latter.

    Raises:
        ActsmithError: neither is there.
    """
    if folder is not None and all((folder / f"{part}.parquet").is_file() for part in ("train", "test")):
        return (*_read_parquet(folder / "train.parquet"), *_read_parquet(folder / "test.parquet"))
    if folder is not None and not (folder / "cifar-100-python").is_dir():
        raise ActsmithError(
            f"images cifar100: {str(folder)!r} holds neither train.parquet with test.parquet (as in the Hub's "
            "uoft-cs/cifar100) nor torchvision's cifar-100-python; give the folder that does"
        )
    datasets = _torchvision("cifar100")
    root = folder if folder is not None else _download("CIFAR100", "cifar100")
    parts = [datasets.CIFAR100(str(root), train=train) for train in (True, False)]
    (x, y), (test_x, test_y) = ((p.data, np.asarray(p.targets, np.int64)) for p in parts)
    return x, y, test_x, test_y


def _read_parquet(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        from PIL import Image
        from pyarrow import parquet
    except ImportError as error:
        raise ActsmithError(f"images cifar100: {error.name} is missing; pip install 'actsmith[vision]'") from None
    table = parquet.read_table(path)
    if not {"img", "fine_label"} <= set(table.column_names):
        raise ActsmithError(f"{path}: got columns {', '.join(table.column_names)}; expected img and fine_label")
    encoded = [row["bytes"] for row in table.column("img").to_pylist()]
    images = np.stack([np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for content in encoded])
    return images, np.asarray(table.column("fine_label").to_numpy(), dtype=np.int64)
