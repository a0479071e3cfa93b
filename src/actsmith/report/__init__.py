"""For a reader: what is written about results that are there already."""

from __future__ import annotations

from typing import Any

__all__ = ["leaderboard_markdown", "render"]

_HOME = {"leaderboard_markdown": "leaderboard", "render": "run"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'actsmith.report' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"actsmith.report.{_HOME[name]}"), name)
