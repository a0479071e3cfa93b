"""Every known activation by its name, and what stands for a formula wherever one is taken. The table itself is in
`actsmith.formula.declared`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from actsmith.errors import FormulaError
from actsmith.formula import declared
from actsmith.formula.declared import DECLARED, Declaration
from actsmith.formula.formula import Formula, Param
from actsmith.formula.functions import known_name, squash
from actsmith.formula.parse import parse
from actsmith.formula.primitives import constant_value
from actsmith.names import did_you_mean

__all__ = [
    "ALIASES", "CATALOGUE", "FOUND", "Entry", "FormulaLike", "get_activation", "is_name", "is_one", "number", "resolve",
]  # fmt: skip

FormulaLike = Formula | str | Callable[..., Any]
"""What stands wherever a formula is taken: a Formula, a catalogue name, formula text, or an activation of torch's: a
module (`nn.GELU()`), its class, a function (`torch.nn.functional.silu`), a partial of one."""


@dataclass(frozen=True)
class Entry(Declaration):
    """One activation of the catalogue: a `Declaration` that gives its Formula."""

    def formula(self, **values: float | Param) -> Formula:
        """The Formula, with other parameter values where given."""
        formula = _build(self.name)
        return formula.at(**values) if values else formula


def _entries(table: Mapping[str, Declaration]) -> dict[str, Entry]:
    return {name: Entry(d.name, d.text, d.source, d.params, d.summary) for name, d in table.items()}


CATALOGUE: dict[str, Entry] = _entries(DECLARED)
"""Name -> Entry, in the order of their declaration."""

ALIASES: dict[str, Entry] = _entries(declared.ALIASES)
"""Name that others use -> Entry; no part of the catalogue's table."""

FOUND: dict[str, Entry] = _entries(declared.FOUND)
"""Name -> Entry of what was found here, each for one kind of network; no part of the catalogue's table."""


def _entry(name: str) -> Entry | None:
    """By its name or an alias, in any case, with _ or - or neither."""
    return _SQUASHED.get(squash(name.strip()))


_SQUASHED = {squash(name): entry for name, entry in (*ALIASES.items(), *FOUND.items(), *CATALOGUE.items())}


@cache
def _build(name: str) -> Formula:
    entry = CATALOGUE.get(name) or FOUND.get(name) or ALIASES[name]
    return Formula(entry.text, entry.params, name)


def get_activation(name: str, /, **params: float | Param) -> Formula:
    """The catalogue's activation `name`, in any case, or one of its aliases, with other parameter values where given.

    >>> get_activation("crrelu", eps=0.05).params["eps"].value
    0.05
    >>> get_activation("LeakyReLU").name
    'leaky_relu'

    Raises:
        FormulaError: no such name (the message lists near matches), no such parameter, or a value out of range.
    """
    entry = CATALOGUE.get(name) or _entry(name)
    if entry is None:
        text = f"write {name}(x) for the function; " if known_name(name) else ""
        hint = did_you_mean(name, [*CATALOGUE, *FOUND, *ALIASES]) or "`actsmith list` shows all"
        raise FormulaError(f"no activation named {name!r} in the catalogue; {text}{hint}")
    return entry.formula(**params)


_WITH_VALUES = re.compile(r"\s*([A-Za-z][\w-]*)\s*:(.*)", re.DOTALL)
_NAME = re.compile(r"\s*[A-Za-z_](?:[\w-]*\w)?\s*")


def resolve(formula: FormulaLike, /, **params: float | Param) -> Formula:
    """A Formula from whatever stands for one: a Formula, a catalogue name, a name with values (mrepu:3, or
    pelu:a=2,b=1/2), formula text, or an activation of torch's: `nn.GELU()`, its class, `torch.nn.functional.gelu`; with
    these values of its parameters.

    Raises:
        FormulaError: no such name, no such parameter, or a text that is no formula.

    >>> resolve(get_activation("crrelu"), eps=0.5).params["eps"].value
    0.5
    >>> resolve("mrepu:3").params["p"].value
    3.0
    """
    if isinstance(formula, Formula):
        return formula.at(**params) if params else formula
    if not isinstance(formula, str):  # of the layers above, where torch is: this one is without
        found: Formula = import_module("actsmith.nn.as_formula").as_formula(formula)
        return found.at(**params) if params else found
    if is_name(formula):
        return get_activation(formula.strip(), **params)
    match = _WITH_VALUES.fullmatch(formula)
    if match is not None and (entry := _entry(match[1])) is not None:
        values: dict[str, float | Param] = dict(_values(entry, match[2]))
        return entry.formula(**(values | params))
    return Formula(formula, params)


def is_one(formulas: Any) -> bool:
    """Whether it stands for one formula where a sequence of them is taken.

    >>> is_one("relu"), is_one(get_activation("relu")), is_one(["relu"])
    (True, True, False)
    """
    return isinstance(formulas, str) or not isinstance(formulas, Iterable)


def is_name(text: str) -> bool:
    """Whether the text is one name, of the catalogue or not, rather than a formula."""
    if text.strip().lower() in ("x", "pi", "e") or not _NAME.fullmatch(text):
        return False
    return "-" not in text or _entry(text) is not None


def _values(entry: Entry, text: str) -> dict[str, float]:
    """The parameters after the colon, in the order of the declaration or by name."""
    values: dict[str, float] = {}
    names = list(entry.params)
    for i, part in enumerate(text.split(",")):
        name, sign, value = part.rpartition("=")
        if not sign:
            if i >= len(names):
                known = ", ".join(names) or "none"
                raise FormulaError(f"{entry.name}:{text}: got {i + 1} values or more; its parameters are {known}")
            name = names[i]
        values[name.strip()] = number(value, f"{entry.name}:{text}")
    return values


def number(text: str, where: str) -> float:
    """The value of a text without x: 0.5, 1/2, sqrt(2/pi), -1e-3.

    Raises:
        FormulaError: it is none.

    >>> number("1/2", "--param a")
    0.5
    """
    try:
        return float(text)
    except ValueError:
        pass
    expression = parse(text)
    if expression.free_symbols:
        raise FormulaError(f"{where}: expected a number such as 0.5 or 1/2, got {text!r}")
    return constant_value(expression)
