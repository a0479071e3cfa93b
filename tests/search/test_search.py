"""The main job on a small network: the leaderboard's contract, resuming after a kill, and clear refusals."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import actsmith
from actsmith.errors import ActsmithError
from actsmith.experiments.folder import RunFolder, next_folder
from actsmith.experiments.tasks import load_task
from actsmith.report import render
from actsmith.search import run as run_module
from actsmith.search.run import search

SMALL = {"width": 16, "depth": 2, "epochs": 3, "batch": 64}
ASKED = {"start": "relu", "baselines": ["gelu", "crrelu"], "seeds": 3, "learning_rates": [3e-3, 1e-2], "candidates": 2}
CONTRACT = {
    "name", "formula", "kind", "accuracy", "low", "high", "difference", "difference_low", "difference_high", "seeds",
    "learning_rate", "step_seconds", "entropy", "universality",
}  # fmt: skip
EXTRA = {"origin", "parameters", "learned", "diverged", "learning_rate_at_edge", "same_as"}

SCRIPT = """
import json, os, signal, sys
from actsmith.experiments.tasks import load_task
from actsmith.search.run import search
def progress(stage, done, total, message):
    if sys.argv[2] == f"{stage} {done} {message.split(':')[0]}":
        os.kill(os.getpid(), signal.SIGKILL)
search(load_task("digits").with_budget(**%r), out=sys.argv[1], resume=True, progress=progress, **%r)
"""


def small_task():
    return load_task("digits").with_budget(**SMALL)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One search in a process of its own, uninterrupted."""
    folder = tmp_path_factory.mktemp("search") / "whole"
    _run(folder, "never").check_returncode()
    return folder


def _run(folder, kill):
    script = SCRIPT % (SMALL, ASKED)
    return subprocess.run(
        [sys.executable, "-c", script, str(folder), kill], capture_output=True, text=True, timeout=200, check=False
    )


def _board(folder):
    return json.loads((folder / "leaderboard.json").read_text())


def _timeless(folder):
    board = _board(folder)
    for row in board["rows"]:
        row.pop("step_seconds")
    return board


def _records(folder):
    records = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k != "step_seconds"} for record in records]


def test_the_leaderboard_is_as_agreed(finished):
    board = _board(finished)
    assert set(board) == {"task", "start", "rows"}
    assert (board["task"], board["start"]) == ("digits", "relu")
    rows = board["rows"]
    assert [r["accuracy"] for r in rows] == sorted((r["accuracy"] for r in rows), reverse=True)
    assert {r["name"] for r in rows} >= {"relu", "gelu", "crrelu"}
    assert sorted(r["kind"] for r in rows) == ["baseline"] * 3 + ["derived"] * 3
    for row in rows:
        assert set(row) == CONTRACT | EXTRA
        assert row["low"] <= row["accuracy"] <= row["high"]
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]
        assert row["seeds"] == 3
        assert row["learning_rate"] in ASKED["learning_rates"]
        assert row["step_seconds"] > 0
        assert row["universality"] != "none"
        actsmith.Formula.from_dict({"name": row["name"], "formula": row["formula"], "params": row["parameters"]})
    start = next(r for r in rows if r["name"] == "relu")
    assert (start["difference"], start["difference_low"], start["difference_high"]) == (0, 0, 0)


def test_the_table_follows_from_the_records(finished):
    records = {(r["stage"], r["name"]): r for r in _records(finished)}
    board = _board(finished)
    scores = {name: [net["test_last"] for net in r["nets"]] for (stage, name), r in records.items() if stage == "score"}
    for row in board["rows"]:
        assert row["accuracy"] == pytest.approx(np.mean(scores[row["name"]]), abs=1e-12)
        difference = np.subtract(scores[row["name"]], scores["relu"])
        assert row["difference"] == pytest.approx(difference.mean(), abs=1e-12)
        assert [net["seed"] for net in records["score", row["name"]]["nets"]] == [0, 1, 2]
        tuning = records["tune", row["name"]]["nets"]
        assert {net["test_last"] for net in tuning} == {None}
        assert not {net["seed"] for net in tuning} & {0, 1, 2}


def test_the_folder_holds_what_it_should(finished):
    names = {p.name for p in finished.iterdir() if not p.name.startswith(".")}
    assert names == {
        "config.json", "versions.json", "probe.json", "shape.json", "candidates.json", "results.jsonl",
        "leaderboard.json", "best.py",
    }  # fmt: skip
    config = json.loads((finished / "config.json").read_text())
    assert config["seeds"] == 3
    assert json.loads((finished / "versions.json").read_text())[0]["torch"]
    candidates = json.loads((finished / "candidates.json").read_text())
    assert len(candidates["kept"]) == 3
    assert all(c["reason"] for c in candidates["dropped"])
    assert len(json.loads((finished / "probe.json").read_text())["layers"]) == SMALL["depth"]


def test_best_is_the_first_row(finished):
    done = subprocess.run(
        [sys.executable, "-c", "import torch, best; print(best.BestActivation()(torch.tensor([1.5])).item())"],
        cwd=finished, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    row = _board(finished)["rows"][0]
    formula = actsmith.Formula.from_dict({"name": "", "formula": row["formula"], "params": row["parameters"]})
    assert float(done.stdout) == pytest.approx(formula(1.5), rel=1e-5)


@pytest.mark.parametrize("moment", ["probe 1 measuring the pre-activations", "train 2 crrelu"])
def test_killed_and_resumed_it_ends_the_same(finished, tmp_path, moment):
    folder = tmp_path / "killed"
    assert _run(folder, moment).returncode == -signal.SIGKILL
    assert not (folder / "leaderboard.json").exists()
    with (folder / "results.jsonl").open("a") as file:
        file.write('{"key": "tune:0123", "na')  # the line in flight
    before = _records_whole(folder)
    assert before
    _run(folder, "never").check_returncode()
    assert _timeless(folder) == _timeless(finished)
    assert _records(folder) == _records(finished)
    assert _records_whole(folder)[: len(before)] == before
    assert (folder / "best.py").read_text() == (finished / "best.py").read_text()


def _records_whole(folder):
    lines = (folder / "results.jsonl").read_text().splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n")]


def test_resuming_a_finished_run_trains_nothing(finished, monkeypatch):
    monkeypatch.setattr(run_module, "train", lambda *_, **__: pytest.fail("trained again"))
    before = (finished / "leaderboard.json").read_bytes()
    result = search(small_task(), out=finished, resume=True, **ASKED)
    assert (finished / "leaderboard.json").read_bytes() == before
    assert [r["name"] for r in result.rows] == [r["name"] for r in _board(finished)["rows"]]
    assert result.best.name == result.rows[0]["name"]
    assert "accuracy" in result.table()


def test_another_configuration_is_refused(finished):
    with pytest.raises(ActsmithError, match=r"another configuration .*seeds: there 3, asked 4"):
        search(small_task(), out=finished, resume=True, **{**ASKED, "seeds": 4})
    with pytest.raises(ActsmithError, match=r"another configuration .*shape"):
        search(small_task().with_budget(epochs=4), out=finished, resume=True, **ASKED)
    with pytest.raises(ActsmithError, match="holds a run already"):
        search(small_task(), out=finished, **ASKED)


def test_the_budget_leaves_out_and_resuming_trains(finished, tmp_path):
    folder = tmp_path / "budget"
    result = search(small_task(), out=folder, budget=1e-9, **ASKED)
    assert [r["name"] for r in result.rows] == ["relu"]
    assert len(result.skipped) == 5
    whole = search(small_task(), out=folder, resume=True, **ASKED)
    assert not whole.skipped
    assert {r["name"] for r in whole.rows} == {r["name"] for r in _board(finished)["rows"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 1}, "expected 2 or more"),
        ({"task": "digit"}, "did you mean digits"),
        ({"baselines": ["geluu"]}, "did you mean gelu"),
        ({"baselines": "gelu"}, "expected a list"),
        ({"start": "rellu"}, "did you mean"),
        ({"learning_rates": []}, "positive numbers"),
        ({"learning_rates": [-1.0]}, "positive numbers"),
        ({"budget": 0}, "positive number of seconds"),
        ({"candidates": -1}, "0 or more"),
        ({"task": "cifar10", "data": "/no/such"}, "no folder"),
        ({"resume": True, "out": None}, "resume needs out"),
    ],
)
def test_wrong_requests_leave_no_folder(changes, message, tmp_path):
    with pytest.raises(ActsmithError, match=message):
        search(**{"out": tmp_path / "run", **changes})
    assert not (tmp_path / "run").exists()


def test_two_names_for_one_function_are_trained_once():
    first, known, same = run_module._activations("relu", ["relu", "elu", "celu", "max(x, 0)"])
    assert first.formula.name == "relu"
    assert [c.formula.name for c in known] == ["relu", "elu"]
    assert [f.name for f in same["elu"]] == ["celu"]


def test_a_folder_in_use_is_refused(tmp_path):
    pytest.importorskip("fcntl")
    folder = RunFolder(tmp_path / "a", {"a": 1}, resume=False)
    with folder.locked(), pytest.raises(ActsmithError, match="another run is writing"), folder.locked():
        pass


def test_a_broken_record_in_the_middle_is_named(tmp_path):
    folder = RunFolder(tmp_path / "a", {"a": 1}, resume=False)
    folder.append("one", {"x": 1})
    path = tmp_path / "a" / "results.jsonl"
    path.write_text("nonsense\n" + path.read_text())
    with pytest.raises(ActsmithError, match="line 1 is no result"):
        RunFolder(tmp_path / "a", {"a": 1}, resume=True)


def test_folders_are_numbered(tmp_path):
    assert next_folder(tmp_path, "a").name == "a-001"
    (tmp_path / "a-001").mkdir()
    assert next_folder(tmp_path, "a").name == "a-002"


@pytest.mark.slow
def test_the_main_job(tmp_path):
    """All ten baselines and nine derived activations on the digits, within three minutes on two cores."""
    began = time.monotonic()
    result = search(out=tmp_path / "run")
    assert time.monotonic() - began < 180 or os.getloadavg()[0] > 2.5
    kinds = [r["kind"] for r in result.rows]
    assert kinds.count("derived") >= 6
    assert sum(r["kind"] == "baseline" for r in result.rows) == 10
    best = result.rows[0]
    assert 0.93 < best["accuracy"] < 0.99


def test_without_a_law_the_standard_normal_one_remains(tmp_path, monkeypatch):
    def refuse(*_):
        raise ActsmithError("site '1': an atom")

    monkeypatch.setattr(run_module, "probe", refuse)
    result = search(small_task(), out=tmp_path / "run", **{**ASKED, "baselines": [], "candidates": 1})
    assert [r["kind"] for r in sorted(result.rows, key=lambda r: r["kind"])] == ["baseline", "derived", "derived"]
    assert "atom" in json.loads((tmp_path / "run" / "probe.json").read_text())["reason"]
    assert "laws.svg" not in [p.name for p in render(result.folder)]
