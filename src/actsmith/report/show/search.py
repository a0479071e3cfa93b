"""What a search found: its leaderboard, and the one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actsmith.report.figure import column
from actsmith.report.forest import Line, draw_forest
from actsmith.report.show.card import Card, within
from actsmith.report.show.formula import short
from actsmith.report.show.trials import NAME, forest_size
from actsmith.search.result import SearchResult

__all__ = ["SHOWN"]

MOST = 24
"""Lines of a picture, the best and the start; the folder's leaderboard has all."""


def _card(r: SearchResult) -> Card:
    head = ("activation", "kind", "validation, tuned", r.judge, "95 %", f"minus {r.start}", "95 %")
    return Card(
        f"Search on {r.task} from {r.start}", r.best.expr, head=head, rows=[_row(row) for row in r.rows],
        notes=[r.conclusion, f"To use: {r.best.name}. Run folder: {r.folder}"], plain=r.table(),
    )  # fmt: skip


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    tuned = "diverged" if row["validation"] is None else f"{row['validation']:.4g}"
    return (row["name"], row["kind"], tuned, *_interval(row, "score", ""), *_interval(row, "difference", "+"))


def _interval(row: Mapping[str, Any], name: str, sign: str) -> tuple[str, str]:
    low, high = _ends(row, name)
    return ("", "") if row[name] is None else within(row[name], row[low], row[high], sign)


def _ends(row: Mapping[str, Any], name: str) -> tuple[str, str]:
    return ("low", "high") if name == "score" else (f"{name}_low", f"{name}_high")


def _line(row: Mapping[str, Any], start: str) -> Line:
    beside = None if row["difference"] is None else (row["difference_low"], row["difference_high"])
    return Line(
        short(row["name"], NAME), row["validation"], None, row["difference"], beside, row["name"] == start,
        row["kind"] == "candidate",
    )  # fmt: skip


def _picture(r: SearchResult, width: float) -> Any:
    rows = [row for i, row in enumerate(r.rows) if i < MOST or row["name"] == r.start]
    with column(1, 2, forest_size(width, len(rows)), sharey=True) as (figure, axes):
        left, right = axes[0]
        draw_forest(left, right, [_line(row, r.start) for row in rows])
        left.set_xlabel("validation,\nrate tuned")
        right.set_xlabel(f"{r.judge}: gain over\n{short(r.start, NAME)}, paired, 95 %")
        for axis in (left, right):
            axis.locator_params(axis="x", nbins=3 if axis is left else 2)
        figure.suptitle(short(f"{r.task}: the best activations"))
        return figure


SHOWN = {"SearchResult": (_card, _picture)}
