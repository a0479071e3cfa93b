"""A node on another device than the CPU: its plain torch program through torch.compile, whose Inductor writes kernels.

A node's tensors are given to it flat, or as (outer, channels, inner), so that one function with symbolic sizes serves
every shape; what a first call's sizes were decides nothing. Dynamo's guards make another kernel for another number of
threads. Results are written into memory of our own, not returned as views, which torch would not let anyone change in
place. On the CPU Inductor writes C++; there this route is tested, and there only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from actsmith.nn.backend import kernels_lost
from actsmith.nn.compiler import CannotCompile
from actsmith.nn.kernel import agrees, making, results_of, samples
from actsmith.nn.nodes import ELEMENTWISE

if TYPE_CHECKING:
    from actsmith.nn.family import Node

__all__ = ["Compiled", "build", "where"]


class Compiled:
    """A node's compiled function for one dtype and device.

    Attributes:
        wide: the dtype that broadcast inputs and sums have.
    """

    def __init__(self, node: Node, dtype: torch.dtype) -> None:
        self.node = node
        self.wide = torch.float64 if dtype == torch.float64 else torch.float32
        self._function = _function(node)

    def run(
        self, tensors: Sequence[Tensor], layout: tuple[int, int] | None, into: Sequence[Tensor] | None = None
    ) -> Sequence[Tensor]:
        """The results; elementwise tensors lie in memory like x, broadcast ones are contiguous and of `wide`.

        Args:
            tensors: the node's inputs.
            layout: channels and what is inside them; None for parameters of one number.
            into: memory for the results, which lies like x.

        Raises:
            CannotCompile: torch.compile fails, now or for a new number of threads or another kind of sizes, or the
                device's tensors have no memory of their own to be seen flat.
            torch.OutOfMemoryError: as plain torch would.
        """
        spec, x = self.node.spec, tensors[0]
        results = results_of(spec, tensors) if into is None else into
        if x.numel() < 2:  # sizes of 0 and 1 are never symbolic
            for result, value in zip(results, self.node.evaluate(tensors), strict=True):
                result.copy_(value)
            return results
        try:
            shaped = [_shaped(t, i < spec.elementwise, layout) for i, t in enumerate(tensors)]
            shaped += [_shaped(t, r.into == ELEMENTWISE, layout) for t, r in zip(results, spec.results, strict=True)]
            with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
                self._function(*shaped)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # of torch.compile, or of a device that has no storage or lacks an operation
            raise CannotCompile(f"torch.compile failed: {' '.join(str(error).split())[:300]}") from None
        return results


def build(node: Node, dtype: torch.dtype, channels: bool, device: torch.device) -> Compiled | None:
    """The compiled function, compared with its plain torch twin, or None after one warning where there can be none.

    Raises:
        ActsmithError: there can be none, and the backend is "compiled".
    """
    compiled = Compiled(node, dtype)
    with making():
        try:
            inputs = samples(node, dtype, channels, 777)
            found = compiled.run([t.to(device) for t in inputs], (3, 1) if channels else None)
            if not agrees(node, inputs, [t.cpu() for t in found], dtype):
                raise CannotCompile("what torch.compile made differs from plain torch")
        except CannotCompile as error:
            kernels_lost(where(node, device), str(error))
            return None
    return compiled


def where(node: Node, device: torch.device) -> str:
    """What is computed, for a message."""
    return f"activation {node.of.formula.name} on {device.type}"


def _function(node: Node) -> Callable[..., None]:
    """torch.compile of the node's evaluation, the results written into the last arguments."""
    count = node.spec.elementwise + node.spec.broadcast

    def evaluate(*tensors: Tensor) -> None:
        for value, result in zip(node.evaluate(tensors[:count]), tensors[count:], strict=True):
            result.copy_(value)

    # Dynamo counts compilations for each code object, which closures share, and gives up after a few.
    evaluate.__code__ = evaluate.__code__.replace(co_name=f"evaluate_{id(node)}")
    return torch.compile(evaluate, fullgraph=True, dynamic=True)


def _shaped(t: Tensor, elementwise: bool, layout: tuple[int, int] | None) -> Tensor:
    """A dense tensor's memory as (elements,) or (outer, channels, inner); a broadcast one as () or (1, channels, 1).

    Not as a view: Dynamo guards the shape of what a view is of.
    """
    channels, inner = (1, 1) if layout is None else layout
    if elementwise:
        shape = (t.numel() // (channels * inner), channels, inner)
        stride = (channels * inner, inner, 1)
    else:
        shape, stride = (1, channels, 1), (channels, 1, 1)
    count = 3 if layout else 1 if elementwise else 0  # dimensions kept, of the three
    empty = torch.empty(0, dtype=t.dtype, device=t.device)
    return empty.set_(t.untyped_storage(), t.storage_offset(), shape[:count], stride[:count])
