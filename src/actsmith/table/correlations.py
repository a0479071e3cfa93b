"""Rank correlations and areas under the curve over a table, with intervals by drawing functions with replacement."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

__all__ = ["FEWEST", "area", "area_of", "correlation", "spearman"]

Array = NDArray[Any]

FEWEST = 10
"""Functions below which there is no correlation; those that diverged and those that did not, for an area."""


def correlation(columns: Array, outcome: Array, mask: Array, picks: Array) -> tuple[float, float, float] | None:
    """The mean over tasks of Spearman's correlation, and its interval; None where there are too few functions.

    Args:
        columns, outcome: of every function and task, (n, t).
        mask: the functions that count, (n,).
        picks: drawn functions, a row a draw, (draws, n).
    """

    def mean(rows: Array) -> float:
        values = [
            rho for x, y in zip(columns[rows].T, outcome[rows].T, strict=True)
            if (rho := spearman(x, y)) is not None
        ]  # fmt: skip
        return float(np.mean(values)) if values else np.nan

    whole = mean(np.flatnonzero(mask))
    if np.isnan(whole):
        return None
    drawn = [mean(pick[mask[pick]]) for pick in picks]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return whole, float(low), float(high)


def spearman(x: Array, y: Array) -> float | None:
    """Of what both have; None for too few, or a constant.

    Example:
        >>> round(spearman(np.arange(20.0), np.exp(np.arange(20.0))), 6)
        1.0
    """
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < FEWEST:
        return None
    a, b = rankdata(x[known]), rankdata(y[known])
    spread = a.std() * b.std()
    return float(np.mean((a - a.mean()) * (b - b.mean())) / spread) if spread > 0 else None


def area(columns: Array, lost: Array, picks: Array) -> tuple[float, float, float] | None:
    """The mean over tasks of the AUC, and its interval; likewise."""

    def mean(rows: Array) -> float:
        values = [
            area for x, y in zip(columns[rows].T, lost[rows].T, strict=True) if (area := area_of(x, y)) is not None
        ]
        return float(np.mean(values)) if values else np.nan

    whole = mean(np.arange(len(columns)))
    if np.isnan(whole):
        return None
    low, high = np.nanpercentile([mean(pick) for pick in picks], [2.5, 97.5])
    return whole, float(low), float(high)


def area_of(x: Array, lost: Array) -> float | None:
    """P(x of one that is lost > x of one that is not), equal ones half; None for too few of either."""
    known = np.isfinite(x)
    places, lost = rankdata(x[known]), lost[known]
    many, few = int(lost.sum()), int((~lost).sum())
    if min(many, few) < FEWEST:
        return None
    return float((places[lost].sum() - many * (many + 1) / 2) / (many * few))
