"""Looking at networks: a hook before training and after some of its epochs, and what their activations get and give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from actsmith.nn.activation import Activation
from actsmith.nn.hook import Hook

__all__ = ["Looking", "at_activations"]

T = TypeVar("T")


@torch.no_grad()
def at_activations(model: nn.Module, x: Tensor, look: Callable[[Tensor, Tensor, int | None], T]) -> list[T]:
    """What `look` finds at every activation that runs, in the order of construction.

    Args:
        model: a network, or a stack as the engine trains it; it runs as in evaluation.
        x: inputs of one network, (n, ...).
        look: takes an activation's input, its output, and the number of the stack's nets (None where it is no stack).
    """
    activations = [m for m in model.modules() if isinstance(m, Activation)]
    first = activations[0]
    nets = first.channels if first.share == "channel" and first.channel_dim == 0 else None
    seen: dict[nn.Module, T] = {}

    def keep(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        seen[module] = look(arguments[0], output, nets)

    hooks = [m.register_forward_hook(keep) for m in activations]
    training, x = model.training, x.to(next(model.parameters()).device)
    try:
        model.eval()
        model(x if nets is None else x.expand(nets, *x.shape))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return [seen[m] for m in activations if m in seen]


class Looking(Hook):
    """Records what `look` finds, layer by layer and net by net.

    Args:
        epochs: after which; 0 is the start, which comes with the first epoch's record.
        name: of the records; those of the start are called "start".
        look: returns layer -> net -> plain values.
    """

    stacks = True

    def __init__(self, epochs: tuple[int, ...], name: str, look: Callable[[], list[list[Any]]]) -> None:
        self.epochs, self.name, self.look = epochs, name, look
        self.start = look() if 0 in epochs else None

    def after_epoch(self, epoch: int) -> dict[str, Any] | None:
        found: dict[str, Any] = {"start": self.start} if epoch == 0 and self.start is not None else {}
        if epoch + 1 in self.epochs:
            found[self.name] = self.look()
        return found or None

    def of_net(self, record: dict[str, Any], i: int) -> dict[str, Any]:
        return {k: [layer[i] for layer in v] if k in ("start", self.name) else v for k, v in record.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"start": self.start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.start = state["start"]
