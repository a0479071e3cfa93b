"""What every figure shares: SVG the same for the same numbers, colours after Okabe and Ito, told apart by all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from actsmith.errors import require

__all__ = ["BLACK", "BLUE", "CYCLE", "DASHES", "GREY", "ORANGE", "drawing", "logarithmic"]

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


@contextmanager
def drawing(path: Path | IO[str], rows: int, columns: int, size: tuple[float, float], **options: Any) -> Iterator[Any]:
    """Axes (rows, columns) that are saved, to a file or a text buffer, on leaving."""
    mpl = require("matplotlib", "report", "report")
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        drawn = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(drawn)
        yield drawn, drawn.subplots(rows, columns, squeeze=False, **options)
        drawn.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def logarithmic(axis: Any, name: str) -> None:
    """A logarithmic x or y axis with plain numbers: matplotlib's own labels there are mathematical text."""
    from matplotlib.ticker import LogFormatter

    axis.set(**{f"{name}scale": "log"})
    scale = getattr(axis, f"{name}axis")
    scale.set_major_formatter(lambda value, _: f"{value:g}")
    scale.set_minor_formatter(LogFormatter())
