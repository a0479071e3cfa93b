"""An experiment: activations against each other on one problem and one model, under one set of rules.

    tune    each activation, the baselines too: every learning rate of the grid with the tuning seeds, scored on the
            validation split
    score   at its best rate, with the scoring seeds (others than those that tuned), the same for every activation,
            scored on the test split

Every finished training is one line of the folder's results.jsonl; those in flight have a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.tasks.task import ModelConfig, ProblemConfig, Task, WatchConfig, describe
from actsmith.training.problem import Problem
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime
from actsmith.trials.folder import RunFolder
from actsmith.trials.policy import TuneThenScore
from actsmith.trials.runner import FitRunner, Place
from actsmith.trials.trial import digest

__all__ = ["Experiment", "Report", "Run"]

Report = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Run:
    """What a part of a reproduction runs in.

    Attributes:
        folder: of the run, open.
        runtime: the devices.
        data: the folder of `--data`.
        report: called with (stage, done, total, message).
    """

    folder: RunFolder
    runtime: Runtime
    data: Path | None
    report: Report


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
        labels: what tells this table from the others of its reproduction, for those that read them: {"depth": 6}.
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
    labels: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [f.name for f in self.activations]
        where = f"experiment {self.name}"
        if len(set(names)) != len(names):
            raise ActsmithError(f"{where}: activations: got {', '.join(names)}; expected different names")
        if self.reference not in names:
            raise ActsmithError(f"{where}: reference: got {self.reference!r}; expected one of {', '.join(names)}")
        if len(self.seeds) < 2:
            raise ActsmithError(f"{where}: seeds: got {self.seeds}; expected two or more")
        self.policy("")  # checks rates and seeds

    @property
    def task(self) -> Task:
        """What is trained."""
        return Task(self.name, self.problem, self.model, self.recipe, self.rates)

    def policy(self, context: str) -> TuneThenScore:
        """The rules above."""
        return TuneThenScore(
            self.name, context, self.problem.metric, self.rates, self.seeds, self.tuning_seeds, self.tuning_share
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that say all there is to say."""
        return describe(self)  # type: ignore[no-any-return]

    def run(self, run: Run) -> None:
        """Train what the folder does not hold yet."""
        folder, count = run.folder, len(self.activations)
        left = [f for f in self.activations if not self.scored(folder, f)]
        if left:
            runner = self.runner(run, self.problem.load(run.data))
            for number, formula in enumerate(left, count - len(left)):
                run.report(self.name, number, count, formula.name)
                self._trained(runner, formula, run)
        run.report(self.name, count, count, "done")

    def runner(self, run: Run, problem: Problem) -> FitRunner:
        """Trains this experiment's networks."""
        return FitRunner(self.task, problem, run.runtime, run.folder.once, self.watch)

    def _trained(self, runner: FitRunner, formula: Formula, run: Run) -> None:
        context = digest([runner.context, describe(self.watch)])
        policy, place = self.policy(context), Place(run.folder.path)
        while trials := policy.next(formula, run.folder.all()):
            for group in runner.groups(trials):
                if any(trial.key not in run.folder.all() for trial in group):
                    run.folder.put(runner.run(group, place))

    def scored(self, folder: RunFolder, formula: Formula) -> bool:
        """Whether the folder holds the scores of all seeds."""
        there = {o.trial.seed for o in folder.all().of(self.name, formula.name, "score")}
        return there >= set(self.seeds)
