"""Running a model on an example or a batch."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError

__all__ = ["as_batches", "example_for", "run_batch", "run_example", "runs_on"]

_TARGETS = ("label", "labels", "label_ids", "targets")


def run_example(model: nn.Module, example: Any, seed: int = 0) -> Any:
    """model(example): a tensor, a tuple of positional arguments, or a dictionary of keyword arguments."""
    device = _device(model)
    torch.manual_seed(seed)
    if isinstance(example, Mapping):
        return model(**{k: _to(v, device) for k, v in example.items()})
    if isinstance(example, tuple):
        return model(*(_to(v, device) for v in example))
    return model(_to(example, device))


def run_batch(model: nn.Module, batch: Any, targets: bool = False) -> Any:
    """model(batch): inputs, (inputs, targets), as many inputs as the model cannot do without, or a dictionary.

    Targets stay out unless wanted.
    """
    device = _device(model)
    if isinstance(batch, tuple | list) and 1 < len(batch) <= _required(model):
        return model(*(_to(v, device) for v in batch))
    inputs = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if isinstance(inputs, Tensor):
        return model(_to(inputs, device))
    if isinstance(inputs, Mapping):
        kept = {k: v for k, v in inputs.items() if _takes(model, k, targets)}
        return model(**{k: _to(v, device) for k, v in kept.items()})
    raise ActsmithError(
        f"probe: got a batch of {type(batch).__name__}; expected a tensor, (inputs, targets) or a dictionary"
    )


def as_batches(batches: Any) -> Iterable[Any]:
    """One tensor or dictionary stands for one batch."""
    return [batches] if isinstance(batches, Tensor | Mapping) else batches


def image_size(model: nn.Module) -> tuple[int, ...] | None:
    """(channels, height, width) that a timm model describes as its input, else None."""
    described = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    return described.get("input_size") if isinstance(described, Mapping) else None


def example_for(model: nn.Module, example: Any) -> Any:
    """The example given, or one that the model's own description allows (timm, transformers).

    Raises:
        ActsmithError: none was given and the model does not describe its input.
    """
    if example is not None:
        return example
    size = image_size(model)
    if size:
        return torch.zeros(2, *size)
    config = getattr(model, "config", None)
    words = getattr(config, "vocab_size", None)
    if words and getattr(model, "main_input_name", None) == "input_ids":
        tokens = torch.arange(16).remainder(words).reshape(2, 8)
        decoder = {"decoder_input_ids": tokens} if getattr(config, "is_encoder_decoder", False) else {}
        return {"input_ids": tokens, **decoder}
    raise ActsmithError(
        f"replace_: a swap in {type(model).__name__} is proven by running it; give example=, a tensor, a tuple of "
        "arguments or a dictionary of keyword arguments (two or more samples, for batch normalisation)"
    )


def _device(model: nn.Module) -> torch.device:
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else runs_on(model, parameter)


def runs_on(model: nn.Module, parameter: Tensor) -> torch.device:
    """Where a module with that parameter computes: of weights that accelerate holds elsewhere, where it brings them."""
    if parameter.is_meta:
        hooks = [h for m in model.modules() if (h := getattr(m, "_hf_hook", None)) is not None]
        devices = [getattr(h, "execution_device", None) for h in hooks]
        found = next((d for d in devices if d is not None), None)
        if found is not None:
            return torch.device(found)
    return parameter.device


def _to(value: Any, device: torch.device) -> Any:
    """On the device, and a copy: an in-place activation may stand first in the model."""
    return value.detach().to(device, copy=True) if isinstance(value, Tensor) else value


def _required(model: nn.Module) -> int:
    """How many positional arguments the model's forward has no default for."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(model.forward).parameters.values()
    return sum(p.kind in kinds and p.default is inspect.Parameter.empty for p in parameters)


def _takes(model: nn.Module, key: str, targets: bool) -> bool:
    parameters = inspect.signature(model.forward).parameters
    keywords = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return (targets or key not in _TARGETS) and (key in parameters or keywords)
