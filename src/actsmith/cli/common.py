"""What several verbs share: formulas from text, times, tables, JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from actsmith.errors import ActsmithError
from actsmith.files import to_json

if TYPE_CHECKING:
    from actsmith.formula.formula import Formula

__all__ = [
    "formula_of",
    "formula_options",
    "formulas_of",
    "json_option",
    "law_option",
    "print_json",
    "print_table",
    "tau_option",
]

FORMULAS = """\
FORMULA is a name from `actsmith list`, one with values, such as mrepu:3, or text in x, such as
"max(0, x) + eps*x*exp(-x^2/2)"; give its parameters with --param eps=0.01."""
LAWS = """\
LAW is normal, normal:MEAN,STD, laplace, logistic, student:DF, cauchy, lognormal, uniform:LOW,HIGH, a mixture such as
mixture:0.3*normal(-2,1)+0.7*normal(2,1), or a .npy or .csv file of samples."""
WIDE = 160  # columns of a table that is not printed on a terminal


def formula_options(parser: argparse.ArgumentParser) -> None:
    """--param and --learn, which `formula_of` reads."""
    parser.description = f"{parser.description}\n\n{FORMULAS}"
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="a parameter's value")
    parser.add_argument("--learn", action="append", default=[], metavar="NAME", help="a parameter that is learned")


def law_option(parser: argparse.ArgumentParser) -> None:
    """--law."""
    parser.description = f"{parser.description}\n\n{LAWS}"
    parser.add_argument("--law", default="normal", help="law of the pre-activation (default: normal)")


def tau_option(parser: argparse.ArgumentParser) -> None:
    """--tau."""
    help_text = "width of the smoothing, in standard deviations of the output (default: 0.1)"
    parser.add_argument("--tau", type=float, default=0.1, help=help_text)


def json_option(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def formula_of(text: str, request: argparse.Namespace, *, several: bool = False) -> Formula:
    """The formula that the request names, with --param and --learn applied.

    Args:
        text: a catalogue name, a name with values (mrepu:3), or formula text.
        request: has `param` and `learn`.
        several: whether it is one of several, and takes of the parameters those that it has; `formulas_of` reads them
            all and sees that each parameter is of one.

    Raises:
        ActsmithError: no such formula, a parameter that it does not have, or --param without a number.
    """
    from dataclasses import replace

    from actsmith.formula.catalogue import is_name, resolve
    from actsmith.formula.formula import Formula, Param
    from actsmith.formula.parse import parse

    given = _parameters(request.param)
    named = is_name(text) or ":" in text
    if named:
        formula = resolve(text)
        known = set(formula.params)
    else:
        known = {str(symbol) for symbol in parse(text, given).free_symbols} if several else set(given)
    own = {n: v for n, v in given.items() if n in known or not several}
    formula = resolve(formula, **own) if named else Formula(text, {n: Param(v) for n, v in own.items()})
    if not several:
        _check_names(request.learn, formula.params, "--learn")
    learned = {name: replace(p, learn=p.learn or name in request.learn) for name, p in formula.params.items()}
    return Formula(formula.expr, learned, formula.name)


def formulas_of(texts: Sequence[str], request: argparse.Namespace) -> list[Formula]:
    """The formulas of a request of several, each with those of the parameters that it has.

    Raises:
        ActsmithError: as `formula_of`, and for a --param or --learn that none of them has.
    """
    if len(texts) == 1:
        return [formula_of(texts[0], request)]
    formulas = [formula_of(text, request, several=True) for text in texts]
    known = list(dict.fromkeys(name for formula in formulas for name in formula.params))
    _check_names(_parameters(request.param), known, "--param")
    _check_names(request.learn, known, "--learn")
    return formulas


def _check_names(names: Collection[str], known: Collection[str], option: str) -> None:
    from actsmith.names import did_you_mean

    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"expected one of: {', '.join(known) or 'none'}"
            raise ActsmithError(f"{option}: no parameter {name!r}; {hint}")


def _parameters(pairs: Sequence[str]) -> dict[str, float]:
    from actsmith.formula.catalogue import number

    given: dict[str, float] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not value.strip():
            raise ActsmithError(f"--param: expected NAME=VALUE with a number, got {pair!r}")
        given[name.strip()] = number(value, f"--param {name}")
    return given


def print_json(record: dict[str, Any]) -> None:
    """One line of JSON on standard output; a number that is not finite becomes null."""
    print(to_json(record))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table as wide as the terminal, or 160 columns where there is none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: a name may hold brackets
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)
