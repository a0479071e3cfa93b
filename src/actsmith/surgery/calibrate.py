"""Calibration after a swap: a gain and a shift per site, so that its output has the mean and variance it had before.

| symbol   | meaning                                            |
|----------|----------------------------------------------------|
| m, s     | mean and standard deviation of the old output      |
| m', s'   | those of f(x), behind sites calibrated already     |
| gain     | s/s'                                               |
| shift    | m - gain m'                                        |

The formula becomes gain*f(x) + shift with both learnable, under the keys `<site>.gain` and `<site>.shift`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula, Param
from actsmith.formula.parse import parameter_symbol
from actsmith.nn.activation import Activation, Share
from actsmith.nn.private import HOOKS, children_of
from actsmith.nn.untouched import untouched
from actsmith.surgery.blend import evaluate
from actsmith.surgery.change import Change
from actsmith.surgery.running import as_batches, run_batch
from actsmith.surgery.wrapped import refuse_inference_mode

__all__ = ["Moments", "calibrate_changes"]


@dataclass
class Moments:
    """Mean and sum of squared deviations of values as they come (Chan, Golub, LeVeque 1983)."""

    count: int = 0
    mean: float = 0.0
    m2: float = 0.0

    def update(self, x: Tensor) -> None:
        """Count the elements of x."""
        values = x.detach().double()
        n = values.numel()
        if not n:
            return
        mean = float(values.mean())
        delta, total = mean - self.mean, self.count + n
        self.m2 += float((values - mean).square().sum()) + delta * delta * self.count * n / total
        self.mean += delta * n / total
        self.count = total

    @property
    def std(self) -> float:
        """The standard deviation, with the whole count as its divisor."""
        return sqrt(self.m2 / self.count) if self.count else 0.0


def calibrate_changes(model: nn.Module, changed: Sequence[Change], batches: Iterable[Any], passes: int = 2) -> None:
    """Give every change of the model the output mean and variance of the old activation there: see
    `actsmith.calibrate_`."""
    refuse_inference_mode("calibrate")
    for change in changed:
        if not isinstance(change.module, Activation):
            raise ActsmithError(
                f"calibrate: {change.path} is a {type(change.module).__name__}; expected an actsmith.nn.Activation, "
                "whose formula takes a gain and a shift"
            )
    kept = list(as_batches(batches))
    targets = [Moments() for _ in changed]

    def as_before(index: int) -> Callable[[nn.Module, Tensor], Tensor]:
        def hook(module: nn.Module, x: Tensor) -> Tensor:
            y = evaluate(changed[index].old, x, module.training)
            targets[index].update(_finite(y, "old", changed[index]))
            return y

        return hook

    _through(model, changed, kept, as_before)
    missed = [c.path for c, t in zip(changed, targets, strict=True) if not t.count]
    if missed:
        raise ActsmithError(f"calibrate: no batch reached {', '.join(missed)}; expected batches that run them")
    for change in changed:
        _add_gain(change)
    for number in range(passes):
        _pass(model, changed, kept, targets, settle=number == 0)


def _pass(
    model: nn.Module, changed: Sequence[Change], batches: list[Any], targets: list[Moments], settle: bool
) -> None:
    """Measure f at every site, then set gain and shift; while `settle`, set them at each call too."""
    raw = [Moments() for _ in changed]

    def calibrating(index: int) -> Callable[[nn.Module, Tensor], Tensor]:
        def hook(module: nn.Module, x: Tensor) -> Tensor:
            plain = changed[index].plain
            assert plain is not None
            y: Tensor = plain.forward(x)
            raw[index].update(_finite(y, "new", changed[index]))
            if settle:
                _set(module, targets[index], raw[index])
            result: Tensor = module.forward(x)
            return result

        return hook

    _through(model, changed, batches, calibrating)
    for change, target, now in zip(changed, targets, raw, strict=True):
        _set(change.module, target, now)


def _finite(y: Tensor, which: str, change: Change) -> Tensor:
    if not bool(y.isfinite().all()):
        raise ActsmithError(
            f"calibrate: {change.path}: {int((~y.isfinite()).sum())} of {y.numel()} outputs of the {which} activation "
            "are nan or infinite; expected batches on which it is finite"
        )
    return y


@torch.no_grad()
def _set(module: nn.Module, target: Moments, now: Moments) -> None:
    gain = target.std / now.std if now.std > 0 else 1.0
    _named(module, "gain").fill_(gain)
    _named(module, "shift").fill_(target.mean - gain * now.mean)


def _through(
    model: nn.Module,
    changed: Sequence[Change],
    batches: list[Any],
    hook: Callable[[int], Callable[[nn.Module, Tensor], Tensor]],
) -> None:
    """Run the batches in evaluation mode with the outputs of every site replaced by `hook(index)(module, input)`."""
    with untouched(model, training=False), _hooked(changed, hook):
        for batch in batches:
            run_batch(model, batch)


@contextmanager
def _hooked(changed: Sequence[Change], hook: Callable[[int], Callable[[nn.Module, Tensor], Tensor]]) -> Iterator[None]:
    def output_of(index: int) -> Callable[..., Tensor]:
        inner = hook(index)
        return lambda module, arguments, _: inner(module, arguments[0])

    handles = [c.module.register_forward_hook(output_of(i)) for i, c in enumerate(changed)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _named(module: nn.Module, name: str) -> Tensor:
    names: dict[str, str] = vars(module)["calibration"]
    parameter: Tensor = getattr(module, names[name])
    return parameter


def _add_gain(change: Change) -> None:
    """Put gain*f(x) + shift in the place of f, with f's own parameters; once."""
    plain = change.module
    assert isinstance(plain, Activation)
    if change.plain is not None:
        return
    start = plain._family.formula
    names = {k: next(n for n in (k, f"{k}1", f"{k}2") if n not in start.params) for k in ("gain", "shift")}
    gain, shift = (parameter_symbol(names[k]) for k in ("gain", "shift"))
    params = {**start.params, names["gain"]: Param(1.0, learn=True), names["shift"]: Param(0.0, learn=True)}
    formula = Formula(gain * start.expr + shift, params, start.name)
    share: Share = "channel" if plain.share == "channel" else "layer"
    new = Activation(formula, share, plain.channels, plain.channel_dim).train(plain.training)
    near = next(plain.parameters(), None)
    if near is not None:
        new.to(device=near.device, dtype=near.dtype)
    for name in plain._family.learnable:
        setattr(new, name, getattr(plain, name))
    vars(new)["calibration"] = names
    for name in HOOKS:  # the very dictionaries, which the handles of a blend and of the user refer to
        vars(new)[name], vars(plain)[name] = vars(plain)[name], OrderedDict()
    for home, name in change.homes:
        children_of(home)[name] = new
    change.plain, change.module = plain, new
