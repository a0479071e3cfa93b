"""An experiment from its folder: tuning, resumption, the data it began with, what is left, what is refused."""

import json
import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation
from actsmith.papers import reproduce as module
from actsmith.papers.experiment import Experiment, Run, Saved
from actsmith.papers.findings import Findings
from actsmith.papers.readers import table
from actsmith.papers.reproduce import Preset, Reproduction, planned, reproduce
from actsmith.tasks.perceptron import Mlp
from actsmith.training.problem import Regression
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime
from actsmith.trials.folder import RunFolder


@dataclass(frozen=True)
class Line:
    """y = |x| at the points of the data's folder, or at 64 of its own."""

    metric = Regression.metric

    def load(self, data):
        points = np.loadtxt(data / "points.txt") if data is not None else np.linspace(-1, 1, 64)
        x = torch.as_tensor(points, dtype=torch.float32)[:, None]
        return Regression((x, x.abs()), (x, x.abs()), (x, x.abs()), 1)


FORMULAS = (get_activation("relu"), get_activation("gelu"))
ASKED = Experiment(
    "line", Line(), Mlp(width=8, depth=2), FORMULAS, rates=(1e-3, 1e-2), recipe=Recipe(epochs=2, batch=32),
    seeds=(0, 1), tuning_seeds=(9,), labels={"depth": 2},
)  # fmt: skip


@pytest.fixture(scope="module")
def runtime():
    return Runtime.create("cpu")


def opened(path, asked=ASKED):
    return RunFolder(path, {"asked": asked.to_dict()}, resume=True)


def trained(path, runtime, data=None, asked=ASKED):
    with opened(path, asked) as folder:
        asked.run(Run(folder, runtime, data))
    return folder


def test_a_second_run_trains_nothing_and_the_rate_is_the_best_one(tmp_path, runtime):
    assert ASKED.left(Saved()) == 2 * (2 + 2)
    folder = trained(tmp_path, runtime)
    lines = (tmp_path / "results.jsonl").read_text()
    assert len(lines.splitlines()) == 2 * (2 + 2)
    assert ASKED.left(folder) == 0
    trained(tmp_path, runtime)
    assert (tmp_path / "results.jsonl").read_text() == lines
    records = [json.loads(line) for line in lines.splitlines()]
    tuned = [r for r in records if r["formula"]["name"] == "relu" and r["stage"] == "tune"]
    assert all(r["test"] is None for r in tuned)
    by_rate = {r["rate"]: r["validation"]["relative_rmse"] for r in tuned}
    found = table(folder, ASKED, Regression.metric, title="t", quantity="value")
    assert found.row("relu").rate == min(by_rate, key=by_rate.get)
    assert found.labels == {"depth": 2, "quantity": "value"}
    with pytest.raises(ActsmithError, match="another configuration"), opened(tmp_path, replace(ASKED, rates=(1.0,))):
        pass


def test_what_is_left_counts_single_trainings(tmp_path, runtime):
    trained(tmp_path, runtime)
    lines = (tmp_path / "results.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "results.jsonl").write_text("".join(lines[:3]))  # gelu, and one score of relu, are gone
    with opened(tmp_path) as folder:
        assert ASKED.left(folder) == 1 + 4


def test_a_run_does_not_go_on_with_other_data(tmp_path, runtime):
    for name, count in (("a", 64), ("b", 65)):
        (tmp_path / name).mkdir()
        np.savetxt(tmp_path / name / "points.txt", np.linspace(-1, 1, count))
    run = tmp_path / "run"
    trained(run, runtime, tmp_path / "a")
    lines = (run / "results.jsonl").read_text().splitlines(keepends=True)
    trained(run, runtime, tmp_path / "b")  # nothing is left: nothing is read
    (run / "results.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(ActsmithError, match=r"the data of Line in .*b are not those .* began with"):
        trained(run, runtime, tmp_path / "b")
    assert (run / "results.jsonl").read_text() == "".join(lines[:-1])
    trained(run, runtime, tmp_path / "a")
    again = (run / "results.jsonl").read_text().splitlines()
    assert _timeless(again) == _timeless(lines)


def _timeless(lines):
    """Key -> record, without what a clock measured."""
    records = map(json.loads, lines)
    return {r["key"]: {k: v for k, v in r.items() if "seconds" not in k} for r in records}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "tanh"}, "reference: got 'tanh'; expected one of relu, gelu"),
        ({"rates": ()}, "rates"),
        ({"rates": (-1.0,)}, "rates"),
        ({"seeds": (0,)}, "two or more"),
        ({"seeds": (0, 9)}, "expected none of .*, which tune"),
        ({"activations": (FORMULAS[0], FORMULAS[0])}, "expected different names"),
    ],
)
def test_wrong_requests_are_refused(change, message):
    with pytest.raises(ActsmithError, match=message):
        replace(ASKED, **change)


def test_the_description_says_everything():
    said = ASKED.to_dict()
    assert said["problem"] == {"kind": "Line"}
    assert said["model"]["width"] == 8
    assert said["labels"] == {"depth": 2}
    assert [a["name"] for a in said["activations"]] == ["relu", "gelu"]
    assert json.loads(json.dumps(said)) == said


# ----------------------------------------------------------------------------------------------- a reproduction


def parts(formulas):
    return replace(ASKED, activations=formulas), replace(ASKED, activations=formulas, name="other")


def read(folder, asked):
    return Findings("s", tuple(table(folder, part, Regression.metric, title=part.name) for part in asked))


@pytest.fixture
def fake(monkeypatch):
    found = Reproduction("fake", "A title", "nowhere", "all", ("relu",), {"smoke": Preset(parts, "a second")}, read)
    monkeypatch.setattr(module, "reproduction", lambda name: found)


def test_one_table_alone_then_the_others(fake, tmp_path, runtime):
    first = reproduce("fake", "smoke", tmp_path, only=["other"], runtime=runtime)
    assert [t.name for t in first.findings.tables] == ["other"]
    assert first.command == "actsmith reproduce fake --preset smoke --only other"
    assert dict(planned("fake", "smoke", tmp_path).left) == {"line": 4, "other": 0}
    whole = reproduce("fake", "smoke", tmp_path, runtime=runtime)
    assert [t.name for t in whole.findings.tables] == ["line", "other"]
    with pytest.raises(ActsmithError, match="no table named 'lin'; did you mean line"):
        planned("fake", "smoke", only=["lin"])


def test_other_seeds_are_another_run(fake, tmp_path, runtime, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = planned("fake", "smoke", seeds=4)
    assert plan.folder.name == "fake-smoke-4-seeds"
    assert dict(plan.left) == {"line": 6, "other": 6}
    assert not (tmp_path / "runs").exists()
    found = reproduce("fake", "smoke", seeds=3, runtime=runtime).findings
    assert [len(row.values) for t in found.tables for row in t.rows] == [3, 3]
    assert planned("fake", "smoke", seeds=3).left == {"line": 0, "other": 0}


def test_the_global_generators_are_as_before(fake, tmp_path, runtime):
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(5)
    expected = torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()  # noqa: NPY002
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(5)
    reproduce("fake", "smoke", tmp_path, runtime=runtime)
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()) == expected  # noqa: NPY002


def test_a_resumed_run_looks_at_the_data_of_what_is_finished_too(fake, tmp_path, runtime):
    """One page shows both."""
    for name, count in (("a", 64), ("b", 65)):
        (tmp_path / name).mkdir()
        np.savetxt(tmp_path / name / "points.txt", np.linspace(-1, 1, count))
    run = tmp_path / "run"
    reproduce("fake", "smoke", run, data=tmp_path / "a", only=["line"], runtime=runtime)
    with pytest.raises(ActsmithError, match="not those that"):
        reproduce("fake", "smoke", run, data=tmp_path / "b", runtime=runtime)
