"""The contract between what is learned and the loop that trains: data, loss and scores of a stack of networks.

| symbol | meaning                                          | shape                    |
|--------|--------------------------------------------------|--------------------------|
| nets   | networks trained side by side, one seed each     | 1 for most models        |
| order  | which training examples each net sees, in a step | (nets, batch), int64     |
| loss   | the mean over each net's batch                   | (nets,)                  |
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Arrays", "Classification", "Metric", "Problem", "Regression"]

Split = Literal["validation", "test"]
_CHUNK = 1024


@dataclass(frozen=True)
class Metric:
    """A score: its name in `Problem.score`, which way is better, and whether it is compared by its logarithm.

    An error that spans decades is compared by log10: its mean is the geometric one, a difference is in decades.
    """

    name: str
    better: Literal["higher", "lower"]
    log: bool = False

    def transformed(self, values: Sequence[float | None]) -> list[float] | None:
        """What is averaged, the values or their log10; None where one is missing or not finite."""
        numbers = [v for v in values if v is not None and math.isfinite(v)]
        if len(numbers) < len(values):
            return None
        return [math.log10(max(v, sys.float_info.min)) for v in numbers] if self.log else numbers

    def merit(self, values: Sequence[float | None]) -> float:
        """The mean, signed so that more is better; minus infinity where a value is missing or not finite."""
        numbers = self.transformed(values)
        if numbers is None or not numbers:
            return -math.inf
        mean = sum(numbers) / len(numbers)
        return mean if self.better == "higher" else -mean


class Problem(ABC):
    """What is learned, loaded and ready. A user's own problem is one subclass.

    Attributes:
        metric: the score that is reported, and by which learning rates are tuned on the validation split.
        size: number of training examples; an epoch goes through all of them once.
        inputs: shape of one input, without batch.
        outputs: numbers in one output.
        square: the mean square of an input's entries, by which critical networks scale their first layer.
    """

    metric: Metric
    size: int
    inputs: tuple[int, ...]
    outputs: int
    square: float = 1.0

    def batches(self, orders: Iterable[Tensor], device: torch.device) -> Iterator[Any]:
        """What `loss` takes, for one order after another. Override to load ahead."""
        for order in orders:
            yield self.batch(order, device)

    @abstractmethod
    def batch(self, order: Tensor, device: torch.device) -> Any:
        """The examples of one order (nets, batch). Randomness comes from torch's global generator, seeded per step."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss of each net, (nets,). `model` maps (nets, batch, ...) to (nets, batch, outputs)."""

    @abstractmethod
    def score(self, model: nn.Module, split: Split) -> dict[str, Tensor]:
        """Scores of each net, (nets,), one of them `metric.name`. Runs without gradients unless it enables them."""


class Arrays(Problem):
    """A problem whose splits are tensors (x, y) in memory.

    Args:
        train, validation, test: inputs (n, ...) and targets (n, ...).
        outputs: numbers in one output.
    """

    def __init__(
        self,
        train: tuple[Tensor, Tensor],
        validation: tuple[Tensor, Tensor],
        test: tuple[Tensor, Tensor],
        outputs: int,
    ) -> None:
        self.train, self.splits = train, {"validation": validation, "test": test}
        self.size = len(train[0])
        self.inputs = tuple(train[0].shape[1:])
        self.outputs = outputs
        self.square = float(train[0].double().square().mean())

    def batch(self, order: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        x, y = self.train
        return x[order].to(device), y[order].to(device)

    @torch.no_grad()
    def outputs_of(self, model: nn.Module, x: Tensor, device: torch.device) -> Tensor:
        """The model's outputs on inputs (n, ...) that all nets share, (nets, n, outputs), chunk by chunk."""
        nets = getattr(model, "nets", 1)
        parts = [model(c.to(device).expand(nets, *c.shape)).float() for c in torch.split(x, _CHUNK)]
        return torch.cat(parts, 1)


class Classification(Arrays):
    """Cross-entropy on integer labels; scored by accuracy."""

    metric = Metric("accuracy", "higher")
    smoothing = 0.0

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        logits = model(x)
        each = functional.cross_entropy(
            logits.flatten(0, 1), y.reshape(-1), reduction="none", label_smoothing=self.smoothing
        )
        return each.view(y.shape).mean(1)

    def score(self, model: nn.Module, split: Split) -> dict[str, Tensor]:
        x, y = self.splits[split]
        device = next(model.parameters()).device
        logits = self.outputs_of(model, x, device)
        y = y.to(device)
        # A logit that is no number is never right.
        right = (logits.argmax(-1) == y) & torch.isfinite(logits).all(-1)
        labels = y.expand(len(logits), -1)
        each = functional.cross_entropy(logits.flatten(0, 1), labels.reshape(-1), reduction="none")
        return {"accuracy": right.double().mean(1), "loss": each.view(labels.shape).double().mean(1)}


class Regression(Arrays):
    """Mean squared error; scored by its root over the target's deviation on the split: 1 is what the mean scores."""

    metric = Metric("relative_rmse", "lower", log=True)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        error: Tensor = model(x) - y
        return error.square().mean((1, 2))

    def score(self, model: nn.Module, split: Split) -> dict[str, Tensor]:
        x, y = self.splits[split]
        device = next(model.parameters()).device
        error = (self.outputs_of(model, x, device) - y.to(device)).double()
        spread = y.double().sub(y.double().mean(0)).square().mean().sqrt().to(device)
        return {"relative_rmse": error.square().mean((1, 2)).sqrt() / spread}
