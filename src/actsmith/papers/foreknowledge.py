"""What the theory says of an activation before anything is trained, as one record for each.

| quantity          | what it is                                                                      |
|-------------------|---------------------------------------------------------------------------------|
| smoothed          | J_0.1 under N(0, 1)                                                             |
| smoothed_at_start | J_0.1 under N(0, K0), the law that the first layer meets                        |
| scale_free        | J under N(0, 1); minus infinity where the output has an atom                    |
| distance          | mean over the layers of max(abs log abs chi_par, abs log chi_perp) at the start |
| distance_kaiming  | the same where W ~ N(0, 2/fan_in) for all                                       |
| smoothness        | the k of C^k: -1 for a jump, infinite for smooth                                |
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsmith.formula.formula import Formula
from actsmith.nn.start import KAIMING, Start, start_of
from actsmith.papers.experiment import Results
from actsmith.papers.kernels import PerActivation
from actsmith.theory.analysis import analyze
from actsmith.theory.entropy import entropy
from actsmith.theory.kernel import kernel_flow, moments
from actsmith.theory.laws import Normal

__all__ = ["QUANTITIES", "Theory", "distance", "quantities"]

QUANTITIES = ("smoothed", "smoothed_at_start", "scale_free", "distance", "distance_kaiming", "smoothness")
RESOLVED = 6
"""Decimals to which quantities are told apart; what differs by less is a tie."""

Floats = NDArray[np.float64]


def distance(formula: Formula, start: Start, depth: int) -> float:
    """Mean over the hidden layers of max(|log |chi_par||, |log chi_perp|), 0 where every layer is critical.

    Infinite where f jumps or a kernel blows up.
    """
    K = kernel_flow(formula, start.K0, depth - 1, start.C_W, start.C_b)
    if not np.isfinite(K).all():
        return math.inf
    at = moments(formula, K)
    with np.errstate(divide="ignore", invalid="ignore"):
        off = [np.abs(np.log(np.abs(start.C_W * chi))) for chi in (at.dg, at.perp)]
    found = float(np.maximum(*off).mean())
    return found if math.isfinite(found) else math.inf


@dataclass(frozen=True)
class Theory(PerActivation):
    """What is known before training: one record for each activation.

    Attributes:
        depth: of the networks that start at criticality.
    """

    depth: int
    name = "theory"

    def record(self, formula: Formula) -> dict[str, Any]:
        """Quantity -> value; an infinite distance, an undefined entropy are not finite or None."""
        found, start = analyze(formula), start_of(formula, self.depth)
        return {
            "smoothed": found.entropy.smoothed,
            "smoothed_at_start": entropy(formula, Normal(0.0, math.sqrt(start.K0))).smoothed,
            "scale_free": found.entropy.scale_free,
            "atom_mass": found.entropy.atom_mass,
            "smoothness": found.smoothness,
            "universality": found.criticality.universality,
            "distance": distance(formula, start, self.depth),
            "distance_kaiming": distance(formula, KAIMING, self.depth),
        }


def quantities(folder: Results, names: Sequence[str]) -> dict[str, Floats]:
    """Quantity -> value of each activation, (activations,); NaN where it is not known."""
    records = [folder.results[f"theory/{name}"] for name in names]
    found = {q: [_number(r, q) for r in records] for q in QUANTITIES}
    return {q: np.array(values, np.float64).round(RESOLVED) for q, values in found.items()}


def _number(record: Mapping[str, Any], quantity: str) -> float:
    value = record[quantity]
    if value is not None:
        return float(value)
    if quantity == "scale_free":
        return -math.inf if record["atom_mass"] > 0 else math.nan
    return math.nan if quantity.startswith("smoothed") else math.inf
