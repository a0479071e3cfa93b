"""Scores with their intervals, and paired differences beside them: a line for each activation, the best on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actsmith.report.figure import BLACK, CYCLE, drawing, entitle, logarithmic
from actsmith.trials.tables import Row, Table

__all__ = ["Line", "draw_forest", "line_of", "plot_table"]

REACH = 6.0
"""Interquartile ranges from the median that a common scale shows."""
Ends = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """An activation's score, and what it is more than the reference; None where there is none."""

    name: str
    score: float | None
    interval: Ends | None = None
    difference: float | None = None
    difference_interval: Ends | None = None
    reference: bool = False
    found: bool = False


def draw_forest(left: Any, right: Any, lines: Sequence[Line], log: bool = False) -> None:
    """Scores on the left axis, differences on the right; what is far off the scale stands at its end, as a number."""
    places = list(range(len(lines)))
    low, high = _scale(lines, log)
    for place, line in zip(places, lines, strict=True):
        colour, marker = (BLACK, "s") if line.reference else (CYCLE[0], "D") if line.found else (CYCLE[1], "o")
        look = {"color": colour, "marker": marker}
        if line.score is None:
            _written(left, place, "diverged", colour)
        elif not low <= line.score <= high:
            arrow = "\u25c0" if line.score < low else "\u25b6"
            _written(left, place, f"{arrow} {line.score:.3g}, off the scale", colour)
        else:
            _interval(left, place, line.score, line.interval, look)
        if line.difference is not None:
            _interval(right, place, line.difference, line.difference_interval, look)
    right.axvline(0.0, color=BLACK, linewidth=0.8, zorder=1)
    left.set_yticks(places, [line.name for line in lines])
    left.set_ylim(len(lines) - 0.4, -0.6)
    left.tick_params(axis="y", length=0)
    right.tick_params(axis="y", length=0)
    for axis in (left, right):
        axis.grid(visible=False, axis="y")


def plot_table(table: Table, path: Path) -> Path:
    """The table of a reproduction: scores, and paired differences to the reference, best on top."""
    lines = [line_of(row, row.name == table.reference) for row in table.rows]
    metric = table.metric
    with drawing(path, 1, 2, (10.5, 1.6 + 0.28 * len(lines)), sharey=True) as (figure, axes):
        left, right = axes[0]
        if metric.log:
            logarithmic(left, "x")
        draw_forest(left, right, lines, metric.log)
        right.locator_params(axis="x", nbins=5)
        left.set_xlabel(f"{metric.name.replace('_', ' ')}, {metric.better} is better")
        right.set_xlabel(f"minus {table.reference}, paired" + (", decades" if metric.log else ""))
        entitle(figure, table.title)
    return path


def line_of(row: Row, reference: bool) -> Line:
    """The line of a table's row."""
    ends = None if row.low is None or row.high is None else (row.low, row.high)
    apart = row.difference_low, row.difference_high
    differs = None if apart[0] is None or apart[1] is None else (apart[0], apart[1])
    return Line(row.name, row.mean, ends, row.difference, differs, reference)


def _scale(lines: Sequence[Line], log: bool) -> Ends:
    """The scores that a common scale shows."""
    scores = np.array([line.score for line in lines if line.score is not None and (line.score > 0 or not log)])
    if not scores.size:
        return -np.inf, np.inf
    values = np.log10(scores) if log else scores
    lower, middle, upper = np.quantile(values, [0.25, 0.5, 0.75])
    reach = max(REACH * (upper - lower), 1e-3 * abs(middle), 1e-9)
    low, high = middle - reach, middle + reach
    return (10.0**low, 10.0**high) if log else (low, high)


def _interval(axis: Any, place: int, value: float, ends: Ends | None, look: dict[str, str]) -> None:
    if ends is not None:
        axis.plot(ends, [place, place], color=look["color"], linewidth=1.4)
    axis.plot([value], [place], **look)


def _written(axis: Any, place: int, text: str, colour: str) -> None:
    axis.text(0.02, place, text, color=colour, va="center", fontsize="small", transform=axis.get_yaxis_transform())
