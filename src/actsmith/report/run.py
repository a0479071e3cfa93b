"""All that is written for a reader about one run folder."""

from __future__ import annotations

import os
from pathlib import Path

from actsmith.report.data import read_run
from actsmith.report.leaderboard import leaderboard_markdown
from actsmith.report.plots import plot_accuracy, plot_laws, plot_shapes

__all__ = ["render"]


def render(folder: str | Path) -> list[Path]:
    """Write leaderboard.md and the pictures into a finished run folder; returns their paths.

    Raises:
        ActsmithError: the folder holds no finished search, or matplotlib is missing.
    """
    path = Path(folder)
    data = read_run(path)
    written = [path / "leaderboard.md"]
    temporary = path / f".leaderboard.md.{os.getpid()}.tmp"
    temporary.write_text(leaderboard_markdown(path), encoding="utf-8")
    temporary.replace(written[0])
    for name, plot in (("accuracy", plot_accuracy), ("shapes", plot_shapes), ("laws", plot_laws)):
        if name == "laws" and not data.densities:
            continue
        written.append(plot(data, path / f"{name}.svg"))
    return written
