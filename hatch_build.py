"""The long description: README.md, what is relative with the repository's address, or without where there is none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)]+)\)")


class Readme(MetadataHookInterface):
    """`readme`, from README.md, `[project.urls] Repository` and the version."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        address = metadata.get("urls", {}).get("Repository")
        metadata["readme"] = {"content-type": "text/markdown", "text": described(text, address, metadata["version"])}


def described(text: str, address: str | None, version: str) -> str:
    """README.md for a page elsewhere.

    Args:
        text: of README.md.
        address: of the repository; None: pictures are left out, and links are their words.
        version: whose tag the addresses name.
    """

    def absolute(match: re.Match[str]) -> str:
        picture, words, path = match.groups()
        if address is None:
            return "" if picture else words
        return f"{picture}[{words}]({address}/{'raw' if picture else 'blob'}/v{version}/{path})"

    return re.sub(r"\n{3,}", "\n\n", _LINK.sub(absolute, text))
