"""The compiled route of a node: one autograd operation over one kernel, forward, and one for all gradients together.

Here every microsecond counts: an activation of a thousand elements takes less time than the Python around it. So the
operation of each node is a class of its own, kernels are found by dtype, and what a kernel cannot serve (transforms,
tracers, tensor subclasses) is found out by a few cheap questions. Tensors on another device than the CPU go through
the same operation to a function that torch.compile made (`actsmith.nn.inductor`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function

from actsmith.nn.backend import _state, kernels_lost
from actsmith.nn.compiler import CannotCompile
from actsmith.nn.inductor import Compiled, where
from actsmith.nn.inductor import build as build_elsewhere
from actsmith.nn.kernel import THREADED_FROM, Kernel, build, run, threads
from actsmith.nn.nodes import ELEMENTWISE
from actsmith.nn.private import below, dispatch_keys, innermost_vmap, observed, plain_apply
from actsmith.nn.twin import Twin, batched, channel_layout

if TYPE_CHECKING:
    from actsmith.nn.family import Node

__all__ = ["Fused", "takes"]

_grad_enabled = torch.is_grad_enabled
_empty_like = torch.empty_like
_ONE = (True,)

ROWS_FROM = 512
"""Neighbouring elements of one channel from which on a kernel takes them as a tensor of their own."""


def _plain_keys(device: torch.device) -> frozenset[int]:
    """What the dispatcher says of ordinary dense tensors of a device, outside inference mode and inside."""
    with torch.inference_mode():
        inference = torch.empty(0, device=device)
    return frozenset(dispatch_keys(t).raw_repr() for t in (torch.empty(0, device=device), inference))


_PLAIN = _plain_keys(torch.device("cpu"))
_PLAIN_ELSEWHERE: dict[str, frozenset[int]] = {"meta": frozenset()}  # by device type; nothing is computed on meta
_TYPES = frozenset({Tensor, torch.nn.Parameter})
_DTYPES = frozenset({torch.float32, torch.float64, torch.bfloat16, torch.float16})


class Fused:
    """A node on the compiled route, where there can be one."""

    def __init__(self, node: Node) -> None:
        spec = node.spec
        self.node = node
        self.native = node.native
        self.split = spec.elementwise
        self.like = [0 if r.into == ELEMENTWISE else spec.elementwise + r.into for r in spec.results]
        self.scalar: dict[torch.dtype, Kernel] = {}  # kernels for parameters of one number
        self.kernels: dict[tuple[torch.dtype, bool], Kernel | None] = {}
        self.elsewhere: dict[tuple[torch.dtype, bool, torch.device], Compiled | None] = {}
        self.backwards: dict[Any, Callable[..., Sequence[Tensor | None]]] = {}
        self.apply = _operation(self)

    def call(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The results, differentiable."""
        if observed() or not takes(tensors) or _state.route == "composite":
            return self._transformed(tensors)
        if _grad_enabled():
            for t in tensors:
                if t.requires_grad:
                    return self.apply(*tensors)
        return self.compute(tensors)

    def _transformed(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        top = innermost_vmap()
        if top is not None:
            return below(top, partial(batched, self.node), self.call, tensors)
        results: Sequence[Tensor] = Twin.apply(self.node, *tensors)
        return results

    def compute(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The results, by the kernel or its twin."""
        if self.native is not None:
            return (self.native(tensors[0]),)
        x, split = tensors[0], self.split
        kernel = self.scalar.get(x.dtype)
        if kernel is None or _state.inductor or not x.is_cpu:
            return self.compute_any(tensors)
        wide = kernel.wide
        for t in tensors[:split]:
            if not t.is_contiguous():
                return self.compute_any(tensors)
        for t in tensors[split:]:
            if t.dtype is not wide or t.numel() != 1:
                return self.compute_any(tensors)
        results = [_empty_like(tensors[i]) for i in self.like]
        n = x.numel()
        if n < THREADED_FROM:
            failed = kernel.short(n, 1, 1, n, *[t.data_ptr() for t in tensors], *[t.data_ptr() for t in results])
        else:
            failed = kernel.long(n, threads(), 1, n, *[t.data_ptr() for t in tensors], *[t.data_ptr() for t in results])
        if failed:
            raise MemoryError(f"activation {self.node.of.formula.name}: no memory for the partial sums")
        return results

    def compute_any(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The same for any device, tensors of any strides, and parameters of any dtype or one for each channel."""
        node, split, x = self.node, self.split, tensors[0]
        layout: tuple[int, int] | None = None
        ready = _alike(tensors[:split])
        if any(t.numel() != 1 for t in tensors[split:]):
            layout = channel_layout(ready[0], tensors[split:])
            if layout is None:
                return node.evaluate(tensors)
        own = x.is_cpu and not _state.inductor
        mixed = layout is not None and layout[1] < ROWS_FROM
        kernel = self.kernel(x.dtype, mixed) if own else self.compiled(x, layout is not None)
        if kernel is None:
            return node.evaluate(tensors)
        ready += [t.to(kernel.wide).contiguous() for t in tensors[split:]]
        if isinstance(kernel, Compiled):
            try:
                results = kernel.run(ready, layout)
            except CannotCompile as error:
                self.elsewhere[x.dtype, layout is not None, x.device] = None
                kernels_lost(where(node, x.device), str(error))
                return node.evaluate(tensors)
        else:
            results = run(node, kernel, ready, layout)
        return [
            r if r.dtype == tensors[i].dtype else r.to(tensors[i].dtype)
            for r, i in zip(results, self.like, strict=True)
        ]

    def fill(self, tensors: Sequence[Tensor], results: Sequence[Tensor]) -> bool:
        """Let the kernel write into contiguous memory; False where it cannot serve contiguous `tensors`."""
        x, split = tensors[0], self.split
        if any(t.numel() != 1 for t in tensors[split:]):
            return False
        own = x.is_cpu and not _state.inductor
        kernel = self.kernel(x.dtype, False) if own else self.compiled(x, False)
        if kernel is None or any(t.dtype is not kernel.wide for t in tensors[split:]):
            return False
        if isinstance(kernel, Compiled):
            try:
                kernel.run(tensors, None, results)
            except CannotCompile:  # which `compute_any` meets, too, and says
                return False
            return True
        n = x.numel()
        function = kernel.short if n < THREADED_FROM else kernel.long
        count = 1 if n < THREADED_FROM else threads()
        if function(n, count, 1, n, *[t.data_ptr() for t in tensors], *[t.data_ptr() for t in results]):
            raise MemoryError(f"activation {self.node.of.formula.name}: no memory for the partial sums")
        return True

    def kernel(self, dtype: torch.dtype, channels: bool) -> Kernel | None:
        """The generated C of this dtype, made when first asked for."""
        key = (dtype, channels)
        if key not in self.kernels:
            self.kernels[key] = build(self.node, dtype, channels)
        found = self.kernels[key]
        if found is not None and not channels:
            self.scalar[dtype] = found
        return found

    def compiled(self, x: Tensor, channels: bool) -> Compiled | None:
        """Inductor's function for x's dtype and device, made when first asked for."""
        key = (x.dtype, channels, x.device)
        if key not in self.elsewhere:
            self.elsewhere[key] = build_elsewhere(self.node, *key)
        return self.elsewhere[key]


def takes(tensors: Sequence[Tensor]) -> bool:
    """Whether all are ordinary dense tensors on one device, as far as the dispatcher knows, in a dtype of ours."""
    for t in tensors:
        if type(t) not in _TYPES or dispatch_keys(t).raw_repr() not in _PLAIN or t.dtype not in _DTYPES:
            return not t.is_cpu and _takes_elsewhere(tensors)
    return True


def _takes_elsewhere(tensors: Sequence[Tensor]) -> bool:
    device = tensors[0].device
    if any(type(t) not in _TYPES or t.device != device or t.dtype not in _DTYPES for t in tensors):
        return False
    if device.type not in _PLAIN_ELSEWHERE:
        _PLAIN_ELSEWHERE[device.type] = _plain_keys(device)
    return all(dispatch_keys(t).raw_repr() in _PLAIN_ELSEWHERE[device.type] for t in tensors)


def _alike(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of one shape in x's memory order where x is dense, else contiguous."""
    x = tensors[0]
    if x.is_contiguous() or not torch.ops.aten.is_non_overlapping_and_dense(x):
        return [t.contiguous() for t in tensors]
    strides = x.stride()
    return [t if t.stride() == strides else torch.empty_like(x).copy_(t) for t in tensors]


def _operation(fused: Fused) -> Callable[..., tuple[Tensor, ...]]:
    """The node as an autograd operation of its own class."""

    several = len(fused.node.spec.results) > 1

    class Operation(Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Tensor) -> Any:
            ctx.save_for_backward(*tensors)
            if several:
                ctx.set_materialize_grads(False)
            return tuple(fused.compute(tensors))

        @staticmethod
        def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
            needed = ctx.needs_input_grad
            given = tuple([c is not None for c in cotangents]) if several else _ONE
            step = fused.backwards.get((given, needed))
            if step is None:
                step = fused.backwards[given, needed] = _backward(fused, given, needed)
            return step(ctx.saved_tensors, cotangents)

    Operation.__name__ = Operation.__qualname__ = f"Fused_{fused.node.of.formula.name}"
    return plain_apply(Operation)


def _backward(
    fused: Fused, given: tuple[bool, ...], needed: tuple[bool, ...]
) -> Callable[[Sequence[Tensor], Sequence[Tensor | None]], Sequence[Tensor | None]]:
    """How to get the gradients of an operation, for these cotangents and these inputs."""
    derived = fused.node.gradients(given, needed)
    targets = derived.targets
    if derived.spec is None:
        return lambda tensors, cotangents: (None,) * len(targets)
    child, sources = fused.node.of.node(derived.spec).fused, derived.sources
    all_in_order = targets == tuple(range(len(targets)))

    def step(tensors: Sequence[Tensor], cotangents: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        present = [c for c in cotangents if c is not None]
        everything = [*tensors, *present]
        inputs = [everything[s] for s in sources]
        if _grad_enabled() or observed() or not takes(present) or _state.route == "composite":
            results = child.call(inputs)
        else:
            results = child.compute(inputs)
        return tuple(results) if all_in_order else tuple([None if t is None else results[t] for t in targets])

    return step
