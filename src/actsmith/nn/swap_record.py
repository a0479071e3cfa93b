"""The activations that were put into a model as plain data, and the same put into another model of its structure.

    record = swap_record(model)                                   # for a configuration, a checkpoint
    model = build(); rebuild_(model, record); model.load_state_dict(...)

A record says which formula is where. What was learned is in the `state_dict`, under the paths of the record.
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
from actsmith.nn.known import formula_of_module

__all__ = ["SWAPS", "rebuild_", "swap_record"]

SWAPS = "_actsmith_swaps"
"""The attribute of a model that holds its last swap; copies and pickles of the model hold None there."""


def swap_record(model: nn.Module) -> list[dict[str, Any]]:
    """Every `Activation` of the model, and every module of torch's that a swap put there, as plain data for JSON.

    Activations that replace calls of functions inside a forward are recorded, but what calls them is code: `rebuild_`
    refuses a model that has no place for them. Other modules that a swap put in, of which no formula is known, are not
    recorded; a warning says so.

    Returns:
        One dictionary per place: path, formula, share, channels, channel_dim, and, where modules or parameters are the
        same as at an earlier place, `same` or `tied`, its path.

    Example:
        >>> swap_record(nn.Sequential(nn.Linear(2, 2), Activation("crrelu")))[0]["path"]
        '1'
    """
    rows: list[dict[str, Any]] = []
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
                warnings.warn(
                    f"swap record: {path} is a {type(module).__name__}, whose formula is not known; it is not "
                    "recorded: put it there again before loading the weights",
                    stacklevel=2,
                )
                continue
            row |= {"formula": formula.to_dict(), "share": "layer", "channels": None, "channel_dim": 1}
        rows.append(row)
    return rows


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
        strict: whether a path that the model has not is an error; else it is left out.

    Returns:
        How many were put in.

    Raises:
        ActsmithError: a path that the model has not; nothing is changed then.
    """
    missing = [row["path"] for row in record if not hasattr(_owner(model, row["path"]), _name(row["path"]))]
    if missing and strict:
        raise ActsmithError(
            f"swap record: {type(model).__name__} has no {missing[0]!r}"
            + (f" ({len(missing)} such places)" if len(missing) > 1 else "")
            + "; a call of a function in a forward was replaced there, which a record cannot do again, or the model is "
            "another one: build the model, call replace_ as before, then load the state_dict"
        )
    count = 0
    for row in (r for r in record if r["path"] not in missing):
        owner, name = _owner(model, row["path"]), _name(row["path"])
        new = _made(model, row)
        old = getattr(owner, name)
        if isinstance(old, Activation) and isinstance(new, Activation) and _alike(old, new) and "same" not in row:
            continue
        _put(owner, name, new, model)
        count += 1
    return count


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
