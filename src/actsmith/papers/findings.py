"""What a reproduction found, as data: tables with their intervals, curves, and the paper's claims, one by one.

The report draws this and computes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from actsmith.papers.claims import Claim
from actsmith.trials.tables import Table

__all__ = ["Curves", "Findings", "Series"]


@dataclass(frozen=True)
class Series:
    """One line of a figure; None leaves a gap. `low` and `high` bound a band."""

    label: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] | None = None
    high: tuple[float | None, ...] | None = None


@dataclass(frozen=True)
class Curves:
    """One figure: panels side by side, each with its lines.

    Attributes:
        name, title: of the file, for readers.
        panels: title -> lines.
        x_label, y_label: of every panel.
        log_x, log_y: logarithmic axes.
        markers: points without lines.
    """

    name: str
    title: str
    panels: Mapping[str, tuple[Series, ...]]
    x_label: str
    y_label: str
    log_x: bool = False
    log_y: bool = False
    markers: bool = False


@dataclass(frozen=True)
class Findings:
    """All that a reproduction has to say.

    Attributes:
        summary: sentences for the head of the page.
        tables, curves, claims: in reading order.
        facts: name -> plain JSON values that belong to neither.
    """

    summary: str
    tables: tuple[Table, ...] = ()
    curves: tuple[Curves, ...] = ()
    claims: tuple[Claim, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
