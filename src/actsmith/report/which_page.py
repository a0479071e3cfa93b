"""docs/results/which-activation: for each kind of network of the table what its best functions save against GELU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from actsmith.files import write_atomically
from actsmith.report.figure import BLUE, ORANGE, drawing
from actsmith.table.which import KNOWN, Gain, Kind

__all__ = ["render_which"]

LEVEL = 0.05
LONGEST = 60
"""Characters of a formula that a table shows."""
NARROW = 30
"""Of a text in the figure."""
AGAINST = "GELU"


def render_which(found: Sequence[Kind], overall: Kind, folder: str | Path, measured: str) -> list[Path]:
    """Write README.md and which.svg.

    Args:
        found: the answers by kind of network.
        overall: for a network of no kind in particular.
        folder: where the page goes; made where there is none.
        measured: how the table was measured, in a sentence.
    """
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    kinds = [*found, overall]
    _draw(kinds, home / "which.svg")
    parts = [
        "# Which activation for which kind of network?", f"**{conclusion(found, overall)}**",
        "![What the best functions save against GELU, by kind of network](which.svg)",
        f"Half of the seeds chose, the other half ({overall.seeds}) says what the choice is worth: saved share of "
        "GELU's error on the same seeds, 95 % interval, the rate tuned for each. A star: not zero after Holm's "
        "correction over the page. A negative number is a loss.",
        _table(kinds), "What the networks are:", "\n".join(f"- **{k.task}**: {k.what}" for k in found),
        f"{measured} Which function holds elsewhere: [found](../found/README.md).",
        "Made from the shipped table by `actsmith table report`.",
    ]  # fmt: skip
    write_atomically(home / "README.md", "\n\n".join(parts) + "\n")
    return [home / "README.md", home / "which.svg"]


def conclusion(found: Sequence[Kind], overall: Kind) -> str:
    """In a sentence or two, from the numbers alone."""
    better = [(k.task, k.known[0]) for k in found if k.known and _sure(k.known[0])]
    rest = [k.task for k in found if not k.known or not _sure(k.known[0])]
    said = ", ".join(f"{g.name} on {task} ({g.gain:+.0%})" for task, g in better) or "none"
    general = [g for g in overall.all if _sure(g)]
    generalist = f"{general[0].name} ({general[0].gain:+.0%})" if general else "nothing"
    least = f" On {', '.join(rest)} none is told apart from it." if rest else ""
    return (
        f"Known functions that save error against {AGAINST} on seeds that did not choose them: {said}.{least} Over all "
        f"tasks together: {generalist}."
    )


def _sure(gain: Gain) -> bool:
    return gain.low > 0 and gain.p < LEVEL


def _table(found: Sequence[Kind]) -> str:
    rows = [["network", "best known functions", "best of all that were measured"]]
    rows += [[k.task, *("<br>".join(map(_said, gains)) for gains in (k.known, k.all))] for k in found]
    head, *others = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *others))


def _said(gain: Gain) -> str:
    star = " *" if gain.p < LEVEL else ""
    text = f"`{gain.formula}`" if gain.family != KNOWN and len(gain.formula) <= LONGEST else gain.name
    return f"{text} {gain.gain:+.0%} [{gain.low:+.0%}, {gain.high:+.0%}]{star}"


def _short(gain: Gain) -> str:
    """A text for the margin of the figure."""
    return gain.formula if gain.family != KNOWN and len(gain.formula) <= NARROW else shorten(gain.name, NARROW)


def shorten(name: str, most: int) -> str:
    """With an ellipsis where it is cut.

    >>> shorten("-relu(-x - 0.3)", 8)
    '-relu(-…'
    """
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _draw(found: Sequence[Kind], path: Path) -> None:
    with drawing(path, 1, 1, (6.6, 0.9 + 0.5 * len(found))) as (_, axes):
        axis = axes[0, 0]
        for place, kind in enumerate(found):
            for gains, shift, colour, marker in ((kind.known, -0.16, BLUE, "o"), (kind.all, 0.16, ORANGE, "D")):
                if gains:
                    g, y = gains[0], place + shift
                    axis.plot([max(g.low, -1.0), g.high], [y, y], color=colour, linewidth=1.6)
                    axis.plot([max(g.gain, -1.0)], [y], color=colour, marker=marker, markersize=5)
                    axis.annotate(
                        f" {_short(g)}", (1.02, y), color=colour, va="center", fontsize=8, annotation_clip=False
                    )
        axis.axvline(0.0, color="black", linewidth=0.8)
        axis.set(
            xlim=(-1.0, 1.0),
            xticks=(-1.0, -0.5, 0.0, 0.5, 1.0),
            xlabel=f"share of {AGAINST}'s error that is saved\ndots: best known, diamonds: best of all",
        )
        axis.set_yticks(range(len(found)), [k.task for k in found])
        axis.set_ylim(len(found) - 0.4, -0.6)
