"""What one network learns: data, a loss, and scores. How many networks train side by side is the engine's business.

| symbol | meaning                                            | shape            |
|--------|----------------------------------------------------|------------------|
| order  | which training examples a step sees                | (batch,), int64  |
| loss   | the mean over the batch                            | ()               |
| score  | what a trained network is worth on a split         | a number a name  |
"""

from __future__ import annotations

import hashlib
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.training.runtime import generators_kept, seed_step

__all__ = ["Arrays", "Classification", "Metric", "Problem", "Regression", "Split", "digest_of", "exact"]

Split = Literal["validation", "test"]
_CHUNK = 1024


@dataclass(frozen=True)
class Metric:
    """A score: its name in `Problem.score`, which way is better, and whether it is compared by its logarithm.

    An error that spans decades is compared by log10: its mean is the geometric one, a difference is in decades. A
    `share` lies in [0, 1], and so does its interval.

    Raises:
        ActsmithError: neither way is better.
    """

    name: str
    better: Literal["higher", "lower"]
    log: bool = False
    share: bool = False

    def __post_init__(self) -> None:
        if self.better not in ("higher", "lower"):
            raise ActsmithError(f"metric {self.name}: better: got {self.better!r}; expected 'higher' or 'lower'")

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1."""
        return 1 if self.better == "higher" else -1

    def transformed(self, values: Sequence[float | None]) -> list[float] | None:
        """What is averaged, the values or their log10; None where one is missing or not finite."""
        numbers = [v for v in values if v is not None and math.isfinite(v)]
        if len(numbers) < len(values):
            return None
        return [math.log10(max(v, sys.float_info.min)) for v in numbers] if self.log else numbers

    def merit(self, values: Sequence[float | None]) -> float:
        """The mean, signed so that more is better; minus infinity where a value is missing or not finite."""
        numbers = self.transformed(values)
        return self.sign * sum(numbers) / len(numbers) if numbers else -math.inf


class Problem(ABC):
    """What is learned, loaded and ready. A user's own problem is one subclass.

    Attributes:
        metric: the score that is reported, and by which choices are made on the validation split.
        size: number of training examples; an epoch goes through all of them once.
        inputs: shape of one input, without batch.
        outputs: numbers in one output.
        square: the mean square of an input's entries, by which critical networks scale their first layer.
        random: whether `batch` draws random numbers (from torch's global generator, seeded for each step and net).
        alone: whether networks must be trained one after another, as for data that worker processes read ahead.
    """

    metric: Metric
    size: int
    inputs: tuple[int, ...]
    outputs: int
    square: float = 1.0
    random: bool = False
    alone: bool = False

    @property
    def fingerprint(self) -> str:
        """A digest of the data: results of other data are never taken up."""
        return ""

    def batches(self, orders: Iterable[Tensor], device: torch.device) -> Iterator[Any]:
        """What `loss` takes, for one order after another. Override to load ahead."""
        for order in orders:
            yield self.batch(order, device)

    @abstractmethod
    def batch(self, order: Tensor, device: torch.device) -> Any:
        """The examples of one order (batch,): a tensor, or a tuple, list or dict of tensors (batch, ...)."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss of one network, a scalar."""

    @abstractmethod
    def score(self, model: nn.Module, split: Split) -> Mapping[str, float | Tensor]:
        """Scores of one network, `metric.name` among them. Runs without gradients unless it enables them."""

    def example(self, count: int, device: torch.device) -> Any:
        """The first training examples as a batch, the same at each call."""
        with generators_kept(device):
            seed_step(device, 0)
            return self.batch(torch.arange(min(count, self.size)), device)

    def inputs_of(self, batch: Any) -> Any:
        """What the network is called with, of a batch: the first of a pair."""
        return batch[0] if isinstance(batch, tuple | list) else batch


def digest_of(*parts: Tensor | str) -> str:
    """16 hexadecimal digits of tensors and texts."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            found.update(f"{part.dtype}{tuple(part.shape)}".encode())
            found.update(part.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        else:
            found.update(part.encode())
    return found.hexdigest()[:16]


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

    @property
    def fingerprint(self) -> str:
        """Of all three splits."""
        return digest_of(*self.train, *self.splits["validation"], *self.splits["test"])

    def batch(self, order: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        x, y = self.train
        return x[order].to(device), y[order].to(device)

    @torch.no_grad()
    def outputs_of(self, model: nn.Module, x: Tensor, device: torch.device) -> Tensor:
        """The model's outputs on inputs (n, ...), in float32 or more, chunk by chunk."""
        return torch.cat([_full(model(chunk.to(device))) for chunk in torch.split(x, _CHUNK)])


def _full(x: Tensor) -> Tensor:
    """In float32, where it is less."""
    return x if x.dtype == torch.float64 else x.float()


def exact(x: Tensor) -> Tensor:
    """In float64, on the CPU where the device has no such numbers."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


class Classification(Arrays):
    """Cross-entropy on integer labels; scored by accuracy."""

    metric = Metric("accuracy", "higher", share=True)
    smoothing = 0.0

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        return functional.cross_entropy(_full(model(x)), y, label_smoothing=self.smoothing)

    def score(self, model: nn.Module, split: Split) -> dict[str, Tensor]:
        x, y = self.splits[split]
        logits = exact(self.outputs_of(model, x, _device(model)))
        y = y.to(logits.device)
        # A logit that is no number is never right.
        right = (logits.argmax(-1) == y) & torch.isfinite(logits).all(-1)
        return {"accuracy": right.double().mean(), "loss": functional.cross_entropy(logits, y)}


class Regression(Arrays):
    """Mean squared error; scored by its root over the target's deviation on the split: 1 is what the mean scores."""

    metric = Metric("relative_rmse", "lower", log=True)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        return functional.mse_loss(_full(model(x)), y)

    def score(self, model: nn.Module, split: Split) -> dict[str, Tensor]:
        x, y = self.splits[split]
        return {"relative_rmse": relative_error(self.outputs_of(model, x, _device(model)), y)}


def relative_error(found: Tensor, y: Tensor) -> Tensor:
    """Root mean square error of outputs (n, ...) over the deviation of the targets."""
    found = exact(found)
    true = y.to(found)
    spread = true.sub(true.mean(0)).square().mean().sqrt()
    return (found - true).square().mean().sqrt() / spread
