"""One after another or stacked, with how many threads: a few steps of each say what is quicker here.

What cannot be stacked says why. The steps are taken in turn, so that a disturbance meets all alike; those with all
threads, which may cost ten times as much where other programs want the cores too, come after those with one: threads
that wait for work disturb. What a step waits for a core is not its own: on a busy machine a stack, which seldom fits
between two interruptions, would look ten times as slow as it is. About two seconds go into it: large networks are
compared in a smaller stack, which for them gains as much.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from actsmith.training.fit import Mode
from actsmith.training.nets import Alone, SideBySide
from actsmith.training.problem import Problem
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime, generators_kept, seed_step, states, threads_for
from actsmith.training.stack import can_batch, joined

__all__ = ["Choice", "choose"]

WARM, FEWEST, MOST = 2, 3, 25
"""Steps before those that are timed; how many of these."""
SECONDS = 1.0
"""With each number of threads no new round of steps begins after so long."""
STEP = 0.25
"""Seconds that a step of a stack may take for being compared; where it is expected to take longer, fewer nets are."""
QUICKER = 0.75
"""Stacks, or more threads, are chosen where a step takes less than this share of what it takes otherwise."""


@dataclass(frozen=True)
class Choice:
    """What was measured.

    Attributes:
        mode: the quickest.
        seconds: mode -> seconds of a step, for each net.
        threads: mode -> with how many threads; more may not be of use where there were fewer.
        reasons: mode -> why it cannot be had.
    """

    mode: Mode
    seconds: Mapping[str, float]
    threads: Mapping[str, int]
    reasons: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Choice:
        """The inverse of `to_dict`."""
        return cls(**values)


def choose(problem: Problem, models: Sequence[nn.Module], recipe: Recipe, runtime: Runtime) -> Choice:
    """Time steps of a copy of the first model, and of all of them stacked in each form; nothing is trained.

    Args:
        problem, recipe, runtime: as `fit` takes them.
        models: as many as are to be trained side by side.
    """
    with generators_kept(runtime.device):
        alone = _Steps(problem, models[:1], "alone", recipe, runtime)
        once = min(alone.step(1) for _ in range(WARM))
        nets = max(2, min(len(models), int(STEP / once)))
        steps: dict[Mode, _Steps] = {"alone": alone}
        reasons: dict[str, str] = {}
        forms: tuple[Mode, ...] = ("own", "vmap")
        for mode in forms:
            reason = _why_not(problem, models, mode, recipe, runtime, random=alone.random)
            if reason is None:
                try:
                    steps[mode] = _Steps(problem, models[:nets], mode, recipe, runtime)
                    for _ in range(WARM):
                        steps[mode].step(1)
                    continue
                except Exception as error:  # whatever the model does that a transform does not know
                    steps.pop(mode, None)
                    reason = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
            reasons[mode] = reason
        counts = {1} if runtime.device.type != "cpu" else {1, torch.get_num_threads()}
        times = {(mode, n): own for n in sorted(counts) for mode, own in _rounds(steps, n).items()}
    return _quickest(times, reasons)


def _quickest(times: Mapping[tuple[Mode, int], Sequence[float]], reasons: Mapping[str, str]) -> Choice:
    """The number of threads for each mode, then the mode: fewer, and alone, unless another is clearly quicker.

    Args:
        times: (mode, threads) -> seconds of steps for each net, fewer threads first.
        reasons: of the choice.
    """
    seconds: dict[str, float] = {}
    threads: dict[str, int] = {}
    for (mode, count), own in times.items():
        found = statistics.median(own)
        if mode not in seconds or found < QUICKER * seconds[mode]:
            seconds[mode], threads[mode] = found, count
    best = min((mode for mode, _ in times), key=lambda mode: seconds[mode])
    return Choice(best if seconds[best] < QUICKER * seconds["alone"] else "alone", seconds, threads, reasons)


def _rounds(steps: Mapping[Mode, _Steps], threads: int) -> dict[Mode, list[float]]:
    """Steps of every mode, taken in turn."""
    times: dict[Mode, list[float]] = {mode: [] for mode in steps}
    began = time.perf_counter()
    for done in range(MOST):
        if done >= FEWEST and time.perf_counter() - began > SECONDS:
            break
        for mode, step in steps.items():
            times[mode].append(step.step(threads))
    return times


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


class _Steps:
    """Steps of copies of the models.

    Attributes:
        random: whether a loss drew random numbers.
    """

    def __init__(
        self, problem: Problem, models: Sequence[nn.Module], mode: Mode, recipe: Recipe, runtime: Runtime
    ) -> None:
        copies = [copy.deepcopy(model) for model in models]
        rates = [1e-6] * len(copies)
        self.nets: Alone | SideBySide
        if mode == "alone":
            self.nets = Alone(copies[0], rates[0], recipe, runtime)
        else:
            self.nets = SideBySide(copies, rates, recipe, runtime, mode)
        count = min(recipe.batch, problem.size)
        example = problem.example(count, runtime.device)
        self.batch = example if mode == "alone" else joined([example] * len(copies))
        self.problem, self.runtime, self.clip, self.count = problem, runtime, recipe.clip, len(copies)
        self.random = False
        self.nets.train()

    def step(self, threads: int) -> float:
        """Seconds of one, for each net; with one thread less what it waited for a core."""
        device = self.runtime.device
        with threads_for(threads):
            seed_step(device, 0)
            before, waited, began = states(device), _waited(), time.perf_counter()
            losses = self.nets.losses(self.problem, self.batch)
            after = states(device)
            self.runtime.backward(losses.sum())
            self.nets.step(1.0, self.clip)
            if device.type != "cpu":
                torch.accelerator.synchronize()
            seconds = time.perf_counter() - began - (_waited() - waited if threads == 1 else 0.0)
            self.random |= not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
            return seconds / self.count


def _waited() -> float:
    """Seconds that this thread has been ready without a core, as Linux counts them; 0 elsewhere."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
