"""Who beats whom over several tables, and what that says of a claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actsmith.experiments.findings import Table, Verdict
from actsmith.experiments.statistics import holm, paired_difference, paired_p

__all__ = ["Duel", "duel", "together"]

LEVEL = 0.05


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
