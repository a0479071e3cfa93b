"""The exits: what one takes along from the playground."""

from __future__ import annotations

import io
import json
import re
import shlex
from typing import Any

import actsmith
from actsmith.app.inputs import formula_of, law_of
from actsmith.errors import ActsmithError
from actsmith.formula.bibtex import bibtex
from actsmith.formula.formula import Formula
from actsmith.theory.analysis import analyze

__all__ = ["exits_view", "figure_view"]

MADE_FOR = 6
"""Hidden layers that the start of the exported file is for."""


def exits_view(formula: Any, values: Any = None, law: Any = "normal") -> dict[str, Any]:
    """Title -> text: the command line, a notebook cell, LaTeX, BibTeX, and a PyTorch file with its start.

    Args:
        formula, values: as `inputs.formula_of` takes them.
        law: text of a law; a law of samples stands as samples.npy.

    Raises:
        ActsmithError: no such formula.
    """
    f = formula_of(formula, values)
    where = law if isinstance(law, str) else "samples.npy"
    params = {name: p.value for name, p in f.params.items()}
    return {
        "command": _command(f, params, where),
        "notebook": _notebook(f, params, where),
        "module": _module(f, params),
        "latex": f.latex(),
        "bibtex": bibtex(f, actsmith.__version__),
        "file": _file(f),
    }


def figure_view(formula: Any, values: Any = None, law: Any = "normal") -> bytes:
    """The picture of the analysis for a paper's column, a PDF: the same bytes for the same arguments.

    Args:
        formula, values: as `inputs.formula_of` takes them.
        law: as `inputs.law_of` takes it.

    Raises:
        ActsmithError: no such formula or law, or the formula is constant.
    """
    file = io.BytesIO()
    analyze(formula_of(formula, values), law_of(law)).plot().savefig(
        file, format="pdf", metadata={"CreationDate": None}
    )
    return file.getvalue()


def _command(f: Formula, params: dict[str, float], law: str) -> str:
    given = [word for name, value in params.items() for word in ("--param", f"{name}={value:.10g}")]
    analyze = ["actsmith", "analyze", f.text, *given, *(["--law", law] if law not in ("normal", "normal(0,1)") else [])]
    compare = ["actsmith", "compare", "digits", _bound(f), "relu", "gelu"]
    return f"{shlex.join(analyze)}\n{shlex.join(compare)}"


def _bound(f: Formula) -> str:
    return Formula(f.bound).text if f.params else f.text


def _notebook(f: Formula, params: dict[str, float], law: str) -> str:
    given = f", params={json.dumps(params)}" if params else ""
    return (
        f"import actsmith as acts\n\nf = acts.Formula({f.text!r}{given})\n"
        f"found = acts.analyze(f, {law!r})\nfound.plot()\nfound"
    )


def _module(f: Formula, params: dict[str, float]) -> str:
    learned = ", ".join(f"{name!r}: acts.Param({value!r}, learn=True)" for name, value in params.items())
    given = f", params={{{learned}}}" if params else ""
    return (
        f"import actsmith as acts\n\nactivation = acts.nn.Activation(acts.Formula({f.text!r}{given}))\n"
        "acts.nn.critical_init_(model)  # yours, with the activation inside"
    )


def _file(f: Formula) -> str:
    """best.py as a search writes it; needs torch, which is loaded here."""
    from actsmith.nn.start import start_of
    from actsmith.search.export import to_torch_source

    name = "".join(part.capitalize() for part in re.findall("[A-Za-z0-9]+", f.name)) if f.name.isidentifier() else ""
    try:
        return to_torch_source(f, name or "MyActivation", start=start_of(f, MADE_FOR))
    except ActsmithError as error:
        return f"# there is no file: {error}"
