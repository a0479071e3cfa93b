"""Every known activation, one declaration each: equation, parameters with their valid range, where it comes from."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from functools import cache

from actsmith.errors import FormulaError
from actsmith.formula.formula import Formula, Param

__all__ = ["CATALOGUE", "Entry", "FormulaLike", "get", "resolve"]

FormulaLike = Formula | str
"""What stands wherever a formula is taken: a Formula, a catalogue name, or formula text."""


@dataclass(frozen=True)
class Entry:
    """One activation of the catalogue."""

    name: str
    text: str
    source: str
    params: dict[str, Param] = field(default_factory=dict)

    def formula(self, **values: float) -> Formula:
        """The Formula, with other parameter values where given."""
        formula = _build(self.name)
        return formula.at(**values) if values else formula


CATALOGUE: dict[str, Entry] = {}
"""Name -> Entry, in the order of the table below."""


def _declare(name: str, text: str, source: str, **params: Param) -> None:
    CATALOGUE[name] = Entry(name, text, source, params)


_declare("identity", "x", "linear networks")
_declare("relu", "relu(x)", "Nair, Hinton 2010")
_declare("gelu", "x*normal_cdf(x)", "Hendrycks, Gimpel, arXiv:1606.08415")
_declare("silu", "x*sigmoid(x)", "Elfwing et al., arXiv:1702.03118")
_declare("tanh", "tanh(x)", "classical")
_declare("sigmoid", "sigmoid(x)", "classical")
_declare("mish", "x*tanh(softplus(x))", "Misra, arXiv:1908.08681")
_declare("leaky_relu", "where(x, x, slope*x)", "Maas et al. 2013", slope=Param(0.01, low=0.0, high=1.0))
_declare("repu", "relu(x)**p", "arXiv:2408.02697", p=Param(2, low=1.0, high=10.0))
_declare("mrepu", "x*relu(1 + x)**p", "Kim, Kang, arXiv:2408.02697", p=Param(2, low=1.0, high=10.0))
_declare("crrelu", "relu(x) + eps*x*exp(-x**2/2)", "arXiv:2405.12954", eps=Param(0.01, learn=True))


@cache
def _build(name: str) -> Formula:
    entry = CATALOGUE[name]
    return Formula(entry.text, entry.params, name)


def get(name: str, **params: float) -> Formula:
    """The catalogue's activation `name`, with other parameter values where given.

    >>> get("crrelu", eps=0.05).params["eps"].value
    0.05

    Raises:
        FormulaError: no such name (the message lists near matches), no such parameter, or a value out of range.
    """
    if name not in CATALOGUE:
        near = difflib.get_close_matches(name, CATALOGUE, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; `actsmith list` shows all"
        raise FormulaError(f"no activation named {name!r} in the catalogue{hint}")
    return CATALOGUE[name].formula(**params)


def resolve(formula: FormulaLike, **params: float | Param) -> Formula:
    """A Formula from whatever stands for one: a Formula, a catalogue name, or formula text with its parameters."""
    if isinstance(formula, Formula):
        return formula
    if formula in CATALOGUE:
        return get(formula, **{name: p.value if isinstance(p, Param) else p for name, p in params.items()})
    if formula.isidentifier() and formula not in ("x", "pi", "e"):
        return get(formula)
    return Formula(formula, params)
