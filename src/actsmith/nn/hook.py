"""What may look on while a network trains, or act on its gradients."""

from __future__ import annotations

from typing import Any

__all__ = ["Hook"]


class Hook:
    """Does nothing; override what is wanted.

    One that acts on a stack of networks at once (`stacks = True`) gets the stack's module, whose parameters have a
    first dimension of nets, and says with `of_net` what of a record belongs to net i.
    """

    stacks = False

    def before_step(self, step: int) -> None:
        """After backward, before the optimiser."""

    def after_epoch(self, epoch: int) -> dict[str, Any] | None:
        """A record of plain values for the results, or None."""
        return None

    def of_net(self, record: dict[str, Any], i: int) -> dict[str, Any]:
        """The part of a record that net i's results get."""
        return record

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""

    def close(self) -> None:
        """The training is over: take hooks off the model."""
