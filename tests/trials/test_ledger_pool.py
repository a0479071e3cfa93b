"""Pools whose jobs lie in a ledger, on a journal and on PostgreSQL."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from databases import Database, wait_for

from actsmith.trials import hands, ledger_pool
from actsmith.trials.hands import Hands
from actsmith.trials.ledger import Job, key_of
from actsmith.trials.ledger_pool import LedgerPool
from actsmith.trials.runner import Place, Runner
from actsmith.trials.storage import PATIENCE
from actsmith.trials.testing import PoolContract, SumRunner, trials
from actsmith.trials.trial import Outcome, Trial


class Kept(LedgerPool):
    """Stays open over the tests, since starting a worker takes seconds."""

    def close(self) -> None:
        """Nothing."""

    def __exit__(self, *_: object) -> None:
        """Nothing."""


class OnALedger(PoolContract):
    pool: Kept

    def make(self, make_runner: Callable[[], Runner]) -> LedgerPool:
        assert make_runner is SumRunner
        return self.pool


class TestOnAJournal(OnALedger):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _kept(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        pool = cls.pool = Kept(tmp_path_factory.mktemp("journal"), "sum", SumRunner, workers=2)
        yield
        LedgerPool.close(pool)
        LedgerPool.close(pool)


class TestOnPostgreSQL(OnALedger):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _kept(cls, database: Database) -> Iterator[None]:
        pool = cls.pool = Kept(database.url, "sum", SumRunner, workers=2)
        yield
        LedgerPool.close(pool)
        LedgerPool.close(pool)


# ------------------------------------------------------------------------------------------------------------ elsewhere


class Slow(SumRunner):
    """A training of stage "long" takes two seconds, one of "longer" a minute; each outcome says where it was made."""

    def run(self, group: Sequence[Trial], place: Place) -> list[Outcome]:
        time.sleep({"long": 2.0, "longer": 60.0}.get(group[0].stage, 0.0))
        return [replace(outcome, details={"pid": os.getpid()}) for outcome in super().run(group, place)]


class Elsewhere:
    """Hands that work for the study "s" in a thread, and stay over the tests."""

    def __init__(self, url: Path, folder: Path) -> None:
        folder.mkdir()
        with LedgerPool(url, "s", None, workers=0) as pool:
            self.ledger = pool.ledger.sister("s")
            assert self.ledger.join()
        self.ledger.set_attribute("closed", False)
        self.folder = folder
        self.hands = Hands(self.ledger, Slow, folder, threads=1)
        self.begin()

    def begin(self) -> None:
        self.error: BaseException | None = None
        self.ledger.patience = PATIENCE
        self.ledger.set_attribute("closed", False)
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self) -> None:
        try:
            self.hands.work()
        except BaseException as error:
            self.error = error

    def end(self) -> None:
        self.ledger.set_attribute("closed", True)
        self.thread.join(30)
        assert not self.thread.is_alive()
        self.ledger.set_attribute("closed", False)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    top = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hands, "LOOK", 0.2)
        patch.setattr(hands, "BEAT", 0.2)
        found = Elsewhere(top, top / "own")
        yield found
        found.end()
        found.hands.close()


@pytest.fixture
def pool(elsewhere: Elsewhere) -> Iterator[LedgerPool]:
    """One without hands of its own; it leaves the study open."""
    pool = LedgerPool(elsewhere.ledger.url, "s", None, workers=0, grace=0.5)
    yield pool
    pool._close(ended=False)


def asked(stage: str, seed: int) -> list[Trial]:
    """A group that no other test asks for."""
    return [replace(trials(1, stage)[0], seed=seed)]


def test_others_train_what_nobody_here_does(pool: LedgerPool, elsewhere: Elsewhere, tmp_path: Path) -> None:
    """What was measured goes there; failures come back with their tracebacks."""
    (tmp_path / "measured.json").write_text('{"how": 1}')
    place = Place(tmp_path)
    found = [o for group in pool.run([trials(3), trials(1, "fails")], place) for o in group]
    assert [o.score("score") for o in found] == [0.5, 1.5, 2.5, None]
    assert os.getpid() not in {o.details["pid"] for o in found[:3]}
    assert (elsewhere.folder / "measured.json").read_text() == '{"how": 1}'
    assert "seed 0 fails" in (tmp_path / found[3].details["traceback"]).read_text()
    assert not list(pool.run([trials(1, "stops")], place))


def test_after_the_deadline_a_job_is_withdrawn_and_left(pool: LedgerPool, elsewhere: Elsewhere) -> None:
    done = elsewhere.hands.done
    assert not list(pool.run([asked("longer", 0)], Place(deadline=time.time() + 0.5)))
    assert pool.ledger.jobs("FAIL")[-1].why == "withdrawn"
    wait_for(lambda: not elsewhere.hands.pool._workers, 20.0)
    assert elsewhere.hands.done == done


def test_what_others_train_while_the_search_is_away_counts(elsewhere: Elsewhere) -> None:
    group = asked("long", 1)

    def groups(pool: LedgerPool) -> Iterator[list[Trial]]:
        yield group
        wait_for(lambda: any(job.worker for job in pool.ledger.jobs("RUNNING")))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), LedgerPool(elsewhere.ledger.url, "s", None, workers=0) as pool:
        list(pool.run(groups(pool), Place()))
    assert not elsewhere.ledger.closed
    with LedgerPool(elsewhere.ledger.url, "s", None, workers=0) as again:
        (outcomes,) = again.run([group], Place())
        again._close(ended=False)
    assert [o.trial for o in outcomes] == group
    jobs = [job for job in elsewhere.ledger.jobs() if job.key == key_of(group)]
    assert [job.state for job in jobs] == ["COMPLETE"], "it was published once"


def test_a_worker_that_is_interrupted_gives_its_job_back(pool: LedgerPool, elsewhere: Elsewhere) -> None:
    group = asked("long", 2)

    def interrupted(job: Job) -> bool:
        raise KeyboardInterrupt

    def groups() -> Iterator[list[Trial]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(elsewhere.ledger, "wants", interrupted)
            yield group
            elsewhere.thread.join(30)
        assert isinstance(elsewhere.error, KeyboardInterrupt)
        elsewhere.begin()

    (outcomes,) = pool.run(groups(), Place())
    assert outcomes[0].reason is None
    jobs = [job for job in elsewhere.ledger.jobs() if job.key == key_of(group)]
    assert [(job.state, job.deaths) for job in jobs] == [("FAIL", 0), ("COMPLETE", 0)]
    assert jobs[0].why == "released"


def test_a_worker_that_falls_silent_loses_its_job(pool: LedgerPool, elsewhere: Elsewhere) -> None:
    """By the clock of the search alone. What comes back too late does not count."""
    pool.silence = 0.5
    elsewhere.end()
    zombies: list[Job] = []

    def claim() -> bool:
        job = elsewhere.ledger.claim("a zombie")
        zombies.extend([] if job is None else [job])
        return job is not None

    second = threading.Thread(target=lambda: (wait_for(claim), wait_for(lambda: len(zombies) == 3 or claim())))

    def groups() -> Iterator[list[Trial]]:
        yield asked("lost", 3)
        wait_for(claim)
        second.start()

    (outcomes,) = pool.run(groups(), Place())
    second.join()
    assert "its worker was lost 3 times" in str(outcomes[0].reason)
    assert [job.deaths for job in zombies] == [0, 1, 2]
    for job in zombies:
        assert not elsewhere.ledger.finish(job, [Outcome(t, {"score": 1.0}) for t in job.trials])
        assert not elsewhere.ledger.wants(job)
        assert not elsewhere.ledger.beat(job, 1)
    elsewhere.begin()


def test_a_job_that_nobody_knows_to_have_is_published_again(
    pool: LedgerPool, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to a claim was lost with the connection."""
    monkeypatch.setattr(ledger_pool, "UNNAMED", 0.3)
    elsewhere.end()

    def groups() -> Iterator[list[Trial]]:
        yield asked("unnamed", 4)
        (job,) = elsewhere.ledger.jobs("WAITING")
        elsewhere.ledger.do("set_trial_state_values", job.id, elsewhere.ledger.states.RUNNING)
        elsewhere.begin()

    (outcomes,) = pool.run(groups(), Place())
    assert outcomes[0].score("score") == 4.5
