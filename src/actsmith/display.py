"""What a result does to be shown: as text, in a notebook, as a figure.

How each looks is drawn by a layer above, which no result knows: the package names it once (`drawn_by`), and it is
loaded when something is first shown.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLUMN", "Shown", "drawn_by"]

COLUMN = 3.3
"""Inches: the width of a column in a paper of two columns."""

_HOME: list[str] = []


def drawn_by(module: str) -> None:
    """Name the module whose `text`, `html` and `figure` show every result."""
    _HOME[:] = [module]


def _drawing() -> Any:
    return import_module(_HOME[0])


class Shown:
    """A result that a terminal, a notebook and a paper can show."""

    __slots__ = ()

    def __str__(self) -> str:
        text: str = _drawing().text(self)
        return text

    def __repr__(self) -> str:
        """A line: what it is of. All of it is in the attributes."""
        return f"<{type(self).__name__}: {_drawing().title(self)}>"

    def _repr_html_(self) -> str:
        page: str = _drawing().html(self)
        return page

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What IPython prints on a terminal."""
        printer.text(str(self))

    def plot(self, width: float = COLUMN) -> Figure:
        """The picture, as a matplotlib Figure whose words can be read at that width.

        It saves as vectors, `result.plot().savefig("figure.pdf")`, and shows itself in a notebook.

        Args:
            width: inches; a column of a paper by default.

        Raises:
            ActsmithError: matplotlib is missing, there is nothing to draw, or no such width.
        """
        drawn: Figure = _drawing().figure(self, width)
        return drawn
