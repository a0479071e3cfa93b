"""On a CUDA device: elementwise kernels over torch's own and over a copy, PINN and ViT steps, first steps.

`rows` says one line where there is no such device. With ACTSMITH_TEST_DEVICE=cpu it runs small sizes on the CPU, which
shows that it works and measures nothing of interest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from actsmith.benchmarks import pinn
from actsmith.benchmarks.activation import saved_for_backward
from actsmith.benchmarks.measure import Row, Say, absolute, best, interleaved
from actsmith.errors import missing_extra
from actsmith.nn import Activation

__all__ = ["rows"]

SEARCHED = "asinh(softplus(x))*relu(x)**2"
"""Like what a search found on a vision transformer."""
COPY = 0.8
"""Share of a copy's bandwidth that is aimed at, where memory is what costs."""
LARGE = 1_000_000
FIRST = 3.0
NATIVE = "native gelu"


@dataclass(frozen=True)
class Place:
    """Where it runs, and how much."""

    device: torch.device
    sizes: tuple[int, ...]
    repeats: int

    @property
    def cuda(self) -> bool:
        """Whether it is the real thing."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Until the device is done."""
        if self.cuda:
            torch.cuda.synchronize()

    def timed(self, call: Callable[[], object], times: int) -> Callable[[], None]:
        """The call so many times, until the device is done."""

        def run() -> None:
            for _ in range(times):
                call()
            self.wait()

        return run


def rows(quick: bool, say: Say) -> Iterator[Row]:
    """Ratios to torch's own activations and to a copy of as many bytes; seconds of first steps."""
    if os.environ.get("ACTSMITH_TEST_DEVICE") == "cpu":
        place = Place(torch.device("cpu"), (10_000,), 3)
    elif torch.cuda.is_available():
        sizes = (10_000, 100_000, LARGE, 10_000_000, 100_000_000)
        place = Place(torch.device("cuda"), sizes[: 3 if quick else None], 5 if quick else 15)
        say(f"on {torch.cuda.get_device_name()}")
    else:
        say("gpu: left out, since there is no CUDA device")
        return
    with torch.device(place.device):
        for dtype in (torch.float32, torch.bfloat16):
            for n in place.sizes:
                yield from elementwise(place, n, dtype)
        for name in ("crrelu", SEARCHED):
            kept = saved_for_backward(Activation(name))
            yield Row("saved for backward", name, "the input", None, kept, kept, kept, kept, 1.0)
        yield from differential(place)
        yield from transformer(place, say)
    for name in ("crrelu", "gelu", SEARCHED):
        cold, warm = first_steps(name, place.device)
        yield absolute("first step, cold cache", name, [cold], None)
        yield absolute("first step, warm cache", name, [warm], FIRST)


def activations() -> dict[str, nn.Module]:
    """What is compared; the first is what the others are measured against."""
    return {
        NATIVE: nn.GELU(), "native silu": nn.SiLU(), "crrelu": Activation("crrelu"),
        "mrepu:3": Activation("mrepu", params={"p": 3}), "gelu": Activation("gelu"), "silu": Activation("silu"),
        "searched": Activation(SEARCHED),
    }  # fmt: skip


def elementwise(place: Place, n: int, dtype: torch.dtype) -> Iterator[Row]:
    """Forward and backward over native GELU's, and over a copy of the five tensors that must be read or written."""
    x, cotangent = torch.randn(n, dtype=dtype, requires_grad=True), torch.ones(n, dtype=dtype)
    times = max(1, min(100, 10_000_000 // n))
    calls: dict[str, Callable[[], None]] = {}
    for name, module in activations().items():
        leaves = [x, *module.parameters()]

        def call(module: nn.Module = module, leaves: list[Tensor] = leaves) -> None:
            torch.autograd.grad(module(x), leaves, cotangent)

        calls[name] = place.timed(call, times)
    named = str(dtype).removeprefix("torch.")
    ours = [name for name in calls if not name.startswith("native")]
    targets = dict.fromkeys(ours, 1.0) if place.cuda and n >= LARGE else None
    found = interleaved(f"forward + backward, {n:,}, {named}", calls, place.repeats, 1, targets)
    yield from found
    source = torch.empty(5 * n // 2, dtype=dtype)
    target = torch.empty_like(source)
    floor = best(place.timed(lambda: target.copy_(source), times))
    for row in found:
        if row.seconds is not None:
            ratio = row.seconds / floor
            aim = 1 / COPY if place.cuda and n >= LARGE and row.activation in ours else None
            yield Row(row.what, row.activation, "a copy", row.seconds / times, ratio, ratio, ratio, ratio, aim)


def differential(place: Place) -> Iterator[Row]:
    """PINN steps: nested autograd and jets."""
    for order in (2, 3):
        calls = {name: pinn.nested_step(make, order) for name, make in pinn.NESTED.items()}
        calls |= {name: pinn.jet_step(make, [(order, 0)]) for name, make in pinn.JETS.items()}
        calls[pinn.FLOOR] = pinn.products_step(order + 1, 2)
        waiting = {name: place.timed(call, 1) for name, call in calls.items()}
        targets = dict.fromkeys(pinn.JETS, pinn.TARGETS[order]) if place.cuda else None
        yield from interleaved(f"PINN step, u_{'x' * order}", waiting, place.repeats, targets=targets)


def transformer(place: Place, say: Say) -> Iterator[Row]:
    """ViT-Tiny in bfloat16, eager and compiled."""
    if find_spec("timm") is None:
        say(str(missing_extra("ViT-Tiny: left out", "timm", "vision")))
        return
    for compiled in (False, True) if place.cuda else (False,):
        makes: dict[str, Any] = {NATIVE: nn.GELU, "crrelu": lambda: Activation("crrelu"), "silu": nn.SiLU}
        makes["searched"] = lambda: Activation(SEARCHED)
        calls = {name: place.timed(_vit(make, place, compiled), 1) for name, make in makes.items()}
        what = f"ViT-Tiny step, bfloat16, {'compiled' if compiled else 'eager'}"
        yield from interleaved(what, calls, place.repeats, targets={"crrelu": 1.02} if place.cuda else None)


def _vit(activation: Callable[[], nn.Module], place: Place, compiled: bool) -> Callable[[], None]:
    import timm

    torch.manual_seed(0)
    batch, depth = (128, 12) if place.cuda else (1, 1)
    model: nn.Module = timm.create_model("vit_tiny_patch16_224", num_classes=10, act_layer=activation, depth=depth)
    optimiser = torch.optim.AdamW(model.parameters())
    images, labels = torch.randn(batch, 3, 224, 224), torch.randint(0, 10, (batch,))
    call = torch.compile(model) if compiled else model

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast(place.device.type, torch.bfloat16):
            loss = nn.functional.cross_entropy(call(images).float(), labels)
        torch.autograd.backward(loss)
        optimiser.step()

    return step


def first_steps(name: str, device: torch.device) -> tuple[float, float]:
    """Seconds of a process' first training step, with a cold and then a warm cache of Inductor's."""
    code = (
        "import sys, time, torch\nfrom actsmith.nn import Activation\n"
        "x = torch.randn(100_000, requires_grad=True, device=sys.argv[2])\nx.sum().item()\n"
        "began = time.perf_counter()\n"
        "act = Activation(sys.argv[1], device=sys.argv[2])\nact(x).sum().backward()\nx.grad.sum().item()\n"
        "print(time.perf_counter() - began)"
    )
    seconds = []
    with tempfile.TemporaryDirectory() as cache:
        own = {
            "XDG_CACHE_HOME": cache,
            "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor",
            "TRITON_CACHE_DIR": f"{cache}/t",
        }
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", code, name, str(device)], env={**os.environ, **own}, capture_output=True,
                text=True, check=True, timeout=180,
            )  # fmt: skip
            seconds.append(float(done.stdout))
    return seconds[0], seconds[1]
