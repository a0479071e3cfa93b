"""A call of a function in a forward, redirected by a swap to the same function, over the call that the user wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from actsmith.benchmarks.measure import Row, Say, interleaved
from actsmith.surgery.replace import replace_

__all__ = ["rows"]

CALLS = 100
SIZES = (8, 100_000)
WRITTEN = "as written"


class Written(nn.Module):
    """Many calls of one function and little else."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.scale
        for _ in range(CALLS):
            x = functional.relu(x)
        return x


class Child(Written):
    """The same as a user writes it with a module."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.scale
        for _ in range(CALLS):
            x = self.act(x)
        return x


def rows(quick: bool, say: Say) -> Iterator[Row]:
    """Evaluation and a training step, eager; evaluation under torch.compile."""
    del say
    for n in SIZES:
        x = torch.linspace(-3, 3, n)
        repeats = (300 if n == SIZES[0] else 60) // (10 if quick else 1)
        eager = models()
        yield from _named(f"{CALLS} calls of F.relu, {n} elements", eager, repeats, partial(_evaluate, x))
        yield from _named(f"the same, forward + backward, {n} elements", eager, repeats, partial(_train, x))
        torch.compiler.reset()  # else the second size is compiled for any
        compiled = {name: torch.compile(model) for name, model in models().items() if name != "nn.ReLU as a child"}
        yield from _named(f"the same compiled, {n} elements", compiled, repeats, partial(_evaluate, x))


def models() -> dict[str, Callable[[Tensor], Tensor]]:
    """The model as written first, then with its calls redirected."""
    made: dict[str, Written] = {name: Written() for name in (WRITTEN, "nn.ReLU", "relu")}
    for name, model in made.items():
        if name != WRITTEN:
            replace_(model, nn.ReLU if name == "nn.ReLU" else name, where="relu:0", example=torch.ones(2))
    return {**made, "nn.ReLU as a child": Child()}


def _named(
    what: str, models: dict[str, Callable[[Tensor], Tensor]], repeats: int, run: Callable[..., object]
) -> list[Row]:
    return interleaved(what, {name: partial(run, m) for name, m in models.items()}, repeats)


def _evaluate(x: Tensor, model: Callable[[Tensor], Tensor]) -> None:
    with torch.no_grad():
        model(x)


def _train(x: Tensor, model: Callable[[Tensor], Tensor]) -> None:
    torch.autograd.backward(model(x).sum())
