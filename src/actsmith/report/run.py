"""All that is written for a reader about one run folder."""

from __future__ import annotations

from pathlib import Path

from actsmith.files import write_atomically
from actsmith.report.data import read_run
from actsmith.report.leaderboard import leaderboard_markdown
from actsmith.report.plots import plot_laws, plot_scores, plot_shapes

__all__ = ["render"]


def render(folder: str | Path) -> list[Path]:
    """Write leaderboard.md and the pictures into a finished run folder; returns their paths.

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
    return written
