"""What every page from a template shares: the template, the figures inside it, and the file it is written to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from actsmith.errors import ActsmithError, require
from actsmith.files import write_atomically

__all__ = ["inline_svg", "render_page", "write_page"]

THEME = {
    "#000000": "currentColor", "#ffffff": "var(--paper,#fff)", "#e6e6e6": "var(--rule,#e6e6e6)",
    "#0072b2": "var(--mark,#0072b2)",
}  # fmt: skip
"""Ink, paper, grid and blue of a figure -> those of the page, light or dark."""

WIDE = 560.0
"""Points: a picture of this width, fitted to a telephone, still has words of seven pixels."""


def render_page(template: str, **values: Any) -> str:
    """A page from one of the templates beside this file.

    Raises:
        ActsmithError: jinja2 is missing.
    """
    jinja2 = require("jinja2", "report", "report")
    environment = jinja2.Environment(loader=jinja2.PackageLoader("actsmith.report"), autoescape=True, trim_blocks=True)
    environment.filters |= {"code": _code, "is_wide": _is_wide}
    return str(environment.get_template(template).render(**values))


def _code(text: str) -> Any:
    """Escaped, and what stands between backticks as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _is_wide(svg: str) -> bool:
    """Whether a picture's words are too small where it is fitted to a telephone: there it keeps a width and scrolls."""
    width = re.search(r'<svg[^>]*? width="([\d.]+)pt"', svg)
    return width is not None and float(width[1]) > WIDE


def inline_svg(text: str, name: str) -> str:
    """The svg element of a figure's text, in the page's colours, with ids that no other figure of the page has."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    for colour, variable in THEME.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    return re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)


def write_page(path: Path, text: str) -> None:
    """Write a page whole or not at all.

    Raises:
        ActsmithError: the file cannot be written; the message says why.
    """
    try:
        write_atomically(path.expanduser(), text)
    except (OSError, ValueError) as error:  # ValueError: a path that names no file
        reason = getattr(error, "strerror", None) or error
        raise ActsmithError(
            f"--html: cannot write {str(path)!r}: {reason}; expected the name of a file in a folder that is there"
        ) from None
