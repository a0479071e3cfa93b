"""What comes next: a pure function of what was tried, so that a killed run goes on where it was.

    tune    every learning rate with the tuning seeds, scored on the validation split
    score   at its best rate, with the scoring seeds (others than those that tuned), the same for every activation

A round is all the trials of such a stage, whether they are done or not: what is stacked together depends on the round
alone, never on where a run was interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.training.problem import Metric, Split
from actsmith.trials.trial import Outcome, Trial

__all__ = ["TuneThenScore"]


@dataclass(frozen=True)
class TuneThenScore:
    """The rules that every activation of a table is tried by.

    Attributes:
        task, context: of the trials.
        metric: chooses the rate, on the validation split.
        rates: the grid; a single rate is not tuned, unless `ranked`.
        seeds, tuning_seeds: of the scored trainings, and of those that choose the rate.
        length: the share of the epochs that a tuning run trains for.
        examples: the share of the training examples that every run sees.
        look: name of the activation whose tuning trials are of stage "look": what they see is measured, too.
        ranked: whether a single rate is tried with the tuning seeds, too, so that what is scored can be chosen.
        judge: the split of the scores; "validation" where there is no other, which is then never read.

    Raises:
        ActsmithError: no rate, or seeds that tune and score.
    """

    task: str
    context: str
    metric: Metric
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    tuning_seeds: tuple[int, ...] = (1000, 1001)
    length: float = 1.0
    examples: float = 1.0
    look: str = ""
    ranked: bool = False
    judge: Split = "test"

    def __post_init__(self) -> None:
        if not self.rates or not all(math.isfinite(r) and r > 0 for r in self.rates):
            raise ActsmithError(f"{self.task}: rates: got {self.rates}; expected positive numbers")
        if set(self.seeds) & set(self.tuning_seeds):
            raise ActsmithError(
                f"{self.task}: seeds: got {self.seeds}; expected none of {self.tuning_seeds}, which tune"
            )

    def next(self, formula: Formula, history: Mapping[str, Outcome]) -> tuple[Trial, ...]:
        """The round of the activation that is not finished, whole; nothing where all is done."""
        for stage in (self.tuning(formula), self.scoring(formula, history)):
            if any(trial.key not in history for trial in stage):
                return stage
        return ()

    def tuning(self, formula: Formula) -> tuple[Trial, ...]:
        """The trials that choose the rate; none where there is one rate, unless activations are ranked by them."""
        if len(self.rates) == 1 and not self.ranked:
            return ()
        stage = "look" if formula.name == self.look else "tune"
        return tuple(
            Trial(
                self.task, formula, stage, rate, seed, self.length, self.examples, context=self.context
            )
            for rate in self.rates
            for seed in self.tuning_seeds
        )  # fmt: skip

    def scoring(self, formula: Formula, history: Mapping[str, Outcome]) -> tuple[Trial, ...]:
        """The trials that are scored; none before the rate is chosen."""
        rate = self.rate(formula, history)
        if rate is None:
            return ()
        test = self.judge == "test"
        return tuple(
            Trial(self.task, formula, "score", rate, seed, 1.0, self.examples, test=test, context=self.context)
            for seed in self.seeds
        )

    def rate(self, formula: Formula, history: Mapping[str, Outcome]) -> float | None:
        """The rate with the best mean validation score; of equal ones the lower loss, then the lower rate; where every
        one diverges, the lowest. None before all of them were tried."""
        trials = self.tuning(formula)
        if not trials:
            return self.rates[0]
        if any(trial.key not in history for trial in trials):
            return None

        def merit(rate: float) -> tuple[float, float, float]:
            own = [history[trial.key] for trial in trials if trial.rate == rate]
            loss = Metric("loss", "lower").merit([o.score("loss") for o in own])
            return self.metric.merit([o.score(self.metric) for o in own]), loss, -rate

        return max(self.rates, key=merit)

    def at_edge(self, rate: float) -> bool:
        """Whether a rate is an end of its grid: a better one may lie beyond."""
        return len(self.rates) > 1 and rate in (min(self.rates), max(self.rates))
