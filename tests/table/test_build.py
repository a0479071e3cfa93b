"""A build: it goes on where it was, is published with what is whole, and gives the published numbers again."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.table.build import CHUNK, FIRST, SEEDS, build, plan, whole
from actsmith.table.functions import Member
from actsmith.table.gather import gathered, table_of
from actsmith.table.publish import publish, small_form
from actsmith.table.tasks import SPECS, specs_of
from actsmith.theory.measured import MeasuredTable, measured, read_table
from actsmith.trials.trial import History, Outcome

TASKS = ["friedman", "extrapolation"]
ROUNDING = 0.02
"""Between machines the same training differs in the last digits, and these grow: log scores agree to this."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three functions on two tasks, stopped at once and gone on with."""
    path = tmp_path_factory.mktemp("table") / "run"
    stopped = build(path, 3, TASKS, time_limit=1e-3)
    assert not stopped.finished
    assert "goes on" in stopped.conclusion
    with pytest.raises(ActsmithError, match=r"no function was measured|holds no build"):
        gathered(path)
    finished = build(path, 3, TASKS)
    assert finished.finished
    assert (finished.functions, finished.tasks) == (3, 2)
    assert finished.trainings == 3 * 2 * (3 * FIRST + SEEDS - FIRST)
    return path


def test_a_finished_build_trains_nothing_again(folder: Path) -> None:
    before = (folder / "results.jsonl").read_bytes()
    assert build(folder, 3, TASKS).finished
    assert (folder / "results.jsonl").read_bytes() == before


def test_another_build_does_not_go_into_the_same_folder(folder: Path) -> None:
    with pytest.raises(ActsmithError, match="another configuration"):
        build(folder, 3, ["friedman"])


def test_what_is_published_is_what_was_measured(folder: Path, tmp_path: Path) -> None:
    published = publish(folder, tmp_path)
    table = read_table(tmp_path / "activations.npz")
    assert "3 functions, 3 of them on all 2 tasks" in published.conclusion
    assert table.names == ("identity", "relu", "leaky_relu")
    np.testing.assert_allclose(table.outcome, published.table.outcome, rtol=1e-6)
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    rows = [r for r in rows if r.get("task") == "friedman" and r["formula"]["name"] == "relu"]
    at_best = [r["test"]["relative_rmse"] for r in rows if np.isclose(r["rate"], table.rate[1, 0])]
    assert len(at_best) == SEEDS
    np.testing.assert_allclose(np.nanmean(np.log(table.seeds[1, 0])), np.mean(np.log(at_best)), rtol=1e-6)
    np.testing.assert_allclose(np.log(table.outcome[1, 0]), np.mean(np.log(at_best)), rtol=1e-6)
    assert np.isfinite(table.start["forward"]).all()
    np.testing.assert_allclose(table.fisher.sum(2), 1, atol=1e-2)
    assert table.about["checksum"] == small_form(table_of(gathered(folder)))[1].about["checksum"]
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_table(tmp_path / "trainings.parquet").num_rows == table.about["trainings"]
    assert "theory:entropy" in parquet.read_table(tmp_path / "functions.parquet").column_names


def test_a_task_that_a_function_was_not_trained_on_is_empty(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first task alone is asked of all functions."""
    monkeypatch.setattr("actsmith.table.tasks.WIDE", TASKS[:1])
    shutil.copytree(folder, tmp_path / "run")
    lines = (folder / "results.jsonl").read_text().splitlines()
    gone = [line for line in lines if '"name": "relu"' in line and f'"task": "{TASKS[1]}"' in line]
    (tmp_path / "run" / "results.jsonl").write_text("".join(f"{line}\n" for line in lines if line not in gone))
    table, whole = table_of(gathered(tmp_path / "run")), table_of(gathered(folder))
    assert table.names == whole.names
    assert table.trained.tolist() == [[True, True], [True, False], [True, True]]
    assert (table.about["functions"], table.about["everywhere"]) == (3, 2)
    assert np.isnan(table.outcome[1, 1])
    np.testing.assert_array_equal(table.outcome[[0, 2]], whole.outcome[[0, 2]])


def test_all_functions_are_looked_at_on_the_cheap_tasks_and_the_best_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actsmith.table.build.EVERYWHERE", CHUNK)
    monkeypatch.setattr("actsmith.table.build.BEST", 5)
    monkeypatch.setattr("actsmith.table.tasks.WIDE", TASKS[:1])
    kinds = ["catalogue"] * 3 + ["grammar"] * (2 * CHUNK - 3)
    found = [Member(Formula(f"tanh({i + 1}*x)", {}, str(i)), kind, "") for i, kind in enumerate(kinds)]
    specs = specs_of(TASKS)
    history = History()
    for round_ in plan(found, specs, dict.fromkeys(TASKS, ""), history):
        for trial in round_.trials:
            score = dict.fromkeys(("rmse", "relative_rmse", "outside_rmse"), 100.0 - int(trial.activation.name))
            history.add(Outcome(trial, score, score, False, 0.1, 0.1, 0))
    seeds = {(o.name, o.trial.task): 0 for o in history.values()}
    for outcome in history.values():
        seeds[outcome.name, outcome.trial.task] += 1
    looked, closely = 3 * FIRST, 3 * FIRST + SEEDS - FIRST
    for i in range(len(found)):
        more = i < 3 or i >= len(found) - 5
        assert seeds[str(i), TASKS[0]] == (closely if more else looked)
        assert seeds.get((str(i), TASKS[1]), 0) == (closely if more else looked if i < CHUNK else 0)
    assert len(whole(found, specs, dict.fromkeys(TASKS, ""), history)) == CHUNK + 5
    rounds = [[t.key for t in r.trials] for r in plan(found, specs, dict.fromkeys(TASKS, ""), history)]
    last = next(o for o in reversed(list(history.values())) if o.trial.seed < FIRST)
    stopped = History(o for o in history.values() if o is not last)  # inside of the looks at the best
    again = [[t.key for t in r.trials] for r in plan(found, specs, dict.fromkeys(TASKS, ""), stopped)]
    assert again == rounds[: len(again)]  # whole rounds: what is stacked together is as it was
    assert last.trial.key in again[-1]


def test_a_table_from_before_the_fisher_information_is_read(folder: Path) -> None:
    with np.load(io.BytesIO(small_form(table_of(gathered(folder)))[0])) as kept:
        arrays = {name: kept[name] for name in kept.files if name != "fisher"}
    older = io.BytesIO()
    np.savez(older, **arrays)
    older.seek(0)
    assert read_table(older).fisher.shape == (3, 2, 0)


def test_unknown_tasks_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ActsmithError, match="no task named 'frieman'"):
        specs_of(["frieman"])
    with pytest.raises(ActsmithError, match="holds no build"):
        gathered(tmp_path)
    run = subprocess.run(
        [sys.executable, "-m", "actsmith", "table", "publish"], capture_output=True, text=True, timeout=100, check=False
    )
    assert run.returncode == 2
    assert "no build; name its folder" in run.stderr


def _agree(table: MeasuredTable, shipped: MeasuredTable, least: float) -> None:
    """Functions that both have: the first seeds' scores, where both chose the same rate, and the rate mostly."""
    tasks = [[task.name for task in shipped.tasks].index(task.name) for task in table.tasks]
    rows = [shipped.names.index(name) for name in table.names]
    ours, theirs = table.rate, shipped.rate[np.ix_(rows, tasks)]
    alike = np.isclose(ours, theirs) | (np.isnan(ours) & np.isnan(theirs))
    assert alike.mean() >= least
    a, b = (np.log(t.seeds[..., :FIRST]) for t in (table, shipped))
    differ = np.abs(a - b[np.ix_(rows, tasks)])[alike]
    assert np.nanquantile(differ, least) < ROUNDING


def test_a_part_built_again_gives_the_published_numbers(folder: Path) -> None:
    shipped = measured()
    if shipped is None:
        pytest.skip("this copy has no table")
    _agree(table_of(gathered(folder)), shipped, 0.8)


@pytest.mark.slow
@pytest.mark.parametrize("functions", [20, 200])
def test_more_functions_built_again_give_the_published_numbers(tmp_path: Path, functions: int) -> None:
    shipped = measured()
    if shipped is None:
        pytest.skip("this copy has no table")
    build(tmp_path / "run", min(functions, len(shipped)), TASKS, time_limit="40m")
    _agree(table_of(gathered(tmp_path / "run")), shipped, 0.9)


def test_every_task_says_what_it_is() -> None:
    assert len(SPECS) >= 6
    for spec in SPECS.values():
        assert spec.what
        assert spec.unit
        assert len(spec.task.rates) == 3
