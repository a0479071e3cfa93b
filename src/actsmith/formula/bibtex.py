"""A formula's source and this software as BibTeX entries."""

from __future__ import annotations

import re

from actsmith.formula.catalogue import CATALOGUE
from actsmith.formula.formula import Formula

__all__ = ["bibtex"]

_ARXIV = re.compile(r"arXiv:((\d\d)\d\d\.\d{4,5})")
_YEAR = re.compile(r"\b(1[89]|20)\d\d\b")


def bibtex(f: Formula, version: str) -> str:
    """Entries for whoever published the formula, as far as the catalogue knows, and for Actsmith.

    The catalogue holds authors, year and arXiv number; titles it does not know, so there are none.

    Args:
        f: the formula; one that is not of the catalogue has no source.
        version: of Actsmith.

    >>> from actsmith.formula.catalogue import get_activation
    >>> print(bibtex(get_activation("gelu"), "0.2.0").split("}\\n\\n")[0])
    @misc{gelu,
      author = {Hendrycks and Gimpel},
      year = {2016},
      eprint = {1606.08415},
      archiveprefix = {arXiv},
      note = {An activation: $f(x) = x \\Phi\\left(x\\right)$},
    """
    entry = next((e for e in CATALOGUE.values() if e.formula().expr == f.expr), None)
    parts = [] if entry is None else entry.source.split(";")
    keys = [f"{f.name if entry is None else entry.name}{i or ''}" for i in (0, *range(2, len(parts) + 1))]
    known = [text for key, part in zip(keys, parts, strict=False) if (text := _published(f, key, part.strip()))]
    own = "" if known else f"  note = {{An activation: ${_latex(f)}$}},\n"
    software = (
        "@software{actsmith,\n  author = {{The Actsmith authors}},\n"
        "  title = {Actsmith: the workbench for finding better activation functions},\n"
        f"  version = {{{version}}},\n{own}}}"
    )
    return "\n\n".join([*known, software]) + "\n"


def _published(f: Formula, key: str, source: str) -> str:
    """One entry; "" where nobody in particular published it."""
    number, year = _ARXIV.search(source), _YEAR.search(source)
    if number is None and year is None:
        return ""
    words = source[: min(m.start() for m in (number, year) if m is not None)].strip(" ,")
    people = words.removesuffix(" et al.").split(", ") if words else []
    authors = " and ".join([*people, *(["others"] if words.endswith(" et al.") else [])])
    fields = [("author", authors)] if authors else []
    fields.append(("year", f"20{number[2]}" if number is not None else year[0] if year is not None else ""))
    if number is not None:
        fields += [("eprint", number[1]), ("archiveprefix", "arXiv")]
    fields.append(("note", f"An activation: ${_latex(f)}$"))
    lines = "".join(f"  {key} = {{{value}}},\n" for key, value in fields)
    return f"@misc{{{key},\n{lines}}}"


def _latex(f: Formula) -> str:
    return f"f(x) = {f.latex()}"
