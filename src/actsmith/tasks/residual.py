"""A residual perceptron with normalisations before each branch: the feed-forward half of a transformer, by itself.

    h_0 = W_in x + b_in,   h_l = h_{l-1} + W'_l f(W_l LN(h_{l-1}) + b_l) + b'_l,   out = W_out LN(h_depth) + b_out

    W ~ N(0, 1/fan_in), W' ~ N(0, 1/(depth fan_in)), all biases zero: the pre-activations start near N(0, 1) and the
    variance of h about doubles over the depth, whatever the activation.

| symbol | meaning                  | one network    | batched                |
|--------|--------------------------|----------------|------------------------|
| x      | inputs                   | (batch, ...)   | (nets, batch, ...)     |
| h      | the residual stream      | (batch, width) | (nets, width, batch)   |
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt

import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.nn.activation import Activation
from actsmith.tasks.batched import LayerNorms, Linears, of_nets
from actsmith.training.problem import Problem

__all__ = ["ResidualMlp"]


@dataclass(frozen=True)
class ResidualMlp:
    """A residual perceptron, by plain values.

    Attributes:
        width, depth: of the residual stream, number of branches.
        expand: units inside a branch, over `width`.
    """

    width: int = 64
    depth: int = 3
    expand: int = 2

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.expand) < 1:
            raise ActsmithError(
                f"ResidualMlp: got width={self.width}, depth={self.depth}, expand={self.expand}; expected 1 or more"
            )

    def build(self, formula: Formula, seed: int, problem: Problem) -> nn.Module:
        """From inputs (batch, ...), flattened, to (batch, outputs); `seed` decides the draws alone."""
        network = _Residual(self, formula, prod(problem.inputs), problem.outputs)
        network.draw(seed, problem.square)
        return network


class _Residual(nn.Module):
    def __init__(self, config: ResidualMlp, formula: Formula, features: int, outputs: int) -> None:
        super().__init__()
        self.config, self.features, self.outputs = config, features, outputs
        width, inner, depth = config.width, config.expand * config.width, config.depth
        self.read = nn.Linear(features, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth + 1))
        self.rise = nn.ModuleList(nn.Linear(width, inner) for _ in range(depth))
        self.activations = nn.ModuleList(Activation(formula) for _ in range(depth))
        self.fall = nn.ModuleList(nn.Linear(inner, width) for _ in range(depth))
        self.readout = nn.Linear(width, outputs)

    @torch.no_grad()
    def draw(self, seed: int, square: float) -> None:
        """Inputs of mean square `square` give a stream of variance 1; the same draws under every activation."""
        generator = torch.Generator().manual_seed(seed)
        over = [(self.read, square), *((layer, 1) for layer in self.rise)]
        over += [*((layer, self.config.depth) for layer in self.fall), (self.readout, 1)]
        for layer, size in over:
            assert isinstance(layer, nn.Linear)
            drawn = torch.randn(layer.weight.shape, generator=generator)
            layer.weight.copy_(drawn / sqrt(size * layer.in_features))
            layer.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(_stream(self, x.flatten(1)))  # type: ignore[no-any-return]

    def batched(self, nets: int) -> _Residuals:
        """The same for many networks at once, parameters of the same names; their values are to be filled in."""
        return _Residuals(self, nets)


class _Residuals(nn.Module):
    """(nets, batch, ...) to (nets, batch, outputs)."""

    def __init__(self, one: _Residual, nets: int) -> None:
        super().__init__()
        config = one.config
        width, inner, depth = config.width, config.expand * config.width, config.depth
        self.read = Linears(nets, one.features, width)
        self.norms = nn.ModuleList(LayerNorms(nets, width) for _ in range(depth + 1))
        self.rise = nn.ModuleList(Linears(nets, width, inner) for _ in range(depth))
        self.activations = nn.ModuleList(of_nets(f, nets) for f in one.activations)
        self.fall = nn.ModuleList(Linears(nets, inner, width) for _ in range(depth))
        self.readout = Linears(nets, width, one.outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.readout(_stream(self, x.flatten(2).transpose(1, 2)))
        return out.transpose(1, 2)


def _stream(net: _Residual | _Residuals, x: Tensor) -> Tensor:
    """The normalised end of the residual stream."""
    h = net.read(x)
    for norm, rise, f, fall in zip(net.norms, net.rise, net.activations, net.fall, strict=False):
        h = h + fall(f(rise(norm(h))))
    out: Tensor = net.norms[-1](h)
    return out
