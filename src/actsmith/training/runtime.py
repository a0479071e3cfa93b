"""Where trainings run: Accelerate's view of this process among the others, its threads, generators and memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from actsmith.errors import ActsmithError, require

__all__ = [
    "Device",
    "Precision",
    "Runtime",
    "few",
    "generators_kept",
    "mixed",
    "peak_bytes",
    "reset_peak",
    "seed_step",
    "states",
    "threads_for",
]

Device = Literal["auto", "cpu"]
Precision = Literal["no", "bf16", "fp16"]
FEW_OUTPUTS = 1 << 17
"""Numbers in one layer's output, all nets together, below which a second thread costs more than it saves."""


@dataclass(frozen=True)
class Runtime:
    """The devices of a run.

    Attributes:
        accelerator: prepares models, sums over processes.
        checkpoint_seconds: least time between two checkpoints.
    """

    accelerator: Any
    checkpoint_seconds: float = 20.0

    @classmethod
    def create(cls, device: Device = "auto", precision: Precision = "no") -> Runtime:
        """The runtime of this process; under `accelerate launch` or torchrun, one of several.

        Accelerate holds one device and one precision in a process: a runtime of another one takes the place of the
        earlier ones, which are not to be used any more.

        Raises:
            ActsmithError: accelerate is missing, no such kind of device or precision.
        """
        if device not in get_args(Device) or precision not in get_args(Precision):
            raise ActsmithError(
                f"training: got device={device!r}, precision={precision!r}; expected {_either(Device)}, and "
                f"{_either(Precision)}"
            )
        accelerate = require("accelerate", "search", "training")
        state = require("accelerate.state", "search", "training")
        if state.AcceleratorState._shared_state:
            now = state.AcceleratorState()
            cpu = now.device.type == "cpu"
            other = (device == "cpu" and not cpu) or (device == "auto" and cpu and torch.accelerator.is_available())
            if other or str(now.mixed_precision) != precision:
                state.AcceleratorState._reset_state(reset_partial_state=state.PartialState().num_processes == 1)
        return cls(accelerate.Accelerator(cpu=device == "cpu", mixed_precision=precision))

    @property
    def device(self) -> torch.device:
        """Of this process."""
        found: torch.device = self.accelerator.device
        return found

    @property
    def main(self) -> bool:
        """Whether this process writes the results."""
        return bool(self.accelerator.is_main_process)

    @property
    def rank(self) -> int:
        return int(self.accelerator.process_index)

    @property
    def world(self) -> int:
        """Number of processes."""
        return int(self.accelerator.num_processes)

    @property
    def scales(self) -> bool:
        """Whether gradients are scaled (float16)."""
        return str(self.accelerator.mixed_precision) == "fp16"

    def backward(self, loss: torch.Tensor) -> None:
        """Gradients of a loss, scaled where that is asked."""
        if self.scales:
            self.accelerator.backward(loss)
        else:
            torch.autograd.backward(loss)

    def forget(self) -> None:
        """Let go of what Accelerate prepared, all of which it keeps otherwise; `free_memory` would collect garbage
        besides, for a third of a second."""
        self.accelerator._models.clear()
        self.accelerator._optimizers.clear()

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Over the processes."""
        if self.world == 1:
            return value
        found: torch.Tensor = self.accelerator.reduce(value, "mean")
        return found

    def anywhere(self, said: bool) -> bool:
        """Whether any process says so."""
        return said if self.world == 1 else bool(self.mean(torch.tensor(float(said), device=self.device)) > 0)


def _either(kinds: Any) -> str:
    return " or ".join(repr(kind) for kind in get_args(kinds))


@contextmanager
def threads_for(count: int | None) -> Iterator[None]:
    """At most so many threads of torch; None leaves them alone."""
    before = torch.get_num_threads()
    if count is not None and count < before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def few(models: Sequence[nn.Module], batch: int) -> int | None:
    """One thread for networks that say their `width` where it is small, else None: as many as there are."""
    width = getattr(models[0], "width", None)
    return None if width is None or len(models) * batch * int(width) >= FEW_OUTPUTS else 1


def seed_step(device: torch.device, *numbers: int) -> None:
    """Seed what a step draws from, the CPU's generator and the device's, by one seed from several numbers.

    torch.manual_seed would besides, at each call, queue a call stack for every kind of device that is not in use: a
    quarter of a small network's step.
    """
    value = mixed(*numbers)
    torch.default_generator.manual_seed(value)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(value)


def states(device: torch.device) -> list[torch.Tensor]:
    """Of the generators that a step on this device may draw from."""
    found = [torch.default_generator.get_state()]
    return found if device.type == "cpu" else [*found, torch.get_device_module(device).get_rng_state(device)]


@contextmanager
def generators_kept(device: torch.device) -> Iterator[None]:
    """Whatever is seeded and drawn inside, the caller's generators are as they were."""
    cpu, *others = states(device)
    try:
        yield
    finally:
        torch.default_generator.set_state(cpu)
        for state in others:
            torch.get_device_module(device).set_rng_state(state, device)


def reset_peak(device: torch.device) -> None:
    """Forget what earlier trainings held at most."""
    if (counting := _counting(device)) is not None:
        counting.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int | None:
    """What the allocator held at most since then; None where there is none that counts."""
    counting = _counting(device)
    return None if counting is None else int(counting.max_memory_allocated(device))


def _counting(device: torch.device) -> Any:
    """The module whose allocator remembers its peak; None for the CPU and MPS."""
    module = None if device.type == "cpu" else torch.get_device_module(device)
    return module if hasattr(module, "max_memory_allocated") else None


def mixed(*numbers: int) -> int:
    """One seed from several numbers (the odd multiplier of splitmix64)."""
    value = 0
    for number in numbers:
        value = ((value ^ number) * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**63
    return value
