"""Two inputs: how the correlation of their pre-activations changes from layer to layer, and how fast it forgets.

    G(K, rho) = E[s(z1) s(z2)],   z1, z2 ~ N(0, K) with correlation rho
    rho' = (C_b + C_W G(K, rho))/(C_b + C_W g(K)),   1 - rho' = C_W D/(C_b + C_W g(K)),   D = E[(s(z1) - s(z2))^2]/2

(Poole et al., arXiv:1606.05340; Schoenholz et al., arXiv:1611.01232.) Three routes, held against each other by tests:

closed      ReLU family: arc-cosine kernel (Cho & Saul 2009); erf: arcsine law (Williams 1997); sin
hermite     G = sum_n a_n^2 rho^n, D = sum_n a_n^2 (1 - rho^n), a_n = E[s(sqrt(K) z) h_n(z)], h_n orthonormal. The
            terms left out are bounded by what is known exactly, sum a_n^2 = g and sum n a_n^2 = K E[s'^2]:
            G by |rho|^N (g - sum_{n<N} a_n^2), D by (1 - rho) (K E[s'^2] - sum_{n<N} n a_n^2)
quadrature  in w and v, where z1, z2 = sqrt(K) (p w ± q v), p^2 = (1 + |rho|)/2, q^2 = (1 - |rho|)/2 (for rho < 0 with
            -z2), Gauss-Legendre on panels split wherever z1 or z2 is at a kink. D is integrated as it stands, so that
            nothing cancels near rho = 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray
from scipy import special

from actsmith.errors import NumericsError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula
from actsmith.formula.parse import X
from actsmith.theory.arguments import number, numbers, whole
from actsmith.theory.kernel import RELIED, moments, susceptibilities
from actsmith.theory.quadrature import EPS

__all__ = ["CorrelationMap", "DepthScales", "correlation_flow", "correlation_map", "depth_scales"]

Array = NDArray[np.float64]
Route = Literal["auto", "closed", "hermite", "quadrature"]

TERMS = 160
"""Hermite coefficients that are computed."""

# Beyond 12 standard deviations the Gaussian weight is below 1e-31.
REACH = 12.0
# The auto route takes the Hermite series where its remainder is below this fraction of the sum.
SMALL_TAIL = 1e-13


@dataclass(frozen=True, eq=False)
class CorrelationMap:
    """The next layer's covariance and correlation; the arrays have rho's shape.

    Attributes:
        covariance: C_b + C_W G(K, rho).
        correlation: rho'.
        complement: 1 - rho', to full relative accuracy near rho = 1.
        covariance_error, complement_error: bounds on their errors.
        route: which of the three was taken.
    """

    covariance: Array
    correlation: Array
    complement: Array
    covariance_error: Array
    complement_error: Array
    route: str


@dataclass(frozen=True)
class DepthScales:
    """Over how many layers a difference falls by the factor e: xi = -1/log(chi).

    Attributes:
        xi_par: of a difference in size: -1/log(chi_par).
        xi_perp: of a difference in direction, and of gradients: -1/log(chi_perp).

    inf at chi = 1 (within its error); negative where a difference grows by e instead; 0 where chi = 0.
    """

    xi_par: float
    xi_perp: float


def correlation_map(
    f: FormulaLike, K: float, rho: ArrayLike, C_W: float = 1.0, C_b: float = 0.0, *, route: Route = "auto"
) -> CorrelationMap:
    """The correlation after one more layer of two inputs of the same kernel K with correlation rho.

    Raises:
        NumericsError: K or C_W is not positive, C_b is negative, |rho| > 1, a moment is not finite, or the route asked
            for does not exist for this f.

    >>> round(float(correlation_map("relu", 1.0, 0.0, C_W=2.0).correlation) * math.pi, 12)
    1.0
    """
    formula = resolve(f)
    r = numbers("rho", rho)
    K, C_W, C_b = number("K", K, positive=True), number("C_W", C_W, positive=True), number("C_b", C_b, low=0.0)
    if route not in ("auto", "closed", "hermite", "quadrature"):
        raise NumericsError(f"route: got {route!r}; expected 'auto', 'closed', 'hermite' or 'quadrature'")
    if not (np.abs(r) <= 1).all():
        raise NumericsError(f"correlation map: got rho = {rho!r}; expected correlations, -1 to 1")
    m = moments(formula, float(K))
    g, perp = float(m.g), float(m.perp)
    if not (math.isfinite(g) and float(m.g_error) <= RELIED * g):
        raise NumericsError(
            f"correlation map: {formula.name} has E[f(z)^2] = {g} at K = {K:g}, with an error of "
            f"{float(m.g_error):.1e}; expected a finite number that is resolved"
        )
    G, D, G_error, D_error, taken = _by_route(formula, float(K), r.reshape(-1), (g, perp), route)
    next_K = C_b + C_W * g
    complement = C_W * D / next_K
    complement_error = C_W * (D_error + D * m.g_error / g) / next_K
    values = (C_b + C_W * G, 1 - complement, complement, C_W * G_error, complement_error)
    covariance, correlation, complement, G_error, complement_error = (v.reshape(r.shape) for v in values)
    return CorrelationMap(covariance, correlation, complement, G_error, complement_error, taken)


def correlation_flow(
    f: FormulaLike, K0: float, rho0: float, depth: int, *, C_W: float, C_b: float = 0.0
) -> tuple[Array, Array]:
    """K^(0) .. K^(depth) and rho^(0) .. rho^(depth) of two inputs of kernel K0 and correlation rho0.

    >>> correlation_flow("relu", 1.0, 0.0, 2, C_W=2.0)[1].round(6).tolist()
    [0.0, 0.31831, 0.493731]
    """
    formula, depth = resolve(f), whole("depth", depth)
    K0, rho0 = number("K0", K0, positive=True), number("rho0", rho0)
    K, rho = np.empty(depth + 1), np.empty(depth + 1)
    K[0], rho[0] = K0, rho0
    for layer in range(depth):
        step = correlation_map(formula, K[layer], rho[layer], C_W, C_b)
        K[layer + 1] = C_b + C_W * float(moments(formula, K[layer]).g)
        rho[layer + 1] = min(float(step.correlation), 1.0)
    return K, rho


def depth_scales(f: FormulaLike, K: float, C_W: float) -> DepthScales:
    """xi_par = -1/log(chi_par) and xi_perp = -1/log(chi_perp) at K.

    >>> depth_scales("relu", 1.0, 2.0)
    DepthScales(xi_par=inf, xi_perp=inf)
    >>> round(depth_scales("relu", 1.0, 1.0).xi_perp * math.log(2), 12)
    1.0
    """
    s = susceptibilities(f, K, C_W)
    return DepthScales(_scale(s.chi_par, s.chi_par_error), _scale(s.chi_perp, s.chi_perp_error))


def _scale(chi: float, error: float) -> float:
    if abs(abs(chi) - 1) <= error + 4 * EPS:
        return math.inf
    return 0.0 if chi in (0, math.inf) else -1 / math.log(abs(chi))


def _by_route(
    formula: Formula, K: float, rho: Array, known: tuple[float, float], route: Route
) -> tuple[Array, Array, Array, Array, str]:
    """G, D and their errors; `known` is (g, E[s'^2])."""
    g, perp = known
    if route in ("auto", "closed"):
        closed = closed_form(formula, K, rho)
        if closed is not None and (route == "closed" or np.all(g - closed >= 1e-3 * g)):
            error = 16 * EPS * np.full_like(closed, g)
            return closed, g - closed, error, error, "closed"
        if route == "closed":
            raise NumericsError(f"correlation map: no closed form is known for {formula.name}; take another route")
    if route in ("auto", "hermite"):
        series = hermite_series(formula, K, rho, g, perp)
        small = np.all(series[2] <= SMALL_TAIL * g) and np.all(series[3] <= SMALL_TAIL * (1 - rho) * g)
        if route == "hermite" or small:
            return (*series, "hermite")
    G, D, error, D_error = (np.array(v) for v in zip(*(_quadrature(formula, K, float(r)) for r in rho), strict=True))
    return G, D, error, D_error, "quadrature"


# ------------------------------------------------------------------------------------------------ closed forms


def closed_form(formula: Formula, K: float, rho: Array) -> Array | None:
    """G where it is known in closed form: straight on both sides of 0, c erf(a x), c sin(a x); else None."""
    slopes = _slopes(formula)
    if slopes is not None:
        left, right = slopes
        theta = np.arccos(rho)
        # E[relu(z1) relu(z2)]/K, and f = left x + (right - left) relu(x) with E[z1 relu(z2)] = K rho/2.
        arc = (np.sqrt((1 - rho) * (1 + rho)) + rho * (math.pi - theta)) / (2 * math.pi)
        return np.asarray(K * (left * right * rho + (right - left) ** 2 * arc))
    c, a = sp.Wild("c", exclude=[X]), sp.Wild("a", exclude=[X])
    for function in (sp.erf, sp.sin):
        found = formula.bound.match(c * function(a * X))
        if found and found[c] != 0:
            outer, k = float(found[c]) ** 2, float(found[a]) ** 2 * K
            if function is sp.erf:
                return np.asarray(outer * 2 / math.pi * np.arcsin(2 * k * rho / (1 + 2 * k)))
            return np.asarray(outer * (np.exp(-k * (1 - rho)) - np.exp(-k * (1 + rho))) / 2)
    return None


def _slopes(formula: Formula) -> tuple[float, float] | None:
    """The slopes left and right of 0 where f is straight there and 0 at 0."""
    if formula.kinks not in ((), (0.0,)):
        return None
    rates = [piece.expr / X for piece in (formula.pieces[0], formula.pieces[-1])]
    rates = [sp.cancel(r) if r.free_symbols else r for r in rates]
    return None if any(r.free_symbols for r in rates) else (float(rates[0]), float(rates[1]))


# ------------------------------------------------------------------------------------------------ Hermite series


def hermite_series(formula: Formula, K: float, rho: Array, g: float, perp: float) -> tuple[Array, Array, Array, Array]:
    """G, D and their errors from the first TERMS coefficients."""
    square = hermite_coefficients(formula, K) ** 2
    n = np.arange(TERMS)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log(np.abs(rho))[:, None] * n[None, 1:]
        lost = np.where((rho[:, None] < 0) & (n[None, 1:] % 2 == 1), 1 + np.exp(log), -np.expm1(log))
    G = (rho[:, None] ** n) @ square
    D = lost @ square[1:]
    tail = max(g - square.sum(), 0.0) + 16 * EPS * g
    slope_tail = max(K * perp - float(n @ square), 0.0) + 16 * EPS * K * perp
    G_error = tail * np.abs(rho) ** TERMS + 16 * EPS * g
    D_error = np.where(rho == 1, 0.0, np.minimum(2 * tail, (1 - rho) * slope_tail)) + 16 * EPS * D
    return G, D, G_error, D_error


def hermite_coefficients(formula: Formula, K: float) -> Array:
    """a_n = E[s(sqrt(K) z) h_n(z)], n < TERMS, h_n = He_n/sqrt(n!)."""
    return _coefficients(formula, K).copy()


@lru_cache(maxsize=64)
def _coefficients(formula: Formula, K: float) -> Array:
    z, w = _line(formula, K, points=24, width=0.5)
    with np.errstate(all="ignore"):
        weighted = formula(math.sqrt(K) * z) * w * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    weighted[~np.isfinite(weighted) & (np.abs(z) > REACH - 1)] = 0.0
    coefficients = np.empty(TERMS)
    before, h = np.zeros_like(z), np.ones_like(z)
    for n in range(TERMS):
        coefficients[n] = h @ weighted
        before, h = h, (z * h - math.sqrt(n) * before) / math.sqrt(n + 1)
    return coefficients


# ------------------------------------------------------------------------------------------------ quadrature


def _ends(formula: Formula, K: float, width: float) -> Array:
    """Panel ends on [-REACH, REACH]: `width` apart, halved towards 0 until f is smooth on the scale of a panel."""
    uniform = np.linspace(0.0, REACH, round(REACH / width) + 1)
    finest = min(0.25, 0.25 / math.sqrt(K))
    graded = width * 2.0 ** -np.arange(1, max(1, math.ceil(math.log2(width / finest))) + 1)
    half = np.union1d(uniform, graded)
    return np.union1d(half, -half)


def _line(formula: Formula, K: float, points: int, width: float) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights for dz, split at the kinks."""
    kinks = np.array([k for k in formula.kinks if abs(k) < REACH * math.sqrt(K)]) / math.sqrt(K)
    return _panels(np.union1d(_ends(formula, K, width), kinks), points)


def _panels(ends: Array, points: int) -> tuple[Array, Array]:
    """Nodes and weights on consecutive panels, (..., panels + 1) -> (..., panels * points)."""
    x, w = special.roots_legendre(points)
    half = np.diff(ends, axis=-1)[..., None] / 2
    middle = ends[..., :-1, None] + half
    shape = (*ends.shape[:-1], (ends.shape[-1] - 1) * points)
    return (middle + half * x).reshape(shape), (half * w).reshape(shape)


def _quadrature(formula: Formula, K: float, rho: float) -> tuple[float, float, float, float]:
    """G, D and their errors: the difference from a rule with fewer points."""
    fine, coarse = (_plane(formula, K, rho, points) for points in (16, 12))
    G, D = fine
    G_error = abs(G - coarse[0]) + 64 * EPS * (abs(G) + D)
    # s(z1) - s(z2) is wrong by EPS s: in D that counts EPS E[|s| |s(z1) - s(z2)|].
    D_error = abs(D - coarse[1]) + 64 * EPS * D + 4 * EPS * math.sqrt(D * (abs(G) + D))
    return G, D, G_error, D_error


def _plane(formula: Formula, K: float, rho: float, points: int) -> tuple[float, float]:
    root, sign = math.sqrt(K), 1.0 if rho >= 0 else -1.0
    p, q = math.sqrt((1 + abs(rho)) / 2), math.sqrt((1 - abs(rho)) / 2)
    kinks = np.array(formula.kinks) / root
    base = _ends(formula, K, 1.0)
    # The kinks of z1 and of z2 meet at these v; the integral over w is not smooth there.
    meet = (kinks[:, None] - sign * kinks[None, :]).reshape(-1) / (2 * q) if q > 0 else np.zeros(0)
    v, v_weight = _panels(np.union1d(base, meet[np.abs(meet) < REACH]), points)
    ends = np.broadcast_to(base, (v.size, base.size))
    if kinks.size:
        first = (kinks[None, :] - q * v[:, None]) / p
        second = sign * (kinks[None, :] + sign * q * v[:, None]) / p
        ends = np.sort(np.clip(np.concatenate([ends, first, second], axis=1), -REACH, REACH), axis=1)
    G = D = 0.0
    for rows in np.array_split(np.arange(v.size), max(1, v.size // 64)):
        w, w_weight = _panels(ends[rows], points)
        weight = w_weight * np.exp(-(w**2 + v[rows, None] ** 2) / 2) * v_weight[rows, None] / (2 * math.pi)
        with np.errstate(all="ignore"):
            s1 = formula(root * (p * w + q * v[rows, None]))
            s2 = formula(root * (sign * p * w - sign * q * v[rows, None]))
        G += float(np.sum(weight * s1 * s2))
        D += float(np.sum(weight * (s1 - s2) ** 2)) / 2
    return G, D
