"""Distribution functions P(X <= x) of the symbolic laws as expressions in the formula layer's primitives."""

from __future__ import annotations

import sympy as sp

from actsmith.errors import LawError
from actsmith.formula.primitives import absolute, expm1, maximum, minimum, normal_cdf, sigmoid, sign, where
from actsmith.theory.law import Law
from actsmith.theory.laws import Laplace, Logistic, LogNormal, Mixture, Normal, StudentT, Uniform

__all__ = ["cdf_expression"]


def exact(value: float) -> sp.Rational:
    """The shortest decimal that is this float64, as an exact rational."""
    return sp.Rational(repr(float(value)))


def cdf_expression(law: Law, x: sp.Symbol) -> sp.Expr:  # noqa: PLR0911  (one return per law)
    """P(X <= x) in closed form.

    Raises:
        LawError: there is none (an Empirical law, a Student law whose df is not a small whole number).
    """
    if isinstance(law, Normal):
        return normal_cdf((x - exact(law.mean)) / exact(law.std))
    if isinstance(law, Logistic):
        return sigmoid((x - exact(law.mean)) / exact(law.scale))
    if isinstance(law, Laplace):
        u = (x - exact(law.mean)) / exact(law.scale)
        return sp.S.Half - sign(u) * expm1(-absolute(u)) / 2
    if isinstance(law, Uniform):
        low, high = exact(law.low), exact(law.high)
        return (minimum(maximum(x, low), high) - low) / (high - low)
    if isinstance(law, StudentT):
        return _student(law, x)
    if isinstance(law, LogNormal):
        # log|x| is real on both sides, and the branch not taken is not looked at
        return where(x, normal_cdf((sp.log(absolute(x)) - exact(law.mu)) / exact(law.sigma)), sp.S.Zero)
    if isinstance(law, Mixture):
        parts = zip(law.weights, law.laws, strict=True)
        return sp.Add(*(exact(w) * cdf_expression(part, x) for w, part in parts))
    raise LawError(
        f"worst_activation: the distribution function of {law.name} has no closed form; expected a symbolic law"
    )


def _student(law: StudentT, x: sp.Symbol) -> sp.Expr:
    """Whole df up to 30: with c = df/(df + u^2) the finite series of Abramowitz and Stegun 26.7.3 and 26.7.4."""
    if law.df != int(law.df) or law.df > 30:
        raise LawError(
            f"worst_activation: the distribution function of {law} has no closed form; expected a whole df up to 30"
        )
    df = int(law.df)
    u = (x - exact(law.mean)) / exact(law.scale)
    root = sp.sqrt(1 + u**2 / df)  # 1/cos(theta), tan(theta) = u/sqrt(df)
    sine = u / sp.sqrt(df) / root
    term, total = sp.S.One, sp.S.Zero
    if df % 2:
        for k in range((df - 1) // 2):
            total += term / root ** (2 * k + 1)
            term *= sp.Rational(2 * k + 2, 2 * k + 3)
        return sp.S.Half + (sp.atan(u / sp.sqrt(df)) + sine * total) / sp.pi
    for k in range(df // 2):
        total += term / root ** (2 * k)
        term *= sp.Rational(2 * k + 1, 2 * k + 2)
    return sp.S.Half + sine * total / 2
