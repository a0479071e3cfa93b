"""x W^T of many rows, on AMD's processors by oneDNN.

torch multiplies float32 matrices by MKL, which is Intel's: 30,000 x 64 by 64 x 64 took 3.5 ms on a core of an AMD EPYC,
and 1.2 ms by oneDNN, the numbers being the same.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.backends import mkldnn
from torch.nn import functional

from actsmith.nn.private import onednn_linear

__all__ = ["gradient", "product"]

ROWS = 512
"""From which on it is worth a thought."""
MAKER = "AuthenticAMD"


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x W^T over the last dimension of x, differentiable to any order; ordinary tensors, nothing traced."""
    if x.dtype != torch.float32 or not x.is_cpu or x.numel() < ROWS * x.shape[-1] or not _serves():
        return functional.linear(x, weight)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        found: Tensor = _Product.apply(x, weight)
        return found
    return onednn_linear(x, weight)


def gradient(g: Tensor, x: Tensor) -> Tensor:
    """g^T x, the gradient of W: of a few inputs the other way round, which MKL does nine times as fast."""
    g, x = g.flatten(0, -2), x.flatten(0, -2)
    return (x.t() @ g).t().contiguous() if x.shape[1] < g.shape[1] else g.t() @ x


class _Product(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return onednn_linear(x, weight)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        (g,), (x, weight) = cotangents, ctx.saved_tensors
        own = gradient(g, x) if ctx.needs_input_grad[1] else None
        return product(g, weight.t()) if ctx.needs_input_grad[0] else None, own


@cache
def _serves() -> bool:
    """Whether it is there and the faster one: by the processor and not by the clock, so that every process decides
    alike, and equal seeds give equal numbers."""
    if not mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    try:
        onednn_linear(torch.ones(2, 2), torch.ones(2, 2))
        return MAKER in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except (AttributeError, RuntimeError, OSError):  # this torch has it no more; or this is not Linux
        return False
