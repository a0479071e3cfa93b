"""The calls that a module's class redirects (`actsmith.nn.rewritten`) as plain data, and the same class made again.

A call is known by its text and its number among the calls of that text in its function, so that lines may move between
versions of a library. The functions are found as the source names them: a record imports nothing and runs nothing.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.nn.rewritten import METHODS, Method, methods_of, rewritten_class
from actsmith.nn.source import Edit, UnreadableError, called_by_name, calls_in, contents, original

__all__ = ["calls_of", "redirect"]

_FORMS = ("call", "method", "dynamic", "helper", "super")
_INNER = ("helper", "super")
_TORCH: Mapping[str, Any] = {"torch.nn.functional": nn.functional, "torch": torch, "torch.Tensor": torch.Tensor}


def calls_of(module: nn.Module) -> list[dict[str, Any]]:
    """One dictionary per method that was rewritten; none for a module of the user's own class.

    Raises:
        ActsmithError: a call stands for something without a name, as a module in a plain list.
    """
    try:
        return [_method_row(module, method) for method in methods_of(module)]
    except UnreadableError as error:
        raise ActsmithError(f"the code of a {type(module).__name__} has no record ({error})") from None


def _method_row(module: nn.Module, method: Method) -> dict[str, Any]:
    function = method.function or _own(_base(module), method.name, lines=method.lines)
    edits = []
    for edit in method.edits:
        ends = _ends(function, edit.text)
        row = {"text": edit.text, "which": ends.index(edit.end), "of": len(ends), "form": edit.form}
        row |= {"children": list(edit.children)}
        edits.append(row | ({"olds": [_named(vars(module)[old]) for old in edit.olds]} if edit.olds else {}))
    return {"name": method.name, "code": function.__code__.co_qualname, "edits": edits}


def redirect(owner: nn.Module, rows: Sequence[Mapping[str, Any]]) -> tuple[type[nn.Module], dict[str, Any]]:
    """The class of `owner` with the calls of `calls_of` redirected, and the attributes that its methods read; neither
    is put in.

    Raises:
        ActsmithError: the source of the module has no such calls, or is not to be had.
    """
    base = _base(owner)
    attributes: dict[str, Any] = {}
    methods: dict[str, Method] = {}
    by_name = {row["name"]: row for row in rows}
    inner = {child for row in rows for e in row["edits"] if e["form"] in _INNER for child in e["children"]}

    def add(row: Mapping[str, Any], function: types.FunctionType, own: bool, helper: bool) -> None:
        edits = tuple(_edit(function, e, attributes) for e in row["edits"])
        lines = (function.__code__.co_name, function.__code__.co_firstlineno) if own else ("", 0)
        methods[row["name"]] = Method(row["name"], None if own else function, lines, helper, edits)
        for edit in edits:
            if edit.form in _INNER:
                below = by_name[edit.children[0]]
                called, form = called_by_name(function, edit.end, below["code"], owner)
                add(below, called, own=False, helper=form == "helper")

    try:
        for row in rows:
            if row["name"] not in inner:
                add(row, _own(base, row["name"], code=row["code"]), own=True, helper=False)
        return rewritten_class(base, tuple(methods[row["name"]] for row in rows)), attributes
    except (UnreadableError, KeyError, ValueError) as error:
        raise ActsmithError(
            f"swap record: the calls in {base.__name__} cannot be redirected as they were: {error}; its code is "
            "another one than where the record was made: build the model, call replace_ as before, then load the "
            "state_dict"
        ) from None


def _base(module: nn.Module) -> Any:
    """The user's class."""
    kind = type(module)
    return kind.__base__ if METHODS in vars(kind) else kind


def _edit(function: types.FunctionType, row: Mapping[str, Any], attributes: dict[str, Any]) -> Edit:
    ends = _ends(function, row["text"])
    at, form, children = row["which"], row["form"], tuple(row["children"])
    if len(ends) != row["of"] or not 0 <= at < len(ends):
        raise UnreadableError(f"{function.__qualname__} calls {row['text']} {len(ends)} times, not {row['of']}")
    if form not in _FORMS or not all(isinstance(c, str) and c.isidentifier() for c in children):
        raise UnreadableError(f"no record of a call: {row}")
    olds = tuple(f"{child}_old" for child in children) if "olds" in row else ()
    for old, name in zip(olds, row.get("olds", ()), strict=True):
        attributes[old] = _of_torch(name)
    return Edit(ends[at], row["text"], form, children, olds)


def _ends(function: types.FunctionType, text: str) -> list[tuple[int, int]]:
    """Where the calls of that text end, in order."""
    return sorted(end for end, call in calls_in(function).items() if ast.unparse(call) == text)


def _own(base: Any, name: str, *, code: str = "", lines: tuple[str, int] | None = None) -> types.FunctionType:
    """The function of a method of the class, wherever its decorators hold it, by the name of its code or its lines."""
    raw = next((vars(k)[name] for k in base.__mro__ if name in vars(k)), None)
    for function in _held(raw):
        own = function.__code__
        if own.co_qualname == code or (own.co_name, own.co_firstlineno) == lines:
            return original(function)
    raise UnreadableError(f"it has no method {name!r} of the code {code or lines}")


def _held(raw: Any, depth: int = 4) -> Iterator[types.FunctionType]:
    raw = raw.fget if isinstance(raw, property) else raw
    if isinstance(raw, types.FunctionType):
        yield raw
        for cell in raw.__closure__ or () if depth else ():
            yield from _held(contents(cell), depth - 1)


def _named(function: Any) -> str:
    """The name of one of torch's functions."""
    name = getattr(function, "__name__", "")
    for home, holder in _TORCH.items():
        if name and getattr(holder, name, None) is function:
            return f"{home}.{name}"
    raise UnreadableError(f"{type(function).__name__} {name or function!r} is no function of torch's")


def _of_torch(text: str) -> Any:
    home, _, name = text.rpartition(".")
    found = getattr(_TORCH[home], name, None)
    if not callable(found):
        raise UnreadableError(f"torch has no {text}")
    return found
