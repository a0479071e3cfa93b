"""Activations against each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from actsmith.report.figure import column, logarithmic
from actsmith.report.forest import draw_forest, line_of
from actsmith.report.show.card import Card, within
from actsmith.report.show.formula import short
from actsmith.trials.compare import Comparison
from actsmith.trials.tables import Row

__all__ = ["SHOWN", "forest_size"]

NAME = 18
"""Characters of a name beside a picture."""


def forest_size(width: float, lines: int) -> tuple[float, float]:
    """Inches of a picture of so many lines."""
    return width, 0.95 + 0.17 * max(lines, 1)


def _card(c: Comparison) -> Card:
    table = c.table
    head = (f"{table.metric.name}", "mean", "95 %", f"minus {table.reference}", "95 %", "p")
    return Card(table.title, head=head, rows=[_row(r) for r in table.rows], notes=[c.conclusion], plain=c.text())


def _row(r: Row) -> tuple[str, ...]:
    if r.mean is None or r.low is None or r.high is None:
        return r.name, f"diverged ({r.diverged} of {len(r.values)})", "", "", "", ""
    cells = (r.name, *within(r.mean, r.low, r.high))
    if r.difference is None or r.difference_low is None or r.difference_high is None:
        return *cells, "", "", ""
    difference = within(r.difference, r.difference_low, r.difference_high, sign="+")
    return *cells, *difference, "" if r.p is None else f"{r.p:.2g}"


def _picture(c: Comparison, width: float) -> Any:
    table, metric = c.table, c.table.metric
    with column(1, 2, forest_size(width, len(table.rows)), sharey=True) as (figure, axes):
        left, right = axes[0]
        drawn = (line_of(row, row.name == table.reference) for row in table.rows)
        lines = [replace(line, name=short(line.name, NAME)) for line in drawn]
        draw_forest(left, right, lines, metric.log)
        if metric.log:
            logarithmic(left, "x")
        left.set_xlabel(f"{metric.name.replace('_', ' ')},\n{metric.better} is better")
        right.set_xlabel(f"minus {short(table.reference, NAME)},\npaired" + (", decades" if metric.log else ""))
        for axis in (left, right)[metric.log :]:
            axis.locator_params(axis="x", nbins=3 if axis is left else 2)
        figure.suptitle(short(table.name))
        return figure


SHOWN = {"Comparison": (_card, _picture)}
