"""Expressions as small trees: what is mutated and evaluated thousands of times a second before one is a formula.

A tree is evaluated with its slope by forward differentiation, (u, u') -> (g(u), g'(u) u').
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from actsmith.formula.formula import Formula
from actsmith.formula.lower import numpy_ops
from actsmith.formula.parse import X
from actsmith.formula.primitives import Primitive
from actsmith.search.draft import rounded

__all__ = [
    "BINARY",
    "UNARY",
    "Node",
    "constant",
    "evaluate",
    "from_formula",
    "leaf",
    "nodes",
    "replaced",
    "size",
    "text",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Node:
    """A node of a tree.

    Attributes:
        op: "x", "constant", or a key of `OPERATIONS`.
        args: its children.
        value: of a constant; of a "power", the exponent.
    """

    op: str
    args: tuple[Node, ...] = ()
    value: float = 0.0


leaf = Node("x")
"""The variable."""


def constant(value: float) -> Node:
    """A constant, to the three digits that its formula will show."""
    return Node("constant", (), rounded(value))


# Name -> partial derivatives of g(u, ...) by each argument, from g's value v and the arguments.
_SLOPES: dict[str, Callable[..., tuple[Any, ...]]] = {
    "add": lambda v, a, b: (1.0, 1.0),
    "sub": lambda v, a, b: (1.0, -1.0),
    "mul": lambda v, a, b: (b, a),
    "max": lambda v, a, b: (a >= b, a < b),
    "min": lambda v, a, b: (a <= b, a > b),
    "where": lambda v, c, a, b: (0.0, c > 0, c <= 0),
    "relu": lambda v, u: (u > 0,),
    "step": lambda v, u: (0.0,),
    "sign": lambda v, u: (0.0,),
    "abs": lambda v, u: (np.sign(u),),
    "sigmoid": lambda v, u: (v * (1 - v),),
    "softplus": lambda v, u: (special.expit(u),),
    "normal_cdf": lambda v, u: (np.exp(-u * u / 2) / math.sqrt(2 * math.pi),),
    "normal_pdf": lambda v, u: (-u * v,),
    "tanh": lambda v, u: (1 - v * v,),
    "sech": lambda v, u: (-v * np.tanh(u),),
    "exp": lambda v, u: (v,),
    "expm1": lambda v, u: (v + 1,),
    "log": lambda v, u: (1 / u,),
    "log1p": lambda v, u: (1 / (1 + u),),
    "sqrt1pm1": lambda v, u: (0.5 / (v + 1),),
    "sin": lambda v, u: (np.cos(u),),
    "cos": lambda v, u: (-np.sin(u),),
    "atan": lambda v, u: (1 / (1 + u * u),),
    "asinh": lambda v, u: (1 / np.sqrt(1 + u * u),),
    "erf": lambda v, u: (2 / math.sqrt(math.pi) * np.exp(-u * u),),
}
_VALUES: dict[str, Callable[..., Any]] = {
    **{name: numpy_ops()[name] for name in _SLOPES if name != "sqrt1pm1"},
    "sqrt1pm1": lambda u: u / (np.sqrt(1 + u) + 1),
}
_INFIX = {"add": "({} + {})", "sub": "({} - {})", "mul": "{}*{}"}

UNARY = ("relu", "abs", "sigmoid", "softplus", "normal_cdf", "normal_pdf", "tanh", "sin", "cos", "atan", "asinh", "erf")
"""What evolution puts around a tree, beside the square: all finite for every argument."""
BINARY = ("add", "sub", "mul", "max", "min")


def evaluate(node: Node, x: Array) -> tuple[Array, Array]:
    """Values and slopes at x, each float64 of x's shape; not finite where the tree is not."""
    with np.errstate(all="ignore"):
        value, slope = _dual(node, x)
    return np.broadcast_to(value, x.shape), np.broadcast_to(slope, x.shape)


def _dual(node: Node, x: Array) -> tuple[Any, Any]:
    if node.op == "x":
        return x, np.ones_like(x)
    if node.op == "constant":
        return node.value, 0.0
    pairs = [_dual(child, x) for child in node.args]
    u = [pair[0] for pair in pairs]
    if node.op == "power":
        c = node.value
        return np.power(u[0], c), c * np.power(u[0], c - 1) * pairs[0][1]
    v = _VALUES[node.op](*u)
    partials = _SLOPES[node.op](v, *u)
    return v, sum(d * slope for d, (_, slope) in zip(partials, pairs, strict=True))


def text(node: Node) -> str:
    """Formula text of the tree."""
    if node.op == "x":
        return "x"
    if node.op == "constant":
        return f"({node.value!r})" if node.value < 0 else repr(node.value)
    inner = [text(child) for child in node.args]
    if node.op == "power":
        return (
            f"({inner[0]})**({node.value!r})" if node.value != int(node.value) else f"({inner[0]})**{int(node.value)}"
        )
    return _INFIX[node.op].format(*inner) if node.op in _INFIX else f"{node.op}({', '.join(inner)})"


def size(node: Node) -> int:
    """How many nodes it has."""
    return 1 + sum(size(child) for child in node.args)


def nodes(node: Node) -> Iterator[Node]:
    """Itself and all below, parents before their children, in the order that `replaced` counts."""
    yield node
    for child in node.args:
        yield from nodes(child)


def replaced(node: Node, index: int, by: Callable[[Node], Node]) -> Node:
    """The tree with its node of that index, in the order of `nodes`, replaced by by(node)."""
    if index == 0:
        return by(node)
    index -= 1
    args = list(node.args)
    for i, child in enumerate(args):
        if index < (below := size(child)):
            args[i] = replaced(child, index, by)
            break
        index -= below
    return replace(node, args=tuple(args))


def from_formula(formula: Formula) -> Node | None:
    """The tree of a formula at its parameters' values, constants to three digits; None where it has other functions."""
    try:
        return _node(formula.bound)
    except KeyError:
        return None


def _node(e: Any) -> Node:
    """Raises KeyError where the expression has a function that trees have not."""
    if e == X:
        return leaf
    if e.is_number:
        return constant(float(e))
    if e.is_Add or e.is_Mul:
        # Numbers first, as SymPy sorts them; sums and products of trees have two arguments.
        op = "add" if e.is_Add else "mul"
        return reduce(lambda a, b: Node(op, (a, b)), [_node(argument) for argument in e.args])
    if e.is_Pow and e.exp.is_number:
        return Node("power", (_node(e.base),), float(e.exp))
    name = e.text if isinstance(e, Primitive) and getattr(e, "text", None) else type(e).__name__
    if name not in _SLOPES:
        raise KeyError(name)
    return Node(name, tuple(_node(argument) for argument in e.args))
