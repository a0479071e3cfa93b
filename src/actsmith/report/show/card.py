"""What is said of a result, once: as text and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10
from textwrap import indent
from typing import Any

__all__ = ["Card", "decimals", "significant", "within"]

MOST = 9
"""Digits, however well a number is known."""
CELL = "padding:.15em .8em .15em 0;text-align:left;vertical-align:top"


@dataclass(frozen=True)
class Card:
    """What is said of a result, from top to bottom.

    Attributes:
        title: a line.
        formula: an expression that a notebook draws; text has it in its title.
        facts: (name, value).
        head, rows: a table, in HTML.
        notes: sentences.
        below: cards of its parts.
        plain: what stands for all of it on a terminal, where there is a table in text.
    """

    title: str
    formula: Any = None
    facts: Sequence[tuple[str, str]] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()
    below: Sequence[Card] = ()
    plain: str | None = None

    def text(self) -> str:
        """For a terminal."""
        if self.plain is not None:
            return self.plain
        lines = [self.title]
        width = max((len(name) for name, _ in self.facts), default=0)
        lines += [f"  {name:<{width}}  {value}" for name, value in self.facts]
        lines += [indent(note, "  ") for note in self.notes]
        return "\n\n".join(["\n".join(lines), *(card.text() for card in self.below)])

    def html(self) -> str:
        """A `div` without scripts, in the colours of the page around it."""
        return f'<div class="actsmith">{self._inside()}</div>'

    def _inside(self) -> str:
        from actsmith.report.mathml import mathml

        parts = [f"<p><strong>{escape(self.title)}</strong></p>"]
        parts += [f"<p>{mathml(self.formula)}</p>"] if self.formula is not None else []
        parts += [_table((), [(name, value) for name, value in self.facts])] if self.facts else []
        parts += [_table(self.head, self.rows)] if self.rows else []
        parts += [f"<p>{escape(note)}</p>" for note in self.notes]
        return "".join([*parts, *(card._inside() for card in self.below)])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col" style="{CELL}">{escape(cell)}</th>' for cell in head)
    body = "".join(_row(row) for row in rows)
    return f"<table>{f'<thead><tr>{top}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"


def _row(row: Sequence[str]) -> str:
    first, *others = (escape(cell) for cell in row)
    cells = "".join(f'<td style="{CELL}">{cell}</td>' for cell in others)
    return f'<tr><th scope="row" style="{CELL}">{first}</th>{cells}</tr>'


def decimals(value: float, error: float) -> str:
    """A number with its sign, to the last decimal that an absolute error leaves.

    >>> decimals(1.41893853, 3e-5), decimals(-0.25, 0.0)
    ('+1.4189', '-0.250000000')
    """
    known = MOST if error <= 0 else min(max(floor(-log10(error)), 0), MOST)
    return f"{value:+.{known}f}"


def significant(value: float, error: float) -> str:
    """A number to the last digit that a relative error leaves.

    >>> significant(3.56163942, 1e-5), significant(2.0, 1e-12)
    ('3.5616', '2')
    """
    known = MOST if error <= 0 else min(max(ceil(-log10(error)), 1), MOST)
    return f"{value:.{known}g}"


def within(value: float, low: float, high: float, sign: str = "") -> tuple[str, str]:
    """A number and its interval, to the second digit of the interval's half width.

    >>> within(0.9123456, 0.9011111, 0.9235801), within(1.0, 1.0, 1.0)
    (('0.912', '[0.901, 0.924]'), ('1', '[1, 1]'))
    """
    half = (high - low) / 2
    if not (isfinite(half) and half > 0):
        return f"{value:{sign}.4g}", f"[{low:{sign}.4g}, {high:{sign}.4g}]"
    places = 1 - floor(log10(half))
    if 0 <= places <= MOST:
        return f"{value:{sign}.{places}f}", f"[{low:{sign}.{places}f}, {high:{sign}.{places}f}]"
    digits = max(floor(log10(max(abs(value), half))) + places + 1, 2)
    return f"{value:{sign}.{digits}g}", f"[{low:{sign}.{digits}g}, {high:{sign}.{digits}g}]"
