"""How long a network may train so that a search on a few cores sees several trainings: from its work, counted.

    work of a training = 3 examples passes work(one forward pass of one example)

Counted, not timed, so that a task is the same wherever it is named.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from actsmith.training.recipe import Recipe

__all__ = ["affordable", "work"]

BUDGET = 1.5e12
"""Work of a training: 20 to 40 seconds on one core, which does 40 to 70 10^9 in a second."""
ELEMENT = 50.0
"""Work of a number in a layer's output: to write and read it (of torch on one core, as the next two)."""
LAYER = 5e6
"""Work of calling a layer once, however little it does."""
PASSES = (3, 30)
"""Least passes over the examples, for which some are left out, and most."""
FEWEST = 256
"""Examples that are kept whatever they cost."""


@torch.no_grad()
def work(model: nn.Module, inputs: Any, batch: int) -> float:
    """Of a forward pass of one example of a batch: additions, multiplications, and what else takes as long.

    Args:
        model: left in evaluation mode.
        inputs: one example or a few (n, ...), as the model takes them.
        batch: examples in a step.
    """
    model.eval()
    elements, layers = 0, 0

    def count(module: nn.Module, args: Any, out: Any) -> None:
        nonlocal elements, layers
        elements, layers = elements + (out.numel() if isinstance(out, Tensor) else 0), layers + 1

    leaves = [m for m in model.modules() if next(m.children(), None) is None]
    hooks = [m.register_forward_hook(count) for m in leaves]
    try:
        with FlopCounterMode(display=False) as counter:
            model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return (float(counter.get_total_flops()) + ELEMENT * elements) / len(inputs) + LAYER * layers / batch


def affordable(each: float, available: int, batch: int) -> tuple[int | None, Recipe]:
    """How many of the training examples to keep (None: all), and the recipe.

    Args:
        each: work of a forward pass of one example.
        available: examples there are.
        batch: examples in a step.

    Example:
        >>> count, recipe = affordable(50e6, available=45_000, batch=32)
        >>> count, recipe.epochs
        (3333, 3)
    """
    examples = BUDGET / (3 * max(each, 1.0))
    fewest, most = PASSES
    count = min(available, max(int(examples / fewest), FEWEST))
    epochs = min(max(int(examples / count), fewest), most)
    return None if count == available else count, Recipe(epochs, min(batch, count))
