"""CRReLU in a vision transformer on a CUDA device, in the time that is given: blocks of one seed with all activations.

    python scripts/gpu_vit.py --data DIR [--minutes 10] [--out gpu_vit.jsonl] [--dry]

A ViT of 6 blocks and width 192 with patches of 4 on CIFAR-10 at 32 pixels, images and crops on the device. It
measures images per second first and takes as many epochs (10 at most) as leave `BLOCKS` blocks; rates are those that
were tuned on the CPU (docs/results/crrelu-vision). A JSON line after each training; it ends when every question is
decided or the time is over, with the answers. --dry does the same with digits and a small network on the CPU.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actsmith.formula.catalogue import get_activation
from actsmith.papers.claims import SEQUENTIAL, judge
from actsmith.papers.crrelu import ACCURACY, LOSS, crrelu, fast
from actsmith.papers.crrelu_vision import QUESTIONS
from actsmith.tasks.images import Images, MemoryImages
from actsmith.tasks.vision import Vit
from actsmith.training.fit import Fit, fit
from actsmith.training.problem import Metric
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime
from actsmith.trials.tables import Row, Table

RATES = {"relu": 2e-3, "gelu": 2e-3, "silu": 2e-3, "prelu": 2e-3, "crrelu": 2e-3, "crrelu_fast": 2e-3}
ARMS = {f.name: f for f in (*map(get_activation, ("relu", "gelu", "silu", "prelu")), crrelu(), fast())}
BLOCKS, MOST = 8, 10
"""Seeds that the time should do for, and epochs at most."""
BATCH = 128
PUBLISHED = Path(__file__).resolve().parent.parent / "docs" / "results" / "crrelu-vision" / "findings.json"


class OnDevice(MemoryImages):
    """All images on the device, where they are cropped and mirrored, too."""

    def put(self, device: torch.device) -> OnDevice:
        """Move them there."""
        self.train = tuple(t.to(device) for t in self.train)  # type: ignore[assignment]
        return self

    def batch(self, order: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        return super().batch(order.to(self.train[0].device), device)


def main() -> int:
    """Train until all is decided or the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--dry", action="store_true", help="digits and a small network, on the CPU")
    parser.add_argument("--out", type=Path, default=Path("gpu_vit.jsonl"))
    asked = parser.parse_args()
    end = time.monotonic() + 60 * asked.minutes
    runtime = Runtime.create("cpu" if asked.dry else "auto", "no" if asked.dry else "bf16")
    config = Images(dataset="digits" if asked.dry else "cifar10", augment=True)
    problem = config.load(asked.data)
    assert isinstance(problem, MemoryImages)
    problem.__class__ = OnDevice
    problem.put(runtime.device)  # type: ignore[attr-defined]
    model = Vit(dim=24, depth=2, heads=2, patch=2) if asked.dry else Vit(dim=192, depth=6, heads=3, patch=4)
    train = _Trains(problem, model, runtime)
    speed = train.images_per_second()
    epochs = max(1, min(MOST, int(60 * asked.minutes * speed / (BLOCKS * len(ARMS) * problem.size))))
    with asked.out.open("w", encoding="utf-8") as out:

        def tell(**values: Any) -> None:
            line = json.dumps(values)
            print(line, flush=True)
            out.write(line + "\n")
            out.flush()

        tell(device=str(runtime.device), images_per_second=round(speed), epochs=epochs, rates=tuned())
        whole: list[dict[str, Fit]] = []
        longest = 0.0
        while time.monotonic() + longest < end:
            began, seed = time.monotonic(), len(whole)
            block = {}
            for name in random.Random(seed).sample(sorted(ARMS), len(ARMS)):
                block[name] = train.one(name, seed, epochs)
                tell(seed=seed, activation=name, **(block[name].test or {}), diverged=block[name].diverged)
            whole.append(block)
            longest = max(longest, time.monotonic() - began)
            claims = judge(QUESTIONS, tables(whole), f"{epochs} epochs") if len(whole) > 1 else ()
            if claims and all(claim.verdict != "open" for claim in claims):
                break
        for claim in judge(QUESTIONS, tables(whole), f"{epochs} epochs") if len(whole) > 1 else ():
            effect = claim.effect
            assert effect is not None
            tell(claim=claim.statement, answer=claim.verdict, mean=effect.mean, low=effect.low, high=effect.high)
        tell(seeds=len(whole), conclusion="ended by the clock" if time.monotonic() + longest >= end else "decided")
    return 0


class _Trains:
    def __init__(self, problem: MemoryImages, model: Vit, runtime: Runtime) -> None:
        self.problem, self.model, self.runtime, self.rates = problem, model, runtime, tuned()

    def one(self, name: str, seed: int, epochs: int, examples: float = 1.0, *, test: bool = True) -> Fit:
        net = self.model.build(ARMS[name], seed, self.problem)
        recipe = Recipe(epochs, BATCH, weight_decay=0.05)
        rate = self.rates[name]
        (found,) = fit(
            self.problem, [net], seeds=[seed], rates=[rate], recipe=recipe, runtime=self.runtime, examples=examples,
            test=test,
        )  # fmt: skip
        return found

    def images_per_second(self) -> float:
        """Of the second of two short trainings: the first compiles."""
        share = min(1.0, 20 * BATCH / self.problem.size)
        for _ in range(2):
            began = time.perf_counter()
            self.one("crrelu", 0, 1, share, test=False)
        return share * self.problem.size / (time.perf_counter() - began)


def tuned() -> dict[str, float]:
    """Activation -> the rate that was best on the CPU."""
    if not PUBLISHED.is_file():
        return RATES
    found = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    table = next(t for t in found["tables"] if t["name"] == "vit-cifar10")
    return RATES | {row["name"]: row["rate"] for row in table["rows"] if row["name"] in RATES}


def tables(blocks: list[dict[str, Fit]]) -> list[Table]:
    """Accuracy and loss by activation and seed."""
    return [_table("vit-cifar10", ACCURACY, blocks), _table("vit-cifar10-loss", LOSS, blocks)]


def _table(name: str, metric: Metric, blocks: list[dict[str, Fit]]) -> Table:
    nothing: dict[str, Any] = dict.fromkeys(
        ("mean", "low", "high", "difference", "difference_low", "difference_high", "p", "effect")
    )
    rows = tuple(
        Row(
            name=arm, values=tuple(None if b[arm].diverged else (b[arm].test or {})[metric.name] for b in blocks),
            rate=0.0, at_edge=False, step_seconds=0.0, peak_bytes=0, diverged=sum(b[arm].diverged for b in blocks),
            **nothing,
        )
        for arm in ARMS
    )  # fmt: skip
    return Table(name, name, metric, "relu", rows, labels={SEQUENTIAL: True})


if __name__ == "__main__":
    sys.exit(main())
