"""Layers of many networks at once, for models with a batched form; units come before examples, so that no weight is
transposed.

| symbol | meaning            | shape                |
|--------|--------------------|----------------------|
| h      | what a layer sees  | (nets, units, batch) |
| weight | of linear layers   | (nets, out, in)      |
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from actsmith.nn.activation import Activation
from actsmith.nn.lookup import LookupActivation, lookup

__all__ = ["LayerNorms", "Linears", "of_nets"]


class Linears(nn.Module):
    def __init__(self, nets: int, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(nets, fan_out, fan_in))
        self.bias = nn.Parameter(torch.empty(nets, fan_out))

    def forward(self, h: Tensor) -> Tensor:
        return torch.baddbmm(self.bias[..., None], self.weight, h)


class LayerNorms(nn.Module):
    """Of each example over the units, (nets, units, batch)."""

    def __init__(self, nets: int, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(nets, width)), nn.Parameter(torch.empty(nets, width))

    def forward(self, h: Tensor) -> Tensor:
        normal = functional.layer_norm(h.transpose(1, 2), h.shape[1:2]).transpose(1, 2)
        return torch.addcmul(self.bias[..., None], normal, self.weight[..., None])


def of_nets(module: nn.Module, nets: int) -> nn.Module:
    """One layer's activations, of all nets: exchanged for another, or for a table of each net's own, as the one is.

    Args:
        module: an `Activation`, or the `LookupActivation` that stands for it.
        nets: how many; they are the first dimension of what the module sees.
    """
    if isinstance(module, LookupActivation):
        return _Tables(module, nets)
    assert isinstance(module, Activation)
    return Activation(module.initial, share="channel", channels=nets, channel_dim=0)


class _Tables(nn.Module):
    def __init__(self, one: LookupActivation, nets: int) -> None:
        super().__init__()
        self.table: Tensor
        self.register_buffer("table", one.table.new_empty(nets, *one.table.shape))

    def forward(self, h: Tensor) -> Tensor:
        found: Tensor = lookup(h, self.table)  # of a jet a jet
        return found
