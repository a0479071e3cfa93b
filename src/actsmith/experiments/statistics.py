"""What a handful of seeds can claim: a mean and its 95 % interval, paired where the seeds are shared.

Student's t: mean +- t_{n-1, (1 + confidence)/2} s/sqrt(n), s the sample deviation with n - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy import stats

from actsmith.errors import ActsmithError

__all__ = ["Interval", "interval", "paired_difference"]


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
