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
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsmith.experiments.experiment import Report, describe
from actsmith.experiments.folder import RunFolder, finite_or_none
from actsmith.experiments.initial import Initialisation, initialisation
from actsmith.experiments.loop import Runtime
from actsmith.experiments.models import KAIMING
from actsmith.formula.formula import Formula
from actsmith.theory.analysis import analyze
from actsmith.theory.entropy import entropy
from actsmith.theory.kernel import kernel_flow, moments
from actsmith.theory.laws import Normal

__all__ = ["QUANTITIES", "Theory", "distance", "quantities"]

QUANTITIES = ("smoothed", "smoothed_at_start", "scale_free", "distance", "distance_kaiming", "smoothness")
RESOLVED = 6
"""Decimals to which quantities are told apart; what differs by less is a tie."""

Floats = NDArray[np.float64]


def distance(formula: Formula, start: Initialisation, depth: int) -> float:
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
class Theory:
    """What is known before training: one record for each activation."""

    activations: tuple[Formula, ...]
    depth: int
    name: str = "theory"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return describe(self)  # type: ignore[no-any-return]

    def run(self, folder: RunFolder, runtime: Runtime, data: Path | None, report: Report) -> None:
        """Compute what the folder does not hold yet."""
        for number, formula in enumerate(self.activations):
            key = f"theory/{formula.name}"
            report(self.name, number, len(self.activations), formula.name)
            if key not in folder.results and runtime.main:
                folder.append(key, {"theory": formula.name, **finite_or_none(self.record(formula))})
        report(self.name, len(self.activations), len(self.activations), "done")

    def record(self, formula: Formula) -> dict[str, Any]:
        """Quantity -> value; an infinite distance, an undefined entropy are not finite or None."""
        found, start = analyze(formula), initialisation(formula, self.depth)
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


def quantities(folder: RunFolder, names: Sequence[str]) -> dict[str, Floats]:
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
