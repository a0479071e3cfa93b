"""A node's compiled kernel, and the check against its plain torch twin that it passes before it serves."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

from actsmith.nn.backend import kernels_lost
from actsmith.nn.compiler import CannotCompile, Library, library
from actsmith.nn.emit import source
from actsmith.nn.nodes import ELEMENTWISE, Spec

if TYPE_CHECKING:
    from actsmith.nn.family import Node

__all__ = ["THREADED_FROM", "Kernel", "agrees", "build", "making", "results_of", "run", "samples", "threads"]

THREADED_FROM = 32768
"""Elements from which on a kernel runs in threads."""

_SPECIAL = (0.0, -0.0, 1.0, -1.0, 1e-30, -1e-6, 12.0, -12.0, 40.0, -40.0, 100.0, -100.0, 1e4, -1e4)
_NEARBY = 7  # samples on each side
_TIMED = 16384
_FAST = 2e-9 * _TIMED  # seconds that no kernel without SIMD code gets below
_SLOWER = 3.0  # how much slower than the twin counts as such a kernel


class _Process:
    """The lock under which kernels are made, and whether this process was forked: its threads are then gone."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.forked = False

    def after_fork(self) -> None:
        """A forked child: the lock may have been held, and OpenMP would wait for threads that are not there."""
        self.lock = threading.RLock()
        self.forked = True


_process = _Process()
os.register_at_fork(after_in_child=_process.after_fork)


def making() -> threading.RLock:
    """The lock under which kernels are made."""
    return _process.lock


def threads() -> int:
    """How many threads a long kernel may use now."""
    return 1 if _process.forked else torch.get_num_threads()


class Kernel:
    """A compiled kernel of one node for one dtype.

    Attributes:
        short, long: the C function with the interpreter's lock held and released.
        wide: the dtype that broadcast inputs and sums have.
    """

    def __init__(self, loaded: Library, dtype: torch.dtype) -> None:
        self.library = loaded  # unloaded with it
        self.short = loaded.short
        self.long = loaded.long
        self.wide = torch.float64 if dtype == torch.float64 else torch.float32


def build(node: Node, dtype: torch.dtype, channels: bool) -> Kernel | None:
    """The kernel, or None after one warning where there can be none.

    Raises:
        ActsmithError: there can be none, and the backend is "compiled".
    """
    spec = node.spec
    pointers = spec.elementwise + spec.broadcast + len(spec.results)
    types: list[Any] = [ctypes.c_long, ctypes.c_int, ctypes.c_long, ctypes.c_long, *[ctypes.c_void_p] * pointers]
    with _process.lock:
        try:
            text = source(spec, node.program, str(dtype).removeprefix("torch."), channels)
            loaded = library(text, types)
            kernel = Kernel(loaded, dtype)
            _check(node, kernel, dtype, channels, loaded.fresh)
        except CannotCompile as error:
            kernels_lost(f"activation {node.of.formula.name}", str(error))
            return None
    return kernel


def run(node: Node, kernel: Kernel, tensors: list[Tensor], layout: tuple[int, int] | None) -> tuple[Tensor, ...]:
    """The results; elementwise tensors lie in memory like x, broadcast ones are contiguous and of `kernel.wide`."""
    results = results_of(node.spec, tensors)
    n = tensors[0].numel()
    function = kernel.short if n < THREADED_FROM else kernel.long
    pointers = [t.data_ptr() for t in (*tensors, *results)]
    if function(n, threads() if n >= THREADED_FROM else 1, *(layout or (1, n)), *pointers):
        raise MemoryError(f"activation {node.of.formula.name}: no memory for the partial sums")
    return results


def results_of(spec: Spec, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Memory for the results."""
    like = (tensors[0 if r.into == ELEMENTWISE else spec.elementwise + r.into] for r in spec.results)
    return tuple([torch.empty_like(t) for t in like])


def _check(node: Node, kernel: Kernel, dtype: torch.dtype, channels: bool, timed: bool) -> None:
    """That the kernel is right, and if it was compiled just now, not much slower than the twin.

    Raises:
        CannotCompile: it is not.
    """
    with torch.no_grad(), torch.inference_mode():
        inputs = samples(node, dtype, channels, 777)
        if not agrees(node, inputs, run(node, kernel, inputs, (3, 1) if channels else None), dtype):
            raise CannotCompile("the compiled kernel differs from plain torch (a fault of the compiler?)")
        if timed and not channels and not _process.forked:  # torch's own threads may be gone, too
            _check_time(node, kernel, dtype)


def samples(node: Node, dtype: torch.dtype, channels: bool, count: int) -> list[Tensor]:
    """Inputs of a node on the CPU, about `count` elements, ordinary and extreme, x ascending; with channels, three."""
    spec, formula = node.spec, node.of.formula
    kind: Any = {"dtype": torch.float64, "device": "cpu"}  # whatever the user's defaults are
    ordinary = torch.linspace(-6, 6, count - count % 3 - len(_SPECIAL), **kind)
    x = torch.cat([ordinary, torch.tensor(_SPECIAL, **kind)]).sort().values
    weights = [torch.cos(torch.arange(x.numel(), **kind) * (0.7 + 0.1 * i)) for i in range(1, spec.elementwise)]
    shape = (3,) if channels else ()
    theta = [torch.full(shape, formula.params[name].value, **kind) for name in node.of.learnable]
    scalars = [torch.full(shape, 0.8 + 0.1 * i, **kind) for i in range(spec.broadcast - spec.learnable)]
    elementwise = [t.reshape(-1, 3).to(dtype) if channels else t.to(dtype) for t in (x, *weights)]
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return [*elementwise, *(t.to(wide) for t in (*theta, *scalars))]


def agrees(node: Node, inputs: list[Tensor], found: Sequence[Tensor], dtype: torch.dtype) -> bool:
    """Whether what was found at `inputs` is what plain torch gives, up to rounding."""
    twin, exact = node.evaluate(inputs), node.evaluate([t.double() for t in inputs])
    return all(
        _agree(mine, other, true, dtype, result.into == ELEMENTWISE)
        for result, mine, other, true in zip(node.spec.results, found, twin, exact, strict=True)
    )


def _agree(mine: Tensor, other: Tensor, true: Tensor, dtype: torch.dtype, elementwise: bool) -> bool:
    """Within what rounding explains: a share of the value, and several times what plain torch is off by nearby."""
    known = torch.isfinite(other) & torch.isfinite(true)
    off = torch.where(known, (other.double() - true).abs(), 0)
    if elementwise:  # one point's error may vanish by chance, where terms cancel
        off = max_pool1d(off.reshape(1, -1), 2 * _NEARBY + 1, 1, _NEARBY).view_as(off)
    error, allowed = (mine.double() - true).abs()[known], off[known]
    eps = max(torch.finfo(dtype).eps, 1e-12)
    size = true.abs()[known]
    scale = size if elementwise else size + 1e3 * (1 + size.max() if size.numel() else 1)
    return bool((error <= 8 * allowed + 64 * eps * (scale + 1e-2)).all())


def _check_time(node: Node, kernel: Kernel, dtype: torch.dtype) -> None:
    inputs = samples(node, dtype, False, _TIMED)

    def best(call: Any) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return min(times)

    for _ in range(3):  # a busy machine may have disturbed one measurement
        seconds = best(lambda: run(node, kernel, inputs, None))
        if seconds <= _FAST or seconds <= _SLOWER * best(lambda: node.evaluate(inputs)):
            return
    raise CannotCompile("the compiled kernel is slower than plain torch (the compiler made no SIMD code of it)")
