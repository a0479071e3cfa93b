"""One after another, or stacked: a few steps of each say what is quicker here. What cannot be stacked says why."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

import torch
from torch import nn

from actsmith.training.fit import Mode
from actsmith.training.nets import Alone, SideBySide
from actsmith.training.problem import Problem
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime, seed_step, threads_for
from actsmith.training.stack import can_batch, joined

__all__ = ["Choice", "choose"]

WARM, TIMED = 2, 3
"""Steps before those that are timed, steps that are."""
QUICKER = 0.9
"""A stack is chosen where its step takes less than this share of what its nets take one after another."""


@dataclass(frozen=True)
class Choice:
    """What was measured.

    Attributes:
        mode: the quickest.
        seconds: mode -> seconds of a step, for each net.
        reasons: mode -> why it cannot be had.
    """

    mode: Mode
    seconds: Mapping[str, float]
    reasons: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Choice:
        """The inverse of `to_dict`."""
        return cls(**values)


def choose(problem: Problem, models: Sequence[nn.Module], recipe: Recipe, runtime: Runtime) -> Choice:
    """Time a step of a copy of the first model, and of all of them stacked in each form; nothing is trained.

    Args:
        problem, recipe, runtime: as `fit` takes them.
        models: as many as are to be trained side by side.
    """
    count = min(recipe.batch, problem.size)
    width = getattr(models[0], "width", None)
    alone, random = _timed(problem, models[:1], "alone", recipe, runtime, count=count, width=width)
    seconds, reasons = {"alone": alone}, {}
    for mode in [m for m in get_args(Mode) if m != "alone"]:
        reason = _why_not(problem, models, mode, recipe, runtime, random=random)
        if reason is None:
            try:
                seconds[mode], _ = _timed(problem, models, mode, recipe, runtime, count=count, width=width)
                continue
            except Exception as error:  # whatever the model does that a transform does not know
                reason = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
        reasons[mode] = reason
    best: Mode = min(seconds, key=lambda m: seconds[m])  # type: ignore[assignment]
    return Choice(best if seconds[best] < QUICKER * alone else "alone", seconds, reasons)


def _why_not(
    problem: Problem, models: Sequence[nn.Module], mode: str, recipe: Recipe, runtime: Runtime, *, random: bool
) -> str | None:
    reasons = {
        "there is one net": len(models) < 2,
        "L-BFGS's line search would couple the nets": recipe.lbfgs > 0,
        "several processes, or float16": runtime.world > 1 or runtime.scales,
        "its data are read ahead by worker processes": problem.alone,
        "the network draws random numbers: stacked it would draw others than alone": random,
        f"{type(models[0]).__name__} has no form of its own": mode == "own" and not can_batch(models[0]),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _timed(
    problem: Problem,
    models: Sequence[nn.Module],
    mode: Mode,
    recipe: Recipe,
    runtime: Runtime,
    *,
    count: int,
    width: int | None,
) -> tuple[float, bool]:
    """Median seconds of a step for each net, and whether the loss drew random numbers."""
    copies = [copy.deepcopy(model) for model in models]
    rates = [1e-6] * len(copies)
    nets: Alone | SideBySide
    nets = (
        Alone(copies[0], 1e-6, recipe, runtime) if mode == "alone" else SideBySide(copies, rates, recipe, runtime, mode)
    )
    example = problem.example(count, runtime.device)
    batch = example if mode == "alone" else joined([example] * len(copies))
    nets.train()
    times, random = [], False
    with threads_for(None if width is None else len(copies) * count * width):
        for _ in range(WARM + TIMED):
            seed_step(runtime.device, 0)
            began, state = time.perf_counter(), torch.default_generator.get_state()
            losses = nets.losses(problem, batch)
            random |= not torch.equal(state, torch.default_generator.get_state())
            runtime.accelerator.backward(losses.sum())
            nets.step(1.0, recipe.clip)
            if runtime.device.type == "cuda":
                torch.cuda.synchronize(runtime.device)
            times.append(time.perf_counter() - began)
    return statistics.median(times[WARM:]) / len(copies), random
