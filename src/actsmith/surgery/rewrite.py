"""A module whose methods call children where they called functions: a class of its own, derived from the module's.

So `torch.nn.utils.parametrize` and `fully_shard` do it. The class has the name of the user's and is the same for all
modules with the same edits; copies and pickles hold the user's class and the edits. No other module and no global
changes, and every way that leads to a method (a checkpoint run again, an entry point beside `forward`) leads to the
rewritten one.
"""

from __future__ import annotations

import ast
import copyreg
import linecache
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from torch import fx, nn

from actsmith.errors import ActsmithError
from actsmith.surgery.locate import Location, contents
from actsmith.surgery.source import Edit, UnreadableError, call_at, edited, original

__all__ = ["Method", "free_name", "is_rewritten", "rewrite"]

_METHODS = "_actsmith_methods"


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


def is_rewritten(module: nn.Module) -> bool:
    """Whether its class is one of ours, or its graph was edited."""
    return isinstance(module, fx.GraphModule) or _METHODS in vars(type(module))


def free_name(owner: nn.Module, name: str, taken: Sequence[str] = ()) -> str:
    """The name, or the name with a number that nothing of the owner has."""
    free, number = name, 2
    while hasattr(owner, free) or free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def rewrite(owner: nn.Module, calls: Sequence[tuple[Location, str]]) -> Callable[[], None]:
    """Redirect the calls to the children named, for this module alone; returns the way back.

    Raises:
        ActsmithError: a function cannot be rewritten.
    """
    if isinstance(owner, fx.GraphModule):
        return _edit_graph(owner, calls)
    kind = type(owner)
    known: tuple[Method, ...] = vars(kind).get(_METHODS, ())
    base = kind.__base__ if known else kind
    methods = {m.name: m for m in known}
    attributes: dict[str, Any] = {}
    for location, child in calls:
        _add(owner, methods, attributes, location, child)
    new = _class(base, tuple(methods.values()))
    before = dict(vars(owner))
    vars(owner).update(attributes)
    bound = {n: v for n, v in before.items() if isinstance(v, types.MethodType) and v.__self__ is owner}
    for name, value in bound.items():  # accelerate keeps the bound forward that it wraps
        now, own = value.__func__, getattr(new, getattr(value, "__name__", ""), None)
        if not isinstance(now, types.FunctionType) or not isinstance(own, types.FunctionType):
            continue
        if original(own) is original(now):
            vars(owner)[name] = types.MethodType(own, owner)
    owner.__class__ = new

    def back() -> None:
        if type(owner) is not new:
            raise ActsmithError(f"undo: the class of a {new.__name__} was changed after the swap; undo that first")
        owner.__class__ = kind
        for name in attributes:
            vars(owner).pop(name, None)
        vars(owner).update(bound)

    return back


def _add(
    owner: nn.Module, methods: dict[str, Method], attributes: dict[str, Any], location: Location, child: str
) -> None:
    name = location.method
    if name not in methods:
        code = location.steps[0].function.__code__
        methods[name] = Method(name, None, (code.co_name, code.co_firstlineno), False, ())
    for step, following in zip(location.steps[:-1], location.steps[1:], strict=True):
        edits = {e.end: e for e in methods[name].edits}
        if step.end not in edits:
            function = following.function
            new = free_name(owner, f"actsmith_{function.__name__.strip('<>')}", tuple(methods))
            methods[new] = Method(new, function, ("", 0), step.form == "helper", ())
            edits[step.end] = Edit(step.end, _call_text(step), step.form, (new,))
            methods[name] = replace(methods[name], edits=tuple(edits.values()))
        name = edits[step.end].children[0]
    last = location.steps[-1]
    edits = {e.end: e for e in methods[name].edits}
    edit = edits.get(last.end) or Edit(last.end, _call_text(last), last.form, ())
    if last.form == "dynamic":
        attributes[f"{child}_old"] = last.old
        edit = replace(edit, olds=(*edit.olds, f"{child}_old"))
    edits[last.end] = replace(edit, children=(*edit.children, child))
    methods[name] = replace(methods[name], edits=tuple(edits.values()))


def _call_text(step: Any) -> str:
    try:
        return ast.unparse(call_at(step.function, step.end))
    except UnreadableError as error:
        raise ActsmithError(f"surgery: {error}") from None


# ---------------------------------------------------------------------------------------------------- the class


@lru_cache(maxsize=4096)
def _class(base: Any, methods: tuple[Method, ...]) -> type[nn.Module]:
    body: dict[str, Any] = {
        "__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__,
        "__reduce_ex__": _reduce, "__prepare_scriptable__": _refuse_script, _METHODS: methods,
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
    return (_new, (kind.__base__, getattr(kind, _METHODS), *reduced[1][1:]), *reduced[2:])


def _new(base: Any, methods: tuple[Method, ...], *arguments: Any) -> nn.Module:
    kind = _class(base, methods)
    module: nn.Module = kind.__new__(kind, *arguments)
    return module


# ---------------------------------------------------------------------------------------------------- graphs


def _edit_graph(owner: fx.GraphModule, calls: Sequence[tuple[Location, str]]) -> Callable[[], None]:
    """A GraphModule's code is made from its graph, and made again from it for every copy."""
    before = []
    nodes = {n.name: n for n in owner.graph.nodes}
    for location, child in calls:
        (step,) = location.steps
        node = nodes[_assigned(step.function, step.end)]
        before.append((node, node.op, node.target, node.args, node.kwargs))
        x = node.args[0] if node.args else node.kwargs["input"]
        node.op, node.target, node.args, node.kwargs = "call_module", child, (x,), {}
    owner.recompile()

    def back() -> None:
        for node, op, target, args, kwargs in before:
            node.op, node.target, node.args, node.kwargs = op, target, args, kwargs
        owner.recompile()

    return back


def _assigned(function: types.FunctionType, end: tuple[int, int]) -> str:
    """The name that the value of the call there is given, which is its node's."""
    text = "".join(linecache.getlines(function.__code__.co_filename, function.__globals__))
    for statement in ast.walk(ast.parse(text)):
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            for node in ast.walk(statement.value):
                if isinstance(node, ast.Call) and (node.end_lineno, node.end_col_offset) == end:
                    return statement.targets[0].id
    raise ActsmithError(f"surgery: the node of line {end[0]} of {function.__qualname__} cannot be found")
