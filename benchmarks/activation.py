"""Forward and backward of one activation against torch's native GELU and against naive eager code.

python -m benchmarks.activation
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import actsmith as acts
from actsmith.nn import Activation
from benchmarks.measure import Row, interleaved, naive_crrelu

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
TARGETS = dict.fromkeys(("crrelu", "mrepu:3", "derived"), 0.95)


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
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        y.copy_(x)
        best = min(best, time.perf_counter() - start)
    return 2 * x.numel() * x.element_size() / best


def first_step(name: str, cache: str) -> float:
    """Seconds of the first training step of a process, torch imported and the module made."""
    code = (
        "import sys, time, torch\nfrom actsmith.nn import Activation\n"
        "x = torch.randn(1000, requires_grad=True)\nstart = time.perf_counter()\n"
        "Activation(sys.argv[1])(x).sum().backward()\nprint(time.perf_counter() - start)"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": cache}
    command = [sys.executable, "-c", code, name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    return float(done.stdout)


def rows(quick: bool = False) -> list[Row]:
    """Each size over native GELU, and the first step of a process with a cold and a warm cache."""
    found = []
    for n in SIZES[: 3 if quick else None]:
        x, cotangent = torch.randn(n, requires_grad=True), torch.ones(n)
        calls = {name: step(module, x, cotangent) for name, module in activations().items()}
        targets = TARGETS if n < SIZES[-1] else dict.fromkeys(TARGETS, 1.0)
        repeats = 9 if quick or n == SIZES[-1] else 41
        inner = max(1, min(100, 1_000_000 // n))
        found += interleaved(f"forward + backward, {n:,}", calls, "native gelu", repeats, inner, targets)
    for name in ("crrelu", "mish"):
        with tempfile.TemporaryDirectory() as cache:
            for state, target in (("cold", 2.0), ("warm", 1.0)):
                seconds = first_step(name, cache)
                found.append(
                    Row(f"first step, {state} (s)", name, "1 s", seconds, seconds, seconds, seconds, seconds, target)
                )
    return found


if __name__ == "__main__":
    for row in rows():
        print(f"{row.what:32} {row.activation:14} {row.seconds * 1e6:12.1f} us  {row.p50:6.2f} {row.ratio:6.2f}")
    print(f"copy bandwidth {copy_bandwidth() / 1e9:.1f} GB/s")
