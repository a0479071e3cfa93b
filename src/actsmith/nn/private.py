"""All that is used of torch without torch's promise; tests/nn/test_private.py says of each what it must do.

The dispatcher's questions decide in a fraction of a microsecond whether a kernel may serve. `below` is what an
operation does where vmap is the innermost transform: its rule, one level below. torch's own way there, an operation
with a `vmap` method, costs 0.2 ms a call in Python, this one a tenth. A module's tables hold what its attributes read.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._C import _functorch as functorch
from torch.autograd import Function, forward_ad
from torch.optim import Optimizer

__all__ = [
    "HOOKS", "PASSED", "Rule", "below", "buffers_of", "calls_modules", "children_of", "compiled_call", "dispatch_keys",
    "front", "had_scheduler", "innermost_vmap", "inside_compiled", "is_compiled", "observed", "onednn_linear",
    "parameters_of", "plain_apply", "run_by_dynamo", "set_compiled_call", "transforming", "version_of",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])

# ------------------------------------------------------------------------------------------------ the dispatcher

dispatch_keys = torch._C._dispatch_keys
"""tensor -> a set of keys, with the whole number `raw_repr()`: equal for tensors of one kind alone."""

_functorch_active = torch._C._are_functorch_transforms_active
_modes = torch._C._len_torch_dispatch_stack
_tracing = torch._C._get_tracing_state


def observed() -> bool:
    """Whether something transforms or traces what happens now: it must see plain torch operations."""
    return _functorch_active() or _modes() > 0 or forward_ad._current_level >= 0 or _tracing() is not None


def plain_apply(operation: type[Function]) -> Callable[..., Any]:
    """`operation.apply` without its questions about transforms, which `observed` has asked."""
    apply: Callable[..., Any] = super(Function, operation).apply  # type: ignore[misc]
    return apply


def version_of(x: Tensor) -> int:
    """How often a tensor was changed in place; 0 where that is not counted."""
    return 0 if x.is_inference() else x._version


def onednn_linear(x: Tensor, weight: Tensor) -> Tensor:
    """x W^T by oneDNN, for float32 on the CPU; nothing that autograd knows.

    Raises:
        AttributeError: this torch has no such operation.
    """
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return found


# ------------------------------------------------------------------------------------------------ transforms

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


# ------------------------------------------------------------------------------------------------ modules

HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs",
)  # fmt: skip
"""The attributes of a module in which its hooks stand, to which their handles refer."""

PASSED = (
    "torch.overrides", "torch.nn.functional", "torch._jit_internal", "torch.functional", "torch._tensor",
    "torch.special",
)  # fmt: skip
"""Modules of torch whose frames stand between a call of a function and the mode that sees it."""


def children_of(module: nn.Module) -> dict[str, nn.Module | None]:
    """The module's table of children, in their order: to exchange one under a name that is no attribute's."""
    return module._modules


def parameters_of(module: nn.Module) -> dict[str, nn.Parameter | None]:
    """The module's table of parameters."""
    return module._parameters


def buffers_of(module: nn.Module) -> dict[str, Tensor | None]:
    """The module's table of buffers; of a scripted module no dictionary."""
    return module._buffers


def compiled_call(module: nn.Module) -> Callable[..., Any] | None:
    """What `module.compile()` made of the module's call; None where it was not called."""
    call: Callable[..., Any] | None = getattr(module, "_compiled_call_impl", None)
    return call


def set_compiled_call(module: nn.Module, call: Callable[..., Any] | None) -> None:
    """Let a module run as plain Python (None), or again what was compiled."""
    module._compiled_call_impl = call


def inside_compiled(model: nn.Module) -> nn.Module:
    """The module inside torch.compile's wrapper; another module itself."""
    inner = getattr(model, "_orig_mod", None)
    return inner if type(model).__name__ == "OptimizedModule" and isinstance(inner, nn.Module) else model


def is_compiled(module: nn.Module) -> bool:
    """Whether a call of the module runs what torch.compile made, in either form."""
    return compiled_call(module) is not None or inside_compiled(module) is not module


def calls_modules(frame: types.FrameType) -> bool:
    """Whether the frame is that of a module's `__call__`, which stands between a forward and its caller."""
    return frame.f_globals.get("__name__") == "torch.nn.modules.module" and frame.f_code.co_name.endswith("_call_impl")


def had_scheduler(optimizer: Optimizer) -> bool:
    """Whether a learning-rate scheduler was built on the optimiser."""
    return bool(getattr(optimizer.step, "_wrapped_by_lr_sched", False))
