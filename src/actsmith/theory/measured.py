"""The table of measured activations: what ships with the package, read with NumPy alone.

Every function of the table was trained on some of its tasks, the first ones and the best on all; `actsmith table build`
makes it, docs/table.md says how. Where a formula stands among them is a fact where it was measured, else an estimate
from its nearest relatives.

| symbol | meaning                        |
|--------|--------------------------------|
| n      | functions of the table         |
| t      | tasks                          |
| k      | shares of a training           |
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from actsmith.errors import ActsmithError
from actsmith.files import plain
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula
from actsmith.names import did_you_mean
from actsmith.theory.law import Law
from actsmith.theory.laws import resolve_law
from actsmith.theory.nearest import distances, same

__all__ = ["DECADES", "NODES", "MeasuredTable", "Place", "Relative", "TableTask", "measured", "read_table"]

Array = NDArray[Any]

NODES = np.sinh(np.linspace(-math.asinh(24.0), math.asinh(24.0), 256)) / 2
"""Where the functions of a table are kept as values: |x| <= 12, close together at 0, float64 (256,)."""
DECADES = (-10, 6)
"""Powers of ten between which eigenvalues of the Fisher information are counted; those beyond are in the last ones."""
DATA = ("data", "activations.npz")


@dataclass(frozen=True)
class TableTask:
    """One task of the table.

    Attributes:
        name: as `actsmith table build --tasks` takes it.
        metric, better: the score, and which way is better ("higher" or "lower").
        unit: of the score, in words.
        log: whether the score is averaged by its logarithm.
        what: what is learned, by which network, in a sentence.
    """

    name: str
    metric: str
    better: str
    unit: str
    log: bool
    what: str


@dataclass(frozen=True)
class Relative:
    """A function of the table that is near in shape.

    Attributes:
        name, formula: of the function.
        distance: see `actsmith.theory.nearest`: 0 is an affine twin, 1 shares nothing.
        place: its place among all by the mean of its places on the tasks, 1 the best.
    """

    name: str
    formula: str
    distance: float
    place: float


@dataclass(frozen=True)
class Place:
    """Where a formula stands among what was measured.

    Attributes:
        place: 1 is the best of `of`; of an estimate the mean of its relatives', the near ones counting more.
        of: how many functions were measured.
        estimated: True where the function itself was not measured.
        name: of the function of the table; None for an estimate.
        low, high: of an estimate the best and the worst place of its relatives; else equal to `place`.
        by_task: task -> place among the functions that were trained on it; of an estimate likewise the weighted mean.
            A task is missing where neither it nor a relative was.
        of_task: task -> how many functions were trained on it.
        relatives: the nearest others.
    """

    place: float
    of: int
    estimated: bool
    name: str | None
    low: float
    high: float
    by_task: Mapping[str, float]
    of_task: Mapping[str, int]
    relatives: tuple[Relative, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values: dict[str, Any] = plain({**vars(self), "relatives": [vars(r) for r in self.relatives]})
        return values


@dataclass(frozen=True, eq=False)
class MeasuredTable:
    """Activations, each trained on some tasks: what is NaN in every matrix was not, see `trained`.

    Attributes:
        names, formulas: of the n functions; a formula is text with its parameters' values in it.
        families, origins: what kind of function it is; where it comes from, in a line.
        tasks: the t tasks.
        outcome: the score at the best of the rates, mean over the seeds (of a log score the geometric one), NaN where a
            training diverged; (n, t).
        seeds: the scores that `outcome` is the mean of, NaN beyond those that were trained; (n, t, most seeds).
        rate: the best rate, chosen on validation scores; (n, t).
        by_rate: mean validation score at each rate, NaN where a training diverged; (n, t, rates).
        rates: the rates that were tried, (t, rates).
        shares, early: shares of a training, (k,), and the validation score there at the best rate; (n, t, k).
        diverged: share of the trainings, over all rates, that diverged or whose score was not finite; (n, t).
        step_seconds: median seconds of a training step on one core in a stack, through a table; (n, t).
        start: quantities of the untrained network by name, NaN where they are not finite; each (n, t).
        fisher: of the untrained network, the share of the Fisher information's non-zero eigenvalues in each power of
            ten of `DECADES`, layers taken as alone, one batch of 64; NaN where gradients are not finite; (n, t, 16).
            Of a file from before it was measured (n, t, 0).
        theory: quantities of the function by name, NaN where they do not exist; each (n,).
        values: of the functions at `NODES`, (n, 256).
        about: how it was measured: versions, counts, dates, the checksum of the data.
    """

    names: tuple[str, ...]
    formulas: tuple[str, ...]
    families: tuple[str, ...]
    origins: tuple[str, ...]
    tasks: tuple[TableTask, ...]
    outcome: Array
    seeds: Array
    rate: Array
    by_rate: Array
    rates: Array
    shares: Array
    early: Array
    diverged: Array
    step_seconds: Array
    start: Mapping[str, Array]
    fisher: Array
    theory: Mapping[str, Array]
    values: Array
    about: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def trained(self) -> Array:
        """Whether a function was trained on a task, bool (n, t)."""
        return ~np.isnan(self.diverged)

    @property
    def common(self) -> tuple[TableTask, ...]:
        """The tasks that every function was trained on: a place among all is by these."""
        return tuple(task for task, column in zip(self.tasks, self.trained.T, strict=True) if column.all())

    def beginning(self) -> MeasuredTable:
        """The functions that were trained on every task whatever they did, before the first that was not."""
        whole = self.trained.all(1)
        count = len(self) if whole.all() else int(np.argmin(whole))
        count = min(count, self.about.get("unselected", count))
        return self if count == len(self) else self.only(count)

    def unselected(self) -> MeasuredTable:
        """The same without the cells of functions that were trained on a task because they did well on others."""
        kept = self.trained.copy()
        kept[len(self.beginning()) :, ~self.trained.all(0)] = False
        return replace(
            self, diverged=np.where(kept, self.diverged, np.nan), outcome=np.where(kept, self.outcome, np.nan)
        )

    def only(self, count: int) -> MeasuredTable:
        """The first functions."""
        own: dict[str, Any] = {name: getattr(self, name)[:count] for name in _BY_FUNCTION}
        own |= {group: {name: v[:count] for name, v in getattr(self, group).items()} for group in _GROUPS}
        return replace(self, **own)

    @cached_property
    def ranks(self) -> Array:
        """The place of every function on every task among those that were trained on it, 1 the best, equal ones sharing
        the mean; (n, t). What diverged shares the last places; NaN for what was not trained there."""
        signs = np.array([-1.0 if task.better == "higher" else 1.0 for task in self.tasks])
        found = np.full(self.outcome.shape, np.nan)
        for j, column in enumerate((self.outcome * signs).T):
            rows = self.trained[:, j]
            found[rows, j] = _places(column[rows])
        return found

    @cached_property
    def _overall(self) -> Array:
        if not self.common:
            raise ActsmithError("table: no task that every function was trained on; go on with its build")
        return _places(self.ranks[:, self.trained.all(0)].mean(1))

    def rank(self, task: str | None = None) -> Array:
        """The place of every function, 1 the best: on a task (NaN where it was not trained on it), or by the mean of
        the places on the tasks that all were trained on; (n,).

        Raises:
            ActsmithError: no such task, or none that all were trained on.
        """
        if task is None:
            return self._overall
        names = [known.name for known in self.tasks]
        if task not in names:
            hint = did_you_mean(task, names) or f"expected {', '.join(names)}"
            raise ActsmithError(f"table: no task named {task!r}; {hint}")
        return self.ranks[:, names.index(task)]

    def index(self, formula: FormulaLike) -> int | None:
        """The row of this function, whatever its name; None where it was not measured."""
        return same(resolve(formula), NODES, self.values)

    def relatives(self, formula: FormulaLike, law: Law | str = "normal", n: int = 5) -> list[Relative]:
        """The n functions that are nearest in shape, the function itself left out.

        Args:
            formula: any function that is finite where the pre-activations are.
            law: of the pre-activations.
            n: how many.

        Raises:
            ActsmithError: the formula is a constant, or not finite there.

        Example:
            >>> table = measured()
            >>> near = [] if table is None else table.relatives("gelu", n=2)
        """
        return self._relatives(resolve(formula), resolve_law(law), n)[0]

    def _relatives(self, formula: Formula, law: Law, n: int) -> tuple[list[Relative], Array]:
        own = self.index(formula)
        found = distances(formula, law, NODES, self.values, n + (own is not None))
        rows = [i for i in found if i != own][:n]
        near = [Relative(self.names[i], self.formulas[i], found[i], float(self.rank()[i])) for i in rows]
        return near, np.array(rows, int)

    def place(self, formula: FormulaLike, law: Law | str = "normal", n: int = 5) -> Place:
        """Where a formula stands: measured, or estimated from its n nearest relatives.

        Args:
            formula, law, n: as `relatives` takes them.

        Raises:
            ActsmithError: as `relatives`.
        """
        f = resolve(formula)
        own = self.index(f)
        near, rows = self._relatives(f, resolve_law(law), n)
        weights = np.array([1 / (relative.distance + 0.01) for relative in near])
        if own is not None:
            rows, weights = np.array([own]), np.ones(1)
        weights /= weights.sum()
        by_task, of_task = {}, {}
        for j, task in enumerate(self.tasks):
            there = self.trained[rows, j]
            if there.any():
                by_task[task.name] = float(weights[there] @ self.ranks[rows[there], j] / weights[there].sum())
                of_task[task.name] = int(self.trained[:, j].sum())
        places = self.rank()[rows]
        return Place(
            float(weights @ places), len(self), own is None, None if own is None else self.names[own],
            float(places.min()), float(places.max()), by_task, of_task, tuple(near),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: a record a function, what was measured beside its places; values at nodes left out."""
        tasks = [task.name for task in self.tasks]
        rows = []
        for i, name in enumerate(self.names):
            rows.append(
                {
                    "name": name, "formula": self.formulas[i], "family": self.families[i], "origin": self.origins[i],
                    "place": self.rank()[i], "places": dict(zip(tasks, self.ranks[i], strict=True)),
                    "outcome": dict(zip(tasks, self.outcome[i], strict=True)),
                    "rate": dict(zip(tasks, self.rate[i], strict=True)),
                    "diverged": dict(zip(tasks, self.diverged[i], strict=True)),
                    "theory": {key: column[i] for key, column in self.theory.items()},
                }
            )  # fmt: skip
        values: dict[str, Any] = _plain(
            {"about": dict(self.about), "tasks": [vars(t) for t in self.tasks], "rows": rows}
        )
        return values


def _plain(value: Any) -> Any:
    """As `files.plain`, scalars of NumPy among the values."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return plain(value)


def _places(values: Array) -> Array:
    """1 for the smallest, equal ones sharing the mean place, what is not a number last; float64 (n,)."""
    keys = np.where(np.isnan(values), np.inf, values)
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], np.float64)


_TEXTS = ("names", "formulas", "families", "origins")
_GROUPS = ("start", "theory")
_BY_FUNCTION = (*_TEXTS, "outcome", "seeds", "rate", "by_rate", "early", "diverged", "step_seconds", "fisher", "values")


def read_table(file: str | Path | IO[bytes]) -> MeasuredTable:
    """The table of a file that `actsmith table publish` wrote.

    Raises:
        ActsmithError: it is no such file.
    """
    try:
        with np.load(file, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
        about = json.loads(str(arrays.pop("about")))
        values: dict[str, Any] = {name: tuple(map(str, arrays.pop(name))) for name in _TEXTS}
        values["tasks"] = tuple(TableTask(**task) for task in about.pop("tasks"))
        for group in _GROUPS:
            own = [name for name in arrays if name.startswith(f"{group}:")]
            values[group] = {name.partition(":")[2]: _double(arrays.pop(name)) for name in own}
        arrays.setdefault("fisher", np.zeros((*arrays["outcome"].shape, 0)))
        plain_ones = {f.name for f in fields(MeasuredTable)} - set(values) - {"about"}
        values |= {name: _double(arrays[name]) for name in plain_ones}
        return MeasuredTable(**values, about=about)
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise ActsmithError(f"table: {file}: not a table of activations ({error}); publish it anew") from None


def _double(values: Array) -> Array:
    found = values.astype(np.float64)
    found.flags.writeable = False
    return found


@lru_cache(maxsize=1)
def measured() -> MeasuredTable | None:
    """The table that ships with the package; None where this copy has none."""
    file = files("actsmith.theory").joinpath(*DATA)
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        return read_table(opened)
