"""How well the values of a layer tell classes apart: entropies, overlap of densities, error of a linear probe.

| symbol | meaning                                    | shape       |
|--------|--------------------------------------------|-------------|
| x      | a layer's values on n examples             | (n, units)  |
| y      | the classes of the examples, 0, 1, ...     | (n,)        |
| u      | x, each unit of mean 0 and deviation 1     | (n, units)  |
| p_c    | the density of one unit's values in class c|             |

    entropy  H(u + tau N), the mean over the units: J_tau of the project's theory, of samples
    within   H(u + tau N | class), at the same scale; entropy - within is what one unit tells of the class, in nats
    overlap  int min(p_c, p_d), the mean over pairs of classes and over the units: with two classes and one unit it is
             twice the Bayes error
    probe    share of the examples that a linear classifier of all units (least squares) gets wrong, where not fitted

The overlap is of histograms whose bins hold equal shares of a unit's values: they go by ranks alone, so an increasing
f changes nothing. No f lowers the true overlap, nor the true Bayes error (data processing); a linear probe it may help.
Of few examples the entropies come out too low (most of all `within`), and so does the overlap.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.special import entr

from actsmith.theory.entropy import DEFAULT_TAU

__all__ = ["QUANTITIES", "entropies", "overlap", "probe_error", "separation"]

QUANTITIES = ("entropy", "within", "overlap", "probe")
BINS = 10
"""Of equal shares, in which densities are compared."""
PER_TAU = 4
"""Points of the entropy's grid to a tau."""
FARTHEST = 10.0
"""Deviations; what lies beyond is counted there."""
RIDGE = 1e-3
"""Of the probe, relative to the variance of a standardised unit."""

Floats = NDArray[np.float64]
Classes = NDArray[np.int64]


def separation(x: Floats, y: Classes, units: int | None = None) -> Mapping[str, float | None]:
    """The quantities; None where x is not finite, or where no unit varies.

    Args:
        x, y: as above.
        units: how many, evenly spaced, are looked at one by one; None for all. The probe sees all.
    """
    if not np.isfinite(x).all():
        return dict.fromkeys(QUANTITIES)
    some = x[:, :: max(x.shape[1] // units, 1)] if units else x
    whole, within = entropies(some, y)
    values = (whole, within, overlap(some, y), probe_error(x, y))
    return {q: None if v is None else float(f"{v:.6g}") for q, v in zip(QUANTITIES, values, strict=True)}


def entropies(x: Floats, y: Classes, tau: float = DEFAULT_TAU) -> tuple[float | None, float | None]:
    """The smoothed entropies over all classes and within them, in nats; units that do not vary are left out."""
    spread = x.std(0)
    alive = spread > 1e-12 * np.abs(x).max(0)
    if not alive.any():
        return None, None
    u = np.clip((x[:, alive] - x[:, alive].mean(0)) / spread[alive], -FARTHEST, FARTHEST)
    step = tau / PER_TAU
    low = u.min() - 6 * tau
    size = int((u.max() + 6 * tau - low) / step) + 2
    place = (u - low) / step
    left = place.astype(np.int64)
    count, classes = u.shape[1], int(y.max()) + 1
    row = (y[:, None] * count + np.arange(count)) * size + left
    # Each value is shared between the two grid points beside it.
    right = (place - left).ravel()
    total = classes * count * size
    held = np.bincount(row.ravel(), 1 - right, total) + np.bincount(row.ravel() + 1, right, total)
    by_class = held.reshape(classes, count, size)
    share = np.bincount(y, minlength=classes) / len(y)
    there = share > 0
    # The sharing widens by step^2/6 on average.
    laws = gaussian_filter1d(
        np.concatenate([by_class.sum(0)[None], by_class[there] / share[there, None, None]]) / len(y) / step,
        np.sqrt(PER_TAU**2 - 1 / 6), mode="constant", truncate=6.0,
    )  # fmt: skip
    each = entr(np.maximum(laws, 0)).sum(-1).mean(-1) * step
    return float(each[0]), float(share[there] @ each[1:])


def overlap(x: Floats, y: Classes, bins: int = BINS) -> float:
    """The mean overlap of two classes' densities; 1 where a unit does not vary.

    Example:
        >>> overlap(np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1]), bins=2)
        0.0
    """
    n, units = x.shape
    edges = np.sort(x, 0)[[n * i // bins for i in range(1, bins)]]
    at = (x[None] >= edges[:, None]).sum(0)
    classes = int(y.max()) + 1
    cell = (np.arange(units) * bins + at) * classes + y[:, None]
    counts = np.bincount(cell.ravel(), minlength=units * bins * classes).reshape(units, bins, classes)
    counts = counts[:, :, np.bincount(y, minlength=classes) > 0]
    p = counts / counts.sum(1, keepdims=True)
    first, second = np.triu_indices(p.shape[-1], 1)
    return float(np.minimum(p[:, :, first], p[:, :, second]).sum(1).mean())


def probe_error(x: Floats, y: Classes, seed: int = 0) -> float:
    """The share of errors of a ridge regression on the classes, fitted on half of the examples and tested on the other
    half, both ways round."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(y))
    halves = order[: len(y) // 2], order[len(y) // 2 :]
    wrong = [_wrong(x[fit], y[fit], x[test], y[test]) for fit, test in (halves, halves[::-1])]
    return float(np.concatenate(wrong).mean())


def _wrong(x: Floats, y: Classes, new: Floats, true: Classes) -> NDArray[np.bool_]:
    mean, spread = x.mean(0), x.std(0)
    scale = np.where(spread > 1e-12 * np.abs(x).max(0), spread, np.inf)
    u, target = (x - mean) / scale, np.eye(int(max(y.max(), true.max())) + 1)[y]
    offset = target.mean(0)
    gram = u.T @ u / len(u) + RIDGE * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, u.T @ (target - offset) / len(u))
    found: NDArray[np.bool_] = ((new - mean) / scale @ weights + offset).argmax(1) != true
    return found
