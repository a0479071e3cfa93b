"""The inverse of a smooth monotone piece in closed form, by undoing its operations one by one."""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from actsmith.formula import primitives as pr
from actsmith.formula.parse import X
from actsmith.formula.pieces import Piece, sample_point

__all__ = ["solve_inverse"]

_UNDO: dict[type[sp.Function], Callable[[sp.Expr], sp.Expr]] = {
    sp.exp: sp.log,
    sp.log: sp.exp,
    sp.sinh: sp.asinh,
    sp.asinh: sp.sinh,
    sp.atan: sp.tan,
    sp.erf: sp.erfinv,
    pr.expm1: pr.log1p,
    pr.log1p: pr.expm1,
    pr.tanh: sp.atanh,
    pr.sigmoid: lambda z: sp.log(z / (1 - z)),
    pr.softplus: lambda z: sp.log(pr.expm1(z)),
    pr.normal_cdf: lambda z: sp.sqrt(2) * sp.erfinv(2 * z - 1),
}


def solve_inverse(piece: Piece, z: sp.Symbol) -> sp.Expr | None:
    """y(z) with f(y(z)) = z on the piece; None where x occurs more than once or an operation has no inverse here.

    >>> from actsmith.formula.formula import Formula
    >>> solve_inverse(Formula("2*exp(x) + 1").pieces[0], sp.Symbol("z", real=True))
    log(z/2 - 1/2)
    """
    rest, value = piece.expr, sp.sympify(z)
    while rest != X:
        constants, moving = [a for a in rest.args if X not in a.free_symbols], [a for a in rest.args if a.has(X)]
        if len(moving) != 1:
            return None
        inner = moving[0]
        if isinstance(rest, sp.Add):
            value = value - sp.Add(*constants)
        elif isinstance(rest, sp.Mul):
            value = value / sp.Mul(*constants)
        elif isinstance(rest, sp.Pow) and inner is rest.base:
            exponent = rest.exp
            if exponent.is_even and inner.subs(X, sample_point(piece)).is_negative:
                value = -(value ** (1 / exponent))
            elif exponent.is_odd:
                value = pr.sign(value) * pr.absolute(value) ** (1 / exponent)
            else:
                value = value ** (1 / exponent)
        elif type(rest) in _UNDO:
            value = _UNDO[type(rest)](value)
        else:
            return None
        rest = inner
    return value
