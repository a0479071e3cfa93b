"""What people type -> the text that the parser reads: ^ for a power, 2x and (x + 1)(x - 1) for products, |x| for abs,
typographic signs, sin^2(x), LaTeX. Text goes in and text comes out; what is in no rule here is left to the parser."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from actsmith.errors import FormulaError
from actsmith.formula.functions import is_activation, known_name
from actsmith.formula.latex import from_latex

__all__ = ["needs_rewriting", "rewrite"]

_CHARACTERS = {
    **dict.fromkeys("−–—‒﹣", "-"), **dict.fromkeys("×·⋅∙∗•", "*"), **dict.fromkeys("÷∕⁄", "/"), "≤": "<=",
    "⩽": "<=", "≥": ">=", "⩾": ">=", "≠": "!=", "½": "(1/2)", "¼": "(1/4)", "¾": "(3/4)", "⅓": "(1/3)", "⅔": "(2/3)",
    "ℯ": " e ", "∧": " and ", "∨": " or ", "¬": " not ", "∣": "|", "∛": " cbrt ", "\u200b": "", "\ufeff": "",
    **dict.fromkeys("\xa0\u2002\u2003\u2007\u2009\u200a\u202f\u3000\u2062", " "), "π": " pi ",
    **{chr(0xFEE0 + code): chr(code) for code in range(0x21, 0x7F)},
}  # fmt: skip
_TABLE = str.maketrans(_CHARACTERS)
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ϵ": "epsilon", "ζ": "zeta", "η": "eta",
    "θ": "theta", "ι": "iota", "κ": "kappa", "λ": "lambd", "μ": "mu", "ν": "nu", "ξ": "xi", "ρ": "rho", "σ": "sigma",
    "τ": "tau", "υ": "upsilon", "φ": "phi", "ϕ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma",
    "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi",
    "Ω": "Omega",
}  # fmt: skip
_GREEK_WORD = re.compile(rf"([{''.join(_GREEK)}])(_?[A-Za-z0-9]*)")
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+", strict=True))
_RAISED_RUN = re.compile(f"[{''.join(_RAISED)}]+")
_HEAD = re.compile(r"\A\s*(?!x\b)[A-Za-zσφ]\w*\s*(?:\(\s*x\s*\))?\s*=(?!=)")
_UNUSUAL = re.compile(r"[^\x20-\x7e]|[\^|\\=]|\)\s*\(|(?<!\w)[\d.]+(?:[eE][+-]?\d+)?\s*\(")
_TOKEN = re.compile(
    r"(?P<gap>\s*)(?:(?P<number>(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+(?![\w.]))?)"
    r"|(?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*)*)|(?P<method>\.[^\W\d]\w*)"
    r"|(?P<sign>\*\*|<=|>=|==|!=|[-+*/^|(),<>=&~%@√'\"]))"
)
_WORDS = frozenset(("if", "else", "and", "or", "not", "lambda", "for", "in", "is", "True", "False", "None"))


@dataclass
class _Token:
    kind: str  # number, name, method, sign, bar (an opening |x|)
    text: str
    gap: str = ""

    @property
    def starts(self) -> bool:
        return self.kind in ("number", "bar") or self.text in ("(", "√") or (self.kind == "name" and not self.is_word)

    @property
    def ends(self) -> bool:
        return self.kind in ("number", "method") or self.text == ")" or (self.kind == "name" and not self.is_word)

    @property
    def is_word(self) -> bool:
        return self.text in _WORDS


def needs_rewriting(text: str, variables: Collection[str]) -> bool:
    """Whether Python would read the text otherwise than people mean it: a product without its sign, or a sign of
    typography."""
    if _UNUSUAL.search(text):
        return True
    return any(match[1] in variables for match in re.finditer(r"(?<![\w.])(\w+)\s*\(", text))


def rewrite(text: str, parameters: Collection[str], fail: Callable[[str], FormulaError]) -> str:
    """Text in Python's syntax that says the same; unchanged where it holds signs that stand in no formula.

    Args:
        text: what was typed.
        parameters: names that are no functions, beside x, pi and e.
        fail: makes the error of a reason.

    Raises:
        FormulaError: it can be read in two ways; the message says how to write each.
    """
    text = _HEAD.sub("", text.strip().strip("$"), count=1)
    if not text.isascii():
        text = _typography(text, parameters)
    text = re.sub(r"\\\s*\n", " ", text)
    if "\\" in text or re.search(r"[\^_]\{", text):
        text = from_latex(text, parameters)
    tokens = _tokens(text)
    if tokens is None:
        return text
    return _Products(_functions_raised(_bars(tokens), parameters, fail), parameters, fail).text()


def _typography(text: str, parameters: Collection[str]) -> str:
    def greek(match: re.Match[str]) -> str:
        name = _GREEK[match[1]] + match[2]
        if match[0] in parameters:
            return match[0]
        return name if name in parameters else f" {_GREEK[match[1]]} {match[2]}"

    text = _RAISED_RUN.sub(lambda run: f"**({''.join(_RAISED[c] for c in run[0])}) ", text)
    return _GREEK_WORD.sub(greek, text).translate(_TABLE)


def _tokens(text: str) -> list[_Token] | None:
    """The text in tokens; None where it holds something that is none."""
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            return None
        kind = str(match.lastgroup)
        found.append(_Token(kind, match[kind], match["gap"]))
        at = match.end()
    return found


def _bars(tokens: list[_Token]) -> list[_Token]:
    """|x| as abs(x). Between comparisons in parentheses | is Python's "or"."""
    bars = [i for i, token in enumerate(tokens) if token.text == "|"]
    if not bars or len(bars) % 2 or _is_or(tokens, bars):
        return tokens
    opened = 0
    result: list[_Token] = []
    for token in tokens:
        if token.text != "|":
            result.append(token)
        elif opened and result and result[-1].ends:
            opened -= 1
            result.append(_Token("sign", ")"))
        else:
            opened += 1
            result += [_Token("bar", "abs", token.gap), _Token("sign", "(")]
    return tokens if opened else result


def _is_or(tokens: list[_Token], bars: list[int]) -> bool:
    compares = any(token.text in ("<", ">", "<=", ">=") for token in tokens)
    return compares and all(0 < i < len(tokens) - 1 and tokens[i - 1].text == ")" and tokens[i + 1].text == "("
                            for i in bars)  # fmt: skip


def _closing(tokens: list[_Token], opening: int) -> int | None:
    depth = 0
    for i in range(opening, len(tokens)):
        depth += (tokens[i].text == "(") - (tokens[i].text == ")")
        if depth == 0:
            return i
    return None


def _functions_raised(
    tokens: list[_Token], parameters: Collection[str], fail: Callable[[str], FormulaError]
) -> list[_Token]:
    """sin^2(x) -> sin(x)^2."""
    i = 0
    while i < len(tokens) - 2:
        token, power = tokens[i], tokens[i + 1]
        if token.kind == "name" and power.text in ("^", "**") and _is_function(token.text, parameters):
            if tokens[i + 2].text == "-":
                raise fail(f"{token.text}^- may be an inverse or 1/{token.text}; write 1/{token.text}(x)")
            end = _closing(tokens, i + 2) if tokens[i + 2].text == "(" else i + 2
            exponent = tokens[i + 2 : (end or 0) + 1]
            if end is None or end + 1 >= len(tokens) or tokens[end + 1].text != "(":
                raise fail(f"{token.text} stands without its argument; write {token.text}(x){power.text}2")
            if "".join(t.text for t in exponent).strip("()") == "-1":
                raise fail(f"{token.text}^-1 may be an inverse or 1/{token.text}; write 1/{token.text}(x)")
            last = _closing(tokens, end + 1)
            if last is None:
                return tokens
            call = [token, *tokens[end + 1 : last + 1]]
            tokens = [*tokens[:i], *call, power, *exponent, *tokens[last + 1 :]]
        i += 1
    return tokens


def _is_function(name: str, parameters: Collection[str]) -> bool:
    last = name.rpartition(".")[2]
    return name not in parameters and name.lower() not in ("x", "pi", "e") and known_name(last) is not None


class _Products:
    """The signs of products put in where people leave them out."""

    def __init__(self, tokens: list[_Token], parameters: Collection[str], fail: Callable[[str], FormulaError]) -> None:
        self.tokens = tokens
        self.parameters = parameters
        self.fail = fail

    def text(self) -> str:
        parts: list[str] = []
        divided = [False]  # at each level of parentheses: whether a division is the last of the product so far
        closing: list[int] = []  # levels of which √ without parentheses ends
        for i, token in enumerate(self.tokens):
            before = self.tokens[i - 1] if i else None
            if before is not None and before.ends and token.starts and self.between(i, divided[-1]):
                parts.append("*")
            if token.text == "(":
                divided.append(False)
            elif token.text == ")" and len(divided) > 1:
                divided.pop()
            elif token.text == "/":
                divided[-1] = True
            elif token.text in ("+", "-", ",", "<", ">", "<=", ">=", "==", "!=") or token.is_word:
                divided[-1] = False
            parts.append(self.one(i, closing))
            if token.text == "√":
                continue
            if closing and (token.kind in ("number", "name")):
                parts.append(")" * len(closing))
                closing.clear()
        return "".join(parts).strip()

    def one(self, i: int, closing: list[int]) -> str:
        token = self.tokens[i]
        space = " " if token.gap or token.is_word else ""
        if token.text == "^":
            return f"{space}**"
        if token.text == "√":
            if i + 1 < len(self.tokens) and self.tokens[i + 1].text == "(":
                return f"{space}sqrt"
            closing.append(i)
            return f"{space}sqrt("
        return f"{space}{token.text}"

    def between(self, i: int, divided: bool) -> bool:
        """Whether a product stands between token i and the one before it, rather than a call.

        Raises:
            FormulaError: that cannot be said.
        """
        before, token = self.tokens[i - 1], self.tokens[i]
        if token.text == "(" and before.kind in ("name", "bar", "method") and not self.is_variable(before.text):
            return False
        if token.text == "(" and before.text == ")" and self.is_module(i - 1):
            return False
        left, right = before.text, token.text
        if "\n" in token.gap or "\r" in token.gap:
            raise self.fail(f"a line break stands between {left} and {right}; expected an operator, as in {left} + ...")
        if before.kind == "number" and token.kind == "number":
            raise self.fail(f"two numbers, {left} and {right}, stand side by side; expected an operator between them")
        if before.kind == "name" and _is_function(left, self.parameters):
            raise self.fail(f"{left} is a function; write {left}({right}) with parentheses")
        if divided:
            raise self.fail(
                f"a product without its sign after a division can be read in two ways: a/b{right} as (a/b)*{right} or "
                f"a/(b*{right}); write one of them"
            )
        powered = i >= 2 and self.tokens[i - 2].text in ("^", "**")
        if powered and not token.gap and before.kind in ("number", "name") and token.kind == "name":
            raise self.fail(
                f"the power {left}{right} can be read in two ways; write ^({left}*{right}) or ^{left}*{right}"
            )
        return True

    def is_module(self, closing: int) -> bool:
        """Whether the parenthesis ends the nn.LeakyReLU(0.1) of nn.LeakyReLU(0.1)(x): no function of x."""
        opening, depth = closing, 0
        while opening >= 0:
            depth += (self.tokens[opening].text == ")") - (self.tokens[opening].text == "(")
            if depth == 0:
                break
            opening -= 1
        name = self.tokens[opening - 1] if opening > 0 else None
        inside = self.tokens[opening:closing]
        if name is None or name.kind != "name" or any(t.text.lower() == "x" for t in inside):
            return False
        known = known_name(name.text.rpartition(".")[2])
        return known is not None and (".nn." in f".{name.text}" or is_activation(known))

    def is_variable(self, name: str) -> bool:
        return name in self.parameters or name.lower() in ("x", "pi", "e")
