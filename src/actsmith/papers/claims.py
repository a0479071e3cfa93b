"""What the tables say of a statement: one rule for every claim, `trials.verdict`.

| claim    | is reproduced where ...                                                              |
|----------|--------------------------------------------------------------------------------------|
| `Better` | the first is better than the second, in every pair and table                         |
| `above`  | every interval lies above zero (and beyond the margin)                               |
| `shown`  | every case holds                                                                     |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from actsmith.papers.findings import Claim
from actsmith.papers.readers import chosen, interval_of
from actsmith.trials.statistics import Interval
from actsmith.trials.tables import Duel, Table, contest
from actsmith.trials.verdict import Claimed, Verdict, claimed, verdict

__all__ = ["Better", "above", "claims_of", "each_above", "out_of_reach", "shown", "tally", "versus"]

MANY = 8
"""So many differences are written out; more are counted."""


def versus(first: str | Sequence[str], second: str | Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Every pair of one of the first and one of the second.

    >>> versus("crrelu", ("gelu", "silu"))
    (('crrelu', 'gelu'), ('crrelu', 'silu'))
    """
    firsts, seconds = ([names] if isinstance(names, str) else names for names in (first, second))
    return tuple((a, b) for a in firsts for b in seconds)


@dataclass(frozen=True)
class Better:
    """The statement that in each pair the first is better than the second, by paired differences, corrected by Holm
    over the pairs and tables of the claim.

    Attributes:
        statement: for readers.
        pairs: of names; a pair counts in the tables that hold both, and none in any leaves the claim out.
        where: labels that a table must have.
        each: whether each table is a claim of its own.
        margin: what is too small to matter, in the metric's units.
    """

    statement: str
    pairs: tuple[tuple[str, str], ...]
    where: Mapping[str, Any] = field(default_factory=dict)
    each: bool = False
    margin: float = 0.0

    def claims(self, tables: Iterable[Table]) -> list[Claim]:
        """What these tables say: one claim, one a table, or none."""
        mine = chosen(tables, **self.where)
        if self.each:
            return [c for t in mine for c in self._claim([t], f"{self.statement}: {t.name}")]
        return self._claim(mine, self.statement)

    def _claim(self, tables: Sequence[Table], statement: str) -> list[Claim]:
        names = [{row.name for row in t.rows} for t in tables]
        pairs = [(t, *p) for p in self.pairs for t, there in zip(tables, names, strict=True) if {*p} <= there]
        if not pairs:
            return []
        duels = contest(pairs, self.margin)
        return [Claim(f"{statement}.", claimed([d.verdict for d in duels]), _evidence(duels))]


def claims_of(asked: Iterable[Better], tables: Iterable[Table]) -> tuple[Claim, ...]:
    """Of all of them, in order."""
    found = list(tables)
    return tuple(claim for each in asked for claim in each.claims(found))


def _evidence(duels: Sequence[Duel]) -> str:
    pairs = list(dict.fromkeys((d.name, d.other) for d in duels))
    if len(duels) <= MANY:
        return f"{tally([d.verdict for d in duels])}. " + "; ".join(f"{d.table}, {d.name} minus {d}" for d in duels)
    groups = {pair: [d.verdict for d in duels if (d.name, d.other) == pair] for pair in pairs}
    return "; ".join(f"{a} against {b}: {tally(v)}" for (a, b), v in groups.items()) + " (Holm-corrected p < 0.05)."


def tally(verdicts: Sequence[Verdict]) -> str:
    """How often each.

    >>> tally(["better", "open", "better"])
    'better in 2, worse in 0, same in 0, open in 1 of 3'
    """
    words: tuple[Verdict, ...] = ("better", "worse", "same", "open")
    return ", ".join(f"{word} in {verdicts.count(word)}" for word in words) + f" of {len(verdicts)}"


def above(found: Iterable[Interval | None], margin: float = 0.0) -> Claimed:
    """That every one of these numbers is positive; one that is missing is not resolved.

    >>> above([Interval(2.0, 1.0, 3.0, 5), Interval(-2.0, -3.0, -1.0, 5), Interval(1.5, 1.0, 2.0, 5)])
    'partly reproduced'
    """
    return claimed([verdict(each, margin) for each in found])


def each_above(statement: str, samples: Sequence[Sequence[float | None]], what: str, margin: float = 0.0) -> Claim:
    """The claim that a number is positive in each of several places, from its values over the seeds."""
    found = [interval_of(values) for values in samples]
    listed = ", ".join("none" if i is None else f"{i.mean:+.4f} [{i.low:+.4f}, {i.high:+.4f}]" for i in found)
    counts = tally([verdict(i, margin) for i in found])
    return Claim(f"{statement}.", above(found, margin), f"{what}, 95 % interval over seeds: {listed}; {counts}.")


def shown(cases: Iterable[bool]) -> Claimed:
    """That a statement holds in every case, where each is known for certain.

    >>> shown([True, True]), shown([True, False]), shown([])
    ('reproduced', 'not reproduced', 'not resolved')
    """
    return claimed(["better" if holds else "worse" for holds in cases])


def out_of_reach(statement: str, why: str) -> Claim:
    """A claim that the run says nothing about."""
    return Claim(statement, "out of reach here", why)
