"""All benchmarks, or some, with their rows written as CSV while they come."""

from __future__ import annotations

import csv
import dataclasses
import platform
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from actsmith.benchmarks.measure import SECONDS, Row, Say
from actsmith.errors import ActsmithError

__all__ = ["PARTS", "line", "machine", "run"]

PARTS = (
    "activation", "training", "pinn", "engine", "adaptive", "theory", "criticality", "surgery", "workers", "playground",
    "gpu",
)  # fmt: skip


def run(parts: Sequence[str], quick: bool, out: Path, say: Say) -> Iterator[Row]:
    """The rows of these parts (all, when none is named), each also a line of the CSV file `out`.

    Args:
        parts: of PARTS.
        quick: fewer repeats, smaller sizes, no torch.compile: under two minutes on two cores.
        out: the CSV file, with the columns of `Row`.
        say: gets one line about each peer or part that is left out, and why.

    Raises:
        ActsmithError: an unknown part, or a file that cannot be written.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise ActsmithError(f"benchmarks: got {', '.join(unknown)!r}; expected some of {', '.join(PARTS)}")
    try:
        file = out.open("w", newline="", encoding="utf-8")
    except OSError as error:
        raise ActsmithError(f"benchmarks: {out} cannot be written: {error.strerror}") from None
    with file:
        writer = csv.DictWriter(file, [f.name for f in dataclasses.fields(Row)])
        writer.writeheader()
        for part in parts or PARTS:
            for row in import_module(f"actsmith.benchmarks.{part}").rows(quick, say):
                writer.writerow(dataclasses.asdict(row))
                file.flush()
                yield row


def machine() -> dict[str, Any]:
    """What the numbers hold for; the bandwidth is a copy's of 40 MB, read and written, in 10^9 bytes per second."""
    import torch

    from actsmith.benchmarks.activation import copy_bandwidth

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "copy_bandwidth": round(copy_bandwidth() / 1e9, 1),
    }


def line(row: Row) -> str:
    """A row as text: the median, the percentiles around it, and its target."""
    mark = "" if row.met is None else f"  target {row.target:.3g} {'met' if row.met else 'MISSED'}"
    numbers = f"{row.p50:8.3g} ({row.p20:.3g} to {row.p80:.3g})"
    unit = "s" if row.against == SECONDS else f"of {row.against}"
    return f"{row.what:36} {row.activation:14} {numbers:28} {unit}{mark}"
