"""measured.json: what was measured to choose how to train, in a run folder and in that of every worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from actsmith.files import read_json

__all__ = ["MEASURED", "measured", "measured_there"]

MEASURED = "measured.json"


def measured(folder: Path | None) -> dict[str, Any]:
    """Name -> what was measured; nothing where there is no file yet."""
    path = None if folder is None else folder / MEASURED
    return read_json(path) if path is not None and path.is_file() else {}


def measured_there(folder: Path) -> Callable[[str, Callable[[], Any]], Any]:
    """`RunFolder.once` for a worker: it measures what is not there, and keeps nothing."""

    def once(name: str, measure: Callable[[], Any]) -> Any:
        known = measured(folder)
        return known[name] if name in known else measure()

    return once
