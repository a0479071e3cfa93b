"""Eigenvalues of the Fisher information of an untrained network, after AQuaSurF (Bingham, Miikkulainen,
arXiv:2301.05785).

| symbol | meaning                                                                             | shape  |
|--------|-------------------------------------------------------------------------------------|--------|
| G_l    | gradients of each example's loss with respect to what layer l learns               | (n, p) |
| F_l    | G_l^T G_l/n, the empirical Fisher information of a layer; others are taken as alone | (p, p) |

    its non-zero eigenvalues are those of G_l G_l^T/n

AQuaSurF draws labels from the network's own outputs and factors F_l; here labels are the data's and F_l is whole. Batch
normalisation takes the moments that the network last saw. Of a physics-informed network an example is a point inside,
with the whole border.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from actsmith.theory.measured import DECADES
from actsmith.training.problem import Problem
from actsmith.training.stack import Form, Stack, can_batch

__all__ = ["eigenvalues", "fisher_of", "histogram"]

Array = NDArray[Any]

ZERO = 1e-12
"""Of a layer's largest eigenvalue: what is under it is rounding of float32 gradients."""


def eigenvalues(model: nn.Module, problem: Problem, batch: torch.Tensor | tuple[torch.Tensor, ...]) -> Array | None:
    """The non-zero ones of all layers, float64 (m,); None where a gradient is not finite.

    Args:
        model: keeps its values.
        problem, batch: whose loss; a tensor or a tuple of tensors (n, ...).
    """
    parts = batch if isinstance(batch, tuple) else (batch,)
    count = len(parts[0])
    form: Form = "own" if can_batch(model) else "vmap"
    stack = Stack([model] * count, form).eval()
    alone = tuple(part[:, None] for part in parts)  # a net for each example
    stack.losses(problem, alone if isinstance(batch, tuple) else alone[0]).sum().backward()  # type: ignore[no-untyped-call]
    layers: dict[str, list[torch.Tensor]] = {}
    for name, p in stack.module.named_parameters():
        if p.grad is not None:
            layers.setdefault(name.rpartition(".")[0], []).append(p.grad.reshape(count, -1).double())
    found = []
    for gradients in layers.values():
        g = torch.cat(gradients, 1)
        if not torch.isfinite(g).all():
            return None
        own = torch.linalg.eigvalsh(g @ g.T / count)
        found.append(own[own > ZERO * own[-1]])
    return torch.cat(found).numpy() if found else None


def histogram(values: Array) -> Array:
    """Shares of eigenvalues (m,) in each power of ten of `DECADES`, what lies outside in the first and the last;
    float64 (16,), its sum 1."""
    low, high = DECADES
    bins = np.clip(np.floor(np.log10(values)) - low, 0, high - low - 1).astype(int)
    return np.bincount(bins, minlength=high - low) / len(values)


def fisher_of(model: nn.Module, problem: Problem, batch: Any) -> list[float] | None:
    """The histogram, plain; None where there are no eigenvalues, or gradients that are not finite."""
    values = eigenvalues(model, problem, batch)
    return None if values is None or not len(values) else histogram(values).tolist()
