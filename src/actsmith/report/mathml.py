"""An expression as presentation MathML, which browsers draw without help."""

from __future__ import annotations

from html import escape, unescape
from typing import Any

import sympy as sp
from sympy.printing.mathml import MathMLPresentationPrinter

from actsmith.formula.text import shortened, to_text

__all__ = ["mathml"]

NAMES = {
    "maximum": "max", "minimum": "min", "sigmoid": "σ", "step": "θ", "normal_cdf": "Φ", "normal_pdf": "φ",
    "sign": "sgn", "spline": "spline",
}  # fmt: skip
"""How a primitive is written, where not by its own name."""


def mathml(expression: sp.Expr) -> str:
    """A `math` element for a line of its own, with the expression's text as its alternative.

    >>> mathml(sp.Symbol("x") ** 2)
    '<math display="block" alttext="x**2"><msup><mi>x</mi><mn>2</mn></msup></math>'
    """
    text = to_text(expression)
    shown = shortened(expression).replace(sp.exp, _Power)
    inside = unescape(_PRINTER.doprint(shown))  # SymPy names characters as HTML does
    inside = inside.replace("\u2147", "e").replace("<mo>-</mo>", "<mo>\u2212</mo>")
    return f'<math display="block" alttext="{escape(text)}">{inside}</math>'


class _Power(sp.Function):  # type: ignore[misc]  # SymPy ships no types
    """exp under another name: SymPy prints x exp(-x) as a quotient, which is not how people write it."""


class _Printer(MathMLPresentationPrinter):  # type: ignore[misc]
    def _element(self, tag: str, *children: Any) -> Any:
        element = self.dom.createElement(tag)
        for child in children:
            element.appendChild(self.dom.createTextNode(child) if isinstance(child, str) else child)
        return element

    def _fenced(self, opening: str, child: Any, closing: str) -> Any:
        return self._element("mrow", self._element("mo", opening), child, self._element("mo", closing))

    def _print_Function(self, expr: Any) -> Any:
        kind = type(expr).__name__
        arguments = expr.args[:1] if kind == "spline" else expr.args
        name = self._element("mi", NAMES.get(kind, kind))
        return self._element("mrow", name, self._paren_comma_separated(*arguments))

    def _print_relu(self, expr: Any) -> Any:
        name = self._element("mi", "max")
        return self._element("mrow", name, self._paren_comma_separated(sp.S.Zero, *expr.args))

    def _print_absolute(self, expr: Any) -> Any:
        return self._fenced("|", self._print(expr.args[0]), "|")

    def _print_where(self, expr: Any) -> Any:
        condition, first, second = expr.args
        positive = self._element(
            "mrow", self._element("mtext", "if "), self._print(condition), self._element("mo", ">"), self._print(0)
        )
        rows = ((self._print(first), positive), (self._print(second), self._element("mtext", "otherwise")))
        cells = [self._element("mtr", *(self._element("mtd", cell) for cell in row)) for row in rows]
        return self._element("mrow", self._element("mo", "{"), self._element("mtable", *cells))

    def _print__Power(self, expr: Any) -> Any:
        return self._element("msup", self._element("mi", "e"), self._print(expr.args[0]))


_PRINTER = _Printer()
