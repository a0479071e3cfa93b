"""Watching a forward pass: every call of an activation, with its input and output, whatever form it has.

    module      a child module: `layer1.0.relu`
    attribute   a callable that a module stores: `encoder.layers.0.activation`
    function    a call in a module's forward: `layer1.0.relu:0`, the first call of relu there (`:0` numbers them)

Hooks on the instances keep a stack of the modules that run; a torch-function mode sees the calls of functions;
callables in attributes are wrapped while the pass lasts. Nothing is left behind.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from actsmith.nn.known import CLAMPS, FUNCTIONS
from actsmith.nn.private import compiled_call, set_compiled_call, version_of
from actsmith.nn.recognise import Recognised, recognise, recognise_module
from actsmith.surgery.flow import Flow
from actsmith.surgery.locate import Location, base_name, locate

__all__ = ["Call", "Kind", "Observer", "Place", "stored_callables"]

Kind = Literal["module", "attribute", "function"]

_CHANNELS_FIRST = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.BatchNorm1d,
    nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
    nn.GroupNorm, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
)  # fmt: skip
_CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding)


@dataclass(frozen=True)
class Place:
    """Where an activation is called.

    Attributes:
        kind: "module", "attribute" or "function".
        owner: path of the module whose forward makes the call; for a module site, its parent.
        name: the child's or attribute's name, or the function's.
        ordinal: which place in the owner's code that calls it, in the order in which they first ran; 0 for other kinds.
    """

    kind: Kind
    owner: str
    name: str
    ordinal: int = 0

    @property
    def path(self) -> str:
        """`owner.name`, with `:ordinal` for a function."""
        joined = f"{self.owner}.{self.name}" if self.owner else self.name
        return f"{joined}:{self.ordinal}" if self.kind == "function" else joined


@dataclass
class Call:
    """What was seen of one place.

    Attributes:
        place: where.
        what: the activation, by its values.
        class_name: of the module, or the function's name.
        order: how many places had been seen before it.
        counts: mode ("eval", "train") -> how often it ran.
        followed: whether its output was followed, so that the next five are known.
        gates: its output is multiplied with a tensor of the same size.
        broadcast: its output scales a larger tensor.
        scales: its output is a divisor, or the argument of a logarithm, a root, an exponential.
        weighs: its output is the weight of a layer.
        scores: its output goes into a softmax or a loss.
        fed: its output goes into a linear map.
        channel_dim: the dimension of the units: 1 behind a convolution, else -1.
        channels: how many there are.
        old: the activation as a function of its input.
        mutates: it changed its input in place.
        location: of a function, the place in the source.
    """

    place: Place
    what: Recognised
    class_name: str
    order: int
    old: Callable[..., Any] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    followed: bool = False
    gates: bool = False
    broadcast: bool = False
    scales: bool = False
    weighs: bool = False
    scores: bool = False
    fed: bool = False
    channel_dim: int = -1
    channels: int | None = None
    mutates: bool = False
    location: Location | None = None

    @property
    def reason(self) -> str | None:
        """Why it is no activation between linear maps; None where it is one."""
        bounded = self.what.bounded if self.followed and self.counts else self.what.unit_range
        reasons = (
            (self.gates, "a gate"),
            (self.broadcast, "a squash: it scales a larger tensor"),
            (self.weighs, "a squash: it makes a weight"),
            (self.scales, "a squash: it makes a scale or a deviation"),
            (self.scores and not self.fed, "a squash: it feeds a softmax or a loss"),
            (bounded and not self.fed, "a squash: it feeds no linear map"),
        )
        return next((why for holds, why in reasons if holds), None)

    @property
    def scaling(self) -> bool:
        """What it computes scales something, or is the model's own output in [0, 1]: no signal passes through it."""
        return (
            self.broadcast or self.weighs or self.scales or (self.what.unit_range and not self.fed and not self.gates)
        )

    @property
    def squashes(self) -> bool:
        """There is a reason, and it is no gate."""
        return self.reason is not None and not self.gates


@dataclass
class _Frame:
    path: str
    module: nn.Module
    site: Place | None = None
    input: Any = None


@dataclass(frozen=True)
class StoredCall:
    """A function with all of its arguments but the first; the input is never changed in place."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    def __call__(self, x: Tensor) -> Any:
        return self.function(x.clone(), *self.arguments, **self.keywords)


class Observer:
    """Counts and classifies the calls of activations while it is entered.

    Args:
        model: what will run.
        modules: path -> what it is, of the modules that are activations.
        possible: path of modules that may be; judged at their first input by `judge`.
        judge: (module, input) -> whether it is an activation.
        before, after: called with the place, the input, and the output of every call.
        follow: whether to follow outputs into products, for `gates` and `squashes`.
        nested: whether to look inside the modules given; else what an activation calls is its own matter.
    """

    def __init__(
        self,
        model: nn.Module,
        modules: Mapping[str, Recognised],
        possible: Iterable[str] = (),
        *,
        judge: Callable[[nn.Module, Tensor], bool] | None = None,
        before: Callable[[Place, Tensor], None] | None = None,
        after: Callable[[Place, Tensor], None] | None = None,
        follow: bool = False,
        nested: bool = False,
    ) -> None:
        self.model = model
        self.modules = dict(modules)
        self.possible = set(possible)
        self.judge = judge
        self.before, self.after = before, after
        self.calls: dict[Place, Call] = {}
        self.mode = "eval"  # under which calls are counted
        self._paths = {id(m): p for p, m in model.named_modules()}
        self._locations: dict[Any, Location] = {}
        self._ordinals: dict[tuple[str, str], dict[Any, int]] = {}  # (owner, function's name) -> place -> its number
        self.nested = nested
        self._stack: list[_Frame] = []
        self._inside: list[tuple[Place, Tensor, int]] = []  # the calls that run, their inputs and those's versions
        self._paused = False
        self._channel_dim: int | None = None
        self._flow = Flow(self.calls.__getitem__) if follow else None

    @contextmanager
    def watching(self) -> Iterator[Observer]:
        """Hooks, wrapped attributes and the mode in place; afterwards as before, also after an error."""
        handles = []
        wrapped: list[tuple[nn.Module, str, Any]] = []
        compiled = [(m, call) for m in self.model.modules() if (call := compiled_call(m)) is not None]
        try:
            for module, _ in compiled:
                set_compiled_call(module, None)
            for path, module in self.model.named_modules():
                handles.append(module.register_forward_pre_hook(self._entering(path), with_kwargs=True, prepend=True))
                handles.append(module.register_forward_hook(self._leaving, always_call=True))
                for name, function, what in stored_callables(module):
                    place = Place("attribute", path, name)
                    wrapped.append((module, name, function))
                    vars(module)[name] = self._wrapping(place, function, what)
            with _slow_transformer(self.model), _mode(self._function):
                yield self
        finally:
            for handle in handles:
                handle.remove()
            for module, name, function in wrapped:
                vars(module)[name] = function
            for module, call in compiled:
                set_compiled_call(module, call)
            self._stack.clear()
            self._inside.clear()

    # ------------------------------------------------------------------------------------------------ the three forms

    def _entering(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            frame = _Frame(path, module)
            values = (*arguments, *keywords.values())
            x = values[0] if values else None
            closed = (bool(self._inside) and not self.nested) or sum(isinstance(v, Tensor) for v in values) > 1
            if not closed and isinstance(x, Tensor) and x.is_floating_point() and self._is_site(path, module, x):
                owner, _, name = path.rpartition(".")
                frame.site = Place("module", owner, name)
                self._start(frame.site, self.modules[path], type(module).__name__, module, x)
                frame.input = x
            self._stack.append(frame)

        return hook

    def _leaving(self, module: nn.Module, _: Any, output: Any) -> None:
        while self._stack:
            frame = self._stack.pop()
            if frame.site is not None:
                self._finish(frame.site, output)
            if frame.module is module:
                break
        if isinstance(module, _CHANNELS_FIRST):
            self._channel_dim = 1
        elif isinstance(module, _CHANNELS_LAST):
            self._channel_dim = -1

    def _is_site(self, path: str, module: nn.Module, x: Tensor) -> bool:
        if path in self.possible and self.judge is not None:
            self.possible.discard(path)
            self._paused = True
            try:
                with torch.no_grad():
                    if self.judge(module, x.detach()):
                        self.modules[path] = recognise_module(module) or Recognised(None, None, False)
            finally:
                self._paused = False
        return path in self.modules

    def _wrapping(self, place: Place, function: Callable[..., Any], what: Recognised) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            x = arguments[0] if arguments else next(iter(keywords.values()), None)
            if (self._inside and not self.nested) or self._paused or not isinstance(x, Tensor):
                return function(*arguments, **keywords)
            self._start(place, what, getattr(function, "__name__", "partial"), function, x)
            y = None
            try:
                y = function(*arguments, **keywords)
            finally:
                self._finish(place, y)
            return y

        return call

    def _function(self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if self._paused or not self._stack:
            return function(*arguments, **keywords)
        name = base_name(function)
        x = arguments[0] if arguments else keywords.get("input")
        closed = (bool(self._inside) and not self.nested) or name not in FUNCTIONS
        what = None
        if not closed and isinstance(x, Tensor) and x.is_floating_point():
            what = self._what(function, name, arguments, keywords)
        if what is None or not isinstance(x, Tensor):
            y = function(*arguments, **keywords)
            if self._flow is not None and not self._inside:
                self._flow.see(name, arguments, keywords, y)
            return y
        place, location = self._place(function, name)
        rest = {k: v for k, v in keywords.items() if k != "input"}
        self._start(place, what, name, StoredCall(function, arguments[1:], rest), x)
        self.calls[place].location = location
        y = None
        try:
            y = function(*arguments, **keywords)
        finally:
            self._finish(place, y)
        return y

    def _place(self, function: Any, name: str) -> tuple[Place, Location]:
        self._paused = True
        try:
            location = locate(function, self._paths, self._stack[-1].path, self._locations)
        finally:
            self._paused = False
        numbers = self._ordinals.setdefault((location.owner, name), {})
        return Place("function", location.owner, name, numbers.setdefault(location.key, len(numbers))), location

    def _what(self, function: Any, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if any(isinstance(v, Tensor) for v in (*arguments[1:], *keywords.values())[0 if arguments else 1 :]):
            return None if name in CLAMPS else Recognised(name, None, False)
        rest = {k: v for k, v in keywords.items() if k not in ("input", "training", "out")}
        self._paused = True
        try:
            what = recognise(lambda grid: function(grid, *arguments[1:], **rest))
        finally:
            self._paused = False
        if name in CLAMPS:  # to values near 0, what is no activation keeps a divisor from 0
            low = arguments[1] if len(arguments) > 1 else keywords.get("min")
            return what if what is not None and what.name in ("relu", "relu6") and low == 0 else None
        return what

    # ------------------------------------------------------------------------------------------------ one call

    def _start(self, place: Place, what: Recognised, class_name: str, old: Callable[..., Any], x: Tensor) -> None:
        if place not in self.calls:
            call = self.calls[place] = Call(place, what, class_name, len(self.calls), old)
            dim = self._channel_dim if self._channel_dim is not None else 1 if x.ndim == 4 else -1
            call.channel_dim = dim if x.ndim > 2 else -1
            call.channels = x.shape[call.channel_dim] if x.ndim else None
        call = self.calls[place]
        call.counts[self.mode] = call.counts.get(self.mode, 0) + 1
        call.followed = self._flow is not None
        if self.before is not None:
            self._quietly(self.before, place, x)
        self._inside.append((place, x, version_of(x)))

    def _finish(self, place: Place, y: Any) -> None:
        if self._inside and self._inside[-1][0] == place:
            _, x, version = self._inside.pop()
            self.calls[place].mutates |= version_of(x) != version
        else:
            x = None
        if not isinstance(y, Tensor):
            return
        if self._flow is not None:
            self._flow.output(place, y, x)
        if self.after is not None:
            self._quietly(self.after, place, y)

    def _quietly(self, call: Callable[[Place, Tensor], None], place: Place, value: Tensor) -> None:
        self._paused = True
        try:
            call(place, value)
        finally:
            self._paused = False


def stored_callables(module: nn.Module) -> list[tuple[str, Callable[..., Any], Recognised]]:
    """The functions that a module stores in attributes and that are activations by their values."""
    found: list[tuple[str, Callable[..., Any], Recognised]] = []
    for name, value in list(vars(module).items()):
        kinds = (types.FunctionType, types.BuiltinFunctionType, functools.partial)
        if name.startswith(("__", "actsmith_")) or name in ("forward", "_old_forward") or not isinstance(value, kinds):
            continue
        if isinstance(value, functools.partial) and not isinstance(
            value.func, types.FunctionType | types.BuiltinFunctionType
        ):
            continue
        what = _stored(value)
        if what is not None:
            found.append((name, value, what))
    return found


def _stored(value: Callable[..., Any]) -> Recognised | None:
    name = base_name(value)
    module = getattr(value, "__module__", "") or ""
    # Of torch's own functions only the activations: others (init, exp) stand in attributes too.
    if module.startswith("torch") and name and name not in FUNCTIONS:
        return None
    return recognise(value)


@contextmanager
def _slow_transformer(model: nn.Module) -> Iterator[None]:
    """Torch's fused encoder layer calls no activation that could be seen, so it waits."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    concerned = any(isinstance(m, nn.TransformerEncoder | nn.TransformerEncoderLayer) for m in model.modules())
    try:
        if concerned:
            torch.backends.mha.set_fastpath_enabled(False)
        yield
    finally:
        if concerned:
            torch.backends.mha.set_fastpath_enabled(enabled)


def _mode(handle: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]) -> AbstractContextManager[Any]:
    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return handle(func, tuple(args), kwargs or {})

    mode: AbstractContextManager[Any] = Mode()
    return mode
