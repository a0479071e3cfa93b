"""Tasks by name and from arrays, the built-in sets' files, and clear words for what is wrong."""

import gzip
import io
import os
import pickle
import struct
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import resolve
from actsmith.tasks.arrays import task_from_arrays
from actsmith.tasks.files import DATASETS, read_idx, read_images
from actsmith.tasks.flat import FlatImages
from actsmith.tasks.images import Images
from actsmith.tasks.named import find_task, task_names
from actsmith.tasks.pde import Pinn
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.task import describe, summary
from actsmith.training.recipe import Recipe

SHARED = Path(os.environ.get("ACTSMITH_DATA", Path(__file__).parents[3] / "shared" / "data"))
FASHION = Path("/usr/share/datasets/fashion-mnist")
CPU = torch.device("cpu")


# ------------------------------------------------------------------------------------------------------- the digits


def test_the_digits_have_one_split_by_class():
    images = read_images("digits")
    assert [len(split.y) for split in images] == [719, 359, 719]
    for split in images:
        np.testing.assert_allclose(np.bincount(split.y, minlength=10) / len(split.y), 0.1, atol=0.01)
    rows = {x.tobytes() for split in images for x in split.x}
    assert len(rows) == 1797
    flat, square = FlatImages("digits").load(None), Images("digits").load(None)
    for one, other in zip((flat.train, *flat.splits.values()), (square.train, *square.splits.values()), strict=True):
        assert torch.equal(one[1], other[1])
    x, moving = flat.train[0], flat.train[0].std(0) > 0
    torch.testing.assert_close(x[:, moving].mean(0), torch.zeros(int(moving.sum())), atol=1e-5, rtol=0)
    shape = square.train[0].flatten(1).double()
    torch.testing.assert_close(((shape - shape.mean(0)) / shape.std(0, correction=0))[:, moving].float(), x[:, moving],
                               atol=1e-4, rtol=1e-4)  # fmt: skip
    assert flat.splits["test"][0].mean(0).abs().max() > 0.01


def test_a_part_of_an_image_set_pooled():
    few = FlatImages("digits", train=100, validation=50, test=20, pool=2).load(None)
    assert (few.size, few.inputs, [len(s[1]) for s in few.splits.values()]) == (100, (16,), [50, 20])
    for options, message in (
        ({"train": 720}, "train: got 720 images; expected 1 to 719"),
        ({"pool": 3}, "pool: got 3; expected a divisor of their side, 8"),
        ({"name": "digit"}, "got 'digit'; did you mean digits"),
    ):
        with pytest.raises(ActsmithError, match=message):
            FlatImages(**options).load(None)


# ------------------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize("name", task_names())
def test_every_name_is_a_task_of_plain_values(name):
    task = find_task(name)
    assert task.name == name
    assert pickle.loads(pickle.dumps(task)) == task == find_task(name)
    assert task.to_dict()["problem"]["kind"] == type(task.problem).__name__
    assert task.metric.name
    resolve(task.start)


def test_names():
    names = task_names()
    assert len(set(names)) == len(names) == 4 * len(DATASETS) + 3 * 3 + 5
    assert {"digits", "mnist-5k", "cifar10/vit", "cifar100/cnn", "austen", "python-manual/resmlp", "heat"} <= set(names)
    assert find_task("austen/gpt") == find_task("austen")
    assert find_task("digits/mlp") == find_task("digits")
    assert (find_task("digits").model, find_task("digits").recipe) == (Mlp(64, 6), Recipe(16, 32))
    assert find_task("cifar10/vit").start == "gelu"


@pytest.mark.parametrize(
    "name",
    [
        "digits",
        "digits/cnn",
        "digits/resnet",
        "digits/vit",
        "polynomial",
        "heat",
        "burgers",
        "periodic",
        "friedman",
        "python-manual",
        "python-manual/mlp",
        "python-source/resmlp",
        "digits/vit@loss",
    ],
)
def test_a_task_that_needs_no_data_loads_and_builds(name):
    task = find_task(name)
    problem = task.problem.load(None)
    assert problem.fingerprint == task.problem.load(None).fingerprint != ""
    torch.manual_seed(0)
    model = task.model.build(resolve(task.start), 0, problem)
    batch = problem.example(8, CPU)
    loss = problem.loss(model, batch)
    assert loss.shape == ()
    assert torch.isfinite(loss)
    assert model(problem.inputs_of(batch))[..., 0].numel() % 8 == 0
    assert model(problem.inputs_of(batch)).shape[-1] == problem.outputs
    assert task.metric.name in problem.score(model.eval(), "validation")


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("digit", {}, "did you mean digits"),
        ("fashion_mnist", {}, "did you mean fashion-mnist"),
        ("cifar10/vti", {}, "did you mean cifar10/vit"),
        ("imagenet-22k-and-more", {}, r"expected digits\[/cnn|resnet|vit\], .*, timm:NAME, hf:NAME or module:object"),
        ("cifar10", {"data": "/no/such/folder"}, "no folder '/no/such/folder'"),
        ("no_such_module_anywhere:task", {}, "no module"),
        ("math:pii", {}, "did you mean pi"),
        ("math:pi", {}, "got float; expected a Task"),
        ("os.path;x:y", {}, "expected module:object"),
        ("digits", {"train_file": "a.txt"}, "train_file: not of this task, but of hf:NAME, text and austen"),
        ("heat", {"config": {"n": 1}}, "config: not of this task, but of hf:NAME and timm:NAME"),
        ("timm:resnet18", {"tokenizer": "t"}, "tokenizer: not of this task"),
        ("timm:resnet18", {}, r"no folder was given; give the one that holds them \(--data DIR\)"),
        ("python-source", {"train_file": "a.txt"}, "train_file: not of this task"),
        ("text/resmlp", {}, r"text/resmlp: no text was given; give a text file \(--train-file FILE\)"),
        ("austen/vit", {}, "did you mean austen"),
        ("hf:gpt2", {}, r"hf:gpt2: no text was given; give a text file \(--train-file FILE\)"),
    ],
)
def test_wrong_requests(task, options, message):
    with pytest.raises(ActsmithError, match=message):
        find_task(task, **options)


def test_options_of_a_task_that_is_one_already_are_refused():
    task = find_task("heat")
    assert find_task(task) is task
    with pytest.raises(ActsmithError, match="task heat: tokenizer: not of this task"):
        find_task(task, tokenizer="gpt2")


def test_a_summary_says_what_is_not_as_usual():
    task = find_task("cifar10/vit")
    found = summary(task)
    assert found.startswith(
        "cifar10/vit: Images(train=3000, validation=1000, test=2000, size=16), Vit(dim=32, depth=2, heads=2), Recipe("
    )
    assert found.endswith("rates 0.0003 to 0.01, from gelu")
    given = task_from_arrays("own", X, Y)
    assert summary(given).startswith(f"own: GivenArrays(digest='{given.problem.digest}', classes=2), Mlp()")


def test_austen_takes_any_text(tmp_path):
    (tmp_path / "own.txt").write_text("one two three " * 2000)
    task = find_task("austen", train_file=tmp_path / "own.txt")
    problem = task.problem.load(None)
    assert (problem.inputs, problem.outputs) == ((32,), 256)
    assert find_task("austen").problem.load(tmp_path).fingerprint == problem.fingerprint
    assert find_task("text", train_file=tmp_path / "own.txt").problem.load(None).fingerprint == problem.fingerprint
    assert find_task("text", tmp_path).problem.load(tmp_path).fingerprint == problem.fingerprint


def test_a_task_is_judged_by_another_of_its_scores():
    plain, task = find_task("digits"), find_task("digits@loss")
    assert (task.name, task.metric.name, task.metric.better) == ("digits@loss", "loss", "lower")
    assert find_task("digits@accuracy") == plain
    assert find_task("heat@curvature").to_dict()["problem"]["problem"] == find_task("heat").to_dict()["problem"]
    problem, other = task.problem.load(None), plain.problem.load(None)
    assert problem.fingerprint == other.fingerprint
    model = task.model.build(resolve("relu"), 0, problem).eval()
    scores = problem.score(model, "validation")
    assert scores == other.score(model, "validation")
    assert problem.metric == task.metric != other.metric
    with pytest.raises(ActsmithError, match="judged by 'bits': no such score; expected accuracy, loss"):
        find_task("digits@bits").problem.load(None).score(model, "validation")


def test_an_unknown_equation_or_data_set_is_said_when_it_is_loaded():
    with pytest.raises(ActsmithError, match="got 'wave'; expected burgers or heat"):
        Pinn("wave").load(None)


# ----------------------------------------------------------------------------------------------------- ones own task


def test_ones_own_task(tmp_path, monkeypatch):
    (tmp_path / "own_tasks_for_test.py").write_text(
        "import numpy as np\n"
        "from actsmith.tasks.arrays import task_from_arrays\n"
        "def make():\n"
        "    rng = np.random.default_rng(0)\n"
        "    return task_from_arrays('own', rng.normal(size=(90, 2, 3)), np.arange(90) % 3, width=8)\n"
        "task = make()\n"
    )
    monkeypatch.chdir(tmp_path)
    made, given = find_task("own_tasks_for_test:make"), find_task("own_tasks_for_test:task")
    assert made == given
    problem = made.problem.load(None)
    assert (problem.inputs, problem.outputs, made.model.width) == ((6,), 3, 8)


def test_arrays_are_told_by_their_digest():
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, 2, (300, 4)), rng.integers(3, size=300)
    one, same, other = (
        task_from_arrays("a", a, y) for a in (x, x, x + (np.arange(4) == 0)[None] * rng.normal(size=(300, 1)))
    )
    assert one == same != other
    assert one.to_dict() == same.to_dict()
    assert describe(one.problem) == {"kind": "GivenArrays", "digest": one.problem.digest, "classes": 3}
    assert {f.name for f in fields(one.problem)} > {"train", "test"}
    again = pickle.loads(pickle.dumps(one)).problem.load(None)
    assert again.fingerprint == one.problem.load(None).fingerprint == one.problem.digest


def test_standardisation_sees_the_training_split_alone():
    rng = np.random.default_rng(0)
    x, y, test_y = rng.normal(3, 2, (300, 4)), rng.integers(3, size=300), rng.integers(3, size=50)
    one = task_from_arrays("a", x, y, (np.zeros((50, 4)), test_y)).problem
    other = task_from_arrays("a", x, y, (np.full((50, 4), 1e3), test_y)).problem
    assert torch.equal(one.train[0], other.train[0])
    assert torch.equal(one.validation[0], other.validation[0])
    torch.testing.assert_close(one.train[0].mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(one.train[0].std(0, correction=0), torch.ones(4))


def test_a_constant_feature_becomes_zero():
    x = np.column_stack([np.full(60, 7.0), np.arange(60.0)])
    assert not task_from_arrays("a", x, np.arange(60) % 3).problem.train[0][:, 0].any()


X, Y = np.zeros((40, 3), np.float32), np.arange(40) % 2


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (X, np.eye(4)[Y], {}, r"labels \(40, 4\); expected the number of each sample's class, \(n,\): of one-hot"),
        (X, Y + 0.5, {}, "expected whole numbers from 0 on"),
        (X, Y - 1, {}, "expected whole numbers from 0 on"),
        (X, np.array(["a", "b"])[Y], {}, "expected whole numbers from 0 on"),
        (X[:30], Y, {}, r"features \(30, 3\) and labels \(40,\)"),
        (X[:0], Y[:0], {}, "n >= 1"),
        (np.full((40, 3), np.nan), Y, {}, "not finite"),
        (X, Y, {"test": (np.zeros((4, 2)), Y[:4])}, "a: test: got 2 features; expected 3"),
        (X, Y, {"test_share": 0.9}, "sum is below 1"),
        (X, Y, {"validation_share": 0.001}, r"got splits of \[24, 0, 16\] samples; expected 1 or more"),
        (X, Y, {"width": 0}, "width=0"),
        (X, Y, {"epochs": 0}, "epochs=0"),
    ],
)
def test_arrays_are_checked(x, y, options, message):
    with pytest.raises(ActsmithError, match=message):
        task_from_arrays("a", x, y, **options)


def test_labels_may_be_floats_that_are_whole():
    task = task_from_arrays("a", X, Y.astype(float))
    assert task.problem.train[1].dtype == torch.int64
    assert task == task_from_arrays("a", X, Y)


# ------------------------------------------------------------------------------------------------------------ files


def _write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def test_idx_files(tmp_path):
    rng = np.random.default_rng(1)
    for part, n in (("train", 60), ("t10k", 20)):
        _write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", rng.integers(256, size=(n, 4, 4)).astype(np.uint8))
        _write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", (np.arange(n) % 10).astype(np.uint8))
    images = read_images("fashion-mnist", tmp_path)
    assert [split.x.shape for split in images] == [(54, 4, 4), (6, 4, 4), (20, 4, 4)]
    whole = (tmp_path / "t10k-labels-idx1-ubyte.gz").read_bytes()
    for content, message in (
        (whole[:-5], "gzip"),
        (gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x09ab", mtime=0), "do not hold"),
        (gzip.compress(b"PNG!", mtime=0), "expected an IDX"),
    ):
        (tmp_path / "broken.gz").write_bytes(content)
        with pytest.raises(ActsmithError, match=message):
            read_idx(tmp_path / "broken.gz")


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist", "mnist-5k", "cifar10", "cifar100"])
def test_a_folder_without_the_files(name, tmp_path):
    with pytest.raises(ActsmithError, match=f"{name}: .*give the folder"):
        read_images(name, tmp_path)


def test_mnist_5k_from_its_file(tmp_path):
    rows = np.column_stack([np.zeros((50, 784), np.uint8), np.arange(50) % 10])
    rows[:, 0] = np.arange(50)
    with gzip.open(tmp_path / "mnist_5k.csv.gz", "wt") as file:
        np.savetxt(file, rows, fmt="%d", delimiter=",")
    images = read_images("mnist-5k", tmp_path)
    assert [len(s.y) for s in images] == [32, 8, 10]
    assert sorted(int(x[0, 0]) for split in images for x in split.x) == list(range(50))
    assert all((split.x[:, 0, 0] % 10 == split.y).all() for split in images)


@pytest.mark.skipif(not FASHION.is_dir(), reason=f"Debian's dataset-fashion-mnist is not installed in {FASHION}")
def test_real_fashion_mnist():
    assert [split.x.shape for split in read_images("fashion-mnist", FASHION)] == [
        (54_000, 28, 28), (6_000, 28, 28), (10_000, 28, 28),
    ]  # fmt: skip


def _parquet(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image
    from pyarrow import Table
    from pyarrow import parquet as files

    rows = []
    for i, image in enumerate(pixels):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="PNG")
        rows.append({"img": {"bytes": buffer.getvalue(), "path": None}, "label": i % 10})
    files.write_table(Table.from_pylist(rows), path)


def test_cifar10_from_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    pytest.importorskip("PIL")
    from pyarrow import parquet, table

    pixels = np.random.default_rng(2).integers(256, size=(60, 32, 32, 3)).astype(np.uint8)
    folder = tmp_path / "cifar10"
    folder.mkdir()
    for part in ("train", "test"):
        _parquet(folder / f"{part}.parquet", pixels)
    problem = FlatImages("cifar10").load(tmp_path)  # the folder that holds the set by its name
    assert (problem.size, problem.inputs) == (54, (3072,))
    np.testing.assert_array_equal(problem.splits["test"][1], np.arange(60) % 10)
    for place, message in (("a", "expected img and label"), ("b", "not a Parquet file")):
        broken = tmp_path / place
        broken.mkdir()
        (broken / "train.parquet").write_bytes((folder / "train.parquet").read_bytes())
        if place == "a":
            parquet.write_table(table({"image": [1]}), broken / "test.parquet")
        else:
            (broken / "test.parquet").write_bytes(b"not parquet")
        with pytest.raises(ActsmithError, match=message):
            read_images("cifar10", broken)


@pytest.mark.slow
@pytest.mark.skipif(
    not (SHARED / "cifar10" / "train.parquet").is_file(),
    reason=f"no CIFAR-10 in {SHARED / 'cifar10'}; set ACTSMITH_DATA to the folder that holds cifar10/train.parquet",
)
def test_real_cifar10():
    images = read_images("cifar10", SHARED)
    assert [split.x.shape for split in images] == [(n, 32, 32, 3) for n in (45_000, 5_000, 10_000)]
