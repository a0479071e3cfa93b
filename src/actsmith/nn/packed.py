"""A node whose elementwise tensors lie in packs: slices of a few tensors, which nobody copies to take them apart.

A jet is one tensor, its slots in dimension 0. An activation of it is one kernel from one pack to one pack, and so is
its vector-Jacobian product, again an operation of this kind: closed under differentiation, as the nodes are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function

from actsmith.nn.backend import _state
from actsmith.nn.fused import takes
from actsmith.nn.nodes import ELEMENTWISE
from actsmith.nn.private import below, front, innermost_vmap, observed, plain_apply

if TYPE_CHECKING:
    from actsmith.nn.family import Node

__all__ = ["Packed", "Packs"]


@dataclass(frozen=True)
class Packs:
    """Where the elementwise tensors of a node lie.

    Attributes:
        sizes: slices of each input pack.
        places: of each elementwise input of the node, the pack and the slice.
        rows: for each output pack, of each of its slices the node's result; None for zeros.
    """

    sizes: tuple[int, ...]
    places: tuple[tuple[int, int], ...]
    rows: tuple[tuple[int | None, ...], ...]


class Packed:
    """A node over packs.

    Inputs are the packs, then the node's broadcast inputs; results the packs, then the node's sums in their order.
    """

    def __init__(self, node: Node, packs: Packs) -> None:
        self.node, self.packs = node, packs
        self.sums = [i for i, r in enumerate(node.spec.results) if r.into != ELEMENTWISE]
        self._backwards: dict[Any, _Backward] = {}
        self.first: _Backward | None = None
        self.apply = _operation(self)

    def prepare(self) -> None:
        """Make the first gradient, which torch.compile must find."""
        inputs = len(self.packs.sizes) + self.node.spec.broadcast
        self.first = self.backward((True,) * (len(self.packs.rows) + len(self.sums)), (True,) * inputs)

    def __call__(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The results, differentiable to any order."""
        if torch.compiler.is_compiling():
            results: Sequence[Tensor] = _Traced.apply(self, self.first, *tensors)
            return results
        if observed() or not takes(tensors) or _state.route == "composite":
            top = None if self.sums else innermost_vmap()
            if top is not None:
                return below(top, self._batched, self, tensors)
            return self._joined(self.node.fused.call(self._apart(tensors)), tensors)
        if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
            return self.apply(*tensors)
        return self.compute(tensors)

    def compute(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The results by the kernel, written where they belong."""
        count, fused = len(self.packs.sizes), self.node.fused
        tensors = [*(t.contiguous() for t in tensors[:count]), *tensors[count:]]
        apart = self._apart(tensors)
        like, broadcast = tensors[0], tensors[count:]
        packs = [_memory(rows, like) for rows in self.packs.rows]
        results: list[Any] = [None] * len(self.node.spec.results)
        for rows, pack in zip(self.packs.rows, packs, strict=True):
            for row, result in enumerate(rows):
                if result is not None:
                    results[result] = pack[row]
        sums = [torch.empty_like(broadcast[self.node.spec.results[i].into]) for i in self.sums]
        for i, total in zip(self.sums, sums, strict=True):
            results[i] = total
        if not fused.fill(apart, results):
            for result, value in zip(results, fused.compute_any(apart), strict=True):
                result.copy_(value)
        return [*packs, *sums]

    def evaluate(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The same in plain torch."""
        return tuple(self._joined(self.node.evaluate(self._apart(tensors)), tensors))

    def backward(self, given: tuple[bool, ...], needed: tuple[bool, ...]) -> _Backward:
        """How to get the gradients, for the results that have a cotangent and the inputs that need one."""
        key = (given, needed)
        if key not in self._backwards:
            self._backwards[key] = _Backward(self, given, needed)
        return self._backwards[key]

    def _batched(self, size: int, dims: Sequence[int | None], tensors: Sequence[Tensor]) -> list[Tensor]:
        """The `Rule` under vmap: the batch is one more dimension of the slices, and of parameters that have it."""
        count = len(self.packs.sizes)
        packs = [
            t.unsqueeze(1).expand(len(t), size, *t.shape[1:]) if dim is None else t.movedim(dim, 1)
            for t, dim in zip(tensors[:count], dims, strict=False)
        ]
        rest = list(tensors[count:])
        if any(dim is not None for dim in dims[count:]):
            ndim = packs[0].ndim - 2
            for i, dim in enumerate(dims[count:]):
                shape = rest[i].shape if dim is None else front(rest[i], dim, size).shape[1:]
                ones = [1] * ndim if shape.numel() == 1 else [*[1] * (ndim - len(shape)), *shape]
                rest[i] = front(rest[i], dim, size).reshape(size, *ones)
        return [out.movedim(1, 0) for out in self((*packs, *rest))]

    def _apart(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        count = len(self.packs.sizes)
        return [*(tensors[pack][row] for pack, row in self.packs.places), *tensors[count:]]

    def _joined(self, results: Sequence[Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
        zero = torch.zeros_like(tensors[0][0]) if any(None in rows for rows in self.packs.rows) else tensors[0]
        packs = [torch.stack([zero if i is None else results[i] for i in rows]) for rows in self.packs.rows]
        return [*packs, *(results[i] for i in self.sums)]


class _Backward:
    """The vector-Jacobian product of a packed node, for some cotangents and some inputs."""

    def __init__(self, of: Packed, given: tuple[bool, ...], needed: tuple[bool, ...]) -> None:
        node, packs = of.node, of.packs
        outs, count = len(packs.rows), len(packs.sizes)
        has = dict(zip(of.sums, given[outs:], strict=True))  # whether a result has a cotangent
        for rows, there in zip(packs.rows, given[:outs], strict=True):
            has |= {result: there for result in rows if result is not None}
        results = range(len(node.spec.results))
        wanted = tuple(needed[pack] for pack, _ in packs.places) + needed[count:]
        derived = node.gradients(tuple(has[i] for i in results), wanted)
        self.nothing = (None,) * len(needed)
        self.child: Packed | None = None
        if derived.spec is None:
            return
        present = [i for i in results if has[i]]
        self.inputs = list(range(count))  # of the child, counted through the inputs and then the cotangents
        at = dict(enumerate(packs.places))  # where an elementwise source lies
        first, before = node.spec.elementwise, node.spec.elementwise + node.spec.broadcast
        for p, rows in enumerate(packs.rows):
            if given[p]:
                own = {result: (len(self.inputs), row) for row, result in enumerate(rows) if result is not None}
                at |= {before + present.index(result): place for result, place in own.items()}
                self.inputs.append(len(needed) + p)
        sizes = tuple(packs.sizes[i] if i < count else len(packs.rows[i - len(needed)]) for i in self.inputs)
        elementwise = derived.sources[: derived.spec.elementwise]
        for source in derived.sources[len(elementwise) :]:
            past = None if source < before else len(needed) + outs + of.sums.index(present[source - before])
            self.inputs.append(count + source - first if past is None else past)
        targets = {place: derived.targets[i] for i, place in enumerate(packs.places)}
        into = [tuple(targets.get((pack, row)) for row in range(packs.sizes[pack])) for pack in range(count)]
        kept = [i for i in range(count) if needed[i] and any(t is not None for t in into[i])]
        laid = Packs(sizes, tuple(at[s] for s in elementwise), tuple(into[i] for i in kept))
        self.child = node.of.packed(node.of.node(derived.spec), laid)
        sums = {result: len(kept) + i for i, result in enumerate(self.child.sums)}
        self.outputs: list[int | None] = [kept.index(pack) if pack in kept else None for pack in range(count)]
        self.outputs += [None if target is None else sums[target] for target in derived.targets[first:]]

    def __call__(
        self,
        tensors: Sequence[Tensor],
        cotangents: Sequence[Tensor | None],
        run: Callable[[Packed, Sequence[Tensor]], Sequence[Tensor]],
    ) -> tuple[Tensor | None, ...]:
        if self.child is None:
            return self.nothing
        everything: list[Any] = [*tensors, *cotangents]
        results = run(self.child, [everything[i] for i in self.inputs])
        return tuple(None if i is None else results[i] for i in self.outputs)


def _memory(rows: Sequence[int | None], like: Tensor) -> Tensor:
    made = torch.empty((len(rows), *like.shape[1:]), dtype=like.dtype, device=like.device)
    for row, result in enumerate(rows):
        if result is None:
            made[row].zero_()
    return made


def _operation(packed: Packed) -> Callable[..., tuple[Tensor, ...]]:
    """The node over packs as an autograd operation of its own class."""

    class Operation(Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Tensor) -> Any:
            ctx.save_for_backward(*tensors)
            ctx.set_materialize_grads(False)
            return tuple(packed.compute(tensors))

        @staticmethod
        def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
            step = packed.backward(tuple([c is not None for c in cotangents]), ctx.needs_input_grad)
            return step(ctx.saved_tensors, cotangents, Packed.__call__)

    Operation.__name__ = Operation.__qualname__ = f"Packed_{packed.node.of.formula.name}"
    return plain_apply(Operation)


class _Traced(Function):
    """The same for torch.compile, which sees plain torch, and knows no second derivative of it."""

    @staticmethod
    def forward(ctx: Any, packed: Packed, first: _Backward, *tensors: Tensor) -> Any:
        ctx.first = first
        ctx.save_for_backward(*tensors)
        return packed.evaluate(tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        return None, None, *ctx.first(ctx.saved_tensors, cotangents, Packed.evaluate)
