"""Expression -> a straight-line program that runs on numpy arrays or torch tensors.

A `Program` is a list of instructions over slots, equal subexpressions sharing one slot. What is written here once
decides how every function is computed on every route, so the numerical care sits here:

- sigmoid, softplus, the normal distribution function and sech are computed by forms that neither overflow nor cancel;
- quotients of sums of exponentials are divided by the largest of them (`actsmith.formula.exponentials`);
- a product of a vanishing and an overflowing factor (exp(x) sech(exp(x))^2 at x = 100) is found by running the program
  on a probe grid in float32 and in float64, at several values of each parameter, and is then computed through the sum
  of its factors' logarithms wherever these are large;
- log|f| has a program of its own, built from the structure, so that log f' of a Gaussian tail is right where f' is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import sympy as sp
from scipy import special

from actsmith.errors import FormulaError
from actsmith.formula import primitives as pr
from actsmith.formula.exponentials import Quotient, quotient
from actsmith.formula.primitives import constant_value
from actsmith.formula.spline import spline, spline_numpy, spline_torch

__all__ = ["Instruction", "Program", "lower", "lower_log_abs", "numpy_ops", "parameter_settings", "torch_ops"]

SAFE_LOG_32, SAFE_LOG_64 = 85.0, 700.0
"""Numbers between exp(-this) and exp(this) are neither subnormal nor infinite."""

Ops = Mapping[str, Callable[..., Any]]

_PROBE = np.array(
    [1e-30, 1e-6, 0.03, 0.3, 1.0, 2.0, 3.0, 6.0, 10.0, 20.0, 30.0, 45.0, 60.0, 88.0, 89.0, 120.0, 300.0, 1e3, 3e3, 1e4],
    np.float32,
)
_GRID = np.concatenate([-_PROBE[::-1], [0.0], _PROBE])


@dataclass(frozen=True)
class Instruction:
    """slot <- op(*slots), a constant, or a spline: the table's name, the slot, and the order of derivative as value.

    The value is kept as text: torch.compile would make an input of a number that differs from one program to the next.
    """

    op: str
    args: tuple[int, ...] = ()
    number: str = "0.0"
    table: str = ""

    @property
    def value(self) -> float:
        """The number."""
        return float(self.number)


@dataclass(frozen=True)
class Program:
    """A straight-line program: slots 0 .. len(inputs)-1 hold the inputs, each instruction fills the next slot."""

    inputs: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[int, ...]

    def run(self, arguments: Sequence[Any], ops: Ops) -> list[Any]:
        """The outputs at `arguments`, in the order of `inputs`. A constant output is a Python float."""
        slots: list[Any] = list(arguments)
        for instruction in self.instructions:
            if instruction.op == "constant":
                slots.append(instruction.value)
            elif instruction.table:
                slots.append(ops[instruction.op](instruction.table, int(instruction.value), slots[instruction.args[0]]))
            else:
                slots.append(ops[instruction.op](*[slots[i] for i in instruction.args]))
        return [slots[i] for i in self.outputs]

    def numpy(self, *arguments: Any) -> list[np.ndarray]:
        """The outputs as float64 arrays of the shape of the arguments broadcast together."""
        arrays = [np.asarray(a, np.float64) for a in arguments]
        with np.errstate(all="ignore"):
            outputs = self.run(arrays, numpy_ops())
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
        return [np.broadcast_to(np.asarray(o, np.float64), shape) for o in outputs]


_FUNCTION_OPS: dict[Any, str] = {
    pr.relu: "relu", pr.step: "step", pr.sign: "sign", pr.absolute: "abs", pr.floor: "floor",
    pr.where: "where", pr.maximum: "max", pr.minimum: "min",
    pr.sigmoid: "sigmoid", pr.softplus: "softplus", pr.normal_cdf: "normal_cdf",
    pr.normal_pdf: "normal_pdf", pr.log_normal_cdf: "log_normal_cdf",
    pr.tanh: "tanh", pr.sech: "sech", pr.expm1: "expm1", pr.log1p: "log1p",
    sp.exp: "exp", sp.log: "log", sp.sin: "sin", sp.cos: "cos", sp.sinh: "sinh", sp.cosh: "cosh", sp.atan: "atan",
    sp.asinh: "asinh", sp.erf: "erf", sp.erfc: "erfc",
}  # fmt: skip

_POSITIVE = (
    sp.exp, sp.cosh, sp.erfc, pr.sigmoid, pr.softplus, pr.normal_cdf, pr.normal_pdf, pr.sech, pr.squareplus,
    pr.squareplus_slope, pr.mills, pr.mills_excess,
)  # fmt: skip

_FAR, _LEVELS = 5.0, 24  # beyond -_FAR so many levels of the continued fraction give mills_excess to 1e-14
_TINY = 1e-12  # |u| below which g(u) = g'(0) u to float64 accuracy of the logarithm
_SLOPE_AT_ZERO: dict[Any, float] = {
    pr.tanh: 1.0, pr.expm1: 1.0, pr.log1p: 1.0, pr.sqrt1pm1: 0.5, sp.sin: 1.0, sp.sinh: 1.0, sp.atan: 1.0,
    sp.asinh: 1.0, sp.erf: 2 / math.sqrt(math.pi),
}  # fmt: skip


class _Builder:
    def __init__(self, inputs: Sequence[sp.Symbol], hazards: frozenset[sp.Expr] = frozenset()) -> None:
        self.instructions: list[Instruction] = []
        self.inputs = tuple(inputs)
        self.hazards = hazards
        self.slots: dict[Any, int] = {symbol: i for i, symbol in enumerate(inputs)}
        self.products: dict[int, tuple[sp.Expr, list[int]]] = {}  # slot -> the product and its factors' slots

    def emit(self, op: str, *args: int, value: float = 0.0, table: str = "") -> int:
        instruction = Instruction(op, args, repr(float(value)), table)
        slot = self.slots.get(instruction)
        if slot is None:
            self.instructions.append(instruction)
            slot = self.slots[instruction] = len(self.inputs) + len(self.instructions) - 1
        return slot

    def constant(self, value: float) -> int:
        return self.emit("constant", value=value)

    def value(self, e: sp.Expr) -> int:
        """The slot that holds e."""
        if e not in self.slots:
            self.slots[e] = self.lower(e)
        return self.slots[e]

    def lower(self, e: sp.Expr) -> int:  # noqa: PLR0911  (one return per kind of node)
        if not e.free_symbols:
            return self.constant(constant_value(e))
        if isinstance(e, sp.Add):
            return self.sum(e)
        if isinstance(e, sp.Mul):
            found = quotient(e, self.inputs[0])
            if found is not None:
                return self.quotient(found)
            return self.safe_product(e) if e in self.hazards else self.product(e)
        if isinstance(e, sp.log) and e.args[0].has(*_POSITIVE, pr.expm1, sp.sinh):
            return self.safe_log(e.args[0])
        if isinstance(e, sp.Pow):
            return self.power(*e.args)
        if isinstance(e, pr.squareplus | pr.squareplus_slope | pr.sqrt1pm1):
            return self.square_root(e)
        if isinstance(e, pr.mills | pr.mills_excess):
            return self.mills(self.value(e.args[0]), isinstance(e, pr.mills_excess))
        if isinstance(e, spline):
            u, name, order = e.args
            return self.emit("spline", self.value(u), value=float(order), table=str(name))
        if type(e) in _FUNCTION_OPS:
            return self.emit(_FUNCTION_OPS[type(e)], *(self.value(argument) for argument in e.args))
        raise FormulaError(f"formula: {e} has no name {type(e).__name__}() that Actsmith can compute")

    def square_root(self, e: sp.Expr) -> int:
        """The primitives whose textbook form subtracts a square root, in the form that adds it."""
        u = self.value(e.args[0])
        if isinstance(e, pr.sqrt1pm1):  # u/(1 + sqrt(1 + u))
            one = self.constant(1.0)
            return self.emit("div", u, self.emit("add", self.emit("sqrt", self.emit("add", u, one)), one))
        root = self.emit("sqrt", self.emit("add", self.emit("mul", u, u), self.constant(4.0)))
        if isinstance(e, pr.squareplus_slope):
            return self.emit("div", self.value(pr.squareplus(e.args[0])), root)
        larger = self.emit("add", root, self.emit("abs", u))
        above = self.emit("mul", larger, self.constant(0.5))
        return self.emit("where", u, above, self.emit("div", self.constant(2.0), larger))

    def mills(self, u: int, excess: bool) -> int:
        """m = phi(u)/Phi(u), or m + u; for t = -u > _FAR that is 1/(t + 2/(t + 3/(t + ...))) (Laplace).

        Each way sees no argument that is the other's, so that neither divides 0 by 0.
        """
        minus = self.emit("mul", self.constant(-1.0), u)
        near, t = self.emit("max", u, self.constant(-_FAR)), self.emit("max", minus, self.constant(_FAR))
        plain = self.emit("div", self.emit("normal_pdf", near), self.emit("normal_cdf", near))
        fraction = t
        for k in range(_LEVELS, 0, -1):
            fraction = self.emit("div", self.constant(float(k)), fraction)
            fraction = self.emit("add", t, fraction) if k > 1 or not excess else fraction
        plain = self.emit("add", plain, near) if excess else plain
        return self.emit("where", self.emit("add", u, self.constant(_FAR)), plain, fraction)

    def sum(self, e: sp.Add) -> int:
        """Terms without x first: alpha - 1 + 2 sigmoid(x) keeps its accuracy where alpha is 1 and the sigmoid small."""
        x = self.inputs[0]
        terms = sorted(e.args, key=lambda t: (x in t.free_symbols, t.could_extract_minus_sign()))
        result = self.value(terms[0])
        for term in terms[1:]:
            negative = term.could_extract_minus_sign()
            result = self.emit("sub" if negative else "add", result, self.value(-term if negative else term))
        return result

    def product(self, e: sp.Mul) -> int:
        coefficient, factors = e.as_independent(*e.free_symbols, as_Add=False)
        above = [self.value(coefficient)] if coefficient != 1 else []
        below: list[int] = []
        for factor in sp.Mul.make_args(factors):
            if isinstance(factor, sp.Pow) and factor.args[1].is_number and factor.args[1].is_negative:
                below.append(self.power(factor.args[0], -factor.args[1]))
            else:
                above.append(self.value(factor))
        if not above:
            above = [self.constant(1.0)]
        result = self.fold(above)
        if below:
            result = self.emit("div", result, self.fold(below))
        self.products[result] = (e, above + below)
        return result

    def fold(self, slots: list[int]) -> int:
        result = slots[0]
        for slot in slots[1:]:
            result = self.emit("mul", result, slot)
        return result

    def power(self, base: sp.Expr, exponent: sp.Expr) -> int:
        b = self.value(base)
        if exponent.is_number:
            n = constant_value(exponent)
            if n < 0:
                return self.emit("div", self.constant(1.0), self.power(base, -exponent))
            if n == 0.5:
                return self.emit("sqrt", b)
            if n in (1, 2, 3, 4):
                return self.small_power(b, int(n))
        return self.emit("pow", b, self.value(exponent))

    def small_power(self, base: int, exponent: int) -> int:
        if exponent == 1:
            return base
        square = self.emit("mul", base, base)
        return square if exponent == 2 else self.emit("mul", square, base if exponent == 3 else square)

    def safe_product(self, e: sp.Mul) -> int:
        """A product whose plain form is 0 * inf somewhere: there, sign * exp(sum of the factors' logarithms)."""
        through_logs = self.emit("mul", self.sign(e), self.emit("exp", self.log_abs(e)))
        sizes = [self.emit("abs", self.log_abs(factor)) for factor in e.args if factor.free_symbols]
        size = sizes[0]
        for other in sizes[1:]:
            size = self.emit("add", size, other)
        return self.emit("rescue", self.product(e), through_logs, size)

    def safe_log(self, u: sp.Expr) -> int:
        """log u, by the structure of u where u under- or overflows."""
        log = self.log_abs(u)
        if not _positive(u):  # NaN where u < 0
            log = self.emit("add", log, self.emit("log", self.sign(u)))
        return self.emit("rescue", self.emit("log", self.value(u)), log, self.emit("abs", log))

    def quotient(self, q: Quotient) -> int:
        """Sums of exponentials, each divided by its largest one."""
        above = [] if q.rest == 1 else [self.value(q.rest)]
        below: list[int] = []
        u = self.value(q.u)
        for terms, power in q.sums:
            if len(terms) > 1:
                slot = self.scaled_exponentials(u, terms)
                n = abs(float(power))
                slot = self.small_power(slot, int(n)) if n in (1, 2, 3, 4) else self.emit("pow", slot, self.constant(n))
                (above if power > 0 else below).append(slot)
            else:
                ((coefficient,),) = (terms.values(),)
                above += [] if coefficient == 1 else [self.value(coefficient**power)]
        ends = [sum((power * end(terms) for terms, power in q.sums), sp.S.Zero) for end in (max, min)]
        if any(ends):
            above.append(self.emit("exp", self.either(u, *ends)))
        result = self.fold(above or [self.constant(1.0)])
        return self.emit("div", result, self.fold(below)) if below else result

    def either(self, u: int, k: sp.Rational, m: sp.Rational) -> int:
        """k u where u > 0, else m u."""
        sides = [self.emit("mul", self.constant(float(n)), u) if n else self.constant(0.0) for n in (k, m)]
        return sides[0] if k == m else self.emit("where", u, *sides)

    def scaled_exponentials(self, u: int, terms: dict[sp.Rational, sp.Expr]) -> int:
        """sum of c_k exp(k u) over its largest exponential."""
        top, bottom = max(terms), min(terms)
        if len(terms) == 2 and terms[top] == -terms[bottom]:  # c (1 - exp(-|w|)) and its negative, without cancellation
            w = self.emit("mul", self.constant(float(bottom - top)), self.emit("abs", u))
            size = self.emit("mul", self.value(-terms[top]), self.emit("expm1", w))
            return self.emit("mul", self.emit("sign", u), size)
        total: int | None = None
        for k, coefficient in terms.items():
            slot = self.emit("exp", self.either(u, k - top, k - bottom))
            if coefficient != 1:
                slot = self.emit("mul", self.value(coefficient), slot)
            total = slot if total is None else self.emit("add", total, slot)
        assert total is not None
        return total

    def sign(self, e: sp.Expr) -> int:  # noqa: PLR0911
        if _positive(e):
            return self.constant(1.0)
        if type(e) in _SLOPE_AT_ZERO and not isinstance(e, sp.sin):
            return self.sign(e.args[0])  # increasing through 0
        if isinstance(e, sp.Mul):
            return self.fold([self.sign(factor) for factor in e.args])
        if isinstance(e, sp.Pow):  # a base with another power than a whole one is not negative
            even = e.args[1].is_number and e.args[1].is_even
            return self.constant(1.0) if even else self.sign(e.args[0])
        if isinstance(e, pr.where):
            c, a, b = e.args
            return self.emit("where", self.value(c), self.sign(a), self.sign(b))
        if not e.free_symbols:
            return self.constant(float(np.sign(constant_value(e))))
        if isinstance(e, sp.Add):  # by the scaled terms: their plain sum may have underflowed
            return self.emit("sign", self.scaled_sum(e)[1])
        return self.emit("sign", self.value(e))

    def log_abs(self, e: sp.Expr) -> int:  # noqa: PLR0911
        """log|e| by the structure of e: exact where e itself underflows or overflows."""
        if not e.free_symbols:
            size = abs(constant_value(e))
            return self.constant(math.log(size) if size > 0 else -math.inf)
        if isinstance(e, sp.Mul):
            logs = [self.log_abs(factor) for factor in e.args]
            result = logs[0]
            for slot in logs[1:]:
                result = self.emit("log_mul", result, slot)
            return result
        if isinstance(e, sp.Pow):
            return self.emit("mul", self.value(e.args[1]), self.log_abs(e.args[0]))
        if isinstance(e, sp.Add):
            return self.log_abs_sum(e)
        if isinstance(e, pr.where):
            c, a, b = e.args
            return self.emit("where", self.value(c), self.log_abs(a), self.log_abs(b))
        if isinstance(e, sp.exp):
            return self.value(e.args[0])
        if isinstance(e, sp.erfc):
            log_cdf = self.emit("log_normal_cdf", self.value(-sp.sqrt(2) * e.args[0]))
            return self.emit("add", log_cdf, self.constant(math.log(2)))
        if isinstance(e, sp.cosh):  # |u| + softplus(-2|u|) - log 2
            size = self.value(pr.absolute(e.args[0]))
            rest = self.emit("softplus", self.emit("mul", self.constant(-2.0), size))
            return self.emit("add", size, self.emit("sub", rest, self.constant(math.log(2))))
        if isinstance(e, pr.mills):
            u = self.value(e.args[0])
            return self.emit("sub", self.emit("log_normal_pdf", u), self.emit("log_normal_cdf", u))
        if type(e) in _SLOPE_AT_ZERO:
            return self.log_abs_odd(e)
        special_log = {pr.sigmoid: "log_sigmoid", pr.softplus: "log_softplus", pr.normal_cdf: "log_normal_cdf",
                       pr.normal_pdf: "log_normal_pdf", pr.sech: "log_sech"}  # fmt: skip
        if type(e) in special_log:
            return self.emit(special_log[type(e)], self.value(e.args[0]))
        return self.emit("log_abs", self.value(e))

    def log_abs_odd(self, e: sp.Expr) -> int:
        """g(u) = c u + ...: log|g(u)| = log c + log|u| where u is so small that it may have underflowed."""
        u, slope = e.args[0], _SLOPE_AT_ZERO[type(e)]
        log = self.log_abs_growing(e) if isinstance(e, sp.sinh | pr.expm1) else self.emit("log_abs", self.value(e))
        small = self.emit("add", self.log_abs(u), self.constant(math.log(slope)))
        far = self.emit("sub", self.value(pr.absolute(u)), self.constant(_TINY))
        return self.emit("where", far, log, small)

    def log_abs_growing(self, e: sp.Expr) -> int:
        """log|sinh(u)| = |u| + log(1 - exp(-2|u|)) - log 2, log|expm1(u)| = max(u, 0) + log(1 - exp(-|u|))."""
        u, odd = e.args[0], isinstance(e, sp.sinh)
        size = self.value(pr.absolute(u))
        rest = self.emit("log_abs", self.emit("expm1", self.emit("mul", self.constant(-2.0 if odd else -1.0), size)))
        if odd:
            rest = self.emit("sub", rest, self.constant(math.log(2)))
        return self.emit("add", size if odd else self.value(pr.relu(u)), rest)

    def log_abs_sum(self, e: sp.Add) -> int:
        """log|sum of s_i exp(l_i)| = m + log|sum of s_i exp(l_i - m)|, m the largest l_i."""
        largest, total = self.scaled_sum(e)
        result = self.emit("log_mul", largest, self.emit("log_abs", total))
        # Beyond 1e15 neighbouring floats are more than 0.1 apart: what the terms cancel to cannot be seen, nor matters.
        blind = self.emit("sub", self.emit("abs", largest), self.constant(1e15))
        return self.emit("where", blind, largest, result)

    def scaled_sum(self, e: sp.Add) -> tuple[int, int]:
        """m and sum of s_i exp(l_i - m)."""
        logs = [self.log_abs(term) for term in e.args]
        largest = logs[0]
        for slot in logs[1:]:
            largest = self.emit("max", largest, slot)
        total: int | None = None
        for term, log in zip(e.args, logs, strict=True):
            scaled = self.emit("mul", self.sign(term), self.emit("exp", self.emit("log_div", log, largest)))
            total = scaled if total is None else self.emit("add", total, scaled)
        assert total is not None
        return largest, total

    def program(self, outputs: Sequence[int]) -> Program:
        return Program(tuple(str(s) for s in self.inputs), tuple(self.instructions), tuple(outputs))


def _positive(e: sp.Expr) -> bool:
    """Whether e > 0 everywhere, as far as is known; of towers of powers SymPy asks itself for minutes."""
    return isinstance(e, _POSITIVE) or (all(p.exp.is_number for p in e.atoms(sp.Pow)) and bool(e.is_positive))


def lower(expressions: Sequence[sp.Expr], inputs: Sequence[sp.Symbol], probe: Mapping[sp.Symbol, float]) -> Program:
    """One program for all `expressions`, sharing their common subexpressions.

    Args:
        expressions: in the primitives of this package.
        inputs: the symbols that stay arguments, x first; every other symbol must be absent.
        probe: values of the inputs other than x, with which products are probed for 0 * inf.

    Raises:
        FormulaError: an expression holds a function with no lowering, or a constant that is not real.
    """
    hazards: frozenset[sp.Expr] = frozenset()
    settings = np.array(parameter_settings(inputs[1:], probe))
    arguments = [_GRID, *settings.T[:, :, None]]
    while True:
        builder = _Builder(inputs, hazards)
        program = builder.program([builder.value(e) for e in expressions])
        found = _hazards(builder, program, arguments)
        if found <= hazards:
            return program
        hazards |= found


def parameter_settings(symbols: Sequence[sp.Symbol], probe: Mapping[sp.Symbol, float]) -> list[list[float]]:
    """Values of the parameters to try a program with: those given, then each of them varied alone."""
    start = [probe[s] for s in symbols]
    varied = []
    for i, value in enumerate(start):
        size = max(abs(value), 0.1)
        varied += [[*start[:i], v, *start[i + 1 :]] for v in (10 * size, size / 10, -size, -10 * size)]
    return [start, *varied]


def _hazards(builder: _Builder, program: Program, arguments: Sequence[np.ndarray]) -> set[sp.Expr]:
    """The products that are NaN though their factors are known, or that float32 loses by a factor's range alone."""
    if not builder.products:
        return set()
    everything = Program(program.inputs, program.instructions, tuple(range(len(program.instructions) + len(arguments))))
    with np.errstate(all="ignore"):
        short = everything.run([np.asarray(a, np.float32) for a in arguments], numpy_ops())
        wide = everything.run([np.asarray(a, np.float32).astype(np.float64) for a in arguments], numpy_ops())
        found = set()
        for slot, (product, factors) in builder.products.items():
            known = lost = False
            for factor in factors:
                known = known & ~np.isnan(short[factor]) if factor != factors[0] else ~np.isnan(short[factor])
                lost = lost | (np.isinf(short[factor]) & np.isfinite(wide[factor]))
                lost = lost | ((short[factor] == 0) & (wide[factor] != 0))
            size = np.abs(wide[slot])
            wrong = (np.abs(short[slot] - wide[slot]) > 0.01 * size) & (size > 1e-30) & (size < 1e37)
            if np.any(np.isnan(short[slot]) & known) or np.any(wrong & (lost | np.isinf(short[slot]))):
                found.add(product)
    return found


def lower_log_abs(expression: sp.Expr, inputs: Sequence[sp.Symbol]) -> Program:
    """The program of log|expression|."""
    builder = _Builder(inputs)
    return builder.program([builder.log_abs(expression)])


def _limit(short: bool) -> float:
    """The logarithm, without its sign, up to which float32 or float64 holds a number in full accuracy."""
    return SAFE_LOG_32 if short else SAFE_LOG_64


@lru_cache(maxsize=1)
def numpy_ops() -> Ops:
    """The instructions on numpy arrays."""

    def log_sech(u: Any) -> Any:
        a = np.abs(u)
        return math.log(2) - a - np.log1p(np.exp(-2 * a))

    def softplus(u: Any) -> Any:
        return np.maximum(u, 0) + np.log1p(np.exp(-np.abs(u)))

    def log_mul(a: Any, b: Any) -> Any:
        total = a + b
        return np.where(np.isnan(total), -np.inf, total)  # 0 * inf counts as 0

    def log_div(a: Any, b: Any) -> Any:
        return np.where(a == b, 0.0, a - b)

    return {
        "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": np.divide,
        "pow": np.power, "sqrt": np.sqrt, "relu": lambda u: np.maximum(u, 0), "sign": np.sign, "abs": np.abs,
        "floor": np.floor,
        "step": lambda u: (u > 0).astype(np.result_type(u)), "where": lambda c, a, b: np.where(c > 0, a, b),
        "max": np.maximum, "min": np.minimum, "sigmoid": special.expit, "softplus": softplus,
        "normal_cdf": special.ndtr, "normal_pdf": lambda u: np.exp(-0.5 * u * u) * (1 / math.sqrt(2 * math.pi)),
        "tanh": np.tanh, "sech": lambda u: 1 / np.cosh(u), "expm1": np.expm1, "log1p": np.log1p, "exp": np.exp,
        "log": np.log, "sin": np.sin, "cos": np.cos, "sinh": np.sinh, "cosh": np.cosh, "atan": np.arctan,
        "asinh": np.arcsinh, "erf": special.erf, "erfc": special.erfc,
        "spline": spline_numpy,
        "rescue": lambda plain, safe, size: np.where(size <= _limit(np.result_type(size) == np.float32), plain, safe),
        "rescue_log": lambda plain, safe: np.where(plain == -np.inf, safe, plain),
        "log_abs": lambda u: np.log(np.abs(u)), "log_mul": log_mul, "log_div": log_div,
        "log_sigmoid": lambda u: -softplus(-u), "log_normal_cdf": special.log_ndtr, "log_sech": log_sech,
        "log_softplus": lambda u: np.where(u < -30, u, np.log(softplus(u))),
        "log_normal_pdf": lambda u: -0.5 * u * u - 0.5 * math.log(2 * math.pi),
    }  # fmt: skip


@lru_cache(maxsize=1)
def torch_ops() -> Ops:
    """The instructions on torch tensors: plain traceable torch, dtype and device kept."""
    import torch

    def log_sech(u: Any) -> Any:
        a = u.abs()
        return math.log(2) - a - torch.log1p(torch.exp(-2 * a))

    def softplus(u: Any) -> Any:
        return torch.relu(u) + torch.log1p(torch.exp(-u.abs()))

    def log_mul(a: Any, b: Any) -> Any:
        total = a + b
        if not isinstance(total, torch.Tensor):  # two constant factors
            return -math.inf if math.isnan(total) else total
        return torch.where(torch.isnan(total), -math.inf, total)

    def where(c: Any, a: Any, b: Any) -> Any:
        if not isinstance(a, torch.Tensor) and not isinstance(b, torch.Tensor):
            a = torch.full_like(c, a)
        return torch.where(c > 0, a, b)

    def extremum(tensor: Callable[..., Any], number: str) -> Callable[..., Any]:
        def apply(a: Any, b: Any) -> Any:
            if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
                return tensor(a, b)
            if not isinstance(a, torch.Tensor) and not isinstance(b, torch.Tensor):  # two constant factors
                return (max if number == "min" else min)(a, b)
            return torch.clamp(a, **{number: b}) if isinstance(a, torch.Tensor) else torch.clamp(b, **{number: a})

        return apply

    def power(a: Any, b: Any) -> Any:
        return torch.pow(a, b)

    return {
        "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
        "pow": power, "sqrt": torch.sqrt, "relu": torch.relu, "sign": torch.sign, "abs": torch.abs,
        "floor": torch.floor,
        "step": lambda u: (u > 0).to(u.dtype), "where": where, "max": extremum(torch.maximum, "min"),
        "min": extremum(torch.minimum, "max"), "sigmoid": torch.sigmoid, "softplus": softplus,
        "normal_cdf": lambda u: 0.5 * torch.erfc(u * -math.sqrt(0.5)),
        "normal_pdf": lambda u: torch.exp(-0.5 * u * u) * (1 / math.sqrt(2 * math.pi)),
        "tanh": torch.tanh, "sech": lambda u: 1 / torch.cosh(u), "expm1": torch.expm1, "log1p": torch.log1p,
        "exp": torch.exp, "log": torch.log, "sin": torch.sin, "cos": torch.cos, "sinh": torch.sinh, "cosh": torch.cosh,
        "atan": torch.atan, "asinh": torch.asinh, "erf": torch.erf, "erfc": torch.erfc,
        "spline": spline_torch,
        "rescue": lambda plain, safe, size: torch.where(size <= _limit(size.dtype == torch.float32), plain, safe),
        "rescue_log": lambda plain, safe: torch.where(plain == -math.inf, safe, plain),
        "log_abs": lambda u: torch.log(torch.abs(u)), "log_mul": log_mul,
        "log_div": lambda a, b: torch.where(a == b, 0.0, a - b),
        "log_sigmoid": lambda u: -softplus(-u), "log_normal_cdf": torch.special.log_ndtr, "log_sech": log_sech,
        "log_softplus": lambda u: torch.where(u < -30, u, torch.log(softplus(u))),
        "log_normal_pdf": lambda u: -0.5 * u * u - 0.5 * math.log(2 * math.pi),
    }  # fmt: skip
