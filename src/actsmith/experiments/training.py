"""Training many networks of one activation in one batched computation, as if each were trained alone.

AdamW (Loshchilov, Hutter, arXiv:1711.05101) with a learning rate for each net:

    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
    theta <- theta - c_t lr [ (m/(1 - b1^t)) / (sqrt(v/(1 - b2^t)) + eps) + decay theta ]

c_t rises linearly over the first steps and falls as a cosine to zero. Weights decay; biases and the activations' own
parameters do not. The nets' losses are summed, so no net's gradient sees another; a net whose loss is no longer finite
is marked as diverged and the others go on.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.experiments.folder import finite_or_none
from actsmith.experiments.initial import Initialisation, initialisation
from actsmith.experiments.network import Network, Stack
from actsmith.experiments.schedule import warm_cosine
from actsmith.experiments.tasks import Split, Task
from actsmith.formula.formula import Formula

__all__ = ["Net", "NetResult", "Optimiser", "Outcome", "train"]

BETA_1, BETA_2, EPS = 0.9, 0.999, 1e-8
_CHUNK = 2048
FEW_OUTPUTS = 1 << 17


@dataclass(frozen=True)
class Net:
    """One network of a batch: its seed (initial draws and order of the data) and its learning rate."""

    seed: int
    learning_rate: float


@dataclass(frozen=True)
class Optimiser:
    """What all nets share: decoupled weight decay and the share of the steps over which the rate rises."""

    weight_decay: float = 0.01
    warm_up: float = 0.1


@dataclass(frozen=True)
class NetResult:
    """What became of one net. Accuracies are shares of a split, by epoch or after the last one.

    Attributes:
        diverged: the loss was not finite at some step.
        loss: mean training loss of each epoch.
        validation: validation accuracy after each epoch.
        validation_loss: after the last epoch.
        best_epoch: the first with the best validation accuracy.
        test_last, test_best: test accuracy after the last and the best epoch; None where it was not looked at.
        parameters: the activation's learned values, a number for each layer.
    """

    seed: int
    learning_rate: float
    diverged: bool
    loss: tuple[float, ...]
    validation: tuple[float, ...]
    validation_loss: float
    best_epoch: int
    test_last: float | None
    test_best: float | None
    parameters: dict[str, list[float]]

    @property
    def validation_last(self) -> float:
        """Validation accuracy after the last epoch."""
        return self.validation[-1]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; a number that is not finite becomes null."""
        values: dict[str, Any] = finite_or_none(dict(vars(self)))
        return values


@dataclass(frozen=True)
class Outcome:
    """A finished batch: a result for each net, the median time of a step of the whole batch, and the networks."""

    nets: tuple[NetResult, ...]
    step_seconds: float
    start: Initialisation
    network: Network = field(repr=False, compare=False)


def train(
    task: Task,
    formula: Formula,
    nets: Sequence[Net],
    *,
    look_at_test: bool = False,
    optimiser: Optimiser | None = None,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Train one network for each of `nets`, all with the activation `formula`, on the task's budget.

    Args:
        task: data, shape and budget.
        formula: the activation; its learnable parameters are trained with the weights.
        nets: seeds and learning rates. Equal seeds mean equal initial draws and equal batches, across activations too.
        look_at_test: whether the test split is scored; choices are made without.
        optimiser: what all nets share.
        dtype: of the computation.
        progress: called with (epochs done, epochs).

    Raises:
        ActsmithError: no nets, or a learning rate that is not positive.
    """
    if not nets or not all(net.learning_rate > 0 and math.isfinite(net.learning_rate) for net in nets):
        raise ActsmithError(f"train: got {list(nets)[:3]}; expected one net or more, with positive learning rates")
    with _threads(len(nets) * task.batch * task.width):
        return _train(
            task, formula, nets, look_at_test=look_at_test, optimiser=optimiser or Optimiser(), dtype=dtype,
            progress=progress,
        )  # fmt: skip


@contextmanager
def _threads(outputs: int) -> Iterator[None]:
    """One thread where a layer's outputs are few: starting a second costs more than it saves."""
    before = torch.get_num_threads()
    if outputs < FEW_OUTPUTS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(
    task: Task,
    formula: Formula,
    nets: Sequence[Net],
    *,
    look_at_test: bool,
    optimiser: Optimiser,
    dtype: torch.dtype,
    progress: Callable[[int, int], None] | None,
) -> Outcome:
    start = initialisation(formula, task.depth)
    square = float(np.mean(np.square(task.train.x, dtype=np.float64)))
    stack = Stack(
        formula, [net.seed for net in nets], features=task.features, width=task.width, depth=task.depth,
        outputs=task.classes, start=start, square=square, dtype=dtype,
    )  # fmt: skip
    network = Network(stack)
    x, y = _tensors(task.train, network.scale, dtype)
    seeds = [net.seed for net in nets]
    orders = {seed: torch.Generator().manual_seed(2**32 + seed) for seed in seeds}
    steps = len(y) // task.batch
    adam = _AdamW(network, [net.learning_rate for net in nets], steps * task.epochs, optimiser)
    record = _Record(task, network, dtype, look_at_test)
    times: list[float] = []
    for epoch in range(task.epochs):
        shuffled = {seed: torch.randperm(len(y), generator=generator) for seed, generator in orders.items()}
        order = torch.stack([shuffled[seed] for seed in seeds])
        losses = []
        for step in range(steps):
            began = time.perf_counter()
            batch = order[:, step * task.batch : (step + 1) * task.batch]
            loss = _losses(network(x[batch]), y[batch])
            torch.autograd.backward(loss.sum(), inputs=network.parameters)
            adam.step()
            losses.append(loss.detach())
            times.append(time.perf_counter() - began)
        record.after_epoch(torch.stack(losses))
        if progress is not None:
            progress(epoch + 1, task.epochs)
    return Outcome(record.results(nets), statistics.median(times), start, network)


def _tensors(split: Split, scale: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(split.x).to(dtype) * scale, torch.from_numpy(split.y)


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of each net, (nets,)."""
    each = functional.cross_entropy(logits.flatten(0, 1), labels.reshape(-1), reduction="none")
    return each.view(labels.shape).mean(1)


class _AdamW:
    """The update at the head of this file on the flat buffer."""

    def __init__(self, network: Network, rates: Sequence[float], total: int, optimiser: Optimiser) -> None:
        lr = torch.tensor(rates, dtype=torch.float64)
        self.network = network
        self.rate = network.spread(lr)
        self.decay = network.spread(lr * optimiser.weight_decay, network.weights)
        self.m = torch.zeros_like(network.values)
        self.v = torch.zeros_like(network.values)
        self.t, self.total = 0, total
        self.warm = max(round(optimiser.warm_up * total), 1)

    def step(self) -> None:
        """One update from the gradients in the buffer, which it then clears."""
        self.t += 1
        c = warm_cosine(self.t, self.total, self.warm)
        theta, g = self.network.values, self.network.gradients
        self.m.lerp_(g, 1 - BETA_1)
        self.v.mul_(BETA_2).addcmul_(g, g, value=1 - BETA_2)
        denominator = self.v.sqrt().mul_(1 / math.sqrt(1 - BETA_2**self.t)).add_(EPS)
        theta.addcmul_(theta, self.decay, value=-c)
        theta.addcmul_(self.m / denominator, self.rate, value=-c / (1 - BETA_1**self.t))
        g.zero_()


class _Record:
    """Accuracies and losses as the epochs pass."""

    def __init__(self, task: Task, network: Network, dtype: torch.dtype, look_at_test: bool) -> None:
        self.network = network
        self.validation_data = _tensors(task.validation, network.scale, dtype)
        self.test_data = _tensors(task.test, network.scale, dtype) if look_at_test else None
        self.loss: list[Tensor] = []
        self.validation: list[Tensor] = []
        self.test: list[Tensor] = []
        self.validation_loss = torch.zeros(network.nets)
        self.diverged = torch.zeros(network.nets, dtype=torch.bool)

    def after_epoch(self, losses: Tensor) -> None:
        """Take the training losses of the epoch's steps, (steps, nets), and score the nets."""
        self.loss.append(losses.mean(0))
        self.diverged |= ~torch.isfinite(losses).all(0)
        accuracy, self.validation_loss = _score(self.network, *self.validation_data)
        self.diverged |= ~torch.isfinite(self.validation_loss)
        self.validation.append(accuracy)
        if self.test_data is not None:
            self.test.append(_score(self.network, *self.test_data)[0])

    def results(self, nets: Sequence[Net]) -> tuple[NetResult, ...]:
        results = []
        for i, net in enumerate(nets):
            validation = tuple(float(a[i]) for a in self.validation)
            best = max(range(len(validation)), key=lambda e: (validation[e], -e))
            results.append(
                NetResult(
                    seed=net.seed,
                    learning_rate=net.learning_rate,
                    diverged=bool(self.diverged[i]),
                    loss=tuple(float(a[i]) for a in self.loss),
                    validation=validation,
                    validation_loss=float(self.validation_loss[i]),
                    best_epoch=best,
                    test_last=float(self.test[-1][i]) if self.test else None,
                    test_best=float(self.test[best][i]) if self.test else None,
                    parameters=self.network.stack.learned(i),
                )
            )
        return tuple(results)


@torch.no_grad()
def _score(network: Network, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Accuracy and mean loss of each net on a split, (nets,) in float64. A logit that is no number is never right."""
    right = torch.zeros(network.nets, dtype=torch.float64)
    loss = torch.zeros(network.nets, dtype=torch.float64)
    for start in range(0, len(y), _CHUNK):
        part, labels = x[start : start + _CHUNK], y[start : start + _CHUNK].expand(network.nets, -1)
        logits = network(part.expand(network.nets, *part.shape))
        finite = torch.isfinite(logits).all(-1)
        right += ((logits.argmax(-1) == labels) & finite).sum(1)
        loss += _losses(logits, labels).double() * len(part)
    return right / len(y), loss / len(y)
