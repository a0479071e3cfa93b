"""Comparisons as expressions: branches of `where`, and factors such as the (x > 0) of x*(x > 0)."""

from __future__ import annotations

import ast
from collections.abc import Callable

import sympy as sp

from actsmith.formula.primitives import absolute, maximum, relu, step, where

__all__ = ["Failure", "Read", "branch", "gather", "indicator", "is_condition"]

Read = Callable[[ast.expr], sp.Expr]
Failure = Callable[[ast.AST, str], Exception]

_OPERATIONS, _TRUTHS = (ast.UnaryOp, ast.BinOp), (ast.Compare, ast.BoolOp)
_LOGICAL = frozenset((ast.Not, ast.Invert, ast.BitAnd, ast.BitOr))


def is_condition(node: ast.expr) -> bool:
    """Whether the node is true or false rather than a number."""
    if isinstance(node, _OPERATIONS):
        return type(node.op) in _LOGICAL
    return isinstance(node, _TRUTHS)


def branch(test: ast.expr, yes: sp.Expr, no: sp.Expr, read: Read, fail: Failure) -> sp.Expr:
    """`yes` where the test holds, else `no`: one comparison, a chain a < x < b, or several with and, or, not."""
    match test:
        case ast.Compare():
            result, sides = yes, [read(side) for side in (test.left, *test.comparators)]
            for left, operator, right in reversed(list(zip(sides, test.ops, sides[1:], strict=False))):
                result = _compared(test, operator, left - right, result, no, fail)
            return result
        case ast.BoolOp(op=ast.And()) | ast.BinOp(op=ast.BitAnd()):
            result = yes
            for part in reversed(_parts(test)):
                result = branch(part, result, no, read, fail)
            return result
        case ast.BoolOp(op=ast.Or()) | ast.BinOp(op=ast.BitOr()):
            result = no
            for part in reversed(_parts(test)):
                result = branch(part, yes, result, read, fail)
            return result
        case ast.UnaryOp(op=ast.Not() | ast.Invert()):
            return branch(test.operand, no, yes, read, fail)
    raise fail(test, "a condition must be a comparison, as in `x > 0`, or several with and, or")


def _parts(test: ast.expr) -> list[ast.expr]:
    if isinstance(test, ast.BoolOp):
        return test.values
    return [test.left, test.right] if isinstance(test, ast.BinOp) else []


def _compared(  # noqa: PLR0917
    node: ast.expr, operator: ast.cmpop, difference: sp.Expr, yes: sp.Expr, no: sp.Expr, fail: Failure
) -> sp.Expr:
    match operator:
        case ast.Gt():
            return where(difference, yes, no)
        case ast.Lt():
            return where(-difference, yes, no)
        case ast.GtE():
            return where(-difference, no, yes)
        case ast.LtE():
            return where(difference, no, yes)
        case ast.NotEq():
            return where(absolute(difference), yes, no)
        case ast.Eq():
            return where(absolute(difference), no, yes)
    raise fail(node, "a condition compares with >, <, >=, <=, == or !=")


def indicator(test: ast.expr, read: Read, fail: Failure) -> sp.Expr:
    """1 where the test holds, else 0."""
    match test:
        case ast.BoolOp(op=ast.And()) | ast.BinOp(op=ast.BitAnd()):
            return sp.Mul(*[indicator(part, read, fail) for part in _parts(test)])
        case ast.BoolOp(op=ast.Or()) | ast.BinOp(op=ast.BitOr()):
            first, *rest = (indicator(part, read, fail) for part in _parts(test))
            for part in rest:
                first = maximum(first, part)
            return first
        case ast.Compare(ops=[_, _, *_]):
            sides = [test.left, *test.comparators]
            links = zip(sides, test.ops, sides[1:], strict=False)
            return sp.Mul(*[indicator(ast.Compare(a, [op], [b]), read, fail) for a, op, b in links])
    result = branch(test, sp.S.One, sp.S.Zero, read, fail)
    if isinstance(result, where):
        if result.args[1:] == (1, 0):
            return step(result.args[0])
        if result.args[1:] == (0, 1):
            return 1 - step(result.args[0])
    return result


def gather(expression: sp.Expr) -> sp.Expr:
    """x step(x) -> relu(x), and a step(u) + b (1 - step(u)) -> where(u, a, b), which computes neither branch of the
    other's side."""
    expression = expression.replace(lambda e: isinstance(e, sp.Add), _branches)
    return expression.replace(lambda e: isinstance(e, sp.Mul), _gate)


def _gate(product: sp.Mul) -> sp.Expr:
    for factor in product.args:
        if isinstance(factor, step):
            u = factor.args[0]
            for other, sign in ((u, 1), (-u, -1)):
                if other in product.args:
                    return sp.Mul(sign, relu(u), *[f for f in product.args if f not in (factor, other)])
    return product


def _branches(total: sp.Add) -> sp.Expr:
    on: dict[sp.Expr, list[sp.Expr]] = {}
    off: dict[sp.Expr, list[sp.Expr]] = {}
    for term in total.args:
        for factor in sp.Mul.make_args(term):
            opposite = 1 - factor if isinstance(factor, sp.Add) else sp.S.Zero
            for found, side in ((factor, on), (opposite, off)):
                if isinstance(found, step):
                    side.setdefault(found.args[0], []).append(term)
    for u, with_it in on.items():
        if u in off:
            gate = step(u)
            taken = {*with_it, *off[u]}
            first = sp.Add(*[_without(t, gate) for t in with_it])
            second = sp.Add(*[_without(t, 1 - gate) for t in off[u]])
            return sp.Add(*[t for t in total.args if t not in taken], where(u, first, second))
    return total


def _without(product: sp.Expr, factor: sp.Expr) -> sp.Expr:
    return sp.Mul(*[f for f in sp.Mul.make_args(product) if f != factor])
