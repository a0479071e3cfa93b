"""A search small enough for tests, on the digits."""

from actsmith.tasks.flat import FlatImages
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.task import Task
from actsmith.training.recipe import Recipe

ASKED = {"start": "relu", "known": ["gelu", "crrelu"], "seeds": 3, "rates": [3e-3, 1e-2], "trials": 4}


def small_task(epochs=3):
    return Task("digits", FlatImages("digits"), Mlp(16, 2), Recipe(epochs, 64))
