"""What theory says of a function before anything is trained, under N(0, 1), a number a name.

| symbol | meaning                                          |
|--------|--------------------------------------------------|
| X      | the pre-activation, N(0, 1)                      |
| R      | chi_par/chi_perp = E X f f'/E f'^2               |
| o, e   | odd and even part, f = o + e                     |
"""

from __future__ import annotations

import math

import numpy as np

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.search.draft import Grid
from actsmith.search.surrogate import theory
from actsmith.search.tree import from_formula, size
from actsmith.theory.analysis import analyze
from actsmith.theory.criticality import UNIVERSALITY
from actsmith.theory.laws import Normal

__all__ = ["MEANINGS", "quantities_of"]

MEANINGS = {
    "slope": "log E f'^2",
    "square": "log E f^2",
    "gain": "log E f'^2/E f^2: how a gradient grows per layer where the signal is kept",
    "criticality": "R - 1, between -2 and 2: 0 where signal and gradient can be kept together",
    "uncritical": "|R - 1|",
    "mean_share": "(E f)^2/E f^2: the correlation of the outputs of unrelated inputs",
    "linear_share": "share of E f^2 in the line that fits f best",
    "odd_share": "E o^2/(E o^2 + Var e)",
    "falls": "share of the inputs where f falls, or rises where it mostly falls",
    "flat": "share of the inputs where |f'| is under a twentieth of its root mean square",
    "entropy": "smoothed scale-free entropy J of the output, width 0.1, nats (arXiv:2405.12954's quantity made "
               "comparable)",
    "entropy_differential": "differential entropy of the output, nats; none where the output has atoms",
    "entropy_scale_free": "the same less the logarithm of the output's deviation",
    "atom_mass": "probability that the input lies on a flat piece",
    "usable": "class of criticality: 0 scale invariant, 1 zero-stable, 2 half-stable, 3 zero-unstable, 4 none",
    "critical_kernel": "log(1 + K) of the first critical point",
    "kinks": "how many kinks",
    "smoothness": "how often continuously differentiable: -1 for a jump, 4 for infinitely",
    "bounded_below": "1 where f is",
    "bounded_above": "1 where f is",
    "monotone": "1 where f is",
    "size": "nodes of the expression tree; none where it has functions that trees have not",
}  # fmt: skip
"""Name -> what it is."""
INFINITELY = 4
"""The number that stands for infinitely differentiable; C^3 and smoother ones are one below."""
NEARLY_FLAT = 0.05


def quantities_of(formula: Formula) -> dict[str, float]:
    """`MEANINGS` of one function; not a number where a quantity does not exist.

    Example:
        >>> found = quantities_of(Formula("relu(x)"))
        >>> found["usable"], found["kinks"], round(found["atom_mass"], 2)
        (0.0, 1.0, 0.5)
    """
    values = dict.fromkeys(MEANINGS, math.nan)
    values |= _by_values(formula)
    tree = from_formula(formula)
    values["size"] = math.nan if tree is None else float(size(tree))
    try:
        found = analyze(formula)
    except ActsmithError:  # constant where the inputs are, or without moments
        return values
    entropy, critical = found.entropy, found.criticality
    smoothness = INFINITELY if found.smoothness is None else min(found.smoothness, INFINITELY - 1)
    values |= {
        "entropy": _number(entropy.smoothed),
        "entropy_differential": _number(entropy.differential),
        "entropy_scale_free": _number(entropy.scale_free),
        "atom_mass": float(entropy.atom_mass),
        "usable": float(UNIVERSALITY.index(critical.universality)),
        "critical_kernel": math.log1p(critical.points[0].K) if critical.points else math.nan,
        "kinks": float(len(formula.kinks)),
        "smoothness": float(smoothness),
        "bounded_below": float(found.bounded[0]),
        "bounded_above": float(found.bounded[1]),
        "monotone": float(found.monotone),
    }
    return values


def _by_values(formula: Formula) -> dict[str, float]:
    """What values and slopes on a grid say."""
    grid = Grid.of(Normal())
    f, slope = grid.look(formula)
    if not (np.isfinite(f).all() and np.isfinite(slope).all()):
        return {}
    w = grid.weights
    slopes, ratio, _, linear, mean, square = theory(f[None], slope[None], grid)[0]
    odd, even = (f - f[::-1]) / 2, (f + f[::-1]) / 2
    of_odd, of_even = float(w @ odd**2), float(w @ (even - w @ even) ** 2)
    falls = float(w @ (slope < 0))
    steep = math.sqrt(float(w @ slope**2))
    return {
        "slope": slopes,
        "square": square,
        "gain": slopes - square,
        "criticality": ratio,
        "uncritical": abs(ratio),
        "mean_share": mean,
        "linear_share": linear,
        "odd_share": of_odd / (of_odd + of_even) if of_odd + of_even > 0 else math.nan,
        "falls": min(falls, float(w @ (slope > 0))),
        "flat": float(w @ (np.abs(slope) < NEARLY_FLAT * steep)),
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
