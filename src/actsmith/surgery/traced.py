"""The forward of one module as code that `torch.fx` traced, in which calls of functions are calls of child modules.

The children stay closed. The code is used where it is the same in both modes and gives the same numbers.
"""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.graph_module import _forward_from_src

from actsmith.surgery.observe import base_name

__all__ = ["Code", "Edits", "edited_graph", "traces"]

Edits = Mapping[tuple[str, int], str]
"""(function's name, which call of it in one run of the forward) -> name of the child module to call instead."""

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


class Code:
    """Traced code as a function of (owner, ...). Copies and pickles hold its text, and so never trace again."""

    def __init__(self, graph: fx.Graph) -> None:
        code = graph.python_code("self")
        self.text = code.src
        self.modules = {k: v.__name__ for k, v in code.globals.items() if isinstance(v, types.ModuleType)}
        self.values = {k: v for k, v in code.globals.items() if k not in self.modules}
        self.forward: Any = self._compiled()

    def _compiled(self) -> Any:
        names = self.values | {k: importlib.import_module(v) for k, v in self.modules.items()}
        return _forward_from_src(self.text, names)  # as fx makes the forward of a GraphModule that was pickled

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "forward"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.forward = self._compiled()


def edited_graph(owner: nn.Module, edits: Edits) -> fx.Graph:
    """The forward of the owner's class, traced, with the calls replaced."""
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
    return graph


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
    constants, those that read a plain attribute of the module (`self.scale`: traced, it would keep today's value), and
    instances whose forward something else has replaced.
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
            with _attributes_read(owner) as read:
                graph = _trace(owner)
            constants = (str(n.target).split(".")[0] for n in graph.nodes if n.op == "get_attr")
            if any(_is_plain(owner, name) for name in read) or not all(hasattr(owner, name) for name in constants):
                return False
            codes.append(graph.python_code("self").src)
        if codes[0] != codes[1]:
            return False
        return _agrees(owner, arguments)
    except Exception:
        return False  # what fx cannot trace may fail in any way; the mode takes it
    finally:
        owner.training = training


@contextmanager
def _attributes_read(owner: nn.Module) -> Iterator[set[str]]:
    """The names of the attributes of the owner that are read meanwhile."""
    kind, read = type(owner), set[str]()

    def reading(self: nn.Module, name: str) -> Any:
        read.add(name)
        return kind.__getattribute__(self, name)

    owner.__class__ = type(kind.__name__, (kind,), {"__getattribute__": reading})
    try:
        yield read
    finally:
        owner.__class__ = kind


def _is_plain(owner: nn.Module, name: str) -> bool:
    """Whether it is a value of the user's, neither a module nor a tensor nor a method."""
    if name in vars(owner):
        return name not in _OF_EVERY_MODULE and not isinstance(vars(owner)[name], Tensor)
    for kind in type(owner).__mro__:
        if kind is nn.Module:
            return False
        if name in vars(kind) and not name.startswith("__"):
            value = vars(kind)[name]
            return not callable(value) and not hasattr(value, "__get__")
    return False


def _agrees(owner: nn.Module, arguments: tuple[Any, ...]) -> bool:
    traced = Code(edited_graph(owner, {})).forward
    results = []
    for forward in (types.MethodType(type(owner).forward, owner), types.MethodType(traced, owner)):
        torch.manual_seed(0)
        with torch.no_grad():
            results.append(forward(*(a.clone() if isinstance(a, Tensor) else a for a in arguments)))
    first, second = results
    return isinstance(first, Tensor) and isinstance(second, Tensor) and torch.equal(first, second)
