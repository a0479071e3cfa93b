"""A proposal as numbers, before it is a formula: thousands are looked at for one that is trained.

| symbol  | meaning                                                    | shape |
|---------|------------------------------------------------------------|-------|
| x       | quantiles of the law p of the pre-activations              | (m,)  |
| w       | weights, so that E v(X) is nearly w @ v(x); they sum to 1  | (m,)  |
| f, f'   | values and slopes of a proposal at x                       | (m,)  |
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray
from scipy.special import ndtr

from actsmith.formula.catalogue import resolve
from actsmith.formula.formula import Formula
from actsmith.search.candidates import Candidate
from actsmith.theory.law import Law

__all__ = ["Draft", "Grid", "build", "rounded"]

Array = NDArray[np.float64]

NODES, REACH = 128, 4.0
"""Nodes, and how far they reach in standard normal units: what lies beyond is 6e-5 of the mass. An even number, so that
none is the median, where many functions have their kink."""
WHOLE = 12
"""The largest denominator of a fraction that stays as it is: 1/3 is shorter than its three digits."""
SHORT = 34
"""Characters of a formula that is its own name; a longer one is named after its proposer and a digest."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Where functions are compared: quantiles of the law of the pre-activations, with quadrature weights.

    Attributes:
        law: the law p.
        x: P(X <= x_i) = Phi(z_i), z_i equally spaced on [-4, 4]; ascending, float64 (m,).
        weights: of the trapezoidal rule in z, summing to 1, float64 (m,).
    """

    law: Law
    x: Array
    weights: Array

    @classmethod
    def of(cls, law: Law, nodes: int = NODES) -> Grid:
        """The grid of a law.

        >>> from actsmith.theory.laws import Normal
        >>> grid = Grid.of(Normal())
        >>> round(float(grid.weights @ grid.x**2), 3)
        0.999
        """
        z = np.linspace(-REACH, REACH, nodes)
        weights = np.exp(-(z**2) / 2)
        return cls(law, np.asarray(law.quantile(ndtr(z))), weights / weights.sum())

    @cached_property
    def scale(self) -> float:
        """Half of what the middle 68 % of the law span: the standard deviation of a normal law, and finite for all."""
        low, high = self.law.quantile(np.array([0.16, 0.84]))
        return float(high - low) / 2

    def look(self, formula: Formula) -> tuple[Array, Array]:
        """Values and slopes of a formula at the nodes, each float64 (m,); at a kink, torch's one-sided choice."""
        with np.errstate(all="ignore"):
            values, slopes = formula.jet(self.x, 1)
        return values, slopes


@dataclass(frozen=True, eq=False)
class Draft:
    """A proposal: a function on a grid, and how to build its formula.

    Attributes:
        values, slopes: f and f' on the grid's nodes, float64 (m,); not finite where f is not.
        proposer: the name of the proposer.
        origin: where it comes from, one line.
        parents: names of the formulas that it was made from.
        make: builds the candidate.

            Raises:
                ActsmithError: the formula cannot be had.
        learns: whether training changes its parameters: then an equal function that it does not change is another.
    """

    values: Array
    slopes: Array
    proposer: str
    origin: str
    parents: tuple[str, ...]
    make: Callable[[], Candidate] = field(repr=False)
    learns: bool = False

    @classmethod
    def of(cls, candidate: Candidate, grid: Grid) -> Draft:
        """The draft of a candidate whose formula is there already."""
        values, slopes = grid.look(candidate.formula)
        learns = any(p.learn for p in candidate.formula.params.values())
        return cls(values, slopes, candidate.proposer, candidate.origin, candidate.parents, lambda: candidate, learns)


def build(formula: Any, proposer: str, origin: str, parents: tuple[str, ...] = (), *, short: bool = False) -> Candidate:
    """The candidate of a formula text, a catalogue name, or an expression, under a short name that it alone has.

    Args:
        formula: the text, name or expression.
        proposer, origin, parents: see `Candidate`.
        short: whether its constants are rounded to three digits: products of such constants have more.

    Raises:
        FormulaError: it is no formula.
    """
    built = resolve(formula) if isinstance(formula, str) else Formula(formula)
    if short and (
        long := {n: sp.Rational(repr(rounded(float(n)))) for n in built.expr.atoms(sp.Rational) if n.q > WHOLE}
    ):
        built = Formula(built.expr.xreplace(long))
    if len(built.text) > SHORT:
        built = built.renamed(f"{proposer}-{hashlib.sha256(built.text.encode()).hexdigest()[:6]}")
    return Candidate(built, "candidate", origin, proposer, parents)


def rounded(value: float, digits: int = 3) -> float:
    """The value to so many significant digits: what a formula shows of it."""
    return float(f"{value:.{digits - 1}e}")
