"""Exploring in two rungs: every proposal with a few seeds, the best quarter again with fresh ones. Pure.

    gain    the mean paired difference to the start in merit, on the same seeds and batches; higher is better

All train at the start's rate and to their end. What is cheap is a smaller task (fewer examples), not a stopped
training: below half the length trainings cannot rank good candidates. The second rung's seeds are others than the
first's, so that what was lucky once is judged anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import spearmanr

from actsmith.formula.formula import Formula
from actsmith.training.problem import Metric
from actsmith.trials.trial import Outcome, Trial

__all__ = ["CHEAP", "Race"]

CHEAP = (0.25, 0.5)
"""Shares of the examples at which exploring is tried, the smallest first."""
AGREES = 0.7
"""Rank correlation with the whole task from which a share may stand for it."""
QUARTER = 4


@dataclass(frozen=True)
class Race:
    """The rules of the exploration.

    Attributes:
        task, context: of the trials.
        metric: in which gains are measured, on the validation split.
        start: the activation that gains are measured from.
        rate: the start's.
        seeds: of both rungs; the second may have none.
        examples: the share of the training examples in both.
    """

    task: str
    context: str
    metric: Metric
    start: Formula
    rate: float
    seeds: tuple[tuple[int, ...], tuple[int, ...]]
    examples: tuple[float, float] = (1.0, 1.0)

    def trials(self, formula: Formula, rung: int = 0) -> tuple[Trial, ...]:
        """Those of one activation."""
        share = self.examples[rung]
        return tuple(
            Trial(self.task, formula, "explore", self.rate, seed, 1.0, share, context=self.context)
            for seed in self.seeds[rung]
        )

    def at(self, examples: float) -> Race:
        """With another share of the examples in the first rung."""
        return replace(self, examples=(examples, self.examples[1]))

    def gain(self, formula: Formula, history: Mapping[str, Outcome], rung: int = 0) -> float | None:
        """Of one activation; minus infinity where one of its trainings diverged, None before all are there."""
        own, base = self.trials(formula, rung), self.trials(self.start, rung)
        if not own or any(t.key not in history for t in (*own, *base)):
            return None
        merits = [self.metric.merit([history[t.key].score(self.metric)]) for t in own]
        bases = [self.metric.merit([history[t.key].score(self.metric)]) for t in base]
        if not all(map(math.isfinite, merits)):
            return -math.inf
        return sum(m - (b if math.isfinite(b) else 0.0) for m, b in zip(merits, bases, strict=True)) / len(own)

    def promoted(self, formulas: Sequence[Formula], history: Mapping[str, Outcome]) -> list[Formula]:
        """Who goes on to the second rung: the best quarter of the first, best first; nobody where it has no seeds."""
        if not self.seeds[1]:
            return []
        gains = [(gain, f) for f in formulas if (gain := self.gain(f, history)) is not None and math.isfinite(gain)]
        ranked = sorted(gains, key=lambda pair: (-pair[0], pair[1].name))
        return [f for _, f in ranked[: math.ceil(len(gains) / QUARTER)]]

    def ranked(self, formulas: Sequence[Formula], history: Mapping[str, Outcome]) -> list[Formula]:
        """All that have a finite gain, best first: by the second rung where they have one, before all who have none."""
        found = []
        for f in formulas:
            second, first = self.gain(f, history, 1), self.gain(f, history, 0)
            gain = first if second is None else second
            if gain is not None and math.isfinite(gain):
                found.append((second is None, -gain, f.name, f))
        return [f for *_, f in sorted(found, key=lambda entry: entry[:3])]

    def agreement(self, formulas: Sequence[Formula], history: Mapping[str, Outcome], share: float) -> float:
        """Spearman's correlation of gains at a share of the examples with those on all of them; 0 where it has none."""
        cheap = self.at(share)
        pairs = [(cheap.gain(f, history), self.gain(f, history)) for f in formulas]
        finite = [(a, b) for a, b in pairs if a is not None and b is not None and math.isfinite(a) and math.isfinite(b)]
        if len(finite) < 4 or len(set(finite)) < 3:
            return 0.0
        found = float(spearmanr(*np.transpose(finite)).statistic)
        return found if math.isfinite(found) else 0.0
