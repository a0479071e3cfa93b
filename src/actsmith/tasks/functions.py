"""Regression of known functions: polynomials of several variables, differentiable functions of one.

| symbol | meaning                                                    | shape              |
|--------|------------------------------------------------------------|--------------------|
| x      | inputs, uniform over the training domain                   | (n, variables)     |
| y      | the function there, over its deviation on the training set | (n, 1)             |

What a score of 1 means: a value no better than a constant, a first derivative no better than that of a constant, a
second derivative no better than that of a straight line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.nn.hook import Hook
from actsmith.training.problem import Metric, Problem, Regression, Split, digest_of, exact, relative_error

__all__ = [
    "FIRST", "OUTSIDE", "SECOND", "VALUE", "FunctionConfig", "FunctionProblem", "Pictures", "Polynomial",
    "PolynomialConfig", "PolynomialProblem", "derivatives", "random_polynomial", "sparse_polynomial",
]  # fmt: skip

VALUE = Regression.metric
"""Root mean square error inside the training domain, over the deviation of the function."""
OUTSIDE = Metric("outside_rmse", "lower", log=True)
"""The same in the shell around the training domain."""
FIRST = Metric("first_derivative", "lower", log=True)
"""Root mean square error of f' over the root mean square of f'."""
SECOND = Metric("second_derivative", "lower", log=True)
"""Root mean square error of f'' over the root mean square of f''."""


@dataclass(frozen=True)
class Polynomial:
    """sum_k c_k prod_i x_i^(e_ki).

    Attributes:
        name: for readers.
        exponents: e, one tuple over the variables for each term.
        coefficients: c.

    >>> Polynomial("x y", ((1, 1),), (2.0,))(torch.tensor([[3.0, 0.5]])).item()
    3.0
    """

    name: str
    exponents: tuple[tuple[int, ...], ...]
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        lengths = {len(e) for e in self.exponents}
        if len(lengths) != 1 or 0 in lengths or len(self.exponents) != len(self.coefficients):
            raise ActsmithError(
                f"polynomial {self.name}: got {len(self.exponents)} tuples of exponents of lengths {sorted(lengths)} "
                f"and {len(self.coefficients)} coefficients; expected one tuple a coefficient, one exponent a variable"
            )

    @property
    def variables(self) -> int:
        return len(self.exponents[0])

    @property
    def degree(self) -> int:
        """The largest total degree of a term."""
        return max(sum(e) for e in self.exponents)

    def __call__(self, x: Tensor) -> Tensor:
        """Values (n, 1) at x (n, variables)."""
        powers = torch.tensor(self.exponents, device=x.device)
        terms = (x[:, None, :] ** powers).prod(-1)
        return (terms @ torch.tensor(self.coefficients, dtype=x.dtype, device=x.device))[:, None]


def random_polynomial(name: str, variables: int, degree: int, seed: int) -> Polynomial:
    """All monomials of total degree 1 to `degree`, each with a coefficient from N(0, 1)."""
    exponents = tuple(e for e in product(range(degree + 1), repeat=variables) if 1 <= sum(e) <= degree)
    drawn = np.random.default_rng(seed).standard_normal(len(exponents))
    return Polynomial(name, exponents, tuple(drawn.round(6).tolist()))


def sparse_polynomial(name: str, variables: int, degree: int, terms: int, seed: int = 0) -> Polynomial:
    """`terms` products of `degree` random coordinates, each with a coefficient from N(0, 1)."""
    rng = np.random.default_rng(seed)
    factors = rng.integers(variables, size=(terms, degree))
    exponents = tuple(tuple(np.bincount(row, minlength=variables).tolist()) for row in factors)
    return Polynomial(name, exponents, tuple(rng.standard_normal(terms).round(6).tolist()))


@dataclass(frozen=True)
class PolynomialConfig:
    """Regression of a polynomial on the cube [low, high]^variables, scored there and in a shell around it.

    Attributes:
        target: the polynomial.
        low, high: the training domain, of every variable.
        reach: the shell is the cube stretched by this factor about its middle, without the cube.
        size, held_out: training examples; examples of the validation split, of the test split and of the shell.
        seed: of the points.
    """

    target: Polynomial
    low: float = -1.0
    high: float = 1.0
    reach: float = 1.5
    size: int = 1024
    held_out: int = 2048
    seed: int = 0
    metric = VALUE

    def load(self, data: Path | None) -> PolynomialProblem:
        """The problem; needs no data."""
        if not (self.low < self.high and self.reach > 1):
            raise ActsmithError(
                f"polynomial {self.target.name}: got the domain [{self.low}, {self.high}] and reach {self.reach}; "
                "expected low < high and a reach above 1"
            )
        generator = torch.Generator().manual_seed(self.seed)
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2

        def points(count: int) -> Tensor:
            """In [-1, 1]^variables."""
            return 2 * torch.rand(count, self.target.variables, generator=generator, dtype=torch.float64) - 1

        def shell() -> Tensor:
            """The first `held_out` of the stretched cube's points that are outside the cube."""
            found = torch.empty(0, self.target.variables, dtype=torch.float64)
            while len(found) < self.held_out:
                more = self.reach * points(self.held_out)
                found = torch.cat([found, more[more.abs().amax(1) > 1]])
            return found[: self.held_out]

        sets = [middle + half * u for u in (points(self.size), points(self.held_out), points(self.held_out), shell())]
        values = [self.target(x) for x in sets]
        scale = float(values[0].std())
        pairs = [(x.float(), (y / scale).float()) for x, y in zip(sets, values, strict=True)]
        return PolynomialProblem(pairs[0], pairs[1], pairs[2], outside=pairs[3])


class PolynomialProblem(Regression):
    """Adds the error outside the training domain to a regression's scores.

    Args:
        train, validation, test, outside: inputs (n, variables) and values (n, 1).
    """

    def __init__(
        self,
        train: tuple[Tensor, Tensor],
        validation: tuple[Tensor, Tensor],
        test: tuple[Tensor, Tensor],
        outside: tuple[Tensor, Tensor],
    ) -> None:
        super().__init__(train, validation, test, outputs=1)
        self.outside = outside

    @property
    def fingerprint(self) -> str:
        """Of the three splits and the shell."""
        return digest_of(super().fingerprint, *self.outside)

    def score(self, model: nn.Module, split: Split) -> dict[str, Tensor]:
        """`VALUE` on the split, and `OUTSIDE`."""
        x, y = self.outside
        found = self.outputs_of(model, x, next(model.parameters()).device)
        return super().score(model, split) | {OUTSIDE.name: relative_error(found, y)}


@dataclass(frozen=True)
class FunctionConfig:
    """Regression of a function of one variable, scored with its first and second derivative.

    Attributes:
        function: formula text in x, twice differentiable on the domain.
        low, high: the domain.
        size, held_out: random training points; points of the validation split and of the test split.
        seed: of the points.
    """

    function: str
    low: float = -1.0
    high: float = 1.0
    size: int = 256
    held_out: int = 1024
    seed: int = 0
    metric = VALUE

    def load(self, data: Path | None) -> FunctionProblem:
        """The problem; needs no data.

        Raises:
            ActsmithError: the text is no formula, or it or a derivative is not finite somewhere on the points.
        """
        formula = Formula(self.function)
        generator = np.random.default_rng(self.seed)
        sets = [generator.uniform(self.low, self.high, n) for n in (self.size, self.held_out, self.held_out)]
        jets = [formula.jet(x, 2) for x in sets]
        if not all(np.isfinite(jet).all() for jet in jets):
            raise ActsmithError(
                f"function {self.function}: it or its first two derivatives are not finite on all of "
                f"[{self.low}, {self.high}]; give another domain"
            )
        scale = float(jets[0][0].std())
        x = [torch.from_numpy(v).float()[:, None] for v in sets]
        y = [torch.from_numpy(jet / scale).float()[:, :, None] for jet in jets]
        pairs = [(x_, y_[0]) for x_, y_ in zip(x, y, strict=True)]
        slopes = {"validation": (y[1][1], y[1][2]), "test": (y[2][1], y[2][2])}
        return FunctionProblem(*pairs, slopes=slopes, domain=(self.low, self.high), scale=scale)


class FunctionProblem(Regression):
    """Adds the errors of the first two derivatives to a regression's scores.

    Args:
        train, validation, test: inputs and values (n, 1).
        slopes: for each split the first and the second derivative (n, 1).
        domain: its ends.
        scale: what the values were divided by.
    """

    def __init__(
        self,
        train: tuple[Tensor, Tensor],
        validation: tuple[Tensor, Tensor],
        test: tuple[Tensor, Tensor],
        *,
        slopes: dict[str, tuple[Tensor, Tensor]],
        domain: tuple[float, float],
        scale: float,
    ) -> None:
        super().__init__(train, validation, test, outputs=1)
        self.slopes, self.domain, self.scale = slopes, domain, scale

    @property
    def fingerprint(self) -> str:
        """Of the values and the slopes."""
        return digest_of(super().fingerprint, *self.slopes["validation"], *self.slopes["test"])

    def score(self, model: nn.Module, split: Split) -> dict[str, Tensor]:
        """`VALUE`, `FIRST` and `SECOND`."""
        scores = super().score(model, split)
        found = derivatives(model, self.splits[split][0])
        for metric, mine, true in zip((FIRST, SECOND), found[1:], self.slopes[split], strict=True):
            slope = exact(mine)
            given = true.to(slope)
            scores[metric.name] = (slope - given).square().mean().sqrt() / given.square().mean().sqrt()
        return scores


def derivatives(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values, first and second derivatives of a function of one variable, (n, 1) each.

    Args:
        model: from (n, 1) to (n, 1), examples independent of each other.
        x: points (n, 1).
    """
    points = x.to(next(model.parameters()).device).detach().clone().requires_grad_()
    with torch.enable_grad():
        value = model(points)
        (first,) = torch.autograd.grad(value.sum(), points, create_graph=True)
        # Of a piecewise linear network the first derivative does not depend on the point, as far as autograd knows.
        second = torch.zeros_like(first)
        if first.requires_grad:
            (second,) = torch.autograd.grad(first.sum(), points, materialize_grads=True)
    return value.detach(), first.detach(), second.detach()


@dataclass(frozen=True)
class Pictures:
    """Keeps the fit and its derivatives on a grid, once, for a figure; of one network that is trained alone.

    Attributes:
        after: the epoch.
        points: of the grid, from end to end of the domain.
    """

    after: int
    points: int = 161

    def build(self, model: nn.Module, problem: Problem) -> Hook:
        """The hook of a training of `FunctionProblem`.

        Raises:
            ActsmithError: another problem.
        """
        if not isinstance(problem, FunctionProblem):
            raise ActsmithError(f"pictures: got {type(problem).__name__}; expected a FunctionProblem")
        return _Pictures(self, model, problem)


class _Pictures(Hook):
    def __init__(self, config: Pictures, model: nn.Module, problem: FunctionProblem) -> None:
        self.config, self.model, self.problem = config, model, problem

    def after_epoch(self, epoch: int) -> dict[str, Any] | None:
        """x, value, first, second: lists of the grid's length, after the one epoch."""
        if epoch + 1 != self.config.after:
            return None
        low, high = self.problem.domain
        x = torch.linspace(low, high, self.config.points, dtype=torch.float64)
        found = derivatives(self.model, x.float()[:, None])
        lines = {
            name: _rounded((exact(line[:, 0]) * self.problem.scale).tolist())
            for name, line in zip(("value", "first", "second"), found, strict=True)
        }
        return {"x": _rounded(x.tolist()), **lines}


def _rounded(values: Sequence[float]) -> list[float]:
    """To five significant digits: a picture needs no more."""
    return [float(f"{v:.5g}") if math.isfinite(v) else v for v in values]
