"""Where outcomes are kept. `actsmith.trials.testing.StoreContract` is what every store must pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from actsmith.errors import JobError
from actsmith.trials.trial import History, Outcome

__all__ = ["Leases", "MemoryStore", "Store", "UnkeptError", "unkept"]


class Store(Protocol):
    """Keeps outcomes; says who works on what."""

    def all(self) -> History:
        """Every outcome that was put."""

    def claim(self, key: str, worker: str, lease: float) -> bool:
        """Take a trial for `lease` seconds: False where it has an outcome, or another worker's lease still runs."""

    def put(self, outcomes: Iterable[Outcome]) -> None:
        """Keep outcomes, all of them or none; when this returns they outlive the process, where the store does.

        The same outcome put twice counts once.
        """


class Leases:
    """Claims of the workers of one process: each holds for a time.

    Args:
        clock: seconds, rising.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.held: dict[str, tuple[str, float]] = {}

    def claim(self, key: str, worker: str, lease: float) -> bool:
        """False where another's lease still runs; one's own is renewed."""
        holder, until = self.held.get(key, (worker, 0.0))
        now = self.clock()
        if holder != worker and now < until:
            return False
        self.held[key] = (worker, now + lease)
        return True

    def release(self, key: str) -> None:
        """The trial has its outcome."""
        self.held.pop(key, None)


class MemoryStore:
    """Keeps outcomes for as long as the process lives."""

    def __init__(self, leases: Leases | None = None) -> None:
        self.history, self.leases = History(), leases or Leases()

    def all(self) -> History:
        """Every outcome that was put."""
        return self.history

    def claim(self, key: str, worker: str, lease: float) -> bool:
        """See `Store`."""
        return key not in self.history and self.leases.claim(key, worker, lease)

    def put(self, outcomes: Iterable[Outcome]) -> None:
        """See `Store`."""
        for outcome in list(outcomes):
            self.history.add(outcome)
            self.leases.release(outcome.trial.key)


class UnkeptError(JobError):
    """What a training leaves cannot be written: says nothing about its activation, and ends the run."""


def unkept(path: Path, error: OSError) -> str:
    """The message where `path` cannot be written."""
    return (
        f"run: {str(path)!r} cannot be written: {error.strerror}; mend that and go on with the run: what was finished "
        "is kept"
    )
