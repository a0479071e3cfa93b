"""All published results: `python -m actsmith.report.results docs/results` writes README.md, claims.md and two figures.

The first page is what one reads in half a minute: the papers' main claims as two forests and a table. The second holds
every claim, whoever asked, with a link to the page of its experiment.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from actsmith.errors import ActsmithError
from actsmith.files import write_atomically
from actsmith.papers.claims import Claim, Effect, counted
from actsmith.report.claims import claim_rows, how_big, plot_claims, who_says

__all__ = ["claim_from", "read_claims", "render_results"]

PANELS = {"mrepu": "RePU and MRePU, arXiv:2408.02697", "crrelu": "Entropy and CRReLU, arXiv:2405.12954"}
PLURAL = {
    "holds": "hold",
    "does not hold": "do not hold",
    "no difference that matters": "with no difference that matters",
}
HEAD = """\
# Results

What became of the two papers' claims when they were trained again at the size that stands beside each: {counts}.

The band is what is too small to matter; right of it a claim is reproduced, left of it the opposite holds, inside it no
difference matters, and what crosses its edge is open. "Contradicted" is said of a paper's claim in the paper's own
setting alone."""
FOOT = """\
All {count} claims, with the reviewers' and our own questions: [claims](claims.md). The experiments, with every number
and the command that makes it again: {pages}. Also measured: {others}. `make results` runs all of it again."""
SECOND = """\
# Every claim

{counts}. The margin, in the units of the effect, and the questions were written down before each run; what was asked
afterwards says so. Positive is as claimed."""


def render_results(folder: str | Path) -> list[Path]:
    """Write both pages and their figures beside the experiments' folders.

    Raises:
        ActsmithError: no subfolder holds a findings.json.
    """
    home = Path(folder)
    claims = read_claims(home)
    front = [claim for panel in PANELS for _, claim in claims if claim.panel == panel]
    written = []
    sections = []
    for panel, title in PANELS.items():
        mine = [claim for claim in front if claim.panel == panel]
        if plot_claims(mine, home / f"{panel}.svg", title):
            written.append(home / f"{panel}.svg")
            sections.append(f"![{title}: the claims of the table below]({panel}.svg)")
    names = list(dict.fromkeys(name for name, _ in claims))
    others = sorted(p.parent.name for p in home.glob("*/README.md") if not (p.parent / "findings.json").is_file())
    foot = FOOT.format(count=len(claims), pages=_links(names), others=_links(others) or "nothing yet")
    papers = [claim for _, claim in claims if claim.origin == "paper"]
    page = "\n\n".join([HEAD.format(counts=_counts(papers)), *sections, _front(front), foot]) + "\n"
    for file, text in (("README.md", page), ("claims.md", _second(claims))):
        write_atomically(home / file, text)
        written.append(home / file)
    return written


def read_claims(home: Path) -> list[tuple[str, Claim]]:
    """(experiment, claim) of every `findings.json` in the subfolders.

    Raises:
        ActsmithError: there is none.
    """
    found = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(home.glob("*/findings.json"))]
    if not found:
        raise ActsmithError(f"results: {str(home)!r} holds no folder with a findings.json; run `make results`")
    return [(one["reproduction"], claim_from(claim)) for one in found for claim in one["claims"]]


def claim_from(values: dict[str, Any]) -> Claim:
    """A claim from its plain values."""
    effect = values.get("effect")
    if effect is not None:
        effect = Effect(**{**effect, "failed": tuple(effect["failed"])})
    return Claim(**{**values, "effect": effect})


def _front(claims: Sequence[Claim]) -> str:
    rows = [("who says", "claim", "here", "how big", "our size")]
    rows += [(who_says(c), c.statement.rstrip("."), c.verdict, how_big(c), c.size) for c in claims]
    return _table(rows)


def _second(claims: Sequence[tuple[str, Claim]]) -> str:
    parts = [SECOND.format(counts=_counts(claim for _, claim in claims).capitalize())]
    for origin, title in (
        ("paper", "The papers' claims"),
        ("reviewers", "Reviewers' questions"),
        ("ours", "Our questions"),
    ):
        for name in dict.fromkeys(name for name, _ in claims):
            mine = [claim for of, claim in claims if of == name and claim.origin == origin]
            if mine:
                parts.append(f"## {title}: [{name}]({name}/README.md)\n\n{_table(claim_rows(mine))}")
    return "\n\n".join(parts) + "\n"


def _counts(claims: Iterable[Claim]) -> str:
    return ", ".join(f"{count} {PLURAL.get(answer, answer)}" for answer, count in counted(claims).items())


def _links(names: Sequence[str]) -> str:
    return ", ".join(f"[{name}]({name}/README.md)" for name in names)


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *others = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    lines = [head, ["---"] * len(head), *others]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


if __name__ == "__main__":
    render_results(sys.argv[1])
