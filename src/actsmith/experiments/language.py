"""English text to learn from, Pride and Prejudice: characters for perceptrons, byte pairs for a small GPT-2.

    NextCharacter   a window of characters, each a fixed vector -> the next character: perceptrons, seeds side by side
    NextToken       byte pairs, every position of a block predicts the next: SmallGpt2, one seed after another

The first 80 % of the text are for training, the next 10 % for validation, the last 10 % for testing.
"""

from __future__ import annotations

import gzip
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.experiments.models import Single
from actsmith.experiments.problem import Classification, Metric, Problem, Split
from actsmith.formula.formula import Formula
from actsmith.surgery.replace import replace_

__all__ = ["LANGUAGE_EXTRA", "NextCharacter", "NextToken", "SmallGpt2", "austen_text", "byte_pairs"]

LANGUAGE_EXTRA = "pip install 'actsmith[language]'"
SHARES = (0.8, 0.1, 0.1)
END = "<|endoftext|>"
_NAMES = ("prideprejudice.txt.gz", "prideprejudice.txt")
_GUTENBERG = "https://www.gutenberg.org/cache/epub/1342/pg1342.txt"


def austen_text(data: Path | None) -> str:
    """Pride and Prejudice (1813, public domain).

    Args:
        data: holds austen/prideprejudice.txt or .txt.gz, or the file itself. Without it, Project Gutenberg's text is
            fetched once and kept.

    Raises:
        ActsmithError: it is not there, or cannot be fetched.
    """
    if data is None:
        return _between_marks(_fetched().read_text(encoding="utf-8-sig"))
    for path in (folder / name for folder in (data / "austen", data) for name in _NAMES):
        if path.is_file():
            try:
                content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
                return _between_marks(content.decode("utf-8-sig"))
            except (OSError, EOFError, UnicodeDecodeError) as error:
                raise ActsmithError(f"{path}: cannot be read as text ({error}); fetch the file again") from None
    raise ActsmithError(
        f"austen: {str(data)!r} holds no {' and no '.join(_NAMES)}, nor does its folder austen; fetch {_GUTENBERG}"
    )


def _fetched() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "actsmith"
    path = cache / "pg1342.txt"
    if not path.is_file():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(_GUTENBERG, str(path), progress=False)
        except OSError as error:
            raise ActsmithError(
                f"austen: no data= was given (--data) and {_GUTENBERG} could not be fetched: {error}; connect to the "
                "internet, or give the folder that holds austen/prideprejudice.txt"
            ) from None
    return path


def _between_marks(text: str) -> str:
    """The book without Project Gutenberg's preface and licence, where it has them."""
    lines = text.replace("\r\n", "\n").split("\n")
    marks = [i for i, line in enumerate(lines) if line.startswith(("*** START OF", "*** END OF"))]
    return "\n".join(lines[marks[0] + 1 : marks[1]]).strip() if len(marks) == 2 else text


def _parts(length: int) -> list[tuple[int, int]]:
    """Where training, validation and test begin and end."""
    ends = np.round(np.cumsum([0.0, *SHARES]) * length).astype(int).tolist()
    return list(pairwise(ends))


# -------------------------------------------------------------------------------------------------- characters


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
    """

    context: int = 12
    embedding: int = 16
    alphabet: int = 47
    train: int = 8192
    evaluated: int = 4096
    metric = _Characters.metric

    def load(self, data: Path | None) -> Problem:
        """Inputs (n, context*embedding) and the index of the character that follows."""
        text = austen_text(data)
        bounds = _parts(len(text))
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


# -------------------------------------------------------------------------------------------------- byte pairs


def byte_pairs(text: str, size: int) -> Any:
    """A byte-level BPE tokenizer of `size` tokens made from `text`, as transformers' PreTrainedTokenizerFast.

    Raises:
        ActsmithError: transformers is missing.
    """
    try:
        from tokenizers import ByteLevelBPETokenizer
        from transformers import PreTrainedTokenizerFast
    except ImportError as error:
        raise ActsmithError(f"language: {error.name} is missing; {LANGUAGE_EXTRA}") from None
    made = ByteLevelBPETokenizer()
    made.train_from_iterator([text], vocab_size=size, special_tokens=[END], show_progress=False)
    wrap: Any = PreTrainedTokenizerFast
    return wrap(tokenizer_object=made._tokenizer, eos_token=END, bos_token=END, pad_token=END, unk_token=END)


class _Blocks(Problem):
    """Token blocks (n, length + 1); scored by the mean code length of a token in nats and by its perplexity."""

    metric = Metric("loss", "lower")

    def __init__(self, train: Tensor, validation: Tensor, test: Tensor, vocabulary: int) -> None:
        self.train, self.splits = train, {"validation": validation, "test": test}
        self.size, self.outputs = len(train), vocabulary
        self.inputs = (train.shape[1] - 1,)

    def batch(self, order: Tensor, device: torch.device) -> Tensor:
        return self.train[order].to(device)

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        logits = model(batch[..., :-1]).float()
        return functional.cross_entropy(logits.flatten(0, -2), batch[..., 1:].flatten())[None]

    @torch.no_grad()
    def score(self, model: nn.Module, split: Split) -> dict[str, Tensor]:
        device = next(model.parameters()).device
        parts = torch.split(self.splits[split], 16)
        loss = sum(self.loss(model, part[None].to(device)).double() * len(part) for part in parts)
        mean = torch.as_tensor(loss) / len(self.splits[split])
        return {"loss": mean, "perplexity": mean.exp()}


@dataclass(frozen=True)
class NextToken:
    """Every next token of the text, in blocks.

    Attributes:
        length: tokens in a block.
        vocabulary: tokens of the byte-pair tokenizer, which is made from the training text.
    """

    length: int = 128
    vocabulary: int = 1024
    metric = _Blocks.metric

    def tokenizer(self, data: Path | None) -> Any:
        """See `byte_pairs`."""
        return _read_tokens(self, data)[0]

    def load(self, data: Path | None) -> Problem:
        """Blocks of length + 1 tokens, which overlap in one."""
        return _read_tokens(self, data)[1]


@lru_cache(maxsize=2)
def _read_tokens(config: NextToken, data: Path | None) -> tuple[Any, _Blocks]:
    """The tokenizer of the training text, and the three texts in blocks."""
    text = austen_text(data)
    parts = [text[a:b] for a, b in _parts(len(text))]
    tokenizer = byte_pairs(parts[0], config.vocabulary)
    tokens = (torch.tensor(tokenizer.backend_tokenizer.encode(part).ids) for part in parts)
    train, validation, test = (t.unfold(0, config.length + 1, config.length) for t in tokens)
    return tokenizer, _Blocks(train, validation, test, config.vocabulary)


class _Logits(nn.Module):
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
    stacked = False

    def bare(self, vocabulary: int, seed: int) -> Any:
        """GPT2LMHeadModel with random weights, GELU and no dropout."""
        try:
            from transformers import GPT2Config, GPT2LMHeadModel
        except ImportError as error:
            raise ActsmithError(f"language: {error.name} is missing; {LANGUAGE_EXTRA}") from None
        torch.manual_seed(seed)
        config = GPT2Config(
            vocab_size=vocabulary, n_positions=self.positions, n_embd=self.width, n_layer=self.depth, n_head=self.heads,
            activation_function="gelu", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0,
            eos_token_id=0,
        )  # fmt: skip
        return GPT2LMHeadModel(config)

    def build(self, formula: Formula, seeds: Sequence[int], problem: Problem) -> nn.Module:
        """A stack of one: token ids (1, batch, length) to logits (1, batch, length, vocabulary)."""
        model = self.bare(problem.outputs, seeds[0])
        replace_(model, formula)
        return Single(_Logits(model), seeds)
