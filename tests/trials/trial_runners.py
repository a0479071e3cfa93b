"""Runners, and a user's functions, that worker processes import."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from actsmith.tasks.flat import FlatImages
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.task import Task
from actsmith.training.recipe import Recipe
from actsmith.trials.handle import Handle
from actsmith.trials.runner import Place
from actsmith.trials.testing import SumRunner
from actsmith.trials.trial import Outcome, Trial


class Mishaps(SumRunner):
    """What can go wrong with a process, by the trial's stage."""

    def run(self, group: Sequence[Trial], place: Place) -> list[Outcome]:
        assert place.folder is not None
        (trial,) = group
        first = place.folder / f"{trial.key}.begun"
        again = first.exists()
        first.write_text(str(os.getpid()))
        if trial.stage == "dies" or (trial.stage == "dies once" and not again):
            os.kill(os.getpid(), signal.SIGKILL)
        if trial.stage == "faults":
            os.kill(os.getpid(), signal.SIGSEGV)
        if trial.stage == "leaves":
            os._exit(3)
        if trial.stage == "hangs":
            child = subprocess.Popen(["sleep", "600"])
            (place.folder / "child").write_text(str(child.pid))
            time.sleep(600)
        return [Outcome(trial, {"score": float(os.getpid())})]


class FullDisk(SumRunner):
    """Its trainings of stage "full" meet a full disk, those of "refused" a folder that they may not write."""

    def run(self, group: Sequence[Trial], place: Place) -> list[Outcome]:
        if group[0].stage == "full":
            try:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                raise RuntimeError("something about an archive") from None
        if group[0].stage == "refused":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place.folder) + "/checkpoints/x")
        if group[0].stage == "own":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/somewhere/else")
        return super().run(group, place)

    def maker(self, folder: Path) -> Callable[[], SumRunner]:
        return FullDisk


def unmakeable() -> SumRunner:
    raise FileNotFoundError("no data here")


def small_task() -> Task:
    """The digits in a second or less."""
    return Task("digits", FlatImages("digits"), Mlp(16, 2), Recipe(2, 64))


# ------------------------------------------------------------------------------------------------------- user functions

X = torch.linspace(-3, 3, 64).view(-1, 1)
Y = torch.sin(2 * X)


class FunctionNet(nn.Module):
    """Its activation is a call of a function."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1, 16), nn.Linear(16, 1)

    def forward(self, x: Tensor, *, scale: float = 1.0) -> Tensor:
        hidden: Tensor = torch.nn.functional.gelu(self.first(x))
        out: Tensor = scale * self.second(hidden)
        return out


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))


def function_model() -> nn.Module:
    return FunctionNet()


def fit(net: nn.Module, trial: Handle, epochs: int = 5, after: Any = None) -> float:
    """Minibatches in a random order, with noise from every generator."""
    import random

    import numpy as np

    optimizer = torch.optim.SGD(net.parameters(), lr=trial.rate(0.05), momentum=0.9)
    error = math.nan
    for epoch in trial.epochs(epochs, net, optimizer):
        for batch in torch.randperm(64).split(16):
            optimizer.zero_grad()
            noise = 1e-3 * (random.random() + float(np.random.rand()) + torch.rand(()))  # noqa: NPY002
            loss = (net(X[batch]) - Y[batch]).square().mean() + noise * net(X[batch]).mean()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            error = (net(X) - Y).square().mean().item()
        print("epoch", epoch, error)
        trial.report(error)
        if after is not None:
            after(epoch)
    return error


def train(net: nn.Module, trial: Handle) -> dict[str, Any]:
    return {"error": fit(net, trial), "note": "text is left out", "twice": torch.tensor(2.0)}


def test(net: nn.Module) -> float:
    if os.environ.get("ACTSMITH_NO_TEST"):
        raise AssertionError("the test split was read")
    with torch.no_grad():
        return (net(-X) + Y).square().mean().item()


test.__test__ = False  # type: ignore[attr-defined]  # pytest: it is the user's, not ours


def train_forever(net: nn.Module, trial: Handle) -> float:
    time.sleep(600)
    return 0.0


def train_keyword(net: nn.Module, trial: Handle) -> float:
    """Calls its network with a keyword too."""
    optimizer = torch.optim.SGD(net.parameters(), lr=trial.rate(0.05))
    for _ in range(3):
        optimizer.zero_grad()
        loss = (net(X, scale=0.5) - Y).square().mean()
        loss.backward()
        optimizer.step()
    return loss.item()
