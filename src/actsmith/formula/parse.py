"""Text -> expression by an explicit whitelist. Nothing is evaluated: Python's `ast` module reads the text, and only the
node types, names and operators listed here are turned into SymPy objects. Everything else is a `FormulaError`."""

from __future__ import annotations

import ast
import contextlib
import math
import re
import warnings
from collections.abc import Callable, Collection
from functools import cache
from typing import Any

import sympy as sp

from actsmith.errors import FormulaError
from actsmith.formula.conditions import branch, gather, indicator, is_condition
from actsmith.formula.functions import (
    ACTIVATIONS,
    KEYWORDS,
    PREFIXES,
    SPELLED,
    VARIABLES,
    argument_names,
    function_names,
    known_name,
)
from actsmith.formula.notation import needs_rewriting, rewrite
from actsmith.formula.primitives import FUNCTIONS, constant_value, expm1
from actsmith.formula.size import MAX_SIZE, expression_size
from actsmith.formula.spline import spline, table
from actsmith.names import did_you_mean

MAX_LENGTH, MAX_NESTING, MAX_POWER, MAX_CONSTANT = 2_000, 50, 1_000, 700
MAX_BITS = 3_000  # of an exact rational's numerator and denominator; Python prints no more than 4,300 digits
MAX_DIGITS = 900  # of a number in a text: of as many bits
MAX_NAME = 60  # characters
MAX_SAVED = 40_000  # characters of a formula that was written by `to_text`

X = sp.Symbol("x", real=True)


class UnknownNameError(FormulaError):
    """A name that is neither x nor a function nor a parameter with a value.

    Attributes:
        unknown: the name.
    """

    unknown = ""


CONSTANTS: dict[str, sp.Expr] = {"pi": sp.pi, "e": sp.E}

_CHAINED = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_GROWING = ("exp", "expm1", "exp2", "sinh", "cosh", "csch", "sh", "ch")  # those with an h on both sides
_HINTS = {
    "lambda": "write what it returns alone, without lambda", "?": "write a if x > 0 else b", "[": "write ( ) for [ ]",
    "{": "write ( ) for { }", "=": "write the right side alone; a comparison is ==, <, >", ";": "write one formula",
    "'": "quotes stand in no formula", "!": "there is no factorial", "elif": "write a if x > 1 else b if x > 0 else c",
    "return": "write what is returned alone", "→": "write the right side alone", "∞": "every number is finite",
}  # fmt: skip


def parameter_symbol(name: str) -> sp.Symbol:
    """The SymPy symbol of the parameter `name`."""
    return sp.Symbol(name, real=True)


def parse(text: str, parameters: Collection[str] = (), *, saved: bool = False) -> sp.Expr:
    """The expression that `text` denotes, in the variable `x` and the named parameters.

    Args:
        text: what people write: Python's syntax, ^ for powers, 2x, |x|, x*(x > 0), typographic signs, LaTeX; functions
            by their names in NumPy, PyTorch and the catalogue, in any case.
        parameters: names that stand for numbers.
        saved: whether `to_text` wrote it; it may then be longer.

    >>> parse("max(0, x) + eps*x*exp(-x**2/2)", ["eps"])
    eps*x*exp(-x**2/2) + relu(x)
    >>> parse("2x |x|^3 + torch.sigmoid(x)(x >= 1)")
    2*x*absolute(x)**3 + (1 - step(1 - x))*sigmoid(x)

    Raises:
        FormulaError: the text is not a formula; the message says where, what was expected, and how to mend it.
    """
    if not isinstance(text, str):
        raise FormulaError(f"formula: expected text, got {type(text).__name__}")
    if len(text) > (most := MAX_SAVED if saved else MAX_LENGTH):
        raise FormulaError(f"formula: {len(text):,} characters, at most {most:,} are read; name its parts instead")
    if "\0" in text:
        raise FormulaError(f"formula: NUL byte at position {text.index(chr(0))}; expected printable text")
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > MAX_NESTING:
        raise FormulaError(f"formula: parentheses nested {deepest} deep, at most {MAX_NESTING} are read")
    try:
        tree, source = _syntax_tree(text.strip(), parameters)
        reader = _Reader(text.strip(), source, parameters, MAX_SIZE * (10 if saved else 1))
        result = reader.read(tree, 0)
        return gather(result) if reader.compared else result
    except (RecursionError, MemoryError):
        raise FormulaError(
            f"formula {_short(text)}: nested too deeply, at most {MAX_NESTING} levels are read"
        ) from None


def _syntax_tree(text: str, parameters: Collection[str]) -> tuple[ast.expr, str]:
    """The tree, and the text that it is of: as it was typed if Python reads that, else in Python's syntax."""

    def fail(what: str) -> FormulaError:
        return FormulaError(f"formula {_short(text)}: {what}")

    unusual = needs_rewriting(text, ("x", "X", *CONSTANTS, *parameters))
    tree = None if unusual else _python(text)
    if isinstance(tree, ast.expr):
        return tree, text
    source = rewrite(text, parameters, fail)
    again = _python(source) if source != text or tree is None else tree
    if isinstance(again, ast.expr):
        return again, source
    error = _python(text) if source.isascii() and not text.isascii() else again
    error = again if isinstance(error, ast.expr) else error
    if isinstance(error, SyntaxError):
        at = f" at position {error.offset}" if error.offset else ""
        hint = next((f"; {mend}" for sign, mend in _HINTS.items() if sign in text), "")
        raise fail(f"not well formed{at} ({error.msg}){hint}") from None
    raise fail("not text that can be encoded")


def _python(text: str) -> ast.expr | SyntaxError | UnicodeError:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's remarks on odd but readable literals
            return ast.parse(text, mode="eval").body
    except (SyntaxError, UnicodeError) as error:
        return error


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


class _Reader:
    def __init__(self, text: str, source: str, parameters: Collection[str], size: int) -> None:
        self.text = text
        self.source = source
        self.parameters = parameters
        self.size = size
        self.sizes: dict[sp.Basic, int] = {}  # of the parts so far
        self.compared = False  # whether a comparison stands in it as a number

    def fail(self, node: ast.AST, what: str) -> FormulaError:
        column = getattr(node, "col_offset", 0)
        read = "" if self.source == self.text else f", read as {_short(self.source)}"
        return FormulaError(f"formula {_short(self.text)}{read}, position {column + 1}: {what}")

    def read(self, node: ast.expr, depth: int) -> sp.Expr:  # noqa: PLR0911
        if depth > MAX_NESTING:
            raise self.fail(node, f"nested more than {MAX_NESTING} levels deep")
        if is_condition(node):
            self.compared = True
            return self.checked(node, indicator(node, lambda n: self.read(n, depth + 1), self.fail))
        match node:
            case ast.Constant():
                return self.number(node)
            case ast.Name():
                return self.name(node, node.id)
            case ast.Attribute() if (name := self.dotted(node)) is not None:
                return self.name(node, name)
            case ast.UnaryOp(op=ast.USub()):
                return -self.read(node.operand, depth + 1)
            case ast.UnaryOp(op=ast.UAdd()):
                return self.read(node.operand, depth + 1)
            case ast.BinOp():
                return self.binary(node, depth)
            case ast.Call():
                return self.call(node, depth)
            case ast.IfExp():
                return self.choice(node, node.test, node.body, node.orelse, depth)
        kind = type(node).__name__
        hints = {
            "Tuple": "; a decimal number has a point, 1.5", "Lambda": "; write what it returns alone",
            "List": "; write ( ) for [ ]", "Dict": "; write ( ) for { }", "Set": "; write ( ) for { }",
            "Subscript": "; write ( ) for [ ]", "NamedExpr": "; write its value where it is used",
        }  # fmt: skip
        raise self.fail(
            node,
            f"{kind} is not part of a formula; expected numbers, x, parameters, + - * / ** and calls"
            f"{hints.get(kind, '')}",
        )

    def number(self, node: ast.Constant) -> sp.Expr:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(node, f"expected a real number, got {_short(repr(value))}")
        if isinstance(value, int):
            if (digits := len(str(value))) > MAX_DIGITS:
                raise self.fail(node, f"a number of {digits} digits; at most {MAX_DIGITS} are read")
            return sp.Integer(value)
        if not math.isfinite(value):
            source = ast.get_source_segment(self.source, node) or repr(value)
            raise self.fail(node, f"{_short(source)} is beyond the range of float64")
        return sp.Rational(repr(value))

    def dotted(self, node: ast.expr) -> str | None:
        """The last part of a dotted name whose first parts are modules, such as torch.nn.functional.relu."""
        last, inner = "", node
        while isinstance(inner, ast.Attribute):
            last, inner = last or inner.attr, inner.value
            if isinstance(inner, ast.Attribute) and inner.attr not in PREFIXES:
                return None
        if isinstance(inner, ast.Name) and inner.id in PREFIXES and inner.id not in self.parameters:
            return last
        return None

    def name(self, node: ast.expr, name: str) -> sp.Expr:
        if name in self.parameters:
            return parameter_symbol(name)
        if len(name) > MAX_NAME:
            raise self.fail(node, f"a name of {len(name)} characters; expected x, a parameter or a function")
        if name in ("x", "X"):
            return X
        if name.lower() in CONSTANTS:
            return CONSTANTS[name.lower()]
        if name.lower() in ("inf", "nan", "infinity"):
            raise self.fail(node, f"{name} is no finite number; expected one, as in 1e6")
        if known_name(name) is not None:
            raise self.fail(node, f"{name} is a function; write {name}(x)")
        if name in VARIABLES and not re.search(r"\bx\b", self.source):
            mended = re.sub(rf"\b{name}\b", "x", self.source)
            raise self.unknown(
                node, name, f"; the variable is x: write {mended[:200]}, or give {name} its value, "
                f"as in params={{{name!r}: 1.0}} or --param {name}=1.0",
            )  # fmt: skip
        known = _near(name, ["x", *CONSTANTS, *self.parameters, *function_names()])
        raise self.unknown(
            node,
            name,
            f"{self.product_of(name) or known}; give a parameter its value, as in "
            f"params={{{name!r}: 1.0}} or --param {name}=1.0",
        )

    def unknown(self, node: ast.AST, name: str, hint: str) -> UnknownNameError:
        error = UnknownNameError(str(self.fail(node, f"unknown name {name!r}{hint}")))
        error.unknown = name
        return error

    def product_of(self, name: str) -> str:
        """What xsin or ax would say with the sign of the product, in the form of a hint."""
        for i in range(1, len(name)):
            first, rest = name[:i], name[i:]
            if first in ("x", "pi", "e", *self.parameters):
                if rest.isdigit():
                    return f" (write {first}**{rest} or {rest}*{first})"
                if rest in ("x", "pi", *self.parameters, *FUNCTIONS) or rest in SPELLED:
                    return f" (write {first}*{rest})"
        return ""

    def binary(self, node: ast.BinOp, depth: int) -> sp.Expr:
        """A chain a + b - c ... is read in a loop: a long sum is not a deep one."""
        chain: list[ast.BinOp] = []
        left: ast.expr = node
        while isinstance(left, ast.BinOp) and isinstance(left.op, _CHAINED):
            chain.append(left)
            left = left.left
        if not chain:
            return self.power(node, depth)
        factors = self.factors(left, depth + 1)
        for link in reversed(chain):
            if isinstance(link.op, ast.Mult | ast.Div):
                # One product of all factors: SymPy would multiply a number into a sum as soon as the two meet alone.
                right = self.factors(link.right, depth + 1)
                if isinstance(link.op, ast.Div):
                    if any(factor.is_zero for factor in right):
                        raise self.fail(link, "division by zero")
                    right = [1 / factor for factor in right]
                factors += right
                self.checked(link, sp.Mul(*factors))
            else:
                total, term = sp.Mul(*factors), self.read(link.right, depth + 1)
                factors = [self.checked(link, total + term if isinstance(link.op, ast.Add) else total - term)]
        return sp.Mul(*factors)

    def factors(self, node: ast.expr, depth: int) -> list[sp.Expr]:
        """The factors of a/(b*c) and of -(a + b)*c one by one."""
        if depth > MAX_NESTING:
            return [self.read(node, depth)]  # which refuses it
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return [sp.S.NegativeOne, *self.factors(node.operand, depth + 1)]
        above: list[sp.Expr] = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):  # a long product is not a deep one
            above = [*self.factors(node.right, depth + 1), *above]
            node = node.left
        return [*(self.factors(node, depth + 1) if above else [self.read(node, depth)]), *above]

    def checked(self, node: ast.AST, result: sp.Expr) -> sp.Expr:
        """`result`, if its exact numbers are of a size that can be worked with."""
        coefficient, offset = result.as_coeff_Mul()[0], result.as_coeff_Add()[0]
        for number in (coefficient, offset):
            if number.is_Rational and max(int(number.p).bit_length(), int(number.q).bit_length()) > MAX_BITS:
                raise self.fail(node, "an exact number of too many digits, or beyond the range of float64")
        for factor in sp.Mul.make_args(result):
            if isinstance(factor, sp.Pow) and factor.exp.is_number and not abs(factor.exp) <= MAX_POWER:
                raise self.fail(node, f"a power with exponent {_short(str(factor.exp))}; at most {MAX_POWER:,} is read")
        if expression_size(result, self.sizes) > self.size:
            raise self.fail(node, f"the formula written out has more than {self.size:,} operations")
        return result

    def power(self, node: ast.BinOp, depth: int) -> sp.Expr:
        if isinstance(node.op, ast.Mod):
            raise self.fail(node, "operator Mod is not known; write a - b*floor(a/b) for the remainder")
        if isinstance(node.op, ast.FloorDiv):
            raise self.fail(node, "operator FloorDiv is not known; write floor(a/b)")
        if not isinstance(node.op, ast.Pow):
            raise self.fail(node, f"operator {type(node.op).__name__} is not known; expected + - * / **")
        return self.raised(node, self.read(node.left, depth + 1), self.read(node.right, depth + 1))

    def raised(self, node: ast.expr, base: sp.Expr, exponent: sp.Expr) -> sp.Expr:
        if exponent.is_number and not abs(exponent) <= MAX_POWER:
            raise self.fail(node, f"a power with exponent {_short(str(exponent))}; at most {MAX_POWER:,} is read")
        if base.is_number and base.is_zero and exponent.is_negative:
            raise self.fail(node, "division by zero")
        if base.is_number and exponent.is_number and base != 0:
            value = abs(constant_value(base))
            size = constant_value(exponent) * math.log(value) if value else math.inf  # a number below float64's least
            if abs(size) > MAX_CONSTANT:
                raise self.fail(node, "a number beyond the range of float64")
            bits = max((int(n).bit_length() for r in base.atoms(sp.Rational) for n in (r.p, r.q)), default=0)
            if bits * max(1, abs(constant_value(exponent))) > MAX_BITS:
                raise self.fail(node, "an exact number of too many digits")
        return self.checked(node, base**exponent)

    def call(self, node: ast.Call, depth: int) -> sp.Expr:
        written, arguments, keywords = self.called(node)
        if written == "spline":
            return self.spline(node, depth)
        name = known_name(written)
        if len(written) > MAX_NAME:
            raise self.fail(node, f"a name of {len(written)} characters; expected a function")
        if name is None:
            hint = self.product_of(written) or _near(written, function_names())
            raise self.fail(node, f"unknown function {written!r}{hint}; known: {', '.join(FUNCTIONS)}")
        if any(isinstance(argument, ast.Starred) for argument in arguments):
            raise self.fail(node, f"{written} takes plain arguments only")
        if name == "where" and len(arguments) == 3 and is_condition(arguments[0]):
            test, yes, no = arguments
            return self.choice(node, test, yes, no, depth)
        if name == "gelu" and len(given := [*arguments[1:], *(k.value for k in keywords)]) == 1:
            name = "gelu_tanh" if isinstance(given[0], ast.Constant) and given[0].value == "tanh" else name
            return self.applied(node, name, written, [self.read(arguments[0], depth + 1)], {})
        values = [None if _is_none(argument) else self.read(argument, depth + 1) for argument in arguments]
        named = {
            str(k.arg): self.read(k.value, depth + 1) for k in keywords
            if k.arg not in ("inplace", "out", "dtype", "device") and not _is_none(k.value)
        }  # fmt: skip
        return self.applied(node, name, written, values, named)

    def called(self, node: ast.Call) -> tuple[str, list[ast.expr], list[ast.keyword]]:
        """The name that is called, and its arguments: f(u), np.f(u), u.f(), or nn.F(a)(u)."""
        match node.func:
            case ast.Name(id=name):
                return name, node.args, node.keywords
            case ast.Attribute(value=inner, attr=name):
                dotted = self.dotted(node.func)
                if dotted is not None:
                    return dotted, node.args, node.keywords
                if known_name(name) is not None:
                    return name, [inner, *node.args], node.keywords
                raise self.fail(node, f"only named functions can be called; {name[:40]!r} is none")
            case ast.Call(func=module) if not node.keywords:
                name = module.id if isinstance(module, ast.Name) else self.dotted(module) or ""
                if known_name(name) is not None:
                    return name, [*node.args, *node.func.args], node.func.keywords
        raise self.fail(node, f"only named functions can be called, got {type(node.func).__name__}")

    def applied(
        self, node: ast.Call, name: str, written: str, arguments: list[Any], named: dict[str, sp.Expr]
    ) -> sp.Expr:
        if name in ("pow", "power", "square"):
            arguments = [*arguments, sp.Integer(2)] if name == "square" else [*arguments, *named.values()]
            if len(arguments) != 2:
                raise self.fail(node, f"{written} takes {1 if name == 'square' else 2} arguments")
            return self.raised(node, arguments[0], arguments[1])
        constants = [a for a in arguments if a is not None and a.is_number and (name in _GROWING or not a.is_Rational)]
        values = [constant_value(a) for a in constants]
        if name in _GROWING and any(v > MAX_CONSTANT or (v < -MAX_CONSTANT and "h" in name) for v in values):
            raise self.fail(node, f"{written} of a constant beyond {MAX_CONSTANT} in size")
        primitive = FUNCTIONS.get(name)
        if (
            primitive is not None
            and not named
            and None not in arguments
            and primitive[1] <= len(arguments) <= primitive[2]
        ):
            result: sp.Expr = primitive[0](*arguments)
        else:
            result = self.spelled(node, name, written, arguments, named)
        if result.has(sp.zoo, sp.oo, sp.nan):
            raise self.fail(node, f"{written} is not finite at this argument")
        return self.checked(node, result)

    def spelled(
        self, node: ast.Call, name: str, written: str, arguments: list[Any], named: dict[str, sp.Expr]
    ) -> sp.Expr:
        """A function of another library's name, or an activation of the catalogue with its parameters."""
        function: Callable[..., Any] | None = SPELLED.get(name) or _activation(name)
        if (not arguments and named) or (function is None and named):
            raise self.fail(node, f"{written} takes plain arguments only, without {next(iter(named))}=")
        if function is not None and arguments:
            for keywords in (named, {KEYWORDS.get(key, key): value for key, value in named.items()}):
                with contextlib.suppress(TypeError):
                    result: sp.Expr = function(*arguments, **keywords)
                    if name in ACTIVATIONS:
                        self.check_growth(node, written, result)
                    return result
        _, least, most = FUNCTIONS.get(name, (None, 1, 1))
        if function is not None and len(takes := argument_names(name)) > 1:
            raise self.fail(node, f"{written} takes ({', '.join(takes)}), got {len(arguments)} arguments"
                            + "".join(f", {key}=" for key in named))  # fmt: skip
        wanted = str(least) if least == most else f"{least} to {most}"
        raise self.fail(node, f"{written} takes {wanted} argument{'s' * (wanted != '1')}, got {len(arguments)}")

    def check_growth(self, node: ast.Call, written: str, result: sp.Expr) -> None:
        """An activation at a constant holds no exponential that `to_text` prints and this parser refuses."""
        for grown in sorted(result.atoms(sp.exp, expm1, sp.cosh, sp.sinh), key=expression_size):  # inner ones first
            if grown.args[0].is_number and constant_value(grown.args[0]) > MAX_CONSTANT:
                raise self.fail(node, f"{written} of a constant beyond {MAX_CONSTANT} in size")

    def spline(self, node: ast.Call, depth: int) -> sp.Expr:
        """`spline(u, table, order)`, as saved formulas hold it; their tables come with them."""
        match node.args:
            case [u, ast.Name(id=name), ast.Constant(value=int(order))] if not node.keywords and 0 <= order <= 3:
                table(name)
                return spline(self.read(u, depth + 1), sp.Symbol(name), sp.Integer(order))
        raise self.fail(node, "expected spline(u, table, order) with the name of a table and an order from 0 to 3")

    def choice(self, node: ast.expr, test: ast.expr, yes: ast.expr, no: ast.expr, depth: int) -> sp.Expr:
        """`a if x > 0 else b` and `where(x > 0, a, b)`."""
        first, second = self.read(yes, depth + 1), self.read(no, depth + 1)
        return self.checked(node, branch(test, first, second, lambda n: self.read(n, depth + 1), self.fail))


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _near(name: str, known: Collection[str]) -> str:
    hint = did_you_mean(name, known)
    return f" ({hint})" if hint else ""


@cache
def _activation(name: str) -> Callable[..., sp.Expr] | None:
    """A catalogue activation as a function of its argument and its parameters, in the order of its declaration."""
    entry = ACTIVATIONS.get(name)
    if entry is None:
        return None
    expression = parse(entry.text, entry.params)
    values = {n: sp.Rational(repr(p.value)) for n, p in entry.params.items()}

    def call(u: sp.Expr, /, *given: sp.Expr, **named: sp.Expr) -> sp.Expr:
        if len(given) > len(values):
            raise TypeError(f"{name} takes {len(values)} parameters")
        chosen = dict(zip(values, given, strict=False))
        for key, value in named.items():
            if key not in values or key in chosen:
                raise TypeError(f"{name} has no parameter {key} left")
            chosen[key] = value
        return expression.xreplace({X: u, **{parameter_symbol(n): chosen.get(n, v) for n, v in values.items()}})

    return call
