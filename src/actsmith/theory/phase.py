"""The phase diagram of an activation: what a deep network does to its inputs, over C_W and C_b.

    K* = C_b + C_W g(K*), the fixed point that a kernel starting at K0 reaches;   chi_perp = C_W E[s'^2] there

label        meaning
ordered      chi_perp < 1: different inputs become the same, gradients vanish
chaotic      chi_perp > 1: near inputs separate, gradients explode
critical     |chi_perp - 1| <= tolerance: the line between them
diverging    K grows beyond every bound
unsettled    the fixed point met does not attract (|chi_par| > 1), or moments on the way are not known

(Poole et al., arXiv:1606.05340; Schoenholz et al., arXiv:1611.01232.) The line itself needs no grid: it is the curve
C_W = 1/E[s'^2], C_b = K - C_W g(K) >= 0 with parameter K.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actsmith.errors import NumericsError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula
from actsmith.theory.arguments import number, numbers
from actsmith.theory.critical_points import BOUNDS, C_B_ROUNDING, GRID, Scan
from actsmith.theory.kernel import D2, LARGEST_K, S2, SMALLEST_K, expectations, moments, second_moment

__all__ = ["PHASES", "PhaseDiagram", "phase_diagram"]

Array = NDArray[np.float64]

PHASES = ("ordered", "chaotic", "critical", "diverging", "unsettled")

# Bracketed Newton steps; each at least halves the bracket, whose ends are 6 % apart.
STEPS = 60
# The kernels of the table beyond the grid of the search: ten per decade.
OUTSIDE = np.concatenate([np.geomspace(SMALLEST_K, GRID[0], 221)[:-1], np.geomspace(GRID[-1], LARGEST_K, 21)[1:]])
# Cells solved at once.
CELLS = 2048


@dataclass(frozen=True, eq=False)
class PhaseDiagram:
    """Fixed points over a grid; arrays of cells have the shape (number of C_b, number of C_W).

    Attributes:
        formula: the activation.
        C_W, C_b: the grid's axes.
        K0: the kernel that every flow starts from.
        K: fixed point; 0 where K falls below every float64, inf where it grows beyond, NaN where it is not known.
        chi_par, chi_perp: at the fixed point; NaN where there is none.
        label: one of `PHASES` per cell.
        line: the exact critical line chi_perp = 1 as columns K, C_W, C_b, in ascending K, (points, 3): K* is a fixed
            point there, but for half-stable ones not always the one that K0 reaches.
        tolerance: of the label "critical".
    """

    formula: Formula
    C_W: Array
    C_b: Array
    K0: float
    K: Array
    chi_par: Array
    chi_perp: Array
    label: NDArray[np.str_]
    line: Array
    tolerance: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, numbers that are not finite as None."""

        def plain(values: Array) -> list[Any]:
            return [plain(v) if v.ndim else (float(v) if np.isfinite(v) else None) for v in values]

        return {
            "formula": self.formula.name,
            "C_W": self.C_W.tolist(),
            "C_b": self.C_b.tolist(),
            "K0": self.K0,
            "K": plain(self.K),
            "chi_par": plain(self.chi_par),
            "chi_perp": plain(self.chi_perp),
            "label": self.label.tolist(),
            "line": self.line.tolist(),
            "tolerance": self.tolerance,
        }


def phase_diagram(
    f: FormulaLike, C_W: ArrayLike, C_b: ArrayLike, *, K0: float = 1.0, tolerance: float = 0.01
) -> PhaseDiagram:
    """The phase of every (C_W, C_b) of a grid.

    Args:
        C_W, C_b: the grid's axes: numbers or one-dimensional arrays.
        K0: where the kernel starts.
        tolerance: how near to 1 chi_perp counts as critical.

    Raises:
        NumericsError: C_W is not positive, C_b is negative, K0 is outside [1e-8, 1e6].

    >>> phase_diagram("tanh", [0.5, 1.0, 2.0], 0.0).label.tolist()
    [['ordered', 'critical', 'chaotic']]
    """
    formula = resolve(f)
    x, y = (np.atleast_1d(numbers(name, v, low=0.0)) for name, v in (("C_W", C_W), ("C_b", C_b)))
    K0, tolerance = number("K0", K0, positive=True), number("tolerance", tolerance, low=0.0)
    if x.ndim != 1 or y.ndim != 1 or not (x > 0).all():
        raise NumericsError("phase diagram: expected one-dimensional finite C_W > 0 and C_b >= 0")
    if not GRID[0] <= K0 <= GRID[-1]:
        raise NumericsError(f"phase diagram: got K0 = {K0}; expected {GRID[0]:g} to {GRID[-1]:g}")
    c_b, c_w = (v.reshape(-1) for v in np.meshgrid(y, x, indexing="ij"))
    scan = Scan.of(formula)
    K = np.concatenate(
        [_fixed_points(scan, c_w[i : i + CELLS], c_b[i : i + CELLS], K0) for i in range(0, c_w.size, CELLS)]
    )
    chi_par, chi_perp = np.full_like(K, np.nan), np.full_like(K, np.nan)
    finite = np.isfinite(K)
    if finite.any():
        m = moments(formula, K[finite])
        chi_par[finite], chi_perp[finite] = c_w[finite] * m.dg, c_w[finite] * m.perp
    label = np.where(np.abs(chi_perp - 1) <= tolerance, "critical", np.where(chi_perp < 1, "ordered", "chaotic"))
    label = np.where(np.isnan(K) | (np.abs(chi_par) > 1 + 1e-6), "unsettled", label)
    label = np.where(np.isposinf(K), "diverging", label)
    shape = (y.size, x.size)
    K, chi_par, chi_perp = (v.reshape(shape) for v in (K, chi_par, chi_perp))
    line = _critical_line(scan)
    return PhaseDiagram(formula, x, y, float(K0), K, chi_par, chi_perp, label.reshape(shape), line, tolerance)


def _fixed_points(scan: Scan, c_w: Array, c_b: Array, K0: float) -> Array:
    """For each cell the first K with K' = K on the way that K0 sets out on: on the kernels of the table, and from
    there, where the way goes on, by two decades at a time."""
    kernels, g, error = _second_moments(scan)
    result = np.full(c_w.size, np.nan)
    low, high = np.full(c_w.size, np.nan), np.full(c_w.size, np.nan)
    start = int(np.argmin(np.abs(np.log(kernels / K0))))
    for cell, row in enumerate(_drift(kernels, g, error, c_w, c_b)):
        if row[start] == 0:
            result[cell] = K0
            continue
        upward = row[start] > 0
        path = row[start:] if upward else row[start::-1]
        turn = np.flatnonzero(~(path * np.sign(row[start]) > 0))
        if turn.size == 0:
            result[cell], low[cell], high[cell] = _beyond(scan.formula, upward, float(c_w[cell]), float(c_b[cell]))
        elif path[turn[0]] == 0 and not GRID[0] <= kernels[start + turn[0] * (1 if upward else -1)] <= GRID[-1]:
            result[cell] = np.inf if upward else 0.0  # K' is K to rounding there, as on the way to a critical 0
        elif not math.isnan(path[turn[0]]):
            ends = start + np.array([turn[0] - 1, turn[0]]) * (1 if upward else -1)
            low[cell], high[cell] = kernels[ends.min()], kernels[ends.max()]
    todo = np.isfinite(low)
    result[todo] = _solve(scan.formula, c_w[todo], c_b[todo], low[todo], high[todo])
    return result


def _second_moments(scan: Scan) -> tuple[Array, Array, Array]:
    """K, g and its error on every kernel that the table serves."""
    value, error = expectations(scan.formula, OUTSIDE, 3)
    order = np.argsort(np.concatenate([GRID, OUTSIDE]))
    columns = (GRID, OUTSIDE), (scan.value[:, S2], value[:, S2]), (scan.error[:, S2], error[:, S2])
    kernels, g, g_error = (np.concatenate(c)[order] for c in columns)
    return kernels, g, g_error


def _drift(kernels: Array, g: Array, error: Array, c_w: Array, c_b: Array) -> Array:
    """K' - K for every cell and kernel: 0 within its error, inf where g is, NaN where it is not known."""
    known = np.isposinf(g) | (np.isfinite(g) & (error <= 1e-6 * np.abs(g)))
    # Beside a K that is larger by far a g that is 0 or all but 0 need not be known.
    with np.errstate(all="ignore"):
        drift = c_b[:, None] + c_w[:, None] * g - kernels
        still = np.abs(drift) <= BOUNDS * (c_w[:, None] * error + 4e-16 * kernels)
        known = known | (np.isfinite(g) & (c_w[:, None] * error <= 1e-6 * np.abs(drift)))
    return np.where(known, np.where(still, 0.0, drift), np.nan)


def _beyond(formula: Formula, upward: bool, c_w: float, c_b: float) -> tuple[float, float, float]:
    """(fixed point, nan, nan) or (nan, low, high), the bracket of one, beyond the kernels of the table."""
    g = second_moment(formula)
    before = LARGEST_K if upward else SMALLEST_K
    for exponent in range(10, 300, 2):
        k = 10.0 ** (exponent if upward else -exponent - 20)
        if k == 0:
            break
        try:
            drift = c_b + c_w * g(k) - k
        except NumericsError:
            return math.nan, math.nan, math.nan
        if math.isnan(drift):
            return math.nan, math.nan, math.nan
        if abs(drift) <= 1e-14 * k:
            break
        if (drift > 0) != upward:
            return math.nan, min(before, k), max(before, k)
        before = k
    return (math.inf if upward else 0.0), math.nan, math.nan


def _solve(formula: Formula, c_w: Array, c_b: Array, low: Array, high: Array) -> Array:
    """Roots of C_b + C_W g(K) - K in brackets, by Newton's method kept inside them."""
    low, high = low.copy(), high.copy()
    k = np.sqrt(low * high)
    if k.size == 0:
        return k
    rising = c_b + c_w * moments(formula, low).g > low
    active = np.arange(k.size)
    for _ in range(STEPS):
        m = moments(formula, k[active])
        drift = c_b[active] + c_w[active] * m.g - k[active]
        up = (drift > 0) == rising[active]
        low[active] = np.where(up, k[active], low[active])
        high[active] = np.where(up, high[active], k[active])
        with np.errstate(all="ignore"):
            step = k[active] - drift / (c_w[active] * m.dg - 1)
        inside = (step >= low[active]) & (step <= high[active])
        new = np.where(inside, step, np.sqrt(low[active] * high[active]))
        moved = np.abs(new - k[active]) > 4e-16 * k[active]
        k[active] = new
        active = active[moved & (np.abs(drift) > 4e-16 * k[active])]
        if active.size == 0:
            break
    return k


def _critical_line(scan: Scan) -> Array:
    """K, C_W, C_b of chi_perp = 1 at the grid's K where C_b is not negative."""
    g, perp = scan.value[:, S2], scan.value[:, D2]
    with np.errstate(all="ignore"):
        c_w = 1 / perp
        c_b = GRID - c_w * g
    keep = scan.usable & np.isfinite(c_w) & (c_b >= -C_B_ROUNDING * GRID)
    return np.stack([GRID[keep], c_w[keep], np.maximum(c_b[keep], 0.0)], axis=1)
