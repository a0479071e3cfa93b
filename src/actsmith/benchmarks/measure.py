"""Interleaved timing: what is compared is run in turn, so that a disturbance meets all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Row", "Say", "absolute", "best", "interleaved", "naive_crrelu"]

Say = Callable[[str], None]
"""Takes one line on what is left out."""

SECONDS = "1 s"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what, activation: what was measured, and with which activation.
        against: with whose times these are compared; SECONDS where the numbers are themselves seconds.
        seconds: the fastest time of one call; None where no time was measured.
        p20, p50, p80: percentiles of the ratio of neighbouring times.
        ratio: fastest time over the other's fastest time.
        target: what p50 is meant to stay at or below; None for none.
    """

    what: str
    activation: str
    against: str
    seconds: float | None
    p20: float
    p50: float
    p80: float
    ratio: float
    target: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the median is at most the target; None without one."""
        return None if self.target is None else self.p50 <= self.target


def interleaved(
    what: str,
    calls: Mapping[str, Callable[[], object]],
    repeats: int,
    inner: int = 1,
    targets: Mapping[str, float] | None = None,
) -> list[Row]:
    """Time each of `calls`, `inner` at a time, `repeats` times in turn; the first is what the others are compared with.

    Args:
        what: what they do.
        calls: activation -> one call.
        repeats, inner: rounds, and calls in each of them.
        targets: activation -> what its median ratio is meant to stay at or below.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(inner):
                call()
            times[name].append((time.perf_counter() - start) / inner)
    against = next(iter(calls))
    base = np.array(times[against])
    rows = []
    for name, values in times.items():
        p20, p50, p80 = (float(p) for p in np.percentile(np.array(values) / base, [20, 50, 80]))
        ratio = float(min(values) / base.min())
        rows.append(Row(what, name, against, min(values), p20, p50, p80, ratio, (targets or {}).get(name)))
    return rows


def absolute(what: str, activation: str, seconds: Sequence[float], target: float | None) -> Row:
    """Times that are compared with nothing."""
    p20, p50, p80 = (float(p) for p in np.percentile(seconds, [20, 50, 80]))
    return Row(what, activation, SECONDS, min(seconds), p20, p50, p80, min(seconds), target)


def best(work: Callable[[], object], runs: int = 7) -> float:
    """Seconds of the fastest run."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


class naive_crrelu(nn.Module):  # noqa: N801  (a factory like the others)
    """CRReLU as one writes it in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.eps = nn.Parameter(torch.tensor(0.01))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) + self.eps * x * torch.exp(-(x**2) / 2)
