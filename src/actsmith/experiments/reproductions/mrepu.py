"""What the reproductions of arXiv:2408.02697 share: the activations, and who beats whom over several tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from actsmith.experiments.findings import Series, Table
from actsmith.experiments.statistics import holm, paired_difference, paired_p
from actsmith.formula.catalogue import get
from actsmith.formula.formula import Formula

__all__ = [
    "ACTIVATIONS",
    "MREPU",
    "PAPER",
    "REPU",
    "Duel",
    "Verdict",
    "duel",
    "error_lines",
    "failed",
    "fails",
    "together",
]

Verdict = Literal["reproduced", "partly reproduced", "not reproduced", "not resolved"]

PAPER = "Kim, Kang, arXiv:2408.02697, Why Rectified Power Unit Networks Fail and How to Improve It"

REPU: tuple[Formula, ...] = tuple(get("repu", p=p).renamed(f"repu_{p}") for p in (2, 3))
MREPU: tuple[Formula, ...] = tuple(get("mrepu", p=p).renamed(f"mrepu_{p}") for p in (1, 2, 3))
ACTIVATIONS: tuple[Formula, ...] = (
    *(get(name) for name in ("relu", "gelu", "silu", "tanh")), *REPU, *MREPU, get("crrelu"),
)  # fmt: skip

LEVEL = 0.05
USELESS = 0.9
"""A relative error above this is hardly better than that of a constant, 1."""
DRAWN_BELOW = 10.0
"""Figures leave out larger relative errors, beside which the others could not be told apart."""


@dataclass(frozen=True)
class Duel:
    """How often `first` is better than `second`, over several tables.

    Attributes:
        first, second: names.
        wins, losses: tables with a paired difference of Holm-corrected p < 0.05, or where only the other diverged.
        ties: the others.
    """

    first: str
    second: str
    wins: int
    losses: int
    ties: int

    @property
    def verdict(self) -> Verdict:
        """Of the claim that `first` is better: won most, won more than lost, lost as many or more, nothing decided."""
        if self.wins == self.losses == 0:
            return "not resolved"
        if self.losses >= self.wins:
            return "not reproduced"
        return "reproduced" if self.losses == 0 and self.wins > self.ties else "partly reproduced"

    def __str__(self) -> str:
        return f"{self.first} against {self.second}: better in {self.wins}, worse in {self.losses}, open in {self.ties}"


def duel(tables: Sequence[Table], first: str, second: str) -> Duel:
    """`first` against `second` in tables that hold both, paired by seed."""
    wins = losses = ties = 0
    tested: list[tuple[float, float]] = []
    for table in tables:
        a, b = table.row(first), table.row(second)
        mine, other = table.metric.transformed(a.values), table.metric.transformed(b.values)
        if mine is not None and other is not None:
            sign = -1 if table.metric.better == "lower" else 1
            tested.append((paired_p(mine, other), sign * paired_difference(mine, other).mean))
        elif mine is not None:
            wins += 1
        elif other is not None:
            losses += 1
        else:
            ties += 1
    for p, (_, gain) in zip(holm([p for p, _ in tested]), tested, strict=True):
        wins += p < LEVEL and gain > 0
        losses += p < LEVEL and gain < 0
        ties += p >= LEVEL
    return Duel(first, second, wins, losses, ties)


def together(duels: Sequence[Duel]) -> Verdict:
    """Of the claim that all the first ones are better: all the same verdict, or partly where some are better."""
    verdicts = {d.verdict for d in duels}
    if len(verdicts) == 1:
        return verdicts.pop()
    return "partly reproduced" if verdicts & {"reproduced", "partly reproduced"} else "not reproduced"


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
