"""How large an expression is, and its derivative would be, before any time is spent on it."""

from __future__ import annotations

import sympy as sp

__all__ = ["MAX_DERIVATIVE_SIZE", "MAX_SIZE", "derivative_size", "expression_size"]

MAX_SIZE = 3_000  # nodes of an expression that is read from text, repetitions counted
MAX_DERIVATIVE_SIZE = 60_000  # nodes of a derivative that is worked out; some seconds


def expression_size(expression: sp.Basic, known: dict[sp.Basic, int] | None = None) -> int:
    """Nodes of the expression written out: a shared part counts each time, in time that counts it once."""
    known = {} if known is None else known
    size = known.get(expression)
    if size is None:
        size = 1
        for argument in expression.args:
            size += expression_size(argument, known)
        known[expression] = size
    return size


def derivative_size(expression: sp.Expr, symbol: sp.Symbol) -> int:
    """About the nodes of the derivative: the product and the chain rule repeat what they do not differentiate."""
    sizes: dict[sp.Basic, int] = {}
    known: dict[sp.Basic, int] = {}

    def estimate(e: sp.Basic) -> int:
        if symbol not in e.free_symbols:
            return 0
        if e not in known:
            inner = [estimate(argument) for argument in e.args]
            repeats = 0 if isinstance(e, sp.Add) else expression_size(e, sizes)
            known[e] = sum(d + repeats for d in inner if d) + 1
        return known[e]

    return estimate(expression)
