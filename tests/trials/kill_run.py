"""What is killed in test_kills.py: a search that leads (`parent`), and a worker that joins it (`worker`).

They are forked instead of started, and so are the processes that train: a kill costs milliseconds then, not the seconds
in which torch is imported, and most kills meet who works.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from databases import wait_for

from actsmith.formula.catalogue import resolve
from actsmith.trials import hands, storage
from actsmith.trials import pool as pool_module
from actsmith.trials.folder import RunFolder
from actsmith.trials.ledger import Ledger
from actsmith.trials.ledger_pool import LedgerPool
from actsmith.trials.pool import Here
from actsmith.trials.runner import Place
from actsmith.trials.session import Session, silent
from actsmith.trials.testing import SumRunner
from actsmith.trials.trial import Outcome, Trial, digest

ROUNDS, EACH, SLEEP = 20, 30, 0.1
NAMES = ("relu", "gelu", "silu", "mish", "elu")
BEAT, SILENCE = 0.3, 2.0


class Sleeper(SumRunner):
    """A score that only the trial decides, after a moment."""

    sleep = SLEEP

    def run(self, group: Sequence[Trial], place: Place) -> list[Outcome]:
        time.sleep(self.sleep)
        return [Outcome(t, {"score": int(t.key, 16) % 10_000 / 100}) for t in group]

    def maker(self, folder: Path) -> Callable[[], SumRunner]:
        return Sleeper


class Quick(Sleeper):
    sleep = 0.0


def search(run: Session) -> None:
    """Rounds, each of which the outcomes before it decide: as a search with --trials N."""
    rate = 1.0
    for number in range(ROUNDS):
        asked = [
            Trial("sum", resolve(NAMES[i % len(NAMES)]), f"round {number}", rate, i, context="c") for i in range(EACH)
        ]
        run.train([asked], "explore", "")
        best = max((run.history[t.key] for t in asked), key=lambda o: o.validation["score"] or 0.0)
        rate = 1.0 + int(digest([best.trial.key]), 16) % 1000 / 1000


def undisturbed(folder: Path) -> None:
    with RunFolder(folder, {"search": "kills"}, resume=False) as kept:
        search(Session(Quick(), kept, Here(Quick()), Place(folder), silent))


def parent(folder: Path, url: str, study: str) -> None:
    """Begin, or go on."""
    with _unlocked(folder) as kept:
        pool = LedgerPool(
            url, study, Sleeper, workers=1, threads=1, config={"run": "kills"}, sole=url == str(folder), silence=SILENCE
        )
        with pool:
            search(Session(Sleeper(), kept, pool, Place(folder), silent))


def _unlocked(folder: Path) -> RunFolder:
    """A training that was forked holds its parent's lock for the moment by which it outlives it."""
    wait_for(lambda: not locked(folder))
    return RunFolder(folder, {"search": "kills"}, resume=(folder / "config.json").exists())


def locked(folder: Path) -> bool:
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def worker(folder: Path, url: str, study: str) -> None:
    """Join, once the study is there."""
    hands.BEAT, hands.LOOK = BEAT, BEAT
    folder.mkdir(parents=True, exist_ok=True)
    while not (ledger := Ledger(url, study)).join():
        time.sleep(0.05)
    with closing(hands.Hands(ledger, Sleeper, folder, threads=1, wait=300)) as own:
        own.work()


def forked(function: Callable[..., None], log: Path, *arguments: Any) -> Any:
    """A process that does it, and writes what it says to `log`."""
    process = multiprocessing.get_context("fork").Process(target=_forked, args=(function, log, *arguments))
    process.start()
    return process


def _forked(function: Callable[..., None], log: Path, *arguments: Any) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    pool_module.multiprocessing = Forking  # type: ignore[assignment]
    storage.REACHED = 120.0
    function(*arguments)


class Forking:
    """In the place of `multiprocessing`."""

    @staticmethod
    def get_context(_: str) -> Any:
        return multiprocessing.get_context("fork")
