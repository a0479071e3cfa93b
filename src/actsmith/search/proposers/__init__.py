"""Where candidates come from: one file a proposer."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from actsmith.search.draft import Draft
from actsmith.search.evidence import Evidence
from actsmith.search.proposers.affine import Affine
from actsmith.search.proposers.correction import Correction
from actsmith.search.proposers.evolution import Evolution
from actsmith.search.proposers.family import Family
from actsmith.search.proposers.known import Known
from actsmith.search.proposers.own import Own

__all__ = ["PROPOSERS", "Own", "Proposer"]


class Proposer(Protocol):
    """A source of candidates.

    Attributes:
        name: what the tables call it.
        notes: what the last call could not give, and why; a line each.
    """

    @property
    def name(self) -> str: ...
    @property
    def notes(self) -> tuple[str, ...]: ...

    def propose(self, evidence: Evidence, rng: np.random.Generator, n: int) -> list[Draft]:
        """At most n drafts, on `evidence.grid`. Pure: the same arguments, the same answer."""
        ...


PROPOSERS: tuple[Proposer, ...] = (Known(), Correction(), Affine(), Family(), Evolution())
"""Those of every search; `Own(call)` is added where the user has one."""
