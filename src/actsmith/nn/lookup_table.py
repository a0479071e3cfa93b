"""The cubic lookup table of a formula.

    cell (k, k + 1], u = (x - shift) cells_per_unit:   p_k(u - k), the cubic with f and f' of both its ends

| symbol | meaning                                                                     | shape             |
|--------|-----------------------------------------------------------------------------|-------------------|
| u      | x in cells: nodes are the whole numbers from -CELLS/2 to CELLS/2            |                   |
| p_k    | coefficients of the cells; the first and the last are what lies outside     | (CELLS + 2, 4)    |
| table  | (shift, cells per unit, 0, 0), then p_k; float32                            | (CELLS + 3, 4)    |

A cubic is wrong by h^4 |f''''|/384 where f is smooth, and by up to h |jump of f'|/8 where a kink lies inside its cell.
So shift and step are chosen such that kinks are nodes, and there the two sides are taken from inside their cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.polynomial import polynomial

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula

__all__ = ["CELLS", "REACH", "Tabulated", "tabulate"]

CELLS = 4096
REACH = 12.0
"""Where the error is measured: within four standard deviations of N(0, 9)."""

_FINENESS = (64, 128, 256)  # cells per unit: the table ends at 32, 16, 8
_INSIDE = 2e-3  # of a cell: how far from a kink its two sides are looked at
_LARGEST = 1e30  # float32 ends at 3e38


@dataclass(frozen=True, eq=False)
class Tabulated:
    """A formula, its learnable parameters at their values, as a table.

    Attributes:
        table: float32, (CELLS + 3, 4).
        error: the largest |table - f|/max(1, |f|) found for |x| <= REACH; NaN where one of them is.
    """

    table: np.ndarray
    error: float


def tabulate(formula: FormulaLike, tolerance: float = 1e-4) -> Tabulated:
    """The table of a formula, made once in a process.

    Raises:
        ActsmithError: its error is above the tolerance, as of a function with kinks that no grid has as nodes, a
            singularity, or waves shorter than some twenty cells.
    """
    made = _tabulated(resolve(formula))
    if not made.error <= tolerance:
        name = resolve(formula).name
        raise ActsmithError(
            f"lookup: the table of {name} is off by {made.error:.2g} of max(1, |f|) for |x| <= {REACH:g}; expected at "
            f"most tolerance={tolerance:g}. Use Activation, which computes the formula itself"
        )
    return made


class _Grid(NamedTuple):
    shift: float
    scale: float

    def x(self, u: np.ndarray | float) -> np.ndarray:
        return np.asarray(u / self.scale + self.shift)

    def u(self, x: Sequence[float]) -> np.ndarray:
        return (np.asarray(x) - self.shift) * self.scale


@lru_cache(maxsize=512)
def _tabulated(formula: Formula) -> Tabulated:
    best: Tabulated | None = None
    for fineness in _FINENESS:
        grid = _grid(np.array([k for k in formula.kinks if abs(k) <= CELLS / 2 / fineness]), fineness)
        table = _table(formula, grid)
        found = Tabulated(table, _error(formula, grid, table))
        if best is None or not best.error <= 2 * found.error:  # wider, where that costs little
            best = found
        if best.error < 1e-6:
            break
    assert best is not None
    best.table.flags.writeable = False
    return best


def _grid(kinks: np.ndarray, fineness: int) -> _Grid:
    """For which the kinks are as near to nodes as can be; both numbers are float32."""
    if not len(kinks) or np.all(kinks * fineness == np.round(kinks * fineness)):
        return _Grid(0.0, float(fineness))
    first = kinks[np.argmin(np.abs(kinks))]
    spans = np.abs(kinks - first)
    span = spans.max()
    low, high = math.ceil(span * fineness), math.floor(span * fineness * 2)
    scales = [m / span for m in range(max(low, 1), high + 1)] if span > 0 else []
    misfits = [np.abs(spans * s - np.round(spans * s)).max() for s in scales]
    scale = float(np.float32(scales[int(np.argmin(np.round(misfits, 6)))] if scales else fineness))
    return _Grid(float(np.float32(first - round(first * scale) / scale)), scale)


def _table(formula: Formula, grid: _Grid) -> np.ndarray:
    half = CELLS // 2
    cells, kinks = np.arange(-half, half), grid.u(formula.kinks)
    near = [np.abs((cells + side)[:, None] - kinks).min(1, initial=1.0) < _INSIDE / 2 for side in (0, 1)]
    inner = _hermite(formula, grid, cells, np.where(near[0], _INSIDE, 0.0), 1 - np.where(near[1], _INSIDE, 0.0))
    left = _tail(formula, grid, -half, _moved(inner[0], 0.0))
    right = _tail(formula, grid, half, _moved(inner[-1], 1.0))
    rows = np.concatenate([[[*grid, 0.0, 0.0], _moved(left, -1.0)], inner, right[None]])
    table: np.ndarray = np.clip(rows, -_LARGEST, _LARGEST).astype(np.float32)
    return table


def _hermite(formula: Formula, grid: _Grid, cells: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Coefficients in powers of t = u - cell of the cubics through f and f' at t = begin and t = end."""
    size = end - begin
    with np.errstate(all="ignore"):
        sides = [np.clip(formula.jet(grid.x(cells + t), 1), -_LARGEST, _LARGEST) for t in (begin, end)]
        (a, da), (b, db) = [(f, df * size / grid.scale) for f, df in sides]
        c = [a, da / size, (3 * (b - a) - 2 * da - db) / size**2, (2 * (a - b) + da + db) / size**3]
        at_zero = [
            c[0] - begin * (c[1] - begin * (c[2] - begin * c[3])),
            c[1] - begin * (2 * c[2] - begin * 3 * c[3]),
            c[2] - 3 * begin * c[3],
            c[3],
        ]
    return np.stack(at_zero, -1)


def _moved(c: np.ndarray, by: float) -> np.ndarray:
    """The same polynomial in powers of t - by."""
    return np.array([polynomial.polyval(by, polynomial.polyder(c, k)) / math.factorial(k) for k in range(4)])


def _tail(formula: Formula, grid: _Grid, node: int, taylor: np.ndarray) -> np.ndarray:
    """The lowest degree that goes on best beyond the last node, over the length of the table."""
    t = math.copysign(1.0, node) * np.linspace(0, CELLS, 65)[1:]
    with np.errstate(all="ignore"):
        true = np.asarray(formula(grid.x(node + t)))
        cut = [np.where(np.arange(4) <= degree, taylor, 0.0) for degree in range(4)]
        off = [np.abs(polynomial.polyval(t, c) - true) / np.maximum(1, np.abs(true)) for c in cut]
        errors = np.array([e.max() if np.isfinite(e).all() else np.inf for e in off])
    best: np.ndarray = cut[int(np.argmax(errors <= 1.05 * errors.min() + 1e-6))]
    return best


def _error(formula: Formula, grid: _Grid, table: np.ndarray) -> float:
    """The largest error of the float32 computation, over max(1, |f|): in cells, around kinks, from kinks to nodes.

    A jump may be off by a thousandth of a cell.
    """
    reach = round(REACH * grid.scale)
    cells = np.arange(-reach, reach)[:, None] + np.array([0.02, 0.2, 0.35, 0.5, 0.65, 0.8, 0.98])
    kinks = grid.u([k for k in formula.kinks if abs(k) <= REACH])[:, None]
    offsets = np.array([0.005, 0.02, 0.1, 0.3])
    with np.errstate(all="ignore"):
        sides = [np.asarray(formula(grid.x(kinks[:, 0] + side))) for side in (-1e-6, 1e-6)]
    joined = kinks[np.abs(sides[1] - sides[0]) < 1e-4 * np.maximum(1, np.abs(sides[0]))]
    between = np.round(joined) + (joined - np.round(joined)) * np.array([0.05, 0.5, 0.95])
    u = np.concatenate([part.ravel() for part in (cells, kinks + offsets, kinks - offsets, between)])
    x = grid.x(u).astype(np.float32)
    with np.errstate(all="ignore"):
        true, found = np.asarray(formula(x.astype(np.float64))), evaluate(x, table)
        off = np.abs(found - true) / np.maximum(1, np.abs(true))
    return float(off.max()) if np.isfinite(off).all() else math.nan


def evaluate(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The table's function at x, in x's dtype."""
    half = (len(table) - 3) // 2
    u = (x - x.dtype.type(table[0, 0])) * x.dtype.type(table[0, 1])
    cell = np.clip(np.ceil(u) - 1, -half - 1, half)
    t, c = u - cell, table[cell.astype(int) + half + 2]
    result: np.ndarray = c[:, 0] + t * (c[:, 1] + t * (c[:, 2] + t * c[:, 3]))
    return result
