"""Gaussian moments in closed form, for what is a sum of c x^n exp(a x - b x^2) with complex c, a, b.

Polynomials, sines, cosines, exponentials and Gaussians of lines and parabolas, their products and powers are such sums,
and with D = 1 + 2 b K, V = K/D, m = a V

    E[x^n exp(a x - b x^2)] = D^(-1/2) exp(a V a/2) M_n,   M_n = m M_(n-1) + (n - 1) V M_(n-2),   x ~ N(0, K)

for Re D > 0; elsewhere it diverges. No frequency is too high for it. At small K the terms cancel, which the error says.

| symbol     | meaning                                   |
|------------|-------------------------------------------|
| n, a, b    | the exponents of a term                   |
| c          | its coefficient                           |
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from actsmith.errors import FormulaError
from actsmith.formula.formula import Formula
from actsmith.formula.parse import X
from actsmith.formula.primitives import constant_value, normal_pdf
from actsmith.theory.quadrature import EPS

__all__ = ["closed_moments", "terms_of"]

Array = NDArray[np.float64]
Key = tuple[int, complex, complex]
Terms = dict[Key, complex]

MOST_TERMS = 96
MOST_PRODUCTS = 4000
MOST_POWER = 8
# exp of a larger number is infinite
LARGEST_EXPONENT = 705.0


class _NoSumError(Exception):
    """The expression is no such sum, or one of too many terms."""


@lru_cache(maxsize=256)
def terms_of(formula: Formula) -> tuple[tuple[Key, complex], ...] | None:
    """The terms of f; None where it is no sum of this kind."""
    try:
        return tuple(_terms(formula.bound).items())
    except (_NoSumError, FormulaError, OverflowError):
        return None


def closed_moments(formula: Formula, K: Array, count: int) -> tuple[Array, Array] | None:
    """The expectations of s^2, z s s', s'^2, s^4, z^3 s s', z^2 s^2 (the first `count`) at K, (n, count), and their
    errors; None where f is no sum of this kind. Infinite where they diverge, NaN where there are too many terms."""
    found = terms_of(formula)
    if found is None:
        return None
    s = dict(found)
    value, error = np.full((K.size, count), np.nan), np.full((K.size, count), np.inf)
    try:
        d = _derivative(s)
        square = _product(s, s)
        cross = _product(s, d) if count > 1 else {}
        makers: list[Callable[[], Terms]] = [
            lambda: square,
            lambda: _shifted(cross, 1),
            lambda: _product(d, d),
            lambda: _product(square, square),
            lambda: _shifted(cross, 3),
            lambda: _shifted(square, 2),
        ]
    except _NoSumError:
        return None
    for i in range(count):
        try:
            value[:, i], error[:, i] = _expect(makers[i](), K)
        except _NoSumError:
            continue
    return value, error


def _expect(terms: Terms, K: Array) -> tuple[Array, Array]:
    total, size = np.zeros(K.size, complex), np.zeros(K.size)
    infinite = np.zeros(K.size, bool)
    for (n, a, b), c in terms.items():
        D = 1 + 2 * b * K
        with np.errstate(all="ignore"):
            V = K / D
            exponent = a * V * a / 2
            infinite |= (D.real <= 0) | (exponent.real > LARGEST_EXPONENT)
            m = a * V
            before, moment = np.zeros_like(V), np.ones_like(V)
            for k in range(1, n + 1):
                before, moment = moment, m * moment + (k - 1) * V * before
            term = c * np.exp(np.where(exponent.real > LARGEST_EXPONENT, 0, exponent)) * moment / np.sqrt(D)
            rounding = np.abs(term) * (4 + n + np.abs(exponent)) + abs(c) * np.abs(np.exp(exponent)) * K ** (n / 2)
        total += term
        size += rounding
    value = np.where(infinite, np.inf, total.real)
    return value, np.where(infinite, 0.0, 8 * EPS * size)


# ------------------------------------------------------------------------------------------------ terms


def _add(into: Terms, key: Key, c: complex) -> None:
    into[key] = into.get(key, 0) + c
    if len(into) > MOST_PRODUCTS:
        raise _NoSumError


def _product(u: Terms, v: Terms) -> Terms:
    if len(u) * len(v) > 16 * MOST_PRODUCTS:
        raise _NoSumError
    result: Terms = {}
    for (n, a, b), c in u.items():
        for (m, d, e), k in v.items():
            _add(result, (n + m, a + d, b + e), c * k)
    return result


def _shifted(u: Terms, places: int) -> Terms:
    return {(n + places, a, b): c for (n, a, b), c in u.items()}


def _derivative(u: Terms) -> Terms:
    result: Terms = {}
    for (n, a, b), c in u.items():
        if n:
            _add(result, (n - 1, a, b), c * n)
        if a:
            _add(result, (n, a, b), c * a)
        if b:
            _add(result, (n + 1, a, b), -2 * b * c)
    return result


def _terms(e: sp.Expr) -> Terms:
    if X not in e.free_symbols:
        return {(0, 0j, 0j): complex(constant_value(e))}
    if e == X:
        return {(1, 0j, 0j): 1 + 0j}
    if isinstance(e, sp.Add):
        total: Terms = {}
        for argument in e.args:
            for key, c in _terms(argument).items():
                _add(total, key, c)
        return _few(total)
    if isinstance(e, sp.Mul):
        result: Terms = {(0, 0j, 0j): 1 + 0j}
        for argument in e.args:
            result = _few(_product(result, _terms(argument)))
        return result
    if isinstance(e, sp.Pow) and e.exp.is_Integer and 0 < int(e.exp) <= MOST_POWER:
        base = _terms(e.base)
        result = base
        for _ in range(int(e.exp) - 1):
            result = _few(_product(result, base))
        return result
    return _elementary(e)


def _few(terms: Terms) -> Terms:
    if len(terms) > MOST_TERMS:
        raise _NoSumError
    return terms


def _elementary(e: sp.Expr) -> Terms:
    if len(e.args) != 1:
        raise _NoSumError
    u = sp.Poly(e.args[0], X) if e.args[0].is_polynomial(X) else None
    if u is None or u.degree() > 2:
        raise _NoSumError
    u0, u1, u2 = (constant_value(u.coeff_monomial(X**k)) for k in range(3))
    if isinstance(e, sp.exp):
        return {(0, complex(u1), complex(-u2)): complex(np.exp(u0))}
    if isinstance(e, normal_pdf) and u2 == 0:
        return {(0, complex(-u0 * u1), complex(u1 * u1 / 2)): complex(np.exp(-u0 * u0 / 2) / np.sqrt(2 * np.pi))}
    pairs = {sp.sin: (1j, -0.5j, 0.5j), sp.cos: (1j, 0.5, 0.5), sp.sinh: (1, 0.5, -0.5), sp.cosh: (1, 0.5, 0.5)}
    if type(e) not in pairs:
        raise _NoSumError
    unit, plus, minus = pairs[type(e)]
    result: Terms = {}
    _add(result, (0, unit * u1, -unit * u2), complex(plus * np.exp(unit * u0)))
    _add(result, (0, -unit * u1, unit * u2), complex(minus * np.exp(-unit * u0)))
    return result
