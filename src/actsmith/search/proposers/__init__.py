"""Where candidates come from: one file a proposer."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from actsmith.search.draft import Draft
from actsmith.search.evidence import Evidence

__all__ = ["Proposer"]


class Proposer(Protocol):
    """A source of candidates."""

    name: str

    def propose(self, evidence: Evidence, rng: np.random.Generator, n: int) -> list[Draft]:
        """At most n drafts, on `evidence.grid`. Pure: the same arguments, the same answer."""
        ...
