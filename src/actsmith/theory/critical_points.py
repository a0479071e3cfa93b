"""Finding every critical point of an activation: a scan of chi_par/chi_perp over K, and the expansion at K -> 0.

| symbol | meaning                                                     |
|--------|-------------------------------------------------------------|
| R(K)   | g'(K)/E[s'^2] = chi_par/chi_perp, 1 at a critical point     |
| A      | lim g(K)/K for K -> 0: (s'(0+)^2 + s'(0-)^2)/2              |
| a      | C_W g''(K*)/2: K' - K* = (K - K*) + a (K - K*)^2 + ...      |
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from actsmith.formula.formula import Formula
from actsmith.theory.expansion import KernelExpansion, kernel_expansion
from actsmith.theory.kernel import D2, S2, ZSD, expectations, moments, table
from actsmith.theory.kernel import STEPS as TABLE_STEPS

__all__ = ["GRID", "CriticalPoint", "Scan", "Settling", "critical_kernels", "point_at_zero", "settling"]

Array = NDArray[np.float64]

GRID = np.geomspace(1e-8, 1e6, 561)
"""The kernel values searched: 40 per decade."""
GRID.flags.writeable = False

# A K whose moments are worse than this, relatively, is left out of the search.
USABLE = 1e-6
# A difference counts as nonzero beyond this many of its error bounds.
BOUNDS = 4.0
# C_b = K - C_W g is a difference: a negative value within this fraction of K is 0.
C_B_ROUNDING = 1e-9


@dataclass(frozen=True)
class CriticalPoint:
    """A kernel value at which chi_par = chi_perp = 1 for this C_W and C_b.

    Attributes:
        K: the kernel; 0 for a limit K -> 0, 1 for `scale_invariant`, where every K is critical.
        C_W, C_b: variance of the weights times the fan-in, variance of the biases.
        kind: "scale_invariant", "zero_stable", "zero_unstable", "half_stable", or "marginal" where the quadratic term
            cannot be told from 0.
        stability: what happens to a kernel that starts a little above and a little below.
        a: the quadratic coefficient of K' - K* about K* > 0; at K = 0 the first nonzero coefficient.
        power: the power of K that `a` belongs to: 2, or 3/2, 3, ... at K = 0; None where no power does.
        error: bound on the relative error of K, or of C_W where K is 0 or any.
    """

    K: float
    C_W: float
    C_b: float
    kind: str
    stability: str
    a: float
    power: float | None
    error: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        values = {"K": self.K, "C_W": self.C_W, "C_b": self.C_b, "stability": self.stability, "kind": self.kind}
        return values | {"a": self.a, "power": self.power, "error": self.error}


@dataclass(frozen=True)
class Settling:
    """A second fixed point at the C_W and C_b of a critical one, attracting from both sides."""

    K: float
    chi_par: float
    chi_perp: float

    def to_dict(self) -> dict[str, float]:
        """Plain data for JSON."""
        return {"K": self.K, "chi_par": self.chi_par, "chi_perp": self.chi_perp}


@dataclass(frozen=True, eq=False)
class Scan:
    """g, g' and E[s'^2] on the grid, and which of them can be relied on.

    Attributes:
        formula: the activation.
        value, error: of s^2, z s s' and s'^2, each (grid size, 3).
    """

    formula: Formula
    value: Array
    error: Array

    @classmethod
    def of(cls, formula: Formula) -> Scan:
        return cls(formula, *expectations(formula, GRID, 3))

    @cached_property
    def jumps(self) -> bool:
        return table(self.formula, TABLE_STEPS[0]).jumps

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        g, perp = self.value[:, S2], self.value[:, D2]
        with np.errstate(all="ignore"):
            known = np.isfinite(self.value).all(axis=1) & (perp > 0) & (g > 0)
            return (
                known
                & (self.error[:, S2] <= USABLE * g)
                & (self.error[:, D2] <= USABLE * perp)
                & (self.error[:, ZSD] <= USABLE * np.maximum(np.abs(self.value[:, ZSD]), GRID * perp))
            )

    @cached_property
    def ratio(self) -> Array:
        """R on the grid."""
        with np.errstate(all="ignore"):
            return self.value[:, ZSD] / GRID / self.value[:, D2]

    @cached_property
    def ratio_error(self) -> Array:
        with np.errstate(all="ignore"):
            perp = self.value[:, D2]
            return (self.error[:, ZSD] / GRID + np.abs(self.ratio) * self.error[:, D2]) / perp

    @cached_property
    def side(self) -> NDArray[np.intp]:
        """The sign of R - 1 on the grid; 0 where it is within its error or not known."""
        with np.errstate(all="ignore"):
            away = self.usable & (np.abs(self.ratio - 1) > BOUNDS * self.ratio_error)
            return np.where(away, np.sign(self.ratio - 1), 0.0).astype(np.intp)

    @cached_property
    def constant_ratio(self) -> float | None:
        """R where it is the same at every K within its error, else None."""
        r, e = self.ratio[self.usable], self.ratio_error[self.usable]
        if r.size < GRID.size // 2 or np.ptp(r) > BOUNDS * (e.max() + np.finfo(np.float64).eps):
            return None
        return float(r[int(np.argmin(e))])

    def linear(self, A: float) -> bool:
        """Whether g(K) = A K at every K, within the error."""
        with np.errstate(all="ignore"):
            away = np.abs(self.value[:, S2] / (A * GRID) - 1) > BOUNDS * self.error[:, S2] / (A * GRID)
        return bool(self.usable.any() and not np.any(self.usable & away))


def critical_kernels(scan: Scan) -> tuple[list[CriticalPoint], list[tuple[float, float]]]:
    """The critical points with K* > 0, and the pairs (K, C_b) where R = 1 would need C_b < 0."""
    points: list[CriticalPoint] = []
    refused: list[tuple[float, float]] = []
    if scan.jumps:
        return points, refused
    known = np.flatnonzero(scan.side)
    for left, right in pairwise(known):
        if scan.side[left] == scan.side[right]:
            continue
        log_k = optimize.brentq(
            lambda u: _excess(scan.formula, math.exp(u)),
            math.log(GRID[left]),
            math.log(GRID[right]),
            xtol=1e-15,
            rtol=4 * np.finfo(np.float64).eps,
        )
        k = math.exp(log_k)
        point = _point_at(scan.formula, k)
        if point.C_b < 0:
            refused.append((k, point.C_b))
        else:
            points.append(point)
    if known.size == 0 and scan.usable.any():
        points.extend(_critical_line(scan))
    return points, refused


def _point_at(formula: Formula, k: float) -> CriticalPoint:
    """The point at a K with R = 1; its C_b is negative where it is no critical one."""
    m = moments(formula, k)
    c_w = 1 / float(m.perp)
    c_b = k - c_w * float(m.g)
    if -C_B_ROUNDING * k <= c_b <= 1e-14 * k:
        c_b = 0.0
    a, a_error = c_w * float(m.d2g) / 2, c_w * float(m.d2g_error) / 2
    slope = (_excess(formula, k * 1.001) - _excess(formula, k / 1.001)) / 0.002
    error = float(m.dg_error + m.perp_error) / float(m.perp) / abs(slope) if slope != 0 else math.inf
    kind, stability = _half_stability(a, a_error)
    return CriticalPoint(k, c_w, c_b, kind, stability, a, 2.0, error)


def _critical_line(scan: Scan) -> list[CriticalPoint]:
    """One point of a line of them, the one nearest to K = 1.

    A continuous f of straight pieces that vanishes at each of its kinks (softshrink) has s s'' = 0, so R = 1 at every
    K: each K with C_b >= 0 is critical, with a C_W and a C_b of its own.
    """
    zero = point_at_zero(scan)
    if zero is not None and zero.kind == "scale_invariant":
        return []
    with np.errstate(all="ignore"):
        c_b = GRID - scan.value[:, S2] / scan.value[:, D2]
        fit = GRID[scan.usable & (c_b >= -C_B_ROUNDING * GRID)]
    if fit.size == 0:
        return []
    k = 1.0 if fit[0] <= 1 <= fit[-1] else float(fit[np.argmin(np.abs(np.log(fit)))])
    point = _point_at(scan.formula, k)
    text = f"{point.stability} (one point of a line: every K from {fit[0]:.2g} to {fit[-1]:.2g} has such C_W and C_b)"
    return [replace(point, stability=text, error=4 * np.finfo(np.float64).eps)]


def _excess(formula: Formula, k: float) -> float:
    """R(K) - 1."""
    value = expectations(formula, np.array([k]), 3)[0][0]
    return float((value[ZSD] / k - value[D2]) / value[D2])


def _half_stability(a: float, error: float) -> tuple[str, str]:
    if not abs(a) > error:
        return "marginal", f"marginal: the quadratic term {a:.1e} cannot be told from 0 within its error {error:.1e}"
    if a < 0:
        return "half_stable", "half-stable: a larger K falls back to K*, a smaller one drifts away from it"
    return "half_stable", "half-stable: a smaller K rises to K*, a larger one drifts away from it"


# ------------------------------------------------------------------------------------------------ K -> 0


def point_at_zero(scan: Scan) -> CriticalPoint | None:
    """The critical point K -> 0 with C_W = 1/A, C_b = 0: it needs f(0) = 0 and a slope there, and no jump anywhere."""
    if scan.jumps:
        return None
    expansion = kernel_expansion(scan.formula)
    A = _numerical_slope(scan) if expansion is None else _slope_square(expansion)
    if A is None:
        return None
    if not scan.side.any() and scan.linear(A):
        text = "every K is critical (marginal): it stays where it starts, above and below alike"
        return CriticalPoint(1.0, 1 / A, 0.0, "scale_invariant", text, 0.0, None, 4 * np.finfo(np.float64).eps)
    a, power = leading(expansion, A) if expansion is not None else (0.0, None)
    if power is None:
        a = _numerical_sign(scan, A)
    error = 1e-15 if expansion is not None else 1e-6
    if a == 0:
        text = "marginal at K = 0: no growth or decay could be resolved"
        return CriticalPoint(0.0, 1 / A, 0.0, "marginal", text, 0.0, power, error)
    law = f" (K' = K {'-' if a < 0 else '+'} {abs(a):.4g} K^{power:g} + ...)" if power is not None else ""
    if a < 0:
        text = "stable at K = 0: K falls back to 0" + (f"{law}" if law else " slower than any power of the depth")
        return CriticalPoint(0.0, 1 / A, 0.0, "zero_stable", text, a, power, error)
    text = "unstable at K = 0: K grows away from 0" + law
    return CriticalPoint(0.0, 1 / A, 0.0, "zero_unstable", text, a, power, error)


def _slope_square(expansion: KernelExpansion) -> float | None:
    """A, or None where f(0) != 0 or both slopes vanish."""
    A = (expansion.slope[0] ** 2 + expansion.slope[1] ** 2) / 2
    return A if expansion.value == (0.0, 0.0) and A > 0 else None


def _numerical_slope(scan: Scan) -> float | None:
    """A where f has no one-sided Taylor series at 0: from K = 1e-20 and 1e-24, None where g/K has no limit."""
    k = np.array([1e-20, 1e-24])
    value, error = expectations(scan.formula, k, 3)
    rates = [*(value[:, S2] / k), *value[:, D2]]
    if not np.isfinite([*rates, *error.reshape(-1)]).all() or min(rates) <= 0:
        return None
    agree = max(rates) - min(rates) <= USABLE * max(rates) and error[:, D2].max() <= USABLE * max(rates)
    return float(rates[1]) if agree else None


def leading(expansion: KernelExpansion, A: float) -> tuple[float, float | None]:
    """The first nonzero coefficient of K' - K at C_W = 1/A, C_b = 0, and its power of K; (0, None) where none shows."""
    for n in range(3, expansion.g.size):
        if math.isnan(expansion.g[n]):
            break
        if expansion.g[n] != 0:
            return float(expansion.g[n]) / A, n / 2
    return 0.0, None


def _numerical_sign(scan: Scan, A: float) -> float:
    """The sign of g(K)/(A K) - 1 at the smallest K of the grid where it is beyond its error; 0 where none is."""
    with np.errstate(all="ignore"):
        excess = scan.value[:, S2] / (A * GRID) - 1
        seen = scan.usable & (np.abs(excess) > BOUNDS * (scan.error[:, S2] / (A * GRID) + 1e-15))
    first = np.flatnonzero(seen)
    return float(np.sign(excess[first[0]])) if first.size else 0.0


# ------------------------------------------------------------------------------------------------ the other fixed point


def settling(scan: Scan, point: CriticalPoint) -> Settling | None:
    """The fixed point K > 0 nearest to `point` at its C_W and C_b with |chi_par| < 1; None where there is none.

    K' - K is scanned for sign changes on the grid and, about K* where it touches 0, from 1e-4 K* outwards.
    """
    formula = scan.formula
    offsets = np.geomspace(1e-4, 0.5, 40)
    k = np.concatenate([GRID[scan.usable], point.K * (1 + offsets), point.K * (1 - offsets)])
    k = np.sort(k[np.abs(k / point.K - 1) >= 0.99e-4])
    value, error = expectations(formula, k, 1)
    drift = point.C_b + point.C_W * value[:, 0] - k
    known = np.abs(drift) > BOUNDS * (point.C_W * error[:, 0] + 1e-15 * k)
    k, drift = k[known], drift[known]
    found: list[Settling] = []
    for left in np.flatnonzero((drift[:-1] > 0) & (drift[1:] < 0)):
        if k[left] < point.K < k[left + 1]:
            continue

        def excess(x: float) -> float:
            return float(point.C_b + point.C_W * expectations(formula, np.array([x]), 1)[0][0, 0] - x)

        root = float(optimize.brentq(excess, k[left], k[left + 1], xtol=1e-300, rtol=1e-14))
        m = moments(formula, root)
        if abs(point.C_W * float(m.dg)) < 1:
            found.append(Settling(root, point.C_W * float(m.dg), point.C_W * float(m.perp)))
    return min(found, key=lambda s: abs(math.log(s.K / point.K)), default=None)
