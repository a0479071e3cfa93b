"""Where training starts: each activation at its own critical point, so that none is handicapped by another's scale.

W ~ N(0, C_W/fan_in), b ~ N(0, C_b), inputs scaled so that the first pre-activation has variance K0:

| class           | C_W, C_b                | K0                                                                   |
|-----------------|-------------------------|----------------------------------------------------------------------|
| scale_invariant | 1/A, 0                  | 1: every K is critical                                               |
| zero_stable     | 1/A, 0, A the slope^2   | 1: ordinary inputs, K falls like 1/depth                             |
| half_stable     | at K*                   | K*                                                                   |
| zero_unstable   | 1/A, 0                  | the largest 2^-k <= 1 from which K at most doubles over the depth    |
| none            | 1/E[f^2] at K = 1, 0    | 1: keeps E[f^2] = 1 in the first layers, which is all that can be had |

The readout has variance 1/(fan_in E[f^2]): logits of variance 1 for every activation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.theory.criticality import criticality
from actsmith.theory.kernel import kernel_flow

__all__ = ["Initialisation", "initialisation"]


@dataclass(frozen=True)
class Initialisation:
    """The starting distribution of a network with one activation.

    Attributes:
        universality: the activation's class.
        C_W, C_b: fan_in times the variance of a weight, the variance of a bias, in hidden layers.
        K0: the variance of the first pre-activation.
        readout: fan_in times the variance of a weight of the last layer.
    """

    universality: str
    C_W: float
    C_b: float
    K0: float
    readout: float


def initialisation(formula: Formula, depth: int) -> Initialisation:
    """The table above for a network of `depth` hidden layers.

    Raises:
        ActsmithError: the activation's second moment is zero or not finite, so that no scale keeps it.
    """
    found = criticality(formula)
    universality = str(found.universality)
    C_W, C_b, K0 = math.nan, 0.0, 1.0
    if universality == "none":
        C_W = 1.0 / _second_moment(formula, 1.0)
    elif universality == "half_stable":
        point = next(p for p in found.points if p.K > 0)
        C_W, C_b, K0 = point.C_W, point.C_b, point.K
    else:
        C_W = found.points[0].C_W
    if universality == "zero_unstable":
        K0 = _safe_start(formula, depth, C_W)
    last = float(kernel_flow(formula, K0, depth - 1, C_W, C_b)[-1])
    return Initialisation(universality, C_W, C_b, K0, 1.0 / _second_moment(formula, last))


def _second_moment(formula: Formula, K: float) -> float:
    """E[f(z)^2], z ~ N(0, K)."""
    g = float(kernel_flow(formula, K, 1, 1.0)[1]) if math.isfinite(K) else math.inf
    if not (math.isfinite(g) and g > 0):
        raise ActsmithError(
            f"initialisation: {formula.name} has E[f(z)^2] = {g} at variance {K:.3g}; expected a finite positive number"
        )
    return g


def _safe_start(formula: Formula, depth: int, C_W: float) -> float:
    starts = 2.0 ** -np.arange(0, 31)
    last = kernel_flow(formula, starts, depth, C_W)[-1]
    safe = last <= 2 * starts
    return float(starts[int(np.argmax(safe))]) if safe.any() else float(starts[-1])
