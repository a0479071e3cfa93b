"""Who runs trials: the engine on a task (`FitRunner`), or a user's own loop (`actsmith.trials.script`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.files import plain
from actsmith.formula.formula import Formula
from actsmith.surgery.probe import probe
from actsmith.tasks.task import Task, WatchConfig
from actsmith.training.checkpoint import Checkpoint
from actsmith.training.choose import Choice, choose
from actsmith.training.fit import Fit, fit
from actsmith.training.problem import Metric, Problem
from actsmith.training.runtime import Runtime
from actsmith.trials.trial import Outcome, Trial, digest

__all__ = ["FitRunner", "Once", "Place", "Runner"]

Once = Callable[[str, Callable[[], Any]], Any]
"""Takes a name and a measurement; the first one holds for the whole run (`RunFolder.once`)."""
TOGETHER = 16
"""Nets in a stack, at most: more gain nothing."""
PROBED = 2048
"""Training examples that a look reads."""


@dataclass(frozen=True)
class Place:
    """Where a trial runs.

    Attributes:
        folder: of the run, for checkpoints and tracebacks; None keeps none.
        deadline: seconds of `time.time()` at which a training stops, its state kept.
    """

    folder: Path | None = None
    deadline: float | None = None

    def passed(self) -> bool:
        """Whether the deadline is over."""
        return self.deadline is not None and time.time() >= self.deadline


class Runner(Protocol):
    """Runs trials of one task.

    Attributes:
        name, metric: of the task.
        context: a digest of all that decides outcomes beside a trial's own content.
        rates: the grid of learning rates, unless others are asked for.
    """

    name: str
    metric: Metric
    context: str
    rates: tuple[float, ...]

    def groups(self, round_: Sequence[Trial]) -> list[list[Trial]]:
        """A round of trials as the groups that are trained together; a function of the whole round alone."""

    def run(self, group: Sequence[Trial], place: Place) -> list[Outcome]:
        """Train one group. A training that fails is an outcome with its reason.

        Raises:
            actsmith.training.fit.Stopped: the place's deadline passed; what was done is kept for the next call.
        """


class FitRunner:
    """Trains a task's networks with `fit`, stacked where that was found to be quicker.

    Args:
        task: what is trained.
        problem: its data, loaded.
        runtime: the devices.
        once: keeps what is measured to choose.
        watch: what looks on at the trainings that are scored; one that acts, at all.
    """

    def __init__(
        self,
        task: Task,
        problem: Problem,
        runtime: Runtime,
        once: Once = lambda name, measure: measure(),
        watch: WatchConfig | None = None,
    ) -> None:
        self.task, self.problem, self.runtime, self.once, self.watch = task, problem, runtime, once, watch
        self.name, self.metric, self.rates = task.name, task.metric, task.rates
        self.context = digest([task.to_dict(), problem.fingerprint])

    def groups(self, round_: Sequence[Trial]) -> list[list[Trial]]:
        """Stacks of trials that differ in rate and seed alone, or each trial by itself."""
        alike: dict[str, list[Trial]] = {}
        for trial in round_:
            content = {**trial.to_dict(), "rate": None, "seed": None}
            alike.setdefault(digest(content), []).append(trial)
        groups = []
        for trials in alike.values():
            size = TOGETHER if self.mode(trials) != "alone" else 1
            groups += [trials[i : i + size] for i in range(0, len(trials), size)]
        return groups

    def choice(self, formula: Formula, nets: int) -> Choice:
        """How so many nets are trained: measured with the first formula, then the same for all."""

        def measure() -> Any:
            return choose(self.problem, self.models(formula, range(nets)), self.task.recipe, self.runtime).to_dict()

        return Choice.from_dict(self.once(f"{self.name}: {nets} nets", measure))

    def mode(self, trials: Sequence[Trial]) -> Any:
        """Of `fit`, for one group of trials."""
        if len(trials) < 2:
            return "alone"
        mode = self.choice(trials[0].formula, min(len(trials), TOGETHER)).mode
        watched = self.watching(trials[0])
        return "alone" if watched is not None and (not getattr(watched, "stacks", False) or mode == "vmap") else mode

    def models(self, formula: Formula, seeds: Sequence[int]) -> list[nn.Module]:
        """Untrained networks; the global generator is as before."""
        models = []
        with torch.random.fork_rng(devices=[]):
            for seed in seeds:
                torch.manual_seed(seed)
                models.append(self.task.model.build(formula, seed, self.problem))
        return models

    def watching(self, trial: Trial) -> WatchConfig | None:
        """What looks on at a trial."""
        return self.watch if trial.test or getattr(self.watch, "acts", False) else None

    def run(self, group: Sequence[Trial], place: Place) -> list[Outcome]:
        """See `Runner`."""
        mode = self.mode(group)
        if mode == "alone" and len(group) > 1:
            return [outcome for trial in group for outcome in self.run([trial], place)]
        first, began = group[0], time.perf_counter()
        checkpoint = None
        if place.folder is not None:
            checkpoint = Checkpoint.at(place.folder, digest([trial.key for trial in group]))
        try:
            models = self.models(first.formula, [t.seed for t in group])
        except ActsmithError as error:  # no start keeps this activation's scale, for one
            return [Outcome(trial, reason=str(error)) for trial in group]
        watch = self.watching(first)
        fits = fit(
            self.problem, models, seeds=[t.seed for t in group], rates=[t.rate for t in group],
            recipe=self.task.recipe.shortened(first.length), runtime=self.runtime, mode=mode, examples=first.examples,
            test=first.test, hook=None if watch is None else lambda model: watch.build(model, self.problem),
            checkpoint=checkpoint, stop=place.passed if place.deadline is not None else None,
        )  # fmt: skip
        seconds = (time.perf_counter() - began) / len(group)
        outcomes = [_outcome(t, f, seconds, mode) for t, f in zip(group, fits, strict=True)]
        if first.stage == "look":
            outcomes = [_with_laws(o, self.laws(model)) for o, model in zip(outcomes, models, strict=True)]
        if checkpoint is not None:
            checkpoint.remove()
        return outcomes

    def laws(self, model: nn.Module) -> dict[str, Any]:
        """Path -> law of the pre-activations there on training examples; nothing where there is none."""
        inputs = self.problem.inputs_of(self.problem.example(PROBED, self.runtime.device))
        try:
            found = probe(model.eval(), torch.split(inputs, 256), strict=False)
        except ActsmithError:  # diverged or dead
            return {}
        return {path: law.to_dict() for path, law in found.items()}


def _outcome(trial: Trial, found: Fit, seconds: float, mode: str) -> Outcome:
    values = plain(found.to_dict())
    own = {name: values.pop(name) for name in ("validation", "test", "diverged", "step_seconds", "peak_bytes")}
    details = {name: value for name, value in values.items() if name not in ("seed", "rate")}
    return Outcome(trial, seconds=seconds, details={**details, "mode": mode}, **own)


def _with_laws(outcome: Outcome, laws: dict[str, Any]) -> Outcome:
    return replace(outcome, details={**outcome.details, "laws": laws})
