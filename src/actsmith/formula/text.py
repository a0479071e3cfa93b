"""Expression -> the text that `parse` reads back to the same expression."""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.printing.str import StrPrinter

__all__ = ["DIGITS", "shortened", "to_text"]

DIGITS = 8
"""Of a decimal number where a formula is shown; its text has all."""


WRITTEN = 10**6
"""A fraction with a larger denominator was computed: it is shown as a decimal."""
LONG = 10**17  # a number of more digits, or as small, is written with an exponent


class _TextPrinter(StrPrinter):  # type: ignore[misc]  # SymPy ships no types
    def _print_Function(self, expr: Any) -> str:
        name = getattr(expr, "text", None) or type(expr).__name__
        return f"{name}({self.stringify(expr.args, ', ')})"

    def _print_Integer(self, expr: Any) -> str:
        decimal = _decimal(expr)
        return decimal if decimal is not None else str(expr.p)

    def _print_Rational(self, expr: Any) -> str:
        decimal = _decimal(expr)
        return decimal if decimal is not None else f"{expr.p}/{expr.q}"

    def _print_Mul(self, expr: Any) -> str:
        """The number first, as people write it; `parse` multiplies all factors at once, so it reads back as it was."""
        coefficient, rest = expr.as_coeff_Mul()
        if not coefficient.is_Rational or coefficient == 1:
            text: str = super()._print_Mul(expr)
            return text
        inside: str = super()._print_Mul(rest) if rest.is_Mul else self._print(rest)
        divided = any(factor.as_base_exp()[1].could_extract_minus_sign() for factor in sp.Mul.make_args(rest))
        if coefficient.q != 1 and divided:  # x/(3*(y + 1)) would be read as x/(3*y + 3)
            return f"{self._print(coefficient)}{inside[1:] if inside.startswith('1/') else '*' + inside}"
        return self._number_times(coefficient, rest, expr)

    def _number_times(self, coefficient: Any, rest: Any, expr: Any) -> str:
        decimal = _decimal(coefficient) if coefficient.is_Rational else None
        if decimal is None:
            text: str = super()._print_Mul(expr)
            return text
        return f"{decimal}*{self.parenthesize(rest, sp.printing.precedence.PRECEDENCE['Mul'])}"

    def _print_Float(self, expr: Any) -> str:
        return repr(float(expr))

    def _print_Exp1(self, expr: Any) -> str:
        return "e"


def _decimal(number: sp.Rational) -> str | None:
    """The exact decimal form where there is a short one: 0.044715 reads better than 8943/200000, 1e+300 than zeros."""
    if number and not number.q < LONG * abs(number.p) < LONG * LONG * number.q:
        try:
            text = repr(number.p / number.q)
        except OverflowError:
            return None
        return text if sp.Rational(text) == number else None
    rest, twos, fives = number.q, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1 or number.q <= 8:
        return None
    text = repr(number.p / number.q)
    return text if "e" not in text and sp.Rational(text) == number else None


_PRINTER = _TextPrinter({"full_prec": False})


def to_text(expression: sp.Expr) -> str:
    """Formula text of an expression; `parse(to_text(e)) == e`."""
    text: str = _PRINTER.doprint(expression)
    return text


def shortened(expression: sp.Expr, digits: int = DIGITS) -> sp.Expr:
    """The expression with its decimal numbers cut to so many significant digits, as floats: to be shown, not computed
    with. Fractions that a person may have written stay."""

    def cut(number: sp.Rational) -> bool:
        text = to_text(number)
        return ("." in text and "e" not in text) or ("/" in text and number.q > WRITTEN)

    numbers = filter(cut, expression.atoms(sp.Rational))
    return expression.xreplace({number: sp.Float(f"{float(number):.{digits}g}") for number in numbers})
