"""Forward and backward of one activation against torch's native GELU and naive eager code; start-up; memory kept."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

import actsmith as acts
from actsmith.benchmarks.measure import Row, Say, absolute, best, interleaved, naive_crrelu
from actsmith.nn import Activation

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
HALF_SIZES = (10_000, 100_000, 1_000_000)
TARGETS = dict.fromkeys(("crrelu", "mrepu:3", "derived"), 0.95)
LARGE_TARGETS = dict.fromkeys(TARGETS, 1.0)
FASTER_THAN_NAIVE = 6.0  # at a million elements


def rows(quick: bool, say: Say) -> Iterator[Row]:
    """Each size and dtype over native GELU, the first step of a process, the import, what is kept for backward."""
    for n in SIZES[: 3 if quick else None]:
        yield from _elementwise(n, torch.float32, quick)
    for dtype in () if quick else (torch.bfloat16, torch.float16):
        for n in HALF_SIZES:
            yield from _elementwise(n, dtype, quick)
    for name in ("crrelu", "mish"):
        cold, warm = zip(*(_first_steps(name) for _ in range(1 if quick else 5)), strict=True)
        yield absolute("first step, cold cache", name, cold, 2.0)
        yield absolute("first step, warm cache", name, warm, 1.0)
    yield absolute("import actsmith beyond Python", "", [_import_time() for _ in range(3 if quick else 15)], 0.05)
    kept = saved_for_backward(Activation("crrelu"))
    yield Row("saved for backward", "crrelu", "the input", None, kept, kept, kept, kept, 1.0)


def derived() -> acts.Formula:
    """What one EAFO step makes of ReLU under N(0, 1)."""
    return acts.improve("relu", acts.Normal(), 0.05).renamed("derived")


def two_exponentials() -> acts.Formula:
    """A harder one: SiLU with the Gaussian correction, learned."""
    return acts.Formula("x*sigmoid(x) + eps*x*exp(-x**2/2)", {"eps": acts.Param(0.05, learn=True)})


def activations() -> dict[str, nn.Module]:
    """What is compared; the first is what the others are measured against."""
    return {
        "native gelu": nn.GELU(),
        "native silu": nn.SiLU(),
        "native relu": nn.ReLU(),
        "crrelu": Activation("crrelu"),
        "mrepu:3": Activation("mrepu", params={"p": 3}),
        "derived": Activation(derived()),
        "silu corrected": Activation(two_exponentials()),
        "gelu": Activation("gelu"),
        "silu": Activation("silu"),
        "naive crrelu": naive_crrelu(),
    }


def step(module: nn.Module, x: Tensor, cotangent: Tensor) -> Callable[[], None]:
    """Forward and backward, gradients fresh each time."""
    leaves = [x, *module.parameters()]

    def call() -> None:
        for leaf in leaves:
            leaf.grad = None
        module(x).backward(cotangent)

    return call


def copy_bandwidth() -> float:
    """Bytes per second that a copy of 40 MB reads and writes, together."""
    x = torch.ones(10_000_000)
    y = torch.empty_like(x)
    return 2 * x.numel() * x.element_size() / best(lambda: y.copy_(x), 10)


def saved_for_backward(module: nn.Module, n: int = 1000) -> float:
    """Elements that autograd keeps, for each element of the input; parameters of one number not counted."""
    kept: list[int] = []

    def pack(t: Tensor) -> Tensor:
        kept.append(t.numel())
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        module(torch.randn(n, requires_grad=True))
    return sum(count for count in kept if count > 1) / n


def _elementwise(n: int, dtype: torch.dtype, quick: bool) -> list[Row]:
    x, cotangent = torch.randn(n, dtype=dtype, requires_grad=True), torch.ones(n, dtype=dtype)
    calls = {}
    for name, module in activations().items():
        calls[name] = step(module.to(dtype) if isinstance(module, naive_crrelu) else module, x, cotangent)
    repeats = 9 if quick else 15 if n == SIZES[-1] else 41
    inner = max(1, min(100, 1_000_000 // n))
    what = f"forward + backward, {n:,}"
    if dtype != torch.float32:
        return interleaved(f"{what}, {str(dtype).removeprefix('torch.')}", calls, repeats, inner)
    found = interleaved(what, calls, repeats, inner, LARGE_TARGETS if n == SIZES[-1] else TARGETS)
    if n == 1_000_000:
        pair = {name: calls[name] for name in ("naive crrelu", "crrelu")}
        found += interleaved(what, pair, repeats, inner, {"crrelu": 1 / FASTER_THAN_NAIVE})[1:]
    return found


def _first_steps(name: str) -> tuple[float, float]:
    """Seconds of the first training step of a process, with a cold and then a warm cache of kernels."""
    code = (
        "import sys, time, torch\nfrom actsmith.nn import Activation\n"
        "x = torch.randn(1000, requires_grad=True)\nstart = time.perf_counter()\n"
        "Activation(sys.argv[1])(x).sum().backward()\nprint(time.perf_counter() - start)"
    )
    command = [sys.executable, "-c", code, name]
    seconds = []
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        for _ in range(2):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
            seconds.append(float(done.stdout))
    return seconds[0], seconds[1]


def _import_time() -> float:
    """Seconds that a process takes longer when it imports actsmith."""
    seconds = []
    for code in ("pass", "import actsmith"):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        seconds.append(time.perf_counter() - start)
    return seconds[1] - seconds[0]
