"""Search methods replayed on a table: what each would have found, without training anything.

In each repetition everyone chooses among the same random half of the functions, on every task. Of each method the
regret against what was spent, see `table.replay`; of ours, see `table.ours`, also without each of its parts, and with
settings that were chosen on other tasks than they are judged on, see `table.retuned`.

The late regret of a method is the mean over the second half of its budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsmith.errors import ActsmithError
from actsmith.table import peers
from actsmith.table.ours import Ours
from actsmith.table.replay import Method, Play, drawn, played, scored
from actsmith.table.retuned import GRID, Draws, Interval, Retuned, in_words, interval, late, means, resampled, retuned
from actsmith.table.shapes import shapes_of
from actsmith.theory.measured import MeasuredTable

__all__ = ["MARKS", "METHODS", "OURS", "RETUNED", "Change", "Replayed", "Track", "replay"]

Array = NDArray[Any]

BUDGET, REPETITIONS = 96, 100
FEWEST = 32
"""Functions that there must be to choose among."""
RETUNING = 5
"""Of the repetitions, one of so many is used to retune."""
MARKS = (8, 16, 32, 64, 96)
"""Whole trainings at which the regret is told."""
OURS, RETUNED = "ours", "ours, retuned"


@dataclass(frozen=True)
class Track:
    """One method.

    Attributes:
        method, what: name, and what it does.
        regret: mean over tasks and repetitions after 1, 2, ... whole trainings.
        low, high: its 95 % interval, by drawing tasks and repetitions with replacement.
        late: the late regret.
        against: the difference of late regrets to random search, with its interval for all methods together.
    """

    method: str
    what: str
    regret: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    late: float
    against: Interval


@dataclass(frozen=True)
class Change:
    """Ours with a part left out, or a setting changed.

    Attributes:
        name: what is changed.
        part: whether a part is left out.
        change: of the late regret to ours as it is, with its interval for all changes together; above 0 ours is better
            as it is.
    """

    name: str
    part: bool
    change: Interval


@dataclass(frozen=True)
class Replayed:
    """All methods on one table, the smallest late regret first.

    Attributes:
        tracks: of the methods.
        changes: of ours.
        retuned: ours with other settings.
        functions, tasks, repetitions, budget: of the replay.
        among: the functions that a repetition chooses among.
        floor: regret of the best by validation score, had all of them been trained.
    """

    tracks: tuple[Track, ...]
    changes: tuple[Change, ...]
    retuned: Retuned
    functions: int
    tasks: int
    repetitions: int
    budget: int
    among: int
    floor: float


METHODS: dict[str, tuple[str, Method]] = {
    "random": ("any function", peers.random),
    "evolution": ("regularised evolution over nearest shapes", peers.evolution),
    "TPE": ("Parzen estimator over shape coordinates and family", peers.tpe),
    "Gaussian process": ("on shape and theory, expected improvement", peers.process),
    "AQuaSurF": ("3 nearest by outputs and Fisher eigenvalues", peers.aquasurf),
    "outputs and gains": ("3 nearest by outputs, gains and first loss of the untrained network", peers.with_gains),
    OURS: ("the search's decisions as they are", Ours()),
}
"""Name -> what it is, and the method."""


def replay(table: MeasuredTable, repetitions: int = REPETITIONS, budget: int = BUDGET, seed: int = 0) -> Replayed:
    """Replay every method on every task; some milliseconds each.

    Args:
        table: its beginning counts, where every function was trained on every task; a smaller budget is taken where a
            quarter of those are fewer.
        repetitions: of each method on each task.
        budget: in whole trainings.
        seed: of all draws.

    Raises:
        ActsmithError: too few functions were trained on every task.
    """
    table = table.beginning()
    if len(table) < FEWEST:
        raise ActsmithError(
            f"table: got {len(table)} functions that were trained on every task; expected {FEWEST} or more to choose "
            "among: go on with its build"
        )
    budget, tasks = min(budget, len(table) // 4), len(table.tasks)
    shapes, parts = shapes_of(table), _parts(table)
    plain: dict[str, Method] = {name: method for name, (_, method) in METHODS.items()} | parts
    settings: dict[str, Method] = {str(i): one for i, one in enumerate(GRID)}
    curves = {name: np.empty((tasks, repetitions, budget)) for name in plain}
    fewer = max(repetitions // RETUNING, 1)
    curves |= {name: np.empty((tasks, fewer, budget)) for name in settings}
    floor, among = np.empty((repetitions, tasks)), 0
    for r in range(repetitions):
        draw = drawn(table, shapes, np.random.default_rng([seed, r]))
        among = len(draw.rows)
        for j in range(tasks):
            told, regret = scored(table, draw, j)
            floor[r, j] = regret[int(np.argmin(told[:, -1]))]
            for name, method in (plain | settings if r < fewer else plain).items():
                play = Play(draw, j, told, table.shares, budget)
                curves[name][j, r] = played(method, play, regret, np.random.default_rng([seed, r, j]))
    again = retuned(np.stack([curves[name] for name in settings]), seed)
    rng = np.random.default_rng(seed)
    many, few = (resampled(tasks, count, rng) for count in (repetitions, fewer))
    # Of all repetitions ours is known as it is; what the settings change of it on each task, from a few of them.
    curves[RETUNED] = curves[OURS] + (again.held - curves["0"]).mean(1, keepdims=True)
    tracks = [_track(said, curves[name], curves["random"], many) for name, said in _said(table).items()]
    return Replayed(
        tuple(sorted(tracks, key=lambda track: track.late)), tuple(_changes(curves, parts, many, few)), again,
        len(table), tasks, repetitions, budget, among, float(floor.mean()),
    )  # fmt: skip


def _parts(table: MeasuredTable) -> dict[str, Method]:
    """Ours without each of its parts."""
    found: dict[str, Method] = {f"without {family}": Ours(without=family) for family in sorted(set(table.families))}
    return found | {"without the surrogate": Ours(screened=False), "without short looks": Ours(look=1.0)}


def _changes(curves: Mapping[str, Array], parts: Iterable[str], many: Draws, few: Draws) -> list[Change]:
    """Ours without each part; then with each single setting of the grid, of the fewer repetitions."""
    single = [(i, in_words(one)) for i, one in enumerate(GRID) if i and "," not in in_words(one) and one.look != 1]
    asked = [(name, True, late(curves[name]) - late(curves[OURS])) for name in parts]
    asked += [(name, False, late(curves[str(i)]) - late(curves["0"])) for i, name in single]
    return [Change(name, part, interval(change, many if part else few, len(asked))) for name, part, change in asked]


def _said(table: MeasuredTable) -> dict[str, tuple[str, str]]:
    """What each method is called, and what it does, on this table."""
    found = {name: (name, what) for name, (what, _) in METHODS.items()}
    known = int((np.nan_to_num(table.fisher) != 0).any((0, 2)).sum())
    if known < len(table.tasks):
        where = f"Fisher eigenvalues on {known} of {len(table.tasks)} tasks" if known else "outputs alone"
        found["AQuaSurF"] = f"AQuaSurF, {where}", f"3 nearest by outputs{f' and {where}' if known else ' alone'}"
    return found | {RETUNED: (RETUNED, "settings chosen on half of the tasks, judged on the others")}


def _track(said: tuple[str, str], own: Array, base: Array, draws: Draws) -> Track:
    low, high = np.percentile(means(own, draws), [2.5, 97.5], axis=0)
    return Track(
        *said, tuple(own.mean((0, 1)).tolist()), tuple(low.tolist()), tuple(high.tolist()),
        float(late(own).mean()), interval(late(own) - late(base), draws, len(METHODS)),
    )  # fmt: skip
