"""A hook that looks at networks before training and after some of its epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actsmith.nn.hook import Hook

__all__ = ["Looking"]


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
