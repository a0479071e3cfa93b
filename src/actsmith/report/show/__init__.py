"""How every result is shown: a file for each layer, with `SHOWN`, class name -> (card, picture).

card(result)              what is said of it: a `Card`, which is text on a terminal and a table in a notebook
picture(result, width)    a figure at that width in inches
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from math import isfinite
from typing import Any

from actsmith.errors import ActsmithError
from actsmith.report.show.card import Card

__all__ = ["figure", "html", "text", "title"]

NARROWEST, WIDEST = 2.0, 40.0
"""Inches."""
LINE = 100
"""Characters of a title in a result's repr."""


def text(result: Any) -> str:
    """A result for a terminal."""
    return _shown(result)[0](result).text()


def title(result: Any) -> str:
    """What a result is of, in a line."""
    line: str = _shown(result)[0](result).title.partition("\n")[0]
    return line if len(line) <= LINE else f"{line[: LINE - 1]}\u2026"


def html(result: Any) -> str:
    """A result for a notebook."""
    return _shown(result)[0](result).html()


def figure(result: Any, width: float) -> Any:
    """The picture of a result, a matplotlib Figure.

    Raises:
        ActsmithError: matplotlib is missing, there is nothing to draw, or no such width.
    """
    if not isfinite(width) or not NARROWEST <= width <= WIDEST:
        raise ActsmithError(f"plot: got width={width}; expected inches, from {NARROWEST:g} to {WIDEST:g}")
    return _shown(result)[1](result, float(width))


def _shown(result: Any) -> tuple[Callable[[Any], Card], Callable[[Any, float], Any]]:
    """By the nearest class of ours that is shown; a layer's file is loaded when a result of that layer is."""
    for kind in type(result).__mro__:
        parts = kind.__module__.split(".")
        if parts[0] == "actsmith" and parts[1] != "display":
            found = import_module(f"{__name__}.{parts[1]}").SHOWN.get(kind.__name__)
            if found is not None:
                card, picture = found
                return card, picture
    raise ActsmithError(f"show: there is no picture of a {type(result).__name__}")
