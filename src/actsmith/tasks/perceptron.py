"""Multilayer perceptrons, with what real networks put around an activation.

    h_0 = scale x,   h_l = [h_{l-1} + 1/sqrt(depth)] dropout(f_l(norm(W_l h_{l-1} + b_l))),  out = W_out h_depth + b_out

[...] with residuals, for l > 1: the factor keeps the growth of the variance over all layers at about e.

| symbol | meaning                       | one network    | batched                |
|--------|-------------------------------|----------------|------------------------|
| x      | inputs                        | (batch, ...)   | (nets, batch, ...)     |
| W      | weights                       | (out, in)      | (nets, out, in)        |
| b      | biases                        | (out,)         | (nets, out)            |
| f_l    | the activation of layer l     | parameters ()  | parameters (nets,)     |
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod, sqrt
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.nn.activation import Activation
from actsmith.nn.start import KAIMING, Start, start_of
from actsmith.tasks.batched import LayerNorms, Linears, of_nets
from actsmith.training.problem import Problem

__all__ = ["Mlp", "Perceptron"]

Norm = Literal["none", "batch", "layer"]


@dataclass(frozen=True)
class Mlp:
    """A perceptron, by plain values.

    Attributes:
        width, depth: units in a hidden layer, number of hidden layers.
        init: "critical", each activation at its own critical point, or "kaiming", C_W = 2 and no bias for all.
        norm: of the pre-activations: "batch", "layer" (both with learned gain and bias) or "none".
        residual: whether layers after the first add to their inputs.
        dropout: rate, behind every activation.
        shift: added to every learned parameter of the activations, once the weights are drawn.
    """

    width: int = 64
    depth: int = 6
    init: Literal["critical", "kaiming"] = "critical"
    norm: Norm = "none"
    residual: bool = False
    dropout: float = 0.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 1:
            raise ActsmithError(f"Mlp: got width={self.width}, depth={self.depth}; expected 1 or more")
        if self.norm not in ("none", "batch", "layer") or not 0 <= self.dropout < 1:
            raise ActsmithError(
                f"Mlp: got norm={self.norm!r}, dropout={self.dropout}; expected 'none', 'batch' or 'layer', and "
                "0 <= dropout < 1"
            )

    def start(self, formula: Formula) -> Start:
        """Where training starts with this activation."""
        return start_of(formula, self.depth) if self.init == "critical" else KAIMING

    def build(self, formula: Formula, seed: int, problem: Problem) -> Perceptron:
        """A perceptron whose draws `seed` decides alone; inputs of more than one dimension are flattened."""
        sizes = prod(problem.inputs), problem.outputs
        network = Perceptron(self, formula, *sizes, start=self.start(formula), square=problem.square)
        network.draw(seed)
        return network


class Perceptron(nn.Module):
    """One network; `batched` gives its form for many.

    Args:
        config: the shape.
        formula: the activation of every hidden layer; its learnable parameters are each layer's own.
        features, outputs: numbers in an input and an output.
        start: the initialisation.
        square: the mean square of the inputs' entries, to scale them by.
    """

    def __init__(
        self, config: Mlp, formula: Formula, features: int, outputs: int, *, start: Start, square: float = 1.0
    ) -> None:
        super().__init__()
        self.config, self.start, self.width = config, start, config.width
        self.fans = [features, *[config.width] * config.depth, outputs]
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(start.input_scale(square)))
        self.share = 1 / sqrt(config.depth)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(self.fans))
        self.norms = nn.ModuleList(_NORMS[config.norm](config.width) for _ in range(config.depth))
        self.activations = nn.ModuleList(Activation(formula) for _ in range(config.depth))
        self.dropout = nn.Dropout(config.dropout)

    @torch.no_grad()
    def draw(self, seed: int) -> None:
        """W ~ N(0, C_W/fan_in), b ~ N(0, C_b), the readout as `Start` says: one seed, the same N(0, 1) draws under
        every activation."""
        generator, start = torch.Generator().manual_seed(seed), self.start
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            last = i == len(self.layers) - 1
            size = sqrt((start.readout if last else start.C_W) / self.fans[i])
            layer.weight.copy_(torch.randn(self.fans[i], self.fans[i + 1], generator=generator).T * size)
            drawn = torch.randn(1, self.fans[i + 1], generator=generator)[0]
            layer.bias.copy_(drawn * (0.0 if last else sqrt(start.C_b)))
        for p in self.activations.parameters():
            p.add_(self.config.shift)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, outputs) of unscaled inputs (batch, ...)."""
        h = x.flatten(1) * self.scale
        for i, (norm, f) in enumerate(zip(self.norms, self.activations, strict=True)):
            z = self.dropout(f(norm(self.layers[i](h))))
            h = h + self.share * z if self.config.residual and i else z
        out: Tensor = self.layers[-1](h)
        return out

    def batched(self, nets: int) -> _Perceptrons:
        """The same for many networks at once, parameters of the same names; their values are to be filled in."""
        return _Perceptrons(self, nets)


class _Perceptrons(nn.Module):
    """(nets, batch, ...) to (nets, batch, outputs). Inside, units come before examples: no weight is transposed."""

    def __init__(self, one: Perceptron, nets: int) -> None:
        super().__init__()
        config = one.config
        self.width, self.share, self.residual = one.width, one.share, config.residual
        self.scale: Tensor
        self.register_buffer("scale", torch.empty(nets))
        self.layers = nn.ModuleList(Linears(nets, a, b) for a, b in pairwise(one.fans))
        self.norms = nn.ModuleList(_BATCHED[config.norm](nets, config.width) for _ in range(config.depth))
        self.activations = nn.ModuleList(of_nets(f, nets) for f in one.activations)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(2).transpose(1, 2) * self.scale[:, None, None]
        for i, (norm, f) in enumerate(zip(self.norms, self.activations, strict=True)):
            z = self.dropout(f(norm(self.layers[i](h))))
            h = h + self.share * z if self.residual and i else z
        out: Tensor = self.layers[-1](h)
        return out.transpose(1, 2)


class _BatchNorms(nn.BatchNorm1d):
    """Of each net's units over the examples, (nets, units, batch)."""

    def __init__(self, nets: int, width: int) -> None:
        super().__init__(width)
        self.weight, self.bias = nn.Parameter(torch.empty(nets, width)), nn.Parameter(torch.empty(nets, width))
        self.register_buffer("running_mean", torch.empty(nets, width))
        self.register_buffer("running_var", torch.empty(nets, width))
        self.register_buffer("num_batches_tracked", torch.empty(nets, dtype=torch.long))

    def forward(self, h: Tensor) -> Tensor:
        nets, width, batch = h.shape
        if self.training:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
        assert self.running_mean is not None
        assert self.running_var is not None
        flat = (self.running_mean.view(-1), self.running_var.view(-1), self.weight.view(-1), self.bias.view(-1))
        out = functional.batch_norm(
            h.permute(2, 0, 1).reshape(batch, nets * width), *flat, self.training, self.momentum or 0.1, self.eps
        )
        return out.view(batch, nets, width).permute(1, 2, 0).contiguous()


class _Identity(nn.Identity):
    def __init__(self, *sizes: int) -> None:
        super().__init__()


_NORMS: dict[str, type[nn.Module]] = {"none": _Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
_BATCHED: dict[str, type[nn.Module]] = {"none": _Identity, "batch": _BatchNorms, "layer": LayerNorms}
