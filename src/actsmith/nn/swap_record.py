"""The activations that were put into a model as plain data, and the same put into another model of its structure.

    record = swap_record(model)                                   # for a configuration, a checkpoint
    model = build(); rebuild_(model, record); model.load_state_dict(...)

A record says which formula is where, and which calls of functions lead to it. What was learned is in the `state_dict`,
under the paths of the record.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.nn.activation import Activation
from actsmith.nn.call_record import calls_of, redirect
from actsmith.nn.private import children_of
from actsmith.nn.recognise import formula_of_module
from actsmith.nn.rewritten import METHODS, methods_of

__all__ = ["CHILD", "SWAPS", "rebuild_", "swap_record"]

SWAPS = "_actsmith_swaps"
"""The attribute of a model that holds its last swap; copies and pickles of the model hold None there."""
CHILD = "actsmith_"
"""What the names of children begin with that calls of functions lead to."""


def swap_record(model: nn.Module) -> list[dict[str, Any]]:
    """Every `Activation` of the model, and every module of torch's that a swap put there, as plain data for JSON.

    A module whose calls of functions were redirected is recorded with those calls. Calls that have no record (in a
    graph; of a module in a plain list), and other modules that a swap put in, of which no formula is known, are not
    recorded; a warning says so.

    Returns:
        One dictionary per place: path, formula, share, channels, channel_dim, and, where modules or parameters are the
        same as at an earlier place, `same` or `tied`, its path. Before them, one per module whose calls were
        redirected: path, class, calls (see `actsmith.nn.call_record`).

    Example:
        >>> swap_record(nn.Sequential(nn.Linear(2, 2), Activation("crrelu")))[0]["path"]
        '1'
    """
    rows = list(_redirected(model))
    first: dict[int, str] = {}
    for path, module in _placed(model):
        row: dict[str, Any] = {"path": path}
        if id(module) in first:
            rows.append(row | {"same": first[id(module)]})
            continue
        first[id(module)] = path
        if isinstance(module, Activation):
            row |= {"formula": module._family.formula.to_dict()}
            row |= {"share": module.share, "channels": module.channels, "channel_dim": module.channel_dim}
            own = [id(p) for p in module.parameters(recurse=False)]
            if own and own[0] in first:
                row["tied"] = first[own[0]]
            first.update(dict.fromkeys(own, first.get(own[0], path)) if own else {})
        else:
            formula = formula_of_module(module)
            if formula is None or list(module.parameters()):
                _warn(path, f"is a {type(module).__name__}, whose formula is not known")
                continue
            row |= {"formula": formula.to_dict(), "share": "layer", "channels": None, "channel_dim": 1}
        rows.append(row)
    return rows


def _redirected(model: nn.Module) -> Iterator[dict[str, Any]]:
    """The modules whose calls go to children of theirs."""
    for path, module in model.named_modules():
        added = [n for n in children_of(module) if n.startswith(CHILD)]
        if added and not methods_of(module):
            _warn(f"{path}.{added[0]}".lstrip("."), "is called in a graph")
        elif added:
            try:
                yield {"path": path, "class": type(module).__name__, "calls": calls_of(module)}
            except ActsmithError as error:
                _warn(f"{path}.{added[0]}".lstrip("."), f"is called where {error}")


def _warn(path: str, why: str) -> None:
    warnings.warn(
        f"swap record: {path} {why}; it is not recorded: put it there again before loading the weights", stacklevel=4
    )


def _placed(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    changed = getattr(vars(model).get(SWAPS), "changed", ())
    put: dict[str, nn.Module] = {p: c.module for c in changed for p in (c.path, *c.site.aliases)}
    inside = ""
    for path, module in model.named_modules(remove_duplicate=False):
        if inside and path.startswith(inside):
            continue
        if isinstance(module, Activation) or (path in put and put[path] is module):
            inside = f"{path}."
            yield path, module


def rebuild_(model: nn.Module, record: Sequence[Mapping[str, Any]], *, strict: bool = True) -> int:
    """Put the activations of a record into a model of the same structure, with the parameters that they started with.

    An `Activation` of the same formula that is there already stays.

    Args:
        model: changed in place.
        record: what `swap_record` gave, possibly read from JSON.
        strict: whether a path that the model has not is an error; else it is left out, and so are calls in a module of
            another class.

    Returns:
        How many were put in.

    Raises:
        ActsmithError: a path that the model has not, or calls that its source has not; nothing is changed then.
    """
    calling = [(m, *redirect(m, row["calls"])) for row in record if (m := _calling(model, row, strict)) is not None]
    added = {id(m): {n for method in vars(kind)[METHODS] for e in method.edits for n in e.children}
             for m, kind, _ in calling}  # fmt: skip

    def has(path: str) -> bool:
        owner, name = _owner(model, path), _name(path)
        return hasattr(owner, name) or name in added.get(id(owner), ())

    places = [row for row in record if "calls" not in row]
    missing = [row["path"] for row in places if not has(row["path"])]
    if missing and strict:
        raise ActsmithError(
            f"swap record: {type(model).__name__} has no {missing[0]!r}"
            + (f" ({len(missing)} such places)" if len(missing) > 1 else "")
            + "; a call that has no record leads there, or the model is another one: build the model, call replace_ as "
            "before, then load the state_dict"
        )
    for module, kind, attributes in calling:
        module.__class__ = kind
        vars(module).update(attributes)
    count = 0
    for row in (r for r in places if r["path"] not in missing):
        owner, name = _owner(model, row["path"]), _name(row["path"])
        new = _made(model, row)
        old = getattr(owner, name, None)
        if isinstance(old, Activation) and isinstance(new, Activation) and _alike(old, new) and "same" not in row:
            continue
        _put(owner, name, new, model)
        count += 1
    return count


def _calling(model: nn.Module, row: Mapping[str, Any], strict: bool) -> nn.Module | None:
    """The module whose calls a row redirects."""
    if "calls" not in row:
        return None
    try:
        module = model.get_submodule(row["path"])
    except AttributeError:
        if strict:
            raise ActsmithError(f"swap record: {type(model).__name__} has no module {row['path']!r}") from None
        return None
    return module if strict or type(module).__name__ == row["class"] else None


def _made(model: nn.Module, row: Mapping[str, Any]) -> nn.Module:
    if "same" in row:
        return model.get_submodule(row["same"])
    if "tied" in row:
        first = model.get_submodule(row["tied"])
        assert isinstance(first, Activation)
        return first.like()
    return Activation(Formula.from_dict(row["formula"]), row["share"], row["channels"], row["channel_dim"])


def _put(owner: nn.Module, name: str, new: nn.Module, model: nn.Module) -> None:
    near = next(owner.parameters(), None)
    near = near if near is not None else next(model.parameters(), None)
    if near is not None and not any(p.is_meta for p in new.parameters()):
        new.to(device=near.device, dtype=torch.float64 if near.dtype == torch.float64 else None)
    vars(owner).pop(name, None)  # a function in an attribute
    owner.add_module(name, new.train(owner.training))


def _alike(old: Activation, new: Activation) -> bool:
    return old._family.formula == new._family.formula and (old.share, old.channels) == (new.share, new.channels)


def _owner(model: nn.Module, path: str) -> Any:
    try:
        return model.get_submodule(path.rpartition(".")[0])
    except AttributeError:
        return None


def _name(path: str) -> str:
    return path.rpartition(".")[2]
