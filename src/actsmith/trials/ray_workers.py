"""A pool whose hands are actors on a Ray cluster: as many as it has cores, more when nodes come, fewer when they go.

Only Ray's core is used, to place workers and to carry groups and outcomes. A node that is lost takes its actors with
it: their groups are trained again, elsewhere.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from actsmith.errors import ActsmithError, require
from actsmith.files import to_json, write_atomically
from actsmith.training.fit import Stopped
from actsmith.trials.measured import MEASURED, measured
from actsmith.trials.runner import Place, Runner
from actsmith.trials.store import UnkeptError
from actsmith.trials.tracebacks import kept_traceback, told_traceback
from actsmith.trials.trial import Outcome, Trial
from actsmith.trials.worker import attempt, why_broken

__all__ = ["RayPool"]

CORES = 1
"""Of a node, that an actor takes."""
TRIES = 3
"""How often a group is trained whose actors die; nodes go for reasons of their own."""
LOOK = 1.0
"""Seconds between two looks at the cluster, at most."""
Made = Callable[[Path], Runner]


class _Hand:
    """One actor: makes its runner once, and trains what it gets."""

    def __init__(self, make_runner: Made) -> None:
        import torch

        torch.set_num_threads(CORES)
        self.folder = Path(tempfile.mkdtemp(prefix="actsmith-"))
        self.make_runner = make_runner
        self.runner: Runner | None = None

    def ready(self, known: Any) -> str | None:
        """Make the runner; why that is not possible."""
        write_atomically(self.folder / MEASURED, to_json(known))
        try:
            self.runner = self.make_runner(self.folder)
        except Exception as error:
            return why_broken(error)
        return None

    def train(self, group: Sequence[Trial], deadline: float | None, known: Any) -> list[Outcome]:
        """The group's outcomes; none where the deadline stopped it."""
        assert self.runner is not None
        write_atomically(self.folder / MEASURED, to_json(known))
        try:
            found = attempt(self.runner, group, Place(self.folder, deadline))
        except Stopped:
            return []
        return [told_traceback(outcome, self.folder) for outcome in found]


@dataclass
class _Task:
    """A group and the actor that has it; `began` once it trains."""

    group: list[Trial]
    actor: Any
    deaths: int
    began: float | None = None


class RayPool:
    """See above; `actsmith.trials.testing.PoolContract` holds.

    Args:
        address: of the cluster, as `ray.init` takes it: "auto", "ray://HOST:10001", HOST:PORT; "local" starts one here.
        make_runner: makes the runner in each actor, which gives it a folder of its own; Ray sends the function there.
        timeout, grace: as `Processes` takes them.

    Raises:
        ActsmithError: Ray is missing, or there is no such cluster.
    """

    def __init__(self, address: str, make_runner: Made, *, timeout: float | None = None, grace: float = 10.0) -> None:
        self.ray = require("ray", "cluster", "ray")
        self.make_runner, self.timeout, self.grace = make_runner, timeout, grace
        self.own = not self.ray.is_initialized()
        if self.own:
            try:
                self.ray.init(address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
            except (ConnectionError, OSError, RuntimeError, ValueError) as error:
                why = str(error).strip().partition("\n")[0]
                raise ActsmithError(f"ray: no cluster at {address!r}: {why}") from None
        self.hand = self.ray.remote(num_cpus=CORES, max_restarts=0)(_Hand)
        self.idle: list[Any] = []
        self.tasks: dict[Any, _Task] = {}
        self.lost: deque[tuple[list[Trial], int]] = deque()

    def run(self, groups: Iterable[Sequence[Trial]], place: Place) -> Iterator[list[Outcome]]:
        """See `Pool`.

        Raises:
            ActsmithError: an actor cannot make its runner, and why.
            JobError: an actor's disk is full.
        """
        rest: Iterator[Sequence[Trial]] = iter(groups)
        try:
            while True:
                if not place.passed():
                    self._hand_out(rest, place)
                if not self.tasks or (place.deadline is not None and time.time() > place.deadline + self.grace):
                    return
                done, _ = self.ray.wait(list(self.tasks), num_returns=1, timeout=LOOK)
                for reference in done:
                    outcomes = self._look_at(reference, place)
                    if outcomes:
                        yield [kept_traceback(outcome, place.folder) for outcome in outcomes]
                for outcomes in self._overdue():
                    yield outcomes
        finally:
            for reference in list(self.tasks):
                self._kill(self.tasks.pop(reference).actor)
            self.lost.clear()

    def _hand_out(self, rest: Iterator[Sequence[Trial]], place: Place) -> None:
        while self.idle or len(self.tasks) < self._cores():
            waits = next((r for r, t in self.tasks.items() if t.began is None), None) if self.idle else None
            if waits is not None:  # for a node, perhaps; the idle one is there
                task = self.tasks.pop(waits)
                self._kill(task.actor)
                self._begin(self.idle.pop(), task.group, task.deaths, place)
                continue
            group, deaths = self.lost.popleft() if self.lost else (next(rest, None), 0)
            if group is None:
                return
            if self.idle:
                self._begin(self.idle.pop(), group, deaths, place)
                continue
            actor = self.hand.remote(self.make_runner)
            self.tasks[actor.ready.remote(measured(place.folder))] = _Task(list(group), actor, deaths)

    def _begin(self, actor: Any, group: Sequence[Trial], deaths: int, place: Place) -> None:
        reference = actor.train.remote(list(group), place.deadline, measured(place.folder))
        self.tasks[reference] = _Task(list(group), actor, deaths, time.monotonic())

    def _look_at(self, reference: Any, place: Place) -> list[Outcome]:
        """What became of a task that is done."""
        task = self.tasks.pop(reference)
        try:
            found = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            return self._died(task, error)
        if task.began is not None:
            self.idle.append(task.actor)
            outcomes: list[Outcome] = found
            return outcomes
        if found is not None:
            raise ActsmithError(found)
        if place.passed():
            self.idle.append(task.actor)
        else:
            self._begin(task.actor, task.group, task.deaths, place)
        return []

    def _died(self, task: _Task, error: Exception) -> list[Outcome]:
        self._kill(task.actor)
        cause = getattr(error, "cause", None)
        if isinstance(cause, UnkeptError):
            raise UnkeptError(str(cause))
        if task.deaths + 1 < TRIES:
            self.lost.append((task.group, task.deaths + 1))
            return []
        why = str(error).strip().partition("\n")[0]
        reason = f"its actor ended {TRIES} times: {type(error).__name__}: {why}"
        return [Outcome(trial, reason=reason) for trial in task.group]

    def _overdue(self) -> Iterator[list[Outcome]]:
        for reference, task in list(self.tasks.items()):
            limit = None if self.timeout is None else self.timeout * len(task.group)
            if limit is not None and task.began is not None and time.monotonic() - task.began > limit:
                self._kill(self.tasks.pop(reference).actor)
                reason = f"ended after {limit:g} s (--trial-timeout)"
                yield [Outcome(trial, seconds=limit / len(task.group), reason=reason) for trial in task.group]

    def _cores(self) -> int:
        """Actors that the cluster has room for, now."""
        return int(self.ray.cluster_resources().get("CPU", 0)) // CORES

    def _kill(self, actor: Any) -> None:
        self.ray.kill(actor, no_restart=True)

    def close(self) -> None:
        """See `Pool`."""
        while self.idle:
            self._kill(self.idle.pop())
        if self.own and self.ray.is_initialized():
            self.ray.shutdown()
        self.own = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
