"""Regression beyond what was trained on, and of Friedman's function: where the points lie, what the scores mean."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.tasks.friedman import Friedman, friedman
from actsmith.tasks.periodic import Periodic


class Exactly(nn.Module):
    """A network that is this function."""

    def __init__(self, function):
        super().__init__()
        self.function, self.unused = function, nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.function(x) + 0 * self.unused


def test_choices_are_made_left_of_the_training_piece_and_claims_right_of_it():
    problem = Periodic("sin(x)", reach=4.0, beyond=0.5, size=200, held_out=100).load(None)
    ends = {"train": problem.train[0], **{name: x for name, (x, _) in problem.splits.items()}}
    assert {name: (len(x), bool((x < -4).all()), bool((x > 4).all())) for name, x in ends.items()} == {
        "train": (200, False, False), "validation": (100, True, False), "test": (100, False, True),
    }  # fmt: skip
    assert ends["train"].abs().max() <= 4
    assert problem.inside[0].abs().max() <= 4
    assert max(-ends["validation"].min(), ends["test"].max()) <= 6
    assert problem.train[1].std(correction=0) == pytest.approx(1.0)


def test_scores_are_errors_outside_and_inside():
    problem = Periodic("sin(x)", reach=4.0, held_out=400).load(None)
    scale = float(problem.train[1].abs().max())
    right = problem.score(Exactly(lambda x: scale * torch.sin(x)), "test")
    assert all(float(v) < 0.01 for v in right.values())
    # A straight line learned inside is far off outside, and a constant is 1 there at best.
    x, y = problem.splits["test"]
    line = problem.score(Exactly(lambda x: scale * x.clamp(-4, 4).sin()), "test")
    assert float(line["relative_rmse"]) < 0.01
    assert float(line["outside_rmse"]) > 1
    assert float(problem.score(Exactly(lambda x: 0 * x + y.mean()), "test")["outside_rmse"]) == pytest.approx(1.0)
    assert x.min() > 4
    assert problem.metric.name == "outside_rmse"


def test_what_cannot_be_learned_is_said():
    for config, message in (
        (Periodic("tan(x)/x", reach=0.0), "got reach=0.0, beyond=0.3; expected positive lengths"),
        (Periodic("log(x + 6)", reach=6.0), "not finite on all points; give a shorter reach"),
    ):
        with pytest.raises(ActsmithError, match=message):
            config.load(None)
    assert Periodic().load(None).fingerprint == Periodic().load(None).fingerprint != Periodic(seed=1).load(None)


def test_friedmans_function():
    x = np.zeros((3, 10))
    x[1] = 1.0
    x[2, :2] = np.sqrt(0.5)
    np.testing.assert_allclose(friedman(x), [5.0, 10 * math.sin(math.pi) + 5 + 15, 15.0], atol=1e-12)
    problem = Friedman(size=3000, held_out=500).load(None)
    inputs, y = problem.train
    torch.testing.assert_close(inputs.mean(0), torch.zeros(10), atol=0.06, rtol=0)
    torch.testing.assert_close(inputs.std(0), torch.ones(10), atol=0.03, rtol=0)
    assert (float(y.mean()), float(y.std(correction=0))) == pytest.approx((0.0, 1.0), abs=1e-5)
    # Five variables say nothing.
    best = torch.linalg.lstsq(inputs, y).solution.flatten().abs()
    assert best[5:].max() < 0.05 < best[[0, 1, 3, 4]].min()
    assert len(problem.splits["test"][0]) == 500
