"""Entropy descent inside other people's training loops.

    Trainer(..., callbacks=[trainer_callback(descent)])        # transformers
    lightning.Trainer(callbacks=[lightning_callback(descent)])

With Accelerate the loop is the user's own, so there is nothing to call back:

    accelerator.register_for_checkpointing(descent)             # save_state and load_state take it along
    ...
    accelerator.backward(loss)
    if accelerator.sync_gradients:
        accelerator.unscale_gradients()                         # float16 only
        descent.step()
    optimizer.step()

Create the descent on the model itself, before it is prepared, wrapped or compiled.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

from actsmith.errors import ActsmithError
from actsmith.nn.entropy_descent import EntropyDescent

__all__ = ["LightningHooks", "TrainerHooks", "lightning_callback", "trainer_callback"]

STATE = "entropy_descent.pt"
"""The file in a checkpoint folder of transformers' Trainer."""


class TrainerHooks:
    """What transformers' Trainer calls. It steps after gradients were clipped, which unscales float16 gradients too;
    where none are clipped, the entropy's are scaled like the others."""

    def __init__(self, descent: EntropyDescent) -> None:
        self.descent = descent

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Resume from the checkpoint that the Trainer resumes from."""
        if state.global_step == 0:
            return
        path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / STATE
        if isinstance(args.resume_from_checkpoint, str):
            path = Path(args.resume_from_checkpoint) / STATE
        if not path.is_file():
            raise ActsmithError(f"entropy descent: no {path} to resume from; it was not part of that training")
        self.descent.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add the gradient."""
        scaler = getattr(kwargs.get("optimizer"), "scaler", None)
        clipped = args.max_grad_norm is not None and args.max_grad_norm > 0
        self.descent.step(1.0 if scaler is None or clipped else scaler.get_scale())

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Into the checkpoint."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            torch.save(self.descent.state_dict(), folder / STATE)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the hooks off the model."""
        self.descent.close()


class LightningHooks:
    """What Lightning calls. It steps before Lightning clips gradients; float16 gradients are unscaled by then."""

    def __init__(self, descent: EntropyDescent) -> None:
        self.descent = descent

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Add the gradient."""
        self.descent.step()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Take the hooks off the model."""
        self.descent.close()

    def state_dict(self) -> dict[str, Any]:
        """Into the checkpoint."""
        return self.descent.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.descent.load_state_dict(state_dict)


def trainer_callback(descent: EntropyDescent) -> Any:
    """A `TrainerCallback`; its state lies in every checkpoint of the Trainer as entropy_descent.pt.

    Raises:
        ActsmithError: transformers is not installed.
    """
    return _made(TrainerHooks, [("transformers", "TrainerCallback")], "transformers>=5.0")(descent)


def lightning_callback(descent: EntropyDescent) -> Any:
    """A Lightning `Callback`; its state lies in every checkpoint.

    Raises:
        ActsmithError: Lightning is not installed.
    """
    homes = [("lightning.pytorch", "Callback"), ("pytorch_lightning", "Callback")]
    return _made(LightningHooks, homes, "lightning>=2.4")(descent)


def _made(hooks: type, homes: list[tuple[str, str]], package: str) -> type:
    """`hooks` as a subclass of the framework's own callback."""
    for module, name in homes:
        try:
            base = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError:
            continue
        return type(hooks.__name__, (hooks, base), {})
    raise ActsmithError(f"entropy descent: {homes[0][0]} is not installed; run: pip install '{package}'")
