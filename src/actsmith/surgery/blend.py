"""From the old activation to the new in steps, for a pretrained model: (1 - w) old(x) + w new(x), w from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from actsmith.errors import ActsmithError

__all__ = ["Blend"]


class Blend:
    """The schedule of a blend; the training loop calls `step()` after every optimiser step.

    w = t for "linear" and (1 - cos(pi t))/2 for "cosine", t = taken/steps. At w = 0 the model computes what it did
    before the swap, bit for bit; at w = 1 the old activations are let go.

    Args:
        steps: how many steps from old to new, at least 1.
        shape: "linear" or "cosine".

    Example:
        >>> blend = Blend(4)
        >>> blend.step()
        >>> blend.weight
        0.25
    """

    def __init__(self, steps: int, shape: Literal["linear", "cosine"] = "linear") -> None:
        if steps < 1 or shape not in ("linear", "cosine"):
            raise ActsmithError(f"blend: got steps={steps}, shape={shape!r}; expected 1 or more, 'linear' or 'cosine'")
        self.steps = steps
        self.shape = shape
        self.taken = 0
        self._handles: list[RemovableHandle] = []

    @property
    def weight(self) -> float:
        """w, the share of the new activation."""
        t = min(self.taken / self.steps, 1.0)
        return t if self.shape == "linear" else (1 - math.cos(math.pi * t)) / 2

    @property
    def done(self) -> bool:
        """Whether only the new activations act."""
        return self.taken >= self.steps

    def step(self) -> None:
        """One step towards the new activations."""
        self.taken = min(self.taken + 1, self.steps)
        if self.done:
            self.release()

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands, for a checkpoint."""
        return {"steps": self.steps, "shape": self.shape, "taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint stood."""
        self.steps, self.shape, self.taken = state["steps"], state["shape"], state["taken"]
        if self.done:
            self.release()

    def install(self, new: nn.Module, old: Callable[[Tensor], Tensor]) -> None:
        """Blend `old` into the outputs of `new`."""
        self._handles.append(new.register_forward_hook(_Mix(self, old)))

    def release(self) -> None:
        """Let the old activations go."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_handles": []}  # a copy's hooks are its own; they do nothing once w is 1

    def __repr__(self) -> str:
        return f"Blend({self.taken}/{self.steps}, {self.shape}, weight={self.weight:.4g})"


class _Mix:
    """A forward hook of the new activation."""

    def __init__(self, blend: Blend, old: Callable[[Tensor], Tensor]) -> None:
        self.blend = blend
        self.old = old

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor | None:
        weight = self.blend.weight
        if weight >= 1:
            return None
        old = evaluate(self.old, arguments[0], module.training)
        return old if weight <= 0 else torch.lerp(old, output, weight)


def evaluate(old: Callable[[Tensor], Tensor], x: Tensor, training: bool) -> Tensor:
    """old(x) with x left as it is, on x's device."""
    if isinstance(old, nn.Module):
        old.train(training)
        parameter = next(old.parameters(), None)
        if parameter is not None and parameter.device != x.device:
            old.to(x.device)
    return old(x.clone() if getattr(old, "inplace", False) else x)
