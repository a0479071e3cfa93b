"""Tasks: splits that do not leak, files in their own formats, and clear words for what is wrong."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from actsmith.errors import ActsmithError
from actsmith.experiments.files import read_idx
from actsmith.experiments.tasks import Split, Task, load_task, task_from_arrays

SHARED = Path(os.environ.get("ACTSMITH_DATA", Path(__file__).parents[3] / "shared" / "data"))
FASHION = Path("/usr/share/datasets/fashion-mnist")


def test_digits_is_split_by_class_and_always_the_same():
    task = load_task("digits")
    assert (len(task.train.y), len(task.validation.y), len(task.test.y)) == (719, 359, 719)
    assert task.fingerprint == load_task("digits").fingerprint
    for split in (task.train, task.validation, task.test):
        assert split.x.dtype == np.float32
        assert split.y.dtype == np.int64
        shares = np.bincount(split.y, minlength=10) / len(split.y)
        np.testing.assert_allclose(shares, 0.1, atol=0.01)
    rows = [tuple(x) for split in (task.train, task.validation, task.test) for x in split.x.round(4)]
    assert len(set(rows)) == len(rows) == 1797


def test_standardisation_sees_the_training_split_alone():
    task = load_task("digits")
    moving = task.train.x.std(0) > 0
    np.testing.assert_allclose(task.train.x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(task.train.x.std(0)[moving], 1, atol=1e-4)
    assert np.abs(task.test.x.mean(0)).max() > 0.01

    rng = np.random.default_rng(0)
    x, y, test_y = rng.normal(3, 2, (300, 4)), rng.integers(3, size=300), rng.integers(3, size=50)
    one = task_from_arrays("a", x, y, (np.zeros((50, 4)), test_y))
    other = task_from_arrays("a", x, y, (np.full((50, 4), 1e3), test_y))
    np.testing.assert_array_equal(one.train.x, other.train.x)
    np.testing.assert_array_equal(one.validation.x, other.validation.x)


def test_a_constant_feature_becomes_zero():
    x = np.column_stack([np.full(60, 7.0), np.arange(60.0)])
    assert not task_from_arrays("a", x, np.arange(60) % 3).train.x[:, 0].any()


@pytest.mark.parametrize(
    ("task", "data", "message"),
    [
        ("digit", None, "did you mean digits"),
        ("fashion_mnist", None, "did you mean fashion-mnist"),
        ("imagenet-22k", None, "expected digits"),
        ("cifar10", "/no/such/folder", "no folder"),
        ("no_such_module_anywhere:task", None, "no module"),
        ("math:pii", None, "did you mean pi"),
        ("math:pi", None, "got float; expected a Task"),
        ("os.path;x:y", None, "expected module:object"),
    ],
)
def test_wrong_requests(task, data, message):
    with pytest.raises(ActsmithError, match=message):
        load_task(task, data)


@pytest.mark.parametrize("task", ["fashion-mnist", "cifar10"])
def test_a_folder_without_the_files(task, tmp_path):
    with pytest.raises(ActsmithError, match="give the folder"):
        load_task(task, tmp_path)


def test_ones_own_task(tmp_path, monkeypatch):
    (tmp_path / "own_tasks_for_test.py").write_text(
        "import numpy as np\n"
        "from actsmith.experiments.tasks import task_from_arrays\n"
        "def make():\n"
        "    rng = np.random.default_rng(0)\n"
        "    return task_from_arrays('own', rng.normal(size=(90, 2, 3)), np.arange(90) % 3, width=8)\n"
        "task = make()\n"
    )
    monkeypatch.chdir(tmp_path)
    made, given = load_task("own_tasks_for_test:make"), load_task("own_tasks_for_test:task")
    assert made.fingerprint == given.fingerprint
    assert (made.features, made.classes, made.width) == (6, 3, 8)


GOOD = Split(np.zeros((4, 3), np.float32), np.array([0, 1, 0, 1]))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Split(np.zeros((4, 2), np.float32), GOOD.y), "2 features; expected 3"),
        (Split(GOOD.x, np.array([0, 1, 2, 1])), "from 0 to 1"),
        (Split(GOOD.x, np.array([0.5, 1, 0, 1])), "integer labels"),
        (Split(GOOD.x[:3], GOOD.y), "expected .n, features."),
        (Split(np.full((4, 3), np.nan, np.float32), GOOD.y), "not finite"),
    ],
)
def test_a_task_checks_itself(bad, message):
    with pytest.raises(ActsmithError, match=message):
        Task("bad", GOOD, GOOD, bad, 2)


def _write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def test_idx_files(tmp_path):
    rng = np.random.default_rng(1)
    for part, n in (("train", 60), ("t10k", 20)):
        _write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", rng.integers(256, size=(n, 4, 4)).astype(np.uint8))
        _write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", (np.arange(n) % 10).astype(np.uint8))
    task = load_task("fashion-mnist", tmp_path)
    assert (len(task.train.y), len(task.validation.y), len(task.test.y), task.features) == (50, 10, 20, 16)
    whole = (tmp_path / "t10k-labels-idx1-ubyte.gz").read_bytes()
    for content, message in (
        (whole[:-5], "gzip"),
        (gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x09ab", mtime=0), "do not hold"),
        (gzip.compress(b"PNG!", mtime=0), "expected an IDX"),
    ):
        (tmp_path / "broken.gz").write_bytes(content)
        with pytest.raises(ActsmithError, match=message):
            read_idx(tmp_path / "broken.gz")


@pytest.mark.skipif(not FASHION.is_dir(), reason=f"Debian's dataset-fashion-mnist is not installed in {FASHION}")
def test_real_fashion_mnist():
    task = load_task("fashion-mnist", FASHION)
    assert task.train.x.shape == (50_000, 784)
    assert len(task.test.y) == 10_000
    assert task.classes == 10


def test_parquet_files(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    image_module = pytest.importorskip("PIL.Image")
    import io

    rng = np.random.default_rng(2)
    pixels = rng.integers(256, size=(60, 32, 32, 3)).astype(np.uint8)
    for part in ("train", "test"):
        rows = []
        for image in pixels:
            buffer = io.BytesIO()
            image_module.fromarray(image).save(buffer, format="PNG")
            rows.append({"bytes": buffer.getvalue(), "path": None})
        table = pa.table({"img": rows, "label": pa.array(np.arange(60) % 10)})
        parquet.write_table(table, tmp_path / f"{part}.parquet")
    task = load_task("cifar10", tmp_path)
    assert task.features == 3072
    np.testing.assert_array_equal(task.test.y, np.arange(60) % 10)
    parquet.write_table(pa.table({"image": [1]}), tmp_path / "test.parquet")
    with pytest.raises(ActsmithError, match="expected img and label"):
        load_task("cifar10", tmp_path)
    (tmp_path / "test.parquet").write_bytes(b"not parquet")
    with pytest.raises(ActsmithError, match="not a Parquet file"):
        load_task("cifar10", tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(
    not (SHARED / "cifar10" / "train.parquet").is_file(),
    reason=f"no CIFAR-10 in {SHARED / 'cifar10'}; set ACTSMITH_DATA to the folder that holds cifar10/train.parquet",
)
def test_real_cifar10():
    task = load_task("cifar10", SHARED / "cifar10")
    assert task.train.x.shape == (45_000, 3072)
    assert len(task.test.y) == 10_000
