"""Text -> expression by an explicit whitelist. Nothing is evaluated: Python's `ast` module reads the text, and only the
node types, names and operators listed here are turned into SymPy objects. Everything else is a `FormulaError`."""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Collection

import sympy as sp

from actsmith.errors import FormulaError
from actsmith.formula.primitives import FUNCTIONS, constant_value, where
from actsmith.formula.size import MAX_SIZE, expression_size
from actsmith.formula.spline import spline, table
from actsmith.names import did_you_mean

MAX_LENGTH, MAX_NESTING, MAX_POWER, MAX_DIGITS, MAX_CONSTANT = 2_000, 50, 100, 40, 700
MAX_BITS = 3_000  # of an exact rational's numerator and denominator; Python prints no more than 4,300 digits

X = sp.Symbol("x", real=True)
CONSTANTS: dict[str, sp.Expr] = {"pi": sp.pi, "e": sp.E}

_CHAINED = (ast.Add, ast.Sub, ast.Mult, ast.Div)


def parameter_symbol(name: str) -> sp.Symbol:
    """The SymPy symbol of the parameter `name`."""
    return sp.Symbol(name, real=True)


def parse(text: str, parameters: Collection[str] = ()) -> sp.Expr:
    """The expression that `text` denotes, in the variable `x` and the named parameters.

    >>> parse("max(0, x) + eps*x*exp(-x**2/2)", ["eps"])
    eps*x*exp(-x**2/2) + relu(x)

    Raises:
        FormulaError: the text is not a formula; the message says where, what was expected, and how to mend it.
    """
    if not isinstance(text, str):
        raise FormulaError(f"formula: expected text, got {type(text).__name__}")
    if len(text) > MAX_LENGTH:
        raise FormulaError(
            f"formula: {len(text):,} characters, at most {MAX_LENGTH:,} are read; name its parts instead"
        )
    if "\0" in text:
        raise FormulaError(f"formula: NUL byte at position {text.index(chr(0))}; expected printable text")
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > MAX_NESTING:
        raise FormulaError(f"formula: parentheses nested {deepest} deep, at most {MAX_NESTING} are read")
    try:
        return _Reader(text.strip(), parameters).read(_syntax_tree(text), 0)
    except (RecursionError, MemoryError):
        raise FormulaError(
            f"formula {_short(text)}: nested too deeply, at most {MAX_NESTING} levels are read"
        ) from None


def _syntax_tree(text: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's remarks on odd but readable literals
            return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        at = f" at position {error.offset}" if error.offset else ""
        raise FormulaError(f"formula {_short(text)}: not well formed{at} ({error.msg})") from None
    except UnicodeError:
        raise FormulaError(f"formula {_short(text)}: not text that can be encoded") from None


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


class _Reader:
    def __init__(self, text: str, parameters: Collection[str]) -> None:
        self.text = text
        self.parameters = parameters

    def fail(self, node: ast.AST, what: str) -> FormulaError:
        column = getattr(node, "col_offset", 0)
        return FormulaError(f"formula {_short(self.text)}, position {column + 1}: {what}")

    def read(self, node: ast.expr, depth: int) -> sp.Expr:  # noqa: PLR0911
        if depth > MAX_NESTING:
            raise self.fail(node, f"nested more than {MAX_NESTING} levels deep")
        match node:
            case ast.Constant():
                return self.number(node)
            case ast.Name():
                return self.name(node)
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
        raise self.fail(node, f"{kind} is not part of a formula; expected numbers, x, parameters, + - * / ** and calls")

    def number(self, node: ast.Constant) -> sp.Expr:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(node, f"expected a real number, got {_short(repr(value))}")
        source = ast.get_source_segment(self.text, node) or repr(value)
        if isinstance(value, int):
            if len(source) > MAX_DIGITS:
                raise self.fail(node, f"a number of {len(source)} digits; at most {MAX_DIGITS} are read")
            return sp.Integer(value)
        if not math.isfinite(value):
            raise self.fail(node, f"{_short(source)} is beyond the range of float64")
        return sp.Rational(repr(value))

    def name(self, node: ast.Name) -> sp.Expr:
        if node.id in self.parameters:
            return parameter_symbol(node.id)
        if node.id == "x":
            return X
        if node.id in CONSTANTS:
            return CONSTANTS[node.id]
        if node.id in FUNCTIONS:
            raise self.fail(node, f"{node.id} is a function; write {node.id}(x)")
        known = _near(node.id, ["x", *CONSTANTS, *FUNCTIONS, *self.parameters])
        raise self.fail(
            node,
            f"unknown name {node.id!r}{known}; give a parameter its value, as in params={{{node.id!r}: 1.0}} "
            f"or --param {node.id}=1.0",
        )

    def binary(self, node: ast.BinOp, depth: int) -> sp.Expr:
        """A chain a + b - c ... is read in a loop: a long sum is not a deep one."""
        chain: list[ast.BinOp] = []
        left: ast.expr = node
        while isinstance(left, ast.BinOp) and isinstance(left.op, _CHAINED):
            chain.append(left)
            left = left.left
        if not chain:
            return self.power(node, depth)
        factors = [self.read(left, depth + 1)]
        for link in reversed(chain):
            right = self.read(link.right, depth + 1)
            if isinstance(link.op, ast.Div) and right.is_zero:
                raise self.fail(link, "division by zero")
            if isinstance(link.op, ast.Mult | ast.Div):
                # One product of all factors: SymPy would multiply a number into a sum as soon as the two meet alone.
                factors.append(right if isinstance(link.op, ast.Mult) else 1 / right)
                self.checked(link, sp.Mul(*factors))
            else:
                total = sp.Mul(*factors)
                factors = [self.checked(link, total + right if isinstance(link.op, ast.Add) else total - right)]
        return sp.Mul(*factors)

    def checked(self, node: ast.AST, result: sp.Expr) -> sp.Expr:
        """`result`, if its exact numbers are of a size that can be worked with."""
        coefficient, offset = result.as_coeff_Mul()[0], result.as_coeff_Add()[0]
        for number in (coefficient, offset):
            if number.is_Rational and max(int(number.p).bit_length(), int(number.q).bit_length()) > MAX_BITS:
                raise self.fail(node, "an exact number of too many digits, or beyond the range of float64")
        if expression_size(result) > MAX_SIZE:
            raise self.fail(node, f"the formula written out has more than {MAX_SIZE:,} operations")
        return result

    def power(self, node: ast.BinOp, depth: int) -> sp.Expr:
        if isinstance(node.op, ast.BitXor):
            raise self.fail(node, "^ is not a power here; write **")
        if not isinstance(node.op, ast.Pow):
            raise self.fail(node, f"operator {type(node.op).__name__} is not known; expected + - * / **")
        base, exponent = self.read(node.left, depth + 1), self.read(node.right, depth + 1)
        if exponent.is_number and not abs(exponent) <= MAX_POWER:
            raise self.fail(node, f"a power with exponent {_short(str(exponent))}; at most {MAX_POWER} is read")
        if base.is_number and base.is_zero and exponent.is_negative:
            raise self.fail(node, "division by zero")
        if base.is_number and exponent.is_number and base != 0:
            size = constant_value(exponent) * math.log(abs(constant_value(base)))
            if abs(size) > MAX_CONSTANT:
                raise self.fail(node, "a number beyond the range of float64")
            bits = max((int(n).bit_length() for r in base.atoms(sp.Rational) for n in (r.p, r.q)), default=0)
            if bits * max(1, abs(constant_value(exponent))) > MAX_BITS:
                raise self.fail(node, "an exact number of too many digits")
        result = base**exponent
        if isinstance(result, sp.Pow) and result.exp.is_number and not abs(result.exp) <= MAX_POWER:
            raise self.fail(node, f"a power with exponent {_short(str(result.exp))}; at most {MAX_POWER} is read")
        return self.checked(node, result)

    def call(self, node: ast.Call, depth: int) -> sp.Expr:
        if not isinstance(node.func, ast.Name):
            raise self.fail(node, f"only named functions can be called, got {type(node.func).__name__}")
        name = node.func.id
        if name == "spline":
            return self.spline(node, depth)
        if name not in FUNCTIONS:
            raise self.fail(node, f"unknown function {name!r}{_near(name, FUNCTIONS)}; known: {', '.join(FUNCTIONS)}")
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self.fail(node, f"{name} takes plain arguments only")
        function, least, most = FUNCTIONS[name]
        if not least <= len(node.args) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise self.fail(node, f"{name} takes {wanted} argument{'s' * (wanted != '1')}, got {len(node.args)}")
        if name == "where" and isinstance(node.args[0], ast.Compare):
            test, yes, no = node.args
            return self.choice(node, test, yes, no, depth)
        arguments = [self.read(argument, depth + 1) for argument in node.args]
        if any(a.is_number and abs(constant_value(a)) > MAX_CONSTANT for a in arguments):
            raise self.fail(node, f"{name} of a constant beyond {MAX_CONSTANT} in size")
        result: sp.Expr = function(*arguments)
        if result.has(sp.zoo, sp.oo, sp.nan):
            raise self.fail(node, f"{name} is not finite at this argument")
        return self.checked(node, result)

    def spline(self, node: ast.Call, depth: int) -> sp.Expr:
        """`spline(u, table, order)`, as saved formulas hold it; their tables come with them."""
        match node.args:
            case [u, ast.Name(id=name), ast.Constant(value=int(order))] if not node.keywords and 0 <= order <= 3:
                table(name)
                return spline(self.read(u, depth + 1), sp.Symbol(name), sp.Integer(order))
        raise self.fail(node, "expected spline(u, table, order) with the name of a table and an order from 0 to 3")

    def choice(self, node: ast.expr, test: ast.expr, yes: ast.expr, no: ast.expr, depth: int) -> sp.Expr:
        """`a if x > 0 else b` and `where(x > 0, a, b)`."""
        if not (isinstance(test, ast.Compare) and len(test.ops) == 1):
            raise self.fail(node, "a condition must be one comparison, as in `x > 0`")
        left, right = self.read(test.left, depth + 1), self.read(test.comparators[0], depth + 1)
        first, second = self.read(yes, depth + 1), self.read(no, depth + 1)
        match test.ops[0]:
            case ast.Gt():
                return where(left - right, first, second)
            case ast.Lt():
                return where(right - left, first, second)
            case ast.GtE():
                return where(right - left, second, first)
            case ast.LtE():
                return where(left - right, second, first)
        raise self.fail(node, "a condition compares with >, <, >= or <=")


def _near(name: str, known: Collection[str]) -> str:
    hint = did_you_mean(name, known)
    return f" ({hint})" if hint else ""
