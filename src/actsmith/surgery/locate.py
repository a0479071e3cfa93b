"""Where in the source of a model a function is called, read off the frames of the running call.

The nearest frame that runs a method of one of the model's modules names the owner. The call itself may stand in that
method, in a function nested in it, or in a function that it calls (a helper, `super().forward`): then every step of the
way is a call whose callee can be read in the source. What cannot be read is a reason to leave the site as it is.
"""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import fx, nn
from torch.nn import functional

from actsmith.nn.private import PASSED, calls_modules
from actsmith.nn.source import UnreadableError, called_function, contents, original, plan

__all__ = ["Location", "Step", "base_name", "locate"]

_PASSED = frozenset((*PASSED, "actsmith.surgery.observe", "actsmith.surgery.locate"))
_OPTIMIZED = 1  # inspect.CO_OPTIMIZED: the code of a function, not of a class


@dataclass(frozen=True)
class Step:
    """One call on the way from a method of the owner to the activation.

    Attributes:
        function: whose code makes the call, as the user wrote it.
        end: (line, column) where the call ends in the source: no two calls end at one place.
        form: how it is rewritten; see `actsmith.nn.source.plan`.
        old: what is called, where the source does not say.
    """

    function: types.FunctionType
    end: tuple[int, int]
    form: str
    old: Any = field(default=None, compare=False)


@dataclass(frozen=True)
class Location:
    """A place in the source.

    Attributes:
        owner: path of the module whose method it is; of the module that runs, where no method was found.
        method: the attribute that holds the method.
        steps: the calls from the method to the activation, at least one; none where `reason` says why.
        reason: why the call cannot be exchanged; None where it can.
        key: tells it from other places of the owner.
    """

    owner: str
    method: str
    steps: tuple[Step, ...]
    reason: str | None
    key: Any = field(compare=False, default=None)


def base_name(function: Any) -> str:
    """The function's name without the underscore of the in-place form."""
    name: str = getattr(function, "__name__", "")
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def locate(
    function: Callable[..., Any], paths: Mapping[int, str], running: str, known: dict[Any, Location]
) -> Location:
    """The place of the call of `function` that runs now.

    Args:
        paths: id of every module of the model -> its path.
        running: path of the module whose call is innermost, which owns what has no other owner.
        known: places found so far, by owner and key; added to.
    """
    frame, callee = _caller(sys._getframe(1), function, paths)
    frames: list[types.FrameType] = []
    while frame is not None and not calls_modules(frame):
        frames.append(frame)
        found = _method(frame, paths)
        if found is not None:
            owner, name = paths[id(found[0])], base_name(function)
            way: tuple[Any, ...] = (owner, name, *((f.f_code, _end(f)) for f in frames))
            if way not in known:
                known[way] = _location(frames, found, owner, callee, name)
            location = known[way]
            if location.steps and location.steps[-1].form == "dynamic":
                way = (*way, id(callee))  # one of several in a list
                steps = (*location.steps[:-1], replace(location.steps[-1], old=callee))
                key = (location.key, id(callee))
                location = known.setdefault(way, replace(location, steps=steps, key=key))
            return location
        frame = frame.f_back
    code = frames[0].f_code if frames else None
    what = f"{code.co_qualname} ({code.co_filename}, line {frames[0].f_lineno})" if code is not None else "no function"
    reason = f"called in {what}, which no method of a module calls (a hook, a module that is no child)"
    return Location(running, "", (), reason, (code, _end(frames[0]) if frames else None))


def _location(
    frames: list[types.FrameType], found: tuple[nn.Module, str, Any], owner: str, callee: Any, name: str
) -> Location:
    module, method, function = found
    try:
        if isinstance(module, fx.GraphModule):
            steps: tuple[Step, ...] = (Step(function, _end(frames[0]) or (0, 0), "graph"),)
        else:
            steps = _steps(frames, function, module, callee, name)
    except UnreadableError as error:
        return Location(owner, method, (), str(error), (frames[0].f_code, _end(frames[0])))
    # A function nested in the method is called from several places, but holds the call once.
    return Location(owner, method, steps, None, (method, *((s.function.__code__, s.end) for s in steps), name))


def _caller(frame: types.FrameType | None, function: Any, paths: Mapping[int, str]) -> tuple[Any, Any]:
    """The frame of the user's code, and what it called: a function, or a module that is no child of the model."""
    callee = function
    while frame is not None:
        name, first = frame.f_globals.get("__name__"), _first(frame)
        own = isinstance(first, nn.Module) and id(first) not in paths
        if name == "torch.nn.functional":
            callee = getattr(functional, frame.f_code.co_name, callee)
        elif own and name == "torch.nn.modules.activation":
            callee = first
        elif name not in _PASSED and not (calls_modules(frame) and first is callee):
            break
        frame = frame.f_back
    return frame, callee


def _first(frame: types.FrameType) -> Any:
    code = frame.f_code
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None


def _end(frame: types.FrameType) -> tuple[int, int] | None:
    _, line, _, column = next(itertools.islice(frame.f_code.co_positions(), frame.f_lasti // 2, None))
    return None if line is None or column is None else (line, column)


def _method(frame: types.FrameType, paths: Mapping[int, str]) -> tuple[nn.Module, str, types.FunctionType] | None:
    """(module, attribute, function) of the method that the frame runs."""
    module = _first(frame)
    if not isinstance(module, nn.Module) or id(module) not in paths:
        return None
    names = itertools.chain((frame.f_code.co_name,), *(vars(kind) for kind in type(module).__mro__[:-1]))
    for name in names:
        kind = next((k for k in type(module).__mro__ if name in vars(k)), None)
        function = None if kind is None or kind is nn.Module else inner(vars(kind)[name], frame.f_code)
        if function is not None:
            return module, name, original(function)
    return None


def inner(function: Any, code: types.CodeType, depth: int = 4) -> types.FunctionType | None:
    """The function with that code: itself, or one that a decorator holds in its closure."""
    function = function.fget if isinstance(function, property) else function
    if not isinstance(function, types.FunctionType):
        return None
    if function.__code__ is code:
        return function
    if depth:
        for cell in function.__closure__ or ():
            found = inner(contents(cell), code, depth - 1)
            if found is not None:
                return found
    return None


def _steps(
    frames: list[types.FrameType], method: types.FunctionType, module: nn.Module, callee: Any, name: str
) -> tuple[Step, ...]:
    """From the method (the last frame) to the call (the first)."""
    codes: list[tuple[types.CodeType, tuple[int, int]]] = []
    i = 0
    while True:
        j = next((j for j in range(len(frames) - 1, i, -1) if _encloses(frames[j].f_code, frames[i].f_code)), i)
        end = _end(frames[i])
        if end is None:
            raise UnreadableError("the code holds no positions (python -X no_debug_ranges)")
        codes.append((frames[j].f_code, end))
        if j == len(frames) - 1:
            break
        if frames[j].f_globals.get("__name__", "").startswith("torch."):
            raise UnreadableError(
                f"called by {frames[j].f_globals['__name__']}.{frames[j].f_code.co_name}, not by the model"
            )
        i = j + 1
    function, steps = method, []
    for k in range(len(codes) - 1, 0, -1):
        following, form = called_function(function, codes[k][1], codes[k - 1][0], module)
        steps.append(Step(function, codes[k][1], form))
        function = following
    form = plan(function, codes[0][1], name, callee, len(steps))
    steps.append(Step(function, codes[0][1], form, callee if form == "dynamic" else None))
    return tuple(steps)


def _encloses(outer: types.CodeType, code: types.CodeType) -> bool:
    return any(
        isinstance(c, types.CodeType) and c.co_flags & _OPTIMIZED and (c is code or _encloses(c, code))
        for c in outer.co_consts
    )
