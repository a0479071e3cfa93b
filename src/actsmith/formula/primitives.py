"""The functions a formula is made of.

Each is a SymPy function of real arguments with its exact derivative, chosen so that the derivative stays accurate where
the textbook form cancels: sigmoid' = sech(u/2)^2/4, not s - s^2; tanh' = sech^2, not 1 - tanh^2.
Derivatives are the pointwise ones: step' = 0 away from the jump, and the theory treats jumps through the kinks.
`actsmith.formula.lower` says how each is computed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import sympy as sp

from actsmith.errors import FormulaError

__all__ = [
    "FUNCTIONS", "SWITCHES", "absolute", "constant_value", "expm1", "floor", "log1p", "log_normal_cdf", "maximum",
    "mills", "mills_excess", "minimum", "normal_cdf", "normal_pdf", "relu", "sech", "sigmoid", "sign", "softplus",
    "sqrt1pm1", "squareplus", "squareplus_slope", "step", "tanh", "where",
]  # fmt: skip


@lru_cache(maxsize=4096)
def constant_value(expression: sp.Expr) -> float:
    """A symbol-free expression as the nearest float64."""
    try:
        if expression.is_Rational:
            return float(expression.p / expression.q)
        value = complex(expression.evalf(20))
    except (OverflowError, TypeError):
        raise FormulaError("formula: a constant in it is beyond the range of float64") from None
    if value.imag != 0 or not math.isfinite(value.real):
        raise FormulaError(f"formula: the constant {str(expression)[:60]} is not a finite real number")
    return value.real


def _nonnegative_part(constant: sp.Expr) -> sp.Expr:
    return constant if constant_value(constant) > 0 else sp.S.Zero


def _sign_of(u: sp.Expr) -> int | None:
    """1 or -1 of a multiple of a function that is positive everywhere, also where it underflows; else None."""
    coefficient, rest = u.as_coeff_Mul()
    if isinstance(rest, (sp.exp, sp.cosh, Primitive)) and rest.is_positive:
        return 1 if coefficient > 0 else -1
    return None


class Primitive(sp.Function):
    """A real function with the name it has in formula text."""

    is_real = True
    text: str
    latex_name: str

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        inside = ", ".join(printer._print(argument) for argument in self.args)
        power = f"^{{{exp}}}" if exp is not None else ""
        return rf"{self.latex_name}{power}\left({inside}\right)"


class relu(Primitive):
    """relu(u) = max(0, u); relu' = step."""

    text, latex_name = "relu", r"\mathrm{relu}"
    is_nonnegative = True

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        if u.is_number:
            return _nonnegative_part(u)
        return {1: u, -1: sp.S.Zero, None: None}[_sign_of(u)]

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return step(self.args[0])


class step(Primitive):
    """step(u) = 1 for u > 0, else 0 (torch's convention for relu' at 0); step' = 0 away from the jump."""

    text, latex_name = "step", r"\theta"
    is_nonnegative = True

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        if u.is_number:
            return sp.Integer(1 if constant_value(u) > 0 else 0)
        return {1: sp.S.One, -1: sp.S.Zero, None: None}[_sign_of(u)]

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sp.S.Zero

    def _eval_power(self, exponent: sp.Expr) -> sp.Expr | None:
        return self if exponent.is_positive else None


class sign(Primitive):
    """sign(u) = u/|u|, 0 at 0; sign' = 0 away from the jump."""

    text, latex_name = "sign", r"\mathrm{sign}"

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        if u.is_number:
            return sp.Integer(np.sign(constant_value(u)))
        return {1: sp.S.One, -1: sp.S.NegativeOne, None: None}[_sign_of(u)]

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sp.S.Zero


class absolute(Primitive):
    """absolute(u) = |u|; its derivative is sign(u)."""

    text, latex_name = "abs", r"\mathrm{abs}"
    is_nonnegative = True

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        if u.is_number:
            return u if constant_value(u) >= 0 else -u
        if (side := _sign_of(u)) is not None:
            return side * u
        return cls(-u) if u.could_extract_minus_sign() else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sign(self.args[0])

    def _eval_power(self, exponent: sp.Expr) -> sp.Expr | None:
        return self.args[0] ** exponent if exponent.is_even else None


class floor(Primitive):
    """floor(u), the largest integer that is not above u; floor' = 0 away from the jumps."""

    text, latex_name = "floor", r"\mathrm{floor}"

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        if not u.is_number:
            return None
        return sp.Integer(math.floor(u if u.is_Rational else constant_value(u)))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sp.S.Zero


class where(Primitive):
    """where(c, a, b) = a if c > 0 else b; where' = where(c, a', b')."""

    text, latex_name = "where", r"\mathrm{where}"

    @classmethod
    def eval(cls, c: sp.Expr, a: sp.Expr, b: sp.Expr) -> sp.Expr | None:
        if c.is_number:
            return a if constant_value(c) > 0 else b
        if (side := _sign_of(c)) is not None:
            return a if side > 0 else b
        return a if a == b else None

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        c, a, b = self.args
        return where(c, a.diff(symbol), b.diff(symbol))


class _Extremum(Primitive):
    """max(a, b) and min(a, b) of two arguments, in canonical order; the derivative is that of the argument taken."""

    larger: bool

    @classmethod
    def eval(cls, a: sp.Expr, b: sp.Expr) -> sp.Expr | None:
        if a == b:
            return a
        if a.is_number and b.is_number:
            return a if (constant_value(a) > constant_value(b)) == cls.larger else b
        if cls.larger and 0 in (a, b):
            return relu(b if a == 0 else a)
        ordered = tuple(sorted((a, b), key=sp.default_sort_key))
        return None if ordered == (a, b) else cls(*ordered)

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        a, b = self.args
        return where(a - b if self.larger else b - a, a.diff(symbol), b.diff(symbol))


class maximum(_Extremum):
    """maximum(a, b); max(0, u) becomes relu(u)."""

    text, latex_name, larger = "max", r"\max", True


class minimum(_Extremum):
    """minimum(a, b)."""

    text, latex_name, larger = "min", r"\min", False


class sigmoid(Primitive):
    """sigmoid(u) = 1/(1 + exp(-u)); sigmoid' = sech(u/2)^2/4, whose derivative does not cancel at 0."""

    text, latex_name = "sigmoid", r"\sigma"
    is_positive = True

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        return sp.S.Half if u.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sech(self.args[0] / 2) ** 2 / 4

    def _eval_evalf(self, precision: int) -> sp.Expr:
        return (1 / (1 + sp.exp(-self.args[0])))._eval_evalf(precision)


class softplus(Primitive):
    """softplus(u) = log(1 + exp(u)); softplus' = sigmoid."""

    text, latex_name = "softplus", r"\mathrm{softplus}"
    is_positive = True

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        return sp.log(2) if u.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sigmoid(self.args[0])

    def _eval_evalf(self, precision: int) -> sp.Expr:
        return sp.log(1 + sp.exp(self.args[0]))._eval_evalf(precision)


class normal_cdf(Primitive):
    """normal_cdf(u) = Phi(u), the standard normal distribution function; its derivative is normal_pdf."""

    text, latex_name = "normal_cdf", r"\Phi"
    is_positive = True

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        return sp.S.Half if u.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return normal_pdf(self.args[0])

    def _eval_evalf(self, precision: int) -> sp.Expr:
        return (sp.erfc(-self.args[0] / sp.sqrt(2)) / 2)._eval_evalf(precision)


class normal_pdf(Primitive):
    """normal_pdf(u) = phi(u) = exp(-u^2/2)/sqrt(2 pi); its derivative is -u phi(u)."""

    text, latex_name = "normal_pdf", r"\varphi"
    is_positive = True

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        if u.is_zero:
            return 1 / sp.sqrt(2 * sp.pi)
        return cls(-u) if u.could_extract_minus_sign() else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        u = self.args[0]
        return -u * normal_pdf(u)

    def _eval_evalf(self, precision: int) -> sp.Expr:
        return (sp.exp(-(self.args[0] ** 2) / 2) / sp.sqrt(2 * sp.pi))._eval_evalf(precision)


class log_normal_cdf(Primitive):
    """log_normal_cdf(u) = log Phi(u), about -u^2/2 far to the left; its derivative is mills."""

    text, latex_name = "log_normal_cdf", r"\mathrm{log\_normal\_cdf}"

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        return -sp.log(2) if u.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return mills(self.args[0])

    def _eval_evalf(self, precision: int) -> sp.Expr:
        return sp.log(sp.erfc(-self.args[0] / sp.sqrt(2)) / 2)._eval_evalf(precision)


class mills(Primitive):
    """mills(u) = phi(u)/Phi(u), the inverse Mills ratio, about -u far to the left; mills' = -mills mills_excess."""

    text, latex_name = "mills", r"\mathrm{mills}"
    is_positive = True

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        return sp.sqrt(2 / sp.pi) if u.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        u = self.args[0]
        return -mills(u) * mills_excess(u)

    def _eval_evalf(self, precision: int) -> sp.Expr:
        u = self.args[0]
        return (sp.sqrt(2 / sp.pi) * sp.exp(-(u**2) / 2) / sp.erfc(-u / sp.sqrt(2)))._eval_evalf(precision)


class mills_excess(Primitive):
    """mills_excess(u) = phi(u)/Phi(u) + u > 0 without cancellation, about -1/u far to the left."""

    text, latex_name = "mills_excess", r"\mathrm{mills\_excess}"
    is_positive = True

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        return sp.sqrt(2 / sp.pi) if u.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        u = self.args[0]
        return 1 - mills(u) * mills_excess(u)

    def _eval_evalf(self, precision: int) -> sp.Expr:
        u = self.args[0]
        ratio = sp.sqrt(2 / sp.pi) * sp.exp(-(u**2) / 2) / sp.erfc(-u / sp.sqrt(2))
        return (ratio + u)._eval_evalf(precision)


class tanh(Primitive):
    """tanh(u); tanh' = sech(u)^2, which keeps its relative accuracy in the tails."""

    text, latex_name = "tanh", r"\tanh"

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        if u.is_zero:
            return sp.S.Zero
        return -cls(-u) if u.could_extract_minus_sign() else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sech(self.args[0]) ** 2

    def _eval_evalf(self, precision: int) -> sp.Expr:
        return sp.tanh(self.args[0])._eval_evalf(precision)


class sech(Primitive):
    """sech(u) = 1/cosh(u); sech' = -sech tanh."""

    text, latex_name = "sech", r"\mathrm{sech}"
    is_positive = True

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        if u.is_zero:
            return sp.S.One
        return cls(-u) if u.could_extract_minus_sign() else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        u = self.args[0]
        return -sech(u) * tanh(u)

    def _eval_evalf(self, precision: int) -> sp.Expr:
        return sp.sech(self.args[0])._eval_evalf(precision)


class expm1(Primitive):
    """expm1(u) = exp(u) - 1 without cancellation; expm1' = exp."""

    text, latex_name = "expm1", r"\mathrm{expm1}"

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        return sp.S.Zero if u.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sp.exp(self.args[0])

    def _eval_evalf(self, precision: int) -> sp.Expr:
        return (sp.exp(self.args[0]) - 1)._eval_evalf(precision)


class log1p(Primitive):
    """log1p(u) = log(1 + u) without cancellation; log1p' = 1/(1 + u)."""

    text, latex_name = "log1p", r"\mathrm{log1p}"

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        return sp.S.Zero if u.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return 1 / (1 + self.args[0])

    def _eval_evalf(self, precision: int) -> sp.Expr:
        return sp.log(1 + self.args[0])._eval_evalf(precision)


class sqrt1pm1(Primitive):
    """sqrt1pm1(u) = sqrt(1 + u) - 1 without cancellation; sqrt1pm1' = 1/(2 sqrt(1 + u))."""

    text, latex_name = "sqrt1pm1", r"\mathrm{sqrt1pm1}"

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        return sp.S.Zero if u.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return 1 / (2 * sp.sqrt(1 + self.args[0]))

    def _eval_evalf(self, precision: int) -> sp.Expr:
        return (sp.sqrt(1 + self.args[0]) - 1)._eval_evalf(precision)


class squareplus(Primitive):
    """squareplus(u) = (u + sqrt(u^2 + 4))/2 without cancellation; its derivative is squareplus_slope."""

    text, latex_name = "squareplus", r"\mathrm{squareplus}"
    is_positive = True

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        return sp.S.One if u.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return squareplus_slope(self.args[0])

    def _eval_evalf(self, precision: int) -> sp.Expr:
        u = self.args[0]
        return ((u + sp.sqrt(u**2 + 4)) / 2)._eval_evalf(precision)


class squareplus_slope(Primitive):
    """squareplus_slope(u) = (1 + u/sqrt(u^2 + 4))/2; its derivative is 2 (u^2 + 4)^(-3/2)."""

    text, latex_name = "squareplus_slope", r"\mathrm{squareplus}'"
    is_positive = True

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        return sp.S.Half if u.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return 2 * (self.args[0] ** 2 + 4) ** sp.Rational(-3, 2)

    def _eval_evalf(self, precision: int) -> sp.Expr:
        u = self.args[0]
        return ((1 + u / sp.sqrt(u**2 + 4)) / 2)._eval_evalf(precision)


SWITCHES: tuple[type[Primitive], ...] = (relu, step, sign, absolute, where, maximum, minimum)
"""The functions that are not smooth where their (first) argument, or their arguments' difference, vanishes."""


def _clip(u: sp.Expr, low: sp.Expr, high: sp.Expr) -> sp.Expr:
    return minimum(maximum(u, low), high)


def _nested(function: type[_Extremum]) -> Any:
    def fold(*arguments: sp.Expr) -> sp.Expr:
        result = arguments[0]
        for argument in arguments[1:]:
            result = function(result, argument)
        return result

    return fold


FUNCTIONS: dict[str, tuple[Any, int, int]] = {
    "relu": (relu, 1, 1),
    "step": (step, 1, 1),
    "sign": (sign, 1, 1),
    "abs": (absolute, 1, 1),
    "floor": (floor, 1, 1),
    "where": (where, 3, 3),
    "max": (_nested(maximum), 2, 8),
    "min": (_nested(minimum), 2, 8),
    "clip": (_clip, 3, 3),
    "sigmoid": (sigmoid, 1, 1),
    "softplus": (softplus, 1, 1),
    "normal_cdf": (normal_cdf, 1, 1),
    "normal_pdf": (normal_pdf, 1, 1),
    "log_normal_cdf": (log_normal_cdf, 1, 1),
    "mills": (mills, 1, 1),
    "mills_excess": (mills_excess, 1, 1),
    "tanh": (tanh, 1, 1),
    "sech": (sech, 1, 1),
    "sinh": (sp.sinh, 1, 1),
    "cosh": (sp.cosh, 1, 1),
    "exp": (sp.exp, 1, 1),
    "expm1": (expm1, 1, 1),
    "log": (sp.log, 1, 1),
    "log1p": (log1p, 1, 1),
    "sqrt": (sp.sqrt, 1, 1),
    "sqrt1pm1": (sqrt1pm1, 1, 1),
    "squareplus": (squareplus, 1, 1),
    "squareplus_slope": (squareplus_slope, 1, 1),
    "erf": (sp.erf, 1, 1),
    "erfc": (sp.erfc, 1, 1),
    "sin": (sp.sin, 1, 1),
    "cos": (sp.cos, 1, 1),
    "atan": (sp.atan, 1, 1),
    "asinh": (sp.asinh, 1, 1),
    "gelu": (lambda u: u * normal_cdf(u), 1, 1),
    "silu": (lambda u: u * sigmoid(u), 1, 1),
    "mish": (lambda u: u * tanh(softplus(u)), 1, 1),
}
"""Name in formula text -> (function, least and most number of arguments)."""


def _from_piecewise(expression: sp.Piecewise) -> sp.Expr:
    """Nested `where`s; the last pair's condition is not asked where the others leave nothing else.

    Raises:
        FormulaError: no pair holds somewhere, or a condition is none that `where` can ask.
    """
    *pairs, (result, last) = expression.args
    if last != True and not _covers([condition for _, condition in expression.args]):  # noqa: E712  (SymPy's own)
        raise FormulaError("formula: a Piecewise without a value for every x; add a last pair (value, True)")
    for value, condition in reversed(pairs):
        result = _choose(condition, value, result)
    return result


def _covers(conditions: Sequence[Any]) -> bool:
    """Whether one of them holds at each of many points, the numbers that stand in them among these."""
    symbols = set().union(*(c.free_symbols for c in conditions))
    numbers = set().union(*(c.atoms(sp.Number) for c in conditions)) | {sp.S.Zero}
    if len(symbols) > 1:  # with parameters: by the text alone
        return sp.Not(conditions[-1]) in conditions[:-1]
    points = sorted({n + d for n in numbers if n.is_finite for d in (-1000, -1, -sp.Rational(1, 7), 0, 1, 1000)})
    points += [(a + b) / 2 for a, b in itertools.pairwise(points)]
    return all(any(c.xreplace(dict.fromkeys(symbols, p)) == True for c in conditions) for p in points)  # noqa: E712


def _choose(condition: Any, value: sp.Expr, otherwise: sp.Expr) -> sp.Expr:  # noqa: PLR0911
    match condition:
        case sp.And():
            for part in condition.args:
                value = _choose(part, value, otherwise)
            return value
        case sp.Or():
            for part in condition.args:
                otherwise = _choose(part, value, otherwise)
            return otherwise
        case sp.Not():
            return _choose(condition.args[0], otherwise, value)
        case sp.Gt():
            return where(condition.lhs - condition.rhs, value, otherwise)
        case sp.Lt():
            return where(condition.rhs - condition.lhs, value, otherwise)
        case sp.Ge():
            return where(condition.rhs - condition.lhs, otherwise, value)
        case sp.Le():
            return where(condition.lhs - condition.rhs, otherwise, value)
        case sp.Ne():
            return where(absolute(condition.lhs - condition.rhs), value, otherwise)
        case sp.Eq():
            return where(absolute(condition.lhs - condition.rhs), otherwise, value)
    if condition in (True, False):
        return value if condition else otherwise
    raise FormulaError(
        f"formula: a Piecewise condition must compare expressions of x, or join such with And, Or, Not; got {condition}"
    )


def in_primitives(expression: sp.Expr) -> sp.Expr:
    """The same function in this module's primitives: SymPy's Max, Abs, Piecewise, tanh ... replaced."""
    fold_max, fold_min = _nested(maximum), _nested(minimum)
    replacements: tuple[tuple[Any, Any], ...] = (
        (sp.Piecewise, lambda *pairs: _from_piecewise(sp.Piecewise(*pairs, evaluate=False))),
        (sp.Max, lambda *a: fold_max(*sorted(a, key=sp.default_sort_key))),
        (sp.Min, lambda *a: fold_min(*sorted(a, key=sp.default_sort_key))),
        (sp.Abs, absolute),
        (sp.sign, sign),
        (sp.Heaviside, lambda u, *_: step(u)),
        (sp.tanh, tanh),
        (sp.sech, sech),
        (sp.tan, lambda u: sp.sin(u) / sp.cos(u)),
        (sp.cot, lambda u: sp.cos(u) / sp.sin(u)),
        (sp.sec, lambda u: 1 / sp.cos(u)),
        (sp.csc, lambda u: 1 / sp.sin(u)),
        (sp.coth, lambda u: 1 / tanh(u)),
        (sp.csch, lambda u: 1 / sp.sinh(u)),
        (sp.sinc, lambda u: sp.sin(u) / u),
        (sp.floor, floor),
        (sp.ceiling, lambda u: -floor(-u)),
        (sp.frac, lambda u: u - floor(u)),
        (sp.Mod, lambda u, v: u - v * floor(u / v)),
    )
    if expression.has(*(old for old, _ in replacements)):
        for old, new in replacements:
            expression = expression.replace(old, new)
    return expression
