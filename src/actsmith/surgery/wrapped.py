"""Models inside other things: compiled, distributed, with adapters."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.nn.private import inside_compiled, is_compiled

__all__ = ["bare", "refuse_inference_mode", "uncompiled"]

_LINES = {
    "DistributedDataParallel": (
        "DDP synchronises the parameters that it found when it was built, not new ones",
        "acts.replace_(model.module, ...)",
        "model = DistributedDataParallel(model.module, ...)",
    ),
    "DataParallel": (
        "its replicas hold the modules of before",
        "acts.replace_(model.module, ...)",
        "model = DataParallel(model.module)",
    ),
    "FullyShardedDataParallel": (
        "it has flattened and sharded the parameters already",
        "acts.replace_(model, ...)  # the model before FSDP",
        "model = FullyShardedDataParallel(model, ...)",
    ),
    "FSDPModule": (
        "it has sharded the parameters already",
        "acts.replace_(model, ...)  # the model before fully_shard",
        "fully_shard(model)",
    ),
    "PeftModel": (
        "new parameters would be no part of the adapter",
        "acts.replace_(base, ...)",
        "model = get_peft_model(base, LoraConfig(..., modules_to_save=[swapped paths]))  # see integrations.peft",
    ),
    "ScriptModule": (
        "TorchScript has compiled its code",
        "acts.replace_(model, ...)  # the Python module",
        "torch.jit.trace(model, ...)",
    ),
}


def bare(model: nn.Module) -> nn.Module:
    """The module to swap in: the model, or what torch.compile wraps.

    Raises:
        ActsmithError: a wrapper in which a swap would not take effect, or not be trained or saved; says where, why, and
            the two lines that do it. Or inference mode is on.
    """
    refuse_inference_mode("replace_")
    model = inside_compiled(model)
    for path, module in model.named_modules():
        where = f" at {path!r}" if path else ""
        for kind in type(module).__mro__:
            if kind.__name__ in _LINES and kind.__module__.startswith(("torch.", "peft.")):
                why, first, second = _LINES[kind.__name__]
                raise ActsmithError(
                    f"replace_: got a {kind.__name__}{where}: {why}; swap first, then wrap:\n    {first}\n    {second}"
                )
    return model


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Run what torch.compile compiled, in the model or inside of it, as plain Python: hooks and modes see it so.

    What is compiled notices by itself, in its next call, that modules were exchanged.
    """
    if any(is_compiled(m) for m in model.modules()) and "torch._dynamo" in sys.modules:
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        yield


def refuse_inference_mode(what: str) -> None:
    """Raise where new parameters would be inference tensors, which autograd never takes."""
    if torch.is_inference_mode_enabled():
        raise ActsmithError(
            f"{what}: got torch.inference_mode(), in which new parameters could never be trained; call it outside, or "
            "under torch.no_grad()"
        )
