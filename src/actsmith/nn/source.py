"""A function as its user wrote it, with some of its calls redirected to children of the module that it belongs to.

The file is parsed and compiled as it stands; code that is not equal to the function's own, position for position, is
refused, so the edited function differs from it in those calls alone. Closures, defaults and globals are the function's.

| form    | the call                  | becomes                                                        |
|---------|---------------------------|----------------------------------------------------------------|
| call    | F.relu(h, inplace=True)   | self.child(h)                                                  |
| method  | h.relu()                  | self.child(h)                                                  |
| dynamic | acts[i](h, **options)     | self.child(h) if (c := acts[i]) is self.old else c(h, **options) |
| helper  | helper(h), super().f(h)   | self.child(h), the child being the helper rewritten            |
"""

from __future__ import annotations

import ast
import copy
import inspect
import linecache
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import nn

from actsmith.errors import ActsmithError

__all__ = [
    "OWNER",
    "Edit",
    "UnreadableError",
    "call_at",
    "called_by_name",
    "called_function",
    "calls_in",
    "contents",
    "edited",
    "original",
    "plan",
    "resolved",
]

OWNER = "actsmith_owner"
"""The parameter before all others that a helper gets."""
_CALLEE = "actsmith_callee"
_ORIGINAL = "__actsmith_original__"


class UnreadableError(Exception):
    """Why a call cannot be redirected."""


@dataclass(frozen=True)
class Edit:
    """A call to redirect.

    Attributes:
        end: (line, column) where it ends.
        text: of the call, without which the source is another.
        form: see the table.
        children: attributes of the owner to call.
        olds: for "dynamic", the attributes that hold what each stands for.
    """

    end: tuple[int, int]
    text: str
    form: str
    children: tuple[str, ...]
    olds: tuple[str, ...] = ()


def original(function: types.FunctionType) -> types.FunctionType:
    """As the user wrote it."""
    found: types.FunctionType = vars(function).get(_ORIGINAL, function)
    return found


def contents(cell: types.CellType) -> Any:
    """What a cell of a closure holds; None where it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


# ---------------------------------------------------------------------------------------------------- reading


def _text(function: types.FunctionType) -> str:
    lines = linecache.getlines(function.__code__.co_filename, function.__globals__)
    if not lines:
        raise UnreadableError(
            f"the source of {function.__qualname__} ({function.__code__.co_filename}) is not to be had"
        )
    return "".join(lines)


@lru_cache(maxsize=64)
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


@lru_cache(maxsize=64)
def _compiled(text: str) -> types.CodeType:
    return _compile(_parsed(text), "<source>")


def _compile(tree: ast.Module, name: str) -> types.CodeType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        return compile(tree, name, "exec", dont_inherit=True)


def _way(code: types.CodeType, wanted: types.CodeType) -> tuple[int, ...] | None:
    """Indices into co_consts that lead to code equal to `wanted`."""
    for i, const in enumerate(code.co_consts):
        if isinstance(const, types.CodeType):
            if const == wanted:
                return (i,)
            rest = _way(const, wanted)
            if rest is not None:
                return (i, *rest)
    return None


def _read(function: types.FunctionType) -> tuple[str, tuple[int, ...]]:
    """(the file's text, the way to the function's code in it)."""
    text = _text(function)
    try:
        way = _way(_compiled(text), function.__code__)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UnreadableError(f"the source of {function.__qualname__} cannot be compiled: {error}") from None
    if way is None:
        raise UnreadableError(
            f"the source of {function.__qualname__} ({function.__code__.co_filename}) is not what runs"
        )
    return text, way


def _definition(tree: ast.Module, function: types.FunctionType) -> Any:
    code = function.__code__
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name != code.co_name:
            continue
        if code.co_firstlineno == min([node.lineno, *(d.lineno for d in node.decorator_list)]):
            return node
    raise UnreadableError(f"{function.__qualname__} is no function that `def` makes")


def call_at(function: types.FunctionType, end: tuple[int, int]) -> ast.Call:
    """The call that ends there.

    Raises:
        UnreadableError: the source is not to be had, is not what runs, or has no call there.
    """
    text, _ = _read(function)
    node = _calls(text).get(end)
    if node is None:
        raise UnreadableError(f"line {end[0]} of {function.__code__.co_filename} makes it without a call (a property)")
    return node


@lru_cache(maxsize=64)
def _calls(text: str) -> dict[tuple[int, int], ast.Call]:
    found = (n for n in ast.walk(_parsed(text)) if isinstance(n, ast.Call))
    return {(n.end_lineno or 0, n.end_col_offset or 0): n for n in found}


def calls_in(function: types.FunctionType) -> dict[tuple[int, int], ast.Call]:
    """The calls in the function's own code, by where they end.

    Raises:
        UnreadableError: as `call_at`.
    """
    text, _ = _read(function)
    inside = {id(n) for n in ast.walk(_definition(_parsed(text), function))}
    return {end: node for end, node in _calls(text).items() if id(node) in inside}


def resolved(node: ast.expr, function: types.FunctionType) -> Any:
    """What a name, or an attribute of a module or class, stands for wherever the function runs; None if it varies."""
    code = function.__code__
    if isinstance(node, ast.Name):
        if node.id in code.co_freevars:
            return contents((function.__closure__ or ())[code.co_freevars.index(node.id)])
        if any(node.id in c.co_varnames or node.id in c.co_cellvars for c in _nested(code)):
            return None
        builtins = function.__globals__.get("__builtins__", {})
        found = function.__globals__.get(node.id)
        return getattr(builtins, node.id, None) if found is None and not isinstance(builtins, dict) else found
    if isinstance(node, ast.Attribute):
        value = resolved(node.value, function)
        return getattr(value, node.attr, None) if isinstance(value, types.ModuleType | type) else None
    return None


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _nested(const)


def plan(function: types.FunctionType, end: tuple[int, int], name: str, callee: Any, helper: bool | int) -> str:
    """The form of the call of an activation, `callee`, that torch knows as `name`.

    Raises:
        UnreadableError: it cannot be redirected.
    """
    node = call_at(function, end)
    _named(function, helper=bool(helper))
    at = f"line {end[0]} of {function.__code__.co_filename}"
    target = node.func
    found = resolved(target, function)
    if isinstance(callee, nn.Module):
        made = isinstance(target, ast.Call) and resolved(target.func, function) is type(callee)
        form = "call" if made else "dynamic"
    elif found is not None:
        if found is not callee and _plain(found) != name:
            raise UnreadableError(f"made inside {getattr(found, '__name__', found)} ({at})")
        form = "call"
    elif isinstance(target, ast.Attribute) and target.attr.rstrip("_") == name:
        form = "method" if not isinstance(callee, types.FunctionType | types.BuiltinFunctionType) else "dynamic"
    else:
        form = "dynamic"
    _split(node, form, at)
    return form


def _plain(function: Any) -> str:
    name = getattr(function, "__name__", "").rstrip("_")
    return {"log_sigmoid": "logsigmoid"}.get(name, name)


def _split(node: ast.Call, form: str, at: str) -> ast.expr:
    """The activation's input.

    Raises:
        UnreadableError: it is not told apart from other arguments, or those do something.
    """
    given = {k.arg: k.value for k in node.keywords}
    if form == "method" and isinstance(node.func, ast.Attribute):
        x, rest = node.func.value, [*node.args, *given.values()]
    elif node.args:
        x, rest = node.args[0], [*node.args[1:], *given.values()]
    elif "input" in given:
        x, rest = given["input"], [v for k, v in given.items() if k != "input"]
    else:
        raise UnreadableError(f"which of its arguments is the input cannot be read ({at})")
    if "out" in given:
        return x  # refused where it is chosen
    acting = (ast.Call, ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)
    if isinstance(x, ast.Starred) or None in given or any(isinstance(r, ast.Starred) for r in rest):
        raise UnreadableError(f"its arguments are unpacked, so the input cannot be read ({at})")
    if form != "dynamic" and any(isinstance(n, acting) for r in rest for n in ast.walk(r)):
        raise UnreadableError(f"a call among its arguments would be lost ({at})")
    return x


def called_function(
    function: types.FunctionType, end: tuple[int, int], code: types.CodeType, owner: nn.Module
) -> tuple[types.FunctionType, str]:
    """(the function with that code which the call there calls, "helper" or, of a method of the owner, "super").

    Raises:
        UnreadableError: what it calls cannot be read.
    """
    return _called(function, end, code.co_qualname, lambda other: other is code, owner)


def called_by_name(
    function: types.FunctionType, end: tuple[int, int], name: str, owner: nn.Module
) -> tuple[types.FunctionType, str]:
    """As `called_function`, of the function whose code has that qualified name."""
    return _called(function, end, name, lambda other: other.co_qualname == name, owner)


def _called(
    function: types.FunctionType,
    end: tuple[int, int],
    what: str,
    wanted: Callable[[types.CodeType], bool],
    owner: nn.Module,
) -> tuple[types.FunctionType, str]:
    target = call_at(function, end).func
    found, form = resolved(target, function), "helper"
    root = target.value if isinstance(target, ast.Attribute) else None
    name = target.attr if isinstance(target, ast.Attribute) else ""
    if isinstance(root, ast.Call) and isinstance(root.func, ast.Name) and root.func.id == "super":
        methods = (vars(kind).get(name) for kind in type(owner).__mro__)
        found = next((m for m in methods if isinstance(m, types.FunctionType) and wanted(m.__code__)), None)
        form = "super"
    elif found is None and isinstance(root, ast.Name) and root.id == function.__code__.co_varnames[0]:
        found = inspect.getattr_static(type(owner), name, None)
        found = found.__func__ if isinstance(found, staticmethod) else None
    found = original(found) if isinstance(found, types.FunctionType) else found
    if not isinstance(found, types.FunctionType) or not wanted(found.__code__):
        at = f"line {end[0]} of {function.__code__.co_filename}"
        raise UnreadableError(f"called through {what}, which {at} does not call by its name")
    _named(found, helper=form == "helper")
    return found, form


def _named(function: types.FunctionType, helper: bool) -> str:
    """The name under which the function's code has its owner throughout.

    Raises:
        UnreadableError: it means something else at places.
    """
    definition = _definition(_parsed(_read(function)[0]), function)
    if helper:
        return OWNER
    first: ast.arg = (definition.args.posonlyargs + definition.args.args)[0]
    for node in ast.walk(definition):
        bound = isinstance(node, ast.Name) and node.id == first.arg and not isinstance(node.ctx, ast.Load)
        taken = isinstance(node, ast.arg) and node.arg == first.arg and node is not first
        if isinstance(node, ast.Name | ast.arg) and (bound or taken):
            raise UnreadableError(f"{function.__qualname__} gives {first.arg!r} another meaning in line {node.lineno}")
    return first.arg


# ---------------------------------------------------------------------------------------------------- writing


class _Writer(ast.NodeTransformer):
    def __init__(self, edits: tuple[Edit, ...], owner: str) -> None:
        self.edits = {e.end: e for e in edits}
        self.owner = owner
        self.done = 0

    def visit_Call(self, node: ast.Call) -> ast.AST:
        edit = self.edits.get((node.end_lineno or 0, node.end_col_offset or 0))
        same = edit is not None and ast.unparse(node) == edit.text
        self.generic_visit(node)
        if edit is None or not same:
            return node
        self.done += 1
        return ast.fix_missing_locations(ast.copy_location(self._written(node, edit), node))

    def _written(self, node: ast.Call, edit: Edit) -> ast.expr:
        children = [self._attribute(c) for c in edit.children]
        if edit.form in ("helper", "super"):
            return ast.Call(children[0], node.args, node.keywords)
        x = _split(node, edit.form, "")
        if edit.form != "dynamic":
            return ast.Call(children[0], [x], [])
        callee: ast.expr = ast.Name(_CALLEE, ast.Load())
        written: ast.expr = ast.Call(callee, node.args, node.keywords)
        for i in range(len(children) - 1, -1, -1):
            left = ast.NamedExpr(ast.Name(_CALLEE, ast.Store()), node.func) if i == 0 else callee
            test = ast.Compare(left, [ast.Is()], [self._attribute(edit.olds[i])])
            written = ast.IfExp(test, ast.Call(children[i], [copy.deepcopy(x)], []), written)
        return written

    def _attribute(self, name: str) -> ast.expr:
        return ast.Attribute(ast.Name(self.owner, ast.Load()), name, ast.Load())


@lru_cache(maxsize=512)
def _edited_code(text: str, way: tuple[int, ...], function: Any, edits: tuple[Edit, ...], helper: bool) -> Any:
    tree = ast.parse(text)
    definition = _definition(tree, function)
    owner = _named(function, helper)
    if helper:
        arguments = definition.args
        first = ast.copy_location(ast.arg(OWNER), definition)
        (arguments.posonlyargs or arguments.args).insert(0, first)
    writer = _Writer(edits, owner)
    definition.body = [writer.visit(s) for s in definition.body]
    if writer.done != len(edits):
        raise UnreadableError(f"the source of {function.__qualname__} is not the one in which the calls were found")
    code: Any = _compile(ast.fix_missing_locations(tree), function.__code__.co_filename)
    for i in way:
        code = code.co_consts[i]
    return code


def edited(function: types.FunctionType, edits: tuple[Edit, ...], helper: bool) -> types.FunctionType:
    """The function with the calls redirected; a `helper` takes the owner before its other arguments.

    Raises:
        ActsmithError: the source is not what it was when the calls were found.
    """
    try:
        text, way = _read(function)
        code = _edited_code(text, way, function, edits, helper)
    except (UnreadableError, SyntaxError) as error:
        raise ActsmithError(f"surgery: {function.__qualname__} cannot be rewritten: {error}") from None
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    closure = tuple(cells[name] for name in code.co_freevars)
    new = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__, closure)
    new.__kwdefaults__ = function.__kwdefaults__
    new.__qualname__ = function.__qualname__
    new.__doc__, new.__module__ = function.__doc__, function.__module__
    new.__annotations__ = function.__annotations__
    vars(new).update(vars(function) | {_ORIGINAL: function})
    return new
