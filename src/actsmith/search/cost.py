"""What an activation costs: the time of its kernel beside that of torch's own GELU."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn

from actsmith.formula.formula import Formula
from actsmith.nn.activation import Activation

__all__ = ["kernel_cost"]

ELEMENTS, ROUNDS, CALLS = 100_000, 9, 4


def kernel_cost(formula: Formula, device: torch.device | str = "cpu") -> float:
    """Time of a forward and a backward pass over 1e5 float32 elements, as a ratio to `nn.GELU`'s.

    The median of ratios measured in turns, so that a busy machine disturbs both alike.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ELEMENTS, generator=generator).to(device).requires_grad_()
    mine, usual = Activation(formula, device=device), nn.GELU()
    for module in (mine, usual):  # the first call compiles
        _seconds(module, x)
    return statistics.median(_seconds(mine, x) / _seconds(usual, x) for _ in range(ROUNDS))


def _seconds(module: nn.Module, x: Tensor) -> float:
    inputs = [x, *module.parameters()]
    began = _now(x)
    for _ in range(CALLS):
        torch.autograd.grad(module(x).sum(), inputs)
    return _now(x) - began


def _now(x: Tensor) -> float:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter()
