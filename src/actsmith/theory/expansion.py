"""What a formula is at 0+ and 0-, and what that makes of its kernel at small K: all by Taylor arithmetic, no SymPy.

A formula's program is run on truncated power series in t > 0 instead of numbers, once for x = +t and once for x = -t
(Griewank & Walther, "Evaluating Derivatives", 2nd ed. 2008, chapter 13). Every coefficient is exact up to rounding, and
switches (relu, where, max ...) are decided by the first nonzero coefficient of their argument. A coefficient that the
program cannot determine is NaN.

| symbol   | meaning                                                             | shape          |
|----------|---------------------------------------------------------------------|----------------|
| c        | f(+-t) = sum_k c_k t^k + O(t^(ORDER + 1))                            | (ORDER + 1,)   |
| d        | coefficients of f(+-t)^2                                             | (ORDER + 1,)   |
| m_n      | E[|N|^n] = 2^(n/2) Gamma((n + 1)/2)/sqrt(pi)                         | ()             |
| gamma    | g(K) = E[f(z)^2] = sum_n gamma_n K^(n/2), gamma_n = m_n (d_n^+ + d_n^-)/2 | (ORDER + 2,) |
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from actsmith.formula.formula import Formula
from actsmith.formula.spline import cell_of

__all__ = ["ORDER", "KernelExpansion", "kernel_expansion", "one_sided_series"]

Series = NDArray[np.float64]

ORDER = 8
"""Highest power of t that is kept: g is then known up to K^((ORDER + 1)/2)."""

# A coefficient is zero when it is this small beside the sum of the absolute values of the terms it was added from.
ROUNDING = 1e-12


class NoSeriesError(Exception):
    """The program has no one-sided Taylor series at 0: a pole, a fractional power, a logarithm of 0."""


@dataclass(frozen=True)
class KernelExpansion:
    """g and E[f'^2] at small K, in powers of sqrt(K): index n is the coefficient of K^(n/2), NaN where unknown.

    Attributes:
        value: f(0+), f(0-).
        slope: f'(0+), f'(0-).
        g: E[f(z)^2], (ORDER + 2,).
        perp: E[f'(z)^2], (ORDER,).
    """

    value: tuple[float, float]
    slope: tuple[float, float]
    g: Series
    perp: Series


def one_sided_series(f: Formula, side: int) -> Series | None:
    """The coefficients c_k of f(side * t) = sum_k c_k t^k for t -> 0+, k = 0 .. ORDER; None where there is no series.

    >>> one_sided_series(Formula("relu(x) + x**2"), -1)[:4].tolist()
    [0.0, 0.0, 1.0, 0.0]
    """
    x = np.zeros(ORDER + 1)
    x[1] = side
    try:
        with np.errstate(all="ignore"):
            result = f._program(0).run([x], _ops())[0]
    except NoSeriesError:
        return None
    return None if result is None else _series(result)


@lru_cache(maxsize=1024)
def kernel_expansion(f: Formula) -> KernelExpansion | None:
    """The small-K expansion of f's kernel; None where f has no one-sided Taylor series at 0 or is not finite there, or
    where the squares of its coefficients are beyond float64."""
    right, left = one_sided_series(f, 1), one_sided_series(f, -1)
    if right is None or left is None or not np.isfinite([*right[:2], *left[:2]]).all():
        return None
    if max(abs(right[0]), abs(left[0])) <= ROUNDING * max(abs(right[1]), abs(left[1])):
        right, left = right.copy(), left.copy()
        right[0] = left[0] = 0.0
    # f = O(t) makes the square of a series known to O(t^(ORDER + 2)): one more coefficient than of f itself.
    size = ORDER + 2 if right[0] == left[0] == 0 else ORDER + 1
    powers = np.arange(1, ORDER + 1)
    derivative = [side[1:] * powers for side in (right, left)]  # the square does not see the sign of the left one
    with np.errstate(over="ignore", invalid="ignore"):
        g, perp = _gaussian_square(right, left, size), _gaussian_square(derivative[0], derivative[1], ORDER)
    if np.isinf([*g, *perp]).any():
        return None
    return KernelExpansion((float(right[0]), float(left[0])), (float(right[1]), float(-left[1])), g, perp)


def _gaussian_square(right: Series, left: Series, size: int) -> Series:
    """gamma_n of E[f^2], n < size, from the coefficients on both sides; cancellation down to rounding counts as 0."""
    n = np.arange(size)
    moments = 2.0 ** (n / 2) * special.gamma((n + 1) / 2) / math.sqrt(math.pi)
    total, scale = np.zeros(size), np.zeros(size)
    for c in (right, left):
        padded = np.concatenate([c, np.zeros(max(size - c.size, 0))])
        for k in range(size):
            # c_0 = 0 wherever size exceeds c.size, so the padding is only ever multiplied by that zero.
            terms = padded[: k + 1] * padded[k::-1]
            total[k] += terms.sum() / 2
            scale[k] += np.abs(terms).sum() / 2
    cancelled = (np.abs(total) <= ROUNDING * scale) & np.isfinite(scale)
    return np.asarray(np.where(cancelled, 0.0, total) * moments)


# ------------------------------------------------------------------------------------------------ power series


def _series(u: Any) -> Series:
    if isinstance(u, np.ndarray):
        return u
    constant = np.zeros(ORDER + 1)
    constant[0] = u
    return constant


def _mul(u: Any, v: Any) -> Series:
    a, b = _series(u), _series(v)
    if np.isfinite(a).all() and np.isfinite(b).all():
        return np.convolve(a, b)[: ORDER + 1]
    product = np.zeros(ORDER + 1)
    for k in range(ORDER + 1):
        terms = [x * y for x, y in zip(a[: k + 1], b[k::-1], strict=True) if x != 0 and y != 0]
        product[k] = sum(terms)
    return product


def _leading(u: Series) -> int:
    """Index of the first nonzero coefficient, ORDER + 1 for the zero series."""
    nonzero = np.flatnonzero(u)  # NaN counts as nonzero
    if nonzero.size == 0:
        return ORDER + 1
    first = int(nonzero[0])
    if not math.isfinite(u[first]):
        raise NoSeriesError
    return first


def _sign(u: Any) -> float:
    a = _series(u)
    first = _leading(a)
    return 0.0 if first > ORDER else math.copysign(1.0, a[first])


def _shift(u: Series, places: int) -> Series:
    """u t^places; coefficients shifted in from beyond the last known one are NaN."""
    if places >= 0:
        return np.concatenate([np.zeros(min(places, ORDER + 1)), u])[: ORDER + 1]
    if np.any(u[:-places] != 0):
        raise NoSeriesError
    return np.concatenate([u[-places:], np.full(-places, math.nan)])


def _div(u: Any, v: Any) -> Series:
    a, b = _series(u), _series(v)
    order = _leading(b)
    if order > ORDER:
        raise NoSeriesError
    if order > 0:
        a, b = _shift(a, -order), _shift(b, -order)
    q = np.zeros(ORDER + 1)
    for k in range(ORDER + 1):
        q[k] = (a[k] - sum(q[j] * b[k - j] for j in range(k) if q[j] != 0)) / b[0]
    return q


def _integral(rate: Any, u: Any, start: float) -> Series:
    """start + the integral of rate(t) u'(t): what F(u) is when rate = F'(u) and start = F(u_0)."""
    powers = np.arange(ORDER + 1)
    du = np.concatenate([(_series(u) * powers)[1:], [0.0]])
    w = np.empty(ORDER + 1)
    w[0], w[1:] = start, _mul(rate, du)[:-1] / powers[1:]
    return w


def _exp(u: Any, start: float | None = None) -> Series:
    a = _series(u)
    w = np.zeros(ORDER + 1)
    w[0] = math.exp(a[0])
    rate = a * np.arange(ORDER + 1)
    for k in range(1, ORDER + 1):
        w[k] = float(rate[1 : k + 1] @ w[k - 1 :: -1][:k]) / k
    if start is not None:
        w[0] = start
    return w


def _pair(u: Any, odd: float, even: float, sign: float) -> tuple[Series, Series]:
    """(S, C) with S' = C u', C' = sign S u', S_0 = odd, C_0 = even: sine and cosine (-1), hyperbolic (+1)."""
    rate = _series(u) * np.arange(ORDER + 1)
    s, c = np.zeros(ORDER + 1), np.zeros(ORDER + 1)
    s[0], c[0] = odd, even
    for k in range(1, ORDER + 1):
        r = rate[1 : k + 1]
        s[k], c[k] = float(r @ c[k - 1 :: -1][:k]) / k, sign * float(r @ s[k - 1 :: -1][:k]) / k
    return s, c


def _hyperbolic(u: Any) -> tuple[Series, Series]:
    """sinh(u)/cosh(u_0) and cosh(u)/cosh(u_0), which cannot overflow."""
    return _pair(u, math.tanh(_series(u)[0]), 1.0, 1.0)


def _tanh(u: Any) -> Series:
    s, c = _hyperbolic(u)
    return _div(s, c)


def _sech(u: Any) -> Series:
    u0 = abs(float(_series(u)[0]))
    return _div(2 * math.exp(-u0) / (1 + math.exp(-2 * u0)), _hyperbolic(u)[1])


def _sigmoid(u: Any) -> Series:
    return 0.5 * _tanh(_series(u) / 2) + _series(0.5)


def _pdf(u: Any) -> Series:
    return _exp(-0.5 * _mul(u, u)) / math.sqrt(2 * math.pi)


def _log(u: Any, start: float | None = None) -> Series:
    a = _series(u)
    if not a[0] > 0:
        raise NoSeriesError
    return _integral(_div(1.0, a), a, math.log(a[0]) if start is None else start)


def _pow(u: Any, v: Any) -> Series:
    a, exponent = _series(u), _series(v)
    if np.any(exponent[1:] != 0):
        return _exp(_mul(exponent, _log(a)))
    p = float(exponent[0])
    if p < 0:
        return _div(1.0, _pow(a, -p))
    order = _leading(a)
    if order > ORDER:
        return _series(1.0 if p == 0 else 0.0)
    if p.is_integer() and p <= 64:
        w = _series(1.0)
        for _ in range(int(p)):
            w = _mul(w, a)
        return w
    if order * p > ORDER and a[order] > 0:
        return _series(0.0)
    if not a[order] > 0 or not float(order * p).is_integer():
        raise NoSeriesError
    b = _shift(a, -order)
    w = np.zeros(ORDER + 1)
    w[0] = b[0] ** p
    for k in range(1, ORDER + 1):
        w[k] = sum((p * j - (k - j)) * b[j] * w[k - j] for j in range(1, k + 1)) / (k * b[0])
    return _shift(w, int(order * p))


def _spline(name: str, order: int, u: Any) -> Any:
    """A spline on the side of its knot that u goes to; None for no series."""
    if u is None:
        return None
    inner = _series(u)
    moving = inner[1:][inner[1:] != 0]
    side = math.copysign(1e-9, float(moving[0])) if moving.size else 1e-9
    origin, row = cell_of(name, order, float(inner[0]) + side)
    d = inner - _series(origin)
    result = _series(float(row[3]))
    for coefficient in row[2::-1]:
        result = _mul(result, d) + _series(float(coefficient))
    return result


def _left_out(*_: Any) -> None:
    return None


@lru_cache(maxsize=1)
def _ops() -> dict[str, Callable[..., Any]]:
    """The instructions of `actsmith.formula.lower` on power series. The logarithms serve only its rescues: left out."""
    two_over_root_pi = 2 / math.sqrt(math.pi)

    def gauss(u: Any) -> Series:
        return two_over_root_pi * _exp(-_mul(u, u))

    def sine(u: Any) -> tuple[Series, Series]:
        u0 = float(_series(u)[0])
        return _pair(u, math.sin(u0), math.cos(u0), -1.0)

    def hyperbolic(u: Any) -> tuple[Series, Series]:
        u0 = float(_series(u)[0])
        return _pair(u, math.sinh(u0), math.cosh(u0), 1.0)

    def start(u: Any) -> float:
        return float(_series(u)[0])

    def known(operation: Callable[..., Any]) -> Callable[..., Any]:
        """The operation, with None for "no series", which a branch that is not taken may have."""

        def apply(*arguments: Any) -> Any:
            if any(u is None for u in arguments):
                return None
            try:
                return operation(*arguments)
            except (NoSeriesError, ValueError, OverflowError):
                return None

        return apply

    def where(c: Any, u: Any, v: Any) -> Any:
        return None if c is None else u if _sign(c) > 0 else v

    operations: dict[str, Callable[..., Any]] = {
        "add": lambda u, v: _series(u) + _series(v),
        "sub": lambda u, v: _series(u) - _series(v),
        "mul": _mul,
        "div": _div,
        "pow": _pow,
        "sqrt": lambda u: _pow(u, 0.5),
        "relu": lambda u: _series(u) if _sign(u) > 0 else _series(0.0),
        "sign": lambda u: _series(_sign(u)),
        "abs": lambda u: _sign(u) * _series(u),
        "step": lambda u: _series(1.0 if _sign(u) > 0 else 0.0),
        "max": lambda u, v: _series(u if _sign(_series(u) - _series(v)) > 0 else v),
        "min": lambda u, v: _series(u if _sign(_series(u) - _series(v)) < 0 else v),
        "sigmoid": _sigmoid,
        "softplus": lambda u: _integral(_sigmoid(u), u, float(np.logaddexp(0, start(u)))),
        "normal_cdf": lambda u: _integral(_pdf(u), u, float(special.ndtr(start(u)))),
        "normal_pdf": _pdf,
        "tanh": _tanh,
        "sech": _sech,
        "expm1": lambda u: _exp(u, math.expm1(start(u))),
        "log1p": lambda u: _log(_series(u) + _series(1.0), math.log1p(start(u))),
        "exp": _exp,
        "log": _log,
        "sin": lambda u: sine(u)[0],
        "cos": lambda u: sine(u)[1],
        "sinh": lambda u: hyperbolic(u)[0],
        "cosh": lambda u: hyperbolic(u)[1],
        "atan": lambda u: _integral(_div(1.0, _series(1.0) + _mul(u, u)), u, math.atan(start(u))),
        "asinh": lambda u: _integral(_pow(_series(1.0) + _mul(u, u), -0.5), u, math.asinh(start(u))),
        "erf": lambda u: _integral(gauss(u), u, math.erf(start(u))),
        "erfc": lambda u: _integral(-gauss(u), u, math.erfc(start(u))),
    }
    table = {name: known(operation) for name, operation in operations.items()}
    table |= {"where": where, "spline": _spline, "rescue": lambda plain, *_: plain}
    return defaultdict(lambda: _left_out, table)
