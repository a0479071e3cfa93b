"""Who trains: this process (`Here`), or worker processes that stay alive between trainings (`Processes`).

    with Processes(partial(make_runner, ...), workers=2, timeout=600) as pool:
        for outcomes in pool.run(groups, place):
            store.put(outcomes)

`actsmith.trials.testing.PoolContract` is what every pool must pass.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.util import Finalize
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import torch

from actsmith.errors import ActsmithError
from actsmith.training.fit import Stopped
from actsmith.trials.runner import Place, Runner
from actsmith.trials.store import UnkeptError
from actsmith.trials.trial import Outcome, Trial
from actsmith.trials.worker import UNGUARDED, attempt, end_group, leave_if_importing, work

__all__ = ["Here", "Pool", "Processes", "leave_if_importing"]

FAULTS = ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT")
TRIES, TRIES_OUTSIDE = 2, 3
"""How often a group is trained whose worker dies of it, or is killed from outside."""
LEAVING = 1.0
"""Seconds that idle workers have to end by themselves: what they did is kept already, and a budget waits for them."""
LOOK = 1.0
"""Seconds after which workers are looked at, whether one said something or not."""


class Pool(Protocol):
    """Trains groups of trials."""

    def run(self, groups: Iterable[Sequence[Trial]], place: Place) -> Iterator[list[Outcome]]:
        """The outcomes of each group, as they come.

        The next group is asked for when somebody is free to train it, after the outcomes so far were given out. A group
        that fails has outcomes with a reason; one that the deadline stops has none, and none is begun after it.
        """

    def close(self) -> None:
        """End what was started. The pool may be closed twice."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _Closing:
    def close(self) -> None:
        """See `Pool`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Here(_Closing):
    """Trains in this process, one group after another. Nothing can end a training that hangs.

    Args:
        runner: what trains.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def run(self, groups: Iterable[Sequence[Trial]], place: Place) -> Iterator[list[Outcome]]:
        """See `Pool`."""
        rest = iter(groups)
        while not place.passed() and (group := next(rest, None)) is not None:
            try:
                outcomes = attempt(self.runner, group, place)
            except Stopped:
                return
            yield outcomes


@dataclass
class _Job:
    group: list[Trial]
    deaths: int = 0


class _Worker:
    """A process, and what it is training."""

    def __init__(self, made: bytes, threads: int, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        # Not a daemon: a training may start processes, as a DataLoader does.
        self.process = context.Process(target=work, args=(theirs, made, threads), name=f"actsmith worker {number}")
        self.process.start()
        theirs.close()
        self.ready = False
        self.job: _Job | None = None
        self.began: float | None = None
        self.memory_kills = memory_kills()

    @property
    def ended(self) -> bool:
        return self.process.exitcode is not None

    def begin(self, place: Place) -> None:
        """Send the job, if there is one and it can be read."""
        if self.job is not None and self.ready:
            self.began, self.memory_kills = time.monotonic(), memory_kills()
            with contextlib.suppress(OSError):  # it ended; that is seen next
                self.pipe.send((self.job.group, place))

    def messages(self) -> list[tuple[str, Any]]:
        """What it said since."""
        found = []
        try:
            while self.pipe.poll():
                found.append(self.pipe.recv())
        except (EOFError, OSError):
            pass
        return found

    def end(self) -> None:
        """At once."""
        end_group(self.process)
        self.pipe.close()


class Processes(_Closing):
    """Trains in worker processes, which start when there is work and stay alive until the pool is closed.

    A worker that dies (killed, a fault in compiled code, no memory) is replaced and its group trained once more, twice
    where the worker was killed from outside; if it dies again, the outcome says how. Trials have the outcomes that they
    have in this process: nothing in them depends on who trains what, so long as torch uses as many threads.

    Args:
        make_runner: makes the runner in each worker: a function at the top of a module or script, or a
            `functools.partial` of one, since it is found there by its name.
        workers: how many.
        threads: of torch in each; by default all cores divided by the workers, and no more than this process has (as
            OMP_NUM_THREADS or torch.set_num_threads say).
        timeout: seconds that a training may take; a group has as many times that as it has trials.
        grace: seconds after the deadline at which trainings that did not stop by themselves are ended.

    Raises:
        ActsmithError: no workers, a time that is not positive, or a function that has no name to be found by.
    """

    def __init__(
        self,
        make_runner: Callable[[], Runner],
        workers: int,
        threads: int | None = None,
        timeout: float | None = None,
        grace: float = 10.0,
    ) -> None:
        leave_if_importing()
        if workers < 1 or (timeout is not None and not timeout > 0):
            raise ActsmithError(f"pool: got workers={workers}, timeout={timeout}; expected 1 or more, and a time")
        try:
            self.made = pickle.dumps(make_runner)
        except Exception as error:
            raise ActsmithError(
                f"pool: what the workers should run cannot be sent to them ({error}); define it at the top of a module "
                "or script, not inside of a function or as a lambda"
            ) from None
        self.workers, self.timeout, self.grace = workers, timeout, grace
        self.threads = threads or max(min(cores() // workers, torch.get_num_threads()), 1)
        self.started = 0
        self._workers: list[_Worker] = []
        # Before multiprocessing waits, when the interpreter ends, for workers that wait for work.
        self._finalizer = Finalize(self, _end_all, (self._workers,), exitpriority=10)

    def run(self, groups: Iterable[Sequence[Trial]], place: Place) -> Iterator[list[Outcome]]:
        """See `Pool`.

        Raises:
            ActsmithError: a worker cannot start: the message says how to mend that.
            JobError: the disk is full, or the run folder cannot be written.
        """
        with contextlib.closing(self.ticks(iter(groups), place)) as ticks:
            for _, outcomes in ticks:
                if outcomes:
                    yield outcomes

    def ticks(
        self, rest: Iterator[Sequence[Trial]], place: Place, *, eager: bool = False
    ) -> Generator[tuple[Sequence[Trial], list[Outcome] | None]]:
        """As `run`, each group with its outcomes, [] where it stopped; and about once a second ((), None), so that who
        listens can do something else meanwhile.

        Args:
            rest: may have no next one now and one later: it is asked again at every tick until nobody trains.
            place: see `Place`.
            eager: ask for the next group before outcomes are given out: who listens may take its time.

        Raises:
            ActsmithError: a worker cannot start: the message says how to mend that.
        """
        again: deque[_Job] = deque()
        try:
            while True:
                if not place.passed():
                    self._hand_out(rest, again, place)
                busy = [worker for worker in self._workers if worker.job is not None]
                if not busy or (place.deadline is not None and time.time() > place.deadline + self.grace):
                    return
                wait([*(w.pipe for w in busy), *(w.process.sentinel for w in busy)], self._patience(busy, place))
                for worker in busy:
                    group = worker.job.group if worker.job is not None else []
                    outcomes = self._look_at(worker, again, place)
                    if outcomes is None:
                        continue
                    if eager and not place.passed():
                        self._hand_out(rest, again, place)
                    yield group, outcomes
                yield (), None
        finally:  # the deadline, an error, Ctrl-C, or nobody wants the rest
            for worker in [w for w in self._workers if w.job is not None]:
                self._discard(worker)

    def _hand_out(self, rest: Iterator[Sequence[Trial]], again: deque[_Job], place: Place) -> None:
        for worker in [w for w in self._workers if w.job is None and w.ended]:
            self._discard(worker)
        while len(self._workers) < self.workers or any(w.job is None for w in self._workers):
            if again:
                job = again.popleft()
            elif (group := next(rest, None)) is not None:
                job = _Job(list(group))
            else:
                return
            idle = None if job.deaths else next((w for w in self._workers if w.job is None), None)
            worker = idle or self._another()
            worker.job = job
            worker.begin(place)

    def _another(self) -> _Worker:
        """A fresh worker, in the place of an idle one where all places are taken."""
        if len(self._workers) == self.workers:
            self._discard(next(w for w in self._workers if w.job is None))
        self.started += 1
        self._workers.append(_Worker(self.made, self.threads, self.started))
        return self._workers[-1]

    def _look_at(self, worker: _Worker, again: deque[_Job], place: Place) -> list[Outcome] | None:
        """What became of the worker's job, [] where it stopped; None where nothing has yet."""
        ended, job = worker.ended, worker.job  # before what it said: its last word may lie in the pipe
        assert job is not None
        for kind, value in worker.messages():
            if kind == "broken":
                raise ActsmithError(value)
            if kind == "unkept":
                raise UnkeptError(value)
            if kind == "ready":
                worker.ready = True
                if place.passed():
                    worker.job = None
                    return []
                worker.begin(place)
                continue
            worker.job = worker.began = None
            found: list[Outcome] = value if kind == "done" else []
            return found
        if ended:
            code = worker.process.exitcode
            before, now = worker.memory_kills, memory_kills()
            memory = None if before is None or now is None else now > before
            self._discard(worker)
            return self._died(worker, job, code or 0, memory, again)
        limit = None if self.timeout is None else self.timeout * len(job.group)
        if limit is not None and worker.began is not None and time.monotonic() - worker.began > limit:
            self._discard(worker)
            reason = f"ended after {limit:g} s (--trial-timeout)"
            return [Outcome(trial, seconds=limit / len(job.group), reason=reason) for trial in job.group]
        return None

    def _died(
        self, worker: _Worker, job: _Job, code: int, memory: bool | None, again: deque[_Job]
    ) -> list[Outcome] | None:
        if not worker.ready and code >= 0:
            raise ActsmithError(_no_start(code))
        job.deaths += 1
        if job.deaths < (TRIES if code >= 0 or memory or _faulty(code) else TRIES_OUTSIDE):
            again.append(job)
            return None
        times = "twice" if job.deaths == TRIES else f"{job.deaths} times"
        reason = f"its worker process ended {times}: {ending(code, memory)}"
        return [Outcome(trial, reason=reason) for trial in job.group]

    def _patience(self, busy: Sequence[_Worker], place: Place) -> float:
        """Seconds until something is to be done although no worker says anything."""
        times = [LOOK]
        if place.deadline is not None:
            times.append(place.deadline + self.grace - time.time())
        if self.timeout is not None:
            now = time.monotonic()
            times += [w.began + self.timeout * len(w.job.group) - now for w in busy if w.began and w.job]
        return max(min(times), 0.0) + 0.01

    def _discard(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.end()

    def close(self) -> None:
        """See `Pool`. Idle workers have a moment to end by themselves."""
        for worker in self._workers:
            worker.pipe.close()
        until = time.monotonic() + LEAVING
        for worker in self._workers:
            if worker.job is None and worker.ready:
                worker.process.join(max(until - time.monotonic(), 0.0))
        _end_all(self._workers)


def _end_all(workers: list[_Worker]) -> None:
    while workers:
        workers.pop().end()


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_kills() -> int | None:
    """How many processes the system has ended for want of memory (only a difference means anything); None where it does
    not say."""
    counts = []
    for path in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        counts += [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
    return sum(counts) if counts else None


def ending(code: int, memory: bool | None) -> str:
    """How a process ended, in words.

    Args:
        code: its exit code as `multiprocessing` gives it: minus the signal that ended it.
        memory: whether the system ended one for want of memory meanwhile; None where it does not say.

    Example:
        >>> ending(-11, memory=False)
        'SIGSEGV, a fault in compiled code'
        >>> ending(3, memory=False)
        'it left with status 3'
    """
    if code >= 0:
        return f"it left with status {code}"
    name = signal.Signals(-code).name
    if _faulty(code):
        return f"{name}, a fault in compiled code"
    if name == "SIGKILL" and memory is not False:
        return f"{name}, for want of memory" if memory else f"{name}, from outside or for want of memory"
    return f"{name}, from outside"


def _faulty(code: int) -> bool:
    return code < 0 and signal.Signals(-code).name in FAULTS


def _no_start(code: int) -> str:
    path = getattr(sys.modules["__main__"], "__file__", None) or "the main module"
    guard = 'put what it runs under `if __name__ == "__main__":`'
    if code == UNGUARDED:
        return f"pool: {path} starts the search again in every worker process, which imports it; {guard}"
    return (
        f"pool: a worker process ended with status {code} while it imported {path} (its own message stands above); the "
        f"file must be importable without running anything: {guard}"
    )
