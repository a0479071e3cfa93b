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
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from actsmith.benchmarks.adaptive import Kept
from actsmith.benchmarks.measure import interleaved
from actsmith.nn import EntropyDescent, KANLinear
from actsmith.trials.statistics import Interval, interval, paired_difference

__all__ = ["BSplineKAN", "KANResult", "compare_kans"]

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SEEDS, TUNING_SEEDS = (0, 1, 2, 3, 4), (100, 101)
ORDER = 7
ENTROPY_WEIGHT = 1e-3
EVERY, ROUNDS = 10, 12
"""Steps from one sample of entropy descent to the next, which are timed together, and how often."""


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
        seconds: fastest time of a step, a mean over ten.
        ratio: to the B-splines' step, the median of neighbouring times.
        bytes: kept by a forward pass for backward.
    """

    problem: str
    layer: str
    score: Interval
    difference: Interval
    rate: float
    seconds: float
    ratio: float
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
    steps = {name: _Training(data, name, 0, 1e-3).step for name in LAYERS}
    times = {row.activation: row for row in interleaved("step", steps, ROUNDS, EVERY)}
    for name in LAYERS:
        tuned = {r: np.mean([train(data, name, seed, r, part=1) for seed in TUNING_SEEDS]) for r in rates}
        rate = min(rates, key=lambda r: sign * tuned[r])
        scores = [train(data, name, seed, rate, part=2) for seed in seeds]
        reference = reference or scores
        results.append(
            KANResult(
                problem=data.name,
                layer=name,
                score=interval(scores),
                difference=paired_difference(scores, reference),
                rate=rate,
                seconds=times[name].seconds or 0.0,
                ratio=times[name].p50,
                bytes=bytes_kept(data, name),
            )
        )
    return results


class _Training:
    """One network and what trains it."""

    def __init__(self, data: Data, name: str, seed: int, rate: float) -> None:
        torch.manual_seed(seed)
        self.data = data
        self.model = nn.Sequential(*(LAYERS[name](i, o) for i, o in pairwise(data.widths)))
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=rate, weight_decay=1e-4)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, data.steps)
        entropic = "entropy" in name
        self.descent = EntropyDescent(self.model, ENTROPY_WEIGHT, EVERY, samples=1024) if entropic else None

    def loss(self) -> Tensor:
        """Of a random batch."""
        x, y = self.data.parts[0]
        rows = torch.randint(len(x), (self.data.batch,))
        found, wanted = self.model(x[rows]), y[rows]
        return functional.mse_loss(found, wanted) if y.is_floating_point() else functional.cross_entropy(found, wanted)

    def step(self) -> None:
        loss = self.loss()
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        if self.descent is not None:
            self.descent.step()
        self.optimiser.step()
        self.schedule.step()


def train(data: Data, name: str, seed: int, rate: float, *, part: int) -> float:
    """The score on a part."""
    training = _Training(data, name, seed, rate)
    for _ in range(data.steps):
        training.step()
    with torch.no_grad():
        x, y = data.parts[part]
        found = training.model.eval()(x)
        right = (found - y).square().mean().sqrt() if y.is_floating_point() else (found.argmax(1) == y).float().mean()
    return float(right)


def bytes_kept(data: Data, name: str) -> int:
    """What a forward pass keeps for backward."""
    training = _Training(data, name, 0, 1e-3)
    kept = Kept(training.model)
    with kept:
        training.loss()
    return kept.bytes


def main() -> None:
    """Print the table."""
    problems = [regression(), *(mnist(Path(path)) for path in sys.argv[1:])]
    print("problem     layer                         score  95 % interval      minus B-splines             ", end="")
    print("rate    ms/step  ratio  MB kept")
    for result in (r for data in problems for r in compare_kans(data)):
        s, d = result.score, result.difference
        print(
            f"{result.problem:12}{result.layer:26}{s.mean:9.4f}  [{s.low:.4f}, {s.high:.4f}]  "
            f"{d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}]  {result.rate:<7g} {result.seconds * 1e3:7.2f}  "
            f"{result.ratio:5.2f}  {result.bytes / 1e6:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
