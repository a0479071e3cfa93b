"""What a reproduction found, as data: tables with their intervals, curves, and the paper's claims, one by one.

The report draws this and computes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from actsmith.experiments.folder import RunFolder
from actsmith.experiments.problem import Metric
from actsmith.experiments.statistics import effect_size, holm, interval, paired_difference, paired_p

__all__ = ["Claim", "Curves", "Findings", "Row", "Series", "Table", "Verdict", "comparison", "scores"]

Verdict = Literal["reproduced", "partly reproduced", "not reproduced", "not resolved"]
"""What the intervals say of a statement."""


@dataclass(frozen=True)
class Row:
    """One activation in a table. Where the metric is compared by logarithm, mean, low and high are geometric and
    difference, its interval and effect size are in decades.

    Attributes:
        name: of the activation.
        values: the score of each seed, None where the net diverged.
        mean, low, high: over the seeds with a 95 % interval; None where a net diverged.
        difference, difference_low, difference_high: to the reference, paired by seed; None for itself.
        p: of the paired t-test, Holm-corrected over the table.
        effect: Cohen's d_z.
        rate: the tuned learning rate; `at_edge` says whether it is an end of its grid.
        step_seconds, peak_bytes: of a training step.
        diverged: nets whose loss or score was not finite.
    """

    name: str
    values: tuple[float | None, ...]
    mean: float | None
    low: float | None
    high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p: float | None
    effect: float | None
    rate: float
    at_edge: bool
    step_seconds: float
    peak_bytes: int
    diverged: int


@dataclass(frozen=True)
class Table:
    """Activations on one experiment, best first.

    Attributes:
        name, title: for files, for readers.
        metric: what is scored.
        reference: what differences are taken to.
        rows: best first, diverged ones last.
        note: a sentence on how.
    """

    name: str
    title: str
    metric: Metric
    reference: str
    rows: tuple[Row, ...]
    note: str = ""

    def row(self, name: str) -> Row:
        """The row of one activation; KeyError where there is none."""
        found = next((row for row in self.rows if row.name == name), None)
        if found is None:
            raise KeyError(name)
        return found


@dataclass(frozen=True)
class Series:
    """One line of a figure; None leaves a gap. `low` and `high` bound a band."""

    label: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] | None = None
    high: tuple[float | None, ...] | None = None


@dataclass(frozen=True)
class Curves:
    """One figure: panels side by side, each with its lines.

    Attributes:
        name, title: of the file, for readers.
        panels: title -> lines.
        x_label, y_label: of every panel.
        log_x, log_y: logarithmic axes.
        markers: points without lines.
    """

    name: str
    title: str
    panels: Mapping[str, tuple[Series, ...]]
    x_label: str
    y_label: str
    log_x: bool = False
    log_y: bool = False
    markers: bool = False


@dataclass(frozen=True)
class Claim:
    """A statement of the paper and what became of it here."""

    statement: str
    verdict: Verdict | Literal["out of reach here"]
    evidence: str


@dataclass(frozen=True)
class Findings:
    """All that a reproduction has to say.

    Attributes:
        summary: sentences for the head of the page.
        tables, curves, claims: in reading order.
        facts: name -> plain JSON values that belong to neither.
    """

    summary: str
    tables: tuple[Table, ...] = ()
    curves: tuple[Curves, ...] = ()
    claims: tuple[Claim, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def records(folder: RunFolder, experiment: str, stage: str = "score") -> dict[str, list[dict[str, Any]]]:
    """Activation -> records of one experiment's trainings, in the order of the file."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in folder.results.values():
        if record.get("experiment") == experiment and record.get("stage") == stage:
            found.setdefault(record["activation"], []).append(record)
    return found


def scores(folder: RunFolder, experiment: str, metric: str, split: str = "test") -> dict[str, dict[int, float | None]]:
    """Activation -> seed -> score; None where the net diverged or the score is not finite."""
    found: dict[str, dict[int, float | None]] = {}
    for name, trained in records(folder, experiment).items():
        by_seed = found.setdefault(name, {})
        for record in trained:
            for seed, diverged, value in zip(record["seeds"], record["diverged"], record[split][metric], strict=True):
                by_seed[seed] = None if diverged else value
    return found


def comparison(
    folder: RunFolder,
    experiment: str,
    metric: Metric,
    *,
    reference: str,
    rates: Sequence[float],
    title: str,
    note: str = "",
    split: str = "test",
) -> Table:
    """The table of one finished experiment.

    Args:
        folder: holds its results.
        experiment: its name.
        metric: which score; any name that `Problem.score` gave.
        reference: the activation of the differences.
        rates: the grid, to mark a rate at its end.
        title, note: for readers.
        split: "test" or "validation".
    """
    by_seed = scores(folder, experiment, metric.name, split)
    trained = records(folder, experiment)
    seeds = sorted(by_seed[reference])
    base = metric.transformed([by_seed[reference].get(s) for s in seeds])
    rows = [
        _row(metric, [values.get(s) for s in seeds], None if name == reference else base, trained[name], rates)
        for name, values in by_seed.items()
    ]
    done = _corrected(rows)
    sign = -1 if metric.better == "higher" else 1
    done.sort(key=lambda r: (r.mean is None, sign * (r.mean if r.mean is not None else 0.0), r.name))
    return Table(experiment, title, metric, reference, tuple(done), note)


def _row(
    metric: Metric,
    raw: Sequence[float | None],
    base: list[float] | None,
    trained: list[dict[str, Any]],
    rates: Sequence[float],
) -> Row:  # fmt: skip
    mine = metric.transformed(raw)
    found = interval(mine) if mine is not None else None
    pair = paired_difference(mine, base) if mine is not None and base is not None else None
    effect = effect_size(mine, base) if mine is not None and base is not None else None
    ends = [None, None, None] if found is None else [found.mean, found.low, found.high]
    mean, low, high = (10.0**v if metric.log and v is not None else v for v in ends)
    return Row(
        name=trained[0]["activation"],
        values=tuple(raw),
        mean=mean,
        low=low,
        high=high,
        difference=pair.mean if pair else None,
        difference_low=pair.low if pair else None,
        difference_high=pair.high if pair else None,
        p=paired_p(mine, base) if mine is not None and base is not None else None,
        effect=effect if effect is not None and math.isfinite(effect) else None,
        rate=trained[0]["rate"],
        at_edge=len(rates) > 1 and trained[0]["rate"] in (min(rates), max(rates)),
        step_seconds=sum(r["step_seconds"] for r in trained) / len(trained),
        peak_bytes=max(int(r["peak_bytes"]) for r in trained),
        diverged=sum(v is None for v in raw),
    )


def _corrected(rows: Sequence[Row]) -> list[Row]:
    """The same with Holm's p over all rows that have one."""
    tested = [i for i, row in enumerate(rows) if row.p is not None]
    adjusted = dict(zip(tested, holm([row.p for row in rows if row.p is not None]), strict=True))
    return [replace(row, p=adjusted.get(i)) for i, row in enumerate(rows)]
