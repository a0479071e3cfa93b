"""The shape that training gives an activation, read back as a short formula.

    start + sum_k eps_k psi_k,   psi_k = He_k(x) exp(-x^2/2)

is trained with its network, eps by the task's loss and by entropy descent together. What the layers of all networks
have in the mean is one shape. Its difference from the start is fitted, in L2(N(0, 1)), by the few psi_k that explain
most of it; that formula, fixed, is a candidate like any other, and is trained from scratch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import sympy as sp

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.formula.parse import X
from actsmith.nn.hermite import hermite_formula
from actsmith.search.candidates import Candidate
from actsmith.theory.criticality import criticality
from actsmith.theory.descent import hermite_psi
from actsmith.theory.laws import Normal
from actsmith.theory.quadrature import nodes
from actsmith.trials.trial import Outcome

__all__ = ["ShortForm", "mean_shape", "read_back", "shape_formula", "shapes_of", "trained_candidates"]

ORDER = 4
TERMS = 3
ENOUGH = 0.1
"""A residual that needs no further term."""
DIGITS = 3


@dataclass(frozen=True)
class ShortForm:
    """A shape's short formula.

    Attributes:
        formula: base + a few terms, coefficients of three digits, all fixed.
        residual: L2(N(0, 1)) distance from the shape, over that of the base from the shape; 0 where these are equal.
    """

    formula: Formula
    residual: float


def shape_formula(start: Formula) -> Formula:
    """start + sum_k eps_k psi_k, eps learnable from 0: what is trained to find a shape."""
    return hermite_formula(start, ORDER).renamed(f"{start.name}[shape]")


def mean_shape(formula: Formula, outcomes: Sequence[Outcome]) -> Formula:
    """The formula with its learned parameters at their mean over networks and layers, fixed.

    Nets that diverged do not count.

    Args:
        formula: `shape_formula` of the start.
        outcomes: its trainings.

    Raises:
        ActsmithError: every network diverged.
    """
    learned: dict[str, list[float]] = {}
    for outcome in outcomes:
        if not outcome.diverged and outcome.reason is None:
            for path, values in outcome.details["parameters"].items():
                learned.setdefault(path.rpartition(".")[2], []).extend(v for v in values if v is not None)
    if not learned:
        raise ActsmithError("search: every network diverged while its activation's shape was trained")
    params = dict(formula.params)
    for name, values in learned.items():
        p = params[name]
        params[name] = replace(p, value=min(max(sum(values) / len(values), p.low), p.high), learn=False)
    return Formula(formula.expr, params, formula.name)


def shapes_of(start: Formula, formula: Formula, outcomes: Sequence[Outcome]) -> tuple[list[Candidate], list[str]]:
    """The candidates that the trainings of `shape_formula` give, or a note why there are none."""
    if not outcomes:
        return [], ["trained shape: the budget ended before"]
    try:
        return trained_candidates(start, mean_shape(formula, outcomes)), []
    except ActsmithError as error:
        return [], [f"trained shape: {error}"]


def read_back(shape: Formula, base: Formula, terms: int = TERMS, order: int = ORDER) -> ShortForm:
    """The best base + few of psi_0 .. psi_order for a shape: so few that leave a tenth of the difference, or `terms`.

    Any shape can be read back, a trained spline's `SplineActivation.formula` as well as a Hermite activation's.

    Example:
        >>> from actsmith.formula.catalogue import get_activation as get
        >>> read_back(get("crrelu", eps=0.2), get("relu"), terms=1).formula.text
        '1/5*x*exp(-x**2/2) + relu(x)'
    """
    rule = nodes(tuple(sorted({0.0, *base.kinks})), cut=12.0, step=0.05)
    weight = rule.w * Normal().pdf(rule.x)
    target = np.asarray(shape(rule.x)) - np.asarray(base(rule.x))
    size = float(weight @ target**2)
    if not size > 1e-24:
        return ShortForm(_fixed(base), 0.0)
    basis = np.array([np.asarray(Formula(hermite_psi(k))(rule.x)) for k in range(order + 1)])
    for count in range(1, terms + 1):
        subsets = [list(s) for s in combinations(range(order + 1), count)]
        chosen = min(subsets, key=lambda s: _fit(basis[s], target, weight)[1])
        if _fit(basis[chosen], target, weight)[1] <= ENOUGH**2 * size:
            break
    coefficients = [sp.Rational(f"{c:.{DIGITS - 1}e}") for c in _fit(basis[chosen], target, weight)[0]]
    fixed = _fixed(base)
    added = sp.Add(*(c * hermite_psi(k) for c, k in zip(coefficients, chosen, strict=True)))
    formula = Formula(fixed.expr + added, fixed.params, f"{base.name}+trained")
    rest = target - np.array([float(c) for c in coefficients]) @ basis[chosen]
    return ShortForm(formula, float(np.sqrt(weight @ rest**2 / size)))


def trained_candidates(start: Formula, shape: Formula) -> list[Candidate]:
    """The candidate that a trained shape gives, with its origin; where the added terms do not vanish at 0, also shifted
    so that they do: a constant changes no entropy, but may cost the critical point."""
    values = {n: p.value for n, p in shape.params.items() if n in start.params}
    base = start.at(**values) if values else start
    short = read_back(shape, base)
    terms = ", ".join(f"{n} = {p.value:+.3g}" for n, p in shape.params.items() if n not in start.params)
    origin = (
        f"read back from training: {start.name} + sum eps_k psi_k, trained by the task and by entropy descent, ended "
        f"in the mean at {terms}; read with a residual of {short.residual:.0%}, fixed"
    )
    formula = short.formula.renamed(f"{start.name}[trained]")
    pair = [Candidate(formula, "candidate", origin, "shape", (start.name,))]
    if (constant := (formula.expr - _fixed(base).expr).subs(X, 0)) != 0 and criticality(formula).universality == "none":
        shifted = Formula(formula.expr - constant, formula.params, formula.name)
        note = f"{origin}; shifted so that f(0) is the start's"
        pair = [Candidate(shifted, "candidate", note, "shape", (start.name,))]
    return pair


def _fixed(f: Formula) -> Formula:
    return Formula(f.expr, {n: replace(p, learn=False) for n, p in f.params.items()}, f.name)


def _fit(basis: np.ndarray, target: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, float]:
    """Least squares in L2(N(0, 1)): coefficients, and the square of what is left."""
    found = np.linalg.solve((basis * weight) @ basis.T, basis @ (weight * target))
    return found, float(weight @ (target - found @ basis) ** 2)
