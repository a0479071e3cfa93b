"""What a page is made of: sections with words, tables, lists and pictures. A page holds them, a template draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Figure", "Section", "Table"]


@dataclass(frozen=True)
class Figure:
    """A picture with what stands in its place and below it.

    Attributes:
        svg: an svg element, as `inline_svg` makes it.
        alt: what it shows, in words.
        caption: below it; "" for none.
    """

    svg: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """The first cell of each row heads it. What stands between backticks is code."""

    caption: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, a formula, pictures, tables and a list, in this order.

    Attributes:
        name: of its anchor.
        title: of its heading.
        paragraphs, items: texts; what stands between backticks is code.
        formula: MathML.
        figures, tables: each below the other.
        small: whether its pictures are small ones, side by side where there is room.
    """

    name: str
    title: str
    paragraphs: Sequence[str] = ()
    formula: str = ""
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    items: Sequence[str] = ()
    small: bool = False
