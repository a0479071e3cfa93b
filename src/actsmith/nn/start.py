"""Where training starts: each activation at its own critical point, so that none is handicapped by another's scale.

Hidden layers W ~ N(0, C_W/fan_in), b ~ N(0, C_b); inputs scaled so that the first pre-activation has variance K0;
the last layer (the readout) W ~ N(0, readout/fan_in), b = 0, with readout = 1/E[f^2]: logits of variance 1.

| class           | C_W, C_b                | K0                                                                   |
|-----------------|-------------------------|----------------------------------------------------------------------|
| scale_invariant | 1/A, 0                  | 1: every K is critical                                               |
| zero_stable     | 1/A, 0, A the slope^2   | 1: ordinary inputs, K falls like 1/depth                             |
| half_stable     | at K*                   | K*                                                                   |
| zero_unstable   | 1/A, 0                  | the largest 2^-k <= 1 from which K at most doubles over the depth    |
| none            | 1/E[f^2] at K = 1, 0    | 1: keeps E[f^2] = 1 in the first layers, which is all that can be had |

(Roberts, Yaida, Hanin, "The Principles of Deep Learning Theory", 2022, chapter 5.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula
from actsmith.theory.criticality import criticality
from actsmith.theory.kernel import kernel_flow

__all__ = ["KAIMING", "Start", "second_moment_at", "start_of"]

# slope^2 K0 above which a zero-stable activation is far from linear in the first layer; a plain tanh or sine has 1.
STEEP = 10.0


@dataclass(frozen=True)
class Start:
    """The distribution that the training of a network with one activation starts from.

    Attributes:
        universality: the activation's class; "kaiming" for He's start, which asks for none.
        C_W, C_b: fan_in times the variance of a weight, the variance of a bias, in hidden layers.
        K0: the variance of the first pre-activation.
        readout: fan_in times the variance of a weight of the last layer, whose bias is zero.
        depth: the number of hidden layers that it was made for; 0 where it does not depend on them.
        safe_depth: through how many layers K stays below 1000 (10000: that many or more); of zero_unstable alone.

    Example:
        >>> start = start_of("gelu", depth=6)
        >>> round(start.K0, 4), round(start.readout, 4), round(start.input_scale(), 4)
        (3.5616, 0.5852, 1.3072)
    """

    universality: str
    C_W: float
    C_b: float
    K0: float
    readout: float
    depth: int = 0
    safe_depth: int | None = None

    def input_scale(self, square: float = 1.0) -> float:
        """What inputs of mean square `square` are multiplied by, for a first pre-activation of variance K0.

        Raises:
            ActsmithError: `square` is not positive and finite.
        """
        if not 0 < square < math.inf:
            raise ActsmithError(f"input scale: square: got {square}; expected the inputs' mean square, positive")
        return math.sqrt(max(self.K0 - self.C_b, 0.0) / (self.C_W * square))

    @property
    def holds(self) -> str:
        """What it keeps, in a sentence."""
        if self.universality == "zero_unstable":
            return (
                f"Critical only as K -> 0, and unstable there: from K0 = {self.K0:.4g} it is safe for "
                f"{self.safe_depth} layers; larger inputs explode sooner."
            )
        text = {
            "scale_invariant": "Critical at every K: depth and input scale are free.",
            "zero_stable": "Critical as K -> 0: K falls there like a power of 1/depth.",
            "half_stable": "Critical where the first pre-activation has the variance K0.",
            "kaiming": "He's start, the same for every activation.",
        }.get(
            self.universality,
            "Never critical: the first layers keep K near K0, the gradients are not kept; stay shallow.",
        )
        if self.universality == "zero_stable" and self.K0 > STEEP * self.C_W:
            text += (
                f" K0 is far outside the linear range |z| << {math.sqrt(self.C_W):.2g}: the scale of the inputs sets "
                "what the first layer shows (the frequencies of a sine), which is for the task to choose, as K0."
            )
        return text

    @property
    def verdict(self) -> str:
        """What it keeps, and what it asks of the inputs, in two sentences."""
        return f"{self.holds} Multiply inputs of mean square s by {self.input_scale():.4g}/sqrt(s): K0 = {self.K0:.4g}."

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Start:
        """The start that `to_dict` wrote.

        Raises:
            ActsmithError: a field is missing or unknown.
        """
        known = {f.name for f in fields(cls)}
        if not set(data) <= known or not known - {"depth", "safe_depth"} <= set(data):
            raise ActsmithError(f"Start.from_dict: got {sorted(data)}; expected {sorted(known)}")
        return cls(**data)


KAIMING = Start(universality="kaiming", C_W=2.0, C_b=0.0, K0=2.0, readout=1.0)
"""W ~ N(0, 2/fan_in) whatever the activation, inputs of mean square 1 (He et al., arXiv:1502.01852)."""


def start_of(f: FormulaLike, depth: int, K0: float | None = None) -> Start:
    """The table above for a network of `depth` hidden layers.

    Args:
        f: the activation.
        depth: number of hidden layers.
        K0: the variance of the first pre-activation, in place of the table's.

    Raises:
        ActsmithError: depth is below 1, K0 is not above C_b, or the activation's second moment is zero or not finite,
            so that no scale keeps it.

    Example:
        >>> print(start_of("relu", depth=6).verdict)
        Critical at every K: depth and input scale are free. Multiply inputs of mean square s by 0.7071/sqrt(s): K0 ...
    """
    formula = resolve(f)
    if depth < 1:
        raise ActsmithError(f"start of {formula.name}: depth: got {depth}; expected 1 or more hidden layers")
    if K0 is not None and not 0 < K0 < math.inf:
        raise ActsmithError(f"start of {formula.name}: K0: got {K0}; expected a variance, positive and finite")
    found = criticality(formula)
    universality = str(found.universality)
    C_W, C_b, own, safe = math.nan, 0.0, 1.0, None
    if universality == "none":
        C_W = 1.0 / second_moment_at(formula, 1.0)
    elif universality == "half_stable":
        point = next(p for p in found.points if p.K > 0)
        C_W, C_b, own = point.C_W, point.C_b, point.K
    else:
        C_W = found.points[0].C_W
    if universality == "zero_unstable":
        own = _safe_start(formula, depth, C_W) if K0 is None else K0
        safe = found.safe_depth(own)
    K0 = own if K0 is None else K0
    if not C_b < K0:
        raise ActsmithError(f"start of {formula.name}: K0: got {K0}; expected more than the biases' C_b = {C_b:.4g}")
    last = float(kernel_flow(formula, K0, depth - 1, C_W, C_b)[-1])
    return Start(universality, C_W, C_b, K0, 1.0 / second_moment_at(formula, last), depth, safe)


def second_moment_at(formula: Formula, K: float) -> float:
    """E[f(z)^2], z ~ N(0, K).

    Raises:
        ActsmithError: it is zero or not finite.
    """
    g = float(kernel_flow(formula, K, 1, 1.0)[1]) if math.isfinite(K) else math.inf
    if not (math.isfinite(g) and g > 0):
        raise ActsmithError(
            f"start of {formula.name}: E[f(z)^2] = {g} at variance {K:.3g}; expected a finite positive number"
        )
    return g


def _safe_start(formula: Formula, depth: int, C_W: float) -> float:
    starts = 2.0 ** -np.arange(0, 31)
    last = kernel_flow(formula, starts, depth, C_W)[-1]
    safe = last <= 2 * starts
    return float(starts[int(np.argmax(safe))]) if safe.any() else float(starts[-1])
