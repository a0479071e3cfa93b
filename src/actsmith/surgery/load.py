"""A model and its inputs from what a command line can name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError, require
from actsmith.names import in_current_folder, named_object
from actsmith.surgery.running import image_size

__all__ = ["load_batches", "load_model"]

FORMS = "module:object (a model, or a function that returns one), timm:NAME, or a folder or Hub id of transformers"


def load_model(name: str) -> nn.Module:
    """The model that `name` stands for: `module:object`, `timm:NAME` (random weights), a transformers folder or Hub id.

    Raises:
        ActsmithError: it cannot be had; says why and which forms there are.
    """
    try:
        if name.startswith("timm:"):
            return _timm(name.removeprefix("timm:"))
        if ":" in name:
            return _object(name)
        return _transformers(name)
    except ActsmithError:
        raise
    except Exception as error:  # whatever a foreign loader raises is the user's to read
        text = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {text[0] if text else ''}"
        raise ActsmithError(f"model {name!r}: {reason}; expected {FORMS}") from error


def _timm(name: str) -> nn.Module:
    model: nn.Module = require("timm", "vision", "model").create_model(name, pretrained=False)
    return model


def _object(name: str) -> nn.Module:
    with in_current_folder():
        found = named_object(name, "model")
        if not isinstance(found, nn.Module) and callable(found):
            found = found()
    if not isinstance(found, nn.Module):
        raise ActsmithError(f"model {name!r} is a {type(found).__name__}; expected a torch.nn.Module")
    return found


def _transformers(name: str) -> nn.Module:
    model: nn.Module = require("transformers", "language", "model").AutoModel.from_pretrained(name)
    return model


def load_batches(model: nn.Module, data: Path | None, batch: int = 64, seed: int = 0) -> tuple[list[Any], str]:
    """Batches for the model, and a sentence on where they come from.

    Args:
        data: a .npy of inputs, the samples along the first axis: floating-point numbers, or whole ones as token ids.
            Without it, standard normal images or random tokens of the size that the model describes.

    Raises:
        ActsmithError: the file cannot be read, or the model does not describe its input.
    """
    if data is not None:
        try:
            array = np.load(data, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ActsmithError(f"--data: {str(data)!r} cannot be read as .npy ({error})") from None
        whole = bool(np.issubdtype(array.dtype, np.integer))
        x = torch.from_numpy(array.astype(np.int64 if whole else np.float32))
        pieces = [{"input_ids": part} if whole else part for part in torch.split(x, batch)]
        return pieces, f"{len(x):,} inputs of {data}"
    generator = torch.Generator().manual_seed(seed)
    config: Any = getattr(model, "config", None)
    size = image_size(model)
    if size is None and getattr(config, "image_size", None):
        size = (getattr(config, "num_channels", 3), config.image_size, config.image_size)
    if size is not None:
        images: Tensor = torch.randn(16, *size, generator=generator)
        return [images], "16 standard normal images; give real inputs with --data FILE.npy"
    words = getattr(config, "vocab_size", None)
    if words:
        tokens = torch.randint(0, words, (16, 64), generator=generator)
        return [{"input_ids": tokens}], "16 random token sequences; give real ones with --data FILE.npy"
    raise ActsmithError(f"{type(model).__name__} does not describe its input; give --data FILE.npy")
