"""A formula: what it is, with its parameters; f and f'."""

from __future__ import annotations

from math import isfinite
from typing import Any

from actsmith.formula.formula import Formula, Param
from actsmith.formula.text import shortened, to_text
from actsmith.report.analysis_figure import draw_shape
from actsmith.report.figure import column
from actsmith.report.show.card import Card
from actsmith.theory.laws import Normal

__all__ = ["SHOWN", "brief", "parameters", "short", "title"]

LONGEST = 400
"""Characters of a formula on a terminal."""


def title(f: Formula) -> str:
    """The name, and the formula where it is another text, its decimals short."""
    return f"f(x) = {brief(f.expr)}" if f.name == f.text else f"{f.name}:  f(x) = {brief(f.expr)}"


def brief(expression: Any) -> str:
    """An expression's text, its decimals short, as far as there is room for it."""
    return short(to_text(shortened(expression)), LONGEST)


def parameters(f: Formula) -> list[tuple[str, str]]:
    """(name, value and what training does with it)."""
    return [(name, _parameter(p)) for name, p in f.params.items()]


def _parameter(p: Param) -> str:
    words = ["learned" if p.learn else "fixed"]
    if isfinite(p.low) or isfinite(p.high):
        words.append(f"{p.low:g} to {p.high:g}")
    return f"{p.value:g} ({', '.join(words)})"


def _card(f: Formula) -> Card:
    kinks = ", ".join(f"{k:.6g}" for k in f.kinks)
    return Card(title(f), f.expr, [*parameters(f), *([("kinks", kinks)] if kinks else [])])


def _picture(f: Formula, width: float) -> Any:
    with column(1, 2, (width, 1.6)) as (figure, axes):
        draw_shape(axes[0], f, Normal())
        figure.suptitle(short(f.name))
        return figure


def short(name: str, longest: int = 48) -> str:
    """A name as far as there is room for it."""
    return name if len(name) <= longest else f"{name[: longest - 1]}\u2026"


SHOWN = {"Formula": (_card, _picture)}
