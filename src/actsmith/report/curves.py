"""The pictures of a reproduction: tables as intervals, curves as lines."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Any

from actsmith.papers.findings import Curves, Series
from actsmith.report.figure import BLACK, CYCLE, DASHES, GREY, drawing, logarithmic
from actsmith.trials.tables import Table

__all__ = ["plot_curves", "plot_table"]

PANELS = 3
"""Panels in a row."""
FEW = 12
"""Lines of so few points show them: one between two gaps would be lost."""


def plot_table(table: Table, path: Path) -> Path:
    """The score of every activation with its 95 % interval, and its paired difference to the reference, best on top."""
    rows = [row for row in table.rows if row.mean is not None]
    places = list(range(len(rows)))
    metric = table.metric
    with drawing(path, 1, 2, (10.5, 1.6 + 0.28 * max(len(rows), 1)), sharey=True) as (figure, axes):
        left, right = axes[0]
        for place, row in zip(places, rows, strict=True):
            colour, marker = (BLACK, "s") if row.name == table.reference else (CYCLE[1], "o")
            left.plot([row.low, row.high], [place, place], color=colour, linewidth=1.6)
            left.plot([row.mean], [place], color=colour, marker=marker, markersize=6)
            if row.difference is not None:
                ends = [row.difference_low, row.difference_high]
                right.plot(ends, [place, place], color=colour, linewidth=1.6)
                right.plot([row.difference], [place], color=colour, marker=marker, markersize=6)
        right.axvline(0.0, color=BLACK, linewidth=1)
        if metric.log:
            logarithmic(left, "x")
        left.set_yticks(places, [row.name for row in rows])
        left.invert_yaxis()
        left.set_xlabel(f"{metric.name.replace('_', ' ')}, {metric.better} is better")
        right.set_xlabel(f"minus {table.reference}, paired" + (", decades" if metric.log else ""))
        figure.suptitle(table.title, fontweight="bold")
    return path


def plot_curves(curves: Curves, path: Path) -> Path:
    """One panel for each title, one line for each series, the same colour for the same label in all of them."""
    count = len(curves.panels)
    columns = min(count, PANELS)
    rows = ceil(count / columns)
    labels = list(dict.fromkeys(s.label for lines in curves.panels.values() for s in lines))
    size = (min(4.2 * columns + 1.5, 12.0), 3.2 * rows + 0.8 + 0.2 * ceil(len(labels) / 4))
    handles: dict[str, Any] = {}
    with drawing(path, rows, columns, size) as (figure, axes):
        flat = list(axes.flat)
        for axis, (title, lines) in zip(flat, curves.panels.items(), strict=False):
            for series in lines:
                handles.setdefault(series.label, _draw(axis, series, labels.index(series.label), curves.markers))
            axis.set_title(title, fontsize=10)
            axis.set_xlabel(curves.x_label)
            axis.set_ylabel(curves.y_label)
            for name, wanted in (("x", curves.log_x), ("y", curves.log_y)):
                if wanted:
                    logarithmic(axis, name)
        for axis in flat[count:]:
            axis.set_visible(False)
        if len(handles) > 1:
            figure.legend(
                list(handles.values()), list(handles), loc="outside lower center", ncols=4, frameon=False, fontsize=8.5
            )
        figure.suptitle(curves.title, fontweight="bold")
    return path


def _draw(axis: Any, series: Series, number: int, markers: bool) -> Any:
    """The handle of a line (or of points), with its band where there is one."""
    colour = GREY if series.label.startswith("exact") else CYCLE[number % len(CYCLE)]
    style = DASHES[(number // len(CYCLE)) % len(DASHES)]
    y = [float("nan") if v is None else v for v in series.y]
    look = {
        "linestyle": "none" if markers else style,
        "marker": "o" if markers or len(y) <= FEW else "",
        "markersize": 4.0,
    }
    (handle,) = axis.plot(series.x, y, color=colour, linewidth=1.5, **look)
    if series.low is not None and series.high is not None:
        low, high = ([float("nan") if v is None else v for v in end] for end in (series.low, series.high))
        axis.fill_between(series.x, low, high, color=colour, alpha=0.15, linewidth=0)
    return handle
