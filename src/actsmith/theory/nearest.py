"""Which of many functions are nearest in shape to one, whatever affine change of input and output lies between.

    d(f -> g)^2 = min over a, b, c, d of E[(g(X) - a f(b X + c) - d)^2] / Var g(X) = 1 - max over b, c of corr^2
    d(f, g) = max(d(f -> g), d(g -> f)),   1/2 <= |b| <= 2, |c| <= s

One way alone would call everything near: a slowly varying piece of tanh looks like softplus, yet softplus is no tanh.

| symbol | meaning                                                    | shape        |
|--------|------------------------------------------------------------|--------------|
| x, w   | quantiles of the law, weights that sum to 1                | (m,)         |
| s      | half of what the middle 68 % of the law span               |              |
| G      | the functions at x, standardised under w                   | (n, m)       |
| F      | f(b x + c) for every change (b, c), likewise               | (changes, m) |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.theory.law import Law

__all__ = ["distances", "same"]

Array = NDArray[Any]

SAME = 1e-3
"""Functions that differ by less than this share of their size are one; the tanh approximation of GELU is GELU."""
WIDEST = 2.0
"""The largest |b|, and the inverse of the smallest: far beyond, every function is its own Taylor polynomial."""
FARTHEST = 1.0
"""The largest |c|, in the law's scale."""
REACH, POINTS = 3.5, 96
"""The nodes reach so far in standard normal units; beyond lie 5e-4 of the mass."""
SCALES, SHIFTS = 5, 7
ROUNDS, SHORTLIST = 8, 16
"""Of the local search, each half as wide as the one before; how many functions are looked at closely, at least."""
_STENCIL = np.array([(i, j) for i in (-1.0, 0.0, 1.0) for j in (-1.0, 0.0, 1.0)])


def same(f: Formula, nodes: Array, values: Array) -> int | None:
    """The row of `values` (n, k) that f equals at those of the `nodes` (k,) with |x| <= 6; None where there is none."""
    middle = np.abs(nodes) <= 6
    own = _at(f, nodes[middle])
    if not np.isfinite(own).all():
        return None
    differ = np.linalg.norm(values[:, middle] - own, axis=1)
    near = np.flatnonzero(differ <= SAME * np.linalg.norm(own))
    return int(near[np.argmin(differ[near])]) if near.size else None


def distances(f: Formula, law: Law, nodes: Array, values: Array, n: int) -> dict[int, float]:
    """Row -> d(f, row) of the n nearest rows, the nearest first.

    Args:
        f: the function.
        law: of the pre-activations; what of it lies beyond the nodes is left out.
        nodes, values: where the functions are known, ascending (k,), and what they are there, (n, k).
        n: how many are wanted.

    Raises:
        ActsmithError: f is constant or not finite under the law; the law lies beyond the nodes.
    """
    z = np.linspace(-REACH, REACH, POINTS)
    x, w = np.asarray(law.quantile(ndtr(z))), np.exp(-(z**2) / 2)
    inside = (x >= nodes[0]) & (x <= nodes[-1])
    if inside.sum() < POINTS // 4:
        raise ActsmithError(f"relatives: {law} lies beyond |x| = {nodes[-1]:g}, where the table knows its functions")
    x, w = x[inside], w[inside] / w[inside].sum()
    low, middle, high = map(float, law.quantile(np.array([0.16, 0.5, 0.84])))
    s = (high - low) / 2
    own = _standard(_at(f, x[None]), w)
    if not np.isfinite(own).all():
        raise ActsmithError(f"{f.name}: relatives: it is constant, or not finite, where {law} lies")

    def moved(changes: Array) -> Array:
        """x after each change (..., 2): (..., m)."""
        return np.asarray(changes[..., :1] * (x - middle) + middle + changes[..., 1:] * s)

    def to_others(rows: Array, changes: Array) -> Array:
        """Squared correlations of f at each change (rows, k, 2) with the row's function, (rows, k)."""
        own = _standard(_at(f, moved(changes)), w)
        return np.asarray(np.nan_to_num(np.einsum("rkm,rm->rk", own, known[rows])) ** 2)

    def from_others(rows: Array, changes: Array) -> Array:
        """The same with the roles exchanged."""
        others = _standard(_interpolated(nodes, values[rows], moved(changes)), w)
        return np.asarray(np.nan_to_num(others @ own[0]) ** 2)

    known = np.nan_to_num(_standard(_interpolated(nodes, values, x[None, None])[:, 0], w))
    scales = np.geomspace(1 / WIDEST, WIDEST, SCALES)
    changes = np.array([(b, c) for b in (*scales, *-scales) for c in np.linspace(-FARTHEST, FARTHEST, SHIFTS)])
    square = np.nan_to_num(_standard(_at(f, moved(changes)), w) @ known.T) ** 2
    rows = np.argsort(-square.max(0), kind="stable")[: max(4 * n, SHORTLIST)]
    there = _refined(to_others, rows, changes)
    back = _refined(from_others, rows, changes)
    squares = np.minimum(there, back)
    order = np.argsort(-squares, kind="stable")[:n]
    return {int(rows[i]): float(np.sqrt(max(1 - squares[i], 0.0))) for i in order}


def _refined(squares: Callable[[Array, Array], Array], rows: Array, changes: Array) -> Array:
    """The largest squared correlation of each row: the best of the changes, then a search about it."""
    every = squares(rows, np.broadcast_to(changes, (len(rows), *changes.shape)))
    best, peak = changes[every.argmax(1)], every.max(1)
    for step in 0.25 * 0.5 ** np.arange(ROUNDS):
        size = np.abs(best[:, None, 0]) * np.exp(step * _STENCIL[:, 0])
        b = np.sign(best[:, None, 0]) * np.clip(size, 1 / WIDEST, WIDEST)
        c = np.clip(best[:, None, 1] + step * _STENCIL[:, 1], -FARTHEST, FARTHEST)
        tried = np.stack([b, c], -1)
        found = squares(rows, tried)
        best, peak = tried[np.arange(len(rows)), found.argmax(1)], np.maximum(peak, found.max(1))
    return np.asarray(peak)


def _interpolated(nodes: Array, values: Array, x: Array) -> Array:
    """Each row of `values` (n, k) at x (n or 1, changes, m), along straight lines, also beyond the ends."""
    at = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, len(nodes) - 2)
    part = (x - nodes[at]) / (nodes[at + 1] - nodes[at])
    row = np.arange(len(values))[:, None, None]
    return np.asarray(values[row, at] * (1 - part) + values[row, at + 1] * part)


def _at(f: Formula, x: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(f(x), np.float64)


def _standard(values: Array, w: Array) -> Array:
    """sqrt(w) (v - E v)/sd v along the last axis, so that products are correlations; not a number for a constant."""
    with np.errstate(all="ignore"):
        centred = values - (values @ w)[..., None]
        deviation = np.sqrt((centred**2) @ w)[..., None]
        small = deviation <= 1e-9 * (np.abs(values).max(-1, keepdims=True) + 1e-30)
        return np.asarray(np.where(small, np.nan, centred / deviation) * np.sqrt(w))
