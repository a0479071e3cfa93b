"""Causal language models of transformers: from a configuration, a folder, or the Hub."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from actsmith.errors import ActsmithError, require
from actsmith.formula.formula import Formula
from actsmith.names import did_you_mean
from actsmith.surgery.replace import replace_
from actsmith.tasks.text import BYTES, Logits
from actsmith.training.problem import Problem

__all__ = ["Causal"]

SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class Causal:
    """A causal language model, its activations exchanged by surgery, which proves that they run.

    Attributes:
        name: a model type of transformers ("gpt2", "llama"), which is built from its configuration with random
            weights; a folder with config.json, and with weights where it starts from them; or an id of the Hub.
        options: (name, value) of the configuration.
        where: which activations are exchanged: as `replace_` takes it.
        gates: whether those that gate are among them.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()
    where: str | None = None
    gates: bool = False

    def build(self, formula: Formula, seed: int, problem: Problem) -> nn.Module:
        """Tokens (batch, length) to logits (batch, length, vocabulary).

        Raises:
            ActsmithError: transformers is missing, no such model, more kinds of tokens than it knows, or nothing to
                exchange.
        """
        model = self.bare(problem.outputs)
        replace_(model, formula, where=self.where, gates=self.gates)
        return Logits(model)

    def bare(self, vocabulary: int) -> Any:
        """transformers' model with its own activations, for tokens of `vocabulary` kinds."""
        config = self.configuration(vocabulary)
        if config.vocab_size < vocabulary:
            raise ActsmithError(
                f"hf:{self.name}: knows {config.vocab_size} kinds of tokens, the text has {vocabulary}; give the "
                "model's own tokenizer (--tokenizer)"
            )
        auto = require("transformers", "language", "hf").AutoModelForCausalLM
        try:
            with _quiet():
                if self.is_type or (self.folder and not any(f for p in WEIGHTS for f in self.folder.glob(p))):
                    return auto.from_config(config)
                return auto.from_pretrained(self.name, config=config, dtype=torch.float32)
        except (OSError, ValueError, KeyError) as error:
            raise ActsmithError(f"hf:{self.name}: no causal language model ({_first_line(error)})") from None

    def configuration(self, vocabulary: int = BYTES) -> Any:
        """transformers' configuration; of a model type with so large a vocabulary.

        Raises:
            ActsmithError: no such model, or an option that its configuration has not.
        """
        auto = require("transformers", "language", "hf").AutoConfig
        if self.is_type:
            plain = auto.for_model(self.name)
            self._check(plain)
            fixed = {key: None for key in SPECIAL if (getattr(plain, key, None) or 0) >= vocabulary}
            return auto.for_model(self.name, **{"vocab_size": vocabulary, **fixed, **dict(self.options)})
        try:
            with _quiet():
                found = auto.from_pretrained(self.name)
        except (OSError, ValueError) as error:
            raise ActsmithError(f"hf:{self.name}: {self._missing(error)}") from None
        self._check(found)
        for key, value in self.options:
            setattr(found, key, value)
        return found

    @property
    def is_type(self) -> bool:
        """Whether the name is a model type that has a causal language model."""
        return self.name in _types()

    @property
    def folder(self) -> Path | None:
        """Where the name is that of a folder."""
        path = Path(self.name).expanduser()
        return path if path.is_dir() else None

    def _check(self, config: Any) -> None:
        known = set(config.to_dict()) | set(getattr(config, "attribute_map", {}))
        for key, _ in self.options:
            if key not in known:
                hint = did_you_mean(key, known) or f"expected one of {', '.join(sorted(known)[:20])} ..."
                raise ActsmithError(f"hf:{self.name}: its configuration has no {key!r}; {hint}")

    def _missing(self, error: Exception) -> str:
        if self.folder is not None:
            return f"the folder holds no configuration ({_first_line(error)}); expected config.json in it"
        hint = did_you_mean(self.name, _types())
        if "/" not in self.name and hint:
            return f"no model type or folder of this name, and not to be had from the Hub; {hint}"
        return (
            f"no model type ({', '.join(sorted(_types())[:3])} ...), no folder, and not to be had from the Hub "
            f"({_first_line(error)}); connect to the internet, or give the folder of a model that you have"
        )


def _types() -> set[str]:
    auto = require("transformers.models.auto.modeling_auto", "language", "hf")
    return set(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def _first_line(error: Exception) -> str:
    return str(error).strip().strip("'\"").partition("\n")[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings, repeated tries and progress bars of the Hub's packages; afterwards they are as before."""
    library = require("transformers", "language", "hf").utils.logging
    hub = logging.getLogger("huggingface_hub")
    before, level, bars = library.get_verbosity(), hub.level, library.is_progress_bar_enabled()
    library.set_verbosity_error()
    library.disable_progress_bar()
    hub.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        library.set_verbosity(before)
        hub.setLevel(level)
        if bars:
            library.enable_progress_bar()
