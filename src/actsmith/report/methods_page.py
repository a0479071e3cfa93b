"""docs/results/search-methods: what search methods would have found in the table."""

from __future__ import annotations

from pathlib import Path

from actsmith.files import write_atomically
from actsmith.report.figure import CYCLE, DASHES, drawing
from actsmith.table.methods import MARKS, Replayed, Track

__all__ = ["render_methods"]


def render_methods(found: Replayed, folder: str | Path, measured: str) -> list[Path]:
    """Write README.md and regret.svg.

    Args:
        found: the replays.
        folder: where the page goes; made where there is none.
        measured: how the table was measured, in a sentence.
    """
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    _draw(found, home / "regret.svg")
    parts = [
        "# Search methods on the table", f"**{conclusion(found)}**", "![Regret of each method](regret.svg)",
        _table(found), "\n".join(f"- {line}" for line in _lines(found)), measured,
        "Made from the shipped table by `actsmith table report`; nothing is trained.",
    ]  # fmt: skip
    write_atomically(home / "README.md", "\n\n".join(parts) + "\n")
    return [home / "README.md", home / "regret.svg"]


def conclusion(found: Replayed) -> str:
    """In a sentence, from the numbers alone."""
    best = found.tracks[0]
    better = [t.method for t in found.tracks if t.against[2] < 0]
    random = next(track for track in found.tracks if track.method == "random")
    ahead = f"better than random search beyond the noise: {', '.join(better)}" if better else (
        "no method is better than random search beyond the noise"
    )  # fmt: skip
    return (
        f"After {found.budget} of {found.functions} functions the smallest regret is that of {best.method}, "
        f"{best.regret[-1]:.2f} (random search {random.regret[-1]:.2f}; the median function 1, the best 0); {ahead}."
    )


def _lines(found: Replayed) -> list[str]:
    lines = [
        f"{found.tasks} tasks, {found.repetitions} repetitions of each method on each; intervals by drawing tasks and "
        "repetitions with replacement, so that they speak of other tasks of this kind.",
        "A method sees validation scores of two seeds at the best of the rates; its choice is judged by test scores.",
    ]
    for track in found.tracks:
        if track.method != "random":
            low, high = track.against[1:]
            lines.append(
                f"{track.method} ({track.what}): {track.against[0]:+.2f} [{low:+.2f}, {high:+.2f}] against random "
                "search."
            )
    return lines


def _table(found: Replayed) -> str:
    marks = [mark for mark in MARKS if mark <= found.budget]
    head = ["method", "what", *(f"regret after {mark}" for mark in marks)]
    rows = [head, ["---"] * len(head)]
    rows += [[t.method, t.what, *(_at(t, mark) for mark in marks)] for t in found.tracks]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _at(track: Track, mark: int) -> str:
    return f"{track.regret[mark - 1]:.2f} [{track.low[mark - 1]:.2f}, {track.high[mark - 1]:.2f}]"


def _draw(found: Replayed, path: Path) -> None:
    with drawing(path, 1, 1, (6.5, 4.0)) as (_, axes):
        axis = axes[0, 0]
        tried = range(1, found.budget + 1)
        for i, track in enumerate(found.tracks):
            look = {"color": CYCLE[i % len(CYCLE)], "linestyle": DASHES[i % len(DASHES)]}
            axis.plot(tried, track.regret, label=track.method, **look)
        axis.set(xlabel="functions tried", ylabel="regret (1: the median function, 0: the best)", ylim=(0, None))
        axis.legend(frameon=False)
