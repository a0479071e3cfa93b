"""Search methods replayed on a table: what each would have found, without training anything.

A method asks for functions of the table, sees their validation scores (the best of the rates, two seeds), and ends with
the one that scored best. Its regret says how far that one's test score is from the table's best; the median function
has 1:

    regret = (log s_chosen - log s_best)/(log s_median - log s_best)

random       any function that was not tried
evolution    regularised: one of the nearest in shape to the best of 8 drawn from the 32 youngest
process      Gaussian process on shape and theory, the largest chance to improve (expected improvement)
neighbours   mean score of the 3 nearest by their outputs, after AQuaSurF (Bingham, Miikkulainen, arXiv:2301.05785); of
             its two features the outputs alone, the eigenvalues of the Fisher information left out
neighbours+  the same with the untrained network's gains and first loss beside the outputs
known        the catalogue in its order, then the others in theirs

Every method but the last begins with the same random functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from actsmith.table.shapes import Process, shapes_of
from actsmith.theory.measured import MeasuredTable

__all__ = ["METHODS", "Replayed", "Track", "replay"]

Array = NDArray[Any]

BUDGET, REPETITIONS, BEGIN, TOGETHER = 48, 100, 8, 4
"""Functions that are tried; repetitions; random ones at the start; functions chosen at once."""
POPULATION, TOURNAMENT, NEAREST, NEIGHBOURS = 32, 8, 8, 3
MARKS = (8, 16, 32, 48)
"""Functions tried at which the regret is told."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a method is told: the functions as points, which were tried, and what they scored, lower is better."""

    points: Array
    outputs: Array
    start: Array
    tried: list[int]
    scores: list[float]

    @property
    def left(self) -> Array:
        """Those that were not tried."""
        mask = np.ones(len(self.points), bool)
        mask[self.tried] = False
        return np.flatnonzero(mask)


Method = Callable[[_Seen, np.random.Generator, int], Array]


@dataclass(frozen=True)
class Track:
    """One method.

    Attributes:
        method, what: name, and what it does.
        regret: mean over tasks and repetitions after 1, 2, ... functions.
        low, high: its 95 % interval, by drawing tasks and repetitions with replacement.
        against: at the last mark, the difference of regrets to random search, with its interval.
    """

    method: str
    what: str
    regret: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    against: tuple[float, float, float]


@dataclass(frozen=True)
class Replayed:
    """All methods on one table, the best at the end first.

    Attributes:
        tracks: of the methods.
        functions, tasks, repetitions, budget: of the replay.
    """

    tracks: tuple[Track, ...]
    functions: int
    tasks: int
    repetitions: int
    budget: int


def replay(table: MeasuredTable, repetitions: int = REPETITIONS, budget: int = BUDGET, seed: int = 0) -> Replayed:
    """Replay every method on every task.

    Args:
        table: of more functions than the budget; a smaller budget is taken where it is smaller.
        repetitions: of each method on each task.
        budget: functions that are tried.
        seed: of all draws.
    """
    budget = min(budget, len(table) // 2)
    shapes = shapes_of(table)
    curves: dict[str, Array] = {}
    for name, (_, method) in METHODS.items():
        own = np.empty((len(table.tasks), repetitions, budget))
        for j in range(len(table.tasks)):
            start = _ranks(np.stack([values[:, j] for values in table.start.values()], 1)) if table.start else None
            looks = (shapes.points, shapes.outputs, np.zeros((len(table), 0)) if start is None else start)
            seen, truth = _scores(table, j)
            for r in range(repetitions):
                rng = np.random.default_rng([seed, j, r])
                own[j, r] = truth[_run(method, looks, seen, rng, budget)]
        curves[name] = own
    rng = np.random.default_rng(seed)
    draws = [
        (rng.integers(len(table.tasks), size=len(table.tasks)), rng.integers(repetitions, size=repetitions))
        for _ in range(400)
    ]
    tracks = [_track(name, curves, draws) for name in curves]
    tracks.sort(key=lambda track: track.regret[-1])
    return Replayed(tuple(tracks), len(table), len(table.tasks), repetitions, budget)


def _scores(table: MeasuredTable, task: int) -> tuple[Array, Array]:
    """What a method sees of each function, and the regret of choosing it; what diverged is as bad as the worst."""
    seen, outcome = (np.log(values) for values in (table.early[:, task, -1], table.outcome[:, task]))
    seen, outcome = (np.where(np.isnan(v), np.nanmax(v), v) for v in (seen, outcome))
    best, median = outcome.min(), np.median(outcome)
    return seen, (outcome - best) / max(median - best, 1e-12)


def _run(
    method: Method, looks: tuple[Array, Array, Array], scores: Array, rng: np.random.Generator, budget: int
) -> Array:
    """The function that is chosen after each trial, (budget,)."""
    seen = _Seen(*looks, [], [])
    begins = method is not _known
    while len(seen.tried) < budget:
        wanted = min(TOGETHER, budget - len(seen.tried))
        first = begins and len(seen.tried) < BEGIN
        for i in (_random if first else method)(seen, rng, wanted):
            seen.tried.append(int(i))
            seen.scores.append(float(scores[i]))
    order = np.array(seen.tried)
    return order[[int(np.argmin(seen.scores[: k + 1])) for k in range(budget)]]


def _track(name: str, curves: Mapping[str, Array], draws: list[tuple[Array, Array]]) -> Track:
    own, base = curves[name], curves["random"]
    drawn = np.array([own[tasks][:, picks].mean((0, 1)) for tasks, picks in draws])
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    change = (own - base)[:, :, -1]
    changes = [change[tasks][:, picks].mean() for tasks, picks in draws]
    least, most = (float(v) for v in np.percentile(changes, [2.5, 97.5]))
    what = METHODS[name][0]
    mean = own.mean((0, 1))
    return Track(
        name, what, tuple(mean.tolist()), tuple(low.tolist()), tuple(high.tolist()), (float(change.mean()), least, most)
    )


def _random(seen: _Seen, rng: np.random.Generator, n: int) -> Array:
    return rng.choice(seen.left, n, replace=False)


def _known(seen: _Seen, rng: np.random.Generator, n: int) -> Array:
    return seen.left[:n]


def _evolution(seen: _Seen, rng: np.random.Generator, n: int) -> Array:
    chosen: list[int] = []
    for _ in range(n):
        young = range(max(len(seen.tried) - POPULATION, 0), len(seen.tried))
        drawn = rng.choice(list(young), TOURNAMENT)
        parent = seen.tried[min(drawn, key=lambda i: seen.scores[i])]
        left = np.setdiff1d(seen.left, chosen)
        near = np.argsort(((seen.points[left] - seen.points[parent]) ** 2).sum(1), kind="stable")[:NEAREST]
        chosen.append(int(left[rng.choice(near)]))
    return np.array(chosen)


def _process(seen: _Seen, rng: np.random.Generator, n: int) -> Array:
    scores = _places(seen.scores)
    mean, deviation = Process(seen.points[seen.tried], scores).predict(seen.points[seen.left])
    z = (scores.min() - mean) / np.maximum(deviation, 1e-9)
    hope = deviation * (z * norm.cdf(z) + norm.pdf(z))
    return seen.left[np.argsort(-hope, kind="stable")[:n]]


def _neighbours(seen: _Seen, rng: np.random.Generator, n: int) -> Array:
    return _by_neighbours(seen, seen.outputs, n)


def _neighbours_and_start(seen: _Seen, rng: np.random.Generator, n: int) -> Array:
    spread = math.sqrt(float((seen.outputs**2).sum(1).mean()) / max(float((seen.start**2).sum(1).mean()), 1e-12))
    return _by_neighbours(seen, np.concatenate([seen.outputs, spread * seen.start], 1), n)


def _by_neighbours(seen: _Seen, features: Array, n: int) -> Array:
    """Those whose nearest tried functions scored best in the mean."""
    left, own = seen.left, features[seen.tried]
    squares = (features[left] ** 2).sum(1)[:, None] + (own**2).sum(1) - 2 * features[left] @ own.T
    near = np.argsort(squares, axis=1, kind="stable")[:, :NEIGHBOURS]
    return left[np.argsort(_places(seen.scores)[near].mean(1), kind="stable")[:n]]


def _places(scores: list[float]) -> Array:
    """Ranks as standard normal quantiles: an exploded score is no farther than the last place."""
    return np.asarray(norm.ppf((rankdata(scores) - 0.5) / len(scores)))


def _ranks(columns: Array) -> Array:
    """Each column as ranks between -1/2 and 1/2, what is not finite last."""
    known = np.where(np.isfinite(columns), columns, np.inf)
    return np.asarray(rankdata(known, axis=0) / len(columns) - 0.5)


METHODS: dict[str, tuple[str, Method]] = {
    "random": ("any function", _random),
    "known": ("the catalogue, in its order", _known),
    "evolution": ("regularised evolution over nearest shapes", _evolution),
    "process": ("Gaussian process on shape and theory, expected improvement", _process),
    "neighbours": ("3 nearest by outputs (AQuaSurF, without its Fisher eigenvalues)", _neighbours),
    "neighbours+": ("the same, with gains and first loss of the untrained network", _neighbours_and_start),
}
"""Name -> what it is, and the method."""
