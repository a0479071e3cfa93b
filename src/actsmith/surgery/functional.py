"""Replacing calls of functions in a module's forward, for that one instance.

Where `torch.fx` traces the module's own forward (its children stay closed) and the traced code gives the same numbers,
the calls become nodes that call child modules; otherwise a torch-function mode that lasts while that forward runs
catches them. Either is held in the instance's `forward`, which deep-copies and pickles with the model; no class and no
global changes.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from actsmith.surgery.observe import base_name

__all__ = ["Edits", "InstanceForward", "traces"]

Edits = Mapping[tuple[str, int], str]
"""(function's name, which call of it in one run of the forward) -> name of the child module to call instead."""

_MODULE_CALL = nn.Module._call_impl.__code__


class InstanceForward:
    """The forward of one instance, in which some calls of functions go to child modules.

    Args:
        owner: the module whose forward it stands for.
        edits: which calls go where.
        method: "fx" or "mode".
    """

    def __init__(self, owner: nn.Module, edits: Edits, method: Literal["fx", "mode"]) -> None:
        self.owner = owner
        self.edits = dict(edits)
        self.method = method
        self.inner: Any = vars(owner).get("forward")  # what the instance had in place of its class's forward
        self._traced: Any = None

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._original())

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_traced": None}  # generated code does not pickle; it is traced again

    def _original(self) -> Any:
        return self.inner if self.inner is not None else types.MethodType(type(self.owner).forward, self.owner)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if self.method == "fx":
            if self._traced is None:
                self._traced = edited_forward(self.owner, self.edits)
            return self._traced(self.owner, *arguments, **keywords)
        with _Redirect(self):
            return self._original()(*arguments, **keywords)


class _Redirect(TorchFunctionMode):
    """Sends the calls that an `InstanceForward` names to its children, those in the owner's own forward alone."""

    def __init__(self, forward: InstanceForward) -> None:
        super().__init__()
        self.forward = forward
        self.names = {name for name, _ in forward.edits}
        self.counts: dict[str, int] = {}

    def __torch_function__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = base_name(func)
        if name not in self.names or not self._in_own_forward():
            return func(*args, **kwargs)
        ordinal = self.counts.get(name, 0)
        self.counts[name] = ordinal + 1
        child = self.forward.edits.get((name, ordinal))
        x = args[0] if args else kwargs.get("input")
        return func(*args, **kwargs) if child is None else getattr(self.forward.owner, child)(x)

    def _in_own_forward(self) -> bool:
        """Whether the nearest module on the call stack is the owner: a child is entered through `Module._call_impl`."""
        frame: types.FrameType | None = sys._getframe(2)
        while frame is not None:
            if frame.f_code is _MODULE_CALL:
                return False
            if frame.f_code is InstanceForward.__call__.__code__:
                return frame.f_locals["self"].owner is self.forward.owner
            frame = frame.f_back
        return False


def edited_forward(owner: nn.Module, edits: Edits) -> Any:
    """The forward of the owner's class as a function of (owner, ...), traced, with the calls replaced."""
    graph = _trace(owner)
    counts: dict[str, int] = {}
    for node in list(graph.nodes):
        if node.op not in ("call_function", "call_method"):
            continue
        name = base_name(node.target) if node.op == "call_function" else node.target.rstrip("_")
        if name not in {n for n, _ in edits}:
            continue
        ordinal = counts.get(name, 0)
        counts[name] = ordinal + 1
        child = edits.get((name, ordinal))
        if child is not None:
            with graph.inserting_after(node):
                new = graph.call_module(child, (node.args[0] if node.args else node.kwargs["input"],))
            node.replace_all_uses_with(new)
            graph.erase_node(node)
    return type(fx.GraphModule(owner, graph)).forward


class _OwnTracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _trace(owner: nn.Module) -> fx.Graph:
    before = set(vars(owner))
    try:
        return _OwnTracer().trace(owner)
    finally:
        for name in set(vars(owner)) - before:  # constants that the tracer stores
            delattr(owner, name)


def traces(owner: nn.Module, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> bool:
    """Whether fx traces the owner's own forward into code that is the same in both modes and gives the same numbers.

    A traced default argument is no longer None, so forwards with defaults are left to the mode, as are those that hold
    constants, and instances whose forward something else has replaced.
    """
    if "forward" in vars(owner) or keywords or isinstance(owner, fx.GraphModule):
        return False
    plain = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = list(inspect.signature(type(owner).forward).parameters.values())[1:]
    if any(p.default is not inspect.Parameter.empty or p.kind is not plain for p in parameters):
        return False
    training, codes = owner.training, []
    try:
        for mode in (True, False):
            owner.training = mode
            graph = _trace(owner)
            if any(n.op == "get_attr" and not hasattr(owner, str(n.target).split(".")[0]) for n in graph.nodes):
                return False
            codes.append(graph.python_code("self").src)
        if codes[0] != codes[1]:
            return False
        return _agrees(owner, arguments)
    except Exception:
        return False  # what fx cannot trace may fail in any way; the mode takes it
    finally:
        owner.training = training


def _agrees(owner: nn.Module, arguments: tuple[Any, ...]) -> bool:
    traced = edited_forward(owner, {})
    results = []
    for forward in (types.MethodType(type(owner).forward, owner), types.MethodType(traced, owner)):
        torch.manual_seed(0)
        with torch.no_grad():
            results.append(forward(*(a.clone() if isinstance(a, Tensor) else a for a in arguments)))
    first, second = results
    return isinstance(first, Tensor) and isinstance(second, Tensor) and torch.equal(first, second)
