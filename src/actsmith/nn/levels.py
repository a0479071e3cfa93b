"""What an operation does where vmap is the innermost transform: its rule, one level below.

torch's own way there, `torch.autograd.Function` with a `vmap` method, costs 0.2 ms a call in Python; this one a tenth.
What is private to torch in it stands in this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import Tensor
from torch._C import _functorch as functorch

__all__ = ["Rule", "below", "front", "innermost_vmap", "run_by_dynamo", "transforming"]

F = TypeVar("F", bound=Callable[..., Any])

Rule = Callable[[int, Sequence[int | None], Sequence[Tensor]], Sequence[Tensor]]
"""(size of the batch, batch dimension of each tensor, tensors) -> results with the batch in dimension 0."""

_VMAP = functorch.TransformType.Vmap


def innermost_vmap() -> Any:
    """The innermost transform of torch.func, if it is vmap; else None."""
    top = functorch.peek_interpreter_stack()
    return top if top is not None and top.key() == _VMAP else None


def run_by_dynamo(function: F) -> F:
    """Dynamo runs the function while it traces, takes what it returns for a constant, and does not look inside.

    torch.compiler.assume_constant_result without its import of Dynamo, which takes a second.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@run_by_dynamo
def transforming() -> bool:
    """Whether a transform of torch.func is active. Dynamo enters the transforms that it traces."""
    return functorch.peek_interpreter_stack() is not None


def below(
    top: Any, rule: Rule, unbatched: Callable[[Sequence[Tensor]], Sequence[Tensor]], tensors: Sequence[Tensor]
) -> Sequence[Tensor]:
    """The rule's results under the vmap `top`, or where no tensor has its batch, those of `unbatched`."""
    level = top.level()
    pairs = [functorch._unwrap_batched(functorch.unwrap_if_dead(t), level) for t in tensors]
    inner, dims = [t for t, _ in pairs], [dim for _, dim in pairs]
    size = functorch.CVmapInterpreterPtr(top).batchSize()
    layer = functorch.pop_dynamic_layer_stack()
    try:
        if all(dim is None for dim in dims):
            return unbatched(inner)
        results = rule(size, dims, inner)
    finally:
        functorch.push_dynamic_layer_stack(layer)
    return [functorch._add_batch_dim(r, 0, level) for r in results]


def front(t: Tensor, dim: int | None, size: int) -> Tensor:
    """t with its batch in dimension 0, repeated where it has none."""
    if dim is None:
        return t.expand(size, *t.shape)
    return t.movedim(dim, 0) if dim else t  # the gradient of a view would be copied
