"""Expectations on the line by one rule, with their errors.

Every panel is mapped to the whole t-axis and summed by the uniform trapezoid of step h:

    half-line (a, inf)    x = a + exp(t)                    dx = exp(t) dt
    panel (a, b)          x = a + (b - a)/(1 + exp(-t))     dx = (x - a)(b - x)/(b - a) dt

so the nodes crowd geometrically at each end: one set resolves every length from 1e-37 to the cut, and an integrable
end-point singularity (log, inverse square root) costs nothing. For an integrand that is analytic in a sector of
half-angle theta about the end the error falls like exp(-2 pi theta/h) (Trefethen & Weideman, "The exponentially
convergent trapezoidal rule", SIAM Review 56, 2014, Theorem 5.1). Kinks are always panel ends, never inside a panel.

| symbol | meaning                                             | shape |
|--------|-----------------------------------------------------|-------|
| x, w   | nodes and their weights, so that int v dx = w @ v   | (n,)  |
| d      | distance from a node to the nearer end of its panel | (n,)  |
| h      | the step in t                                       | ()    |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import ceil, exp, floor, inf, isfinite, log
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actsmith.errors import NumericsError

Array = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)
# exp(-85) = 1e-37: what an inverse square root hides below it is 2e-19 of its integral.
DEEPEST = -85.0
# A density below this times any weight cannot matter beside a finite value.
NEGLIGIBLE = 1e-300
SMALLEST = 2.0**-1074
# The remainder beyond the cut is at most SLOWEST/h last terms when v d falls like d^(1/SLOWEST) or faster.
SLOWEST = 8.0
# Inside the nearest node the integrand counts as constant; up to d^(-2/3) this misses at most 2/h times its term.
STEEPEST = 2.0
HALVINGS = 5


@dataclass(frozen=True)
class Estimate:
    """A number and a bound on its error, in the number's own units."""

    value: float
    error: float

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        return f"Estimate({self.value:.16g} ± {self.error:.1e})"


class Density(Protocol):
    """What `expectation` needs of a law."""

    def pdf(self, x: ArrayLike) -> Array: ...
    @property
    def support(self) -> tuple[float, float]: ...
    @property
    def breakpoints(self) -> tuple[float, ...]: ...
    @property
    def cut(self) -> float: ...


@dataclass(frozen=True, eq=False)
class Nodes:
    """A quadrature rule: int v(x) dx = w @ v(x), and what is needed to say how wrong that may be.

    Attributes:
        x: nodes, ascending inside each panel, float64 (n,); never equal to a panel end.
        w: weights, step included, (n,).
        coarse: weights of the same rule with step 2h, zero on every second node, (n,).
        bound: weights of |v| in the error bound: rounding of the sum and of the nodes, and the truncated ends, (n,).
        panel: which panel a node belongs to, counted from the left, (n,).
        step: h, the step in t.
    """

    x: Array
    w: Array
    coarse: Array
    bound: Array
    panel: NDArray[np.intp]
    step: float

    def integrate(self, values: ArrayLike) -> Estimate:
        """int v dx from v at the nodes, shape (n,).

        The error is |fine rule - coarse rule| plus rounding plus the remainders beyond the truncated ends.

        Raises:
            NumericsError: a value is not finite.
        """
        value, error = self.integrate_many(np.reshape(np.asarray(values, dtype=np.float64), (1, -1)))
        return Estimate(float(value[0]), float(error[0]))

    def integrate_many(self, values: ArrayLike) -> tuple[Array, Array]:
        """`integrate` over the last axis of values, shape (..., n): the arrays (value, error), each of shape (...)."""
        v = np.asarray(values, dtype=np.float64)
        if v.shape[-1:] != self.x.shape:
            raise NumericsError(f"values: got shape {v.shape}; expected (..., {self.x.size}), one per node")
        if not np.isfinite(v).all():
            where = int(np.nonzero(~np.isfinite(v))[-1][0])
            raise NumericsError(f"the integrand at x = {self.x[where]:.17g} is not finite; expected a finite number")
        value: Array = v @ self.w
        error: Array = np.abs(value - v @ self.coarse) + np.abs(v) @ self.bound
        return value, error

    def expect(self, values: ArrayLike, density: ArrayLike) -> Estimate:
        """int v(x) p(x) dx from v and p at the nodes, each of shape (n,).

        Where p w is below 1e-300 a product that is not finite counts as nothing; where p is zero a finite value enters
        the error as if p were the smallest float64: what outgrows an underflowed density is not lost in silence.

        Raises:
            NumericsError: v p is not finite at a node that matters.
        """
        v = np.broadcast_to(np.asarray(values, dtype=np.float64), self.x.shape)
        p = np.broadcast_to(np.asarray(density, dtype=np.float64), self.x.shape)
        with np.errstate(all="ignore"):
            product = v * p
            product = np.where(~np.isfinite(product) & (p * self.w < NEGLIGIBLE), 0.0, product)
            lost = np.where((p == 0) & np.isfinite(v), np.abs(v) * SMALLEST, 0.0) @ self.w
        estimate = self.integrate(product)
        return Estimate(estimate.value, estimate.error + float(lost))


def nodes(
    breakpoints: Iterable[float], *, low: float = -inf, high: float = inf, cut: float = 40.0, step: float = 0.1
) -> Nodes:
    """The rule on (low, high) split at the breakpoints that lie inside; cached, arrays read-only.

    A half-line ends at a distance `cut` beyond the outermost breakpoint (or finite end); without either it starts at 0.
    The default is beyond every standard normal float64; scale it with the law.

    Raises:
        NumericsError: cut, step or an end makes no rule.
    """
    if not (isfinite(cut) and cut > 0):
        raise NumericsError(f"cut: got {cut}; expected a finite positive distance")
    if not 0 < step <= 1:
        raise NumericsError(f"step: got {step}; expected 0 < step <= 1")
    if not low < high:
        raise NumericsError(f"support: got ({low}, {high}); expected low < high")
    return _nodes(_ends(breakpoints, float(low), float(high)), float(low), float(high), float(cut), float(step))


def expectation(
    function: Callable[[Array], ArrayLike],
    law: Density,
    breakpoints: Iterable[float] = (),
    tolerance: float = 1e-11,
    *,
    strict: bool = True,
) -> Estimate:
    """E f(X) = int f(x) p(x) dx for X ~ law, split at the breakpoints and the law's own.

    The step is halved from 0.1 until the error meets tolerance * max(1, |value|), at most five times.

    Args:
        function: float64 (n,) -> (n,), vectorised; it may overflow where the density vanishes.
        law: anything with pdf, support, breakpoints and cut.
        breakpoints: kinks and singularities of the function.
        tolerance: absolute below one, relative above.
        strict: raise when the tolerance is not met; otherwise return the estimate with its honest error.

    Raises:
        NumericsError: the tolerance was not met (strict), or f p is not finite where it matters.

    Example:
        >>> from actsmith.theory.laws import Normal
        >>> expectation(lambda x: x**2, Normal(0, 2))
        Estimate(4 ± ...)
    """
    low, high = law.support
    points = (*breakpoints, *law.breakpoints)
    best = Estimate(0.0, inf)
    for level in range(HALVINGS + 1):
        rule = nodes(points, low=low, high=high, cut=law.cut, step=0.1 / 2**level)
        with np.errstate(all="ignore"):
            values, density = function(rule.x), law.pdf(rule.x)
        estimate = rule.expect(values, density)
        if estimate.error < best.error:
            best = estimate
        if best.error <= tolerance * max(1.0, abs(best.value)):
            return best
    if strict:
        raise NumericsError(
            f"expectation under {law}: got {best.value:.6g} with error {best.error:.1e}; expected an error of at most "
            f"{tolerance * max(1.0, abs(best.value)):.1e}. Name the kinks as breakpoints, or check that the moment "
            "exists"
        )
    return best


def _ends(breakpoints: Iterable[float], low: float, high: float) -> tuple[float, ...]:
    """Finite panel ends in ascending order; points closer than 16 ulp are one."""
    inside = sorted({float(b) + 0.0 for b in breakpoints if isfinite(b) and low < b < high})
    ends: list[float] = [low] if isfinite(low) else []
    for b in inside:
        if not ends or b - ends[-1] > 16 * EPS * abs(b):
            ends.append(b)
    if isfinite(high):
        if len(ends) > 1 and high - ends[-1] <= 16 * EPS * abs(high):
            ends.pop()
        ends.append(high)
    return tuple(ends) or (0.0,)


@lru_cache(maxsize=64)
def _nodes(ends: tuple[float, ...], low: float, high: float, cut: float, h: float) -> Nodes:
    panels: list[tuple[Array, Array, Array, NDArray[np.intp]]] = []
    if low == -inf:
        d, k = _half_line(ends[0], cut, h)
        panels.append(((ends[0] - d)[::-1], (h * d)[::-1], d[::-1], k[::-1]))
    panels += [_finite(a, b, h) for a, b in pairwise(ends)]
    if high == inf:
        d, k = _half_line(ends[-1], cut, h)
        panels.append((ends[-1] + d, h * d, d, k))
    x, w, d = (np.concatenate([p[i] for p in panels]) for i in range(3))
    k = np.concatenate([p[3] for p in panels])
    sizes = np.array([len(p[0]) for p in panels])
    last = np.cumsum(sizes) - 1
    first = last + 1 - sizes
    coarse = np.where(k % 2 == 0, 2 * w, 0.0)
    # eps |x|/d is the relative error of the distance d after x = a + d is rounded: it counts at a singularity.
    bound = w * EPS * (16 + np.abs(x) / d)
    far = ([first[0]] if low == -inf else []) + ([last[-1]] if high == inf else [])
    near = np.setdiff1d(np.concatenate([first, last]), far)
    bound[far] += w[far] * SLOWEST / h
    bound[near] += w[near] * STEEPEST / h
    w, coarse = w.copy(), coarse.copy()
    for i in near:
        # The geometric series of the nodes nearer than the nearest one, as if the integrand were constant there.
        w[i] /= -np.expm1(-h)
        even = i if k[i] % 2 == 0 else (i + 1 if i in first else i - 1)
        coarse[even] /= -np.expm1(-2 * h)
    arrays = (x, w, coarse, bound)
    panel = np.repeat(np.arange(len(sizes)), sizes)
    for array in (*arrays, panel):
        array.flags.writeable = False
    return Nodes(*arrays, panel, h)


def _shortest(end: float, length: float) -> float:
    """The logarithm of the smallest distance that x = end + d still shows."""
    return max(log(max(EPS * abs(end), 1e-300)), DEEPEST + min(0.0, log(length)))


def _half_line(end: float, cut: float, h: float) -> tuple[Array, NDArray[np.intp]]:
    """Distances d = exp(k h) from the end up to the cut, and k."""
    last = floor(log(cut) / h)
    k = np.arange(min(ceil(_shortest(end, cut) / h), last), last + 1)
    return np.exp(k * h), k


def _finite(a: float, b: float, h: float) -> tuple[Array, Array, Array, NDArray[np.intp]]:
    """x, w, d and k of the logistic map on (a, b), each x measured from its nearer end."""
    length = b - a
    # d = length/(1 + exp(|t|)) >= shortest
    left, right = (log(max(length * exp(-_shortest(end, length)) - 1, 1.0)) for end in (a, b))
    k = np.arange(ceil(-left / h), floor(right / h) + 1)
    near, far = 1 / (1 + np.exp(np.abs(k * h))), 1 / (1 + np.exp(-np.abs(k * h)))
    d = length * near
    return np.where(k < 0, a + d, b - d), h * d * far, d, k
