"""The compiled route of a node: one autograd operation over one kernel, forward, and one for all gradients together.

Here every microsecond counts: an activation of a thousand elements takes less time than the Python around it. So the
operation of each node is a class of its own, kernels are found by dtype, and what a kernel cannot see (transforms, tracers,
other devices, tensor subclasses) is told by three cheap questions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from actsmith.nn import kernel as kernels
from actsmith.nn.backend import _state
from actsmith.nn.family import Node, Twin
from actsmith.nn.kernel import Kernel, build

__all__ = ["Fused"]

_keys = torch._C._dispatch_keys
_functorch_active = torch._C._are_functorch_transforms_active
_modes = torch._C._len_torch_dispatch_stack
_tracing = torch._C._get_tracing_state
_grad_enabled = torch.is_grad_enabled


def _plain_keys() -> frozenset[int]:
    """What the dispatcher says of ordinary dense CPU tensors, outside inference mode and inside."""
    with torch.inference_mode():
        inference = torch.empty(0, device="cpu")
    return frozenset(_keys(t).raw_repr() for t in (torch.empty(0, device="cpu"), inference))


_PLAIN = _plain_keys()
_TYPES = frozenset({Tensor, torch.nn.Parameter})
_DTYPES = frozenset({torch.float32, torch.float64, torch.bfloat16, torch.float16})


def _observed() -> bool:
    """Whether something transforms or traces what happens now: it must see plain torch operations."""
    return _functorch_active() or forward_ad._current_level >= 0 or _modes() > 0 or _tracing() is not None


class Fused:
    """A node on the compiled route, where there can be one."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.kernels: dict[tuple[torch.dtype, bool], Kernel | None] = {}
        self.backwards: dict[Any, Callable[..., tuple[Tensor | None, ...]]] = {}
        self.apply = _operation(self)

    def value(self, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        """Of a node with the one result f(x, theta): that result, differentiable."""
        return self.call((x, *theta))[0]

    def call(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The results, differentiable."""
        if _state.route == "composite" or not takes(tensors) or _observed():
            return Twin.apply(self.node, *tensors)  # type: ignore[no-any-return]
        if _grad_enabled() and any([t.requires_grad for t in tensors]):
            return self.apply(*tensors)
        return self.compute(tensors)

    def compute(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The results, by the kernel or its twin."""
        node, x = self.node, tensors[0]
        split = node.spec.elementwise
        layout: tuple[int, int] | None = None
        for t in tensors[split:]:
            if t.numel() != 1:
                layout = channel_layout(x, tensors[split:])
                if layout is None:
                    return node.evaluate(tensors)
                break
        key = (x.dtype, layout is not None)
        kernel = self.kernels.get(key, self)
        if kernel is self:
            kernel = self.kernels[key] = build(node, x.dtype, layout is not None)
        if kernel is None:
            return node.evaluate(tensors)
        assert isinstance(kernel, Kernel)
        return self.run(kernel, tensors, split, layout)

    def run(
        self, kernel: Kernel, tensors: Sequence[Tensor], split: int, layout: tuple[int, int] | None
    ) -> tuple[Tensor, ...]:
        """The results by the kernel, from tensors of any strides and parameters of any dtype."""
        ready = list(tensors)
        x = tensors[0]
        if x.is_contiguous():
            for i in range(1, split):
                if not ready[i].is_contiguous():
                    ready[i] = ready[i].contiguous()
        else:
            ready[:split] = _alike(ready[:split])
            if layout is not None:
                layout = channel_layout(ready[0], tensors[split:])
        narrow = False
        for i in range(split, len(ready)):
            t = ready[i]
            if t.dtype is not kernel.wide:
                ready[i], narrow = t.to(kernel.wide), True
            elif not t.is_contiguous():
                ready[i] = t.contiguous()
        results = kernels.run(self.node, kernel, ready, layout)
        if not narrow:
            return results
        into = [r.into for r in self.node.spec.results]
        return tuple(y if i < 0 else y.to(tensors[split + i].dtype) for y, i in zip(results, into, strict=True))


def takes(tensors: Sequence[Tensor]) -> bool:
    """Whether all are ordinary dense tensors on the CPU, as far as the dispatcher knows, in a dtype of ours."""
    for t in tensors:
        if type(t) not in _TYPES or _keys(t).raw_repr() not in _PLAIN or t.dtype not in _DTYPES:
            return False
    return True


def channel_layout(x: Tensor, broadcast: Sequence[Tensor]) -> tuple[int, int] | None:
    """(C, inner): element j of x's memory belongs to channel (j / inner) % C. None where it is not so simple."""
    shape = broadcast[0].shape
    if any(t.shape != shape for t in broadcast) or len(shape) > x.ndim:
        return None
    dims = [i - len(shape) for i, size in enumerate(shape) if size != 1]
    if len(dims) != 1 or x.shape[dims[0]] != shape[dims[0]]:
        return None
    count = shape[dims[0]]
    if x.is_contiguous():
        return count, math.prod(x.shape[dims[0] :][1:])
    return count, x.stride(dims[0])


def _alike(tensors: list[Tensor]) -> list[Tensor]:
    """Tensors of one shape in x's memory order where x is dense, else contiguous."""
    x = tensors[0]
    if not torch.ops.aten.is_non_overlapping_and_dense(x):
        return [t.contiguous() for t in tensors]
    strides = x.stride()
    return [t if t.stride() == strides else torch.empty_like(x).copy_(t) for t in tensors]


def _operation(fused: Fused) -> Callable[..., tuple[Tensor, ...]]:
    """The node as an autograd operation of its own class."""

    class Operation(Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Tensor) -> Any:
            ctx.save_for_backward(*tensors)
            ctx.set_materialize_grads(False)
            return fused.compute(tensors)

        @staticmethod
        def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
            needed = ctx.needs_input_grad
            given = tuple([c is not None for c in cotangents])
            step = fused.backwards.get((given, needed))
            if step is None:
                step = fused.backwards[given, needed] = _backward(fused, given, needed)
            return step(ctx.saved_tensors, cotangents)

    Operation.__name__ = Operation.__qualname__ = f"Fused_{fused.node.of.formula.name}"
    # Past `Function.apply`, whose questions about transforms `Fused.call` has asked already.
    apply: Callable[..., tuple[Tensor, ...]] = super(Function, Operation).apply
    return apply


def _backward(
    fused: Fused, given: tuple[bool, ...], needed: tuple[bool, ...]
) -> Callable[[Sequence[Tensor], Sequence[Tensor | None]], tuple[Tensor | None, ...]]:
    """How to get the gradients of an operation, for these cotangents and these inputs."""
    derived = fused.node.gradients(given, needed)
    targets = derived.targets
    if derived.spec is None:
        return lambda tensors, cotangents: (None,) * len(targets)
    child, sources = fused.node.of.node(derived.spec).fused, derived.sources

    def step(tensors: Sequence[Tensor], cotangents: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        everything = [*tensors, *[c for c in cotangents if c is not None]]
        inputs = [everything[s] for s in sources]
        results = child.call(inputs) if _grad_enabled() or not takes(inputs) or _observed() else child.compute(inputs)
        return tuple([None if t is None else results[t] for t in targets])

    return step
