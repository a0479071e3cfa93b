"""What a browser sends, checked: a formula with its parameters, a law, samples from a file."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from actsmith.errors import ActsmithError, FormulaError, LawError
from actsmith.formula.catalogue import is_name, resolve
from actsmith.formula.formula import Formula, Param
from actsmith.formula.parse import MAX_NAME, UnknownNameError, parse
from actsmith.theory.empirical import Empirical
from actsmith.theory.law import Law
from actsmith.theory.laws import parse_law

__all__ = ["MOST_PARAMETERS", "formula_of", "law_of", "samples_law"]

MOST_PARAMETERS = 8
"""Sliders of one formula."""
MOST_CENTRES = 4096
"""Kernels of a law of samples that a browser sends back."""
MOST_LAW = 200
"""Characters of a law."""


def formula_of(text: Any, values: Any = None) -> Formula:
    """The formula of a text, with these values of its parameters: names without a value become parameters of value 1.

    Args:
        text: a catalogue name, a name with values (mrepu:3), or formula text.
        values: name -> number; names that the formula does not have are left aside, as those of the formula before.

    Raises:
        FormulaError: no such formula, too many parameters, a value out of its range.

    Example:
        >>> formula_of("x*sigmoid(b*x)", {"b": 2}).params["b"].value
        2.0
    """
    if not isinstance(text, str) or not text.strip():
        raise FormulaError("formula: got none; write one, as in x*sigmoid(b*x), or a name such as gelu")
    given = _numbers(values)
    if is_name(text) and len(text) > MAX_NAME:
        raise FormulaError(f"formula: a name of {len(text)} characters; write one, as in x*sigmoid(b*x)")
    if is_name(text) or (":" in text and not text.strip().startswith("lambda")):
        formula = resolve(text)
    else:
        names = _names(text, given)
        formula = Formula(text, {name: Param(given.get(name, 1.0)) for name in names})
    own = {name: value for name, value in given.items() if name in formula.params}
    return formula.at(**own) if own else formula


def _numbers(values: Any) -> dict[str, float]:
    if values is None:
        return {}
    if not isinstance(values, Mapping) or len(values) > 64:
        raise FormulaError("parameters: expected an object of names and numbers")
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise FormulaError(f"parameter {str(name)[:40]!r}: got {str(value)[:40]!r}; expected a finite number")
    return {str(name): float(value) for name, value in values.items()}


def _names(text: str, given: Mapping[str, float]) -> list[str]:
    """The parameters of a text: those of `given` that stand in it, and the names that are nothing else."""
    known = list(given)
    for _ in range(MOST_PARAMETERS + 1):
        try:
            found = parse(text, known)
        except UnknownNameError as error:
            known.append(error.unknown)
            continue
        names = sorted(str(symbol) for symbol in found.free_symbols if str(symbol) != "x")
        if len(names) <= MOST_PARAMETERS:
            return names
        break
    raise FormulaError(f"formula: more than {MOST_PARAMETERS} parameters; write some of them as numbers")


def law_of(value: Any) -> Law:
    """The law of a text, as in normal(0,1), or of the dictionary that `samples_law` gave.

    Raises:
        LawError: it is none. A file cannot be named here: samples are sent.
    """
    if isinstance(value, str):
        if len(value) > MOST_LAW or value.strip().lower().endswith((".npy", ".csv", ".txt")):
            raise LawError("law: expected one such as normal(0,1), laplace(0,1) or logistic(0,1)")
        return parse_law(value)
    if not isinstance(value, Mapping):
        raise LawError(f"law: got {type(value).__name__}; expected a text or a law of samples")
    try:
        numbers = {name: _finite(entry) for name, entry in value.items() if name != "law"}
        return Empirical.from_dict(numbers)
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        if isinstance(error, ActsmithError):
            raise
        raise LawError("law of samples: expected what the playground sent; drop the file again") from None


def _finite(entry: Any) -> Any:
    """A number, or a list of at most `MOST_CENTRES` of them."""
    if isinstance(entry, list):
        if not 1 <= len(entry) <= MOST_CENTRES:
            raise LawError(f"law of samples: got {len(entry)} centres; expected 1 to {MOST_CENTRES}")
        return [_finite(value) for value in entry]
    number = float(entry)
    if not math.isfinite(number):
        raise ValueError
    return number


def samples_law(content: bytes) -> Law:
    """The law of the samples in a .npy file.

    Raises:
        LawError: it is no .npy of real numbers, or its samples have no density.
    """
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except (ValueError, EOFError, OverflowError, MemoryError):
        raise LawError("samples: not a .npy file; write one with numpy.save") from None
    if dtype.hasobject or dtype.kind not in "iuf":
        raise LawError(f"samples: got numbers of type {str(dtype)[:40]}; expected real ones, as float64")
    size, left = math.prod(shape), len(content) - file.tell()
    if size * dtype.itemsize != left:
        raise LawError(f"samples: the header says {size} numbers, the file holds {left // max(dtype.itemsize, 1)}")
    return Empirical(np.frombuffer(content, dtype, offset=file.tell()).astype(np.float64))
