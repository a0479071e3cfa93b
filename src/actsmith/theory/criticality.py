"""Criticality: whether, where and how an activation lets signals and gradients through a deep network.

Critical is K* with K* = C_b + C_W g(K*) and chi_par = chi_perp = 1 (Roberts, Yaida, Hanin 2022, chapter 5):

    chi_par/chi_perp = 1 at K*,   C_W = 1/E[s'^2],   C_b = K* - C_W g(K*) >= 0

    >>> criticality("gelu").universality
    'half_stable'
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from actsmith.display import Shown
from actsmith.errors import NumericsError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula
from actsmith.theory.arguments import number, whole
from actsmith.theory.critical_points import (
    GRID,
    CriticalPoint,
    Scan,
    Settling,
    critical_kernels,
    point_at_zero,
    settling,
)
from actsmith.theory.expansion import kernel_expansion
from actsmith.theory.kernel import second_moment
from actsmith.theory.verdict import verdict

__all__ = ["UNIVERSALITY", "CriticalPoint", "Criticality", "Settling", "criticality"]

UNIVERSALITY = ("scale_invariant", "zero_stable", "half_stable", "zero_unstable", "none")
"""The universality classes, the most usable first."""


LAYERS = 1000
"""How many layers the verdict follows a growing kernel."""


@dataclass(frozen=True, repr=False)
class Criticality(Shown):
    """What depth does to an activation.

    Attributes:
        formula: the activation.
        universality: the most usable class of its critical points, one of `UNIVERSALITY`.
        points: all critical points with 0 <= K <= 1e6, the most usable first.
        a1: at C_W = 1/A, C_b = 0 and small K, K' = K + a1 K^2 + ...; None where that does not lead (see reasons).
        b1: likewise chi_perp = 1 + b1 K + ....
        ratio: chi_par/chi_perp where it is the same at every K, else None.
        settles: the fixed point that attracts from both sides at the (C_W, C_b) of the half-stable point, or None.
        verdict: what to do, in a sentence or two.
        error: bound on the relative error of the points' numbers.
        reasons: for each attribute that is None or restricted, why.
    """

    formula: Formula
    universality: str
    points: tuple[CriticalPoint, ...]
    a1: float | None
    b1: float | None
    ratio: float | None
    settles: Settling | None
    verdict: str
    error: float
    reasons: Mapping[str, str] = field(hash=False)

    def safe_depth(
        self,
        K0: float,
        C_W: float | None = None,
        C_b: float | None = None,
        ceiling: float = 1000.0,
        limit: int = 10_000,
    ) -> int:
        """The number of layers through which the infinite-width kernel of an input K0 stays in its window.

        That is the largest L with K0/ceiling <= K^(l) <= max(ceiling, ceiling*K0) for l = 1 .. L; `limit` means at
        least that many. C_W and C_b default to those of the first critical point.

        Raises:
            NumericsError: K0 is not positive, ceiling is not above 1, or C_W is missing where nothing is critical.
        """
        K0, ceiling, limit = number("K0", K0, positive=True), number("ceiling", ceiling), whole("limit", limit)
        C_W = None if C_W is None else number("C_W", C_W, low=0.0)
        C_b = None if C_b is None else number("C_b", C_b, low=0.0)
        if not (0 < K0 < math.inf and ceiling > 1):
            raise NumericsError(f"safe depth: got K0 = {K0}, ceiling = {ceiling}; expected K0 > 0 and ceiling > 1")
        if C_W is None and not self.points:
            raise NumericsError(f"safe depth: {self.formula.name} has no critical point; name a C_W (and a C_b)")
        c_w = self.points[0].C_W if C_W is None else C_W
        c_b = (self.points[0].C_b if C_W is None else 0.0) if C_b is None else C_b
        return depth_in_window(self.formula, K0, c_w, c_b, ceiling=ceiling, limit=limit)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is undefined is None, and `reasons` says why."""
        return {
            "universality": self.universality,
            "a1": self.a1,
            "b1": self.b1,
            "verdict": self.verdict,
            "points": [p.to_dict() for p in self.points],
            "ratio": self.ratio,
            "settles": None if self.settles is None else self.settles.to_dict(),
            "error": self.error if math.isfinite(self.error) else None,
            "reasons": dict(self.reasons),
        }


def criticality(f: FormulaLike) -> Criticality:
    """All critical points of an activation, its universality class and what follows for an engineer.

    >>> point = criticality("relu").points[0]
    >>> point.C_W, point.C_b
    (2.0, 0.0)
    """
    formula = resolve(f)
    return _criticality(formula, formula.name)


@lru_cache(maxsize=1024)
def _criticality(formula: Formula, _name: str) -> Criticality:
    """Cached on the name as well: equal formulas may have two, and the verdict shows it."""
    scan = Scan.of(formula)
    reasons = _range_reasons(scan)
    zero = point_at_zero(scan)
    points, refused = critical_kernels(scan)
    if zero is not None:
        points.append(zero)
    if refused:
        pairs = ", ".join(f"K = {k:.4g} would need C_b = {b:.4g}" for k, b in refused)
        reasons["points"] = f"chi_par = chi_perp also at a point that needs a negative bias variance: {pairs}"
    ranks = {name: rank for rank, name in enumerate(UNIVERSALITY)}
    points.sort(key=lambda p: (ranks.get(p.kind, len(ranks)), p.K))
    universality = next((p.kind for p in points if p.kind in ranks), "none")
    a1, b1 = _small_kernel(scan, zero, reasons)
    half = next((p for p in points if p.kind == "half_stable"), None)
    settles = settling(scan, half) if half is not None else None
    ratio = None if scan.jumps else scan.constant_ratio
    if ratio is None:
        reasons["ratio"] = "chi_par/chi_perp changes with K" if not scan.jumps else "chi_perp is infinite"
    if settles is None:
        reasons["settles"] = "no half-stable point" if half is None else "no other attracting fixed point was found"
    depths = {}
    if universality == "zero_unstable":
        depths = {
            k: depth_in_window(formula, k, points[0].C_W, 0.0, ceiling=1000.0, limit=LAYERS) for k in (1e-2, 1e-4)
        }
    error = max((p.error for p in points), default=_worst_error(scan))
    parts = [f"{'at least ' if n >= LAYERS else ''}{n} layers from K0 = {k:g}" for k, n in depths.items()]
    sentence = verdict(scan, universality, points, ratio=ratio, settles=settles, depths=", ".join(parts))
    return Criticality(formula, universality, tuple(points), a1, b1, ratio, settles, sentence, error, reasons)


def depth_in_window(f: Formula, K0: float, C_W: float, C_b: float, *, ceiling: float, limit: int) -> int:
    """The largest L <= limit with K0/ceiling <= K^(l) <= max(ceiling, ceiling*K0) for l = 1 .. L."""
    low, high = K0 / ceiling, max(ceiling, ceiling * K0)
    g, k = second_moment(f), K0
    for layer in range(limit):
        following = C_b + C_W * g(k)
        if not low <= following <= high:
            return layer
        if following == k:
            return limit
        k = following
    return limit


def _small_kernel(scan: Scan, zero: CriticalPoint | None, reasons: dict[str, str]) -> tuple[float | None, float | None]:
    """a1 and b1, or None with the reason."""
    if zero is None:
        why = "no critical point at K = 0: that needs f(0) = 0, a slope there, and no jump"
        reasons["a1"] = reasons["b1"] = why if scan.usable.any() or scan.jumps else reasons["range"]
        return None, None
    expansion = kernel_expansion(scan.formula)
    if expansion is None:
        reasons["a1"] = reasons["b1"] = "f has no one-sided Taylor series at 0"
        return None, None
    A = 1 / zero.C_W
    a1: float | None = float(expansion.g[4]) / A
    b1: float | None = float(expansion.perp[2]) / A
    if expansion.g[3] != 0 or math.isnan(expansion.g[3]):
        a1 = None
        reasons["a1"] = f"K^(3/2) leads: K' = K {float(expansion.g[3]) / A:+.6g} K^(3/2) + ..."
    if expansion.perp[1] != 0 or math.isnan(expansion.perp[1]):
        b1 = None
        reasons["b1"] = f"K^(1/2) leads: chi_perp = 1 {float(expansion.perp[1]) / A:+.6g} K^(1/2) + ..."
    return _known("a1", a1, reasons), _known("b1", b1, reasons)


def _known(name: str, value: float | None, reasons: dict[str, str]) -> float | None:
    if value is not None and math.isnan(value):
        reasons[name] = "the one-sided Taylor series at 0 is not known that far"
        return None
    return value


def _range_reasons(scan: Scan) -> dict[str, str]:
    if scan.jumps:
        return {"points": "f jumps, so chi_perp = C_W E[f'^2] is infinite at every K"}
    if scan.usable.all():
        return {}
    if not scan.usable.any():
        return {"range": "no K was searched: the moments of f are infinite, undefined or not resolved"}
    used = GRID[scan.usable]
    return {"range": f"searched from K = {used[0]:.3g} to {used[-1]:.3g}: beyond, moments are infinite or not resolved"}


def _worst_error(scan: Scan) -> float:
    return float(scan.ratio_error[scan.usable].max()) if scan.usable.any() else math.inf
