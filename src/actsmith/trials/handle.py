"""What a user's training function is given as `trial`.

def train(net, trial):
    optimizer = torch.optim.AdamW(net.parameters(), lr=trial.rate(1e-3))
    for epoch in trial.epochs(30, net, optimizer):
        ...
        trial.report(accuracy)
"""

from __future__ import annotations

import pickle
import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actsmith.errors import ActsmithError
from actsmith.training.checkpoint import Checkpoint
from actsmith.trials.runner import Place
from actsmith.trials.trial import Trial

__all__ = ["Ended", "Epochs", "Handle", "generators", "scores_of", "seed_all", "set_generators"]

SAVED = 20.0
"""Seconds between two saves, at least."""


class Ended(BaseException):  # a script that catches Exception does not catch it
    """The deadline passed: the training ends, what it saved is kept."""


class Handle:
    """One training of the user's own loop.

    Attributes:
        seed: of this training. Python's, NumPy's and torch's generators have it already.
        folder: of this training alone, the same when it goes on after an interruption.
        metric: the name of the score by which trainings are compared.
    """

    def __init__(self, trial: Trial, place: Place, metric: str, folder: Path) -> None:
        self.seed, self.folder = trial.seed, folder
        self.asked: set[str] = set()
        self.reports: list[dict[str, float]] = []
        self.stopped = False
        self.before = 0.0  # seconds of the runs that were interrupted
        self.began = time.perf_counter()
        self.metric, self._trial, self._place = metric, trial, place
        self._checkpoint = Checkpoint(folder / "progress.pt", trial.key, SAVED)

    def rate(self, default: float) -> float:
        """The learning rate to use: your own, times a factor that is tuned for each activation.

        Args:
            default: what the script uses by itself.
        """
        self.asked.add("rate")
        return default * self._trial.rate

    @property
    def share(self) -> float:
        """The share of your training examples to use, 1 unless this is a cheap first look."""
        self.asked.add("share")
        return self._trial.examples

    @property
    def ending(self) -> bool:
        """Whether the time is over: end the training, keep what you need to go on."""
        self.stopped |= self._place.passed()
        return self.stopped

    def epochs(self, count: int, *keep: Any, first: int = 0) -> Epochs:
        """The numbers of the epochs to train: 0 ... count - 1, fewer only where short trainings were found to rank.

        Args:
            count: how many the script trains by itself.
            keep: what the next epoch starts from (network, optimiser, scheduler: whatever has `state_dict` and
                `load_state_dict`). It is saved in `folder` now and then, and an interrupted training goes on from there
                as if it had never stopped, the generators too. Without it, it begins anew.
            first: where a script that keeps its state itself, in `folder`, goes on.
        """
        self.asked.add("epochs")
        return Epochs(self, max(round(self._trial.length * count), 1), keep, first)

    def report(self, score: float | Mapping[str, Any]) -> None:
        """Say how good the network is by now. The last report counts where the training returns nothing.

        Args:
            score: of the metric, or a dictionary in which it is a key.
        """
        if self.note(score):
            raise Ended

    def note(self, score: float | Mapping[str, Any]) -> bool:
        """`report` for a loop that is not yours: returns whether the time is over instead of ending the training."""
        self.reports.append(scores_of(score, self.metric, "trial.report"))
        return self.ending

    @property
    def seconds(self) -> float:
        """Since the training began, without the time that it was interrupted for."""
        return self.before + time.perf_counter() - self.began

    def load(self, keep: tuple[Any, ...]) -> int:
        """Take up what was saved; returns the epoch that comes next, 0 where nothing was."""
        try:
            saved = self._checkpoint.load() if keep else None
        except (OSError, RuntimeError, pickle.UnpicklingError):  # of another torch, or no plain tensors
            saved = None
        if saved is None:
            return 0
        for thing, state in zip(keep, saved["states"], strict=True):
            thing.load_state_dict(state)
        self.reports, self.before = saved["reports"], saved["seconds"]
        self.began = time.perf_counter()
        set_generators(saved["generators"])
        return int(saved["epoch"]) + 1

    def save(self, epoch: int, keep: tuple[Any, ...], at_once: bool = False) -> None:
        """After an epoch; not where it was done a moment ago."""
        if keep and (at_once or self._checkpoint.due()):
            states = [thing.state_dict() for thing in keep]
            self._checkpoint.save({
                "epoch": epoch, "states": states, "reports": self.reports, "seconds": self.seconds,
                "generators": generators(),
            })  # fmt: skip

    def finish(self) -> None:
        """The training is over: what was saved to go on is removed."""
        self._checkpoint.remove()


class Epochs:
    """The epochs of a training, in a `for` loop; `len` is how many there are in all, as a scheduler wants to know."""

    def __init__(self, handle: Handle, count: int, keep: tuple[Any, ...], first: int) -> None:
        for thing in keep:
            if not (hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict")):
                raise ActsmithError(
                    f"trial.epochs: got a {type(thing).__name__} to keep; expected what has state_dict and "
                    "load_state_dict: networks, optimisers, schedulers"
                )
        self.handle, self.count, self.keep, self.first = handle, count, keep, first

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        handle = self.handle
        for epoch in range(max(self.first, handle.load(self.keep)), self.count):
            yield epoch
            if epoch + 1 < self.count:  # the last epoch is trained again rather than left out of the script's sight
                handle.save(epoch, self.keep, at_once=handle.ending)
                if handle.stopped:
                    raise Ended


def scores_of(value: Any, metric: str, where: str) -> dict[str, float]:
    """Name -> number, of what a script gave as its score.

    Raises:
        ActsmithError: it is no number, nor a dictionary with the metric's.

    Example:
        >>> scores_of({"val": torch.tensor(0.5), "epoch": 3, "note": "x"}, "val", "train")
        {'val': 0.5, 'epoch': 3.0}
    """
    given = value if isinstance(value, Mapping) else {metric: value}
    found = {str(name): number for name, v in given.items() if (number := _number(v)) is not None}
    if metric not in found:
        got = f"keys {', '.join(map(repr, given))}" if isinstance(value, Mapping) else f"a {type(value).__name__}"
        raise ActsmithError(f"{where}: got {got}; expected a number, or a dictionary with a number under {metric!r}")
    return found


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, str) else float(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def seed_all(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators, of every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (what a user's script may draw from)
    torch.manual_seed(seed)


def generators() -> dict[str, Any]:
    """The state of the global generators, as plain values and tensors."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    found = {"python": random.getstate(), "numpy": [name, np.asarray(keys).tolist(), *rest]}
    used = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if used else []
    return {**found, "torch": torch.get_rng_state(), "cuda": cuda}


def set_generators(state: Mapping[str, Any]) -> None:
    """Back to what `generators` gave."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.asarray(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
