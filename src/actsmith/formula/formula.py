"""`Formula`: an activation function as a mathematical object.

    f = Formula("max(0, x) + eps*x*exp(-x**2/2)", params={"eps": Param(0.01, learn=True)}, name="crrelu")

It is one expression in the real variable x and named parameters, checked when it is built.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import sympy as sp

from actsmith.display import Shown
from actsmith.errors import FormulaError
from actsmith.formula import pieces as _pieces
from actsmith.formula.lower import Program, lower, lower_log_abs, torch_ops
from actsmith.formula.param import Param
from actsmith.formula.parse import CONSTANTS, MAX_POWER, X, parameter_symbol, parse
from actsmith.formula.primitives import FUNCTIONS
from actsmith.formula.removable import Limit, Patch, limit_of, may_have_singularities, patched, with_limits
from actsmith.formula.size import MAX_DERIVATIVE_SIZE, derivative_size
from actsmith.formula.spline import Table, register, spline, tables_of
from actsmith.formula.stable import standardise
from actsmith.formula.text import shortened, to_text
from actsmith.formula.tidy import tidy
from actsmith.names import did_you_mean

__all__ = ["Formula", "Param"]

_CHECK_GRID = np.concatenate([np.linspace(-10, 10, 81) + 1e-3, [-1e3, 1e3]])


class Formula(Shown):
    """An activation function f(x; parameters).

    Args:
        formula: text (see `actsmith.formula.parse`) or a SymPy expression in the real symbol `x`.
        params: value of every parameter that the formula names, a number or a `Param`.
        name: what reports call it; the text by default.

    Raises:
        FormulaError: the text is not a formula, a parameter has no value or is not used, another free symbol than x
            stands in the expression, or the value is nowhere finite and real.

    Two formulas are equal when their canonical expressions and their parameters are; the name does not count.

    >>> Formula("max(0, x)") == Formula("relu(x)")
    True
    >>> Formula("x*sigmoid(x)")(1.0)
    0.7310585786300049
    """

    __slots__ = ("__dict__", "expr", "name", "params")

    expr: sp.Expr
    params: Mapping[str, Param]
    name: str

    def __init__(
        self, formula: str | sp.Expr, params: Mapping[str, float | Param] | None = None, name: str | None = None
    ) -> None:
        given = {k: v if isinstance(v, Param) else Param(v) for k, v in (params or {}).items()}
        for key in given:
            if not key.isidentifier() or keyword.iskeyword(key) or key in ("x", *CONSTANTS, *FUNCTIONS):
                raise FormulaError(
                    f"parameter: {key!r} cannot be a name; expected an identifier that is no function, x, pi or e"
                )
        raw = parse(formula, given) if isinstance(formula, str) else _from_sympy(formula)
        expression = standardise(raw)
        self._set(expr=expression, params=MappingProxyType(dict(sorted(given.items()))))
        self._set(name=name or to_text(expression))
        self._validate()

    def _set(self, **values: Any) -> None:
        for key, value in values.items():
            object.__setattr__(self, key, value)

    def __setattr__(self, key: str, value: Any) -> None:
        raise AttributeError(f"Formula is immutable; build a new one instead of setting {key}")

    def _validate(self) -> None:
        free = {str(s) for s in self.expr.free_symbols} - {"x"}
        if missing := sorted(free - set(self.params)):
            raise FormulaError(
                f"formula {self.name!r}: no value for {', '.join(missing)}; give params={{{missing[0]!r}: ...}}"
            )
        if unused := sorted(set(self.params) - free):
            raise FormulaError(f"formula {self.name!r}: parameter {', '.join(unused)} does not occur in it")
        if not np.any(np.isfinite(self._program(0).numpy(_CHECK_GRID)[0])):
            raise FormulaError(f"formula {self.name!r}: not a finite real number anywhere on [-1000, 1000]")

    # ------------------------------------------------------------------------------------------------ the function

    def values(self, *, learned: bool = True) -> dict[sp.Symbol, sp.Rational]:
        """Symbol -> exact value of every parameter, or of those alone that training leaves as they are."""
        chosen = {n: p for n, p in self.params.items() if learned or not p.learn}
        return {parameter_symbol(n): sp.Rational(repr(p.value)) for n, p in chosen.items()}

    @cached_property
    def bound(self) -> sp.Expr:
        """The expression with the parameters' values in it, as exact rationals."""
        return self.expr.subs(self.values()) if self.params else self.expr

    @cached_property
    def kinks(self) -> tuple[float, ...]:
        """Points, ascending, where f is not infinitely differentiable or is singular."""
        return tuple(float(k) for k in self._exact_kinks)

    @property
    def _exact_kinks(self) -> tuple[sp.Expr, ...]:
        return self._special_points[0]

    @cached_property
    def _special_points(self) -> tuple[tuple[sp.Expr, ...], tuple[Patch, ...]]:
        return _pieces.find_kinks(self.bound)

    @cached_property
    def _patches(self) -> tuple[Patch, ...]:
        """f about its removable singularities; looked for where a denominator may vanish."""
        return self._special_points[1] if may_have_singularities(self.bound) else ()

    @cached_property
    def pieces(self) -> tuple[_pieces.Piece, ...]:
        """The smooth expressions between the kinks, from left to right."""
        return _pieces.find_pieces(self.bound, self._exact_kinks)

    @cached_property
    def smoothness(self) -> int | None:
        """The largest k with f in C^k; -1 where f jumps, None where f is infinitely differentiable."""
        splines = self.expr.atoms(spline)
        if splines:
            level = min(2 - int(s.args[2]) for s in splines)
            found = _pieces.find_smoothness(self.pieces)
            return level if found is None else min(level, found)
        return _pieces.find_smoothness(self.pieces)

    def __call__(self, x: Any) -> Any:
        """f(x): a float for a number, a float64 array for an array, a tensor (dtype and device kept) for a tensor."""
        if type(x).__module__.partition(".")[0] == "torch":
            result = self._program_with_limits.run([x], torch_ops())[0]
            return result if isinstance(result, type(x)) else x.new_full(x.shape, result)
        result = self._program(0).numpy(x)[0]
        if self._patches:
            result = patched(np.atleast_1d(result), np.atleast_1d(np.asarray(x, np.float64)), self._patches, 0).reshape(
                result.shape
            )
        return float(result) if result.ndim == 0 else result.copy()

    def jet(self, x: Any, order: int) -> np.ndarray:
        """(f, f', ..., f^(order)) at x: shape (order + 1, *x.shape), float64. At a kink, torch's one-sided choice."""
        values = np.stack(self._program(order).numpy(x))
        if self._patches:
            at = np.asarray(x, np.float64)
            for k in range(order + 1):
                values[k] = patched(np.atleast_1d(values[k]), np.atleast_1d(at), self._patches, k).reshape(at.shape)
        return values

    def log_abs_derivative(self, x: Any, order: int = 1) -> np.ndarray:
        """log|f^(order)(x)|, right where f^(order) underflows; -inf where it vanishes. Shape of x, float64."""
        result = self._log_program(order).numpy(x)[0]
        for patch in self._patches:
            at = np.atleast_1d(np.asarray(x, np.float64))
            near = np.abs(at - patch.centre) <= patch.radius
            if near.any():
                result = np.array(np.atleast_1d(result), copy=True)
                with np.errstate(divide="ignore"):
                    result[near] = np.log(np.abs(patch.derivative(at[near], order)))
                result = result.reshape(np.shape(x))
        return result

    def derivative(self, k: int = 1) -> Formula:
        """The k-th pointwise derivative with respect to x, as a Formula with the parameters that remain."""
        if k < 0:
            raise FormulaError(f"derivative: the order must be 0 or more, got {k}")
        expression = self._derivatives(k)[k]
        left = {str(s) for s in expression.free_symbols}
        return Formula(expression, {n: p for n, p in self.params.items() if n in left}, f"{self.name}{chr(39) * k}")

    def _derivatives(self, k: int) -> list[sp.Expr]:
        cache: list[sp.Expr] = self.__dict__.setdefault("_derivative_cache", [self.expr])
        while len(cache) <= k:
            if derivative_size(cache[-1], X) > MAX_DERIVATIVE_SIZE:
                raise FormulaError(f"formula {self.name[:60]!r}: its derivative of order {len(cache)} is too large")
            cache.append(tidy(cache[-1].diff(X)))
        return cache

    def _program(self, order: int) -> Program:
        programs: dict[int, Program] = self.__dict__.setdefault("_programs", {})
        if order not in programs:
            values = self.values()
            programs[order] = lower([e.subs(values) for e in self._derivatives(order)[: order + 1]], [X], {})
        return programs[order]

    @property
    def _program_with_limits(self) -> Program:
        if not self._patches:
            return self._program(0)
        if "_limited" not in self.__dict__:
            expression = with_limits(self.bound, [limit_of(patch) for patch in self._patches])
            self.__dict__["_limited"] = lower([expression], [X], {})
        program: Program = self.__dict__["_limited"]
        return program

    @cached_property
    def limits(self) -> tuple[Limit, ...]:
        """f about its removable singularities as expressions in x and the learned parameters; of these, the
        singularities that stay where they are when a learned parameter changes."""
        learned = {name: p for name, p in self.params.items() if p.learn}
        if not learned:
            return tuple(limit_of(patch) for patch in self._patches)
        expression = self.expr.subs(self.values(learned=False))
        return tuple(limit_of(patch, expression) for patch in self._patches if self._stays(patch, learned))

    def _stays(self, patch: Patch, learned: Mapping[str, Param]) -> bool:
        for name, p in learned.items():
            for value in (1.25 * p.value + 0.01, 0.8 * p.value - 0.01):
                if p.low <= value <= p.high:
                    others = self.at(**{name: value})._patches
                    if not any(abs(other.centre - patch.centre) <= 1e-12 for other in others):
                        return False
        return True

    def _log_program(self, order: int) -> Program:
        programs: dict[int, Program] = self.__dict__.setdefault("_log_programs", {})
        if order not in programs:
            values = self.values()
            programs[order] = lower_log_abs(self._derivatives(order)[order].subs(values), [X])
        return programs[order]

    # ------------------------------------------------------------------------------------------------ as data

    def at(self, **values: float | Param) -> Formula:
        """The same formula with other parameter values, `f.at(eps=0.05)`; a `Param` replaces learn and range too."""
        for name in values:
            if name not in self.params:
                known = ", ".join(self.params) or "none"
                hint = did_you_mean(name, self.params)
                raise FormulaError(f"{self.name} has no parameter {name!r}; it has: {known}{f'; {hint}' * bool(hint)}")
        params = dict(self.params)
        for name, value in values.items():
            params[name] = value if isinstance(value, Param) else replace(params[name], value=value)
        return Formula(self.expr, params, self.name)

    def renamed(self, name: str) -> Formula:
        """The same formula under another name."""
        return Formula(self.expr, self.params, name)

    @cached_property
    def text(self) -> str:
        """Formula text that `Formula(text, params)` reads back to an equal formula."""
        return to_text(self.expr)

    def latex(self) -> str:
        """The expression in LaTeX."""
        result: str = sp.latex(self.expr)
        return result

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {sp.latex(shortened(self.expr))}$"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `Formula.from_dict` is the inverse."""
        params = {}
        for name, p in self.params.items():
            params[name] = {"value": p.value, "learn": p.learn}
            params[name] |= {end: v for end, v in (("low", p.low), ("high", p.high)) if math.isfinite(v)}
        data = {"name": self.name, "formula": self.text, "params": params}
        tables = {name: table.to_dict() for name, table in tables_of(self.expr).items()}
        return data | {"tables": tables} if tables else data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Formula:
        """The formula that `to_dict` described."""
        for table in data.get("tables", {}).values():
            register(Table(table["low"], table["high"], tuple(table["values"])))
        params = {n: Param(**p) for n, p in data["params"].items()}
        return cls(parse(data["formula"], params, saved=True), params, data["name"])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Formula):
            return NotImplemented
        return bool(self.expr == other.expr) and self.params == other.params

    def __hash__(self) -> int:
        return hash((self.expr, tuple(self.params.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        return Formula.from_dict, (self.to_dict(),)

    def __repr__(self) -> str:
        params = {n: p.value for n, p in self.params.items()}
        return f"Formula({self.text!r}{f', params={params}' if params else ''}, name={self.name!r})"


def _from_sympy(expression: Any) -> sp.Expr:
    if not isinstance(expression, sp.Expr | int | float) or isinstance(expression, bool):
        raise FormulaError(f"formula: expected text or a SymPy expression, got {type(expression).__name__}")
    expression = sp.sympify(expression)
    if expression.has(sp.oo, sp.zoo, sp.nan, sp.I):
        raise FormulaError(f"formula {str(expression)[:60]!r}: expected finite real numbers alone")
    # SymPy symbols of one name and different assumptions differ; ours are all real and nothing else.
    renames = {s: parameter_symbol(s.name) for s in expression.free_symbols if s != parameter_symbol(s.name)}
    expression = expression.xreplace(renames) if renames else expression
    for power in expression.atoms(sp.Pow):
        if power.exp.is_number and not abs(power.exp) <= MAX_POWER:
            raise FormulaError(f"formula: a power with exponent {str(power.exp)[:40]}; at most {MAX_POWER:,} is taken")
    return expression
