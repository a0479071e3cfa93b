"""A reproduction as a page: Markdown and HTML with the same figures, and the numbers as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actsmith.files import plain, write_atomically
from actsmith.papers.claims import Claim
from actsmith.papers.findings import Findings
from actsmith.papers.reproduce import Reproduction, Result
from actsmith.report.claims import claim_rows, plot_claims
from actsmith.report.curves import plot_curves
from actsmith.report.forest import plot_table
from actsmith.report.html import inline_svg, render_page
from actsmith.trials.tables import Row, Table

__all__ = ["Head", "render_findings", "write_findings"]

FOREST = 6
"""A page of more tables than this shows no picture of each."""
CLAIMS = "claims.svg"
MILLI, MEGA = 1e3, 1e6

RULE = (
    "Positive is as claimed. An answer needs an interval beyond the margin that is named, or inside it, after Holm's "
    "correction over this page; where seeds were added until all was decided, it is a confidence sequence."
)
METHOD = (
    "Every activation, the baselines too, has its learning rate tuned on the validation split (a star marks a rate at "
    "the end of its grid); then other seeds, the same for every activation, are scored on the test split after the "
    "last step. Intervals are 95 % t-intervals over the seeds; differences are paired by seed, p is that of the paired "
    "t-test after Holm's correction over the table, d_z is Cohen's effect size of the paired differences. Errors "
    "compared by logarithm have geometric means, and differences in decades."
)

OURS = "an experiment of its own"
"""How the source of an experiment begins that no paper has."""


@dataclasses.dataclass(frozen=True)
class Head:
    """Of what a page is: the reproduction, its preset, the line that makes it again, the versions that it ran on."""

    reproduction: Reproduction
    preset: str
    command: str
    versions: Any


def render_findings(result: Result, into: str | Path | None = None) -> list[Path]:
    """Write README.md, index.html, findings.json and the figures; returns their paths.

    Args:
        result: a finished reproduction.
        into: the folder; the run's own by default.

    Raises:
        ActsmithError: matplotlib or jinja2 is missing.
    """
    versions = json.loads((result.folder / "versions.json").read_text(encoding="utf-8"))
    head = Head(result.reproduction, result.preset, result.command, versions)
    return write_findings(head, result.findings, Path(into).expanduser() if into is not None else result.folder)


def write_findings(head: Head, found: Findings, folder: Path) -> list[Path]:
    """The files of `render_findings`."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    if len(found.tables) <= FOREST:
        written += [plot_table(t, folder / f"{_file(t.name)}.svg") for t in found.tables]
    written += [plot_curves(c, folder / f"{_file(c.name)}.svg") for c in found.curves]
    if _drawable(found.claims):
        written.append(folder / CLAIMS)
        plot_claims(found.claims, folder / CLAIMS, head.reproduction.title)
    page = _page(head, found)
    for name, text in (
        ("README.md", _markdown(page)),
        ("index.html", _html(page, folder)),
        ("findings.json", json.dumps(_json(head, found), indent=1, allow_nan=False) + "\n"),
    ):
        write_atomically(folder / name, text)
        written.append(folder / name)
    return written


def _json(head: Head, found: Findings) -> dict[str, Any]:
    r = head.reproduction
    values = {"reproduction": r.name, "preset": head.preset, "command": head.command, "source": r.source}
    made: dict[str, Any] = plain({**values, "versions": head.versions, **dataclasses.asdict(found)})
    return made


@dataclasses.dataclass(frozen=True)
class _Section:
    """A heading, its figure's file, its paragraphs and its table (the first row is the head)."""

    title: str
    text: str = ""
    figure: str | None = None
    rows: tuple[tuple[str, ...], ...] = ()


@dataclasses.dataclass(frozen=True)
class _Page:
    title: str
    lead: tuple[str, ...]
    command: str
    sections: tuple[_Section, ...]


def _page(head: Head, found: Findings) -> _Page:
    r = head.reproduction
    cost = next(p.cost for name, p in r.presets.items() if name == head.preset)
    who = "What is asked" if r.source.startswith(OURS) else "The paper's claim"
    lead = (f"Source: {r.source}. {who}: {r.claims}", f"Preset {head.preset}: {cost}", found.summary)
    return _Page(r.title, lead, head.command, tuple(_sections(found)))


def _sections(found: Findings) -> list[_Section]:
    sections = []
    if found.claims:
        drawn = CLAIMS if _drawable(found.claims) else None
        sections.append(_Section("Claim by claim", RULE, drawn, claim_rows(found.claims)))
    sections += [_Section(c.title, figure=f"{_file(c.name)}.svg") for c in found.curves]
    forest = len(found.tables) <= FOREST
    for table in found.tables:
        figure = f"{_file(table.name)}.svg" if forest else None
        sections.append(_Section(table.title, table.note, figure, tuple(_cells(table))))
    if found.tables:
        sections.append(_Section("How", METHOD))
    return sections


def _drawable(claims: Sequence[Claim]) -> bool:
    return any(c.effect is not None and c.effect.low is not None and c.margin > 0 for c in claims)


def _cells(table: Table) -> list[tuple[str, ...]]:
    minus = f"minus {table.reference}" + (" (decades)" if table.metric.log else "")
    head = (
        "activation", table.metric.name.replace("_", " "), "95 % interval", minus, "95 % interval", "p (Holm)", "d_z",
        "rate", "ms per step", "MB",
    )  # fmt: skip
    return [head, *(_row(row) for row in table.rows)]


def _row(row: Row) -> tuple[str, ...]:
    name = row.name + (f" ({row.diverged} of {len(row.values)} diverged)" if row.diverged else "")
    score, around = _number(row.mean), _between(row.low, row.high, "")
    if row.mean is None:
        left = [v for v in row.values if v is not None]
        score, around = "diverged", f"others: {', '.join(_number(v) for v in left)}" if left else ""
    gain = "" if row.difference is None else f"{row.difference:+.4f}"
    p = "" if row.p is None else ("< 0.0001" if row.p < 1e-4 else f"{row.p:.4f}")
    return (
        name, score, around, gain, _between(row.difference_low, row.difference_high, "+"), p,
        "" if row.effect is None else f"{row.effect:+.2f}", f"{row.rate:g}" + "*" * row.at_edge,
        f"{MILLI * row.step_seconds:.2f}", f"{row.peak_bytes / MEGA:.1f}",
    )  # fmt: skip


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _between(low: float | None, high: float | None, sign: str) -> str:
    if low is None or high is None:
        return ""
    return f"{low:{sign}.4g} to {high:{sign}.4g}"


def _file(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


def _markdown(page: _Page) -> str:
    parts = [f"# {page.title}", *page.lead, f"```sh\n{page.command}\n```"]
    for section in page.sections:
        parts.append(f"## {section.title}")
        if section.text:
            parts.append(section.text)
        if section.figure:
            parts.append(f"![{section.title}]({section.figure})")
        if section.rows:
            head, *rows = ([cell.replace("|", "\\|") for cell in row] for row in section.rows)
            lines = [head, ["---"] * len(head), *rows]
            parts.append("\n".join("| " + " | ".join(cells) + " |" for cells in lines))
    return "\n\n".join(part for part in parts if part) + "\n"


def _html(page: _Page, folder: Path) -> str:
    files = [s.figure for s in page.sections if s.figure]
    figures = {f: inline_svg((folder / f).read_text(encoding="utf-8"), Path(f).stem) for f in files}
    return render_page("findings.html", page=page, figures=figures)
