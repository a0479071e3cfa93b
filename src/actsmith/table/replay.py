"""A search replayed on a table: what it may choose among, what it is told, what that cost, and how good its choice was.

    regret = (log s_chosen - log s_best)/(log s_median - log s_best)

s is the test score, among the functions of the draw. A search is told validation scores (the best of the rates) of the
part of a training that it paid for: a look at a quarter of a training costs a quarter, and to go on from there costs
the rest. Its choice is whatever it trained in whole that scored best. Told and judged are the seeds that every function
has, two: more seeds find more that explode, and some functions alone have more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from actsmith.table.shapes import Shapes
from actsmith.theory.measured import MeasuredTable

__all__ = ["KNOWN", "LENGTHS", "Draw", "Method", "Play", "drawn", "played", "scored", "squares"]

Array = NDArray[Any]

KNOWN = "catalogue"
"""The family of the known functions."""
LENGTHS = (0.5, 1.0, 2.0)
"""Length scales of a Gaussian process, as multiples of the median distance."""
MOST = 512
"""Functions of a draw at most."""
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Draw:
    """The functions of one repetition: half of the known ones, and as many of the others as make a half of all.

    Attributes:
        rows: of the table, (p,).
        families: of each, (p,).
        points, outputs: see `shapes.Shapes`.
        start: quantities of the untrained network as ranks, by task, (p, t, q).
        fisher: histograms of the eigenvalues of the Fisher information, by task, (p, t, 16); zeros where not measured.
    """

    rows: Array
    families: Array
    points: Array
    outputs: Array
    start: Array
    fisher: Array

    @cached_property
    def apart(self) -> Array:
        """Squared distances of the points, (p, p)."""
        return squares(self.points)

    @cached_property
    def kernels(self) -> Array:
        """Matern kernels of smoothness 5/2 at each of `LENGTHS`, float32 (lengths, p, p)."""
        median = np.sqrt(np.median(self.apart[self.apart > 0]))
        scaled = np.sqrt(5 * self.apart) / (median * np.array(LENGTHS, np.float32)[:, None, None])
        return np.asarray((1 + scaled + scaled**2 / 3) * np.exp(-scaled), np.float32)

    @cached_property
    def outputs_apart(self) -> Array:
        """Squared distances of the outputs, (p, p)."""
        return squares(self.outputs)


class Play:
    """One search on one task.

    Args:
        draw: what it chooses among.
        task: the number of the task.
        told: validation scores by share of the training, lower is better, inf where it diverged, (p, k).
        shares: those shares, the last one 1, (k,).
        budget: in whole trainings.

    Attributes:
        tried: places in the draw, in the order in which they were first looked at.
        done: the share of its training that each has had, (p,).
    """

    def __init__(self, draw: Draw, task: int, told: Array, shares: Array, budget: int) -> None:
        self.draw, self.task, self.told, self.shares, self.budget = draw, task, told, shares, budget
        self.tried: list[int] = []
        self.done = np.zeros(len(told))
        self.cost, self.chosen = 0.0, -1
        self._costs: list[float] = []
        self._choices: list[int] = []

    @property
    def over(self) -> bool:
        """Whether the budget is spent, or everything trained."""
        return self.cost >= self.budget - ROUNDING or len(self.tried) == len(self.told)

    @property
    def left(self) -> Array:
        """Places that were not looked at."""
        return np.flatnonzero(self.done == 0)

    def train(self, places: Sequence[int] | Array, share: float = 1.0) -> None:
        """Train each up to a share of its training, one after another, as far as the budget goes."""
        whole = self.told[:, -1]
        for i in map(int, places):
            more = share - float(self.done[i])
            if more <= ROUNDING:
                continue
            if self.cost + more > self.budget + ROUNDING:
                self.cost = float(self.budget)
                return
            self.cost += more
            if not self.done[i]:
                self.tried.append(i)
            self.done[i] = share
            if share == 1:
                if self.chosen < 0 or whole[i] < whole[self.chosen]:
                    self.chosen = i
                self._costs.append(self.cost)
                self._choices.append(self.chosen)

    def scores(self, share: float = 1.0) -> Array:
        """What was told of the tried ones after a share, which all of them had, (tried,)."""
        return np.asarray(self.told[self.tried, int(np.argmin(abs(self.shares - share)))])

    def normal(self, share: float = 1.0) -> Array:
        """The same as normal scores: what exploded is no farther off than the last place."""
        scores = self.scores(share)
        return np.asarray(ndtri((rankdata(scores) - 0.5) / len(scores)))

    def choices(self) -> Array:
        """What it would have chosen after 1, 2, ... whole trainings, (budget,)."""
        at = np.searchsorted(self._costs, np.arange(1, self.budget + 1) + ROUNDING, side="right") - 1
        return np.array(self._choices)[np.maximum(at, 0)]


Method = Callable[[Play, np.random.Generator], None]
"""Trains until the play is over."""


def drawn(table: MeasuredTable, shapes: Shapes, rng: np.random.Generator) -> Draw:
    """Half of a table, at random.

    Args:
        table: of at least a few dozen functions.
        shapes: of its functions.
        rng: decides.
    """
    families, n = np.array(table.families), len(table)
    known = np.flatnonzero(families == KNOWN)
    kept = rng.permutation(known)[: (len(known) + 1) // 2]
    others = rng.permutation(np.flatnonzero(families != KNOWN))
    rows = np.sort(np.concatenate([kept, others[: min(n // 2, MOST) - len(kept)]]))
    start = [_ranks(values[rows]) for values in table.start.values()]
    return Draw(
        rows, families[rows], shapes.points[rows], shapes.outputs[rows],
        np.stack(start, 2) if start else np.zeros((len(rows), len(table.tasks), 0)),
        np.nan_to_num(table.fisher[rows]),
    )  # fmt: skip


def scored(table: MeasuredTable, draw: Draw, task: int) -> tuple[Array, Array]:
    """What can be told of each function, inf where it diverged, (p, k); and the regret of choosing it, what diverged as
    bad as the worst, (p,)."""
    with np.errstate(invalid="ignore"):
        told = np.log(table.early[draw.rows, task])
        outcome = np.log(table.seeds[draw.rows, task, : int(table.about["seeds"])]).mean(1)
    outcome = np.where(np.isfinite(outcome), outcome, outcome[np.isfinite(outcome)].max())
    best = outcome.min()
    return np.where(np.isnan(told), np.inf, told), (outcome - best) / max(np.median(outcome) - best, 1e-12)


def played(method: Method, play: Play, regret: Array, rng: np.random.Generator) -> Array:
    """The regret of a method after 1, 2, ... whole trainings, (budget,); `regret` is that of each function, (p,)."""
    method(play, rng)
    return np.asarray(regret[play.choices()])


def squares(points: Array) -> Array:
    """Squared distances among points (p, k), float32 (p, p)."""
    sizes = (points**2).sum(1)
    return np.asarray(np.maximum(sizes[:, None] + sizes - 2 * points @ points.T, 0), np.float32)


def _ranks(columns: Array) -> Array:
    """Each column as ranks between -1/2 and 1/2, what is not finite last."""
    known = np.where(np.isfinite(columns), columns, np.inf)
    return np.asarray(rankdata(known, axis=0) / len(columns) - 0.5)
