"""What predicts how well an activation trains, by rank correlations over the table's functions.

| symbol | meaning                                                                            |
|--------|------------------------------------------------------------------------------------|
| rho    | Spearman's correlation of a predictor with the test score, the mean over the tasks  |
| AUC    | probability that a function that diverged somewhere has more of the predictor      |

A score is an error: rho > 0 says that more of the predictor goes with a worse result. Functions that diverged at every
rate are left out of rho; they are what the AUC is about. On a task that not all were trained on, those are left out
that were because they did well elsewhere. Intervals: 95 %, by drawing functions with replacement, the same for all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from actsmith.table.correlations import FEWEST, area, correlation
from actsmith.table.quantities import MEANINGS
from actsmith.table.shapes import Process, shapes_of
from actsmith.theory.measured import MeasuredTable

__all__ = ["Predictor", "Predicts", "Thesis", "predicts"]

Array = NDArray[Any]

DRAWS = 400
FOLDS = 10
RIDGE = 0.1
"""Of the linear model, of columns that lie between -1 and 1."""
_PAIR = re.compile(r"(?P<base>.+?)(?P<sign>[+-])(?P<size>[\d.]+)\[(?P<law>.+)\]")


@dataclass(frozen=True)
class Predictor:
    """One predictor.

    Attributes:
        name, kind: what it is; "theory", "start", "short", "task", "model" or "again".
        what: in words.
        rho, low, high: over all functions, with the interval; None where there are too few.
        better: the same three among the better half.
        auc: the same three for divergence.
    """

    name: str
    kind: str
    what: str
    rho: float | None
    low: float | None
    high: float | None
    better: tuple[float, float, float] | None
    auc: tuple[float, float, float] | None


@dataclass(frozen=True)
class Thesis:
    """One test of the thesis that a lower output entropy is better.

    Attributes:
        what: among which functions.
        rho, low, high: of the entropy with the error, mean over tasks: positive where the thesis holds; of pairs, the
            share of (pair, task) that the lower entropy wins.
        count: functions, or pairs.
    """

    what: str
    rho: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Predicts:
    """The answer.

    Attributes:
        predictors: the strongest first.
        thesis: rank correlations of the entropy, within groups.
        pairs: corrections of one function, law and size that differ in their sign: does the lower entropy win?
        functions, tasks, halves: how many functions, tasks; how many functions are in the better half.
        trained, lost: pairs of function and task; those with a training that diverged.
    """

    predictors: tuple[Predictor, ...]
    thesis: tuple[Thesis, ...]
    pairs: Thesis | None
    functions: int
    tasks: int
    halves: int
    trained: int
    lost: int

    def best(self, kind: str) -> Predictor | None:
        """The strongest of a kind over all functions."""
        return next((p for p in self.predictors if p.kind == kind and p.rho is not None), None)


def predicts(table: MeasuredTable, seed: int = 0, draws: int = DRAWS) -> Predicts:
    """Correlate everything that was known before, or early, with the outcome.

    Args:
        table: of any size.
        seed: of the draws and the folds.
        draws: for the intervals.
    """
    rng, table = np.random.default_rng(seed), table.unselected()
    outcome = np.log(table.outcome)
    half = table.rank() <= np.median(table.rank())
    picks = rng.integers(len(table), size=(draws, len(table)))
    found = []
    for name, kind, what, values in _candidates(table, rng):
        columns = np.where(table.trained, values, np.nan)
        scores = np.log(table.seeds[:, :, 0]) if kind == "again" else outcome
        everyone = correlation(columns, scores, np.ones(len(table), bool), picks)
        lost = area(columns, table.diverged > 0, picks) if kind != "again" else None
        rho, low, high = everyone or (None, None, None)
        found.append(Predictor(name, kind, what, rho, low, high, correlation(columns, scores, half, picks), lost))
    found.sort(key=lambda p: -abs(p.rho or 0.0))
    entropy = np.repeat(table.theory["entropy"][:, None], len(table.tasks), 1)
    thesis = [_thesis(what, mask, entropy, outcome, picks) for what, mask in _groups(table)]
    return Predicts(
        tuple(found), tuple(t for t in thesis if t is not None), _pairs(table, rng, draws), len(table),
        len(table.tasks), int(half.sum()), int(table.trained.sum()), int((table.diverged > 0).sum()),
    )  # fmt: skip


def _candidates(table: MeasuredTable, rng: np.random.Generator) -> list[tuple[str, str, str, Array]]:
    """Name, kind, what it is, and its values for every function and task, (n, t)."""
    t, common = len(table.tasks), table.trained.all(0)
    found = [(n, "theory", MEANINGS.get(n, n), np.repeat(v[:, None], t, 1)) for n, v in table.theory.items()]
    for name, what in (("forward", "pre-activations"), ("backward", "gradients")):
        if name in table.start:
            gain = table.start[name]
            found.append((f"{name} gain", "start", f"growth of {what} per layer in the untrained network", gain))
            found.append((f"|{name} gain|", "start", f"its distance from 0, of {what}", np.abs(gain)))
    if "loss" in table.start:
        found.append(("first loss", "start", "loss of the untrained network", table.start["loss"]))
    for k, share in enumerate(table.shares):
        what = "validation score of the whole training" if share == 1 else f"validation score after {share:.0%} of it"
        found.append((f"{share:.0%} of the training", "short", what, table.early[:, :, k]))
    ranks = table.ranks
    if common.sum() > 1:
        others = (ranks[:, common].sum(1, keepdims=True) - np.where(common, ranks, 0)) / (common.sum() - common)
        found.append(("other tasks", "task", "mean place on the other tasks that all were trained on", others))
    found += _models(table, rng)
    again = table.seeds[:, :, 1] if table.seeds.shape[2] > 1 else np.full(ranks.shape, np.nan)
    found.append(
        (
            "another seed",
            "again",
            "one seed's test score against another's: how well an outcome repeats",
            again,
        )
    )
    return found


def _models(table: MeasuredTable, rng: np.random.Generator) -> list[tuple[str, str, str, Array]]:
    """Predictions for functions that a model did not see: of random folds, and of families that it did not see."""
    points = shapes_of(table).points
    theory = _standardised(np.stack(list(table.theory.values()), 1))
    folds = rng.permutation(len(table)) % FOLDS
    families = np.unique(np.array(table.families), return_inverse=True)[1]
    return [
        ("process on shape", "model", "Gaussian process on shape and theory, functions held out",
         _held_out(points, table.outcome, folds, _process)),
        ("process, new families", "model", "the same, whole families held out",
         _held_out(points, table.outcome, families, _process)),
        ("ridge on theory", "model", "linear in all quantities of theory, functions held out",
         _held_out(theory, table.outcome, folds, _ridge)),
    ]  # fmt: skip


def _held_out(points: Array, outcome: Array, folds: Array, fit: Callable[[Array, Array, Array], Array]) -> Array:
    """Each function's prediction by a model of the functions of other folds, (n, t); scores as ranks."""
    found = np.full(outcome.shape, np.nan)
    for j in range(outcome.shape[1]):
        known = np.isfinite(outcome[:, j])
        scores = np.full(len(outcome), np.nan)
        scores[known] = rankdata(outcome[known, j]) / known.sum()
        for fold in np.unique(folds):
            seen = known & (folds != fold)
            if seen.sum() >= FEWEST:
                found[folds == fold, j] = fit(points[seen], scores[seen], points[folds == fold])
    return found


def _process(points: Array, scores: Array, others: Array) -> Array:
    return Process(points, scores).predict(others)[0]


def _ridge(points: Array, scores: Array, others: Array) -> Array:
    mean = scores.mean()
    weights = np.linalg.solve(
        points.T @ points + len(points) * 0.1 * np.eye(points.shape[1]), points.T @ (scores - mean)
    )
    return np.asarray(mean + others @ weights)


def _standardised(columns: Array) -> Array:
    """Ranks of each column between -1 and 1, what is missing in the middle."""
    found = np.zeros(columns.shape)
    for j, column in enumerate(columns.T):
        known = np.isfinite(column)
        if known.sum() > 1 and np.ptp(column[known]) > 0:
            found[known, j] = 2 * (rankdata(column[known]) - 0.5) / known.sum() - 1
    return found


def _groups(table: MeasuredTable) -> list[tuple[str, Array]]:
    """All functions, each family, each class of criticality."""
    families, classes = np.array(table.families), table.theory["usable"]
    names = ("scale invariant", "zero-stable", "half-stable", "zero-unstable", "of no class")
    found = [("all functions", np.ones(len(table), bool))]
    found += [(f"family {family}", families == family) for family in sorted(set(table.families))]
    return found + [(f"class {name}", classes == i) for i, name in enumerate(names)]


def _thesis(what: str, mask: Array, entropy: Array, outcome: Array, picks: Array) -> Thesis | None:
    found = correlation(entropy, outcome, mask, picks) if mask.sum() >= 2 * FEWEST else None
    return None if found is None else Thesis(what, *found, int(mask.sum()))


def _pairs(table: MeasuredTable, rng: np.random.Generator, draws: int) -> Thesis | None:
    """Corrections with both signs: on how many tasks the one of lower entropy has the lower error."""
    signed: dict[tuple[str, str, str], dict[str, int]] = {}
    for i, (name, family) in enumerate(zip(table.names, table.families, strict=True)):
        match = _PAIR.fullmatch(name) if family == "correction" else None
        if match is not None:
            signed.setdefault((match["base"], match["size"], match["law"]), {})[match["sign"]] = i
    wins = []
    for both in signed.values():
        if len(both) == 2:
            low, high = sorted(both.values(), key=lambda i: table.theory["entropy"][i])
            both_there = table.trained[low] & table.trained[high]
            if both_there.any():
                wins.append(_won(table.outcome[low, both_there], table.outcome[high, both_there]))
    if len(wins) < FEWEST:
        return None
    shares = np.array(wins)
    drawn = [shares[rng.integers(len(shares), size=len(shares))].mean() for _ in range(draws)]
    interval: Sequence[float] = np.percentile(drawn, [2.5, 97.5]).tolist()
    return Thesis("EAFO corrections of both signs", float(shares.mean()), interval[0], interval[1], len(wins))


def _won(low: Array, high: Array) -> float:
    """Share of the tasks on which the first has the smaller error; what diverged loses, equal ones count half."""
    a, b = (np.where(np.isnan(v), np.inf, v) for v in (low, high))
    return float(np.mean(np.where(a == b, 0.5, a < b)))


def summary(found: Predicts) -> Mapping[str, Any]:
    """Plain JSON values."""
    return {
        **{name: getattr(found, name) for name in ("functions", "tasks", "halves", "trained", "lost")},
        "predictors": [vars(p) for p in found.predictors],
        "thesis": [vars(t) for t in found.thesis],
        "pairs": None if found.pairs is None else vars(found.pairs),
    }
