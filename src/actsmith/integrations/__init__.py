"""Other libraries: a swap that lasts in their files, and formulas wherever they take the name of an activation."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from torch import nn

__all__ = ["remember", "teach_peft", "when_imported", "wrap"]


def remember(model: nn.Module) -> None:
    """After a swap: the library that saves the model is taught to save it. What is not imported is not asked; PEFT,
    which comes after the swap, is taught when it is imported."""
    transformers: Any = sys.modules.get("transformers")
    kind = getattr(transformers, "PreTrainedModel", None)
    if kind is not None and any(isinstance(m, kind) for m in model.modules()):
        from actsmith.integrations.transformers import register

        register()
    when_imported("peft", teach_peft)


def teach_peft() -> None:
    """Let PEFT keep swaps; it is imported."""
    from actsmith.integrations.peft import register

    register()


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
