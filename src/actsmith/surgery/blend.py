"""From the old activation to the new in steps, for a pretrained model: (1 - w) old(x) + w new(x), w from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.hooks import RemovableHandle

from actsmith.errors import ActsmithError
from actsmith.nn.activation import Activation
from actsmith.nn.hook import Hook

__all__ = ["Blend"]


class Blend(Hook):
    """The schedule of a blend; the training loop calls `step()` after every optimiser step, or has it as a hook.

    w = t for "linear" and (1 - cos(pi t))/2 for "cosine", t = taken/steps. At w = 0 the model computes what it did
    before the swap, bit for bit; at w = 1 the old activations are let go. Meanwhile the old activations' own parameters
    get no gradient. A compiled model is compiled anew at the first step and at the last one.

    A copy of the model (`copy.deepcopy`, `torch.optim.swa_utils.AveragedModel`, `torch.save` of the module) has a Blend
    of its own, which stays at the w of the copy: nothing steps it. To have an average or a checkpoint of the new
    activations alone, copy once `done`, or call `replace_` in a fresh model and load the state_dict.

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
        self._settle()

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
        self._settle()

    def before_step(self, step: int) -> None:
        """As a hook of `actsmith.training`: the next forward pass is one step further."""
        self.step()

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands, for a checkpoint."""
        return {"steps": self.steps, "shape": self.shape, "taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint stood."""
        self.steps, self.shape, self.taken = state["steps"], state["shape"], state["taken"]
        self._settle()

    def install(self, new: nn.Module, old: Callable[[Tensor], Tensor]) -> None:
        """Blend `old` into the outputs of `new`."""
        self._handles.append(new.register_forward_hook(_Mix(self, old)))

    def _settle(self) -> None:
        """Hold w as the hooks read it: torch.compile takes a tensor as an input, but a number as a constant."""
        self._stage = "old" if self.weight <= 0 else "new" if self.weight >= 1 else "both"
        self._w = torch.tensor(self.weight, dtype=torch.float64, device="cpu")  # a scalar beside any device and dtype
        if self.done:
            self.release()

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
        if self.blend._stage == "new":
            return None
        old = evaluate(self.old, arguments[0], module.training)
        if self.blend._stage == "old":
            return old
        old = old.to(output.dtype)  # under autocast the two may differ
        return old + self.blend._w * (output - old)


def evaluate(old: Callable[[Tensor], Tensor], x: Tensor, training: bool) -> Tensor:
    """old(x) with x left as it is, and old's own parameters too: they are read where x is, and get no gradient."""
    x = x.clone()  # whatever it is may change it in place
    if not isinstance(old, nn.Module):
        return old(x)
    old.train(training)
    held = {**dict(old.named_parameters()), **dict(old.named_buffers())}
    # The model may have gone to another dtype since; what mixes dtypes by itself (an `Activation`, autocast) is left.
    mixes = isinstance(old, Activation) or torch.is_autocast_enabled(x.device.type)
    near = {
        n: t.detach().to(x.device, x.dtype if t.is_floating_point() and not mixes else None) for n, t in held.items()
    }
    result: Tensor = functional_call(old, near, (x,)) if near else old(x)
    return result
