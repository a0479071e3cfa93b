"""A small decoder-only transformer (Radford et al., 2019): pre-norm blocks, learned positions, causal attention.

h <- h + Attention(LN(h)),   h <- h + W_2 f(W_1 LN(h)),   logits = W_out LN(h)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.nn.activation import Activation
from actsmith.training.problem import Problem

__all__ = ["Decoder"]

DEVIATION = 0.02
"""Of every weight, as in GPT-2; those that write to the residual stream have it over sqrt(2 depth)."""


@dataclass(frozen=True)
class Decoder:
    """The transformer, by plain values, for tokens of `problem.outputs` kinds in blocks of `problem.inputs`.

    Attributes:
        width, depth, heads: of the residual stream, of the blocks, of the attention.
    """

    width: int = 64
    depth: int = 4
    heads: int = 4

    def __post_init__(self) -> None:
        if self.depth < 1 or self.heads < 1 or self.width < 1 or self.width % self.heads:
            raise ActsmithError(
                f"Decoder: got width={self.width}, depth={self.depth}, heads={self.heads}; expected 1 or more, and "
                "heads that divide the width"
            )

    def build(self, formula: Formula, seed: int, problem: Problem) -> nn.Module:
        """Tokens (batch, length) to logits (batch, length, kinds); torch's generator draws the weights.

        Raises:
            ActsmithError: the inputs are no sequence.
        """
        if len(problem.inputs) != 1:
            raise ActsmithError(f"Decoder: got inputs {problem.inputs}; expected blocks of tokens (length,)")
        return _Decoder(self, formula, problem.outputs, problem.inputs[0])


class _Decoder(nn.Module):
    def __init__(self, config: Decoder, formula: Formula, kinds: int, length: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(kinds, config.width)
        self.positions = nn.Parameter(torch.empty(length, config.width))
        self.blocks = nn.ModuleList(_Block(config, formula) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.readout = nn.Linear(config.width, kinds, bias=False)
        for name, p in self.named_parameters():
            if p.ndim > 1:
                nn.init.normal_(
                    p, std=DEVIATION / sqrt(2 * config.depth) if name.endswith("_out.weight") else DEVIATION
                )
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.tokens(tokens) + self.positions[: tokens.shape[-1]]
        for block in self.blocks:
            h = block(h)
        logits: Tensor = self.readout(self.norm(h))
        return logits


class _Block(nn.Module):
    def __init__(self, config: Decoder, formula: Formula) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention_in, self.attention_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.hidden, self.hidden_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.activation = Activation(formula)

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self.attention_in(self.attention_norm(h)).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        q, k, v = (t.transpose(-2, -3) for t in (q, k, v))  # (..., heads, length, width/heads)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.attention_out(mixed.transpose(-2, -3).flatten(-2))
        out: Tensor = h + self.hidden_out(self.activation(self.hidden(self.norm(h))))
        return out
