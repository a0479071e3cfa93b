"""Models of timm and transformers on a user's own images and text: the task that suits a few cores.

What is chosen (images, their size, how many, how long) stands in the task's plain values; `search` improves on the
model's own most frequent activation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from actsmith.errors import ActsmithError, require
from actsmith.surgery.sites import LOOKED_FOR, sites
from actsmith.tasks.affordable import affordable, work
from actsmith.tasks.image_files import FileImages, find_images
from actsmith.tasks.language import Causal
from actsmith.tasks.task import Task
from actsmith.tasks.text import BYTES, NextToken
from actsmith.tasks.vision import Timm

__all__ = ["hf_task", "own_activation", "timm_task"]

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
EVALUATED = {"validation": 1000, "test": 2000}
"""Images of these splits at most."""
BLOCK, BLOCKS = 128, 500
"""Tokens of a block at most; blocks of the validation and of the test text at most."""
IMAGES, TEXTS = 32, 16
"""Images in a step, blocks of text in one."""
TILE, PATCHES = 32, 4
"""What convolutional networks reduce their images by; patches along a side that a transformer gets at least."""


def own_activation(model: nn.Module, example: Any, where: str) -> tuple[str, bool]:
    """The name of the model's most frequent activation, and whether it gates somewhere.

    Args:
        model, example: as `surgery.sites` takes them.
        where: the head of the message.

    Raises:
        ActsmithError: no activation was found whose name is known.

    Example:
        >>> own_activation(nn.Sequential(nn.Linear(2, 2), nn.SiLU()), torch.zeros(1, 2), "net")
        ('silu', False)
    """
    found = [s for s in sites(model, example) if s.activation and not s.squashes and s.calls != 0]
    if not found:
        raise ActsmithError(f"{where}: {type(model).__name__} has no activation of a known name; {LOOKED_FOR}")
    name, _ = Counter(str(s.activation) for s in found).most_common(1)[0]
    return name, any(s.gates for s in found if s.activation == name)


def timm_task(name: str, data: str | Path | None, config: Mapping[str, Any]) -> Task:
    """A model of timm's, from random weights, on the images in a folder (see `image_files`).

    Args:
        name: as `timm.list_models` gives it.
        data: the folder.
        config: further arguments of `timm.create_model`.

    Raises:
        ActsmithError: timm is missing or has no such model, or the folder holds no image set.
    """
    found = find_images(data)
    model = Timm(name, options=tuple(sorted(config.items())))
    default, sized = _default_size(name)
    model, side, network = _fitted(model, found.side, default, sized, found.classes)
    start, gates = own_activation(network, torch.zeros(2, 3, side, side), f"timm:{name}")
    model = Timm(name, where=start, gates=gates, sized=model.sized, options=model.options)
    available = round(found.counts["train"] * (0.9 if "validation" not in found.counts else 1.0))
    available = available if "test" in found.counts else round(0.8 * available)
    count, recipe = affordable(work(network, torch.zeros(2, 3, side, side), IMAGES), available, IMAGES)
    images = FileImages(
        train=count, validation=_at_most("validation", found.counts), test=_at_most("test", found.counts), size=side,
        within=found.within, label=found.label or None,
    )  # fmt: skip
    return Task(f"timm:{name}", images, model, recipe, rates=RATES, start=start)


def _at_most(split: str, counts: Mapping[str, int]) -> int | None:
    """None where there are no more; a split that is held out is a share of the training images."""
    share = {"validation": 0.1 if "test" in counts else 0.08, "test": 0.2}[split]
    there = counts.get(split, int(share * counts["train"]) - 1)
    return EVALUATED[split] if there > EVALUATED[split] else None


def _default_size(name: str) -> tuple[int, bool]:
    """The side of the images that the model was made for, and whether it is told their side."""
    timm = require("timm", "vision", "timm")
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    return (224, False) if config is None else (config.input_size[-1], bool(config.fixed_input_size))


def _fitted(model: Timm, native: int, default: int, sized: bool, classes: int) -> tuple[Timm, int, nn.Module]:
    """The model at a side that suits the images and itself, that side, and the network."""
    plain = Timm(model.name, sized=False, options=model.options)
    network = plain.bare(3, default, classes)
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    needed = TILE if patch is None else PATCHES * max(patch if isinstance(patch, tuple | list) else (patch,))
    side = min(-(-max(native, needed) // TILE) * TILE, default)
    if not sized or side == default:
        return plain, side if not sized else default, network
    told = Timm(model.name, sized=True, options=model.options)
    try:
        return told, side, told.bare(3, side, classes)
    except (TypeError, ValueError, AssertionError):  # it takes no side, or not this one
        return plain, default, network


def hf_task(
    name: str,
    data: str | Path | None,
    *,
    train_file: str | Path | None,
    config: Mapping[str, Any],
    tokenizer: str | None,
) -> Task:
    """A causal language model of transformers on a text.

    Args:
        name: a model type, a folder or an id of the Hub (see `Causal`).
        data: the folder of the text, where no file is given.
        train_file: the text, plain or gzipped.
        config: values of the model's configuration.
        tokenizer: a folder or an id of the Hub; None for the model's own where it has one, else bytes.

    Raises:
        ActsmithError: transformers is missing, no such model, no text.
    """
    if train_file is None and data is None:
        raise ActsmithError(f"hf:{name}: no text was given; give a text file (--train-file FILE), plain or gzipped")
    model = Causal(name, tuple(sorted(config.items())))
    if tokenizer is None and not model.is_type:
        tokenizer = _own_tokenizer(model)
    longest = getattr(model.configuration(), "max_position_embeddings", None) or BLOCK
    file = None if train_file is None else str(Path(train_file).expanduser().absolute())
    text = NextToken(min(BLOCK, longest), BYTES, file, tokenizer, evaluated=BLOCKS)
    problem = text.load(None if data is None else Path(data).expanduser())
    network = model.bare(problem.outputs)
    tokens = torch.zeros(1, text.length, dtype=torch.int64)
    start, gates = own_activation(network, {"input_ids": tokens}, f"hf:{name}")
    train, recipe = affordable(work(_Called(network), tokens, TEXTS), problem.size, TEXTS)
    text = NextToken(text.length, BYTES, file, tokenizer, train=train, evaluated=BLOCKS)
    return Task(f"hf:{name}", text, Causal(name, model.options, start, gates), recipe, rates=RATES, start=start)


class _Called(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor) -> Any:
        return self.model(input_ids=tokens, use_cache=False)


def _own_tokenizer(model: Causal) -> str | None:
    """The model's name where a tokenizer lies beside it."""
    if model.folder is None:
        return model.name
    files = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
    return model.name if any((model.folder / f).is_file() for f in files) else None
