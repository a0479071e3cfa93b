"""Claims as a table and as a forest: each effect in units of what is too small to matter, which is a grey band."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from actsmith.papers.claims import Claim
from actsmith.report.figure import BLACK, BLUE, GREY, ORANGE, drawing, entitle

__all__ = ["HEAD", "claim_rows", "how_big", "plot_claims", "who_says"]

HEAD = ("claim", "who says so", "here", "how big, 95 % interval", "too small to matter", "our size", "more")
COLOURS = {
    "reproduced": BLUE, "holds": BLUE, "contradicted": ORANGE, "does not hold": ORANGE,
    "no difference that matters": BLACK, "open": GREY,
}  # fmt: skip
FAR = 30.0
"""Margins from zero beyond which a figure ends: what lies there is drawn at its edge."""
WRAP = 58


def claim_rows(claims: Iterable[Claim]) -> tuple[tuple[str, ...], ...]:
    """The table, its head first."""
    return (HEAD, *(_row(claim) for claim in claims))


def _row(claim: Claim) -> tuple[str, ...]:
    margin = "" if claim.effect is None else f"{claim.margin:g}"
    says = who_says(claim) + (f". {claim.paper}" if claim.paper else "")
    return claim.statement.rstrip("."), says, claim.verdict, how_big(claim), margin, claim.size, claim.evidence


def who_says(claim: Claim) -> str:
    """Whose claim it is, and where."""
    who = {"paper": "the paper", "reviewers": "reviewers", "ours": "our question"}[claim.origin]
    return f"{who}, {claim.where}" if claim.where and claim.origin == "paper" else claim.where or who


def how_big(claim: Claim) -> str:
    """The effect with its interval, and failures where they decide."""
    effect = claim.effect
    if effect is None:
        return ""
    parts = []
    if any(effect.failed) and effect.failed[0] != effect.failed[1]:
        parts.append(f"failed nets {effect.failed[0]} against {effect.failed[1]}")
    if effect.mean is not None:
        ends = "" if effect.low is None else f" [{effect.low:+.3g}, {effect.high:+.3g}]"
        parts.append(f"{effect.mean:+.3g}{ends} {claim.unit}")
    return "; ".join(parts)


def plot_claims(claims: Sequence[Claim], path: Path, title: str) -> Path | None:
    """Write the forest; nothing where no claim has an interval and a margin."""
    drawn = [c for c in claims if c.effect is not None and c.effect.low is not None and c.margin > 0]
    if not drawn:
        return None
    words = [textwrap.fill(claim.statement.rstrip("."), WRAP) for claim in drawn]
    height = 1.3 + sum(0.16 + 0.17 * (word.count("\n") + 1) for word in words)
    with drawing(path, 1, 1, (7.6, height)) as (figure, axes):
        axis = axes[0][0]
        axis.axvspan(-1, 1, color="#8c8c8c", alpha=0.22, linewidth=0)
        axis.axvline(0.0, color=BLACK, linewidth=0.8)
        for place, claim in enumerate(drawn):
            effect = claim.effect
            assert effect is not None
            assert effect.mean is not None
            assert effect.low is not None
            assert effect.high is not None
            low, mean, high = (
                max(-FAR, min(FAR, v / claim.margin)) for v in (effect.low, effect.mean, effect.high)
            )  # fmt: skip
            colour = COLOURS.get(claim.verdict, GREY)
            axis.plot([low, high], [place, place], color=colour, linewidth=1.8)
            axis.plot([mean], [place], color=colour, marker="o", markersize=6)
            axis.annotate(
                claim.verdict, (1.0, place), xycoords=("axes fraction", "data"), xytext=(6, 0),
                textcoords="offset points", va="center", fontsize=8.5, color=colour,
            )  # fmt: skip
        axis.set_xscale("symlog", linthresh=1.0, linscale=0.8)
        axis.set_xlim(-FAR * 1.1, FAR * 1.1)
        ticks = (-30, -10, -3, -1, 0, 1, 3, 10, 30)
        axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axis.minorticks_off()
        axis.set_yticks(range(len(drawn)), words, fontsize=8.5)
        axis.set_ylim(len(drawn) - 0.4, -0.6)
        axis.tick_params(axis="y", length=0)
        axis.grid(visible=False, axis="y")
        axis.set_xlabel("effect over what is too small to matter (the band); right is as claimed")
        entitle(figure, title)
    return path
