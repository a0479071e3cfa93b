"""A function without a rule, on jets: derivatives of f(z(t)) by nested forward mode, one level for each derivative."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import factorial, prod
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp

from actsmith.errors import ActsmithError
from actsmith.nn.jet_algebra import Multi
from actsmith.nn.jet_tensor import Jet

__all__ = ["nested"]


def nested(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Jet:
    """The function of arguments with jets among them; it must return one tensor.

    Raises:
        ActsmithError: it returns something else, or the jets hold sums of derivatives.
    """
    jets = [a for a in (*args, *kwargs.values()) if isinstance(a, Jet)]
    name = getattr(func, "__name__", str(func))
    if not jets or jets[0].slots.sums:
        raise ActsmithError(
            f"jet: no rule for {name}, and nested autograd has none for sums of derivatives: take the derivatives "
            "themselves (acts.nn.derivatives), and add"
        )
    slots = jets[0].slots
    count = len(slots.multis[0])

    def at(steps: tuple[Tensor, ...]) -> Tensor:
        """f along the Taylor polynomials of its arguments."""

        def moved(argument: Any) -> Any:
            if not isinstance(argument, Jet):
                return argument
            total = argument.packed[0]
            for row, multi in enumerate(slots.multis[1:], 1):
                weight = prod((s**k for s, k in zip(steps, multi, strict=True) if k), start=torch.ones(()).to(total))
                total = total + argument.packed[row] * (weight / prod(map(factorial, multi)))
            return total

        result = func(*map(moved, args), **{k: moved(v) for k, v in kwargs.items()})
        if not isinstance(result, Tensor):
            raise ActsmithError(f"jet: no rule for {name}, and nested autograd serves functions that give one tensor")
        return result

    like = jets[0].packed
    zero = tuple(torch.zeros((), dtype=like.dtype, device=like.device) for _ in range(count))
    return Jet(torch.stack([_derivative(at, multi)(zero) for multi in slots.multis]), slots)


def _derivative(function: Callable[[tuple[Tensor, ...]], Tensor], multi: Multi) -> Callable[..., Tensor]:
    at = next((i for i, k in enumerate(multi) if k), None)
    if at is None:
        return function
    lower = _derivative(function, tuple(k - (i == at) for i, k in enumerate(multi)))

    def derived(steps: tuple[Tensor, ...]) -> Tensor:
        direction = tuple(torch.ones_like(s) if i == at else torch.zeros_like(s) for i, s in enumerate(steps))
        tangent: Tensor = jvp(lower, (steps,), (direction,))[1]
        return tangent

    return derived
