"""What the reproductions of arXiv:2408.02697 share: the activations, and when one of them fails."""

from __future__ import annotations

from collections.abc import Sequence

from actsmith.experiments.findings import Series, Table
from actsmith.formula.catalogue import get
from actsmith.formula.formula import Formula

__all__ = ["ACTIVATIONS", "MREPU", "PAPER", "REPU", "error_lines", "failed", "fails"]

PAPER = "Kim, Kang, arXiv:2408.02697, Why Rectified Power Unit Networks Fail and How to Improve It"

REPU: tuple[Formula, ...] = tuple(get("repu", p=p).renamed(f"repu_{p}") for p in (2, 3))
MREPU: tuple[Formula, ...] = tuple(get("mrepu", p=p).renamed(f"mrepu_{p}") for p in (1, 2, 3))
ACTIVATIONS: tuple[Formula, ...] = (
    *(get(name) for name in ("relu", "gelu", "silu", "tanh")), *REPU, *MREPU, get("crrelu"),
)  # fmt: skip

USELESS = 0.9
"""A relative error above this is hardly better than that of a constant, 1."""
DRAWN_BELOW = 10.0
"""Figures leave out larger relative errors, beside which the others could not be told apart."""


def fails(table: Table, name: str) -> bool:
    """Whether an activation cannot be trained: a net of it diverged, or its error's interval lies above `USELESS`."""
    row = table.row(name)
    return row.low is None or row.low > USELESS


def failed(table: Table, name: str) -> int:
    """Nets of an activation that diverged, or ended with an error above `USELESS`."""
    return sum(v is None or v > USELESS for v in table.row(name).values)


def error_lines(tables: Sequence[tuple[float, Table]]) -> tuple[Series, ...]:
    """One line an activation of its mean error over (x, table), by name.

    Gaps where a net diverged or the error is above `DRAWN_BELOW`.
    """
    x = tuple(at for at, _ in tables)
    means = {row.name: [table.row(row.name).mean for _, table in tables] for row in tables[0][1].rows}
    return tuple(
        Series(name, x, tuple(v if v is not None and v < DRAWN_BELOW else None for v in found))
        for name, found in sorted(means.items())
    )
