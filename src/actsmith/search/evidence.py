"""What the search has seen so far, as values: all that proposers and the surrogate are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from actsmith.formula.formula import Formula
from actsmith.search.candidates import Candidate
from actsmith.search.draft import Grid
from actsmith.theory.law import Law

__all__ = ["Evidence", "Tried"]


@dataclass(frozen=True)
class Tried:
    """A candidate that was trained, and what came out.

    Attributes:
        candidate: what was trained.
        merit: the mean paired difference to the start on the exploring seeds, higher is better; -inf where the
            training diverged.
        promoted: whether it was chosen for tuning.
        seconds: of a training step.
    """

    candidate: Candidate
    merit: float
    promoted: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Evidence:
    """The history of a search.

    Attributes:
        start: the activation to beat; its merit is 0.
        grid: where functions are compared.
        laws: label -> a law of the pre-activations with a closed form, see `candidates.laws_to_try`.
        tried: what was trained, in the order of the trials.
    """

    start: Formula
    grid: Grid
    laws: Mapping[str, Law]
    tried: tuple[Tried, ...] = ()

    def best(self, n: int) -> list[Tried]:
        """At most n that did not diverge, the best first, the earlier first of equal ones."""
        finite = [tried for tried in self.tried if tried.merit > float("-inf")]
        return sorted(finite, key=lambda tried: -tried.merit)[:n]
