"""A finished search as one page: the conclusion, the picture of the scores, then everything."""

from __future__ import annotations

from pathlib import Path

import actsmith
from actsmith.report.data import RunData
from actsmith.report.html import inline_svg, render_page
from actsmith.report.leaderboard import Part, leaderboard
from actsmith.report.section import Figure, Section, Table

__all__ = ["run_page"]

ALT = {
    "scores.svg": "The validation score of every activation, and the gain of the confirmed ones over the start.",
    "shapes.svg": "The start and the best other activations over the pre-activation, and their derivatives.",
    "laws.svg": "The measured density of the pre-activations of each layer, and the mixture of normals fitted to it.",
}


def run_page(data: RunData, folder: Path) -> str:
    """A whole HTML page, without scripts and without anything from elsewhere.

    Args:
        data: of the search.
        folder: where its pictures are.

    Raises:
        ActsmithError: jinja2 is missing.
    """
    title, parts = leaderboard(data)
    lead = next((_figure(part, folder) for part in parts if part.figure == "scores.svg"), None)
    sections = [_section(part, folder) for part in parts]
    return render_page(
        "page.html",
        title=title,
        verdict=data.conclusion,
        lead=lead,
        sections=[s for s in sections if s.paragraphs or s.figures or s.tables or s.items],
        version=actsmith.__version__,
    )


def _section(part: Part, folder: Path) -> Section:
    head, *rows = [tuple(row) for row in part.rows] or [()]
    return Section(
        part.title.lower().replace(" ", "-"), part.title, [part.text] if part.text else [],
        figures=[_figure(part, folder)] if part.figure not in ("", "scores.svg") else [],
        tables=[Table("", head, rows)] if rows else [], items=part.items,
    )  # fmt: skip


def _figure(part: Part, folder: Path) -> Figure:
    text = (folder / part.figure).read_text(encoding="utf-8")
    return Figure(inline_svg(text, Path(part.figure).stem), ALT[part.figure])
