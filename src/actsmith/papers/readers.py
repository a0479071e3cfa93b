"""How every reproduction reads its folder: tables, lines with their intervals, and tables chosen by their labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from actsmith.papers.experiment import Experiment, Results, grown
from actsmith.papers.findings import Curves, Series
from actsmith.training.problem import Metric
from actsmith.trials import tables
from actsmith.trials.statistics import Interval, interval
from actsmith.trials.tables import Table
from actsmith.trials.trial import Outcome

__all__ = [
    "Compared", "against", "best_counts", "budget_of", "by_label", "chosen", "interval_of", "line", "losses", "means",
    "order_of", "outcomes", "table",
]  # fmt: skip


class Compared(Protocol):
    """What a table is made of: an experiment, or what is read like one."""

    @property
    def name(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def rates(self) -> tuple[float, ...]: ...
    @property
    def labels(self) -> Mapping[str, Any]: ...


def outcomes(folder: Results, name: str, stage: str = "score") -> dict[str, list[Outcome]]:
    """Activation -> the trainings of one table, by seed."""
    found: dict[str, list[Outcome]] = {}
    for outcome in folder.all().of(name, stage=stage):
        found.setdefault(outcome.name, []).append(outcome)
    return {activation: sorted(own, key=lambda o: o.trial.seed) for activation, own in found.items()}


def table(
    folder: Results,
    part: Compared,
    metric: Metric,
    *,
    title: str,
    note: str = "",
    name: str = "",
    reference: str = "",
    **labels: Any,
) -> Table:
    """The table of one finished experiment, on the test split, with its labels and the further ones.

    Args:
        folder: holds its results.
        part: the experiment.
        metric: which score; any name that `Problem.score` gave.
        title, note: for readers.
        name, reference: for files, of the differences; the experiment's by default.
    """
    scored = outcomes(folder, part.name)
    if grown(part):  # whole blocks alone
        whole = set.intersection(*({o.trial.seed for o in own} for own in scored.values()))
        scored = {activation: [o for o in own if o.trial.seed in whole] for activation, own in scored.items()}
    tried = {activation: {o.trial.rate for o in own} for activation, own in outcomes(folder, part.name, "tune").items()}
    made = tables.table(
        scored, metric, reference=reference or part.reference,
        rates={activation: sorted({*part.rates, *tried.get(activation, ())}) for activation in scored},
        name=name or part.name, title=title, note=note,
    )  # fmt: skip
    return replace(made, labels={**part.labels, **grown(part), **labels})


def budget_of(part: Experiment) -> str:
    """What each net of an experiment is trained for: "vit-cifar10, 1 epoch of batches of 64"."""
    recipe = part.recipe
    epochs = f"{recipe.epochs} epoch{'s' * (recipe.epochs > 1)} in batches of {recipe.batch}"
    return f"{part.name}, {epochs}" + f", {recipe.lbfgs} steps of L-BFGS" * (recipe.lbfgs > 0)


def chosen(found: Iterable[Table], **where: Any) -> list[Table]:
    """The tables that have these labels."""
    return [t for t in found if where.items() <= t.labels.items()]


def by_label(found: Iterable[Table], label: str) -> dict[Any, list[Table]]:
    """Value of a label -> the tables that have it, in order; those without it are left out."""
    groups: dict[Any, list[Table]] = {}
    for each in found:
        if label in each.labels:
            groups.setdefault(each.labels[label], []).append(each)
    return groups


def means(found: Iterable[Table]) -> dict[str, dict[str, list[float | None]]]:
    """Table -> activation -> mean and the ends of its interval, for tables that a page does not show."""
    return {t.name: {row.name: [row.mean, row.low, row.high] for row in t.rows} for t in found}


def order_of(found: Table, count: int | None = None, digits: int = 4) -> str:
    """The first activations with their means: "mlp: gelu 0.97, relu 0.96; diverged: tanh"."""
    rows = [f"{row.name} {row.mean:.{digits}g}" for row in found.rows[:count] if row.mean is not None]
    lost = [row.name for row in found.rows if row.mean is None]
    return f"{found.title}: {', '.join(rows) or 'none'}" + (f"; diverged: {', '.join(lost)}" if lost else "") + "."


def best_counts(found: Iterable[Table]) -> str:
    """How often each activation is first: "relu 3, gelu 1"."""
    first = [t.rows[0].name for t in found if t.rows[0].mean is not None]
    counts = sorted({name: first.count(name) for name in first}.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count}" for name, count in counts)


# ------------------------------------------------------------------------------------------------------- lines


def interval_of(values: Sequence[float | None], log: bool = False) -> Interval | None:
    """The mean with its 95 % interval, geometric where `log`; None where a value is missing or there are fewer than
    two."""
    numbers = Metric("", "lower", log).transformed(values)
    if numbers is None or len(numbers) < 2:
        return None
    found = interval(numbers)
    return replace(found, mean=10**found.mean, low=10**found.low, high=10**found.high) if log else found


def line(label: str, x: Sequence[float], samples: Sequence[Sequence[float | None]], log: bool = False) -> Series:
    """The mean over the samples at each x in its 95 % interval; gaps where one is missing."""
    found = [interval_of(values, log) for values in samples]
    mean, low, high = (tuple(getattr(i, end) if i else None for i in found) for end in ("mean", "low", "high"))
    return Series(label, tuple(x), mean, low, high)


def against(found: Sequence[Table], label: str, *, below: float = math.inf, band: bool = True) -> tuple[Series, ...]:
    """One line an activation of its mean over a label's numbers; gaps where a net diverged or the mean is not below
    `below`."""
    ordered = sorted(found, key=lambda t: float(t.labels[label]))
    x = tuple(float(t.labels[label]) for t in ordered)
    lines = []
    for name in sorted(row.name for row in ordered[0].rows):
        rows = [t.row(name) for t in ordered]
        mean, low, high = (
            tuple(v if r.mean is not None and r.mean < below else None for r in rows for v in [getattr(r, end)])
            for end in ("mean", "low", "high")
        )
        lines.append(Series(name, x, mean, low, high) if band else Series(name, x, mean))
    return tuple(lines)


def losses(folder: Results, name: str, title: str, x_label: str = "epoch", *, log: bool = False) -> Curves:
    """The training loss of every activation, the mean (geometric where `log`) over the nets that did not diverge."""
    lines = []
    for activation, trained in outcomes(folder, name).items():
        kept = [o.details["loss"] for o in trained if not o.diverged]
        if kept:
            steps = list(zip(*kept, strict=True))
            x = tuple(float(i + 1) for i in range(len(steps)))
            y = tuple(_mean(step, log) for step in steps)
            lines.append(Series(activation, x, y))
    return Curves(f"{name}-loss", f"{title}: training loss", {"": tuple(lines)}, x_label, "loss", log_y=log)


def _mean(values: Sequence[float | None], log: bool) -> float | None:
    numbers = Metric("", "lower", log).transformed(values)
    mean = sum(numbers) / len(numbers) if numbers else None
    return 10**mean if log and mean is not None else mean
