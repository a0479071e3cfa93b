"""A proposer of the user's own: a function from the history to formula texts. A language model can stand behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from actsmith.errors import ActsmithError
from actsmith.search.candidates import Candidate
from actsmith.search.draft import Draft, build
from actsmith.search.evidence import Evidence, Tried

__all__ = ["Own", "history_of"]

Propose = Callable[[list[dict[str, Any]]], Iterable[str]]


class Own:
    """A user's `propose(history) -> formula texts`.

    What it raises, and texts that are no formulas, are lines of `notes` after the call; the search goes on without.

    Args:
        call: takes the history (see `history_of`), gives texts such as "x*sigmoid(1.5*x)".
        name: what the tables call it.

    Example:
        >>> own = Own(lambda history: ["sin(x) + 0.1*x"])
    """

    def __init__(self, call: Propose, name: str = "own") -> None:
        self.call, self.name = call, name
        self.notes: tuple[str, ...] = ()

    def propose(self, evidence: Evidence, rng: np.random.Generator, n: int) -> list[Draft]:
        """What the function gives, at most n. As pure as the function is."""
        notes: list[str] = []
        drafts: list[Draft] = []
        try:
            texts = self.call(history_of(evidence))
            if isinstance(texts, str | Mapping) or not isinstance(texts, Iterable):
                raise ActsmithError(
                    f"propose(history) returned {type(texts).__name__}; expected a list of formula texts"
                )
            for text in texts:
                if len(drafts) == n:
                    break
                drafts += self._draft(text, evidence, notes)
        except Exception as error:  # a user's code may raise anything; a search of hours does not end by it
            notes.append(f"{type(error).__name__}: {error}")
        self.notes = tuple(notes)
        return drafts

    def _draft(self, text: Any, evidence: Evidence, notes: list[str]) -> list[Draft]:
        if not isinstance(text, str):
            notes.append(f"got {str(text)[:60]!r}, {type(text).__name__}; expected formula text")
            return []
        try:
            return [Draft.of(build(text, self.name, f"proposed by {self.name}"), evidence.grid)]
        except ActsmithError as error:
            notes.append(f"{text[:60]!r}: {error}")
            return []


def history_of(evidence: Evidence) -> list[dict[str, Any]]:
    """What was tried, the start first, as plain dicts that JSON can hold.

    The keys are name, formula (text), parameters (name -> value), kind, origin, merit (the start's is 0, higher is
    better, None where the training diverged), promoted, seconds (of a step; None for the start).
    """
    start = Candidate(evidence.start, "start", "the start")
    others = [tried for tried in evidence.tried if tried.candidate.formula != evidence.start]
    return [_row(Tried(start, 0.0, True, math.nan)), *map(_row, others)]


def _row(tried: Tried) -> dict[str, Any]:
    formula = tried.candidate.formula
    return {
        "name": formula.name,
        "formula": formula.text,
        "parameters": {name: p.value for name, p in formula.params.items()},
        "kind": tried.candidate.kind,
        "origin": tried.candidate.origin,
        "merit": tried.merit if math.isfinite(tried.merit) else None,
        "promoted": tried.promoted,
        "seconds": tried.seconds if math.isfinite(tried.seconds) else None,
    }
