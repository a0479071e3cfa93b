"""A module whose methods call children where they called functions: a class of its own, derived from the module's.

So `torch.nn.utils.parametrize` and `fully_shard` do it. The class has the name of the user's and is the same for all
modules with the same edits; copies and pickles hold the user's class and the edits. No other module and no global
changes, and every way that leads to a method (a checkpoint run again, an entry point beside `forward`) leads to the
rewritten one.
"""

from __future__ import annotations

import copyreg
import types
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import nn

from actsmith.errors import ActsmithError
from actsmith.nn.source import Edit, contents, edited

__all__ = ["METHODS", "Method", "methods_of", "rewritten_class"]

METHODS = "_actsmith_methods"
"""The attribute of such a class that holds its methods."""


@dataclass(frozen=True)
class Method:
    """A method of the class, rewritten, or a function that becomes one.

    Attributes:
        name: the attribute.
        function: as the user wrote it; None for the class's own method, found by `lines` under its decorators.
        lines: (name, first line) of the code.
        helper: it takes the owner before its own arguments.
        edits: the calls.
    """

    name: str
    function: types.FunctionType | None
    lines: tuple[str, int]
    helper: bool
    edits: tuple[Edit, ...]


def methods_of(module: nn.Module) -> tuple[Method, ...]:
    """What its class redirects; nothing for a class of the user's."""
    methods: tuple[Method, ...] = vars(type(module)).get(METHODS, ())
    return methods


@lru_cache(maxsize=4096)
def rewritten_class(base: Any, methods: tuple[Method, ...]) -> type[nn.Module]:
    """The class derived from `base` with these methods; the same one for the same methods.

    Raises:
        ActsmithError: a function cannot be rewritten.
    """
    body: dict[str, Any] = {
        "__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__,
        "__reduce_ex__": _reduce, "__prepare_scriptable__": _refuse_script, METHODS: methods,
    }  # fmt: skip
    for method in methods:
        if method.function is not None:
            body[method.name] = edited(method.function, method.edits, method.helper)
        else:
            raw = next(vars(k)[method.name] for k in base.__mro__ if method.name in vars(k))
            body[method.name] = _within(raw, method)
    made: type[nn.Module] = type(base)(base.__name__, (base,), body)
    return made


def _within(raw: Any, method: Method, depth: int = 4) -> Any:
    """The attribute with the function of that code rewritten, wherever its decorators hold it."""
    found = _search(raw, method, depth)
    if found is None:
        raise ActsmithError(f"surgery: {method.name} is not the method in which the calls were found")
    return found


def _search(raw: Any, method: Method, depth: int) -> Any:
    if isinstance(raw, property):
        getter = _search(raw.fget, method, depth)
        return None if getter is None else property(getter, raw.fset, raw.fdel, raw.__doc__)
    if not isinstance(raw, types.FunctionType):
        return None
    code = raw.__code__
    if (code.co_name, code.co_firstlineno) == method.lines:
        return edited(raw, method.edits, helper=False)
    cells = list(raw.__closure__ or ())
    for i, cell in enumerate(cells if depth else ()):
        inner = _search(contents(cell), method, depth - 1)
        if inner is not None:
            cells[i] = types.CellType(inner)
            new = types.FunctionType(code, raw.__globals__, raw.__name__, raw.__defaults__, tuple(cells))
            new.__kwdefaults__, new.__qualname__, new.__doc__ = raw.__kwdefaults__, raw.__qualname__, raw.__doc__
            new.__module__ = raw.__module__
            vars(new).update(vars(raw))
            if "__wrapped__" in vars(new):
                new.__wrapped__ = inner  # type: ignore[attr-defined]
            return new
    return None


def _refuse_script(module: nn.Module) -> nn.Module:
    raise ActsmithError(
        f"surgery: torch.jit.script reads the source of {type(module).__name__}, where its function calls are the old "
        "ones; use torch.export or torch.compile"
    )


def _reduce(module: nn.Module, protocol: Any) -> Any:
    kind: Any = type(module)
    reduced = super(kind, module).__reduce_ex__(max(int(protocol), 2))
    if not isinstance(reduced, tuple) or reduced[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]
        raise ActsmithError(f"{kind.__name__} is copied in a way of its own; undo the swap, copy, and swap again")
    return (_new, (kind.__base__, getattr(kind, METHODS), *reduced[1][1:]), *reduced[2:])


def _new(base: Any, methods: tuple[Method, ...], *arguments: Any) -> nn.Module:
    kind = rewritten_class(base, methods)
    module: nn.Module = kind.__new__(kind, *arguments)
    return module
