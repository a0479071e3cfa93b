"""What the site's pages need beside Markdown: links out of docs/ are words, and the marks of snippets are off."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?:examples|tests|src|scripts|[A-Z]+\.md)[^)]*\)")
_MARKS = re.compile(r"^```(python|sh) (?:no-run|slow)$", re.MULTILINE)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """A page's text before it is rendered."""
    text = _MARKS.sub(r"```\1", _OUTSIDE.sub(r"\1", markdown))
    if page.file.src_uri == "changes.md":
        with open("CHANGELOG.md", encoding="utf-8") as file:
            return file.read().replace("](docs/", "](")
    return text
