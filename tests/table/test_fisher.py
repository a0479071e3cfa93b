"""Eigenvalues of the Fisher information: those of its definition, example by example."""

import numpy as np
import pytest
import torch

from actsmith.formula.catalogue import resolve
from actsmith.table.fisher import eigenvalues, fisher_of, histogram
from actsmith.tasks.friedman import Friedman
from actsmith.tasks.images import Images
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.task import ModelConfig
from actsmith.tasks.vision import Cnn
from actsmith.training.problem import Problem
from actsmith.trials.runner import read_from_tables_

N = 6


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (Mlp(4, 2), Friedman(64, 64).load(None)),
        (Cnn(2, 2, 1, norm=True, init="kaiming"), Images("digits", train=32).load(None)),
    ],
)
def test_they_are_those_of_the_matrix_of_each_layer(config: ModelConfig, problem: Problem) -> None:
    model = config.build(resolve("tanh"), 0, problem).eval()
    read_from_tables_(model)
    batch = problem.example(N, torch.device("cpu"))
    expected = []
    for layer in model.modules():
        own = list(layer.parameters(recurse=False))
        if not own:
            continue
        fisher = torch.zeros((), dtype=torch.float64)
        for i in range(N):
            loss = problem.loss(model, tuple(part[i : i + 1] for part in batch))
            g = torch.cat([p.flatten() for p in torch.autograd.grad(loss, own)]).double()
            fisher = fisher + torch.outer(g, g) / N
        values = torch.linalg.eigvalsh(fisher)
        expected.append(values[values > 1e-9 * values[-1]])
    found = eigenvalues(model, problem, batch)
    assert found is not None
    np.testing.assert_allclose(np.sort(found)[-20:], np.sort(torch.cat(expected).numpy())[-20:], rtol=1e-3)


def test_they_are_counted_by_powers_of_ten_and_what_lies_outside_at_the_ends() -> None:
    found = histogram(np.array([1e-14, 2e-10, 3e-2, 0.5, 1.0, 1e12]))
    assert found.shape == (16,)
    np.testing.assert_allclose(found * 6, [2, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1], atol=1e-12)


def test_there_are_none_where_a_gradient_is_not_finite() -> None:
    problem = Friedman(64, 64).load(None)
    model = Mlp(4, 2).build(resolve("tanh"), 0, problem)
    with torch.no_grad():
        next(model.parameters()).fill_(torch.inf)
    assert fisher_of(model, problem, problem.example(N, torch.device("cpu"))) is None
