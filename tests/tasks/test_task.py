"""A task is told from others by its plain values."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.tasks.flat import FlatImages
from actsmith.tasks.pde import Pinn
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.task import Task, describe
from actsmith.training.problem import Metric, exact, relative_error
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime
from actsmith.trials.runner import FitRunner

SIZES = tuple(np.arange(2))
TASK = Task("digits", FlatImages("digits"), Mlp(8, 2), Recipe(1, 64))


@dataclass(frozen=True)
class Mine:
    layer: type = nn.GELU
    folder: Path = Path("a")
    sizes: tuple[np.int64, ...] = SIZES

    def build(self, formula, seed, problem):
        return nn.Linear(64, 10)


class Opaque:
    def build(self, formula, seed, problem):
        return nn.Linear(64, 10)


def test_a_users_own_model_is_named_by_its_values():
    found = replace(TASK, model=Mine()).to_dict()["model"]
    assert found == {"kind": "Mine", "layer": "torch.nn.modules.activation:GELU", "folder": "a", "sizes": [0, 1]}
    assert describe(nn.functional.gelu).endswith("gelu")


def test_a_field_that_came_later_is_told_where_it_is_set():
    """Results that were stored before it are of the same task."""
    assert "drawn" not in describe(Recipe(1, 8))
    assert describe(Recipe(1, 8, drawn=4))["drawn"] == 4
    assert "fresh" not in describe(Pinn("heat"))


@pytest.mark.parametrize("model", [Opaque(), Mine(layer=nn.GELU())])
def test_what_does_not_say_what_it_holds_is_refused(model):
    with pytest.raises(ActsmithError, match="expected numbers, texts, formulas, functions, or frozen dataclasses"):
        replace(TASK, model=model).to_dict()


CHANGES = {
    "recipe": replace(TASK, recipe=Recipe(1, 64, clip=1.0)),
    "start": replace(TASK, model=Mlp(8, 2, init="kaiming")),
    "norm": replace(TASK, model=Mlp(8, 2, norm="batch")),
    "examples of a seed": replace(TASK, recipe=replace(TASK.recipe, drawn=100)),
    "examples": replace(TASK, problem=FlatImages("digits", train=100)),
    "test images": replace(TASK, problem=FlatImages("digits", test=100)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_decides_an_outcome_is_in_its_context(change):
    runtime = Runtime.create("cpu")
    assert FitRunner.opened(CHANGES[change], runtime=runtime).context != FitRunner.opened(TASK, runtime=runtime).context


def test_the_precision_is_too():
    plain = FitRunner.opened(TASK, runtime=Runtime.create("cpu"))
    config = plain.config()
    mixed = FitRunner.opened(TASK, runtime=Runtime.create("cpu", "bf16"))
    assert mixed.context != plain.context
    assert mixed.config() == config | {"precision": "bf16"}
    assert (config["device"], config["precision"]) == ("cpu", "no")
    Runtime.create("cpu")


def test_a_metric_says_which_way_is_better():
    with pytest.raises(ActsmithError, match="got 'max'; expected 'higher' or 'lower'"):
        Metric("accuracy", "max")


def test_errors_are_exact():
    x = torch.full((4, 1), 1e4)
    assert exact(x).dtype == torch.float64
    assert relative_error(x + torch.tensor([[0.01], [0.0], [0.0], [0.0]]), x + torch.arange(4.0)[:, None]) > 0
