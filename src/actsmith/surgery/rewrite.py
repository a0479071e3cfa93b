"""From the places of calls to a module whose methods call children there: see `actsmith.nn.rewritten`."""

from __future__ import annotations

import ast
import linecache
import types
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import fx, nn

from actsmith.errors import ActsmithError
from actsmith.nn.rewritten import METHODS, Method, methods_of, rewritten_class
from actsmith.nn.source import Edit, UnreadableError, call_at, original
from actsmith.surgery.locate import Location

__all__ = ["free_name", "is_rewritten", "rewrite"]


def is_rewritten(module: nn.Module) -> bool:
    """Whether its class is one of ours, or its graph was edited."""
    return isinstance(module, fx.GraphModule) or METHODS in vars(type(module))


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
    known = methods_of(owner)
    base = kind.__base__ if known else kind
    methods = {m.name: m for m in known}
    attributes: dict[str, Any] = {}
    for location, child in calls:
        _add(owner, methods, attributes, location, child)
    new = rewritten_class(base, tuple(methods.values()))
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
