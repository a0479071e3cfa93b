"""How often a search announces a winner where there is none: every candidate is the start under another name.

    explore   each copy with two seeds, the best three become finalists
    confirm   they and the start with fifteen others, by the rule of every search

The scores are those of real trainings of the start. Each copy draws its own among them: with the same seeds copies
would not differ at all, so nothing is paired here, and the noise is as large as it can be.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actsmith.benchmarks.outcomes import START, TASKS
from actsmith.formula.catalogue import resolve
from actsmith.formula.formula import Formula
from actsmith.search.conclude import conclude, confirmed
from actsmith.training.problem import Metric
from actsmith.training.runtime import Runtime
from actsmith.trials.policy import TuneThenScore
from actsmith.trials.runner import FitRunner
from actsmith.trials.session import session
from actsmith.trials.trial import History, Outcome, Trial

__all__ = ["Alarms", "Scores", "alarms", "scores"]

Array = NDArray[np.float64]

STORED = 64
"""Trainings of the start that are drawn from."""
COPIES, EXPLORED, FINALISTS, CONFIRMED = 24, 2, 3, 15


@dataclass(frozen=True, eq=False)
class Scores:
    """Of trainings of one function.

    Attributes:
        task: what was trained.
        metric: of the scores.
        validation, test: scores, (n,) each, entry i of both from one training.
    """

    task: str
    metric: Metric
    validation: Array
    test: Array


@dataclass(frozen=True)
class Alarms:
    """How many of so many searches announced that a copy is better than the start."""

    task: str
    announced: int
    searches: int

    @property
    def rate(self) -> float:
        """The share."""
        return self.announced / self.searches


def scores(folder: Path, name: str, count: int = STORED) -> Scores:
    """Scores of trainings of the start on a task; measured once, goes on where it was stopped."""
    task, formula = TASKS[name], resolve(START)
    runner = FitRunner.opened(task, runtime=Runtime.create("cpu"))
    begun = (folder / "config.json").is_file()
    with session(runner, folder, {**runner.config(), "seeds": count}, resume=begun) as run:
        trials = [
            Trial(name, formula, "score", task.rates[0], seed, test=True, context=runner.context)
            for seed in range(count)
        ]
        run.train([trials], "score", "the start")
        found = [run.history[trial.key] for trial in trials]
    columns = [[o.score(task.metric, split) for o in found] for split in ("validation", "test")]
    validation, test = (np.array([np.nan if v is None else v for v in column], dtype=np.float64) for column in columns)
    return Scores(name, task.metric, validation, test)


def alarms(stored: Scores, searches: int = 200, seed: int = 0, gain: float = 0.0) -> Alarms:
    """Simulate searches among copies.

    Args:
        stored: of the start.
        searches: how many.
        seed: of the draws.
        gain: what is added to the first copy's scores, so that there is something to find.
    """
    rng = np.random.default_rng(seed)
    return Alarms(stored.task, sum(_announces(stored, rng, gain) for _ in range(searches)), searches)


def _announces(stored: Scores, rng: np.random.Generator, gain: float) -> bool:
    start = resolve(START)
    copies = [start.renamed(f"copy {i}") for i in range(COPIES)]
    gains = np.where(np.arange(COPIES) == 0, gain, 0.0)
    drawn = rng.integers(len(stored.validation), size=(COPIES, EXPLORED))
    merits = [stored.metric.merit((stored.validation[row] + g).tolist()) for row, g in zip(drawn, gains, strict=True)]
    ahead = np.argsort(-np.array(merits), kind="stable")[:FINALISTS]
    policy = TuneThenScore(stored.task, "", stored.metric, (1.0,), tuple(range(CONFIRMED)))
    history = History()
    for formula, g in [(start, 0.0), *((copies[i], float(gains[i])) for i in ahead)]:
        for outcome in _outcomes(formula, policy, stored, rng, g):
            history.add(outcome)
    found = confirmed(history, policy, start, [copies[i] for i in ahead])
    return conclude(found, start.name, policy, len(history), go_on="").kind == "better"


def _outcomes(
    formula: Formula, policy: TuneThenScore, stored: Scores, rng: np.random.Generator, gain: float
) -> list[Outcome]:  # fmt: skip
    """Of the confirmation, drawn anew."""
    name, made = stored.metric.name, []
    for trial in policy.scoring(formula, {}):
        i = int(rng.integers(len(stored.test)))
        validation, test = (float(v[i]) + gain for v in (stored.validation, stored.test))
        made.append(Outcome(trial, {name: validation}, {name: test}))
    return made
