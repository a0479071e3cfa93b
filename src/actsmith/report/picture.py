"""A figure that keeps its style wherever it is saved, and shows itself in a notebook."""

from __future__ import annotations

from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

__all__ = ["Picture"]


class Picture(Figure):
    """A matplotlib Figure of its own style: what is drawn late (ticks, layout) has it too, whatever the user's is."""

    def __init__(self, style: Any, **options: Any) -> None:
        self._style = style
        super().__init__(layout="constrained", **options)
        FigureCanvasSVG(self)

    def draw(self, renderer: Any) -> None:
        with mpl.rc_context(self._style):
            super().draw(renderer)

    def get_tightbbox(self, *arguments: Any, **options: Any) -> Any:
        with mpl.rc_context(self._style):
            return super().get_tightbbox(*arguments, **options)

    def savefig(self, *arguments: Any, **options: Any) -> None:
        """As of any Figure; how letters are embedded in a PDF is decided after they were drawn."""
        with mpl.rc_context(self._style):
            super().savefig(*arguments, **options)

    def _repr_svg_(self) -> str:
        buffer = StringIO()
        self.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return buffer.getvalue()
