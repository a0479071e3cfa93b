"""Physics-informed networks: u(x, t) on [-1, 1] x [0, 1] from its equation, its start and its walls alone.

    Burgers   u_t + u u_x = nu u_xx,   u(x, 0) = -sin(pi x),                   nu = 0.01/pi
    heat      u_t = kappa u_xx,        u(x, 0) = sin(pi x) + sin(3 pi x)/2,    kappa = 0.05
    both      u(-1, t) = u(1, t) = 0

    loss = mean over the interior of residual^2 + mean over start and walls of (u - given)^2

| symbol   | meaning                                  | shape       |
|----------|------------------------------------------|-------------|
| points   | x and t                                  | (batch, 2)  |
| u        | the network's value                      | (batch,)    |
| u_x, u_t | its derivatives by jets, u_xx too        | (batch,)    |

The exact solution judges, and nothing else: training and the choice of learning rates see the loss alone.

M. Raissi, P. Perdikaris, G. E. Karniadakis, Journal of Computational Physics 378 (2019), appendix A.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import pi
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import qmc
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.nn.jets import derivatives
from actsmith.training.problem import Metric, Problem, Split, digest_of

__all__ = [
    "EQUATIONS", "ERROR", "TIMES", "Derivatives", "Equation", "PhysicsInformed", "Pinn", "burgers_solution",
    "heat_solution",
]  # fmt: skip

Array = NDArray[np.float64]

NU = 0.01 / pi
KAPPA = 0.05
GRID = (256, 101)
"""Values of x and of t at which the error is measured."""
TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""When the error is measured by itself, too."""
LOSS = Metric("loss", "lower", log=True)
"""At held-out points; by which choices are made."""
ERROR = Metric("relative_l2", "lower", log=True)
"""||u - exact||/||exact|| over the grid: 1 is what u = 0 scores."""


def burgers_solution(x: Array, t: Array, nu: float = NU, nodes: int = 100) -> Array:
    """Burgers' equation from -sin(pi x), by the transformation of Cole and Hopf and Gauss-Hermite quadrature.

        u(x, t) = -int sin(pi y) F(y) exp(-z^2) dz / int F(y) exp(-z^2) dz,
        y = x - 2 sqrt(nu t) z,   F(y) = exp(-cos(pi y)/(2 pi nu))

    C. Basdevant et al., Computers & Fluids 14 (1986) 23-41. At nu = 0.01/pi and t <= 1, 100 nodes agree with 240
    to 3e-15.

    Args:
        x, t: broadcast against each other; t >= 0.
        nu: viscosity.
        nodes: of the quadrature.
    """
    z, weight = np.polynomial.hermite.hermgauss(nodes)
    y = np.asarray(x)[..., None] - 2 * np.sqrt(nu * np.asarray(t))[..., None] * z
    exponent = np.log(weight) - np.cos(pi * y) / (2 * pi * nu)
    # Over its largest value: a small viscosity would overflow.
    kernel = np.exp(exponent - exponent.real.max(-1, keepdims=True))
    found: Array = -(np.sin(pi * y) * kernel).sum(-1) / kernel.sum(-1)
    return found


def heat_solution(x: Array, t: Array) -> Array:
    """exp(-kappa pi^2 t) sin(pi x) + exp(-9 kappa pi^2 t) sin(3 pi x)/2."""
    decay = np.exp(-KAPPA * pi**2 * np.asarray(t))
    found: Array = decay * np.sin(pi * np.asarray(x)) + decay**9 * np.sin(3 * pi * np.asarray(x)) / 2
    return found


@dataclass(frozen=True)
class Derivatives:
    """What an equation is made of, each (batch,)."""

    u: Tensor
    u_x: Tensor
    u_t: Tensor
    u_xx: Tensor


@dataclass(frozen=True)
class Equation:
    """A partial differential equation with its solution.

    Attributes:
        residual: zero where the equation holds.
        exact: (x, t) -> u; its values at t = 0 are the start.
    """

    residual: Callable[[Derivatives], Tensor]
    exact: Callable[[Array, Array], Array]


EQUATIONS = {
    "burgers": Equation(lambda d: d.u_t + d.u * d.u_x - NU * d.u_xx, burgers_solution),
    "heat": Equation(lambda d: d.u_t - KAPPA * d.u_xx, heat_solution),
}


@dataclass(frozen=True)
class Pinn:
    """An equation to learn.

    Attributes:
        equation: its name.
        interior, border: collocation points inside; on each of start, left wall and right wall. As many others are
            held out for each of the other splits.
        seed: of the points, a Latin hypercube.
        fresh: whether every step draws new points inside, so that a net cannot learn some by heart. L-BFGS, which
            minimises one function, goes with the fixed ones alone.
    """

    equation: Literal["burgers", "heat"] = "burgers"
    interior: int = 1000
    border: int = 50
    seed: int = 0
    fresh: bool = field(default=False, metadata={"added": True})
    metric = LOSS

    def load(self, data: Path | None) -> PhysicsInformed:
        """The problem; no data are needed.

        Raises:
            ActsmithError: no such equation.
        """
        if self.equation not in EQUATIONS:
            raise ActsmithError(f"equation: got {self.equation!r}; expected {' or '.join(EQUATIONS)}")
        return PhysicsInformed(EQUATIONS[self.equation], self)


class PhysicsInformed(Problem):
    """Scores `loss` at held-out points, others for each split; on the test split the distance to the exact solution too
    over the whole grid (`relative_l2`, `max_error`) and at `TIMES` (`relative_l2_at_0.5`), and `curvature`, the root
    mean square of u_xx at the held-out points.
    """

    metric = LOSS
    inputs = (2,)
    outputs = 1
    square = 1 / 3

    def __init__(self, equation: Equation, config: Pinn) -> None:
        self.equation, self.size = equation, config.interior
        self.train, validation, test = (_Points.drawn(equation, config, split) for split in range(3))
        self.splits = {"validation": validation, "test": test}
        self.named, self.random = repr(config).replace(", fresh=False", ""), config.fresh

    @property
    def fingerprint(self) -> str:
        """Of the equation and all points."""
        return digest_of(
            self.named, *(t for p in (self.train, *self.splits.values()) for t in (p.interior, p.edge, p.given))
        )

    def batch(self, order: Tensor, device: torch.device) -> Tensor:
        if self.random:
            return torch.rand(len(order), 2, device=device) * torch.tensor([2.0, 1.0], device=device) - torch.tensor(
                [1.0, 0.0], device=device
            )
        return self.train.interior[order].to(device)

    def inputs_of(self, batch: Tensor) -> Tensor:
        return _seen(batch)

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        return self.physics(model, batch, self.train)[0]

    def physics(self, model: nn.Module, points: Tensor, border: _Points) -> tuple[Tensor, Derivatives]:
        """The loss at interior points (batch, 2), and what it is made of."""
        found = _derivatives(model, points)
        misfit = _network(model, border.edge.to(points)) - border.given.to(points)
        return self.equation.residual(found).square().mean() + misfit.square().mean(), found

    def score(self, model: nn.Module, split: Split) -> dict[str, Tensor]:
        parameter = next(model.parameters())
        held_out = self.splits[split]
        points = held_out.interior.to(parameter)
        with torch.no_grad():
            loss, found = self.physics(model, points, held_out)
        scores = {"loss": loss}
        if split == "test":
            scores |= self.errors(model)
            scores["curvature"] = found.u_xx.square().mean().sqrt()
        return scores

    @torch.no_grad()
    def errors(self, model: nn.Module) -> dict[str, Tensor]:
        """Distances to the exact solution."""
        x, t = np.meshgrid(np.linspace(-1, 1, GRID[0]), np.linspace(0, 1, GRID[1]), indexing="ij")
        exact = torch.as_tensor(self.equation.exact(x, t))
        points = torch.as_tensor(np.stack([x, t], -1)).reshape(-1, 2).to(next(model.parameters()))
        error = _network(model, points).cpu().double().reshape(GRID) - exact
        scores = {"relative_l2": error.norm() / exact.norm(), "max_error": error.abs().amax()}
        for time in TIMES:
            at = round(time * (GRID[1] - 1))
            scores[f"relative_l2_at_{time:g}"] = error[:, at].norm() / exact[:, at].norm()
        return scores


@dataclass(frozen=True)
class _Points:
    """Collocation points: interior (n, 2), edge (m, 2) with the values `given` (m,) there."""

    interior: Tensor
    edge: Tensor
    given: Tensor

    @classmethod
    def drawn(cls, equation: Equation, config: Pinn, split: int) -> _Points:
        """Latin hypercubes: for the interior in x and t, for start and walls in the one that is free."""
        rng = np.random.default_rng([config.seed, split])
        inside = qmc.LatinHypercube(2, rng=rng).random(config.interior) * [2, 1] - [1, 0]
        line = qmc.LatinHypercube(3, rng=rng).random(config.border)
        start = np.stack([2 * line[:, 0] - 1, np.zeros(config.border)], 1)
        walls = [np.stack([np.full(config.border, side), line[:, i]], 1) for i, side in ((1, -1.0), (2, 1.0))]
        given = np.concatenate([equation.exact(start[:, 0], start[:, 1]), np.zeros(2 * config.border)])
        return cls(*(torch.as_tensor(a, dtype=torch.float32) for a in (inside, np.concatenate([start, *walls]), given)))


def _seen(points: Tensor) -> Tensor:
    """What the network sees of points: x and 2t - 1, both between -1 and 1."""
    x, t = points.unbind(-1)
    return torch.stack([x, 2 * t - 1], -1)


def _network(model: nn.Module, points: Tensor) -> Tensor:
    """u at points (..., 2)."""
    u: Tensor = model(_seen(points))
    return u.squeeze(-1)


def _derivatives(model: nn.Module, points: Tensor) -> Derivatives:
    """Of a piecewise linear network u_xx is zero, as it is wherever it exists."""
    u = derivatives(partial(_network, model), points, [(2, 0), (0, 1)], fallback=True)
    return Derivatives(u[0, 0], u[1, 0], u[0, 1], u[2, 0])
