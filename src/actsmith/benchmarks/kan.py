"""`KANLinear` beside the B-spline formulation of KANs: accuracy, time and memory, paired by seed.

    python -m actsmith.benchmarks.kan [mnist_5k.csv.gz]

The B-spline layer follows the published equations (Liu et al., arXiv:2404.19756, eq. 2.10-2.11, in the form that
efficient-kan made common: bases once for each input, then one product):

    y_o = sum_i [w_oi silu(x_i) + sum_j c_oij B_j(x_i)]

with B_j the cubic B-splines of a uniform grid of 5 cells on [-1, 1], extended by 3 on both sides. Both layers have nine
numbers on an edge: one for silu and eight for the terms. Learning rates are tuned for each on its own seeds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from actsmith.benchmarks.adaptive import Kept
from actsmith.experiments.statistics import Interval, interval, paired_difference
from actsmith.nn import EntropyDescent, KANLinear

__all__ = ["BSplineKAN", "KANResult", "compare_kans"]

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SEEDS, TUNING_SEEDS = (0, 1, 2, 3, 4), (100, 101)
ORDER = 7
ENTROPY_WEIGHT = 1e-3


class BSplineKAN(nn.Module):
    """The reference layer: cubic B-splines by the recursion of Cox and de Boor."""

    grid: Tensor

    def __init__(self, in_features: int, out_features: int, cells: int = 5, degree: int = 3) -> None:
        super().__init__()
        self.degree = degree
        step = 2 / cells
        self.register_buffer("grid", torch.arange(-degree, cells + degree + 1) * step - 1)
        self.base = nn.Parameter(torch.empty(out_features, in_features))
        self.spline = nn.Parameter(torch.randn(out_features, in_features, cells + degree) * 0.1 / cells)
        nn.init.kaiming_uniform_(self.base, a=5**0.5)

    def bases(self, x: Tensor) -> Tensor:
        """B_j(x_i), (..., in, cells + degree)."""
        x, t = x[..., None], self.grid
        b = ((x >= t[:-1]) & (x < t[1:])).to(x.dtype)
        for k in range(1, self.degree + 1):
            rising = (x - t[: -k - 1]) / (t[k:-1] - t[: -k - 1]) * b[..., :-1]
            falling = (t[k + 1 :] - x) / (t[k + 1 :] - t[1:-k]) * b[..., 1:]
            b = rising + falling
        return b

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        splines = functional.linear(self.bases(x).flatten(-2), self.spline.flatten(1))
        return functional.linear(functional.silu(x), self.base) + splines


Layer = Callable[[int, int], nn.Module]
LAYERS: dict[str, Layer] = {
    "B-splines": BSplineKAN,
    "Hermite": lambda i, o: KANLinear(i, o, "silu", ORDER),
    "Hermite, entropy descent": lambda i, o: KANLinear(i, o, "silu", ORDER),
}


@dataclass(frozen=True)
class Data:
    """A problem: training, validation and test pairs, widths and budget; classes have integer targets."""

    name: str
    parts: tuple[tuple[Tensor, Tensor], ...]
    widths: tuple[int, ...]
    steps: int
    batch: int


@dataclass(frozen=True)
class KANResult:
    """One layer on one problem.

    Attributes:
        score: test accuracy, or root mean square error; 95 % over seeds.
        difference: from the B-splines, paired by seed.
        rate: the tuned learning rate.
        seconds: median time of a step.
        bytes: kept by a forward pass for backward.
    """

    problem: str
    layer: str
    score: Interval
    difference: Interval
    rate: float
    seconds: float
    bytes: int


def regression(size: int = 3000) -> Data:
    """exp((sin(pi (a^2 + b^2)) + sin(pi (c^2 + d^2)))/2) on [-1, 1]^4, one of the KAN paper's."""
    x = torch.rand(size, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    squares = torch.pi * (x[:, 0::2].square() + x[:, 1::2].square())
    y = torch.exp(squares.sin().mean(1, keepdim=True))
    return Data("regression", _split(x, y), (4, 10, 10, 1), 600, 128)


def mnist(path: Path) -> Data:
    """5,000 digits of MNIST from rows of 784 grey values and a label, scaled to [-1, 1]."""
    rows = torch.from_numpy(np.loadtxt(path, delimiter=",", dtype=np.float32))
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    return Data("MNIST-5k", _split(rows[:, :-1] / 127.5 - 1, rows[:, -1].long()), (784, 32, 10), 150, 128)


def _split(x: Tensor, y: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
    ends = (0, len(x) * 6 // 10, len(x) * 8 // 10, len(x))
    return tuple((x[a:b], y[a:b]) for a, b in pairwise(ends))


def compare_kans(data: Data, seeds: tuple[int, ...] = SEEDS, rates: tuple[float, ...] = RATES) -> list[KANResult]:
    """Every layer: the rate tuned on the validation part, then scored on the test part."""
    results: list[KANResult] = []
    reference: list[float] = []
    sign = 1.0 if data.parts[0][1].is_floating_point() else -1.0
    for name in LAYERS:
        tuned = {r: np.mean([train(data, name, seed, r, part=1)[0] for seed in TUNING_SEEDS]) for r in rates}
        rate = min(rates, key=lambda r: sign * tuned[r])
        runs = [train(data, name, seed, rate, part=2) for seed in seeds]
        scores = [run[0] for run in runs]
        reference = reference or scores
        results.append(
            KANResult(
                problem=data.name,
                layer=name,
                score=interval(scores),
                difference=paired_difference(scores, reference),
                rate=rate,
                seconds=median(run[1] for run in runs),
                bytes=runs[0][2],
            )
        )
    return results


def train(data: Data, name: str, seed: int, rate: float, *, part: int) -> tuple[float, float, int]:
    """Score on a part, median seconds of a step, bytes kept for backward."""
    torch.manual_seed(seed)
    model = nn.Sequential(*(LAYERS[name](i, o) for i, o in pairwise(data.widths)))
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, data.steps)
    descent = EntropyDescent(model, ENTROPY_WEIGHT, samples=1024) if "entropy" in name else None
    x, y = data.parts[0]
    times, kept = [], Kept(model)
    for step in range(data.steps):
        rows = torch.randint(len(x), (data.batch,))
        began = time.perf_counter()
        with kept if step == 0 else nullcontext():
            loss = _loss(model(x[rows]), y[rows])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        if descent is not None:
            descent.step()
        optimiser.step()
        schedule.step()
        times.append(time.perf_counter() - began)
    with torch.no_grad():
        x, y = data.parts[part]
        found = model.eval()(x)
        right = (found - y).square().mean().sqrt() if y.is_floating_point() else (found.argmax(1) == y).float().mean()
    return float(right), median(times), kept.bytes


def _loss(found: Tensor, y: Tensor) -> Tensor:
    return functional.mse_loss(found, y) if y.is_floating_point() else functional.cross_entropy(found, y)


def main() -> None:
    """Print the table."""
    problems = [regression(), *(mnist(Path(path)) for path in sys.argv[1:])]
    print(
        f"{'problem':12}{'layer':26}{'score':>9}  95 % interval      minus B-splines             rate    ms   MB kept"
    )
    for result in (r for data in problems for r in compare_kans(data)):
        s, d = result.score, result.difference
        print(
            f"{result.problem:12}{result.layer:26}{s.mean:9.4f}  [{s.low:.4f}, {s.high:.4f}]  "
            f"{d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}]  {result.rate:g}  {result.seconds * 1e3:6.2f}  "
            f"{result.bytes / 1e6:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
