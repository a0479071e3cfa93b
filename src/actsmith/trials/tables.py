"""A table of activations: means with their intervals, differences paired by seed, verdicts. The report draws it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from actsmith.training.problem import Metric, Split
from actsmith.trials.statistics import (
    Interval,
    effect_size,
    holm,
    interval,
    paired_difference,
    paired_p,
    share_interval,
)
from actsmith.trials.trial import Outcome
from actsmith.trials.verdict import Verdict, verdict

__all__ = ["Duel", "Row", "Table", "by_seed", "contest", "table"]


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
        diverged: nets without a finite score: their loss was not finite, or the training failed.
        failed: those of them whose training failed, as for want of memory or time.
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
    failed: int = 0

    @property
    def interval(self) -> Interval | None:
        """Of the mean; None where a net diverged."""
        if self.mean is None or self.low is None or self.high is None:
            return None
        return Interval(self.mean, self.low, self.high, len(self.values))


@dataclass(frozen=True)
class Table:
    """Activations on one task, best first.

    Attributes:
        name, title: for files, for readers.
        metric: what is scored.
        reference: what differences are taken to.
        rows: best first, diverged ones last.
        note: a sentence on how.
        labels: what tells it from others that are read with it.
    """

    name: str
    title: str
    metric: Metric
    reference: str
    rows: tuple[Row, ...]
    note: str = ""
    labels: Mapping[str, Any] = field(default_factory=dict)

    def row(self, name: str) -> Row:
        """The row of one activation; KeyError where there is none."""
        found = next((row for row in self.rows if row.name == name), None)
        if found is None:
            raise KeyError(name)
        return found


def by_seed(outcomes: Iterable[Outcome], metric: Metric | str, split: Split) -> dict[int, float | None]:
    """Seed -> score."""
    return {o.trial.seed: o.score(metric, split) for o in outcomes}


def table(
    outcomes: Mapping[str, Sequence[Outcome]],
    metric: Metric,
    *,
    reference: str,
    rates: Sequence[float] | Mapping[str, Sequence[float]],
    name: str,
    title: str,
    note: str = "",
    split: Split = "test",
) -> Table:
    """The table of finished trainings.

    Args:
        outcomes: activation -> its scored trainings.
        metric: which score; any name that `Problem.score` gave.
        reference: the activation of the differences.
        rates: the grid, to mark a rate at its end; or each activation's own.
        name, title, note: for files, for readers.
        split: "test" or "validation".
    """
    scores = {activation: by_seed(own, metric, split) for activation, own in outcomes.items()}
    seeds = sorted(scores[reference])
    base = metric.transformed([scores[reference].get(s) for s in seeds])
    rows = [
        _row(
            metric,
            [own.get(s) for s in seeds],
            None if each == reference else base,
            outcomes[each],
            rates[each] if isinstance(rates, Mapping) else rates,
        )
        for each, own in scores.items()
    ]
    tested = [i for i, row in enumerate(rows) if row.p is not None]
    adjusted = dict(zip(tested, holm([row.p for row in rows if row.p is not None]), strict=True))
    done = [replace(row, p=adjusted.get(i)) for i, row in enumerate(rows)]
    done.sort(key=lambda r: (r.mean is None, -metric.sign * (r.mean if r.mean is not None else 0.0), r.name))
    return Table(name, title, metric, reference, tuple(done), note)


def _row(
    metric: Metric,
    raw: Sequence[float | None],
    base: list[float] | None,
    trained: Sequence[Outcome],
    rates: Sequence[float],
) -> Row:
    mine = metric.transformed(raw)
    found = (
        (share_interval if metric.share and min(mine) >= 0 and max(mine) <= 1 else interval)(mine)
        if mine is not None
        else None
    )
    pair = paired_difference(mine, base) if mine is not None and base is not None else None
    effect = effect_size(mine, base) if mine is not None and base is not None else None
    ends = [None, None, None] if found is None else [found.mean, found.low, found.high]
    mean, low, high = (10.0**v if metric.log and v is not None else v for v in ends)
    rate = trained[0].trial.rate
    return Row(
        name=trained[0].name,
        values=tuple(raw),
        mean=mean,
        low=low,
        high=high,
        difference=pair.mean if pair else None,
        difference_low=pair.low if pair else None,
        difference_high=pair.high if pair else None,
        p=paired_p(mine, base) if mine is not None and base is not None else None,
        effect=effect if effect is not None and math.isfinite(effect) else None,
        rate=rate,
        at_edge=len(rates) > 1 and rate in (min(rates), max(rates)),
        step_seconds=sum(o.step_seconds for o in trained) / len(trained),
        peak_bytes=max(o.peak_bytes for o in trained),
        diverged=sum(v is None for v in raw),
        failed=sum(o.reason is not None for o in trained),
    )


@dataclass(frozen=True)
class Duel:
    """One activation against another on the same seeds; positive differences are the first one's gain.

    Attributes:
        name, other: who against whom.
        table: where.
        difference: mean and 95 % interval of the paired differences; None where a net of either diverged.
        p: of the paired t-test, Holm-corrected over the contest.
        verdict: what that says; where one of the two alone diverged, the other is better, unless a training failed.
    """

    name: str
    other: str
    table: str
    difference: Interval | None
    p: float
    verdict: Verdict

    def __str__(self) -> str:
        if self.difference is None:
            return f"{self.other}: a net diverged"
        d = self.difference
        return f"{self.other} {d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}], p {self.p:.2g}"


def contest(pairs: Sequence[tuple[Table, str, str]], margin: float = 0.0) -> tuple[Duel, ...]:
    """Duels, each in a table, corrected together by Holm.

    Args:
        pairs: (table, first, second).
        margin: what is too small to matter, in the metric's units (decades where it is compared by logarithm).
    """
    found: list[tuple[Interval | None, float, Verdict | None]] = []
    for where, first, second in pairs:
        a, b = (where.metric.transformed(where.row(name).values) for name in (first, second))
        if a is None or b is None:
            failed = where.row(first).failed or where.row(second).failed
            lone: Verdict = "open" if a is b or failed else "better" if b is None else "worse"
            found.append((None, 1.0, lone))
            continue
        mine, theirs = ([where.metric.sign * v for v in values] for values in (a, b))
        found.append((paired_difference(mine, theirs), paired_p(mine, theirs), None))
    compared = [i for i, (difference, _, _) in enumerate(found) if difference is not None]
    corrected = dict(zip(compared, holm([found[i][1] for i in compared]), strict=True))
    return tuple(
        Duel(first, second, where.name, difference, corrected.get(i, 1.0),
             lone or verdict(difference, margin, corrected.get(i)))
        for i, ((where, first, second), (difference, _, lone)) in enumerate(zip(pairs, found, strict=True))
    )  # fmt: skip
