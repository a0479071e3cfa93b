"""Processes to be killed: a search that leads (`parent`), and a worker that joins it (`hands`); see test_kills.py.

python kill_run.py parent FOLDER URL STUDY WORKERS
python kill_run.py hands URL STUDY FOLDER
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from actsmith.formula.catalogue import resolve
from actsmith.trials import hands
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


def parent(folder: Path, url: str, study: str, workers: int) -> None:
    with RunFolder(folder, {"search": "kills"}, resume=(folder / "config.json").exists()) as kept:
        pool = LedgerPool(
            url, study, Sleeper if workers else None, workers=workers, threads=1, config={"run": "kills"},
            sole=Path(url) == folder, silence=SILENCE,
        )  # fmt: skip
        with pool:
            search(Session(Sleeper(), kept, pool, Place(folder), silent))


def undisturbed(folder: Path) -> None:
    class Quick(Sleeper):
        sleep = 0.0

    with RunFolder(folder, {"search": "kills"}, resume=False) as kept:
        search(Session(Quick(), kept, Here(Quick()), Place(folder), silent))


def worker(url: str, study: str, folder: Path) -> None:
    hands.BEAT, hands.LOOK = BEAT, BEAT
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(url, study)
    while not ledger.join():
        time.sleep(0.2)
    with closing(hands.Hands(ledger, Sleeper, folder, threads=1, wait=300)) as own:
        own.work()


if __name__ == "__main__":
    what, first, second, third = sys.argv[1:5]
    if what == "parent":
        parent(Path(first), second, third, int(sys.argv[5]))
    else:
        worker(first, second, Path(third))
