"""A user's functions by name and by source: where a worker process finds them, and whether they changed."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actsmith.names import in_current_folder

__all__ = ["source_of", "title_of", "why_not_importable"]


def source_of(function: Callable[..., Any] | None) -> list[str]:
    """Name, source text and bound plain arguments, where they can be had; of a callable object its class's."""
    if function is None:
        return []
    if isinstance(function, functools.partial):
        return [*source_of(function.func), _text([*function.args, *sorted(function.keywords.items())])]
    named = function if hasattr(function, "__qualname__") else type(function)
    try:
        text = inspect.getsource(named)
    except (OSError, TypeError):
        text = ""
    return [getattr(named, "__qualname__", ""), text]


def title_of(function: Callable[..., Any]) -> str:
    """The name of the file or module that a function stands in."""
    inner = function.func if isinstance(function, functools.partial) else function
    module = getattr(inner, "__module__", None) or type(inner).__module__
    if module in ("__main__", "__mp_main__"):
        path = getattr(sys.modules["__main__"], "__file__", None)
        return Path(path).stem if path else "script"
    return module.rpartition(".")[2]


def why_not_importable(function: Callable[..., Any]) -> str | None:
    """Why another process cannot find a function by its name; None where it can."""
    if isinstance(function, functools.partial):
        return why_not_importable(function.func) or _why_not_sent(function)
    name = getattr(function, "__qualname__", None)
    module = getattr(function, "__module__", None)
    if name is None:
        return _why_not_sent(function)
    if "<" in name:
        return f"{name.replace('.<locals>', '')} is a lambda, or defined inside of a function"
    if module == "__main__":
        main = sys.modules["__main__"]
        path = getattr(main, "__file__", None)
        if getattr(main, "__spec__", None) is None and not (path and Path(path).is_file()):
            return f"{name} is defined in a notebook or an interactive session, not in a file"
        return None
    with in_current_folder():
        try:
            found = module is not None and importlib.util.find_spec(module) is not None
        except (ImportError, ValueError):
            found = False
    return None if found else f"{name} is of {module}, which cannot be imported by that name"


def _why_not_sent(value: Any) -> str | None:
    try:
        pickle.dumps(value)
    except Exception as error:
        return f"a {type(value).__name__} cannot be sent to another process ({error})"
    return None


def _text(value: Any) -> str:
    """Plain values as they are, of others the type: an address would change with every run."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    plain = value is None or isinstance(value, str | int | float | bool)
    return repr(value) if plain else type(value).__qualname__
