"""Lightning: a checkpoint that says which activations were put in, and a module that puts them in before it loads.

class Net(KeepsSwap, lightning.LightningModule): ...
"""

from __future__ import annotations

from typing import Any

from actsmith.nn.swap_record import rebuild_, swap_record

__all__ = ["KEY", "KeepsSwap"]

KEY = "actsmith_swap"
"""In a checkpoint: the record of a swap."""


class KeepsSwap:
    """A base of a LightningModule, before `LightningModule` in the list of bases.

    Its checkpoints hold the record of a swap, and loading one, by `load_from_checkpoint` or `Trainer.fit(ckpt_path=)`,
    puts the activations in before the state dictionary is read. Where it is resumed, put them in before `fit`, or the
    optimiser was made without their parameters.
    """

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the record."""
        checkpoint[KEY] = swap_record(self)  # type: ignore[arg-type]
        getattr(super(), "on_save_checkpoint", lambda _: None)(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put in what the checkpoint says."""
        rebuild_(self, checkpoint.get(KEY, []))  # type: ignore[arg-type]
        getattr(super(), "on_load_checkpoint", lambda _: None)(checkpoint)
