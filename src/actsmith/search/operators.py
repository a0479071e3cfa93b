"""What a formula is built of, for those who must take it elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp

from actsmith.formula.formula import Formula

__all__ = ["OPERATORS", "foreign"]

_QUANTISABLE = frozenset({"relu", "step", "where", "maximum", "minimum", "sigmoid"})

OPERATORS: Mapping[str, frozenset[str]] = {
    # Functions that torch's exporter writes in ONNX's own operators (Relu, Where, Max, Min, Sigmoid, Softplus, Erf,
    # Tanh, Exp, Log, Sin, Cos, Sinh, Cosh, Atan, Asinh, Sqrt, Abs, Sign, Floor, ...); a spline's table is none.
    "onnx": _QUANTISABLE
    | {"sign", "absolute", "floor", "softplus", "normal_cdf", "normal_pdf", "tanh", "sech", "expm1", "log1p"}
    | {"sqrt1pm1", "squareplus", "exp", "log", "erf", "erfc", "sin", "cos", "sinh", "cosh", "atan", "asinh"},
    # What onnxruntime's quantiser and TensorFlow Lite both make integer operators of: Add, Mul, Relu, LeakyRelu, Clip
    # (a maximum and a minimum), Sigmoid, Where.
    "quantisable": _QUANTISABLE,
}
"""Name of a set -> the functions that a formula may name, beside sums and products."""


def foreign(formula: Formula, operators: str) -> list[str]:
    """Functions and powers of a formula that are not of the set, sorted; empty where it is built of the set alone.

    A power with a positive whole exponent is a product, and of every set; another is of "onnx" alone.

    >>> foreign(Formula("tanh(x)*relu(x)**2"), "quantisable")
    ['tanh']
    """
    allowed = OPERATORS[operators]
    found = {f.func.__name__ for f in formula.expr.atoms(sp.Function)} - allowed
    if operators == "quantisable":
        found |= {str(p) for p in formula.expr.atoms(sp.Pow) if p.free_symbols and not (p.exp.is_Integer and p.exp > 0)}
    return sorted(found)
