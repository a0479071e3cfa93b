"""Where the activations of a model are, what they are, and whether they gate.

sites(model)                module and attribute sites, without a forward pass
sites(model, example)       functional calls too, with how often each runs, gates and squashes
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.names import did_you_mean
from actsmith.nn.known import is_known, may_be_activation
from actsmith.nn.private import inside_compiled
from actsmith.nn.recognise import Recognised, recognise_module
from actsmith.nn.untouched import untouched
from actsmith.surgery.locate import Location
from actsmith.surgery.observe import Call, Kind, Observer, Place, stored_callables
from actsmith.surgery.running import run_example

__all__ = ["LOOKED_FOR", "Site", "activation_modules", "aliases_of", "is_activation", "sites"]

LOOKED_FOR = (
    "modules of torch.nn's elementwise activations, of actsmith.nn.Activation, of the transformers and timm "
    "activation classes, and other modules without children whose output is a nonlinear elementwise function of "
    "their input; functions stored in attributes; and, in a forward pass, calls of functions such as "
    "torch.nn.functional.relu"
)


@dataclass(frozen=True)
class Site:
    """A place where an activation acts.

    Attributes:
        path: of the module or attribute; for a function, `owner.relu:0`, the first call of relu in the owner's forward.
        kind: "module", "attribute" or "function".
        class_name: of the module, or the function's name.
        activation: what it computes, by its values, as the catalogue calls it; None where no name is known.
        formula: with its parameters, where it is known.
        gates: it multiplies a tensor of its output's own size (a GLU).
        squashes: it scales a larger tensor (squeeze-and-excitation, an attention gate), makes a weight, a scale or a
            deviation, goes into a softmax, or is bounded and feeds no linear map.
        calls: how often it ran in one forward pass in evaluation mode; None without an example.
        depth: its place in the order of execution, from 0; without an example, of declaration.
        aliases: further paths of the same module.
        channel_dim: the dimension of its units: 1 behind a convolution, else -1.
        channels: how many there are; None without an example.
        training_calls: as `calls`, in training mode; None where that was not seen.
        reason: why it is taken only when it is asked for; None for an activation between linear maps.
        fixed: why a call of a function cannot be exchanged; None where it can.
        location: of a function, its place in the source.
    """

    path: str
    kind: Kind
    class_name: str
    activation: str | None
    formula: Formula | None
    gates: bool
    squashes: bool
    calls: int | None
    depth: int
    aliases: tuple[str, ...] = ()
    channel_dim: int = -1
    channels: int | None = None
    training_calls: int | None = None
    reason: str | None = None
    fixed: str | None = None
    location: Location | None = field(default=None, repr=False, compare=False)

    @property
    def place(self) -> Place:
        """Owner and name."""
        path, _, ordinal = self.path.partition(":")
        owner, _, name = path.rpartition(".")
        return Place(self.kind, owner, name, int(ordinal or 0))

    @property
    def ordinary(self) -> bool:
        """Neither a gate nor a squash."""
        return not (self.gates or self.squashes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        names = ("path", "kind", "class_name", "activation", "gates", "squashes", "calls", "depth", "training_calls",
                 "reason", "fixed")  # fmt: skip
        formula = None if self.formula is None else self.formula.to_dict()
        return {n: getattr(self, n) for n in names} | {"formula": formula, "aliases": list(self.aliases)}


def sites(model: nn.Module, example: Any = None) -> list[Site]:
    """Every place where an activation acts, in the order of execution.

    With an example the model runs once in evaluation and once in training mode, without gradients, and is left as it
    was; a model that fails in training mode (for want of targets, or of samples for batch normalisation) is seen in
    evaluation mode alone. Without an example only modules and functions stored in attributes are found, and gates are
    known by their values alone (a sigmoid).

    Args:
        model: any module; inside torch.compile's wrapper the original is read.
        example: what the model takes: a tensor, a tuple of positional arguments, or keyword arguments.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 1))
        >>> [(s.path, s.activation, s.calls) for s in sites(model, torch.zeros(2, 4))]
        [('1', 'gelu', 1)]
    """
    model = inside_compiled(model)
    if example is None:
        return _declared(model)
    observer = observing(model, follow=True)
    with untouched(model, training=False), observer.watching():
        run_example(model, example)
    observer.mode = "train"
    with suppress(Exception), untouched(model, training=True), observer.watching():
        run_example(model, example)
    return sites_of(model, observer)


def observing(model: nn.Module, **options: Any) -> Observer:
    """An observer of the model's known and possible activation modules."""
    known, possible = activation_modules(model)
    modules = {p: recognise_module(m) or Recognised(None, None, False) for p, m in known.items()}
    return Observer(model, modules, possible, judge=is_activation, **options)


def sites_of(model: nn.Module, observer: Observer) -> list[Site]:
    """What an observer saw, and the modules and attributes that did not run."""
    aliases = aliases_of(model)
    found = [_site(call, aliases) for call in observer.calls.values()]
    seen = {s.path for s in found}
    missed = [s for s in _declared(model) if s.path not in seen and not s.path.startswith(tuple(f"{p}." for p in seen))]
    known = observer.modules.keys()
    idle = [s for s in missed if s.kind == "attribute" or s.path in known]
    return found + [replace(s, calls=0, depth=len(found) + i) for i, s in enumerate(idle)]


def _site(call: Call, aliases: Mapping[str, tuple[str, ...]]) -> Site:
    what, counts, place = call.what, call.counts, call.place
    return Site(
        place.path, place.kind, call.class_name, what.name, what.formula, call.gates, call.squashes,
        counts.get("eval", 0) if counts else None, call.order, aliases.get(place.path, ()), call.channel_dim,
        call.channels, counts.get("train"), call.reason, None if call.location is None else call.location.reason,
        call.location,
    )  # fmt: skip


def _declared(model: nn.Module) -> list[Site]:
    """Module and attribute sites in the order of the modules."""
    known, possible = activation_modules(model)
    aliases = aliases_of(model)
    found: list[Site] = []

    def add(place: Place, what: Recognised, class_name: str) -> None:
        found.append(_site(Call(place, what, class_name, len(found)), aliases))

    for path, module in model.named_modules():
        owner, _, name = path.rpartition(".")
        what = recognise_module(module) if path in known or path in possible else None
        if path in known:
            what = what or Recognised(None, None, False)
        if what is not None:
            add(Place("module", owner, name), what, type(module).__name__)
            continue
        for attribute, function, what in stored_callables(module):
            add(Place("attribute", path, attribute), what, getattr(function, "__name__", type(function).__name__))
    return found


def aliases_of(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """First path of a module -> its further paths."""
    paths: dict[int, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        paths.setdefault(id(module), []).append(path)
    return {first: tuple(rest) for first, *rest in paths.values() if rest}


def named_module(model: nn.Module, path: str, what: str) -> nn.Module:
    """The module at `path`, with near matches where there is none."""
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if path not in modules:
        hint = did_you_mean(path, modules)
        raise ActsmithError(f"{what}: no module {path!r} in {type(model).__name__}{'; ' * bool(hint)}{hint}")
    return modules[path]


def activation_modules(model: nn.Module) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    """The modules of `model` that are activations by class, and those that may be (see `is_activation`), by path."""
    known: dict[str, nn.Module] = {}
    possible: dict[str, nn.Module] = {}
    for path, module in model.named_modules():
        if is_known(module) and may_be_activation(module):
            known[path] = module
        elif path and may_be_activation(module):  # of the model itself the inside is looked at
            possible[path] = module
    return known, possible


@torch.no_grad()
def is_activation(module: nn.Module, x: Tensor) -> bool:
    """Whether `module`, in evaluation mode, is elementwise and nonlinear around the input x.

    Elementwise: changing every other element leaves the outputs at the rest as they are. Nonlinear: a second difference
    over the scale of x does not vanish, so neither dropout nor a layer scale passes.
    """
    if not x.is_floating_point() or x.numel() < 2:
        return False
    step = float(x.float().std()) or 1.0
    rest = torch.zeros(x.numel(), dtype=torch.bool, device=x.device)
    rest[::2] = True
    rest = rest.reshape(x.shape)
    try:
        with untouched(module):
            f = [module.forward(x.clone()), module.forward(torch.where(rest, x, x + step))]
    except Exception:
        return False  # it takes something else
    if not all(isinstance(y, Tensor) and y.shape == x.shape and y.is_floating_point() for y in f):
        return False
    if not torch.equal(f[0][rest].nan_to_num(), f[1][rest].nan_to_num()):
        return False
    with untouched(module):
        f = [module.forward(x + k * step).double() for k in (-2, 0, 2)]
    bend = (f[0] - 2 * f[1] + f[2]).abs().max()
    size = torch.stack(f).abs().max()
    return bool(bend > 64 * torch.finfo(x.dtype).eps * size)
