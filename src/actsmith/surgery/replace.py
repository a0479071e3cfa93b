"""`replace_`: put an activation into a model, proven by running it, with a way back.

swaps = replace_(model, "crrelu", where="gelu", example=batch)
swaps.attach(optimizer);  print(swaps.report());  swaps.undo()
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import index
from typing import Any

import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.integrations import remember
from actsmith.nn.activation import Share
from actsmith.nn.private import children_of
from actsmith.surgery.blend import Blend
from actsmith.surgery.change import Change
from actsmith.surgery.locate import Location
from actsmith.surgery.observe import Observer, StoredCall, stored_callables
from actsmith.surgery.proof import observe_example, prove
from actsmith.surgery.rewrite import free_name, rewrite
from actsmith.surgery.running import example_for, runs_on
from actsmith.surgery.shared import notes, split_shared
from actsmith.surgery.sites import LOOKED_FOR, Site, sites, sites_of
from actsmith.surgery.swaps import SWAPS, Swaps
from actsmith.surgery.to import To, choose_named, maker
from actsmith.surgery.where import Where, choose
from actsmith.surgery.wrapped import bare, uncompiled

__all__ = ["To", "replace_"]


def replace_(
    model: nn.Module,
    to: To,
    where: Where | None = None,
    *,
    example: Any = None,
    gates: bool = False,
    squashes: bool = False,
    share: Share = "layer",
    blend: Blend | int | None = None,
    prove_it: bool = True,
    split: bool = False,
) -> Swaps:
    """Replace activations of the model, in place.

    A child module is exchanged under its own name; a function in an attribute becomes a child of that name; a call of a
    function in a forward goes to a new child `actsmith_<function>_<number>`: `state_dict` gains their parameters, loses
    those of replaced modules (PReLU), and keeps the others. New parameters are float32 (float64 in a float64 model), on
    the device of the modules around them.

    Args:
        model: any module; of a compiled one what is inside. Not one that is distributed or has adapters already.
        to, where: see `To` and `Where`; all sites by default. A mapping given as `to` says where by its paths.
        example: one input of the model, a tensor, a tuple of positional or a dictionary of keyword arguments. timm and
            transformers models with tokens can do without.
        gates, squashes: take sites that gate (a GLU) or squash (squeeze-and-excitation), too; a whole path takes any.
        share: learnable parameters for every "layer", every "channel", or the whole "model".
        blend: a `Blend`, or a number of its steps, to go from the old activations to the new ones gradually.
        prove_it: run the model before and after and compare how often each activation ran.
        split: give every path of a module that stands under several (the one SiLU of a YOLO) its own. A path or pattern
            that matches some of them splits too: the others keep the old module.

    Raises:
        ActsmithError: no site found or chosen; a wrapped model; a function that writes into `out=` or an activation
            that changes its input in place; the proof fails. The model is then as before.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        >>> replace_(model, "crrelu", example=torch.zeros(2, 4)).undo()
        >>> model[1]
        ReLU()
    """
    model = bare(model)
    parts = split_shared(model, list(to) if isinstance(to, Mapping) else where, split, named=isinstance(to, Mapping))
    with uncompiled(model):
        try:
            observer, before, example = _observed(model, example, prove_it)
            found = sites(model) if observer is None else sites_of(model, observer)
            own = choose_named(found, to) if isinstance(to, Mapping) else choose(model, found, where, gates, squashes)
            chosen, skipped = _possible(*own)
            _check(model, found, chosen, skipped, where)
            schedule = blend if blend is None or isinstance(blend, Blend) else Blend(index(blend))
        except BaseException:
            parts.put_back()
            raise
        swaps = Swaps(model, found=found, changed=(), skipped=skipped, restore=[parts.put_back], blend=schedule)
        try:
            swaps.changed = tuple(_apply(model, chosen, maker(to, share), observer, swaps._restore))
            if prove_it:
                assert observer is not None
                prove(model, swaps.changed, before, example, {p for p, call in observer.calls.items() if call.mutates})
            if swaps.blend is not None:
                _install(swaps.blend, swaps)
        except BaseException:
            swaps._put_back()
            raise
    parts.settle()
    swaps.notes = (*parts.notes, *notes(model, swaps.changed, found))
    _remember(swaps)
    return swaps


def _observed(model: nn.Module, example: Any, prove_it: bool) -> tuple[Observer | None, dict[str, dict[str, int]], Any]:
    if not prove_it and example is None:
        return None, {}, None
    example = example_for(model, example)
    return (*observe_example(model, example), example)


def _install(blend: Blend, swaps: Swaps) -> None:
    swaps._restore.append(blend.release)
    for change in swaps.changed:
        blend.install(change.module, change.old)


def _possible(chosen: list[Site], skipped: list[tuple[Site, str]]) -> tuple[list[Site], list[tuple[Site, str]]]:
    kept = [s for s in chosen if s.path and s.fixed is None]
    itself = "the model itself; put it into a Sequential"
    rest = [(s, f"cannot be exchanged: {s.fixed}" if s.path else itself) for s in chosen if s not in kept]
    return kept, [*skipped, *rest]


def _check(
    model: nn.Module,
    found: Sequence[Site],
    chosen: Sequence[Site],
    skipped: Sequence[tuple[Site, str]],
    where: Where | None,
) -> None:
    name = type(model).__name__
    if not found:
        raise ActsmithError(f"replace_: {name} holds no activation; looked for {LOOKED_FOR}")
    if not chosen:
        kinds = Counter(s.activation or s.class_name for s in found)
        reasons = Counter(why for _, why in skipped)
        raise ActsmithError(
            f"replace_: no site of {name} matches where={where!r}; it has "
            f"{', '.join(f'{n} x {kind}' for kind, n in kinds.items())}, as in {found[0].path!r}. Left out: "
            f"{', '.join(f'{n} ({why})' for why, n in reasons.items())}"
        )


def _settle(new: nn.Module, owner: nn.Module, model: nn.Module) -> nn.Module:
    """On the device of what is around it, float64 in a float64 model."""
    near = next(owner.parameters(), None)
    near = near if near is not None else next(model.parameters(), None)
    if near is not None:
        new.to(device=runs_on(model, near), dtype=torch.float64 if near.dtype == torch.float64 else None)
    return new.train(owner.training)


# ------------------------------------------------------------------------------------------------------- putting it in


def _apply(
    model: nn.Module,
    chosen: Sequence[Site],
    make: Callable[[Site], nn.Module],
    observer: Observer | None,
    restore: list[Callable[[], None]],
) -> list[Change]:
    changed: list[Change] = []
    calls: dict[str, list[tuple[Location, str]]] = {}
    for site in chosen:
        place = site.place
        owner = model.get_submodule(place.owner)
        new = _settle(make(site), owner, model)
        if site.kind == "module":
            old: Any = getattr(owner, place.name)
            new.train(old.training)
            paths = [site.path, *site.aliases]
            homes = [(model.get_submodule(p.rpartition(".")[0]), p.rpartition(".")[2]) for p in paths]
            for home, name in homes:
                restore.append(_child_back(home, name, old))
                children_of(home)[name] = new
            changed.append(Change(site, new, site.path, "module", old, tuple(homes)))
        elif site.kind == "attribute":
            old = next(f for n, f, _ in stored_callables(owner) if n == place.name)
            restore.append(_attribute_back(owner, place.name, old))
            setattr(owner, place.name, new)
            changed.append(Change(site, new, site.path, "attribute", old, ((owner, place.name),)))
        else:
            assert observer is not None
            assert site.location is not None
            child = free_name(owner, f"actsmith_{place.name}_{place.ordinal}")
            restore.append(_child_away(owner, child))
            owner.add_module(child, new)
            calls.setdefault(place.owner, []).append((site.location, child))
            path = f"{place.owner}.{child}" if place.owner else child
            call = observer.calls[place].old
            assert isinstance(call, StoredCall)
            _refuse_out(site, call)
            changed.append(Change(site, new, path, "code", call, ((owner, child),)))
        _leave_fused_paths(model, place.owner, restore)
    restore.extend(rewrite(model.get_submodule(path), found) for path, found in calls.items())
    return changed


def _refuse_out(site: Site, call: StoredCall) -> None:
    if call.keywords.get("out") is not None:
        raise ActsmithError(
            f"replace_: {site.path} writes into a tensor of its caller's (out=), which a new activation would leave as "
            "it is; leave it out with where=, or use the function's result instead of out="
        )


def _child_back(owner: nn.Module, name: str, old: nn.Module) -> Callable[[], None]:
    def back() -> None:
        children_of(owner)[name] = old

    return back


def _child_away(owner: nn.Module, name: str) -> Callable[[], None]:
    def back() -> None:
        children_of(owner).pop(name, None)

    return back


def _attribute_back(owner: nn.Module, name: str, old: Any) -> Callable[[], None]:
    order = list(vars(owner))

    def back() -> None:
        children_of(owner).pop(name, None)
        vars(owner)[name] = old
        attributes = dict(vars(owner))
        vars(owner).clear()
        vars(owner).update({k: attributes.pop(k) for k in order if k in attributes} | attributes)

    return back


def _leave_fused_paths(model: nn.Module, path: str, restore: list[Callable[[], None]]) -> None:
    """Torch's encoder layer, in evaluation mode, runs the ReLU or GELU that it was built with in one fused kernel.

    It does so while `activation_relu_or_gelu` says so, and the encoder around it packs padded batches for that kernel.
    """
    parts = path.split(".") if path else []
    for depth in range(len(parts), -1, -1):
        module = model.get_submodule(".".join(parts[:depth]))
        for name, off in (("activation_relu_or_gelu", 0), ("use_nested_tensor", False)):
            old = vars(module).get(name)
            if old and isinstance(module, nn.TransformerEncoderLayer | nn.TransformerEncoder):
                restore.append(_value_back(module, name, old))
                vars(module)[name] = off


def _value_back(module: nn.Module, name: str, old: Any) -> Callable[[], None]:
    def back() -> None:
        vars(module)[name] = old

    return back


def _remember(swaps: Swaps) -> None:
    """Let `calibrate_(model, ...)` find the last swap of a model, and `undo` see what came after it."""
    swaps._forwards = {c.path: vars(home).get("forward") for c in swaps.changed for home, _ in c.homes}
    held = vars(swaps.model)
    previous = held.get(SWAPS)

    def back() -> None:
        held.pop(SWAPS, None)
        if previous is not None:
            held[SWAPS] = previous

    swaps._restore.append(back)
    held[SWAPS] = swaps
    remember(swaps.model)
