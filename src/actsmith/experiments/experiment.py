"""An experiment: activations against each other on one problem and one model, under one set of rules.

    tune    each activation, the baselines too: every learning rate of the grid with the tuning seeds, scored on the
            validation split
    score   at its best rate, with the scoring seeds (others than those that tuned), the same for every activation,
            scored on the test split

Every finished training is one line of the folder's results.jsonl; the one in flight has a checkpoint.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.experiments.checkpoint import Checkpoint
from actsmith.experiments.folder import RunFolder
from actsmith.experiments.loop import Fit, Recipe, Runtime, Watcher, fit
from actsmith.experiments.problem import Problem
from actsmith.formula.formula import Formula

__all__ = ["Experiment", "ModelConfig", "ProblemConfig", "WatchConfig", "describe"]

Report = Callable[[str, int, int, str], None]


class ProblemConfig(Protocol):
    """Names a problem in plain values (a frozen dataclass) and loads it."""

    def load(self, data: Path | None) -> Problem:
        """The problem; `data` is the folder of `--data`.

        Raises:
            ActsmithError: the data are not there; says how to get them.
        """


class ModelConfig(Protocol):
    """Names a model in plain values (a frozen dataclass) and builds it.

    Attributes:
        stacked: whether `build` takes many seeds at once, and gives a module with `nets` networks side by side.
    """

    @property
    def stacked(self) -> bool: ...

    def build(self, formula: Formula, seeds: Sequence[int], problem: Problem) -> nn.Module:
        """A module from (nets, batch, *problem.inputs) to (nets, batch, outputs); `seeds` decide all its draws."""


class WatchConfig(Protocol):
    """Names, in plain values, something that looks on (or acts) while a network trains.

    One with a class attribute `acts = True` changes the training: it is there when rates are tuned, too.
    """

    def build(self, model: nn.Module, problem: Problem) -> Watcher: ...


@dataclass(frozen=True)
class Experiment:
    """One table: a score for each activation.

    Attributes:
        name: of the table, unique in its folder; letters, digits, `-`, `_` and `.`.
        problem, model: what is learned, and by what.
        activations: what is compared; names are unique.
        reference: name of the one that differences are taken to.
        rates: the learning-rate grid; a single rate is not tuned.
        recipe: the training budget.
        seeds: of the scored trainings, 2 or more for an interval.
        tuning_seeds: of the trainings that choose the rate.
        tuning_share: the share of the epochs (and of the L-BFGS steps) that a tuning run trains for.
        watch: what looks on at the scored trainings; one that acts, at those that tune as well.
    """

    name: str
    problem: ProblemConfig
    model: ModelConfig
    activations: tuple[Formula, ...]
    rates: tuple[float, ...]
    recipe: Recipe
    reference: str = "relu"
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    tuning_seeds: tuple[int, ...] = (1000, 1001)
    tuning_share: float = 1.0
    watch: WatchConfig | None = None

    def __post_init__(self) -> None:
        names = [f.name for f in self.activations]
        where = f"experiment {self.name}"
        if len(set(names)) != len(names):
            raise ActsmithError(f"{where}: activations: got {', '.join(names)}; expected different names")
        if self.reference not in names:
            raise ActsmithError(f"{where}: reference: got {self.reference!r}; expected one of {', '.join(names)}")
        if not self.rates or not all(math.isfinite(r) and r > 0 for r in self.rates):
            raise ActsmithError(f"{where}: rates: got {self.rates}; expected positive numbers")
        if len(self.seeds) < 2 or set(self.seeds) & set(self.tuning_seeds):
            raise ActsmithError(f"{where}: seeds: got {self.seeds}; expected two or more, none of them a tuning seed")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that say all there is to say."""
        return describe(self)  # type: ignore[no-any-return]

    def run(self, folder: RunFolder, runtime: Runtime, data: Path | None, report: Report) -> None:
        """Train what the folder does not hold yet."""
        left = [f for f in self.activations if not self.scored(folder, f)]
        if left:
            problem = self.problem.load(data)
            for number, formula in enumerate(left, len(self.activations) - len(left)):
                report(self.name, number, len(self.activations), formula.name)
                _Trainer(self, problem, formula, folder, runtime).all()
        report(self.name, len(self.activations), len(self.activations), "done")

    def scored(self, folder: RunFolder, formula: Formula) -> bool:
        """Whether the folder holds the scores of all seeds."""
        mine = [r for r in folder.results.values() if r.get("experiment") == self.name and r.get("stage") == "score"]
        there = {seed for r in mine if r["activation"] == formula.name for seed in r["seeds"]}
        return there >= set(self.seeds)


@dataclass(frozen=True)
class _Trainer:
    experiment: Experiment
    problem: Problem
    formula: Formula
    folder: RunFolder
    runtime: Runtime

    def all(self) -> None:
        """Tune, then score."""
        rate = self.tuned()
        for seeds in self.stacks(self.experiment.seeds):
            self.trained("score", seeds, rate)

    def tuned(self) -> float:
        """The rate with the best mean validation score; where every one diverges, the smallest."""
        e, metric = self.experiment, self.problem.metric
        if len(e.rates) == 1:
            return e.rates[0]
        best, chosen = -math.inf, min(e.rates)
        for rate in e.rates:
            values: list[float | None] = []
            for seeds in self.stacks(e.tuning_seeds):
                record = self.trained("tune", seeds, rate)
                values += record["validation"][metric.name]
            value = metric.merit(values)
            if value > best:
                best, chosen = value, rate
        return chosen

    def stacks(self, seeds: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [seeds] if self.experiment.model.stacked else [(s,) for s in seeds]

    def trained(self, stage: str, seeds: tuple[int, ...], rate: float) -> dict[str, Any]:
        """The record of one training, from the folder or made now."""
        e = self.experiment
        key = f"{e.name}/{self.formula.name}/{stage}/{rate:g}/{','.join(map(str, seeds))}"
        if key in self.folder.results:
            return self.folder.results[key]
        torch.manual_seed(seeds[0])
        model = e.model.build(self.formula, seeds, self.problem)
        scored = stage == "score"
        recipe = e.recipe if scored else e.recipe.shortened(e.tuning_share)
        watched = scored or getattr(e.watch, "acts", False)
        watcher = e.watch.build(model, self.problem) if e.watch is not None and watched else None
        found: Fit = fit(
            self.problem, model, seeds=seeds, rate=rate, recipe=recipe, runtime=self.runtime, test=scored,
            watcher=watcher, checkpoint=Checkpoint.at(self.folder.path, key),
        )  # fmt: skip
        record = {"experiment": e.name, "activation": self.formula.name, "stage": stage, "rate": rate}
        record |= found.to_dict()
        if self.runtime.main:
            self.folder.append(key, record)
        else:
            self.folder.results[key] = record
        Checkpoint.at(self.folder.path, key).remove()
        return record


def describe(value: Any) -> Any:
    """Plain JSON values of nested dataclasses and formulas; a dataclass says its class."""
    if isinstance(value, Formula):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if isinstance(value, dict):
        return {str(k): describe(v) for k, v in value.items()}
    return str(value) if isinstance(value, Path) else value
