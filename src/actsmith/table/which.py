"""Which activation for which kind of network: the table's answer, without the luck of the chosen.

Of many functions the one that scored best is also the luckiest. So one half of the seeds chooses and the other half
says what the choice is worth, against a reference on the same seeds (start and order of the data are then the same):

    gain = 1 - exp(mean over the telling seeds of log s_chosen - log s_reference)

Only functions that have seeds for both halves take part: the catalogue, and the best of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsmith.errors import ActsmithError
from actsmith.theory.measured import MeasuredTable
from actsmith.trials.statistics import holm, paired_difference, paired_p

__all__ = ["KNOWN", "Gain", "Kind", "everywhere", "kinds"]

Array = NDArray[Any]

KNOWN = "catalogue"
SHOWN = 3
"""Functions that are named for each task, of the known ones and of all."""
FEWEST = 3
"""Seeds in the half that tells."""


@dataclass(frozen=True)
class Gain:
    """What a chosen function is worth on seeds that did not choose it.

    Attributes:
        name, formula, family: as the table has them.
        gain, low, high: share of the reference's error that it saves, with a 95 % interval; negative where it is worse.
        p: two-sided, that the gain is not zero, after Holm's correction over all gains of the answer.
    """

    name: str
    formula: str
    family: str
    gain: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Kind:
    """One task of the table, which stands for a kind of network.

    Attributes:
        task, what: its name; what is learned by which network.
        known: the best of the known functions, best first by the seeds that choose.
        all: the best of all that have the seeds.
        seeds: how many tell.
    """

    task: str
    what: str
    known: tuple[Gain, ...]
    all: tuple[Gain, ...]
    seeds: int


def kinds(table: MeasuredTable, reference: str = "gelu", shown: int = SHOWN) -> list[Kind]:
    """The answer for every task.

    Args:
        table: whose scores are errors, all positive.
        reference: name of the function that gains are counted against.
        shown: functions a task, of the known ones and of all.

    Raises:
        ActsmithError: the table has no such function, or too few seeds.
    """
    choosing, telling = _halves(table, reference)
    found = []
    for j, task in enumerate(table.tasks):
        order = np.argsort(choosing[:, j], kind="stable")
        order = order[np.isfinite(choosing[order, j]) & np.isfinite(telling[order, j]).all(1)]
        known = [i for i in order if table.families[i] == KNOWN][:shown]
        worth = _gains(table, telling[:, [j]], reference)
        found.append(Kind(task.name, task.what, worth(known), worth(order[:shown]), telling.shape[2]))
    return _corrected(found)


def everywhere(table: MeasuredTable, reference: str = "gelu", shown: int = SHOWN) -> Kind:
    """The answer for a network of no kind in particular: chosen by the mean place over all tasks, told by the mean of
    the logarithmic gains over them.

    Raises:
        ActsmithError: as `kinds`.
    """
    choosing, telling = _halves(table, reference)
    whole = np.flatnonzero(np.isfinite(choosing).all(1) & np.isfinite(telling).all((1, 2)))
    places = choosing[whole].argsort(0).argsort(0).mean(1)
    order = whole[np.argsort(places, kind="stable")]
    known = [i for i in order if table.families[i] == KNOWN][:shown]
    worth = _gains(table, telling, reference)
    [found] = _corrected([Kind("all", "the mean over all tasks", worth(known), worth(order[:shown]), telling.shape[2])])
    return found


def _halves(table: MeasuredTable, reference: str) -> tuple[Array, Array]:
    """Mean logarithm of the choosing seeds (n, t), logarithms of the telling ones (n, t, seeds)."""
    if reference not in table.names:
        raise ActsmithError(f"table: reference: got {reference!r}; expected the name of a function that was measured")
    logs = np.log(table.seeds)
    half = logs.shape[2] // 2
    if logs.shape[2] - half < FEWEST:
        raise ActsmithError(f"table: got {logs.shape[2]} seeds; expected {2 * FEWEST} or more, to choose and to tell")
    return logs[:, :, :half].mean(2), logs[:, :, half:]


def _gains(table: MeasuredTable, telling: Array, reference: str) -> Callable[[Iterable[int]], tuple[Gain, ...]]:
    """What rows are worth over the tasks of `telling`, (n, tasks, seeds)."""
    other = telling[table.names.index(reference)].mean(0).tolist()

    def one(row: int) -> Gain:
        own = telling[row].mean(0).tolist()
        found, p = paired_difference(own, other), paired_p(own, other)
        gain, high, low = (float(1 - np.exp(v)) for v in (found.mean, found.low, found.high))
        return Gain(table.names[row], table.formulas[row], table.families[row], gain, low, high, p)

    return lambda rows: tuple(map(one, rows))


def _corrected(found: list[Kind]) -> list[Kind]:
    """After Holm's correction over all gains."""
    gains = {id(g): g for kind in found for g in (*kind.known, *kind.all)}
    corrected = dict(zip(gains, holm([g.p for g in gains.values()]), strict=True))

    def told(own: tuple[Gain, ...]) -> tuple[Gain, ...]:
        return tuple(replace(g, p=corrected[id(g)]) for g in own)

    return [Kind(k.task, k.what, told(k.known), told(k.all), k.seeds) for k in found]
