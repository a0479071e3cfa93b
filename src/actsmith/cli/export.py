"""`actsmith export`: a formula for somewhere else."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from actsmith.cli.common import formula_of, formula_options, json_option, print_json

if TYPE_CHECKING:
    from actsmith.formula.formula import Formula

NAME = "export"
HELP = "A formula as a PyTorch file that needs torch alone, as LaTeX, as BibTeX, or as an ONNX file."
EXAMPLES = (
    "export gelu --to latex",
    "export crrelu --to bibtex",
    'export "x*sigmoid(b*x)" --param b=1.5 --learn b --to torch --out mine.py',
    "export gelu --to onnx --out gelu.onnx",
)


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("formula", metavar="FORMULA")
    parser.add_argument("--to", required=True, choices=("torch", "latex", "bibtex", "onnx"), help="what it becomes")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to (default: standard output; onnx needs it)")
    formula_options(parser)
    json_option(parser)


def run(request: argparse.Namespace) -> None:
    """Write it, or print it."""
    from actsmith.errors import ActsmithError

    formula = formula_of(request.formula, request)
    record = {"formula": formula.text, "name": formula.name, "to": request.to}
    if request.to == "onnx":
        if request.out is None:
            raise ActsmithError("--to onnx: a binary file; expected --out FILE, as in --out gelu.onnx")
        from actsmith.nn.onnx_file import to_onnx

        _writing(request.out, lambda: to_onnx(formula, request.out))
        text = ""
    else:
        text = _text(formula, request.to)
        if request.out is not None:
            from actsmith.files import write_atomically

            _writing(request.out, lambda: write_atomically(request.out, text))
    if request.json:
        where = {"text": text} if request.out is None else {"file": str(request.out)}
        return print_json(record | where)
    if request.out is None:
        sys.stdout.write(text)
    else:
        print(f"File: {request.out}", file=sys.stderr)
    return None


def _text(formula: Formula, to: str) -> str:
    if to == "latex":
        return f"{formula.latex()}\n"
    if to == "bibtex":
        from actsmith import __version__
        from actsmith.formula.bibtex import bibtex

        return bibtex(formula, __version__)
    from actsmith.search.export import to_torch_source

    return to_torch_source(formula, _class_name(formula.name))


def _class_name(name: str) -> str:
    """A name of the catalogue in capitals and small letters; what is none is MyActivation.

    >>> _class_name("gelu_tanh"), _class_name("x*sigmoid(x)")
    ('GeluTanh', 'MyActivation')
    """
    plain = re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII)
    return "".join(part.capitalize() for part in name.split("_")) if plain and name != "x" else "MyActivation"


def _writing(path: Path, write: Callable[[], None]) -> None:
    from actsmith.errors import ActsmithError

    try:
        write()
    except (OSError, ValueError) as error:
        if isinstance(error, ActsmithError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise ActsmithError(
            f"--out: cannot write {str(path)!r}: {reason}; expected the name of a file in a folder that is there"
        ) from None
