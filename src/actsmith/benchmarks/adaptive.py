"""What entropy descent costs: time and memory of ViT-Tiny's training step with it, over the step without.

    python -m actsmith.benchmarks.adaptive

One model is trained; every step is timed as a whole, and so is what entropy descent does in it: its hooks in the
forward pass and its own `step`. A step that samples and one that does not are told apart, so that from one run follows
the cost at every frequency: (sampling + (every - 1) idle)/every over the rest of the step. Memory is counted in
tensors: what entropy descent holds while the backward pass runs, over parameters, gradients, AdamW's two moments and
what the forward pass keeps for backward. What an update allocates itself it allocates when that is free again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from actsmith.benchmarks.measure import Row, Say
from actsmith.errors import missing_extra
from actsmith.nn import EntropyDescent, HermiteActivation

__all__ = ["Cost", "Kept", "descent_costs", "rows"]

EVERY = (1, 2, 5, 10, 50)
TIME_TARGET, MEMORY_TARGET = 0.02, 0.01
"""Shares of a step at every=10, samples=4096."""
WARM = 2


@dataclass(frozen=True)
class Cost:
    """The cost at one frequency.

    Attributes:
        every, samples: of `EntropyDescent`.
        time: share of the step without it, from medians.
        memory: share of the step's memory without it.
    """

    every: int
    samples: int
    time: float
    memory: float


def descent_costs(
    every: Sequence[int] = EVERY, samples: int = 4096, *, images: int = 8, steps: int = 12, size: int = 224
) -> list[Cost]:
    """Measure `steps` pairs of a sampling and an idle step of ViT-Tiny (`size` x `size` pixels, AdamW).

    Args:
        every: frequencies to report.
        samples: of each layer's pre-activations.
        images: in a batch.
    """
    import timm

    torch.manual_seed(0)
    model: nn.Module = timm.create_model(
        "vit_tiny_patch16_224", img_size=size, num_classes=10, act_layer=lambda: HermiteActivation("gelu", 4)
    )
    optimiser = torch.optim.AdamW(model.parameters())
    x, labels = torch.randn(images, 3, size, size), torch.randint(0, 10, (images,))
    descent = EntropyDescent(model, every=2, samples=samples)
    clock = _Clock(descent)
    whole: list[float] = []
    held = bytes_kept = 0
    for _ in range(2 * (steps + WARM)):
        kept = Kept(model)
        began = time.perf_counter()
        with kept:
            loss = nn.functional.cross_entropy(model(x), labels)
        held, bytes_kept = max(held, _held(descent)), max(bytes_kept, kept.bytes)
        del kept
        torch.autograd.backward(loss)
        before = time.perf_counter()
        descent.step()
        clock.seconds[-1] += time.perf_counter() - before
        optimiser.step()
        optimiser.zero_grad()
        whole.append(time.perf_counter() - began)
        clock.seconds.append(0.0)
    descent.close()
    own = clock.seconds[:-1]
    rest = median(w - o for w, o in list(zip(whole, own, strict=True))[2 * WARM :])
    sampling, idle = median(own[2 * WARM :: 2]), median(own[2 * WARM + 1 :: 2])
    memory = held / (4 * sum(p.numel() * p.element_size() for p in model.parameters()) + bytes_kept)
    return [Cost(n, samples, (sampling + (n - 1) * idle) / n / rest, memory) for n in every]


class _Clock:
    """Seconds that the hooks of entropy descent take, step by step."""

    def __init__(self, descent: EntropyDescent) -> None:
        self.seconds = [0.0]
        for tap in descent._taps:
            tap.handle.remove()
            tap.handle = tap.module.register_forward_pre_hook(self._timed(tap._hook), with_kwargs=True)

    def _timed(self, hook: Any) -> Any:
        def timed(module: nn.Module, args: Any, kwargs: Any) -> None:
            began = time.perf_counter()
            hook(module, args, kwargs)
            self.seconds[-1] += time.perf_counter() - began

        return timed


class Kept(torch.autograd.graph.saved_tensors_hooks):
    """Bytes that a forward pass keeps for backward, each storage once, those of the model's parameters not."""

    def __init__(self, model: nn.Module) -> None:
        self.bytes = 0
        self._seen = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self._storages: list[torch.UntypedStorage] = []  # alive, so that no address is used twice
        super().__init__(self._pack, lambda t: t)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self._storages.append(storage)
            self.bytes += storage.nbytes()
        return tensor


def _held(descent: EntropyDescent) -> int:
    """Bytes of samples, draws, histograms and held gradients."""
    tensors = [*descent._held, *descent._counts]
    tensors += [t for tap in descent._taps for t in (tap.draw, tap.turns, tap.pool) if t is not None]
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values())


def rows(quick: bool, say: Say) -> Iterator[Row]:
    """The table as benchmark rows: shares of a training step, where timm is installed."""
    try:
        costs = descent_costs(images=2, steps=3) if quick else descent_costs()
    except ModuleNotFoundError:
        say(str(missing_extra("entropy descent: left out", "timm", "vision")))
        return
    for cost in costs:
        for kind, share, target in (("time", cost.time, TIME_TARGET), ("memory", cost.memory, MEMORY_TARGET)):
            what = f"entropy descent every {cost.every}: {kind}"
            goal = target if cost.every == 10 else None
            yield Row(what, "hermite", "training step", None, share, share, share, share, goal)


def main() -> None:
    """Print the table."""
    print("every    time   memory")
    for cost in descent_costs():
        print(f"{cost.every:5d}  {cost.time:6.2%}  {cost.memory:6.2%}")


if __name__ == "__main__":
    main()
