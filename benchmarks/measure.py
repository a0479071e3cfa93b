"""Interleaved timing: what is compared is run in turn, so that a disturbance meets all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Row", "interleaved", "naive_crrelu"]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what, activation, against: what was timed, with which activation, and with which the times are compared.
        seconds: its fastest time, for one call.
        p20, p50, p80: percentiles of the ratio of neighbouring times.
        ratio: fastest time over the other's fastest time.
        target: what the ratio (p50) is meant to stay below; None for none.
    """

    what: str
    activation: str
    against: str
    seconds: float
    p20: float
    p50: float
    p80: float
    ratio: float
    target: float | None = None


def interleaved(  # noqa: PLR0917
    what: str,
    calls: Mapping[str, Callable[[], object]],
    against: str,
    repeats: int,
    inner: int = 1,
    targets: Mapping[str, float] | None = None,
) -> list[Row]:
    """Time each of `calls`, `inner` at a time, `repeats` times in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(inner):
                call()
            times[name].append((time.perf_counter() - start) / inner)
    base = np.array(times[against])
    rows = []
    for name, values in times.items():
        p20, p50, p80 = np.percentile(np.array(values) / base, [20, 50, 80])
        ratio = min(values) / base.min()
        target = (targets or {}).get(name)
        rows.append(Row(what, name, against, min(values), float(p20), float(p50), float(p80), float(ratio), target))
    return rows


class naive_crrelu(nn.Module):  # noqa: N801  (a factory like the others)
    """CRReLU as one writes it in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.eps = nn.Parameter(torch.tensor(0.01))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) + self.eps * x * torch.exp(-(x**2) / 2)
