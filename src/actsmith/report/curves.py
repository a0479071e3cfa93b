"""The pictures of a reproduction: curves as lines."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Any

from actsmith.papers.findings import Curves, Series
from actsmith.report.figure import CYCLE, DASHES, GREY, drawing, entitle, logarithmic

__all__ = ["plot_curves"]

PANELS = 3
"""Panels in a row."""
FEW = 12
"""Lines of so few points show them: one between two gaps would be lost."""


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
        entitle(figure, curves.title)
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
