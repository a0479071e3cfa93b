"""The domain of a differential equation: the law of the coordinates, and what a network's first layers see of them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import qmc
from torch import Tensor, nn

from actsmith.errors import ActsmithError

__all__ = ["Box", "Domain", "domain_of", "inputs_of", "mean_square"]

Box = Sequence[tuple[float, float]]
"""(low, high) for each coordinate."""

POINTS = 1024


@dataclass(frozen=True, eq=False)
class Domain:
    """Coordinates that are uniform over a box, or of the law of a sample.

    Attributes:
        middle, spread: of each coordinate the mean, and the mean square about it; (coordinates,), float64.
        points: some of the domain, (n, coordinates), float64.
    """

    middle: Tensor
    spread: Tensor
    points: Tensor

    @property
    def square(self) -> float:
        """The mean square of all coordinates together, about zero."""
        return float((self.middle.square() + self.spread).mean())

    def example(self, model: nn.Module) -> tuple[Tensor, ...]:
        """The points as the model takes them: one tensor, or a column for each coordinate where it takes so many."""
        parameter = next(model.parameters(), None)
        points = self.points if parameter is None else self.points.to(parameter.device, parameter.dtype)
        found = inspect.signature(model.forward).parameters.values()
        wanted = [p for p in found if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        count = points.shape[1]
        return tuple(points[:, [i]] for i in range(count)) if 1 < count == len(wanted) else (points,)

    def is_read_by(self, layer: nn.Module, seen: Tensor | None) -> bool:
        """Whether what a layer sees are the coordinates as they are."""
        if seen is None or not isinstance(layer, nn.Linear) or seen.shape != self.points.shape:
            return False
        return torch.equal(seen, self.points.to(layer.weight).double())


def domain_of(domain: Box | Tensor) -> Domain:
    """The coordinates of a box, (low, high) of each; or of a sample, (n, coordinates).

    Raises:
        ActsmithError: it is neither, or a coordinate has one value alone.
    """
    if isinstance(domain, Tensor):
        if domain.ndim != 2 or not domain.is_floating_point() or len(domain) < 2:
            raise ActsmithError(
                f"critical_init_: domain: got {domain.dtype} {tuple(domain.shape)}; expected points (n, coordinates)"
            )
        points = domain.detach().double().cpu()
        found = Domain(points.mean(0), points.var(0, correction=0), points[:POINTS])
    else:
        try:
            low, high = torch.tensor([[float(a), float(b)] for a, b in domain], dtype=torch.float64).T
        except (TypeError, ValueError):
            raise ActsmithError(
                f"critical_init_: domain: got {domain!r}; expected (low, high) for each coordinate, or points"
            ) from None
        draw = torch.from_numpy(qmc.Sobol(len(low), rng=0).random(POINTS))
        found = Domain((low + high) / 2, (high - low).clamp(min=0).square() / 12, low + (high - low) * draw)
    if not ((found.spread > 0) & found.spread.isfinite()).all():
        raise ActsmithError(f"critical_init_: domain: got {domain!r}; expected low < high for each coordinate, finite")
    return found


@torch.no_grad()
def inputs_of(model: nn.Module, example: Any, layers: Iterable[nn.Module]) -> dict[nn.Module, Tensor]:
    """What enters each of the layers first in one forward pass, in float64; layers that are not called are not in it.

    Args:
        example: a tensor, a tuple of positional arguments or a dict of keyword arguments.
    """
    seen: dict[nn.Module, Tensor] = {}

    def keep(layer: nn.Module, args: Any) -> None:
        seen.setdefault(layer, args[0].double().cpu())

    handles = [layer.register_forward_pre_hook(keep) for layer in layers]
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        if isinstance(example, Mapping):
            model(**example)
        else:
            model(*example) if isinstance(example, tuple) else model(example)
    finally:
        for handle in handles:
            handle.remove()
        for module, before in training.items():
            module.training = before
    return seen


def mean_square(seen: Tensor | None) -> float | None:
    """Of what entered a layer; None where it was not called, or sees only zeros."""
    square = 0.0 if seen is None else float(seen.square().mean())
    return square if 0 < square < float("inf") else None
