"""Another library's method with something of ours around it, and what waits until such a library is imported."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["when_imported", "wrap"]


def wrap(owner: type, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put wrapper(method) in the place of a method, or of what a classmethod holds; once."""
    held = vars(owner)[name]
    method = held.__func__ if isinstance(held, classmethod) else held
    if not hasattr(method, "actsmith"):
        wrapped: Any = wrapper(method)
        wrapped.actsmith = True
        setattr(owner, name, classmethod(wrapped) if isinstance(held, classmethod) else wrapped)


def when_imported(name: str, action: Callable[[], None]) -> None:
    """Now, where the module is imported, else as soon as it is."""
    if name in sys.modules:
        action()
    elif not any(isinstance(f, _Waiting) and f.name == name for f in sys.meta_path):
        sys.meta_path.insert(0, _Waiting(name, action))


class _Waiting(MetaPathFinder):
    """Finds nothing; of the module of that name, what the others find, with the action after it."""

    def __init__(self, name: str, action: Callable[[], None]) -> None:
        self.name, self.action = name, action
        self.asking = False

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != self.name or self.asking:
            return None
        self.asking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.asking = False
        execute = getattr(spec and spec.loader, "exec_module", None)
        if spec is None or execute is None:
            return spec

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            self.action()

        vars(spec.loader)["exec_module"] = exec_module
        return spec
