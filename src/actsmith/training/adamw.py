"""AdamW (Loshchilov, Hutter, arXiv:1711.05101), for one network by torch, for a stack with a rate for each net.

    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
    theta <- theta - c_t rate [ (m/(1 - b1^t)) / (sqrt(v/(1 - b2^t)) + eps) + decay theta ]

A stack's parameters lie in one flat buffer, so that a step is a few operations however deep the networks are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from actsmith.nn.activation import Activation
from actsmith.training.stack import Stack

__all__ = ["StackedAdamW", "decaying", "groups"]

BETA_1, BETA_2, EPS = 0.9, 0.999, 1e-8


def decaying(model: nn.Module) -> set[str]:
    """Names of the weights that decay: not biases, normalisations, activations."""
    norms = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.PReLU, Activation)
    spared = {id(p) for module in model.modules() if isinstance(module, norms) for p in module.parameters()}
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return {name for name, p in named if id(p) not in spared and "bias" not in name and p.ndim > 1}


def groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for `torch.optim.AdamW`: what decays, and the rest."""
    chosen = decaying(model)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return [
        {"params": [p for name, p in named if name in chosen], "weight_decay": weight_decay},
        {"params": [p for name, p in named if name not in chosen], "weight_decay": 0.0},
    ]


class StackedAdamW:
    """The update at the head of this file. The stack's parameters become views of one buffer.

    Args:
        stack: what is trained.
        rates: one a net.
        weight_decay: of the weights that decay.
    """

    def __init__(self, stack: Stack, rates: Sequence[float], weight_decay: float) -> None:
        chosen = decaying(stack.one)
        named = [(name, p) for name, p in stack.module.named_parameters() if p.requires_grad]
        self.nets, self.parameters = stack.nets, [p for _, p in named]
        self.values = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        self.gradients = torch.zeros_like(self.values)
        at = 0
        for p in self.parameters:
            p.data = self.values[at : at + p.numel()].view(p.shape)
            p.grad = self.gradients[at : at + p.numel()].view(p.shape)
            at += p.numel()
        rate = torch.tensor(rates, dtype=torch.float64)
        self.rate = self._spread([rate] * len(named))
        self.decay = self._spread([rate * (weight_decay if name in chosen else 0.0) for name, _ in named])
        self.m, self.v = torch.zeros_like(self.values), torch.zeros_like(self.values)
        self.t = 0

    def _spread(self, per_net: Sequence[Tensor]) -> Tensor:
        """For each parameter a number for each net, laid out as the flat buffer."""
        parts = [
            value.view(-1, *[1] * (p.ndim - 1)).expand(p.shape).reshape(-1)
            for p, value in zip(self.parameters, per_net, strict=True)
        ]
        return torch.cat(parts).to(self.values)

    def clip(self, norm: float) -> None:
        """Scale each net's gradient to a norm of at most `norm`."""
        squares = sum(p.grad.flatten(1).square().sum(1) for p in self.parameters if p.grad is not None)
        factors = (norm / (torch.as_tensor(squares).sqrt() + 1e-6)).clamp(max=1.0)
        for p in self.parameters:
            assert p.grad is not None
            p.grad.mul_(factors.view(-1, *[1] * (p.ndim - 1)))

    def step(self, factor: float) -> None:
        """One update from the gradients in the buffer, which it then clears."""
        self.t += 1
        theta, g = self.values, self.gradients
        self.m.lerp_(g, 1 - BETA_1)
        self.v.mul_(BETA_2).addcmul_(g, g, value=1 - BETA_2)
        denominator = self.v.sqrt().mul_(1 / math.sqrt(1 - BETA_2**self.t)).add_(EPS)
        theta.addcmul_(theta, self.decay, value=-factor)
        theta.addcmul_(self.m / denominator, self.rate, value=-factor / (1 - BETA_1**self.t))
        g.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Plain tensors and the number of steps."""
        return {"m": self.m, "v": self.v, "t": self.t}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.m.copy_(state["m"])
        self.v.copy_(state["v"])
        self.t = state["t"]
