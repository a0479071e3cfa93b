"""Regression of a periodic function that goes on beyond what was trained on.

| symbol | meaning                                                       | shape    |
|--------|---------------------------------------------------------------|----------|
| x      | inputs, uniform over one of three pieces of the line          | (n, 1)   |
| y      | the function there, over its deviation on the training piece  | (n, 1)   |

     validation              training                   test
    |----------|-----------------------------------|----------|
    -(1 + beyond) a      -a         0         a      (1 + beyond) a

Choices are made on one side and claims on the other: what is claimed was never chosen by. A score of 1 is no better
than a constant. (L. Ziyin, T. Hartwig, M. Ueda, Neural networks fail to learn periodic functions and how to fix it,
arXiv:2006.08195.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.tasks.functions import OUTSIDE, VALUE
from actsmith.training.problem import Regression, Split, digest_of, relative_error

__all__ = ["Periodic", "PeriodicProblem"]

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Periodic:
    """A function of one variable, learned on [-reach, reach].

    Attributes:
        function: formula text in x.
        reach: half the length of the training piece, a.
        beyond: length of each further piece, over `reach`.
        size, held_out: training examples; examples of the validation split, of the test split, and of those inside.
        seed: of the points.
    """

    function: str = "sin(x)"
    reach: float = 6.0
    beyond: float = 0.3
    size: int = 512
    held_out: int = 1024
    seed: int = 0
    metric = OUTSIDE

    def load(self, data: Path | None) -> PeriodicProblem:
        """The problem; needs no data.

        Raises:
            ActsmithError: the text is no formula, is not finite on all the points, or a length is not positive.
        """
        if not (self.reach > 0 and self.beyond > 0):
            raise ActsmithError(
                f"periodic {self.function}: got reach={self.reach}, beyond={self.beyond}; expected positive lengths"
            )
        formula, generator = Formula(self.function), np.random.default_rng(self.seed)
        inside = [self.reach * generator.uniform(-1, 1, count) for count in (self.size, self.held_out)]
        outside = [side * self.reach * (1 + self.beyond * generator.uniform(size=self.held_out)) for side in (-1, 1)]
        values = [formula(x) for x in (*inside, *outside)]
        if not all(np.isfinite(y).all() for y in values):
            raise ActsmithError(f"periodic {self.function}: not finite on all points; give a shorter reach")
        scale = float(values[0].std())
        train, inner, validation, test = (
            (torch.from_numpy(x).float()[:, None], torch.from_numpy(y / scale).float()[:, None])
            for x, y in zip((*inside, *outside), values, strict=True)
        )
        return PeriodicProblem(train, validation, test, inside=inner)


class PeriodicProblem(Regression):
    """Scored outside of the training piece, and inside of it too.

    Args:
        train, validation, test: inputs and values (n, 1), of three pieces of the line.
        inside: others of the training piece.
    """

    metric = OUTSIDE

    def __init__(self, train: Pair, validation: Pair, test: Pair, *, inside: Pair) -> None:
        super().__init__(train, validation, test, outputs=1)
        self.inside = inside

    @property
    def fingerprint(self) -> str:
        """Of the three splits and the points inside."""
        return digest_of(super().fingerprint, *self.inside)

    def score(self, model: nn.Module, split: Split) -> dict[str, Tensor]:
        """`OUTSIDE` on the split, and `VALUE` on the training piece."""
        outside = super().score(model, split)[VALUE.name]
        x, y = self.inside
        inside = relative_error(self.outputs_of(model, x, next(model.parameters()).device), y)
        return {OUTSIDE.name: outside, VALUE.name: inside}
