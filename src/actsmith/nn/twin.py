"""A node under torch's transforms: plain torch operations, and under vmap the compiled route again.

torch.func gives a transform what an operation's plain twin does; under vmap it gives the tensors themselves, each with
its batch dimension, one level below. There the batch is one more dimension of the elementwise inputs, and of the
parameters, where these are batched, the channels: a node again, which a kernel computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function

from actsmith.nn.nodes import ELEMENTWISE, Derived, tangents
from actsmith.nn.private import front

if TYPE_CHECKING:
    from actsmith.nn.family import Node

__all__ = ["Twin", "batched", "channel_layout"]


class Twin(Function):
    """A node in plain torch: reverse and forward mode, any order; under vmap by `Fused.call` of all entries at once."""

    @staticmethod
    def forward(node: Node, *tensors: Tensor) -> Any:
        return node.evaluate(tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.node, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        needed = tuple(ctx.needs_input_grad[1:])
        derived = ctx.node.gradients(tuple(c is not None for c in cotangents), needed)
        return None, *_derivatives(ctx.node, derived, ctx.saved_tensors, cotangents)

    @staticmethod
    def jvp(ctx: Any, *given: Any) -> Any:
        derived = tangents(ctx.node.spec, [t is not None for t in given[1:]])
        return _derivatives(ctx.node, derived, ctx.saved_tensors, given[1:])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], node: Node, *tensors: Tensor) -> Any:
        results = batched(node, info.batch_size, in_dims[1:], tensors)
        return tuple(results), (0,) * len(node.spec.results)


def _derivatives(
    node: Node, derived: Derived, tensors: Sequence[Tensor], given: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """Each target of a derivative, differentiable itself."""
    if derived.spec is None:
        return (None,) * len(derived.targets)
    everything = [*tensors, *(g for g in given if g is not None)]
    results = Twin.apply(node.of.node(derived.spec), *(everything[s] for s in derived.sources))
    return tuple(None if target is None else results[target] for target in derived.targets)


def batched(node: Node, size: int, dims: Sequence[int | None], tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """The results of `size` entries (a `Rule`, after the node)."""
    spec = node.spec
    split = spec.elementwise
    a = [front(t, dim, size) for t, dim in zip(tensors[:split], dims, strict=False)]
    if all(dim is None for dim in dims[split:]) and all(r.into == ELEMENTWISE for r in spec.results):
        return node.fused.call((*a, *tensors[split:]))
    given = [front(t, dim, size) for t, dim in zip(tensors[split:], dims[split:], strict=True)]
    ones = [1] * (a[0].ndim - 1)
    if all(t.numel() == size for t in given):  # a number for each entry
        results = node.fused.call((*a, *(t.reshape(size, *ones) for t in given)))
    else:
        a = [t.contiguous() for t in a]
        b = [t.reshape(size, *ones[t.ndim - 1 :], *t.shape[1:]) for t in given]
        if size == 0 or channel_layout(a[0], b) is not None:
            results = node.fused.call((*a, *b))
        else:  # channels that are not next to the batch: no kernel's layout, but each entry is
            entries = [node.fused.call([t[i] for t in (*a, *b)]) for i in range(size)]
            results = [torch.stack(parts) for parts in zip(*entries, strict=True)]
    return [
        r if of.into == ELEMENTWISE or r.shape == given[of.into].shape else r.reshape(given[of.into].shape)
        for r, of in zip(results, spec.results, strict=True)
    ]


def channel_layout(x: Tensor, broadcast: Sequence[Tensor]) -> tuple[int, int] | None:
    """(C, inner): element j of x's memory belongs to channel (j / inner) % C. None where it is not so simple.

    The channels are one dimension of x, or neighbouring ones of a contiguous x.
    """
    shape = broadcast[0].shape
    lead = x.ndim - len(shape)
    if any(t.shape != shape for t in broadcast) or lead < 0:
        return None
    dims = [lead + i for i, size in enumerate(shape) if size != 1]
    if not dims or x.shape[dims[0] : dims[-1] + 1] != shape[dims[0] - lead : dims[-1] + 1 - lead]:
        return None
    count = shape[dims[0] - lead : dims[-1] + 1 - lead].numel()
    if x.is_contiguous():
        return count, x.shape[dims[-1] + 1 :].numel()
    return (count, x.stride(dims[0])) if len(dims) == 1 else None
