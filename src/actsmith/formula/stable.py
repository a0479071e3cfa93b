"""The forms that neither overflow nor cancel, of what people write out in exponentials.

1/(c + k exp(u)) -> sigmoid(-u - log(k/c))/c        1/(exp(u) + exp(-u)) -> sech(u)/2
exp(k u) sigmoid(-u)^n -> sigmoid(u)^k sigmoid(-u)^(n - k)                 x exp(x)/(1 + exp(x)) is x sigmoid(x)
(exp(u) - 1)/(exp(u) + 1) -> tanh(u/2)              (exp(u) - exp(-u))/(exp(u) + exp(-u)) -> tanh(u)
1 + tanh(u) -> 2 sigmoid(2u)      1 + erf(u) -> 2 normal_cdf(sqrt(2) u)      1 - sigmoid(u) -> sigmoid(-u)
exp(u) - 1 -> expm1(u)
log(k exp(a) + m exp(b)) -> log k + a + softplus(b - a + log(m/k))         log(sigmoid(u)) -> -softplus(-u)
log(k normal_cdf(u)) -> log k + log_normal_cdf(u)   log(sigmoid(u)^n sigmoid(v)) -> -n softplus(-u) - softplus(-v)
log(u + sqrt(u^2 + c)) -> asinh(u/sqrt(c)) + log(c)/2
where(tanh(u)^9 exp(v), a, b) -> where(u, a, b)     a switch whose argument does not underflow beside its root
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp

from actsmith.formula.primitives import (
    expm1,
    in_primitives,
    log1p,
    log_normal_cdf,
    normal_cdf,
    sech,
    sigmoid,
    sign,
    softplus,
    step,
    tanh,
    where,
)

__all__ = ["standardise"]


def standardise(expression: sp.Expr) -> sp.Expr:
    """The same function in the primitives of this package, in forms that neither overflow nor cancel."""
    expression = in_primitives(expression)
    if expression.has(sp.exp, sp.cosh, sp.sinh, sp.log, sp.erf, sp.erfc, expm1, log1p, tanh, sigmoid, normal_cdf):
        for kind, rewrite in ((sp.Pow, _reciprocal), (sp.Mul, _product), (sp.Add, _sum), ((sp.log, log1p), _logarithm)):
            expression = expression.replace(lambda e, kind=kind: isinstance(e, kind), rewrite)
    if expression.has(where, step, sign):
        expression = expression.replace(lambda e: isinstance(e, where | step | sign), _switch)
    return expression


_RISING = (tanh, expm1, sp.sinh, sp.asinh, sp.atan, sp.erf)
"""Functions of the sign of their argument."""


def _switch(switch: sp.Expr) -> sp.Expr:
    return switch.func(_same_sign(switch.args[0]), *switch.args[1:])


def _same_sign(u: sp.Expr) -> sp.Expr:
    """What has the sign of u: positive factors, odd powers and increasing odd functions left out."""
    if isinstance(u, _RISING):
        return _same_sign(u.args[0])
    if isinstance(u, sp.Mul):
        factors = map(_same_sign, u.args)
        return sp.Mul(*(factor for factor in factors if factor.is_number or not factor.is_positive))
    if isinstance(u, sp.Pow) and u.exp.is_Integer and u.exp.is_odd and u.exp.is_positive:
        return _same_sign(u.base)
    return u


def _exponential(e: sp.Expr) -> tuple[sp.Expr, sp.Expr] | None:
    """(k, u) with e = k exp(u), k a number; u = 0 for a number."""
    k, rest = e.as_independent(*e.free_symbols, as_Add=False) if e.free_symbols else (e, sp.S.One)
    if rest == 1:
        return k, sp.S.Zero
    return (k, rest.args[0]) if isinstance(rest, sp.exp) else None


def _two(e: sp.Expr) -> tuple[sp.Expr, sp.Expr, sp.Expr, sp.Expr] | None:
    """(k, a, m, b) with e = k exp(a) + m exp(b), where a number is exp(0) times it and comes first."""
    if not (isinstance(e, sp.Add) and len(e.args) == 2):
        return None
    first, second = map(_exponential, e.args)
    if first is None or second is None:
        return None
    if second[1] == 0:
        first, second = second, first
    return None if second[1] == 0 else (*first, *second)


def _log(number: sp.Expr) -> sp.Expr:
    """log of a positive number, exact where that is short."""
    return sp.S.Zero if number == 1 else sp.log(number)


def _reciprocal(power: sp.Pow) -> sp.Expr:  # noqa: PLR0911  (one return per form)
    base, exponent = power.args
    if not exponent.is_negative:
        return power
    if isinstance(base, sp.cosh):
        return sech(base.args[0]) ** (-exponent)
    parts = _two(base)
    if parts is None:
        return power
    k, a, m, b = parts
    if not (k.is_positive and m.is_positive):
        return power
    if a == 0:
        return (sigmoid(-b - _log(m / k)) / k) ** (-exponent)
    if k == m and sp.expand(a + b) == 0:
        return (sech(a) / (2 * k)) ** (-exponent)
    return power


def _product(product: sp.Mul) -> sp.Expr:
    """Exponentials beside sigmoids and sechs that have them in their denominators."""
    powers: dict[sp.Expr, sp.Expr] = {}
    for factor in product.args:
        base, exponent = (factor, sp.S.One) if isinstance(factor, sp.exp) else factor.as_base_exp()
        powers[base] = powers.get(base, sp.S.Zero) + exponent
    found = [b for b, n in powers.items() if isinstance(b, sigmoid | sech) and n.is_Integer and n.is_positive]
    for gate in found:
        for other in list(powers):
            better = _tanh(other, gate) if powers[other] == 1 else None
            if better is None and isinstance(other, sp.exp) and isinstance(gate, sigmoid):
                better = _turned(other.args[0], gate, powers[gate])
            if better is not None:
                used = powers[gate] if isinstance(other, sp.exp) else sp.S.One
                rest = sp.Mul(*(b**n for b, n in powers.items() if b not in (other, gate)))
                return rest * better * gate ** (powers[gate] - used)
    return product


def _tanh(e: sp.Expr, gate: sp.Expr) -> sp.Expr | None:
    """e gate, where that is a multiple of a tanh."""
    w = gate.args[0]
    if isinstance(e, sp.sinh) and isinstance(gate, sech):
        u = e.args[0]
        return tanh(u) if sp.expand(u - w) == 0 or sp.expand(u + w) == 0 else None
    if isinstance(e, expm1) and isinstance(gate, sigmoid):
        return tanh(e.args[0] / 2) if sp.expand(e.args[0] + w) == 0 else None
    parts = _two(e)
    if parts is None or parts[0] != -parts[2]:
        return None
    k, a, _, b = parts
    if isinstance(gate, sech) and sp.expand(a + b) == 0 and sp.expand(a - w) * sp.expand(a + w) == 0:
        return 2 * k * tanh(a)
    if isinstance(gate, sigmoid) and a == 0 and sp.expand(b + w) == 0:
        return -k * tanh(b / 2)
    return None


def _turned(v: sp.Expr, gate: sigmoid, power: sp.Expr) -> sp.Expr | None:
    """exp(v) sigmoid(w)^n with v = -k w + q, 0 < k <= n, q a number."""
    w = gate.args[0]
    for k in range(1, int(power) + 1):
        q = sp.expand(v + k * w)
        if q.is_number:
            return sp.exp(q) * sigmoid(-w) ** k * gate ** (power - k)
    return None


def _sum(total: sp.Expr) -> sp.Expr:
    """k + m g(u), |m| = |k|, with a g that comes within rounding of -k/m."""
    if len(total.args) != 2 or not total.args[0].is_Rational:
        return total
    k, (m, g) = total.args[0], total.args[1].as_coeff_Mul()
    if k == -m:
        falling: dict[Any, Any] = {
            sigmoid: lambda u: sigmoid(-u),
            normal_cdf: lambda u: normal_cdf(-u),
            sp.exp: lambda u: -expm1(u),
        }
        if type(g) in falling:
            return k * falling[type(g)](g.args[0])
    if k == -2 * m and isinstance(g, sp.erfc):  # SymPy's own form of erfc(-u)
        return k * normal_cdf(sp.sqrt(2) * g.args[0])
    if k in (m, -m) and isinstance(g, tanh | sp.erf):
        u = g.args[0] if k == m else -g.args[0]
        return 2 * k * (sigmoid(2 * u) if isinstance(g, tanh) else normal_cdf(sp.sqrt(2) * u))
    return total


_LOGARITHMS: dict[Any, Callable[[sp.Expr], sp.Expr]] = {
    sp.cosh: lambda u: softplus(2 * u) - u - sp.log(2),
    sigmoid: lambda u: -softplus(-u),
    normal_cdf: log_normal_cdf,
    sp.erfc: lambda u: sp.log(2) + log_normal_cdf(-sp.sqrt(2) * u),
    sp.exp: lambda u: u,
}


def _logarithm(function: sp.Expr) -> sp.Expr:
    argument = function.args[0] if isinstance(function, sp.log) else _sum(1 + function.args[0])
    factor, rest = argument.as_coeff_Mul()
    logs = [_factor_log(each) for each in sp.Mul.make_args(rest)]
    if factor.is_positive and None not in logs:
        return _log(factor) + sp.Add(*logs)
    parts = _two(argument)
    if parts is not None and parts[0].is_positive and parts[2].is_positive:
        k, a, m, b = parts
        return _log(k) + a + softplus(sp.expand(b - a) + _log(m / k))
    if isinstance(argument, sp.Add) and len(argument.args) == 2:
        return log1p(argument.args[1]) if argument.args[0] == 1 else _asinh(argument) or function
    return function


def _factor_log(factor: sp.Expr) -> sp.Expr | None:
    """log of a number's power of a positive function."""
    base, n = (factor, sp.S.One) if isinstance(factor, sp.exp) else factor.as_base_exp()
    return n * _LOGARITHMS[type(base)](base.args[0]) if type(base) in _LOGARITHMS and n.is_number else None


def _asinh(argument: sp.Add) -> sp.Expr | None:
    """log(u + sqrt(u^2 + c)), c a positive number, whose argument cancels where u < 0."""
    for root, u in (argument.args, argument.args[::-1]):
        if isinstance(root, sp.Pow) and root.args[1] == sp.S.Half:
            c = sp.expand(root.args[0] - u**2)
            if c.is_number and c.is_positive:
                return sp.asinh(u / sp.sqrt(c)) + _log(c) / 2
    return None
