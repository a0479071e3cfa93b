"""Products of sums of exponentials with one exponent u, such as x (exp(2x) - 1)/(exp(2x) + c): found in an expression.

Where exp(u) overflows, such a quotient may be of size 1. With every sum divided by its largest exponential,

    prod_j (sum_i c_ji exp(k_ji u))^n_j = exp(K u) prod_j (sum_i c_ji exp((k_ji - m_j) u))^n_j,   K = sum_j n_j m_j,

m_j the largest k_ji where u > 0 and the smallest where u <= 0, no exponential but the first can overflow, and the first
only where the whole does. The coefficients are free of exponentials; they may hold x and parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from actsmith.formula import primitives as pr

__all__ = ["Quotient", "quotient"]


@dataclass(frozen=True)
class Quotient:
    """rest times the product of sums to powers; each sum maps k to the coefficient of exp(k u)."""

    rest: sp.Expr
    u: sp.Expr
    sums: tuple[tuple[dict[sp.Rational, sp.Expr], sp.Rational], ...]


def quotient(product: sp.Mul, x: sp.Symbol) -> Quotient | None:
    """The product as such, where it has exponentials above and sums of them below; else None."""
    if not product.has(sp.exp, sp.cosh, sp.sinh):
        return None
    rest: list[sp.Expr] = []
    found: list[tuple[dict[sp.Expr, sp.Expr], sp.Expr]] = []
    for factor in product.args:
        terms, power = _terms(factor)
        if terms is None:
            rest.append(factor)
        else:
            found.append((terms, power))
    above = any(power.is_positive for _, power in found)
    below = any(power.is_negative and len(terms) > 1 for terms, power in found)
    if not (above and below):
        return None
    u = next((v for terms, _ in found for v in (_varying(v, x) for v in terms) if v != 0), None)
    if u is None:
        return None
    sums = []
    for terms, power in found:
        by_degree: dict[sp.Rational, sp.Expr] = {}
        for v, coefficient in terms.items():
            k = sp.cancel(_varying(v, x) / u)
            if not k.is_Rational:
                return None
            still = sp.exp(v - _varying(v, x))
            by_degree[k] = by_degree.get(k, sp.S.Zero) + coefficient * still
        sums.append((by_degree, power))
    return Quotient(sp.Mul(*rest), u, tuple(sums))


def _varying(v: sp.Expr, x: sp.Symbol) -> sp.Expr:
    """The terms with x."""
    return v.as_independent(x, as_Add=True)[1] if x in v.free_symbols else sp.S.Zero


def _cosh(u: sp.Expr) -> sp.Expr:
    return (sp.exp(u) + sp.exp(-u)) / 2


def _sinh(u: sp.Expr) -> sp.Expr:
    return (sp.exp(u) - sp.exp(-u)) / 2


def _terms(factor: sp.Expr) -> tuple[dict[sp.Expr, sp.Expr] | None, sp.Expr]:  # noqa: PLR0911
    """Exponent -> coefficient, and the power of the sum; None where the factor is no such sum."""
    if isinstance(factor, sp.exp):
        return {factor.args[0]: sp.S.One}, sp.S.One
    base, power = factor.as_base_exp()
    if not power.is_Rational:
        return None, power
    if isinstance(base, pr.sigmoid):
        return {sp.S.Zero: sp.S.One, -base.args[0]: sp.S.One}, -power
    if isinstance(base, pr.sech | sp.cosh):
        return {base.args[0]: sp.S.Half, -base.args[0]: sp.S.Half}, power if isinstance(base, sp.cosh) else -power
    if isinstance(base, sp.sinh):
        return {base.args[0]: sp.S.Half, -base.args[0]: -sp.S.Half}, power
    if not (isinstance(base, sp.Add) and base.has(sp.exp, sp.cosh, sp.sinh)):
        return None, power
    if base.has(sp.cosh, sp.sinh):
        base = sp.expand_mul(base.replace(sp.cosh, _cosh).replace(sp.sinh, _sinh))
    terms: dict[sp.Expr, sp.Expr] = {}
    for term in sp.expand_multinomial(base).args:
        exponents = [f.args[0] for f in sp.Mul.make_args(term) if isinstance(f, sp.exp)]
        coefficient = sp.Mul(*(f for f in sp.Mul.make_args(term) if not isinstance(f, sp.exp)))
        if coefficient.has(sp.exp, pr.sigmoid, pr.sech):
            return None, power
        exponent = sp.Add(*exponents)
        terms[exponent] = terms.get(exponent, sp.S.Zero) + coefficient
    return terms, power
