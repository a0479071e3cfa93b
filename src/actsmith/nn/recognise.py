"""Which activation a callable is: torch's own classes by their arguments, all others by their values.

The callable is evaluated on a grid; the catalogue's formula with the same values names it. Where none has, the
parameters of the usual families are read off the values (the slope of a leaky ReLU, the alpha of an ELU) and tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from actsmith.formula.catalogue import CATALOGUE, get_activation
from actsmith.formula.formula import Formula
from actsmith.nn.activation import Activation
from actsmith.nn.known import formula_of_class, may_be_activation
from actsmith.nn.untouched import untouched

__all__ = ["GRID", "Recognised", "formula_of_module", "recognise", "recognise_module"]

# Multiples of 1/16 are exact in float16 too; 0 and +-1 are among them. Beyond 8 the tails of a gate leave float32.
GRID = np.arange(-128, 129) / 16
TOLERANCE = 1e-5
"""Relative; GELU and its tanh form differ by 5e-4, and float32 errs by 1e-6."""
NOT_ONE = ("identity", "prelu", "swish", "celu", "telu")
"""Equal to another entry at their published values, or no activation; prelu and swish are found by their parameter."""


@dataclass(frozen=True)
class Recognised:
    """What the values say.

    Attributes:
        name: the catalogue's name, or that of a family with other parameters; None for an activation of no known name.
        formula: the formula with its parameters; None where it is not known, or every channel has its own.
        unit_range: whether all values lie in [0, 1], as a gate's do.
        bounded: whether they lie in [-1, 1], or all above 0 as those of a scale.
        mean: where every channel has its own formula, that of the parameters' means.
    """

    name: str | None
    formula: Formula | None
    unit_range: bool
    bounded: bool = False
    mean: Formula | None = None

    @property
    def typical(self) -> Formula | None:
        """The formula; where every channel has its own, that of the parameters' means."""
        return self.formula or self.mean


def recognise(function: Callable[[Tensor], Any], device: torch.device | str = "cpu") -> Recognised | None:
    """What `function` computes elementwise in float32; None where that is no activation."""
    x = torch.tensor(GRID, dtype=torch.float32, device=device)
    try:
        with torch.no_grad():
            y, back = function(x.clone()), function(x[::2].flip(0))
            expected = ((y, x.shape), (back, x[::2].shape))
            if not all(isinstance(v, Tensor) and v.shape == s and v.is_floating_point() for v, s in expected):
                return None
            y, back = y.double().cpu(), back.double().cpu()
    except Exception:
        return None  # whatever it is, it is no function of one vector, or it has no values (the meta device)
    values = y.numpy()
    with np.errstate(invalid="ignore"):
        bend = np.abs(np.diff(values, 2)).max()
        if not np.allclose(values[::2], back.flip(0).numpy(), rtol=1e-6, atol=1e-7, equal_nan=True):
            return None
        if not (np.isfinite(values).all() and bend > 1e-5 * np.abs(values).max()):
            return None
    return _by_values(tuple(np.round(values, 9).tolist()))


def recognise_module(module: nn.Module) -> Recognised | None:
    """What a module computes in evaluation mode; None where that is no activation, or has no values (on meta)."""
    if isinstance(module, Activation):
        if module.share == "channel" and module._family.learnable:
            return _per_channel(module._family.formula, dict(module.named_parameters()))
        return _known(module.formula)
    if isinstance(module, nn.PReLU):
        start = get_activation("prelu")
        own = dict.fromkeys(start.params, module.weight)
        if module.weight.is_meta:
            return None
        return _per_channel(start, own) if module.weight.numel() > 1 else _known(_at_means(start, own))
    formula = formula_of_class(module)
    if formula is not None:
        return _known(formula)
    parameter = next(module.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device  # not the default one, which may be meta
    with untouched(module, training=False):
        return recognise(module.forward, device)


def formula_of_module(module: nn.Module) -> Formula | None:
    """The formula of an activation module of any class; None where it is none, or every channel has its own.

    >>> formula_of_module(nn.ELU(alpha=0.5)).params["alpha"].value
    0.5
    """
    what = recognise_module(module) if may_be_activation(module) else None
    return None if what is None else what.formula


def _known(formula: Formula) -> Recognised:
    return Recognised(formula.name, formula, *_ranges(formula(GRID)))


def _per_channel(start: Formula, parameters: Mapping[str, Tensor]) -> Recognised:
    mean = start if any(p.is_meta for p in parameters.values()) else _at_means(start, parameters)
    return Recognised(start.name, None, *_ranges(mean(GRID)), mean)


def _at_means(start: Formula, parameters: Mapping[str, Tensor]) -> Formula:
    params = dict(start.params)
    for name, p in parameters.items():
        value = round(float(p.detach().double().mean()), 9)
        params[name] = replace(params[name], value=min(max(value, params[name].low), params[name].high))
    return Formula(start.expr, params, start.name)


@lru_cache(maxsize=1024)
def _by_values(values: tuple[float, ...]) -> Recognised:
    y = np.array(values)
    ranges = _ranges(y)
    for name, known in _table().items():
        if _close(known, y):
            return Recognised(name, get_activation(name), *ranges)
    for name, formula in _families(y):
        with np.errstate(all="ignore"):
            if _close(formula(GRID), y):
                return Recognised(name, formula, *ranges)
    return Recognised(None, None, *ranges)


def _ranges(y: np.ndarray) -> tuple[bool, bool]:
    """(in [0, 1], in [-1, 1] or positive)."""
    unit = bool(np.all((y >= 0) & (y <= 1)))
    return unit, unit or bool(np.all(np.abs(y) <= 1)) or bool(np.all(y > 0))


@cache
def _table() -> dict[str, np.ndarray]:
    with np.errstate(all="ignore"):
        return {name: get_activation(name)(GRID) for name in CATALOGUE if name not in NOT_ONE}


def _close(known: np.ndarray, y: np.ndarray) -> bool:
    return bool(np.all(np.abs(known - y) <= TOLERANCE * (1 + np.abs(y))))


def _families(y: np.ndarray) -> Iterator[tuple[str, Formula]]:
    """Formulas whose parameters are read off the values."""

    def at(x: float) -> float:
        return float(y[np.searchsorted(GRID, x)])

    def short(value: float) -> float:
        return float(f"{value:.6g}")

    if np.allclose(y[GRID > 0], GRID[GRID > 0], rtol=1e-5):
        slope, depth = short(-at(-1)), -at(-8)
        yield "leaky_relu", Formula("where(x, x, slope*x)", {"slope": slope}, "leaky_relu")
        yield "elu", Formula("where(x, x, alpha*expm1(x))", {"alpha": short(-depth / math.expm1(-8))}, "elu")
        alpha = depth
        for _ in range(100):  # alpha = depth/(1 - exp(-8/alpha))
            alpha = -depth / math.expm1(-8 / alpha) if alpha > 0 else 0.0
        if alpha > 0:
            yield "celu", Formula("where(x, x, alpha*expm1(x/alpha))", {"alpha": short(alpha)}, "celu")
        if depth > 0:
            shift = {"alpha": short(depth)}
            yield "threshold", Formula("where(x, x, -alpha)", shift, "threshold")
    low, high = short(float(y.min())), short(float(y.max()))
    if low < high:
        yield "hardtanh", Formula("clip(x, a, b)", {"a": low, "b": high}, "hardtanh")
    gate = at(1)
    if 0 < gate < 1:
        beta = short(math.log(gate / (1 - gate)))
        yield "swish", Formula("x*sigmoid(beta*x)", {"beta": beta}, "swish")
    if at(0) > 0:
        sharp = short(math.log(2) / at(0))
        yield "softplus", Formula("softplus(b*x)/b", {"b": sharp}, "softplus")
    edge = float(np.abs(GRID[y == 0]).max(initial=0.0))
    shrink = short(8 - at(8))
    if edge and 0 < shrink < 8:
        yield "softshrink", Formula("relu(x - lambd) - relu(-x - lambd)", {"lambd": shrink}, "softshrink")
