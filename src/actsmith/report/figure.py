"""What every figure shares: SVG the same for the same numbers, colours after Okabe and Ito, told apart by all."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from actsmith.errors import require

__all__ = ["BLACK", "BLUE", "CYCLE", "DASHES", "GREY", "ORANGE", "column", "drawing", "entitle", "logarithmic"]

BLUE, ORANGE, GREY, BLACK = "#0072B2", "#D55E00", "#8c8c8c", "#000000"
CYCLE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)))

_STYLE: Any = {
    "svg.hashsalt": "actsmith",
    "svg.fonttype": "none",
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "text.parse_math": False,
}


_COLUMN: Any = _STYLE | {
    "font.size": 7,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.titlesize": 7,
    "figure.titlesize": 7.5,
    "lines.markersize": 3.5,
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}
"""Of a column in a paper: letters of 7 points, as outlines or embedded, so that they look alike everywhere."""


@contextmanager
def drawing(path: Path | IO[str], rows: int, columns: int, size: tuple[float, float], **options: Any) -> Iterator[Any]:
    """Axes (rows, columns) that are saved, to a file or a text buffer, on leaving."""
    with _styled(_STYLE, size) as drawn:
        yield drawn, drawn.subplots(rows, columns, squeeze=False, **options)
        drawn.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


@contextmanager
def column(rows: int, columns: int, size: tuple[float, float], **options: Any) -> Iterator[Any]:
    """A figure for a column of a paper, and its axes (rows, columns)."""
    with _styled(_COLUMN, size) as drawn:
        yield drawn, drawn.subplots(rows, columns, squeeze=False, **options)


@contextmanager
def _styled(style: Any, size: tuple[float, float]) -> Iterator[Any]:
    mpl = require("matplotlib", "report", "report")
    from actsmith.report.picture import Picture

    with mpl.rc_context(style):
        yield Picture(style, figsize=size)


LETTERS = 9.0
"""Bold letters of a title in an inch."""


def entitle(figure: Any, title: str) -> None:
    """The title of a whole figure, in as many lines as its width asks for."""
    figure.suptitle(textwrap.fill(title, max(int(LETTERS * figure.get_figwidth()), 20)), fontweight="bold")


def logarithmic(axis: Any, name: str) -> None:
    """A logarithmic x or y axis with plain numbers: matplotlib's own labels there are mathematical text."""
    from matplotlib.ticker import LogFormatter

    axis.set(**{f"{name}scale": "log"})
    scale = getattr(axis, f"{name}axis")
    scale.set_major_formatter(lambda value, _: f"{value:g}")
    scale.set_minor_formatter(LogFormatter())
