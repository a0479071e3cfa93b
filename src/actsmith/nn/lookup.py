"""`LookupActivation`: a formula through its own cubic table, so that nets of different formulas are one computation.

Two nets that differ in their activations alone are modules of one structure with different buffers; under
`torch.func.vmap` their activations are one kernel call, in which each net reads its own table. For exploring: learnable
parameters stay where they are.

| symbol  | meaning                                            | shape            |
|---------|----------------------------------------------------|------------------|
| L       | dimensions of nets: none, one, ...                 |                  |
| x       | pre-activations                                    | (*L, ...)        |
| tables  | see `actsmith.nn.lookup_table`                     | (*L, rows, 4)    |
| order   | of the derivative in x that is computed            |                  |
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd import Function

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.nn.backend import current, kernels_lost
from actsmith.nn.compiler import CannotCompile, Library, library
from actsmith.nn.family import compute_dtype
from actsmith.nn.fused import takes
from actsmith.nn.jet_tensor import Jet
from actsmith.nn.kernel import THREADED_FROM, making, threads
from actsmith.nn.leaf import recorded
from actsmith.nn.lookup_table import tabulate
from actsmith.nn.private import below, front, innermost_vmap, observed

__all__ = ["LookupActivation", "lookup"]

_SHORTEST = 64
"""Elements of one net that lie together; where there are fewer the tensor is copied."""


class LookupActivation(nn.Module):
    """f(x) elementwise, read from a table of cubics.

    Dtype and device of the input are kept; float16 and bfloat16 are computed in float32, and the table is float32
    always. Derivatives are those of the table itself, so they belong to its values; those above the first are the
    cubic's, rougher with each order, and 0 from the fourth on. Beyond 32 (a few fine tables: 16, 8) the function goes
    on as the polynomial that fits best there: exactly for what grows like a polynomial or saturates, not for waves.

    Learnable parameters are held at the values that the formula has: this is for comparing many formulas, not for
    training one; use `Activation` for that.

    Args:
        formula: a Formula, a catalogue name, or formula text.
        tolerance: the largest error allowed, of max(1, |f|), for |x| <= 12. The catalogue's is 1.2e-7.

    Attributes:
        table: the buffer, (4099, 4). Two modules differ in nothing else that computes.
        error: the largest that was found.

    Raises:
        ActsmithError: the table's error is above the tolerance (kinks that no grid meets, singularities, fast waves);
            in the forward pass, an input that is not floating point.

    Example:
        >>> nets = [LookupActivation("gelu"), LookupActivation("relu")]
        >>> tables = torch.stack([net.table for net in nets])
        >>> torch.func.vmap(lookup)(torch.tensor([[-1.0, 2.0], [-1.0, 2.0]]), tables)
        tensor([[-0.1587,  1.9545],
                [ 0.0000,  2.0000]])
    """

    table: Tensor

    def __init__(self, formula: FormulaLike, tolerance: float = 1e-4) -> None:
        super().__init__()
        self.formula = resolve(formula)
        made = tabulate(self.formula, tolerance)
        self.error = made.error
        self.register_buffer("table", torch.tensor(made.table))

    def forward(self, x: Any) -> Any:
        """f(x): shape, dtype and device of x."""
        proxy = recorded(self, x)
        return lookup(x, self.table) if proxy is None else proxy

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moves the table, and leaves its dtype."""
        before = self.table
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.table.dtype != torch.float32:
            self.table = before.to(self.table.device)
        return self

    def extra_repr(self) -> str:
        return f"{self.formula.text}, error {self.error:.1g}"


def lookup(x: Any, tables: Tensor) -> Any:
    """Each net's x through its own table.

    Args:
        x: (*L, ...), floating point.
        tables: (*L, rows, 4), float32; they get no gradient.

    Returns:
        Shape and dtype of x.

    Raises:
        ActsmithError: x is not floating point, tables are of another dtype or shape or require a gradient.

    Example:
        >>> tables = torch.stack([LookupActivation(name).table for name in ("tanh", "relu")])
        >>> lookup(torch.tensor([[1.0], [-3.0]]), tables)
        tensor([[0.7616],
                [0.0000]])
    """
    if isinstance(x, Jet):
        _check(x.value, tables)
        at = x.to(compute_dtype(x))
        return at.through(lambda order: _derivative(at.value, tables, order)).to(x.dtype)
    _check(x, tables)
    return _derivative(x.to(compute_dtype(x)), tables, 0).to(x.dtype)


def _check(x: Any, tables: Tensor) -> None:
    lead = tables.ndim - 2
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = f"a tensor of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise ActsmithError(f"lookup: got {got}; expected a floating-point tensor")
    if lead < 0 or tables.shape[-1] != 4 or tables.dtype != torch.float32 or tables.shape[:lead] != x.shape[:lead]:
        raise ActsmithError(
            f"lookup: got x {tuple(x.shape)} and tables {tuple(tables.shape)} of {tables.dtype}; "
            "expected x (nets, ...) and float32 tables (nets, rows, 4)"
        )
    if tables.requires_grad:
        raise ActsmithError("lookup: tables are held as they are, got some that require a gradient; detach them")


def _derivative(x: Tensor, tables: Tensor, order: int) -> Tensor:
    """D^order, by the kernel or its twin, differentiable."""
    if torch.compiler.is_compiling():
        return _evaluate(x, tables, order)
    if not _ordinary(x, tables):
        top = innermost_vmap()
        if top is None:
            return _evaluate(x, tables, order)

        def unbatched(inner: Sequence[Tensor]) -> list[Tensor]:
            return [_derivative(inner[0], inner[1], order)]

        return below(top, lambda *given: _batched(order, *given), unbatched, (x, tables))[0]
    kernel = _kernel(x.dtype, order)
    if kernel is None:
        return _evaluate(x, tables, order)
    if x.requires_grad and torch.is_grad_enabled():
        result: Tensor = _Operation.apply(x, tables, order, kernel)
        return result
    return _compute(kernel, x, None, tables)


def _ordinary(*tensors: Tensor) -> bool:
    """Whether a kernel may see these tensors."""
    return not observed() and current() != "composite" and tensors[0].is_cpu and takes(tensors)


def _batched(order: int, size: int, dims: Sequence[int | None], tensors: Sequence[Tensor]) -> list[Tensor]:
    """The `Rule` under vmap: the batch is a dimension of nets, where the tables have it."""
    (x, tables), (x_dim, dim) = tensors, dims
    if dim is not None:
        return [_derivative(front(x, x_dim, size), front(tables, dim, size), order)]
    assert x_dim is not None
    lead = tables.ndim - 2
    return [_derivative(x.movedim(x_dim, lead) if x_dim != lead else x, tables, order).movedim(lead, 0)]


class _Operation(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, tables: Tensor, order: int, kernel: Library) -> Tensor:
        ctx.order = order
        ctx.save_for_backward(x, tables)
        return _compute(kernel, x, None, tables)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, tables = ctx.saved_tensors
        order = ctx.order + 1
        kernel = None if torch.is_grad_enabled() or not _ordinary(x, g) else _kernel(x.dtype, order)
        if kernel is None:
            return g * _derivative(x, tables, order), None, None, None
        return _compute(kernel, x, g, tables), None, None, None


def _evaluate(x: Tensor, tables: Tensor, order: int) -> Tensor:
    """D^order in plain torch, which autograd can differentiate further."""
    lead, half = tables.ndim - 2, (tables.shape[-2] - 3) // 2
    shift, scale = tables[..., 0, :2].to(x.dtype).reshape(*tables.shape[:-2], *[1] * (x.ndim - lead), 2).unbind(-1)
    u = (x - shift) * scale
    cell = (torch.nan_to_num(u.detach()).ceil() - 1).clamp(-half - 1, half)
    far = _far(x.dtype)
    t = (u - cell).clamp(-far, far)
    net = torch.arange(tables.shape[:-2].numel(), device=x.device).reshape(shift.shape)
    c = tables.reshape(-1, 4)[cell.long() + half + 2 + net * tables.shape[-2]].to(x.dtype).unbind(-1)
    for _ in range(order):
        c = (scale * c[1], scale * (2 * c[2]), scale * (3 * c[3]), torch.zeros_like(c[3]))
    return c[0] + t * (c[1] + t * (c[2] + t * c[3]))


def _far(dtype: torch.dtype) -> float:
    return 1e300 if dtype == torch.float64 else 1e30


def _compute(kernel: Library, x: Tensor, g: Tensor | None, tables: Tensor) -> Tensor:
    """g D^order."""
    shape, tables = tables.shape[:-2], tables.contiguous()
    nets = shape.numel()
    inner = x.numel() // nets if nets else 0
    if not x.is_contiguous():
        dense = len(shape) < 2 and torch.ops.aten.is_non_overlapping_and_dense(x)
        if dense and nets > 1 and x.stride(0) >= _SHORTEST:
            inner = x.stride(0)
        elif not dense or nets > 1:
            x = x.contiguous()
    y = torch.empty_like(x)
    if g is not None and g.stride() != x.stride():
        g = torch.empty_like(x).copy_(g)
    pointers = [x.data_ptr(), None if g is None else g.data_ptr(), tables.data_ptr(), y.data_ptr()]
    n = x.numel()
    function, count = (kernel.short, 1) if n < THREADED_FROM else (kernel.long, threads())
    function(n, count, nets, inner, tables.shape[-2], *pointers)
    return y


def _kernel(dtype: torch.dtype, order: int) -> Library | None:
    """The kernel, or None after one warning where there can be none.

    Raises:
        ActsmithError: there can be none, and the backend is "compiled".
    """
    with making():
        made = _made(dtype, min(order, 4))
    if isinstance(made, str):
        kernels_lost("lookup activation", made)
        return None
    return made


@lru_cache(maxsize=16)
def _made(dtype: torch.dtype, order: int) -> Library | str:
    """The kernel, compiled and compared with plain torch on a grid that meets every cell; else why there is none."""
    head = f"{'#define WIDE' if dtype == torch.float64 else ''}\n#define ORDER {order}\n"
    text = files("actsmith.nn").joinpath("lookup.h").read_text(encoding="utf-8")
    types: list[Any] = [ctypes.c_long, ctypes.c_int, *[ctypes.c_long] * 3, *[ctypes.c_void_p] * 4]
    try:
        kernel = library(head + text, types)
    except CannotCompile as error:
        return str(error)
    kind: Any = {"dtype": dtype, "device": "cpu"}  # whatever the user's defaults are
    with torch.no_grad(), torch.inference_mode():
        tables = torch.cos(torch.arange(2 * 9 * 4.0, dtype=torch.float32, device="cpu")).view(2, 9, 4)
        tables[:, 0, :2] = torch.tensor([[0.1, 2.0], [0.0, 1.0]], dtype=torch.float32, device="cpu")
        x = torch.linspace(-6, 6, 2 * 777, **kind).view(2, 777)
        x[0, 0] = torch.nan
        found, expected = _compute(kernel, x, x, tables), x * _evaluate(x, tables, order)
        tolerance = 64 * torch.finfo(dtype).eps * 100
        if torch.allclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True):
            return kernel
    return "the compiled kernel differs from plain torch (a fault of the compiler?)"
