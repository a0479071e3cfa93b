"""A pool whose jobs lie in a ledger: hands of this process take them, and so may workers on any machine.

    with LedgerPool("postgresql+psycopg://me@db/searches", "vit", make_runner, workers=2, config=config) as pool:
        for outcomes in pool.run(groups, place):
            store.put(outcomes)

It leads its study: it publishes groups, a few ahead of who is free, gives out what comes back, and takes a worker for
lost that does not beat. What an earlier leader's jobs gave is given out again instead of trained again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from actsmith.errors import ActsmithError, JobError
from actsmith.trials.display import Display
from actsmith.trials.ledger import Job, Ledger, key_of, leader_name
from actsmith.trials.measured import MEASURED, measured
from actsmith.trials.pool import Processes
from actsmith.trials.runner import Place, Runner
from actsmith.trials.tracebacks import kept_traceback
from actsmith.trials.trial import Outcome, Trial

__all__ = ["LedgerPool"]

SILENCE = 600.0
"""Seconds after which a worker that does not beat is lost: longer than a machine that swaps, or a network, takes."""
LOSSES = 3
"""Workers that a group may lose before it is taken for the cause: machines go for reasons of their own."""
UNNAMED = 60.0
"""The same for a job that was claimed by one who did not say its name, which is the next thing to do."""
LEAD_BEAT = 15.0
"""Seconds between a leader's beats."""
PAUSES = (0.02, 0.5)
"""Seconds between two looks at the ledger while nobody trains here, at first and at last."""


@dataclass
class _Round:
    """One call of `run`: what is still to come, and the jobs that are out."""

    rest: Iterator[Sequence[Trial]]
    place: Place
    out: dict[int, Job] = field(default_factory=dict)
    mine: dict[str, Job] = field(default_factory=dict)  # in the hands of this process, by key
    exhausted: bool = False

    def count(self, state: str) -> int:
        return sum(job.state == state for job in self.out.values())


class LedgerPool:
    """See above; `actsmith.trials.testing.PoolContract` holds.

    Args:
        url: of the storage, see `actsmith.trials.storage.opened`.
        study: its name there.
        make_runner: as `Processes` takes it; None with no workers.
        workers: processes here; 0 leaves all to others.
        threads, timeout, grace: as `Processes` takes them.
        config: plain values: `run` says what is searched (a study of another one is refused), `metric` has a name and
            "better", and `request` with `context` is what `actsmith worker` makes its runner from.
        resume: whether a study that has outcomes is gone on with.
        sole: whether nobody else can lead this study, since it lies in a folder that this run has locked.
        silence: seconds after which a worker of elsewhere that does not beat is lost.

    Raises:
        ActsmithError: a storage or a function that cannot be used, another search's study, or one that another leads.
    """

    def __init__(
        self,
        url: str | Path,
        study: str,
        make_runner: Callable[[], Runner] | None,
        *,
        workers: int = 1,
        threads: int | None = None,
        timeout: float | None = None,
        grace: float = 10.0,
        config: dict[str, Any] | None = None,
        resume: bool = True,
        sole: bool = False,
        silence: float = SILENCE,
    ) -> None:
        if workers < 0 or (workers > 0) != (make_runner is not None):
            raise ActsmithError(f"pool: got workers={workers}; expected 0 or more, and what they run")
        self.workers, self.grace, self.silence = workers, grace, silence
        self.hands = None if make_runner is None else Processes(make_runner, workers, threads, timeout, grace)
        self.ledger = Ledger(url, study, cached=True)
        try:
            self.ledger.begin({**(config or {}), "timeout": timeout}, resume=resume)
            self.lead = self.ledger.lead(sole=sole)
        except BaseException:
            self.ledger.close()
            raise
        self.heart = _Heart(self.ledger, self.lead)
        self.heart.start()
        metric = (config or {}).get("metric", {"name": "score", "better": "higher"})
        self.display = Display(self.ledger, metric["name"], metric["better"])
        self.done = {job.key: job.id for job in self.ledger.jobs("COMPLETE") if job.attributes.get("outcomes")}
        self.loose = {job.key: job for job in self.ledger.jobs("RUNNING")}
        self.seen: dict[int, tuple[Any, float]] = {}
        self.watched, self.looked = 0.0, time.monotonic()
        self.measured = 0.0

    # ------------------------------------------------------------------------------------------------------------ run

    def run(self, groups: Iterable[Sequence[Trial]], place: Place) -> Iterator[list[Outcome]]:
        """See `Pool`.

        Raises:
            JobError: the storage stays away, or cannot be written.
            AnotherLeadsError: another search leads the study now.
        """
        round_ = _Round(iter(groups), place)
        trained = self._trained(round_)
        try:
            yield from self._turns(round_, trained)
        finally:
            trained.close()
            self._leave(round_)

    def _turns(self, round_: _Round, trained: Iterator[list[Outcome] | None]) -> Iterator[list[Outcome]]:
        pause, place = PAUSES[0], round_.place
        while True:
            self.heart.check()
            found = self._returned(round_)
            yield from found
            yield from self._publish(round_)
            if not round_.out and (round_.exhausted or place.passed()):
                return
            if place.deadline is not None and time.time() > place.deadline + self.grace:
                return
            outcomes = next(trained)
            if outcomes:
                yield outcomes
            if found or outcomes or round_.mine:
                pause = PAUSES[0]
            if not round_.mine:
                time.sleep(pause)
                pause = min(2 * pause, PAUSES[1])

    def _publish(self, round_: _Round) -> Iterator[list[Outcome]]:
        """Put groups into the queue: as many as there are free hands here, and half as many as are trained, so that
        hands that nobody counts find one too. Those that are done already are given out."""
        if round_.place.passed():
            for job in [job for job in round_.out.values() if job.state == "WAITING"]:
                self.ledger.fail(job, "withdrawn")
            return
        self._tell_measured(round_.place)
        free = self.workers - len(round_.mine)
        while not round_.exhausted and round_.count("WAITING") < free + max(2, round_.count("RUNNING") // 2):
            group = next(round_.rest, None)
            if group is None:
                round_.exhausted = True
                return
            key = key_of(group)
            if key in self.done:
                yield self._kept(self.ledger.job(self.done[key]).outcomes, round_.place)
                continue
            known = self.loose.pop(key, None)
            job = known if known is not None else self.ledger.publish(group, round_.place.deadline)
            round_.out[job.id] = job

    # --------------------------------------------------------------------------------------------- who is elsewhere

    def _returned(self, round_: _Round) -> list[list[Outcome]]:
        """What came back from others since; what was lost is published again."""
        found = []
        now = time.monotonic()
        self.watched += min(now - self.looked, self.silence / 4)
        self.looked = now
        for job in self.ledger.some(round_.out):
            round_.out[job.id] = job
            if job.key in round_.mine:
                continue
            if job.state == "COMPLETE":
                found.append(self._take(job, job.outcomes, round_))
            elif job.state == "FAIL":
                del round_.out[job.id]
                if job.why == "released" and not round_.place.passed():
                    self._again(job, round_)
            elif job.state == "RUNNING" and self._silent(job) and self.ledger.fail(job, "silent"):
                del round_.out[job.id]
                deaths = job.deaths + 1
                if deaths < LOSSES:
                    self._again(replace(job, attributes={**job.attributes, "deaths": deaths}), round_)
                else:
                    reason = f"its worker was lost {deaths} times: no sign of life for {self.silence:g} s"
                    found.append([Outcome(trial, reason=reason) for trial in job.trials])
        return found

    def _again(self, job: Job, round_: _Round) -> None:
        new = self.ledger.publish(job.trials, round_.place.deadline, job.deaths)
        round_.out[new.id] = new

    def _silent(self, job: Job) -> bool:
        """Whether its worker has not beaten for too long: by the clock of this process, and while this process looked;
        a database that was away was so for the worker too."""
        state = (job.worker, job.beat)
        before, since = self.seen.get(job.id, (None, self.watched))
        if state != before:
            self.seen[job.id] = (state, self.watched)
            return False
        return self.watched - since > (min(UNNAMED, self.silence) if job.worker is None else self.silence)

    def _take(self, job: Job, outcomes: list[Outcome], round_: _Round) -> list[Outcome]:
        del round_.out[job.id]
        self.seen.pop(job.id, None)
        self.done[job.key] = job.id
        kept = self._kept(outcomes, round_.place)
        self.display.add(kept)
        self.display.show(now=False)
        return kept

    def _kept(self, outcomes: list[Outcome], place: Place) -> list[Outcome]:
        return [kept_traceback(outcome, place.folder) for outcome in outcomes]

    # ------------------------------------------------------------------------------------------------- who is here

    def _trained(self, round_: _Round) -> Generator[list[Outcome] | None]:
        """What the hands of this process trained, None at every look at them; does not end."""
        while self.hands is not None:
            with closing(self.hands.ticks(_Claims(self, round_), round_.place, eager=True)) as ticks:
                for group, outcomes in ticks:
                    yield None if outcomes is None else self._given_back(group, outcomes, round_)
            for job in round_.mine.values():  # the deadline found it between two tries
                self.ledger.fail(job, "stopped")
                round_.out.pop(job.id, None)
            round_.mine.clear()
            yield None
        while True:
            yield None

    def _given_back(self, group: Sequence[Trial], outcomes: list[Outcome], round_: _Round) -> list[Outcome] | None:
        job = round_.mine.pop(key_of(group))
        if outcomes and self.ledger.finish(job, outcomes):
            return self._take(job, outcomes, round_)
        self.ledger.fail(job, "stopped")
        round_.out.pop(job.id, None)
        return None

    def _leave(self, round_: _Round) -> None:
        """What nobody wants any more is withdrawn; what others train goes on, unless its time is over."""
        for job in self.ledger.some(round_.out):
            if job.state == "COMPLETE":
                self.done[job.key] = job.id
            elif job.key in round_.mine or job.state == "WAITING" or round_.place.passed():
                self.ledger.fail(job, "withdrawn")
            elif job.state == "RUNNING":
                self.loose[job.key] = job
        self.display.show()

    def _tell_measured(self, place: Place) -> None:
        """Let others know what was measured to choose how to train."""
        path = None if place.folder is None else place.folder / MEASURED
        if path is not None and path.is_file() and (changed := path.stat().st_mtime) != self.measured:
            self.ledger.set_attribute("measured", measured(place.folder))
            self.measured = changed

    def describe(self, name: str, **attributes: Any) -> None:
        """What a dashboard shows of an activation beside its formula and its values: origin, proposer."""
        self.display.describe(name, **attributes)

    # ---------------------------------------------------------------------------------------------------------- close

    def close(self) -> None:
        """End the study: workers leave. The pool may be closed twice."""
        self._close(ended=True)

    def _close(self, *, ended: bool) -> None:
        if self.hands is not None:
            self.hands.close()
        if not self.heart.stop():
            return
        with suppress(JobError):
            self.display.show(end=ended)
            if ended:
                self.ledger.set_attribute("closed", True)
            self.ledger.lead_end(self.lead)
        self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """After an error the study stays open: workers wait for who goes on with the run."""
        if isinstance(error, JobError):
            self.ledger.patience = 0.0  # it has waited already
        self._close(ended=error is None)


class _Claims:
    """Jobs for the hands of this process; none now may be one later."""

    def __init__(self, pool: LedgerPool, round_: _Round) -> None:
        self.pool, self.round = pool, round_

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Sequence[Trial]:
        ledger, round_ = self.pool.ledger, self.round
        if not any(job.state == "WAITING" for job in round_.out.values()):
            raise StopIteration
        job = ledger.claim(leader_name(self.pool.lead))
        if job is None:
            raise StopIteration
        round_.out[job.id] = round_.mine[job.key] = job
        return job.trials


class _Heart(threading.Thread):
    """Beats for the leader while it thinks."""

    def __init__(self, ledger: Ledger, lead: int) -> None:
        super().__init__(name="actsmith leader", daemon=True)
        self.ledger, self.lead = ledger, lead
        self.over = threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        """Until it is stopped."""
        count = 0
        while not self.over.wait(LEAD_BEAT):
            count += 1
            try:
                self.ledger.lead_beat(self.lead, count)
            except Exception as error:
                self.error = error
                return

    def check(self) -> None:
        """
        Raises:
            AnotherLeadsError: another one leads.
            JobError: the storage stays away.
        """
        if self.error is not None:
            raise self.error

    def stop(self) -> bool:
        """End; False where it was ended before."""
        first = not self.over.is_set()
        self.over.set()
        return first
