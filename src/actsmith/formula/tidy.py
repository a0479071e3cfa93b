"""Derivatives in the form that keeps its accuracy.

SymPy's chain rule leaves sums that cancel: softsign' = 1/(1+|x|) - x sign(x)/(1+|x|)^2, of which 1/(1+|x|)^2 is left;
at x = 1e4 float32 loses four digits of it. `tidy` brings terms over one denominator and keeps the result where terms
have cancelled exactly.
"""

from __future__ import annotations

from collections import Counter

import sympy as sp

from actsmith.formula.primitives import absolute, sign

__all__ = ["tidy"]

_MOST_TERMS, _MOST_RAISE = 12, 4  # beyond these the expansion costs more than it can save


def tidy(expression: sp.Expr) -> sp.Expr:
    """The same function almost everywhere (sign(u)^2 counts as 1), with exact cancellations carried out."""
    if expression.has(sp.Pow) or expression.has(sign):
        expression = expression.replace(lambda e: isinstance(e, sp.Pow | sp.Mul), _product)
        expression = expression.replace(lambda e: isinstance(e, sp.Add), _sum)
    return expression


def _product(e: sp.Expr) -> sp.Expr:
    """u sign(u) = |u|, sign(u)^2 = 1, and b^p/b = b^(p-1), which is 0/0 at b = 0 as it was."""
    exponents: dict[sp.Expr, sp.Expr] = {}
    for factor in sp.Mul.make_args(e):
        base, exponent = factor.as_base_exp()
        if isinstance(base, sp.Rational) or base is sp.E:
            base, exponent = factor, sp.S.One
        exponents[base] = exponents.get(base, sp.S.Zero) + exponent
    for base in [b for b in exponents if isinstance(b, sign)]:
        u, exponent = base.args[0], exponents[base]
        if exponent.is_integer and exponent.is_positive:
            exponents[base] = exponent % 2
            if exponents[base] == 1 and exponents.get(u) == 1:
                del exponents[u]
                exponents[base] = sp.S.Zero
                size = absolute(u)
                exponents[size] = exponents.get(size, sp.S.Zero) + 1
    return sp.Mul(*[base**exponent for base, exponent in exponents.items()])


def _sum(e: sp.Add) -> sp.Expr:
    bases: Counter[sp.Expr] = Counter()
    for term in e.args:
        for factor in sp.Mul.make_args(term):
            if isinstance(factor, sp.Pow) and isinstance(factor.base, sp.Add) and factor.exp.is_Rational:
                bases[factor.base] += 1
    for base, count in bases.items():
        if 2 <= count <= _MOST_TERMS:
            e = _over_one_denominator(e, base)
            if not isinstance(e, sp.Add):
                break
    return e


def _over_one_denominator(e: sp.Add, base: sp.Expr) -> sp.Expr:
    """sum c_i b^(e_i) -> b^m (sum c_i b^(e_i - m)), m the least e_i, where the bracket then has fewer terms."""
    rest, group = [], []
    for term in e.args:
        exponent = sum((f.exp for f in sp.Mul.make_args(term) if isinstance(f, sp.Pow) and f.base == base), sp.S.Zero)
        if exponent.is_Rational and exponent != 0:
            group.append((term / base**exponent, exponent))
        else:
            rest.append(term)
    if len(group) < 2:
        return e
    least = min(exponent for _, exponent in group)
    raises = [exponent - least for _, exponent in group]
    if not all(r.is_integer and r <= _MOST_RAISE for r in raises):
        return e
    bracket = sp.Add(
        *[
            sp.expand_mul(c * sp.expand_multinomial(base**r, deep=False), deep=False)
            for (c, _), r in zip(group, raises, strict=True)
        ]
    )
    if len(sp.Add.make_args(bracket)) >= len(group):
        return e
    return sp.Add(*rest, bracket * base**least)
