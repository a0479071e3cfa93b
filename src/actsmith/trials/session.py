"""Trials as they run: a runner, a folder that keeps what came out, a pool of hands, and a deadline."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from actsmith.formula.formula import Formula
from actsmith.trials.folder import RunFolder
from actsmith.trials.joining import joined_runner
from actsmith.trials.policy import TuneThenScore
from actsmith.trials.pool import Pool
from actsmith.trials.runner import Place, Runner
from actsmith.trials.setup import pool_of
from actsmith.trials.storage import JOURNAL
from actsmith.trials.trial import History, Trial, digest

__all__ = ["Progress", "Session", "climb", "session", "silent"]

FORMAT = 3
"""Of a run folder's files."""

Progress = Callable[[str, int, int, str], None]


def silent(stage: str, done: int, total: int, message: str) -> None:
    """Progress that nobody sees."""


@dataclass(frozen=True)
class Session:
    """What a search or a comparison works with.

    Attributes:
        runner, folder, pool: who trains, what is kept, with how many hands.
        place: the folder's path and the deadline.
        progress: called with (stage, done, total, message).
    """

    runner: Runner
    folder: RunFolder
    pool: Pool
    place: Place
    progress: Progress

    @property
    def history(self) -> History:
        """All that was tried."""
        return self.folder.all()

    def train(
        self,
        rounds: Sequence[Sequence[Trial]],
        stage: str,
        message: str,
        leader: Callable[[], str] = lambda: "",
        deadline: float | None = None,
    ) -> None:
        """Train what these rounds hold and the folder does not; stops at the deadline.

        Args:
            rounds: whole ones: what is stacked together depends on the round, not on what is left of it.
            stage, message: for the progress.
            leader: what the progress says after each group.
            deadline: an earlier one than the session's.
        """
        place = self.place if deadline is None else replace(self.place, deadline=deadline)
        if place.passed():  # nor is anything measured to choose
            return
        groups = [group for round_ in rounds for group in self.runner.groups(round_)]
        left = [group for group in groups if any(trial.key not in self.history for trial in group)]
        done = len(groups) - len(left)
        self.progress(stage, done, len(groups), message)
        for outcomes in self.pool.run(_until_the_deadline(left, place), place):
            self.folder.put(outcomes)
            done += 1
            self.progress(stage, done, len(groups), f"{outcomes[0].name}{leader()}")


def climb(
    policy: TuneThenScore,
    formulas: Sequence[Formula],
    history: History,
    train: Callable[[Sequence[Sequence[Trial]]], None],
) -> None:
    """Tune rate and scale on, until nothing is better; or until nothing is trained any more, since the time is over.

    Args:
        history: grows as `train` trains.
    """
    while rounds := [trials for f in formulas if (trials := policy.climbing(f, history))]:
        before = len(history)
        train(rounds)
        if len(history) == before:
            return


def _until_the_deadline(groups: Sequence[Sequence[Trial]], place: Place) -> Iterator[Sequence[Trial]]:
    for group in groups:
        if place.passed():
            return
        yield group


@contextmanager
def session(
    runner: Runner,
    path: Path,
    config: dict[str, Any],
    *,
    resume: bool = False,
    workers: int = 1,
    timeout: float | None = None,
    deadline: float | None = None,
    grace: float = 10.0,
    progress: Progress = silent,
    storage: str | Path | None = None,
    study: str | None = None,
    ray: str | None = None,
    request: dict[str, Any] | str | None = None,
) -> Iterator[Session]:
    """Open the folder and the pool.

    Args:
        grace, storage, study, ray: see `pool_of`; a study in a database is named after the folder, and its name is its
            own.
        request: see `actsmith.trials.joining.request_of`; what `actsmith worker` makes its runner from.

    Raises:
        ActsmithError: the folder is in use, or holds another run; `resume`, and it holds none.
    """
    with RunFolder(path, {"format": FORMAT, **config}, resume=resume, must_exist=resume) as folder:
        runner.remember(folder.once)
        if storage is not None and study is None:
            study = folder.once("study", lambda: f"{path.name}-{os.urandom(3).hex()}")
            progress("look", 0, 1, f"study {study}: join it with actsmith worker --storage URL --study {study}")
        if not resume:  # begun, and ended before there was a result
            (path / JOURNAL).unlink(missing_ok=True)
        whole = {
            "run": digest(folder.config), "name": runner.name, "context": runner.context, "request": request,
            "metric": {"name": runner.metric.name, "better": runner.metric.better},
        }  # fmt: skip
        with pool_of(
            runner, path, workers, timeout, grace, storage=storage, study=study, ray=ray, resume=resume, config=whole,
            elsewhere=partial(joined_runner, request, runner.context) if isinstance(request, dict) else None,
        ) as pool:  # fmt: skip
            yield Session(runner, folder, pool, Place(path, deadline), progress)
