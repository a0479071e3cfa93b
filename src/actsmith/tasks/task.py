"""A task: what is learned, by which model, how long, in plain values.

The problem's data are loaded when a task is run, so a task costs nothing to name, to print or to send to a worker.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from actsmith.errors import ActsmithError
from actsmith.files import plain
from actsmith.formula.formula import Formula
from actsmith.nn.hook import Hook
from actsmith.nn.start import Start
from actsmith.training.problem import Metric, Problem
from actsmith.training.recipe import Recipe

__all__ = ["ModelConfig", "ProblemConfig", "Task", "WatchConfig", "describe", "start_of_model", "summary"]

RATES = (1e-3, 3e-3, 1e-2, 3e-2)


class ProblemConfig(Protocol):
    """Names a problem in plain values (a frozen dataclass) and loads it."""

    @property
    def metric(self) -> Metric: ...

    def load(self, data: Path | None) -> Problem:
        """The problem; `data` is the folder of `--data`.

        Raises:
            ActsmithError: the data are not there; says how to get them.
        """


class ModelConfig(Protocol):
    """Names a model in plain values (a frozen dataclass) and builds it.

    One that draws each activation's own start says which with a method `start(formula) -> Start`.
    """

    def build(self, formula: Formula, seed: int, problem: Problem) -> nn.Module:
        """One network, from (batch, *problem.inputs) to (batch, outputs). torch's generator is seeded with `seed`."""


class WatchConfig(Protocol):
    """Names, in plain values, something that looks on (or acts) while a network trains.

    One with a class attribute `acts = True` changes the training: it is there when rates are tuned, too. One with
    `stacks = True` makes hooks for stacks.
    """

    def build(self, model: nn.Module, problem: Problem) -> Hook: ...


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        name: what reports call it; letters, digits, and `-_./:`.
        problem, model: what is learned, and by what.
        recipe: the training budget.
        rates: the learning rates that are tried for every activation, unless others are asked for.
        start: name or text of the activation that a search improves on, unless another is asked for.

    Raises:
        ActsmithError: no rates, or one that is not positive.
    """

    name: str
    problem: ProblemConfig
    model: ModelConfig
    recipe: Recipe
    rates: tuple[float, ...] = RATES
    start: str = "relu"

    def __post_init__(self) -> None:
        if not self.rates or not all(0 < rate < float("inf") for rate in self.rates):
            raise ActsmithError(f"task {self.name}: rates: got {self.rates}; expected positive numbers")

    @property
    def metric(self) -> Metric:
        """The score by which choices are made and claims are stated."""
        return self.problem.metric

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that say all there is to say."""
        return describe(self)  # type: ignore[no-any-return]


def start_of_model(model: ModelConfig, formula: Formula) -> Start | None:
    """The start that the model draws for an activation; None where it draws its own whatever the activation."""
    found = getattr(model, "start", None)
    return found(formula) if callable(found) else None


def summary(task: Task) -> str:
    """What was chosen, in a line: all values that are not the usual ones.

    Example:
        >>> from actsmith.tasks.named import find_task
        >>> summary(find_task("digits"))
        'digits: FlatImages(), Mlp(), Recipe(epochs=16, batch=32), rates 0.001 to 0.03, from relu'
    """
    parts = ", ".join(_brief(part) for part in (task.problem, task.model, task.recipe))
    return f"{task.name}: {parts}, rates {min(task.rates):g} to {max(task.rates):g}, from {task.start}"


def _brief(value: Any) -> str:
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return repr(value)
    shown = [(f, getattr(value, f.name)) for f in dataclasses.fields(value) if f.repr]
    unusual = [f"{f.name}={_brief(v)}" for f, v in shown if f.default is dataclasses.MISSING or v != f.default]
    return f"{type(value).__name__}({', '.join(unusual)})"


def describe(value: Any) -> Any:
    """Plain JSON values of nested dataclasses and formulas; a dataclass says its class, and not what its repr hides; a
    function or class is its name. A field with the metadata `added` (it came after results had been stored) is left out
    while it stands at its default, so that older results are still told to be the same.

    Raises:
        ActsmithError: something else, as a network or an object that is no dataclass, which does not say what it holds.
    """
    if isinstance(value, Formula):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value) if _told(f, value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if isinstance(value, dict):
        return {str(k): describe(v) for k, v in value.items()}
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}:{value.__qualname__}"
    found = plain(value)
    if not isinstance(found, str | int | float | list | None):
        raise ActsmithError(
            f"task: got a {type(value).__name__} among its values; expected numbers, texts, formulas, functions, or "
            "frozen dataclasses of them, by which results are told apart"
        )
    return found


def _told(f: dataclasses.Field[Any], value: Any) -> bool:
    return f.repr and not ("added" in f.metadata and getattr(value, f.name) == f.default)
