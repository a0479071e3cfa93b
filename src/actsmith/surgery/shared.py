"""One activation module under several paths, and calls that no example has shown: what a swap has to say of them."""

from __future__ import annotations

import ast
import copy
import fnmatch
import inspect
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import nn

from actsmith.formula.catalogue import CATALOGUE
from actsmith.nn.known import CLAMPS, FUNCTIONS
from actsmith.nn.private import children_of
from actsmith.nn.source import UnreadableError, calls_in, original, resolved
from actsmith.surgery.change import Change
from actsmith.surgery.sites import Site, activation_modules, aliases_of
from actsmith.surgery.where import Where

__all__ = ["Parts", "notes", "split_shared"]


@dataclass
class Parts:
    """Shared modules of which places were given a copy, to be exchanged alone.

    Attributes:
        places: (home, name, copy, the shared module).
        notes: what was split.
    """

    places: list[tuple[nn.Module, str, nn.Module, nn.Module]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def put_back(self) -> None:
        """The shared module in all of its places."""
        for home, name, _, shared in self.places:
            children_of(home)[name] = shared

    def settle(self) -> None:
        """Where the copy was not exchanged, the shared module comes back."""
        for home, name, part, shared in self.places:
            if children_of(home).get(name) is part:
                children_of(home)[name] = shared


def split_shared(model: nn.Module, where: Where | None, split: bool, named: bool = False) -> Parts:
    """Give the places that `where` tells apart from others of one module (all, where `split`) copies of their own.

    Where `named`, it is a list of paths, each for itself.
    """
    parts = Parts()
    paths_named = where if named and isinstance(where, list) else []
    known, possible = activation_modules(model)
    modules = {**known, **possible}
    for first, rest in aliases_of(model).items():
        if first not in modules:
            continue
        paths = (first, *rest)
        asked = (
            paths
            if split
            else tuple(p for p in paths if (named and p in paths_named) or (not named and _matches(p, where)))
        )
        if not asked or not (split or named or len(asked) < len(paths)):
            continue
        for path in asked:
            home, name = model.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2]
            shared = modules[first]
            children_of(home)[name] = part = _alike(shared)
            parts.places.append((home, name, part, shared))
        others = ", ".join(p for p in paths if p not in asked)
        kept = f"; {others} keep{'s' * (', ' not in others)} the old one" if others else ""
        parts.notes.append(f"{', '.join(asked)}: of a module under {len(paths)} paths, split{kept}")
    return parts


def _alike(module: nn.Module) -> nn.Module:
    """A module with the very parameters of another, and hooks of its own."""
    part = copy.copy(module)
    vars(part).update({n: copy.copy(v) for n, v in vars(part).items() if isinstance(v, dict)})
    return part


def _matches(path: str, where: Where | None) -> bool:
    if isinstance(where, str):
        return where not in CATALOGUE and fnmatch.fnmatchcase(path, where)
    if isinstance(where, list | tuple):
        patterns = [w for w in where if isinstance(w, str) and w not in CATALOGUE]
        return bool(patterns) and all(_matches(path, w) for w in patterns)
    return False


def notes(model: nn.Module, changed: Sequence[Change], found: Sequence[Site]) -> list[str]:
    """What the user should know beside the table."""
    shared = [
        f"{c.path}: one module under {len(c.homes)} paths ({', '.join(c.site.aliases[:3])}...), one set of parameters; "
        "split=True gives each place its own"
        for c in changed
        if len(c.homes) > 1
    ]
    return shared + [f"{place}, which the example does not run, stays" for place in _unseen(model, changed, found)]


def _unseen(model: nn.Module, changed: Sequence[Change], found: Sequence[Site]) -> Iterator[str]:
    """Calls of activations in methods of the model that ran in neither mode, of modules and functions that changed."""
    if not any(s.kind == "function" for s in found) and not changed:
        return
    seen = {(step.function.__code__, step.end) for s in found if s.location is not None for step in s.location.steps}
    said: set[str] = set()
    known, possible = activation_modules(model)
    for path, module in model.named_modules():
        if path in known or path in possible:
            continue
        for function in _methods(module):
            if not FUNCTIONS & {n.rstrip("_") for n in _names(function.__code__)}:
                continue
            for end, name in _activations(function):
                text = f"{type(module).__name__}.{function.__name__}: {name} (line {end[0]})"
                if (function.__code__, end) not in seen and text not in said:
                    said.add(text)
                    yield f"{path}{'.' * bool(path)}{text}"


def _methods(module: nn.Module) -> Iterator[types.FunctionType]:
    for name in dict.fromkeys(n for kind in type(module).__mro__ for n in vars(kind)):
        kind = next(k for k in type(module).__mro__ if name in vars(k))
        if kind.__module__.startswith(("torch.nn.modules", "actsmith.")) or kind is object:
            continue
        raw = inspect.unwrap(f) if callable(f := vars(kind)[name]) and hasattr(f, "__wrapped__") else vars(kind)[name]
        if isinstance(raw, types.FunctionType):
            yield original(raw)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _names(const)


def _activations(function: types.FunctionType) -> Iterator[tuple[tuple[int, int], str]]:
    """(where it ends, name) of the calls of torch's activation functions, and of methods of that name of what is not
    the module's own."""
    try:
        calls = calls_in(function)
    except UnreadableError:
        return
    first = function.__code__.co_varnames[:1]
    for end, node in calls.items():
        target = node.func
        name = (target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")).rstrip("_")
        if name not in FUNCTIONS or name in CLAMPS:
            continue
        what = resolved(target, function)
        root = target
        while isinstance(root, ast.Attribute):
            root = root.value
        own = isinstance(root, ast.Name) and root.id in first
        torchs = callable(what) and (getattr(what, "__module__", None) or "torch").startswith("torch")
        if torchs or (what is None and isinstance(target, ast.Attribute) and not own):
            yield end, name
