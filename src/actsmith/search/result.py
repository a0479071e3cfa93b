"""What a search gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actsmith.display import Shown
from actsmith.formula.formula import Formula
from actsmith.search.candidates import Dropped

__all__ = ["SearchResult"]


@dataclass(frozen=True, repr=False)
class SearchResult(Shown):
    """What a search found.

    Attributes:
        folder: the run folder.
        task, start: names.
        rows: the leaderboard, best first, as in leaderboard.json; "kind" is start, known or candidate.
        conclusion: one sentence.
        best: the formula to use: the best where it is better than the start, else the start.
        front: names that no other beats in validation score and time per step both.
        dropped: candidates that were not trained, with the reason.
        skipped: names of activations that the budget left out; resume trains them.
        judge: the split that confirmed: "test", or "validation" for a loop of your own without a test.
    """

    folder: Path
    task: str
    start: str
    rows: tuple[dict[str, Any], ...]
    conclusion: str
    best: Formula
    front: tuple[str, ...]
    dropped: tuple[Dropped, ...] = field(repr=False)
    skipped: tuple[str, ...]
    judge: str = "test"

    def table(self) -> str:
        """The leaderboard as text, the conclusion below it."""
        head = f"{'activation':32}  tuned       validation"
        lines = [f"{head}  {self.judge:10}  95 % interval         minus {self.start} (paired)"]
        for r in self.rows:
            line = f"{r['name']:32}  {_number(r['validation'])}"
            if r["score"] is not None:
                line += f"    {_number(r['confirmed'])}"
                line += f"    {_number(r['score'])}    [{_number(r['low'])}, {_number(r['high'])}]"
            if r["difference"] is not None:
                line += f"  {r['difference']:+.4f} [{r['difference_low']:+.4f}, {r['difference_high']:+.4f}]"
            lines.append(line.rstrip())
        return "\n".join([*lines, "", self.conclusion])


def _number(value: float | None) -> str:
    return "diverged" if value is None else f"{value:8.4g}"
