"""All that is written for a reader about one run folder."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from actsmith.files import write_atomically
from actsmith.report.data import read_run
from actsmith.report.leaderboard import leaderboard_markdown
from actsmith.report.plots import plot_laws, plot_scores, plot_shapes
from actsmith.report.run_page import run_page

__all__ = ["render"]


def render(folder: str | Path) -> list[Path]:
    """Write leaderboard.md, the pictures and index.html into a finished run folder; returns their paths.

    The page needs jinja2; without it the rest is written.

    Raises:
        ActsmithError: the folder holds no finished search, or matplotlib is missing.
    """
    path = Path(folder)
    data = read_run(path)
    written = [path / "leaderboard.md"]
    write_atomically(written[0], leaderboard_markdown(path))
    for name, plot in (("scores", plot_scores), ("shapes", plot_shapes), ("laws", plot_laws)):
        if not {"scores": data.rows, "shapes": data.curves, "laws": data.densities}[name]:
            continue
        written.append(plot(data, path / f"{name}.svg"))
    if find_spec("jinja2") is not None:
        written.append(path / "index.html")
        write_atomically(written[-1], run_page(data, path))
    return written
