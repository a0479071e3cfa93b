"""EAFO corrections of the start and of the leaders under the measured laws, both signs, several steps."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from actsmith.formula.formula import Formula
from actsmith.search.candidates import Candidate, Step, derive
from actsmith.search.draft import Draft
from actsmith.search.evidence import Evidence
from actsmith.theory.law import Law

__all__ = ["Correction"]

STEPS = (Step(0.1, True), Step(0.3, False), Step(0.6, False))
LEADERS = 1
"""Leaders that are corrected beside the start: a correction is worked out in about half a second for each law."""
LAWS = ("normal", "pooled")
"""Under which: those of single layers give nearly the same shapes, at as much work again for each."""
LONGEST = 200
"""Characters of a formula that is corrected: a correction of a correction of ... would have no end."""


class Correction:
    """f + eps psi, psi the EAFO correction of f under a law (arXiv:2405.12954), see `candidates.derive`."""

    name = "correction"

    def __init__(self) -> None:
        self.notes: tuple[str, ...] = ()

    def propose(self, evidence: Evidence, rng: np.random.Generator, n: int) -> list[Draft]:
        """The start's, then the leaders', less what was tried. No choice is random; `notes` says what cannot be had."""
        tried = {t.candidate.formula for t in evidence.tried}
        bases = {evidence.start: None, **{t.candidate.formula: None for t in evidence.best(LEADERS)}}
        drafts, notes = [], []
        for base in bases:
            if len(base.text) > LONGEST:
                continue
            laws = tuple((label, law) for label, law in evidence.laws.items() if label in LAWS)
            candidates, missed = _derived(base, base.name, laws)
            notes += [f"{base.name}: {note}" for note in missed]
            drafts += [Draft.of(c, evidence.grid) for c in candidates if c.formula not in tried]
        self.notes = tuple(notes)
        return drafts[:n]


@lru_cache(maxsize=64)
def _derived(
    base: Formula, name: str, laws: tuple[tuple[str, Law], ...]
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """Cached on the name as well: equal formulas may have two, and a correction shows it."""
    candidates, notes = derive(base, dict(laws), STEPS)
    return tuple(replace(c, proposer=Correction.name, parents=(name,)) for c in candidates), tuple(notes)
