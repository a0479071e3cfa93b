"""The main job on a small network: the leaderboard's contract, resuming after a kill, and clear refusals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from search_support import ASKED, small_task

import actsmith
from actsmith.errors import ActsmithError
from actsmith.report import render
from actsmith.search import run as run_module
from actsmith.search.run import KNOWN, resume, search
from actsmith.search.stages import EXPLORED
from actsmith.trials.runner import FitRunner

BOARD = {
    "task", "start", "metric", "better", "log", "judge", "rows", "conclusion", "kind", "recommended", "front",
    "trainings", "plan", "looks", "skipped", "explored", "elsewhere", "command",
}  # fmt: skip
ROW = {
    "name", "formula", "parameters", "kind", "origin", "proposer", "parents", "same_as", "validation",
    "confirmed", "score", "low", "high", "difference", "difference_low", "difference_high", "p", "over_known",
    "p_over_known", "verdict", "seeds", "learning_rate", "learning_rate_at_edge", "scale", "step_seconds",
    "diverged", "reason", "learned", "entropy", "universality",
}  # fmt: skip

SCRIPT = """
import os, signal, sys
sys.path.insert(0, %r)
from search_support import ASKED, small_task
from actsmith.search.run import search
def progress(stage, done, total, message):
    if sys.argv[2] == f"{stage} {done}":
        os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    there = os.path.exists(os.path.join(sys.argv[1], "config.json"))
    search(small_task(), out=sys.argv[1], resume=there, progress=progress, workers=int(sys.argv[3]), **ASKED)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One search in a process of its own, uninterrupted."""
    folder = tmp_path_factory.mktemp("search") / "whole"
    _run(folder, "never").check_returncode()
    return folder


def _run(folder, kill, workers=1):
    script = folder.parent / "script.py"
    script.write_text(SCRIPT % str(Path(__file__).parent))
    return subprocess.run(
        [sys.executable, str(script), str(folder), kill, str(workers)], capture_output=True, text=True, timeout=300,
        check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def _board(folder):
    return json.loads((folder / "leaderboard.json").read_text())


def _timeless(folder):
    board = _board(folder)
    for row in board["rows"]:
        row.pop("step_seconds")
    board["conclusion"] = board["conclusion"].replace(str(folder), "DIR")
    return {k: v for k, v in board.items() if k not in ("command", "front")}


def _records(folder):
    records = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return {r["key"]: {k: v for k, v in r.items() if k not in ("step_seconds", "seconds")} for r in records}


def test_the_leaderboard_is_as_agreed(finished):
    board = _board(finished)
    assert set(board) == BOARD
    assert (board["task"], board["start"], board["metric"]) == ("digits", "relu", "accuracy")
    rows = board["rows"]
    assert board["explored"] == 2 + ASKED["trials"]
    assert [r["kind"] for r in rows].count("start") == 1
    assert "known" in [r["kind"] for r in rows]
    for row in rows:
        assert set(row) == ROW
        assert row["learning_rate"] in ASKED["rates"] or row["seeds"], "those that are confirmed were tuned on"
        assert 0.1 < row["scale"] < 10
        assert row["step_seconds"] > 0
        assert 0 <= row["validation"] <= 1
        actsmith.Formula.from_dict({"name": row["name"], "formula": row["formula"], "params": row["parameters"]})
        if row["score"] is not None:
            assert row["seeds"] == 3
            assert 0 <= row["low"] <= row["score"] <= row["high"] <= 1
        if row["difference"] is not None:
            assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    start = next(r for r in rows if r["kind"] == "start")
    assert start["score"] is not None
    assert start["difference"] is None


def test_the_table_follows_from_the_records(finished):
    records = [r for r in _records(finished).values() if "stage" in r]
    board = _board(finished)
    scores = {}
    for r in records:
        if r["stage"] == "score":
            scores.setdefault(r["formula"]["name"], {})[r["seed"]] = r["test"]["accuracy"]
        else:
            assert r["test"] is None
            assert r["seed"] >= (2000 if r["stage"] == "explore" else 1000)
    confirmed = {r["name"] for r in board["rows"] if r["seeds"]}
    assert confirmed == set(scores)
    for row in board["rows"]:
        tuned = [
            r["validation"]["accuracy"]
            for r in records
            if r["stage"] in ("look", "tune")
            and r["formula"]["name"] == row["name"]
            and (r["rate"], r.get("scale", 1.0)) == (row["learning_rate"], row["scale"])
        ]
        assert row["validation"] == pytest.approx(np.mean(tuned), abs=1e-12)
        if row["name"] in confirmed:
            assert sorted(scores[row["name"]]) == [0, 1, 2]
            assert row["score"] == pytest.approx(np.mean(list(scores[row["name"]].values())), abs=1e-12)
        if row["difference"] is not None:
            pairs = [scores[row["name"]][s] - scores["relu"][s] for s in (0, 1, 2)]
            assert row["difference"] == pytest.approx(np.mean(pairs), abs=1e-12)


def test_the_folder_holds_what_it_should(finished):
    names = {p.name for p in finished.iterdir() if not p.name.startswith(".")}
    assert names >= {
        "config.json", "versions.json", "measured.json", "probe.json", "explored.json", "results.jsonl",
        "leaderboard.json", "formula.json", "best.py",
    }  # fmt: skip
    assert not list((finished / "checkpoints").glob("*")) if (finished / "checkpoints").exists() else True
    assert json.loads((finished / "versions.json").read_text())[0]["torch"]
    explored = json.loads((finished / "explored.json").read_text())
    assert len(explored["activations"]) == 2 + ASKED["trials"]
    assert {a["proposer"] for a in explored["activations"] if a["kind"] == "candidate"} - {""}
    assert all(c["reason"] for c in explored["dropped"])
    assert len(json.loads((finished / "probe.json").read_text())["layers"]) == 2


def test_best_is_what_the_conclusion_recommends(finished):
    code = "import torch, best; print(best.BestActivation()(torch.tensor([1.5])).item())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=finished, capture_output=True, text=True, timeout=120, check=True
    )
    board = _board(finished)
    row = next(r for r in board["rows"] if r["name"] == board["recommended"])
    formula = actsmith.Formula.from_dict({"name": "", "formula": row["formula"], "params": row["parameters"]})
    assert float(done.stdout) == pytest.approx(row["scale"] * formula(1.5), rel=1e-5)
    best = actsmith.Formula.from_dict(json.loads((finished / "formula.json").read_text()))
    assert float(done.stdout) == pytest.approx(best(1.5), rel=1e-5)
    assert board["recommended"] in board["conclusion"]
    assert "def init_" in (finished / "best.py").read_text()


@pytest.mark.parametrize("moment", ["explore 0", "tune 2", "confirm 1"])
def test_killed_and_resumed_it_ends_the_same(finished, tmp_path, moment):
    folder = tmp_path / "killed"
    assert _run(folder, moment).returncode == -signal.SIGKILL
    assert not (folder / "leaderboard.json").exists()
    # What was measured to choose holds for the whole run: here, that of the uninterrupted one.
    (folder / "measured.json").write_bytes((finished / "measured.json").read_bytes())
    with (folder / "results.jsonl").open("a") as file:
        file.write('{"key": "0123", "na')  # the line in flight
    before = _records_whole(folder)
    assert before
    _run(folder, "never").check_returncode()
    assert _records_whole(folder)[: len(before)] == before
    assert _timeless(folder) == _timeless(finished)
    assert _records(folder) == _records(finished)


def _records_whole(folder):
    lines = (folder / "results.jsonl").read_text().splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n")]


@pytest.mark.slow
def test_two_workers_end_with_the_same_table(finished, tmp_path):
    folder = tmp_path / "two"
    folder.mkdir()
    (folder / "measured.json").write_bytes((finished / "measured.json").read_bytes())
    _run(folder, "never", workers=2).check_returncode()
    assert _timeless(folder) == _timeless(finished)
    assert _records(folder) == _records(finished)


def test_resuming_a_finished_run_trains_nothing(finished, monkeypatch):
    monkeypatch.setattr(FitRunner, "run", lambda *_, **__: pytest.fail("trained again"))
    before = (finished / "leaderboard.json").read_bytes()
    result = search(small_task(), out=finished, resume=True, **ASKED)
    assert (finished / "leaderboard.json").read_bytes() == before
    assert [r["name"] for r in result.rows] == [r["name"] for r in _board(finished)["rows"]]
    assert result.best.name == _board(finished)["recommended"]
    assert result.table().endswith(result.conclusion)


def test_another_configuration_is_refused(finished):
    with pytest.raises(ActsmithError, match=r"another configuration .*seeds: there 3, asked 4"):
        search(small_task(), out=finished, resume=True, **{**ASKED, "seeds": 4})
    with pytest.raises(ActsmithError, match=r"another configuration .*task"):
        search(small_task(epochs=4), out=finished, resume=True, **ASKED)
    with pytest.raises(ActsmithError, match="holds a run already"):
        search(small_task(), out=finished, **ASKED)


def test_results_without_a_configuration_are_nobodys(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "results.jsonl").write_text('{"key": "a"}\n')
    for again in (True, False):
        with pytest.raises(ActsmithError, match=r"results without config\.json"):
            search(small_task(), out=folder, resume=again, **ASKED)


def test_resuming_a_mistyped_folder_is_refused(tmp_path):
    with pytest.raises(ActsmithError, match="no folder"):
        search(small_task(), out=tmp_path / "typo", resume=True, **ASKED)
    with pytest.raises(ActsmithError, match="holds no run"):
        resume(tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


def test_a_run_of_named_things_goes_on_by_its_folder_alone(tmp_path):
    asked = {**ASKED, "known": ["gelu"], "trials": 0, "seeds": 2}
    first = search("polynomial", out=tmp_path / "run", budget=0.01, **asked)
    assert "Not decided" in first.conclusion
    assert str(tmp_path / "run") in first.conclusion
    whole = resume(tmp_path / "run", budget="10m")
    assert not whole.skipped
    assert {r["name"] for r in whole.rows} == {"relu", "gelu"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 1}, "expected 2 or more"),
        ({"task": "digit"}, "did you mean digits"),
        ({"known": ["geluu"]}, "did you mean gelu"),
        ({"known": "gelu"}, "expected a list"),
        ({"start": "rellu"}, "did you mean"),
        ({"rates": []}, "positive numbers"),
        ({"rates": [-1.0]}, "positive numbers"),
        ({"budget": 0}, "expected a time"),
        ({"budget": "soon"}, "expected a time"),
        ({"trials": -1}, "0 or more"),
        ({"workers": 0}, "1 or more"),
        ({"task": "cifar10", "data": "/no/such"}, "no folder"),
        ({"resume": True, "out": None}, "resume needs out"),
        ({"task": small_task, "train": None}, "training loop"),
        ({"task": small_task, "train": small_task}, "metric"),
    ],
)
def test_wrong_requests_leave_no_folder(changes, message, tmp_path):
    with pytest.raises(ActsmithError, match=message):
        search(**{"out": tmp_path / "run", "budget": 5.0, **changes})
    assert not (tmp_path / "run").exists()


def test_two_names_for_one_function_are_trained_once():
    first = run_module.Candidate(actsmith.get_activation("relu"), "start", "the start")
    known, same = run_module._activations(first, ["relu", "elu", "celu", "max(x, 0)"], [])
    assert [c.formula.name for c in known] == ["elu"]
    assert [f.name for f in same["elu"]] == ["celu"]


def test_a_known_one_that_is_the_start_and_no_candidate_is_a_result(tmp_path):
    """celu is elu: it is trained once, both rows have its score, and the search has a conclusion."""
    asked = {**ASKED, "start": "elu", "known": ["celu"], "trials": 0, "seeds": 2}
    result = search(small_task(epochs=1), out=tmp_path / "run", **asked)
    assert [(row["name"], row["kind"]) for row in result.rows] == [("elu", "start"), ("celu", "known")]
    assert result.rows[0]["validation"] == result.rows[1]["validation"]
    assert "keep elu" in result.conclusion


@pytest.mark.parametrize("budget", [0.5, 25.0])
def test_a_budget_is_kept_and_has_seen_candidates_too(tmp_path, budget):
    search(small_task(epochs=1), out=tmp_path / "warm", **{**ASKED, "known": [], "trials": 0, "seeds": 2})
    began = time.monotonic()
    result = search(small_task(epochs=40), out=tmp_path / "run", budget=budget, **{**ASKED, "trials": 4})
    took = time.monotonic() - began
    assert took < budget + 4, "a step, and the conclusion"
    assert result.conclusion
    if budget > 10:
        explored = json.loads((tmp_path / "run" / "explored.json").read_text())["activations"]
        assert {a["kind"] for a in explored if a["gain"] is not None} == {"known", "candidate"}


def test_no_law_leaves_the_standard_normal_one(tmp_path, monkeypatch):
    monkeypatch.setattr(FitRunner, "laws", lambda *_: {})
    result = search(small_task(), out=tmp_path / "run", **{**ASKED, "known": [], "trials": 1})
    assert sorted(r["kind"] for r in result.rows) == ["candidate", "start"]
    assert "no law" in json.loads((tmp_path / "run" / "probe.json").read_text())["reason"]
    assert "laws.svg" not in [p.name for p in render(result.folder)]


@pytest.mark.slow
def test_the_main_job(tmp_path):
    """Known functions and 64 proposals on the digits, within three minutes on two cores."""
    began = time.monotonic()
    result = search(out=tmp_path / "run")
    assert time.monotonic() - began < 180 or os.getloadavg()[0] > 2.5
    kinds = [r["kind"] for r in result.rows]
    assert "known" in kinds
    assert "candidate" in kinds
    board = _board(tmp_path / "run")
    assert board["explored"] == len(KNOWN) - 2 + EXPLORED, "relu is the start, celu is elu"
    assert 0.93 < next(r for r in result.rows if r["kind"] == "start")["score"] < 0.99


def test_a_single_rate_ranks_too(tmp_path):
    asked = {**ASKED, "rates": [1e-2], "trials": 0}
    found = search(small_task(1), out=tmp_path / "run", **asked)
    assert "oo few seeds" not in found.conclusion
    assert {row["name"]: row["seeds"] for row in found.rows} == {"relu": 3, "gelu": 3, "crrelu": 3}
