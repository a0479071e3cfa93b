"""A correction's shape, scaled and rounded so that a formula with it can be read.

The correction of a fitted law is exact in rationals of many digits. Its coefficients mean nothing beyond the fit's own
few digits, and its size depends on the law's. Here every shape gets the size of CRReLU's, sup |psi| = exp(-1/2) std, so
that one eps means one thing, and four significant digits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import sympy as sp

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.formula.parse import X
from actsmith.formula.primitives import where
from actsmith.theory.law import Law

__all__ = ["readable_shape"]

DIGITS = 4
AGREES = 5e-3
"""The rounded shape may differ from the exact one by this share of its size."""


def readable_shape(psi: sp.Expr, law: Law) -> sp.Expr:
    """psi with sup |psi| = exp(-1/2) std on the law's bulk, coefficients rounded.

    Where rounding would change the shape by more than half a percent it is scaled only.

    Raises:
        ActsmithError: psi is zero, or has a pole.

    Example:
        >>> from actsmith.theory.laws import Normal
        >>> x = sp.Symbol("x", real=True)
        >>> readable_shape(7 * x * sp.exp(-x**2 / 2), Normal())
        x*exp(-x**2/2)
    """
    x = np.linspace(law.mean - 6 * law.std, law.mean + 6 * law.std, 4001)
    exact = np.asarray(Formula(psi)(x))
    size = float(np.max(np.abs(exact)))
    if not 0 < size < math.inf:  # zero, or a pole: where f' = 0, as in relu(x)**2 at 0
        raise ActsmithError(f"correction: its size under {law} is {size:g}; expected a finite shape that is not zero")
    factor = math.exp(-0.5) * law.std / size
    tidied = _scaled(psi, factor)
    if tidied.free_symbols == {X}:
        rounded = np.asarray(Formula(tidied)(x))
        if np.max(np.abs(rounded - factor * exact)) <= AGREES * factor * size:
            return tidied
    return _rounded(factor) * psi


def _scaled(e: sp.Expr, factor: float) -> sp.Expr:
    """factor * e, tidied, the factor multiplied into the terms of a sum before they are rounded."""
    if isinstance(e, sp.Add) and _coefficients(e, 1) is None:
        return sp.Add(*(_scaled(term, factor) for term in e.args))
    if isinstance(e, where):
        condition, *branches = e.args
        return where(condition, *(_scaled(branch, factor) for branch in branches))
    coefficient, shape = _tidy(e)
    return _rounded(coefficient * factor) * shape


def _rounded(value: float, digits: int = DIGITS) -> sp.Rational:
    """The decimal of so many significant digits, exactly."""
    return sp.Rational(f"{value:.{digits - 1}e}")


def _tidy(e: sp.Expr) -> tuple[float, sp.Expr]:
    """(c, rest) with e nearly c * rest: sums, products, straight lines and Gaussians rounded, the rest as it is."""
    if not e.free_symbols:
        return float(e), sp.S.One
    if isinstance(e, sp.Mul):
        parts = [_tidy(factor) for factor in e.args]
        return math.prod(c for c, _ in parts), sp.Mul(*(rest for _, rest in parts))
    if isinstance(e, sp.exp):
        return _tidy_gaussian(e)
    if isinstance(e, sp.Add):
        line = _coefficients(e, 1)
        if line is not None:
            slope, constant = line
            return slope, X + _place(constant / slope)
    if isinstance(e, sp.Add | where):
        return 1.0, _scaled(e, 1.0)
    return 1.0, e


def _tidy_gaussian(e: sp.Expr) -> tuple[float, sp.Expr]:
    """exp(a x^2 + b x + c) = exp(c - b^2/(4a)) exp(a (x + b/(2a))^2)."""
    square = _coefficients(e.args[0], 2)
    if square is None:
        return 1.0, e
    a, b, c = square
    return math.exp(c - b * b / (4 * a)), sp.exp(_curvature(a) * (X + _place(b / (2 * a))) ** 2)


def _curvature(a: float) -> sp.Rational:
    """a, as a short fraction where it is one: -1/2 stays."""
    short = sp.Rational(a).limit_denominator(20)
    return short if float(short) == a else _rounded(a)


def _place(value: float) -> sp.Rational:
    """A place on the x axis, to four decimals or four digits."""
    return _rounded(value) if abs(value) >= 1 else sp.Rational(f"{value:.{DIGITS}f}")


def _coefficients(e: sp.Expr, degree: int) -> list[float] | None:
    """Coefficients of a polynomial in x of just that degree, the highest first; None if e is not one."""
    if not e.is_polynomial(X) or e.free_symbols != {X}:
        return None
    polynomial: Any = sp.Poly(e, X)
    if polynomial.degree() != degree:
        return None
    return [float(c) for c in polynomial.all_coeffs()]
