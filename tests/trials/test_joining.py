"""What a worker on another machine is told, and what it refuses."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
import torch
import trial_runners

from actsmith.cli import main
from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import resolve
from actsmith.tasks.named import find_task
from actsmith.trials import hands
from actsmith.trials.joining import joined_runner, request_of
from actsmith.trials.ledger import Ledger
from actsmith.trials.runner import Place
from actsmith.trials.session import session
from actsmith.trials.setup import runner_of
from actsmith.trials.trial import Trial

PLAIN: dict[str, Any] = {
    "metric": None, "better": "higher", "start": None, "test": None, "example": None, "data": None, "device": "cpu",
    "precision": "no", "options": None,
}  # fmt: skip
SCRIPT = {**PLAIN, "metric": "error", "better": "lower", "start": "tanh"}


def asked(task: Any, train: Any = None, **more: Any) -> dict[str, Any]:
    return {"task": task, "train": train, **PLAIN, **more}


def test_a_request_survives_json_and_makes_the_same_runner(tmp_path: Path) -> None:
    given = asked("digits", data=None)
    request = request_of({**given, "budget": 5, "known": ("relu",)})
    assert isinstance(request, dict)
    assert json.loads(json.dumps(request)) == request
    there = runner_of(**given)
    (tmp_path / "measured.json").write_text(json.dumps({"digits: cost": [2.0, 3.0]}))
    again = joined_runner(request, there.context, tmp_path)
    assert again.context == there.context
    cost = again.cost()
    assert cost is not None
    assert (cost.training, cost.scoring) == (2.0, 3.0)


def test_functions_go_by_their_names(tmp_path: Path) -> None:
    given = {**asked(trial_runners.model, trial_runners.train), **SCRIPT, "test": trial_runners.test}
    request = request_of(given)
    assert isinstance(request, dict)
    assert [request[n] for n in ("task", "train", "test")] == [
        "trial_runners:model", "trial_runners:train", "trial_runners:test"
    ]  # fmt: skip
    there = runner_of(**given)
    again = joined_runner(request, there.context, tmp_path)
    trial = Trial(there.name, resolve("tanh"), "tune", 1.0, 0, context=there.context)
    here, elsewhere = (r.run([trial], Place(tmp_path / n))[0] for r, n in ((there, "a"), (again, "b")))
    assert here.validation == elsewhere.validation


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (asked(find_task("digits")), "task is a Task of the script that began the search"),
        (asked(lambda: None, trial_runners.train), "is a lambda"),
        (asked(trial_runners.model, functools.partial(trial_runners.train)), "a partial has no name"),
        (asked(trial_runners.model, trial_runners.train, example=torch.zeros(1)), "example= is an object"),
        (asked("digits", options={"sizes": {1, 2}}), "its options are not plain values"),
    ],
)
def test_what_has_no_words_says_why(given: dict[str, Any], why: str) -> None:
    request = request_of(given)
    assert isinstance(request, str)
    assert why in request


def test_what_is_not_the_same_here_is_refused(tmp_path: Path) -> None:
    request = request_of(asked("digits"))
    assert isinstance(request, dict)
    with pytest.raises(ActsmithError, match=r"digits is not the same here .* data \(--data\)"):
        joined_runner(request, "another", tmp_path)
    with pytest.raises(ActsmithError, match="'/no/such/folder', which is not here; give --data DIR"):
        joined_runner({**request, "data": "/no/such/folder"}, "c", tmp_path)
    with pytest.raises(ActsmithError, match=r"what the search trains, no_such:task, cannot be had here: .*no_such"):
        joined_runner({**request, "task": "no_such:task"}, "c", tmp_path)
    script = request_of({**asked("trial_runners:model", "trial_runners:train"), **SCRIPT})
    assert isinstance(script, dict)
    with pytest.raises(ActsmithError, match="functions, its options"):
        joined_runner(script, "another", tmp_path)


# ------------------------------------------------------------------------------------------------------------- the verb


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`actsmith worker` on a run folder that is not there yet."""
    command = [sys.executable, "-m", "actsmith", "worker", "--storage", str(tmp_path / "run"), "--threads", "1"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    yield process
    process.kill()
    process.wait()


def test_a_worker_waits_for_the_search_trains_for_it_and_leaves_with_it(
    worker: subprocess.Popen[str], tmp_path: Path
) -> None:
    given = asked("digits")
    runner = runner_of(**given)
    trials = [
        Trial(runner.name, resolve(f), "tune", 1e-2, s, length=0.05, context=runner.context)
        for f in ("relu", "gelu")
        for s in (0, 1)
    ]
    (tmp_path / "run").mkdir()
    with session(
        runner, tmp_path / "run", {"a": 1}, workers=0, storage=tmp_path / "run", study="mine", request=request_of(given)
    ) as run:
        run.train([trials], "tune", "")
        assert len(run.history) == 4
        assert all(o.reason is None for o in run.history.values())
    _, told = worker.communicate(timeout=60)
    assert worker.returncode == 0, told
    lines = [line.removeprefix("actsmith worker: ") for line in told.splitlines()]
    joined = next(i for i, line in enumerate(lines) if line.startswith("joined study 'mine' of "))
    assert all(line.startswith("waiting for the study in ") for line in lines[:joined])
    assert {line.partition(",")[0] for line in lines[joined + 1 : -1]} == {"tune: relu", "tune: gelu"}
    assert lines[-1] == "the study is closed; 4 trainings were done here"


def test_a_worker_that_nobody_leads_gives_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "--storage", str(tmp_path), "--wait", "0.1"]) == 2
    assert "no journal" in capsys.readouterr().err
    for name in ("a", "b"):
        Ledger(tmp_path, name).begin({"context": "c", "request": {}}, resume=False)
    assert main(["worker", "--storage", str(tmp_path)]) == 2
    assert "has several open ones; give --study, of a, b" in capsys.readouterr().err
    assert main(["worker", "--storage", str(tmp_path), "--study", "c", "--wait", "0.1"]) == 2
    assert "has no study 'c'; it holds a, b" in capsys.readouterr().err
    assert main(["worker", "--storage", str(tmp_path), "--study", "a", "--wait", "0.1"]) == 0
    assert "nobody has led the study for 0.1 s; 0 trainings were done here" in capsys.readouterr().err


def test_a_search_of_a_scripts_own_objects_has_no_other_hands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    why = request_of(asked(lambda: None, trial_runners.train))
    Ledger(tmp_path, "a").begin({"context": "c", "request": why}, resume=False)
    assert main(["worker", "--storage", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "only the script that began it can train it: " in err
    assert "is a lambda" in err


def test_a_worker_imports_what_its_study_names_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the same folder that nobody names stays where it is."""
    (tmp_path / "own.py").write_text(
        textwrap.dedent("""
        import actsmith.tasks.named
        task = actsmith.tasks.named.find_task("digits")
    """)
    )
    (tmp_path / "other.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    request = request_of(asked("own:task"))
    assert isinstance(request, dict)
    runner = joined_runner(request, runner_of(**asked("own:task")).context, tmp_path)
    assert runner.name == "digits"
    assert "own" in sys.modules
    assert "other" not in sys.modules
    monkeypatch.delitem(sys.modules, "own")


def test_clocks_that_differ() -> None:
    """The leader's time is known once a beat came between two looks that lie close together."""
    leader = hands._Leader()
    assert leader.silent([0, time.time() - 500]) < 1
    assert leader.ahead == 0.0
    leader.silent([1, time.time() + 100.0])
    assert leader.ahead == pytest.approx(100.0, abs=1.0)
    assert leader.known
    same = hands._Leader()
    same.silent([0, time.time()])
    same.silent([1, time.time() - 0.5])
    assert same.known
    assert same.ahead == 0.0


def test_the_dashboard_shows_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    assert main(["dashboard", str(tmp_path)]) == 2
    assert "a search with --workers 2 or more keeps one in its folder" in capsys.readouterr().err
    Ledger(tmp_path, "a").begin({}, resume=False)
    served: dict[str, Any] = {}
    monkeypatch.setattr(dashboard, "run_server", lambda storage, **more: served.update(storage=storage, **more))
    assert main(["dashboard", str(tmp_path), "--port", "8099"]) == 0
    assert served["host"] == "127.0.0.1"
    assert served["port"] == 8099
    asked_for = {"PATH_INFO": "/api/studies"}
    setup_testing_defaults(asked_for)
    begun: list[str] = []
    body = b"".join(dashboard.wsgi(served["storage"])(asked_for, lambda status, *_: begun.append(status)))
    assert begun == ["200 OK"]
    assert [s["study_name"] for s in json.loads(body)["study_summaries"]] == ["a/jobs"]
