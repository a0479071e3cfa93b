"""Models inside other things: compiled, distributed, with adapters."""

from __future__ import annotations

import torch
from torch import nn

from actsmith.errors import ActsmithError

__all__ = ["refuse_inference_mode", "refuse_wrapped", "unwrapped"]

_ADVICE = {
    "OptimizedModule": "swap in the original (`model._orig_mod`), then call torch.compile again",
    "DistributedDataParallel": "swap in `model.module` before wrapping: DDP registers the parameters it synchronises "
    "when it is built, and would leave the new ones out",
    "DataParallel": "swap in `model.module`, then wrap again",
    "FullyShardedDataParallel": "swap before wrapping: FSDP has flattened and sharded the parameters",
    "FSDPModule": "swap before `fully_shard`: it has sharded the parameters already",
    "PeftModel": "swap in the base model before `get_peft_model`, and name the swapped paths in `modules_to_save`, or "
    "the adapter is saved without them",
    "ScriptModule": "swap in the Python module before torch.jit.script or torch.jit.trace",
}


def refuse_wrapped(model: nn.Module) -> None:
    """Raise where a swap would not take effect, or not be trained or saved.

    Raises:
        ActsmithError: says which wrapper, where, and what to do first; or inference mode is on.
    """
    refuse_inference_mode("replace_")
    for path, module in model.named_modules():
        where = f" at {path!r}" if path else ""
        for kind in type(module).__mro__:
            if kind.__name__ in _ADVICE and kind.__module__.startswith(("torch.", "peft.")):
                raise ActsmithError(f"replace_: got a {kind.__name__}{where}; {_ADVICE[kind.__name__]}")
        if getattr(module, "_compiled_call_impl", None) is not None:
            name = path or type(module).__name__
            raise ActsmithError(
                f"replace_: {name} was compiled in place by `.compile()`; swap before that, or reset with "
                "`module._compiled_call_impl = None` and compile again afterwards"
            )


def refuse_inference_mode(what: str) -> None:
    """Raise where new parameters would be inference tensors, which autograd never takes."""
    if torch.is_inference_mode_enabled():
        raise ActsmithError(
            f"{what}: got torch.inference_mode(), in which new parameters could never be trained; call it outside, or "
            "under torch.no_grad()"
        )


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside torch.compile's wrapper: what it runs can only be seen there."""
    inner = getattr(model, "_orig_mod", None)
    return inner if type(model).__name__ == "OptimizedModule" and isinstance(inner, nn.Module) else model
