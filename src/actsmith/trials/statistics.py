"""What a handful of seeds can claim: a mean and its 95 % interval, paired where the seeds are shared.

Student's t: mean +- t_{n-1, (1 + confidence)/2} s/sqrt(n), s the sample deviation with n - 1. Several comparisons in
one table are corrected by Holm's step-down method (Scandinavian Journal of Statistics 6, 1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy import special, stats

from actsmith.errors import ActsmithError

__all__ = ["Interval", "effect_size", "holm", "interval", "paired_difference", "paired_p", "share_interval"]


@dataclass(frozen=True)
class Interval:
    """A mean of `count` numbers and the ends of its confidence interval."""

    mean: float
    low: float
    high: float
    count: int


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The mean with its t-interval.

    Raises:
        ActsmithError: fewer than two values, or one that is not finite.

    Example:
        >>> interval([1.0, 2.0, 3.0])
        Interval(mean=2.0, low=-0.484..., high=4.484..., count=3)
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size < 2 or not np.isfinite(x).all():
        raise ActsmithError(f"interval: got {x.size} values {x.tolist()[:5]}; expected two or more finite ones")
    if not 0 < confidence < 1:
        raise ActsmithError(f"interval: confidence: got {confidence}; expected a number between 0 and 1")
    mean = float(x.mean())
    half = float(stats.t.ppf((1 + confidence) / 2, x.size - 1)) * float(x.std(ddof=1)) / sqrt(x.size)
    return Interval(mean, mean - half, mean + half, int(x.size))


CERTAIN = 1e-6
"""Shares this close to 0 or 1 count as that far from them, so that they have a logit."""


def share_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The mean of numbers in [0, 1] with a t-interval of their logits, which stays in [0, 1].

    Raises:
        ActsmithError: as `interval`, or a number outside of [0, 1].

    Example:
        >>> found = share_interval([0.99, 1.0, 0.98])
        >>> 0.98 < found.mean < found.high <= 1.0
        True
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size and not ((x >= 0) & (x <= 1)).all():
        raise ActsmithError(f"interval: got {x.tolist()[:5]}; expected shares from 0 to 1")
    inner = interval(special.logit(np.clip(x, CERTAIN, 1 - CERTAIN)).tolist(), confidence)
    mean, low, high = float(x.mean()), float(special.expit(inner.low)), float(special.expit(inner.high))
    if inner.low == inner.high:
        return Interval(mean, mean, mean, inner.count)
    return Interval(mean, min(low, mean), max(high, mean), inner.count)


def paired_difference(values: Sequence[float], reference: Sequence[float], confidence: float = 0.95) -> Interval:
    """The mean of values[i] - reference[i], entry i of both from the same seed, with its t-interval.

    Raises:
        ActsmithError: as `interval`, or lengths that differ.

    Example:
        >>> paired_difference([0.75, 1.0], [0.5, 0.75]).mean
        0.25
    """
    if len(values) != len(reference):
        raise ActsmithError(f"paired difference: got {len(values)} and {len(reference)} values; expected one a seed")
    return interval(np.subtract(values, reference).tolist(), confidence)


def paired_p(values: Sequence[float], reference: Sequence[float]) -> float:
    """Two-sided p of the paired t-test; 1 where all differences are zero, 0 where all are one other number.

    Example:
        >>> round(paired_p([1.0, 2.0, 3.5], [0.0, 0.5, 1.0]), 4)
        0.0634
    """
    found = paired_difference(values, reference)
    if found.high == found.low:
        return 1.0 if found.mean == 0 else 0.0
    error = float(np.subtract(values, reference).std(ddof=1)) / sqrt(found.count)
    return float(2 * stats.t.sf(abs(found.mean) / error, found.count - 1))


def effect_size(values: Sequence[float], reference: Sequence[float]) -> float:
    """Cohen's d_z: the mean of the paired differences over their deviation. 0 where all are zero, else infinite where
    all are equal.

    Example:
        >>> effect_size([1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
        2.0
    """
    difference = np.subtract(values, reference)
    if difference.size < 2:
        raise ActsmithError(f"effect size: got {difference.size} pairs; expected two or more")
    spread, mean = float(difference.std(ddof=1)), float(difference.mean())
    if spread == 0:
        return 0.0 if mean == 0 else float(np.copysign(np.inf, mean))
    return mean / spread


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: max over p_(j) <= p_(i) of (n - j + 1) p_(j), at most 1.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted, running = [0.0] * len(p), 0.0
    for place, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, min((len(p) - place) * p[i], 1.0))
        adjusted[i] = running
    return adjusted
