"""Piecewise cubics with learnable coefficients, closed under differentiation.

    gather   y_i = p(c[r_i], d_i),  p(c, d) = c_0 + c_1 d + c_2 d^2 + c_3 d^3      (cell r_i and offset d_i of x_i)
    deposit  G[r, k] = sum of g_i d_i^k over the x_i in cell r

Each is the other's derivative, with D c the coefficients of p':

    gather:   x gets ybar gather(x, D c),        c gets deposit(x, ybar)
    deposit:  x gets g gather(x, D Gbar),        g gets gather(x, Gbar)

so every order is exact where the pieces join smoothly. On the CPU a generated kernel does a gather, and another one
both gradients of it in one pass; elsewhere, and for what transforms or traces, plain torch, which torch differentiates.

| symbol | meaning                | shape      |
|--------|------------------------|------------|
| x, y, g| elements               | any        |
| c, G   | coefficients           | (cells, 4) |
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from actsmith.nn.backend import current, kernels_lost
from actsmith.nn.compiler import CannotCompile, Library, library
from actsmith.nn.fused import takes
from actsmith.nn.kernel import THREADED_FROM, threads
from actsmith.nn.private import observed

__all__ = ["Grid", "piecewise"]


@dataclass(frozen=True)
class Grid:
    """Equal cells of size `step` from `low` on; cell 0 is what lies below, the last one what lies above."""

    low: float
    step: float
    cells: int


def piecewise(x: Tensor, coefficients: Tensor, grid: Grid, order: int = 0) -> Tensor:
    """gather(x, D^order c), differentiable to any order in both. NaN stays NaN.

    Args:
        x: float32 or float64, any shape.
        coefficients: c of the same dtype; row r is in powers of x - (low + max(r - 1, 0) step).
    """
    for _ in range(order):
        coefficients = _derived(coefficients)
    if torch.compiler.is_compiling() or observed():
        return _gather(x, coefficients, grid)
    result: Tensor = _Gather.apply(x, coefficients, grid)
    return result


def _deposited(x: Tensor, g: Tensor, grid: Grid) -> Tensor:
    """deposit(x, g), differentiable to any order in both."""
    result: Tensor = _deposit(x, g, grid) if observed() else _Deposit.apply(x, g, grid)
    return result


def _place(x: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The row and the offset of every x."""
    row = ((torch.nan_to_num(x.detach()) - grid.low) / grid.step).floor().clamp(-1, grid.cells - 2) + 1
    return row.long(), x - (grid.low + (row - 1).clamp(min=0) * grid.step)


def _gather(x: Tensor, c: Tensor, grid: Grid) -> Tensor:
    row, d = _place(x, grid)
    at = c[row]
    return at[..., 0] + d * (at[..., 1] + d * (at[..., 2] + d * at[..., 3]))


def _deposit(x: Tensor, g: Tensor, grid: Grid) -> Tensor:
    row, d = _place(x, grid)
    d = d.where((g != 0) | d.isfinite(), 0)  # 0 times the offset of an infinite x
    powers = torch.stack([g, g * d, g * d * d, g * d * d * d], -1)
    return powers.new_zeros(grid.cells, 4).index_add(0, row.reshape(-1), powers.reshape(-1, 4))


def _derived(c: Tensor) -> Tensor:
    """D c."""
    return torch.cat([c[:, 1:] * torch.tensor([1.0, 2.0, 3.0], dtype=c.dtype, device=c.device), c[:, :1] * 0], 1)


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, c: Tensor, grid: Grid) -> Tensor:
        ctx.grid = grid
        ctx.save_for_backward(x, c)
        kernel = _kernel(x, c)
        return _gather(x, c, grid) if kernel is None else kernel.gather(x, c, grid)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, c = ctx.saved_tensors
        kernel = None if torch.is_grad_enabled() else _kernel(x, c, g)
        if kernel is not None:
            return *kernel.gradients(x, g, c, ctx.grid), None
        slope = g * piecewise(x, _derived(c), ctx.grid) if ctx.needs_input_grad[0] else None
        return slope, _deposited(x, g, ctx.grid) if ctx.needs_input_grad[1] else None, None


class _Deposit(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor, grid: Grid) -> Tensor:
        ctx.grid = grid
        ctx.save_for_backward(x, g)
        return _deposit(x, g, grid)

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> Any:
        x, g = ctx.saved_tensors
        slope = g * piecewise(x, _derived(c), ctx.grid) if ctx.needs_input_grad[0] else None
        return slope, piecewise(x, c, ctx.grid) if ctx.needs_input_grad[1] else None, None


class _Kernel:
    """The two compiled functions for one dtype."""

    def __init__(self, dtype: torch.dtype) -> None:
        text = files("actsmith.nn").joinpath("piecewise.h").read_text(encoding="utf-8")
        head = "#define WIDE\n" if dtype == torch.float64 else ""
        kind: list[Any] = [ctypes.c_long, ctypes.c_int, ctypes.c_long, ctypes.c_double, ctypes.c_double]
        pointer = ctypes.c_void_p
        self.forward = library(f"{head}{text}", [*kind, *[pointer] * 3])
        self.backward = library(f"{head}#define BACKWARD\n{text}", [*kind, *[pointer] * 5])

    def gather(self, x: Tensor, c: Tensor, grid: Grid) -> Tensor:
        """gather(x, c)."""
        x, y = _dense(x)
        _run(self.forward, grid, x, c.contiguous(), y)
        return y

    def gradients(self, x: Tensor, g: Tensor, c: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """g gather(x, D c) and deposit(x, g)."""
        x, slope = _dense(x)
        g = g if g.stride() == x.stride() else torch.empty_like(x).copy_(g)
        total = torch.empty_like(c, memory_format=torch.contiguous_format)
        _run(self.backward, grid, x, g, c.contiguous(), slope, total)
        return slope, total


def _dense(x: Tensor) -> tuple[Tensor, Tensor]:
    """x in memory without gaps, and a tensor like it."""
    x = x if torch.ops.aten.is_non_overlapping_and_dense(x) else x.contiguous()
    return x, torch.empty_like(x)


def _run(of: Library, grid: Grid, x: Tensor, *tensors: Tensor) -> None:
    n, pointers = x.numel(), [t.data_ptr() for t in (x, *tensors)]
    function, count = (of.short, 1) if n < THREADED_FROM else (of.long, threads())
    if function(n, count, grid.cells, grid.low, grid.step, *pointers):
        raise MemoryError("spline activation: no memory for the partial sums")


def _kernel(*tensors: Tensor) -> _Kernel | None:
    """The kernel, where one can serve these tensors."""
    dtype = tensors[0].dtype
    if observed() or current() == "composite" or not takes(tensors):
        return None
    if any(t.dtype is not dtype or not t.is_cpu for t in tensors):
        return None
    made = _made(dtype) if dtype in (torch.float32, torch.float64) else None
    if isinstance(made, str):
        kernels_lost("spline activation", made)
        return None
    return made


@lru_cache(maxsize=2)
def _made(dtype: torch.dtype) -> _Kernel | str:
    """The kernel, compiled and compared with plain torch on a grid that meets every cell; else why there is none."""
    try:
        kernel = _Kernel(dtype)
    except CannotCompile as error:
        return str(error)
    grid = Grid(-2.0, 0.5, 10)
    kind: Any = {"dtype": dtype, "device": "cpu"}  # whatever the user's defaults are
    x = torch.linspace(-4, 4, 777, **kind)
    c, g = torch.cos(torch.arange(40.0, **kind)).view(10, 4), torch.sin(3 * x)
    tolerance = 64 * torch.finfo(dtype).eps * 100
    slope, total = kernel.gradients(x, g, c, grid)
    pairs = [(kernel.gather(x, c, grid), _gather(x, c, grid)), (total, _deposit(x, g, grid))]
    pairs.append((slope, g * _gather(x, _derived(c), grid)))
    if all(torch.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in pairs):
        return kernel
    return "the compiled kernel differs from plain torch (a fault of the compiler?)"
