"""LaTeX -> formula text: what `Formula.latex()` prints, and what people write in the same style.

Only the commands below are known. Braces become parentheses, so a command can say nothing that plain text could not.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from actsmith.errors import FormulaError
from actsmith.names import did_you_mean

__all__ = ["from_latex"]

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[^\W\d_]+|\s+|.", re.DOTALL)

_GLYPHS = {"sigma": "sigmoid", "Phi": "normal_cdf", "varphi": "normal_pdf", "phi": "normal_pdf", "theta": "step"}
"""Letters that stand for a function where its argument follows."""

_SYMBOLS = {
    "cdot": "*", "times": "*", "ast": "*", "div": "/", "le": "<=", "leq": "<=", "leqslant": "<=", "ge": ">=",
    "geq": ">=", "geqslant": ">=", "lt": "<", "gt": ">", "quad": " ", "qquad": " ", "left": "", "right": "", "big": "",
    "Big": "", "bigl": "", "bigr": "", "Bigl": "", "Bigr": "", "displaystyle": " ", "lvert": "abs(", "rvert": ")",
    "lfloor": "floor(", "rfloor": ")", "land": " and ", "wedge": " and ", "lor": " or ", "vee": " or ",
}  # fmt: skip
_WORDS = frozenset((
    "exp", "ln", "log", "sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "arctan", "max",
    "min", "pi", "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "kappa", "lambda", "mu",
    "nu", "xi", "rho", "tau", "psi", "omega", "sigma", "theta", "vartheta", "phi", "varphi", "chi", "Gamma", "Delta",
    "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega", "arcsinh",
))  # fmt: skip
_SPACES = frozenset(("\\,", "\\;", "\\:", "\\!", "\\ ", "~"))
_NAMED = ("mathrm", "operatorname", "text", "textrm", "mathbf", "mathit", "mathsf", "textit", "textbf")


class _Reader:
    def __init__(self, text: str, parameters: Collection[str]) -> None:
        self.tokens = _TOKEN.findall(text)
        self.at = 0
        self.text = text
        self.parameters = parameters

    def fail(self, what: str) -> FormulaError:
        shown = self.text if len(self.text) <= 60 else self.text[:57] + "..."
        return FormulaError(f"formula {shown!r}, read as LaTeX: {what}")

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else ""

    def spaces(self) -> None:
        while self.peek().isspace():
            self.at += 1

    def until(self, end: str) -> str:
        """Everything up to the closing token, translated."""
        parts = []
        while self.peek() != end:
            if not self.peek():
                raise self.fail(f"{end} is missing")
            parts.append(self.one())
        self.at += 1
        return "".join(parts)

    def argument(self) -> str:
        """A group in braces, or the next token alone, in parentheses."""
        self.spaces()
        if self.peek() == "{":
            self.at += 1
            return f"({self.until('}')})"
        if self.peek() in ("", "}"):
            raise self.fail("an argument is missing")
        if self.peek().isalpha() and len(self.peek()) > 1:  # x^ab is x^a b
            first, self.tokens[self.at] = self.peek()[0], self.peek()[1:]
            return f"({first})"
        return f"({self.one()})"

    def one(self) -> str:
        """The next token with what belongs to it, as plain text."""
        token = self.peek()
        self.at += 1
        if token.startswith("\\"):
            return self.command(token)
        if token == "{":
            return f"({self.until('}')})"
        if token == "}":
            raise self.fail("} without {")
        if token == "^":
            return f"**{self.argument()}"
        if token == "_":
            raise self.fail("a subscript belongs to a name")
        return self.subscripted(token) if token.isalpha() else (" " if token in _SPACES or token == "&" else token)

    def command(self, token: str) -> str:  # noqa: PLR0911, PLR0912
        name = token[1:]
        if token in _SPACES:
            return " "
        if token == "\\_":
            return "_"
        if token in ("\\{", "\\}"):
            return "(" if name == "{" else ")"
        if name in ("frac", "dfrac", "tfrac"):
            above = self.argument()
            return f"({above}/{self.argument()})"
        if name == "sqrt":
            self.spaces()
            if self.peek() == "[":
                self.at += 1
                root = self.until("]")
                return f"({self.argument()}**(1/({root})))"
            return f" sqrt{self.argument()}"
        if name in ("left", "right") and self.peek() == "|":
            self.at += 1
            return " abs(" if name == "left" else ")"
        if name in ("left", "right") and self.peek() == ".":
            raise self.fail("a bracket without its partner; write ( and )")
        if name in _NAMED:
            if self.peek() == "*":
                self.at += 1
            word = self.argument()[1:-1].replace(" ", "").replace("\\", "")
            if self.peek() == "'":
                self.at += 1
                word += "_slope"
            return f" {word}{self.gap()}"
        if name in _SYMBOLS:
            symbol = _SYMBOLS[name]
            return f" {symbol}" if symbol.endswith("(") else symbol
        if name in _WORDS:
            if name in _GLYPHS and (self.calls() or name not in self.parameters):
                return f" {_GLYPHS[name]}{self.gap()}"
            return f" {self.subscripted(name)}"
        if name == "begin":
            raise self.fail(r"\begin is not read; write where(x > 0, a, b) for cases")
        hint = did_you_mean(name, [*_WORDS, *_SYMBOLS, *_NAMED, "frac", "sqrt"])
        raise self.fail(f"unknown command {token[:20]!r}{f' ({hint})' * bool(hint)}; write its name without \\")

    def gap(self) -> str:
        """A space after a name, none before what it is raised to or called with."""
        return "" if self.peek() in ("^", "(", "{", "\\left") else " "

    def calls(self) -> bool:
        r"""Whether an argument follows as our own `latex()` prints it: without a space, after a power at most."""
        at = 0
        if self.peek() == "^" and self.peek(1) == "{":
            depth, at = 1, 2
            while depth and self.peek(at):
                depth += {"{": 1, "}": -1}.get(self.peek(at), 0)
                at += 1
        return self.peek(at) in ("\\left", "(")

    def subscripted(self, name: str) -> str:
        """alpha_{p} is the parameter alpha_p, or alphap where that is given."""
        if self.peek() != "_":
            return name + ("" if not self.peek()[:1].isdigit() else " ")
        self.at += 1
        below = self.argument().replace("(", "").replace(")", "").replace(" ", "").replace("\\", "")
        return f"{name}{below}" if f"{name}{below}" in self.parameters else f"{name}_{below}"


def from_latex(text: str, parameters: Collection[str] = ()) -> str:
    r"""The formula text of a LaTeX expression. Of `\sigma` beside a parameter sigma, `\sigma\left(x\right)` is the
    function and `\sigma \left(x\right)` the product, as `Formula.latex` prints them.

    >>> from_latex(r"\frac{x}{2} \tanh^{2}{\left(x \right)}")
    '((x)/(2))  tanh**(2)((x ))'

    Raises:
        FormulaError: a command that is not known, or a brace without its partner.
    """
    reader = _Reader(text.strip().strip("$").strip(), parameters)
    parts = []
    while reader.peek():
        parts.append(reader.one())
    return "".join(parts).strip()
