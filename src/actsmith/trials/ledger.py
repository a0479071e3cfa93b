"""The ledger of a search: a queue of jobs in an Optuna storage, which hands on any machine take and give back done.

A job is a group of trials that train together; it is one Optuna trial of the study NAME/jobs:

| state    | user attributes                                                        |
|----------|------------------------------------------------------------------------|
| WAITING  | trials, key, deaths, deadline                                          |
| RUNNING  | ... and worker, beat (a counter that rises while the worker lives)     |
| COMPLETE | ... and outcomes: set before the state is, so that they are always there |
| FAIL     | ... and why: withdrawn, released, silent; such a job's outcomes do not count |

To claim a job is to set it RUNNING, which one of several succeeds in. One process leads: it alone publishes jobs and
says that a worker is lost. It holds a trial of the same study for as long as it lives; whoever comes second is told.
What a worker says about a job that is finished already, since it was thought lost, is dropped.

Storages are used by the methods that Optuna's own studies use; `tests/trials/test_ledger.py` holds what is relied on.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from actsmith.errors import ActsmithError, require
from actsmith.files import plain
from actsmith.names import did_you_mean
from actsmith.trials.storage import PATIENCE, at_hand, closed, opened, patiently, shown
from actsmith.trials.trial import Outcome, Trial, digest

__all__ = ["AnotherLeadsError", "Job", "Ledger", "key_of"]

JOBS = "/jobs"
LEAD_SILENCE = 45.0
"""Seconds after which a leader of another machine that does not beat is gone."""


class AnotherLeadsError(ActsmithError):
    """Somebody else leads the study now."""


def key_of(trials: Sequence[Trial]) -> str:
    """Of a group: equal groups have equal keys."""
    return digest([trial.key for trial in trials])


@dataclass(frozen=True)
class Job:
    """A group of trials as the storage holds it.

    Attributes:
        id: of the Optuna trial.
        state: its state: "WAITING", "RUNNING", "COMPLETE" or "FAIL".
        attributes: its user attributes.
    """

    id: int
    state: str
    attributes: dict[str, Any]

    @cached_property
    def trials(self) -> list[Trial]:
        """What is to be trained."""
        return [Trial.from_dict(values) for values in self.attributes["trials"]]

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """What came out, as far as it was said."""
        return [Outcome.from_dict(values) for values in self.attributes.get("outcomes", [])]

    @property
    def key(self) -> str:
        """Of the group."""
        return str(self.attributes["key"])

    @property
    def deaths(self) -> int:
        """How many workers were lost with it."""
        return int(self.attributes["deaths"])

    @property
    def worker(self) -> str | None:
        """Who has it."""
        return self.attributes.get("worker")

    @property
    def beat(self) -> int:
        """Rises while its worker lives."""
        return int(self.attributes.get("beat", 0))

    @property
    def why(self) -> str:
        """Why it failed."""
        return str(self.attributes.get("why", ""))


class Ledger:
    """A study's jobs. Every method may be called while the database restarts: it waits, for minutes.

    Args:
        url: see `actsmith.trials.storage.opened`.
        name: of the study.
        cached: as `opened` takes it.

    Raises:
        ActsmithError: there is no such storage.
    """

    def __init__(self, url: str | Path, name: str, *, cached: bool = False) -> None:
        self.url, self.name, self.patience = url, name, PATIENCE
        self.storage = opened(url, cached=cached)
        self.optuna = require("optuna", "search", "ledger")
        self.states = self.optuna.trial.TrialState
        self.study: int | None = None

    def close(self) -> None:
        """Give back its connections."""
        closed(self.storage)

    def sister(self, name: str) -> Ledger:
        """Of another study in the same storage."""
        other = copy(self)
        other.name, other.study = name, None
        return other

    def do(self, method: str, *arguments: Any, **more: Any) -> Any:
        """Call a method of the storage, patiently."""
        action = partial(getattr(self.storage, method), *arguments, **more)
        return patiently(action, self.url, patience=self.patience)

    # ------------------------------------------------------------------------------------------------------ the study

    def begin(self, config: dict[str, Any], *, resume: bool) -> None:
        """Make the study, or go on with it.

        Args:
            config: plain values; what stands under "run" says what is searched.
            resume: whether jobs that are done already count.

        Raises:
            ActsmithError: the study is there, with jobs of another search or, without `resume`, with any.
        """
        self.study = study_of(self, self.name + JOBS, "minimize")
        there = self.attribute("config")
        if there is not None and self.jobs("COMPLETE"):
            if there.get("run") != plain(config).get("run"):
                raise ActsmithError(
                    f"study {self.name!r} of {shown(self.url)} holds another search; give another study"
                )
            if not resume:
                raise ActsmithError(
                    f"study {self.name!r} of {shown(self.url)} holds this search already; go on with the folder of "
                    "that run (--resume), or give another study"
                )
        self.set_attribute("config", plain(config))
        self.set_attribute("closed", False)

    def join(self) -> bool:
        """Find the study; False where it is not there (yet)."""
        with suppress(KeyError):
            self.study = self.do("get_study_id_from_name", self.name + JOBS)
        return self.study is not None and self.attribute("config") is not None

    def names(self) -> list[str]:
        """Of the studies that have jobs."""
        studies = self.do("get_all_studies")
        return [s.study_name.removesuffix(JOBS) for s in studies if s.study_name.endswith(JOBS)]

    def missing(self) -> ActsmithError:
        """The error to raise where nobody can join."""
        names = self.names()
        which = f"study {self.name!r}" if self.name else "study that is open"
        hint = did_you_mean(self.name, names) or f"it holds {', '.join(names[-5:]) or 'none'}"
        return ActsmithError(f"study: {shown(self.url)} has no {which}; {hint}")

    def attribute(self, name: str) -> Any:
        """A value of the study; None where there is none."""
        return self.do("get_study_user_attrs", self.study).get(name)

    def set_attribute(self, name: str, value: Any) -> None:
        """Of the study; plain JSON values."""
        self.do("set_study_user_attr", self.study, name, value)

    @property
    def closed(self) -> bool:
        """Whether the search has ended."""
        return bool(self.attribute("closed"))

    # ------------------------------------------------------------------------------------------------------- the jobs

    def publish(self, trials: Sequence[Trial], deadline: float | None, deaths: int = 0) -> Job:
        """Put a group into the queue.

        Args:
            trials: the group.
            deadline: seconds of this process's `time.time()`.
            deaths: how many workers were lost with it.
        """
        attributes = plain({
            "trials": [trial.to_dict() for trial in trials], "key": key_of(trials), "deaths": deaths,
            "deadline": deadline, "token": os.urandom(8).hex(),
        })  # fmt: skip
        tries: list[None] = []

        def create() -> int:
            if tries:  # the last one may have reached the database, and only its answer was lost
                for job in self.jobs("WAITING", "RUNNING", "COMPLETE"):
                    if job.attributes.get("token") == attributes["token"]:
                        return job.id
            tries.append(None)
            return int(self.storage.create_new_trial(self.study, self._trial("WAITING", attributes)))

        return Job(patiently(create, self.url), "WAITING", attributes)

    def claim(self, worker: str) -> Job | None:
        """Take the first job that waits; None where none does."""
        waiting = self.jobs("WAITING")
        while waiting:
            job = waiting.pop(0)
            try:
                if self.do("set_trial_state_values", job.id, self.states.RUNNING):
                    self.do("set_trial_user_attr", job.id, "worker", worker)
                    return Job(job.id, "RUNNING", {**job.attributes, "worker": worker})
            except self.optuna.exceptions.UpdateFinishedTrialError:  # withdrawn a moment ago
                continue
            random.shuffle(waiting)  # another one was quicker: not after the same again
        return None

    def wants(self, job: Job) -> bool:
        """Whether the job is still its worker's.

        Raises:
            JobError: the storage is away; tried once.
        """
        now = patiently(lambda: self.storage.get_trial(job.id), self.url, patience=0.0)
        return bool(now.state == self.states.RUNNING)

    def beat(self, job: Job, count: int) -> bool:
        """Say that its worker lives; False where the job is no longer its worker's.

        Raises:
            JobError: the storage is away; tried once, since the next beat will do.
        """
        try:
            patiently(lambda: self.storage.set_trial_user_attr(job.id, "beat", count), self.url, patience=0.0)
        except self.optuna.exceptions.UpdateFinishedTrialError:
            return False
        return True

    def finish(self, job: Job, outcomes: Sequence[Outcome]) -> bool:
        """Give a job back done; False where it was no longer its worker's, and nothing counts."""
        values = [outcome.to_dict() for outcome in outcomes]
        try:
            self.do("set_trial_user_attr", job.id, "outcomes", values)
            self._complete(job.id, sum(outcome.seconds for outcome in outcomes))
        except self.optuna.exceptions.UpdateFinishedTrialError:
            now = self.job(job.id)  # said twice, the first answer being lost?
            return now.state == "COMPLETE" and now.worker == job.worker
        return True

    def fail(self, job: Job, why: str) -> bool:
        """End a job without outcomes; where its worker had said them all but for the last word, the job is complete.
        False where it is finished already, or complete."""
        try:
            if job.state == "RUNNING" and (now := self.job(job.id)).attributes.get("outcomes"):
                self._complete(job.id, sum(o["seconds"] for o in now.attributes["outcomes"]))
                return False
            self.do("set_trial_user_attr", job.id, "why", why)
            self.do("set_trial_state_values", job.id, self.states.FAIL)
        except self.optuna.exceptions.UpdateFinishedTrialError:
            now = self.job(job.id)
            return now.state == "FAIL" and now.why == why
        return True

    def job(self, id_: int) -> Job:
        """As it is now."""
        return _job(self.do("get_trial", id_))

    def jobs(self, *states: str) -> list[Job]:
        """Those in these states, or all, first published first. Their attributes are not to be changed."""
        wanted = tuple(getattr(self.states, state) for state in states) or None
        found = self.do("get_all_trials", self.study, deepcopy=False, states=wanted)
        return [_job(trial) for trial in found if "trials" in trial.user_attrs]

    def some(self, ids: Collection[int]) -> list[Job]:
        """Those of these numbers: of a journal each is at hand, of a database one question asks for all."""
        if not ids:
            return []
        if at_hand(self.storage):
            return [self.job(id_) for id_ in sorted(ids)]
        return [job for job in self.jobs() if job.id in ids]

    def _complete(self, id_: int, seconds: float) -> None:
        self.do("set_trial_state_values", id_, self.states.COMPLETE, [seconds])

    def _trial(self, state: str, attributes: dict[str, Any]) -> Any:
        return self.optuna.trial.create_trial(state=getattr(self.states, state), user_attrs=attributes)

    # -------------------------------------------------------------------------------------------------------- to lead

    def lead(self, *, sole: bool = False) -> int:
        """Become the one that publishes. Jobs of an earlier leader's own hands fail, what waited is withdrawn.

        Args:
            sole: whether nobody else can lead, as in a journal inside of a folder that is locked.

        Returns:
            The trial that is held; to be given to `lead_beat` and `lead_end`.

        Raises:
            AnotherLeadsError: somebody else leads.
        """
        attributes = {"leader": identity(), "beat": [0, time.time()]}
        own = int(self.do("create_new_trial", self.study, self._trial("RUNNING", attributes)))
        for other in self._leaders():
            if other._trial_id >= own:
                continue
            if not sole and not _gone(other.user_attrs["leader"]) and self._moves(other):
                self.lead_end(own)
                at, process = other.user_attrs["leader"]["host"], other.user_attrs["leader"]["pid"]
                raise AnotherLeadsError(
                    f"study {self.name!r} of {shown(self.url)} is led by another search (on {at}, process {process}); "
                    "join it with `actsmith worker`, or give another study"
                )
            self.lead_end(other._trial_id)
        me = leader_name(own)
        for job in self.jobs("RUNNING", "WAITING"):
            if job.state == "WAITING" or (str(job.worker).startswith(leader_name("")) and job.worker != me):
                self.fail(job, "withdrawn")
        self.set_attribute("leader", own)
        return own

    def lead_beat(self, own: int, count: int) -> None:
        """Say that the leader lives, and what time it is there.

        Raises:
            AnotherLeadsError: somebody took over.
        """
        try:
            self.do("set_trial_user_attr", own, "beat", [count, time.time()])
        except self.optuna.exceptions.UpdateFinishedTrialError:
            raise AnotherLeadsError(
                f"study {self.name!r} of {shown(self.url)}: another search leads it now; this one stops"
            ) from None

    def lead_end(self, own: int) -> None:
        """Lead no longer."""
        with suppress(self.optuna.exceptions.UpdateFinishedTrialError):
            self.do("set_trial_state_values", own, self.states.FAIL)

    def leader_beat(self) -> list[float] | None:
        """The leader's [count, time] as of its last beat; None where nobody leads."""
        own = self.attribute("leader")
        trial = None if own is None else self.do("get_trial", own)
        return None if trial is None or trial.state.is_finished() else trial.user_attrs["beat"]

    def _leaders(self) -> list[Any]:
        running = self.do("get_all_trials", self.study, deepcopy=False, states=(self.states.RUNNING,))
        return [trial for trial in running if "leader" in trial.user_attrs]

    def _moves(self, leader: Any) -> bool:
        """Whether a leader beats within its silence."""
        until, before = time.monotonic() + LEAD_SILENCE, leader.user_attrs["beat"]
        while time.monotonic() < until:
            now = self.do("get_trial", leader._trial_id)
            if now.state.is_finished():
                return False
            if now.user_attrs["beat"] != before:
                return True
            time.sleep(0.5)
        return False


def leader_name(own: int | str) -> str:
    """The worker's name of a leader's own hands."""
    return f"leader {own}"


def study_of(ledger: Ledger, name: str, direction: str) -> int:
    """The study's number in the storage; it is made where there is none."""

    def found_or_made() -> int:
        try:
            return int(ledger.storage.get_study_id_from_name(name))
        except KeyError:
            pass
        with quiet(ledger.optuna), suppress(ledger.optuna.exceptions.DuplicatedStudyError):
            way = ledger.optuna.study.StudyDirection[direction.upper()]
            return int(ledger.storage.create_new_study([way], name))
        return int(ledger.storage.get_study_id_from_name(name))

    return int(patiently(found_or_made, ledger.url))


@contextmanager
def quiet(optuna: Any) -> Iterator[None]:
    """Optuna says on standard error that it made a study; not meanwhile."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def identity() -> dict[str, Any]:
    """Of this process: the machine (of containers their own) and the process's number there."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return {"host": socket.gethostname(), "space": space, "pid": os.getpid()}


def _gone(who: dict[str, Any]) -> bool:
    """Whether a process of this machine has ended; False where it cannot be told."""
    here = identity()
    if (who["host"], who["space"]) != (here["host"], here["space"]) or not who["space"]:
        return False
    try:
        state = Path(f"/proc/{who['pid']}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # killed, and its parent has not looked yet


def _job(trial: Any) -> Job:
    return Job(trial._trial_id, trial.state.name, trial.user_attrs)
