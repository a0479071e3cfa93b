"""Text to learn from: characters for perceptrons, tokens (bytes, byte pairs, a tokenizer's) for decoders.

NextCharacter   a window of characters, each a fixed vector -> the next character: perceptrons
NextToken       every position of a block of tokens predicts the next: decoders such as SmallGpt2
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from actsmith.errors import ActsmithError, require
from actsmith.formula.formula import Formula
from actsmith.surgery.replace import replace_
from actsmith.tasks.text_files import parts_of, text_of
from actsmith.training.problem import Classification, Metric, Problem, Split, digest_of, exact

__all__ = ["BYTES", "Logits", "NextCharacter", "NextToken", "SmallGpt2", "byte_pairs"]

BYTES = 256
"""Size of the vocabulary whose tokens are the bytes of the text in UTF-8."""
END = "<|endoftext|>"
_SCORED_AT_ONCE = 16


class _Characters(Classification):
    """Scored by the mean code length of a character, -log2 of its predicted probability."""

    metric = Metric("bits_per_character", "lower")

    def score(self, model: nn.Module, split: Split) -> dict[str, Tensor]:
        found = super().score(model, split)
        return {"bits_per_character": found["loss"] / math.log(2), "accuracy": found["accuracy"]}


@dataclass(frozen=True)
class NextCharacter:
    """The next character from those before it.

    Attributes:
        context: characters seen.
        embedding: numbers by which each is shown: fixed, drawn once from N(0, 1).
        alphabet: the most frequent characters of the training text that are told apart; the others are one more.
        train, evaluated: positions drawn from the training text, and from each of the other two.
        file: the text, as `text_files.text_of` takes it. Where it lies says nothing of what is learned: the data do.
    """

    context: int = 12
    embedding: int = 16
    alphabet: int = 47
    train: int = 8192
    evaluated: int = 4096
    file: str | None = field(default=None, repr=False)
    metric = _Characters.metric

    def load(self, data: Path | None) -> Problem:
        """Inputs (n, context*embedding) and the index of the character that follows."""
        text = text_of(self.file, data)
        bounds = parts_of(len(text))
        known = [c for c, _ in Counter(text[slice(*bounds[0])]).most_common(self.alphabet)]
        index = {c: i for i, c in enumerate(known)}
        codes = np.array([index.get(c, len(known)) for c in text])
        table = np.random.Generator(np.random.PCG64(0)).standard_normal((len(known) + 1, self.embedding))
        sizes = (self.train, self.evaluated, self.evaluated)
        train, validation, test = (
            self._windows(codes[a:b], table.astype(np.float32), size, seed)
            for seed, ((a, b), size) in enumerate(zip(bounds, sizes, strict=True))
        )
        return _Characters(train, validation, test, outputs=len(known) + 1)

    def _windows(self, codes: Any, table: Any, size: int, seed: int) -> tuple[Tensor, Tensor]:
        places = len(codes) - self.context
        if places < size:
            raise ActsmithError(f"next character: got {len(codes)} characters of text; expected {size + self.context}")
        starts = np.random.Generator(np.random.PCG64(seed)).permutation(places)[:size]
        seen = codes[starts[:, None] + np.arange(self.context)]
        x = torch.from_numpy(table[seen].reshape(size, -1))
        return x, torch.from_numpy(codes[starts + self.context])


def byte_pairs(text: str, size: int) -> Any:
    """A byte-level BPE tokenizer of `size` tokens made from `text`, as transformers' PreTrainedTokenizerFast.

    Raises:
        ActsmithError: transformers is missing.
    """
    made = require("tokenizers", "language", "byte pairs").ByteLevelBPETokenizer()
    made.train_from_iterator([text], vocab_size=size, special_tokens=[END], show_progress=False)
    wrap = require("transformers", "language", "byte pairs").PreTrainedTokenizerFast
    return wrap(tokenizer_object=made._tokenizer, eos_token=END, bos_token=END, pad_token=END, unk_token=END)


class _Blocks(Problem):
    """Token blocks (n, length + 1); scored by the mean code length of a token in nats and by its perplexity."""

    metric = Metric("loss", "lower")

    def __init__(self, train: Tensor, validation: Tensor, test: Tensor, vocabulary: int) -> None:
        self.train, self.splits = train, {"validation": validation, "test": test}
        self.size, self.outputs = len(train), vocabulary
        self.inputs = (train.shape[1] - 1,)

    @property
    def fingerprint(self) -> str:
        """Of all blocks."""
        return digest_of(self.train, *self.splits.values())

    def batch(self, order: Tensor, device: torch.device) -> Tensor:
        return self.train[order].to(device)

    def inputs_of(self, batch: Tensor) -> Tensor:
        return batch[..., :-1]

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        logits = model(batch[..., :-1]).float()
        return functional.cross_entropy(logits.flatten(0, -2), batch[..., 1:].flatten())

    @torch.no_grad()
    def score(self, model: nn.Module, split: Split) -> dict[str, Tensor]:
        device = next(model.parameters()).device
        parts = torch.split(self.splits[split], _SCORED_AT_ONCE)
        loss = sum(exact(self.loss(model, part.to(device))) * len(part) for part in parts)
        mean = torch.as_tensor(loss) / len(self.splits[split])
        return {"loss": mean, "perplexity": mean.exp()}


@dataclass(frozen=True)
class NextToken:
    """Every next token of a text, in blocks.

    Attributes:
        length: tokens in a block.
        vocabulary: tokens of the byte-pair tokenizer, which is made from the training text; `BYTES` (256) takes the
            bytes themselves.
        file: the text, as `text_files.text_of` takes it. Where it lies says nothing of what is learned: the data do.
        pretrained: the folder or Hub id of a tokenizer to use in place of one that is made.
        train, evaluated: blocks of the training text, and of each of the other two, at even distances; None for all.
    """

    length: int = 128
    vocabulary: int = 1024
    file: str | None = field(default=None, repr=False)
    pretrained: str | None = None
    train: int | None = None
    evaluated: int | None = None
    metric = _Blocks.metric

    def tokenizer(self, data: Path | None) -> Any:
        """transformers' tokenizer, see `byte_pairs`; None where bytes are the tokens."""
        return _read_tokens(self, data)[0]

    def load(self, data: Path | None) -> Problem:
        """Blocks of length + 1 tokens, which overlap in one."""
        return _read_tokens(self, data)[1]


@lru_cache(maxsize=2)
def _read_tokens(config: NextToken, data: Path | None) -> tuple[Any, _Blocks]:
    """The tokenizer, and the three texts in blocks."""
    text = text_of(config.file, data)
    parts = [text[a:b] for a, b in parts_of(len(text))]
    tokenizer, size = _tokenizer(config, parts[0])
    blocks = []
    for part, wanted in zip(parts, (config.train, config.evaluated, config.evaluated), strict=True):
        if tokenizer is None:
            tokens = torch.frombuffer(bytearray(part.encode()), dtype=torch.uint8).long()
        else:
            tokens = torch.tensor(tokenizer.backend_tokenizer.encode(part, add_special_tokens=False).ids)
        if len(tokens) <= config.length:
            raise ActsmithError(
                f"text: got {len(tokens)} tokens in a part of it; expected more than a block, {config.length}: give a "
                "longer text or shorter blocks"
            )
        every = tokens.unfold(0, config.length + 1, config.length)
        if wanted is not None and wanted < len(every):
            every = every[torch.linspace(0, len(every) - 1, wanted, dtype=torch.float64).round().long()]
        blocks.append(every)
    train, validation, test = blocks
    return tokenizer, _Blocks(train, validation, test, size)


def _tokenizer(config: NextToken, text: str) -> tuple[Any, int]:
    """What turns text into tokens, and the size of its vocabulary."""
    if config.pretrained is None:
        bytewise = config.vocabulary == BYTES
        return (None, BYTES) if bytewise else (byte_pairs(text, config.vocabulary), config.vocabulary)
    auto = require("transformers", "language", "tokenizer").AutoTokenizer
    try:
        found = auto.from_pretrained(config.pretrained)
    except (OSError, ValueError) as error:
        raise ActsmithError(f"tokenizer {config.pretrained!r}: cannot be had ({_first_line(error)})") from None
    if not hasattr(found, "backend_tokenizer"):
        raise ActsmithError(f"tokenizer {config.pretrained!r}: got a {type(found).__name__}; expected a fast tokenizer")
    return found, len(found)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


class Logits(nn.Module):
    """A causal language model of transformers as a map from tokens (batch, length) to logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=tokens, use_cache=False).logits
        return logits


@dataclass(frozen=True)
class SmallGpt2:
    """transformers' GPT-2 (pre-norm, learned positions, exact GELU where nothing else is named) from its configuration.

    Attributes:
        width, depth, heads: of the residual stream, of the blocks, of the attention.
        positions: the longest sequence.
    """

    width: int = 64
    depth: int = 3
    heads: int = 4
    positions: int = 256

    def bare(self, vocabulary: int, seed: int) -> Any:
        """GPT2LMHeadModel with random weights, GELU and no dropout."""
        transformers = require("transformers", "language", "SmallGpt2")
        torch.manual_seed(seed)
        config = transformers.GPT2Config(
            vocab_size=vocabulary, n_positions=self.positions, n_embd=self.width, n_layer=self.depth, n_head=self.heads,
            activation_function="gelu", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0,
            eos_token_id=0,
        )  # fmt: skip
        return transformers.GPT2LMHeadModel(config)

    def build(self, formula: Formula, seed: int, problem: Problem) -> nn.Module:
        """Token ids (batch, length) to logits (batch, length, vocabulary)."""
        model = self.bare(problem.outputs, seed)
        replace_(model, formula)
        return Logits(model)
