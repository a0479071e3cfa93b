"""docs/results/search-methods: what search methods would have found in the table, and what each part of ours is for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actsmith.files import write_atomically
from actsmith.report.figure import BLACK, BLUE, CYCLE, DASHES, GREY, ORANGE, drawing
from actsmith.table.methods import MARKS, OURS, RETUNED, Change, Replayed, Track
from actsmith.table.retuned import Interval

__all__ = ["render_methods"]

OFTEN = 3
"""Settings of the retuned search that are told, the most frequent."""


def render_methods(found: Replayed, folder: str | Path, measured: str) -> list[Path]:
    """Write README.md, regret.svg and changes.svg.

    Args:
        found: the replays.
        folder: where the page goes; made where there is none.
        measured: how the table was measured, in a sentence.
    """
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    _draw(found, home / "regret.svg")
    _forest(found.changes, home / "changes.svg")
    parts = [
        "# Search methods on the table", f"**{conclusion(found)}**", "![Regret of each method](regret.svg)",
        _table(found), f"**{parts_of_ours(found)}**", "![Ours without each of its parts](changes.svg)",
        "Diamonds: a part is left out. Dots: one setting is another.", _retuned(found),
        "\n".join(f"- {line}" for line in _notes(found)), measured,
        "Made from the shipped table by `actsmith table report`; nothing is trained.",
    ]  # fmt: skip
    write_atomically(home / "README.md", "\n\n".join(parts) + "\n")
    return [home / name for name in ("README.md", "regret.svg", "changes.svg")]


def conclusion(found: Replayed) -> str:
    """In a sentence, from the numbers alone."""
    best = found.tracks[0]
    better = [t.method for t in found.tracks if t.against[2] < 0]
    random = _named(found, "random")
    ahead = f"better than random search beyond the noise: {', '.join(better)}" if better else (
        "no method is better than random search beyond the noise"
    )  # fmt: skip
    ours = "" if best.method == OURS else f", ours {_named(found, OURS).late:.2f}"
    return (
        f"Regret between {found.budget // 2} and {found.budget} trainings among {found.among} functions (the median "
        f"function has 1, the best 0): {best.method} {best.late:.2f}{ours}, random search {random.late:.2f}; {ahead}."
    )


def parts_of_ours(found: Replayed) -> str:
    """What ours is worse, or better, without."""
    parts = [c for c in found.changes if c.part]
    needed = [c.name for c in parts if c.change[1] > 0]
    harmful = [c.name for c in parts if c.change[2] < 0]
    if not needed and not harmful:
        return "No part of ours is missed beyond the noise when it alone is left out."
    said = [f"worse {_listed(needed)}"] * bool(needed) + [f"better {_listed(harmful)}"] * bool(harmful)
    return f"Beyond the noise ours is {', and '.join(said)}; of its other parts none is missed alone."


def _retuned(found: Replayed) -> str:
    again = found.retuned
    if again.default[2] < 0:
        verdict = "better than ours as it is beyond the noise"
    elif again.default[1] > 0:
        verdict = "worse than ours as it is, beyond the noise"
    else:
        verdict = "no better than ours as it is, within the noise: nothing is to be changed"
    often = "; ".join(f"{share:.0%} {words}" for words, share in again.chosen[:OFTEN])
    random = _interval(_named(found, RETUNED).against)
    return (
        f"**Retuned** on half of the tasks, ours is on the other half {verdict} ({_interval(again.default)} of late "
        f"regret; against random search {random}). {again.settings} settings, {again.halvings} random halvings, each "
        f"judged both ways, {again.repetitions} repetitions. Chosen most often: {often}."
    )


def _notes(found: Replayed) -> list[str]:
    return [
        f"{found.tasks} tasks, {found.repetitions} repetitions of each method on each. In a repetition everyone "
        f"chooses among the same {found.among} functions of the first {found.functions}, which were trained on every "
        "task whatever they did: half of the catalogue, others at random. All but ours begin with the same eight.",
        "A training is all that the table holds of a function on a task: every rate, two seeds. A look at a quarter of "
        "it costs a quarter, to go on costs the rest. Everyone has the same budget.",
        "A method sees validation scores; its choice, the best of what it trained in whole, is judged by the test "
        f"scores of the same two seeds. Were all {found.among} trained, the best by validation would still have a "
        f"regret of {found.floor:.2f}.",
        "Late regret: the mean over the second half of the budget. Intervals, 95 %, draw tasks and repetitions with "
        "replacement: they speak of other tasks of this kind. Those of differences hold for all of a table or figure "
        "together.",
        "Ours: known functions first, then rounds of 16 that proposers and a surrogate share as in the "
        "[search](../../search.md); each family of the table stands for the proposer that made it. Its fresh seeds for "
        "the best quarter, and proposals that depend on what was found, are not in a table; the beginnings of "
        "trainings stand for its trainings on fewer examples.",
        "TPE is a small one for a finite set; AQuaSurF is made from its paper's description, without UMAP.",
    ]  # fmt: skip


def _table(found: Replayed) -> str:
    marks = [mark for mark in MARKS if mark <= found.budget]
    head = ["method", "what", *(f"after {mark}" for mark in marks), "late, against random"]
    rows = [head, ["---"] * len(head)]
    for t in found.tracks:
        against = "" if t.method == "random" else _interval(t.against)
        rows.append([t.method, t.what, *(f"{t.regret[mark - 1]:.2f}" for mark in marks), against])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _draw(found: Replayed, path: Path) -> None:
    """Ours in black, the others in colours; the legend below, in the order of the lines' ends."""
    with drawing(path, 1, 1, (5.0, 5.2)) as (figure, axes):
        axis = axes[0, 0]
        spent = range(1, found.budget + 1)
        others = [t.method for t in found.tracks if t.method not in (OURS, RETUNED)]
        for track in found.tracks:
            if track.method in (OURS, RETUNED):
                dash = "-" if track.method == OURS else "--"
                look: dict[str, Any] = {"color": BLACK, "linestyle": dash, "linewidth": 2.2}
            else:
                i = others.index(track.method)
                look = {"color": CYCLE[i % len(CYCLE)], "linestyle": DASHES[i % len(DASHES)], "linewidth": 1.5}
            axis.plot(spent, track.regret, label=track.method, **look)
        axis.axhline(found.floor, color=GREY, linewidth=1.0, label="all trained")
        top = max(t.regret[min(MARKS[0], found.budget) - 1] for t in found.tracks)
        axis.set(xlabel="whole trainings spent", ylabel="regret (median function 1, best 0)", ylim=(0, 1.15 * top))
        axis.set_xlim(0, found.budget)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)


def _forest(changes: Sequence[Change], path: Path) -> None:
    """Differences to ours: first its parts, then its settings."""
    with drawing(path, 1, 1, (5.0, 1.1 + 0.27 * len(changes))) as (_, axes):
        axis = axes[0, 0]
        for place, change in enumerate(changes):
            look = {"color": ORANGE, "marker": "D"} if change.part else {"color": BLUE, "marker": "o"}
            mean, low, high = change.change
            axis.plot([low, high], [place, place], color=look["color"], linewidth=1.4)
            axis.plot([mean], [place], **look)
        axis.axvline(0.0, color=BLACK, linewidth=0.8)
        axis.set_yticks(range(len(changes)), [change.name for change in changes])
        axis.set_ylim(len(changes) - 0.4, -0.6)
        axis.grid(visible=False, axis="y")
        axis.locator_params(axis="x", nbins=5)
        axis.set_xlabel("change of late regret (right: worse)")


def _named(found: Replayed, name: str) -> Track:
    return next(track for track in found.tracks if track.method == name)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(", ".join(names).rsplit(", ", 1))


def _interval(triple: Interval) -> str:
    return f"{triple[0]:+.2f} [{triple[1]:+.2f}, {triple[2]:+.2f}]"
