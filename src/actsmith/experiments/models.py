"""Models by plain values: what an experiment's `model` may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.experiments.initial import Initialisation, initialisation
from actsmith.experiments.network import Stack
from actsmith.experiments.problem import Problem
from actsmith.formula.formula import Formula

__all__ = ["Mlp", "Single"]

KAIMING = Initialisation(universality="none", C_W=2.0, C_b=0.0, K0=2.0, readout=1.0)
"""W ~ N(0, 2/fan_in) whatever the activation, inputs of mean square 1 (He et al., arXiv:1502.01852)."""


@dataclass(frozen=True)
class Mlp:
    """Multilayer perceptrons, all seeds side by side.

    Attributes:
        width, depth: units in a hidden layer, number of hidden layers.
        init: "critical", each activation at its own critical point, or "kaiming", C_W = 2 and no bias for all.
    """

    width: int = 64
    depth: int = 6
    init: Literal["critical", "kaiming"] = "critical"
    stacked = True

    def build(self, formula: Formula, seeds: Sequence[int], problem: Problem) -> nn.Module:
        """A `Stack`; inputs of more than one dimension are flattened."""
        start = initialisation(formula, self.depth) if self.init == "critical" else KAIMING
        shape = {"features": prod(problem.inputs), "width": self.width, "depth": self.depth}
        return _Flat(formula, seeds, **shape, outputs=problem.outputs, start=start, square=problem.square)


class _Flat(Stack):
    def __init__(self, formula: Formula, seeds: Sequence[int], *, width: int, **options: object) -> None:
        super().__init__(formula, seeds, width=width, **options)  # type: ignore[arg-type]
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(2))


class Single(nn.Module):
    """One network as a stack of one: (1, batch, ...) to (1, batch, outputs).

    Raises:
        ActsmithError: built for several seeds.
    """

    nets = 1

    def __init__(self, network: nn.Module, seeds: Sequence[int]) -> None:
        super().__init__()
        if len(seeds) != 1:
            raise ActsmithError(f"model: got {len(seeds)} seeds; expected one, this kind is trained one after another")
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x[0])
        return out[None]
