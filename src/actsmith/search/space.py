"""What may be tried at all, and whether it is new: every refusal says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from actsmith.formula.formula import Formula
from actsmith.search.candidates import Candidate
from actsmith.search.draft import Draft, Grid

__all__ = ["Constraints", "Space"]


@dataclass(frozen=True)
class Constraints:
    """What a user asks of an activation beside its quality.

    Attributes:
        max_cost: the most that its kernel may take, forward and backward, as a ratio to torch's GELU.
        monotone: whether it must be non-decreasing or non-increasing.
        smooth: how often it must be continuously differentiable.
        operators: what it may be built of.
    """

    max_cost: float | None = None
    monotone: bool = False
    smooth: int | None = None
    operators: Literal["any", "onnx", "quantisable"] = "any"


class Space:
    """The functions that may be tried; remembers what it admitted.

    A draft is refused where it equals a draft or a candidate that was admitted or remembered; a candidate only where it
    equals such a candidate. So drafts are screened first, and what they make is admitted afterwards.

    Args:
        grid: where functions are compared.
        constraints: what is asked beside.
        costs: formula text -> measured cost, where it was measured before; the same dictionary is added to.
    """

    def __init__(
        self, grid: Grid, constraints: Constraints = Constraints(), costs: dict[str, float] | None = None
    ) -> None:
        self.grid, self.constraints, self.costs = grid, constraints, {} if costs is None else costs

    def admit(self, proposal: Draft | Candidate) -> str | None:
        """None where it may be tried, and is then remembered; else why not."""
        raise NotImplementedError

    def remember(self, formula: Formula) -> None:
        """Take it as seen, whatever the constraints say of it: what was tried before."""
        raise NotImplementedError
