"""What the ledger relies on in Optuna's storages, and what it promises on them: one claims, nobody counts twice."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from databases import Database

from actsmith.errors import ActsmithError, JobError
from actsmith.formula.catalogue import resolve
from actsmith.trials import display as display_module
from actsmith.trials import ledger as ledger_module
from actsmith.trials import storage
from actsmith.trials.display import Display
from actsmith.trials.ledger import AnotherLeadsError, Job, Ledger
from actsmith.trials.ledger_pool import LedgerPool
from actsmith.trials.session import session
from actsmith.trials.storage import JOURNAL, opened, shown
from actsmith.trials.testing import SumRunner, trials
from actsmith.trials.trial import Outcome, digest

Open = Callable[[], Ledger]
CONFIG = {"run": "a"}


@pytest.fixture(params=["journal", "postgresql"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens one study again and again, as other processes would."""
    url: str | Path = tmp_path
    if request.param == "postgresql":
        url = request.getfixturevalue("database").url
    name = f"study of {tmp_path.name}"
    opened_here: list[Ledger] = []

    def one() -> Ledger:
        ledger = Ledger(url, name, cached=request.param == "postgresql")
        opened_here.append(ledger)
        ledger.begin(CONFIG, resume=True)
        return ledger

    yield one
    for ledger in opened_here:
        ledger.close()


def done(job: Job, score: float = 1.0) -> list[Outcome]:
    return [Outcome(t, {"score": score, "lost": None}, seconds=2.0) for t in job.trials]


def test_one_of_several_claims_a_job(fresh: Open) -> None:
    first, second = fresh(), fresh()
    jobs = [first.publish(trials(n), 5.0) for n in (1, 2)]
    a, b = first.claim("a"), second.claim("b")
    assert a is not None
    assert b is not None
    assert [a.id, b.id] == [job.id for job in jobs]
    assert second.claim("b") is None
    assert [j.worker for j in second.jobs("RUNNING")] == ["a", "b"]
    assert b.trials == trials(2)
    assert b.attributes["deadline"] == 5.0
    assert not second.do("set_trial_state_values", a.id, second.states.RUNNING)


def test_outcomes_are_there_before_the_job_is_done(fresh: Open) -> None:
    first, second = fresh(), fresh()
    first.publish(trials(2), None)
    job = second.claim("b")
    assert job is not None
    assert second.finish(job, done(job))
    (there,) = first.jobs("COMPLETE")
    assert [o.to_dict() for o in there.outcomes] == [o.to_dict() for o in done(job)]
    assert there.outcomes[0].trial == job.trials[0]
    assert second.finish(job, done(job)), "said twice is said once"


def test_a_lost_job_does_not_count_when_it_comes_back(fresh: Open) -> None:
    first, second = fresh(), fresh()
    first.publish(trials(1), None)
    job = second.claim("zombie")
    assert job is not None
    assert first.fail(first.job(job.id), "silent")
    assert not second.finish(job, done(job))
    assert not second.wants(job)
    assert not second.beat(job, 1)
    assert first.job(job.id).state == "FAIL"
    assert first.fail(first.job(job.id), "silent"), "said twice is said once"
    assert not first.fail(first.job(job.id), "withdrawn")


def test_a_worker_that_was_killed_before_its_last_word_has_said_enough(fresh: Open) -> None:
    first, second = fresh(), fresh()
    first.publish(trials(1), None)
    job = second.claim("b")
    assert job is not None
    second.do("set_trial_user_attr", job.id, "outcomes", [o.to_dict() for o in done(job)])
    assert not first.fail(first.job(job.id), "silent")
    assert first.job(job.id).state == "COMPLETE"


@pytest.mark.parametrize("method", ["create_new_trial", "set_trial_state_values", "set_trial_user_attr"])
def test_an_answer_that_is_lost_harms_nobody(fresh: Open, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """The database does what it was asked for and goes away before it says so."""
    ledger = fresh()
    real, lost = getattr(ledger.storage, method), []

    def unheard(*arguments: Any, **more: Any) -> Any:
        found = real(*arguments, **more)
        if not lost:
            lost.append(found)
            raise sqlalchemy.exc.OperationalError("server closed the connection", {}, Exception())
        return found

    monkeypatch.setattr(ledger.storage, method, unheard)
    ledger.publish(trials(2), None)
    assert len(ledger.jobs()) == 1
    lost[:] = lost or [None]
    job = ledger.claim("a")
    assert job is not None
    lost.clear()
    assert ledger.finish(job, done(job))
    assert [j.state for j in ledger.jobs()] == ["COMPLETE"]


def test_a_database_that_stays_away_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "LONGEST", 0.1)
    monkeypatch.setattr(storage, "REACHED", 0.2)
    with pytest.raises(JobError, match=r"postgresql\+psycopg://me:\*\*\*@127.0.0.1:9/x: .*refused") as caught:
        opened("postgresql+psycopg://me:hunter2@127.0.0.1:9/x")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_password_is_nowhere(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    optuna.logging.enable_propagation()
    with session(SumRunner(), tmp_path / "run", {"a": 1}, workers=0, storage=database.url) as run:
        assert isinstance(run.pool, LedgerPool)
        ledger = run.pool.ledger
        assert ledger.name.startswith("run-")
        told = [str(ledger.missing()), json.dumps([s.user_attrs for s in ledger.do("get_all_studies")])]
        monkeypatch.setattr(Ledger, "_moves", lambda *_: True)
        with pytest.raises(ActsmithError) as another:
            LedgerPool(database.url, ledger.name, None, workers=0, config={"run": digest(run.folder.config)})
    monkeypatch.setattr(storage, "REACHED", 0.0)
    with pytest.raises(JobError) as wrong:
        opened(database.url.replace(database.password, "wrong-" + database.password))
    told += [caplog.text, *capfd.readouterr(), str(wrong.value), str(another.value)]
    files = [path.read_text() for path in (tmp_path / "run").iterdir()]
    assert len(files) >= 4
    assert "searcher:***@127.0.0.1" in str(wrong.value)
    assert "searcher:***@127.0.0.1" in str(another.value)
    assert not [text for text in (*told, *files) if database.password in text]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sqlite:///x.db", "SQLite loses writers"),
        ("redis://localhost", "is unpickled"),
        ("mysql+pymysql://a@b/c", "it is not tested"),
        ("postgresql://a:p@b:no-port/c", "cannot be read, postgresql://a:[*][*][*]@b"),
    ],
)
def test_storages_that_are_refused(url: str, why: str) -> None:
    with pytest.raises(ActsmithError, match=why):
        opened(url)


def test_nothing_is_unpickled(fresh: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpickled(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was unpickled")

    monkeypatch.setattr(pickle, "loads", unpickled)
    monkeypatch.setattr(pickle, "load", unpickled)
    monkeypatch.setattr(pickle, "Unpickler", unpickled)
    ledger = fresh()
    for _ in range(120):  # Optuna's snapshots come at every hundredth
        ledger.publish(trials(1), None)
    job = fresh().claim("a")
    assert job is not None
    assert ledger.finish(job, done(job))
    assert fresh().jobs("COMPLETE")[0].outcomes


def test_a_torn_line_of_the_journal_is_cut_off(tmp_path: Path) -> None:
    """A writer was killed in the middle; readers and writers that are there already go on."""
    first = Ledger(tmp_path, "s")
    first.begin(CONFIG, resume=True)
    first.publish(trials(1), None)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"x","study')
    assert len(first.jobs()) == 1
    second = Ledger(tmp_path, "s")
    second.begin(CONFIG, resume=True)
    second.publish(trials(2), None)
    assert [len(job.trials) for job in first.jobs()] == [1, 2]
    assert [len(job.trials) for job in Ledger(tmp_path, "s").names() and second.jobs()] == [1, 2]
    assert all(json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines())


# -------------------------------------------------------------------------------------------------------------- leaders


def test_the_second_leader_is_told(fresh: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = fresh(), fresh()
    own = first.lead()
    beats = iter(range(1, 100))
    monkeypatch.setattr(ledger_module.time, "sleep", lambda _: first.lead_beat(own, next(beats)))
    with pytest.raises(AnotherLeadsError, match=rf"is led by another search \(on .*, process {os.getpid()}\)"):
        second.lead()
    monkeypatch.undo()
    first.lead_beat(own, 200)
    assert second.leader_beat() is not None
    first.lead_end(own)
    assert second.leader_beat() is None
    second.lead()


def test_who_does_not_beat_leads_no_more(fresh: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """And hears of it; what its own hands had and what waited goes, what others have stays."""
    first, second = fresh(), fresh()
    own = first.lead()
    for count in (1, 2, 3):
        first.publish(trials(count), None)
    first.claim(ledger_module.leader_name(own))
    second.claim("elsewhere")
    monkeypatch.setattr(ledger_module, "LEAD_SILENCE", 0.0)
    second.lead()
    assert [(job.state, job.why) for job in second.jobs()] == [
        ("FAIL", "withdrawn"), ("RUNNING", ""), ("FAIL", "withdrawn")
    ]  # fmt: skip
    with pytest.raises(AnotherLeadsError, match="another search leads it now"):
        first.lead_beat(own, 1)


def test_a_leader_that_was_killed_is_followed_at_once(fresh: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fresh()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: gone.pid)
        first.lead()
    monkeypatch.setattr(Ledger, "_moves", lambda *_: pytest.fail("it waited"))
    fresh().lead()


def test_a_study_of_another_search_is_refused(fresh: Open) -> None:
    ledger = fresh()
    ledger.begin({"run": "b"}, resume=False)  # nothing was done yet
    ledger.publish(trials(1), None)
    job = ledger.claim("a")
    assert job is not None
    ledger.finish(job, done(job))
    with pytest.raises(ActsmithError, match="holds another search; give another study"):
        ledger.begin({"run": "a"}, resume=True)
    with pytest.raises(ActsmithError, match="holds this search already; go on with the folder"):
        ledger.begin({"run": "b"}, resume=False)
    ledger.begin({"run": "b"}, resume=True)


# -------------------------------------------------------------------------------------------------------------- display


def test_what_a_dashboard_shows(fresh: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """An Optuna trial an activation; values are finite, of failures too. What takes too long is for the next time."""
    monkeypatch.setattr(display_module, "LONGEST", (60.0, 60.0))
    ledger = fresh()
    tune = [replace(t, formula=resolve(name), stage="tune", rate=rate) for name in ("relu", "gelu", "silu")
            for rate in (0.1, 0.2) for t in trials(2)]  # fmt: skip
    score = [replace(t, formula=resolve("gelu")) for t in trials(1)]
    ledger.publish([*tune, *score], None)
    job = ledger.claim("a")
    assert job is not None
    outcomes = []
    for t in job.trials:
        lost = t.formula.name == "silu" or (t.formula.name == "relu" and t.rate == 0.2 and t.seed == 1)
        value = None if lost else t.rate * 10 + t.seed
        outcomes.append(Outcome(t, {"score": value}, diverged=lost))
    outcomes[-1] = replace(outcomes[-1], validation={"score": 7.0})
    ledger.finish(job, outcomes)

    display = Display(ledger, "score", "higher")
    with monkeypatch.context() as patch:
        patch.setattr(display_module, "LONGEST", (0.0, 0.0))
        display.show()
        assert not display.trials
    display.describe("gelu", origin="the catalogue", proposer="known")
    display.show()
    display.describe("gelu", parents=["relu"])
    display.show(end=True)
    study = optuna.load_study(study_name=ledger.name, storage=ledger.storage)
    shown_trials = {t.user_attrs["name"]: t for t in study.trials}
    assert {n: t.intermediate_values for n, t in shown_trials.items()} == {
        "relu": {0: 1.5}, "gelu": {0: 2.5, 1: 7.0}, "silu": {0: 1.0}
    }  # fmt: skip
    assert shown_trials["gelu"].user_attrs["proposer"] == "known"
    assert shown_trials["gelu"].user_attrs["parents"] == ["relu"]
    assert shown_trials["relu"].user_attrs["formula"] == resolve("relu").text
    assert study.best_trial.user_attrs["name"] == "gelu"
    assert study.user_attrs["rungs"][0] == "tune, 1 of the length, 1 of the examples"
    Display(ledger, "score", "higher").show()  # the next leader's
    assert len(optuna.load_study(study_name=ledger.name, storage=ledger.storage).trials) == 3


def test_urls_are_shown_without_their_passwords() -> None:
    assert shown("postgresql+psycopg://me:se@cr:et@h:1/d?password=x#y") == "postgresql+psycopg://me:***@h:1/d"
    assert shown(Path("runs/a")) == "runs/a"
