"""What may be tried at all, and whether it is new: every refusal says why.

Two functions are one where, under the law of the pre-activations,

    E (f - g)^2 + s^2 E (f' - g')^2  <=  SAME^2 (E f^2 + s^2 E f'^2),   s the law's scale

and what a training makes of their parameters is the same. An affine multiple of a function is another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.search.candidates import BULK, FAR, Candidate
from actsmith.search.cost import kernel_cost
from actsmith.search.draft import Draft, Grid
from actsmith.search.evidence import Evidence
from actsmith.search.operators import OPERATORS, foreign

__all__ = ["Constraints", "Space"]

Array = NDArray[np.float64]

SAME = 1e-3
"""Functions that differ by less than this share of their size are one; the tanh approximation of GELU is GELU."""
STRAIGHT = 1e-4
"""A function that differs from its best straight line by less than this share of its spread is one."""
FLAT = 1e-9
"""A slope of the wrong sign by less than this share of the largest is rounding."""
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Constraints:
    """What a user asks of an activation beside its quality.

    Attributes:
        max_cost: the most that its kernel may take, forward and backward, as a ratio to torch's own GELU.
        monotone: whether it must be non-decreasing or non-increasing.
        smooth: how often it must be continuously differentiable.
        operators: what it may be built of, see `actsmith.search.operators`.

    Raises:
        ActsmithError: a value is out of its range.
    """

    max_cost: float | None = None
    monotone: bool = False
    smooth: int | None = None
    operators: Literal["any", "onnx", "quantisable"] = "any"

    def __post_init__(self) -> None:
        if self.max_cost is not None and not self.max_cost > 0:
            raise ActsmithError(f"max_cost: got {self.max_cost}; expected a positive ratio to GELU's time, such as 1.5")
        if self.smooth is not None and self.smooth < 0:
            raise ActsmithError(f"smooth: got {self.smooth}; expected 0 (continuous), 1, 2, ...")
        if self.operators not in ("any", *OPERATORS):
            raise ActsmithError(f"operators: got {self.operators!r}; expected any, {' or '.join(OPERATORS)}")


class Space:
    """The functions that may be tried; remembers what it admitted.

    A draft is refused where it equals a draft or a formula that was admitted or remembered; a candidate only where it
    equals such a formula. So drafts are screened first, and what they make is admitted afterwards.

    Args:
        grid: where functions are compared.
        constraints: what is asked beside.
        costs: formula text -> measured cost, where it was measured before; what is measured is added to it.
        device: where the cost is measured.
    """

    def __init__(
        self,
        grid: Grid,
        constraints: Constraints | None = None,
        costs: dict[str, float] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.grid, self.constraints = grid, constraints or Constraints()
        self.costs, self.device = {} if costs is None else costs, device
        self._roots = np.sqrt(np.concatenate([grid.weights, grid.weights * grid.scale**2]))
        self._formulas, self._drafts = _Seen(self._roots.size), _Seen(self._roots.size)

    def admit(self, proposal: Draft | Candidate) -> str | None:
        """None where it may be tried, and is then remembered; else why not.

        Of a draft, what its values show: finite, no straight line, new, monotone. Of a candidate, all: thousands of
        drafts a second, some hundreds of candidates, a few where their cost is to be measured.
        """
        if isinstance(proposal, Draft):
            values, slopes, learns = proposal.values, proposal.slopes, proposal.learns
            name, seen = proposal.origin, [self._formulas, self._drafts]
            reason = self._shown(values, slopes)
        else:
            formula = proposal.formula
            learns, name, seen = _learns(formula), formula.name, [self._formulas]
            try:
                values, slopes = self.grid.look(formula)
                reason = _far(formula) or self._shown(values, slopes)
            except ActsmithError as error:  # no derivative of a size that can be worked out
                return str(error)
        if reason is not None:
            return reason
        point = self._roots * np.concatenate([values, slopes])
        for known in seen:
            if (twin := known.find(point, learns)) is not None:
                return f"the same function as {twin}"
        if isinstance(proposal, Candidate) and (reason := self._built(proposal.formula)) is not None:
            return reason
        seen[-1].add(point, learns, name)
        return None

    def remember(self, formula: Formula) -> None:
        """Take it as seen, whatever the constraints say of it: the start, and what was tried before."""
        point = self._roots * np.concatenate(self.grid.look(formula))
        if np.isfinite(point).all():
            self._formulas.add(point, _learns(formula), formula.name)

    def remembering(self, evidence: Evidence) -> Space:
        """A fresh space of the same grid, constraints and costs that remembers what was tried, and nothing else."""
        space = Space(self.grid, self.constraints, self.costs, self.device)
        for tried in evidence.tried:
            space.remember(tried.candidate.formula)
        return space

    def _shown(self, values: Array, slopes: Array) -> str | None:
        """What is wrong with a function by its values on the grid."""
        if not (np.isfinite(values).all() and np.isfinite(slopes).all()):
            return "its value or slope is not finite where the pre-activations are"
        x, w = self.grid.x, self.grid.weights
        centred, f = x - w @ x, values - w @ values
        spread = float(w @ f**2)
        rest = f - (w @ (centred * f)) / (w @ centred**2) * centred
        if spread <= (1e-12 * float(np.max(np.abs(values)))) ** 2:
            return "a constant where the pre-activations are"
        if float(w @ rest**2) <= STRAIGHT**2 * spread:
            return "a straight line where the pre-activations are"
        if self.constraints.monotone and not _monotone(values, slopes):
            return "not monotone"
        return None

    def _built(self, formula: Formula) -> str | None:
        """What the constraints say of a formula."""
        asked = self.constraints
        if asked.monotone and not all(_monotone(*formula.jet(x, 1)) for x in (FAR, BULK)):
            return "not monotone"
        if asked.smooth is not None:
            smooth = formula.smoothness
            if smooth is not None and smooth < asked.smooth:
                had = "it jumps" if smooth < 0 else f"only {smooth} times"
                return f"not {asked.smooth} times continuously differentiable: {had}"
        if asked.operators != "any" and (found := foreign(formula, asked.operators)):
            return f"not of {asked.operators} operators: {', '.join(found)}"
        if asked.max_cost is not None:
            cost = self.costs.get(formula.text)
            if cost is None:
                cost = self.costs[formula.text] = kernel_cost(formula, self.device)
            if cost > asked.max_cost:
                return f"its kernel takes {cost:.2f} times GELU's time; at most {asked.max_cost:g} is asked for"
        return None


class _Seen:
    """Functions as points, one a row, and the search for one that is near."""

    def __init__(self, width: int) -> None:
        self.points, self.sizes = np.empty((256, width)), np.empty(256)
        self.learns, self.names = np.empty(256, bool), list[str]()

    def add(self, point: Array, learns: bool, name: str) -> None:
        n = len(self.names)
        if n == len(self.sizes):
            self.points, self.sizes, self.learns = (
                np.concatenate([a, np.empty_like(a)]) for a in (self.points, self.sizes, self.learns)
            )
        self.points[n], self.sizes[n], self.learns[n] = point, np.linalg.norm(point), learns
        self.names.append(name)

    def find(self, point: Array, learns: bool) -> str | None:
        """The name of the first that is the same; sizes that differ by more than the tolerance rule most out."""
        n, size = len(self.names), float(np.linalg.norm(point))
        near = np.flatnonzero((np.abs(self.sizes[:n] - size) <= SAME * size) & (self.learns[:n] == learns))
        if near.size:
            near = near[np.linalg.norm(self.points[near] - point, axis=1) <= SAME * size]
        return self.names[near[0]] if near.size else None


def _learns(formula: Formula) -> bool:
    return any(p.learn for p in formula.params.values())


def _far(formula: Formula) -> str | None:
    jet = formula.jet(FAR, 1)
    if not (np.abs(jet) <= LARGEST).all():
        return "its value or slope is not finite in float32 for some |x| <= 1000"
    return None


def _monotone(values: Array, slopes: Array) -> bool:
    """Whether slopes and steps have one sign."""
    changes = np.concatenate(
        [
            np.diff(values) / max(float(np.max(np.abs(values))), 1e-300),
            slopes / max(float(np.max(np.abs(slopes))), 1e-300),
        ]
    )
    return bool((changes >= -FLAT).all() or (changes <= FLAT).all())
