"""Many networks of one shape and one activation, stacked: one batched product trains them all.

    h_0 = scale x,   h_l = f_l(h_{l-1} W_l + b_l),   logits = h_depth W_out + b_out

| symbol | meaning                             | shape                            |
|--------|-------------------------------------|----------------------------------|
| x      | inputs                              | (nets, batch, features)          |
| W      | weights                             | (nets, fan_in, fan_out)          |
| b      | biases                              | (nets, 1, fan_out)               |
| f_l    | the activation of layer l           | learnable parameters (nets,)     |
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor, nn

from actsmith.experiments.initial import Initialisation
from actsmith.formula.formula import Formula
from actsmith.nn.activation import Activation

__all__ = ["Network", "Stack"]


class Stack(nn.Module):
    """`len(seeds)` multilayer perceptrons.

    Net i depends on seeds[i] alone: two nets, or two stacks, with one seed start from the same N(0, 1) draws, each
    scaled by its own initialisation.

    Args:
        formula: the activation of every hidden layer; its learnable parameters are each net's and each layer's own.
        seeds: one a net.
        features, width, depth, outputs: the shape.
        start: the initialisation.
        square: the mean over the inputs of sum_i x_i^2/features, to scale them by.
        dtype: of everything.
    """

    stacked = True

    def __init__(
        self,
        formula: Formula,
        seeds: Sequence[int],
        *,
        features: int,
        width: int,
        depth: int,
        outputs: int,
        start: Initialisation,
        square: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.formula = formula
        self.nets = len(seeds)
        self.scale = sqrt(max(start.K0 - start.C_b, 0.0) / (start.C_W * square))
        fans = [features, *[width] * depth, outputs]
        drawn = {seed: _draw(seed, fans) for seed in seeds}
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer in range(depth + 1):
            last = layer == depth
            size = sqrt((start.readout if last else start.C_W) / fans[layer])
            w = torch.stack([drawn[seed][layer][0] for seed in seeds]) * size
            b = torch.stack([drawn[seed][layer][1] for seed in seeds]) * (0.0 if last else sqrt(start.C_b))
            self.weights.append(nn.Parameter(w.to(dtype)))
            self.biases.append(nn.Parameter(b.to(dtype)))
        self.activations = nn.ModuleList(
            Activation(formula, share="channel", channels=self.nets, channel_dim=0).to(dtype) for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (nets, batch, outputs) of unscaled inputs (nets, batch, features)."""
        return self.scaled(x * self.scale)

    def scaled(self, h: Tensor) -> Tensor:
        """Outputs of inputs that are scaled already."""
        for w, b, f in zip(self.weights, self.biases, self.activations, strict=False):
            h = f(torch.baddbmm(b, h, w))
        return torch.baddbmm(self.biases[-1], h, self.weights[-1])

    def learned(self, net: int) -> dict[str, list[float]]:
        """The activation parameters of one net, a number for each layer."""
        names = [name for name, p in self.formula.params.items() if p.learn]
        return {name: [float(getattr(a, name).detach()[net]) for a in self.activations] for name in names}


class Network:
    """A `Stack` for the fastest optimiser step: all numbers that training changes lie in one flat buffer.

    The optimiser is then a few operations however deep the networks are; the stack's parameters are views.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.nets = stack.nets
        self.scale = stack.scale
        self.values, self.gradients = self._flatten()

    @property
    def weights(self) -> list[nn.Parameter]:
        """Of the layers, in order."""
        return list(self.stack.weights)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Weights, biases, then the activations' parameters; each has the nets as its first dimension."""
        return list(self.stack.parameters())

    def _flatten(self) -> tuple[Tensor, Tensor]:
        """One buffer for all values and one for all gradients; every parameter becomes a view of its part."""
        parameters = self.parameters
        values = torch.cat([p.detach().reshape(-1) for p in parameters])
        gradients = torch.zeros_like(values)
        at = 0
        for p in parameters:
            p.data = values[at : at + p.numel()].view(p.shape)
            p.grad = gradients[at : at + p.numel()].view(p.shape)
            at += p.numel()
        return values, gradients

    def spread(self, per_net: Tensor, parameters: Sequence[nn.Parameter] | None = None) -> Tensor:
        """A number for each net, laid out as the flat buffer; zero outside `parameters`, where these are given."""
        chosen = None if parameters is None else {id(p) for p in parameters}
        parts = []
        for p in self.parameters:
            value = per_net if chosen is None or id(p) in chosen else torch.zeros_like(per_net)
            parts.append(value.view(-1, *[1] * (p.ndim - 1)).expand_as(p).reshape(-1))
        return torch.cat(parts).to(self.values.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Logits (nets, batch, classes) of inputs that are scaled already."""
        logits: Tensor = self.stack.scaled(x)
        return logits

    def module(self, net: int) -> nn.Sequential:
        """One net as an ordinary torch module that takes unscaled inputs (batch, features)."""
        layers: list[nn.Module] = []
        dtype = self.values.dtype
        with torch.no_grad():
            for i, (w, b) in enumerate(zip(self.stack.weights, self.stack.biases, strict=True)):
                linear = nn.Linear(w.shape[1], w.shape[2], dtype=dtype)
                linear.weight.copy_(w[net].T * (self.scale if i == 0 else 1.0))
                linear.bias.copy_(b[net, 0])
                layers.append(linear)
                if i < len(self.stack.activations):
                    activation = Activation(self.stack.formula).to(dtype)
                    for name, p in activation.named_parameters():
                        p.copy_(getattr(self.stack.activations[i], name)[net])
                    layers.append(activation)
        return nn.Sequential(*layers)


def _draw(seed: int, fans: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """N(0, 1) weights (fan_in, fan_out) and biases (1, fan_out) of every layer, in float32 for every dtype."""
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for fan_in, fan_out in pairwise(fans):
        w = torch.randn(fan_in, fan_out, generator=generator)
        drawn.append((w, torch.randn(1, fan_out, generator=generator)))
    return drawn
