"""Regression of known functions: the targets, what the scores mean, derivatives, pictures."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import resolve
from actsmith.tasks.functions import (
    FIRST,
    OUTSIDE,
    SECOND,
    VALUE,
    FunctionConfig,
    Pictures,
    Polynomial,
    PolynomialConfig,
    derivatives,
    random_polynomial,
    sparse_polynomial,
)
from actsmith.tasks.perceptron import Mlp

SQUARE, CUBE = Polynomial("x^2", ((2,),), (1.0,)), Polynomial("x^3", ((3,),), (1.0,))
TRIPLE = Polynomial("xyz", ((1, 1, 1),), (1.0,))


class Exactly(nn.Module):
    """A network that is a given function."""

    def __init__(self, function):
        super().__init__()
        self.function, self.unused = function, nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.function(x)


# ------------------------------------------------------------------------------------------------- polynomials


def test_a_polynomial_is_the_sum_of_its_terms():
    p = Polynomial("p", ((2, 1), (0, 0), (0, 3)), (2.0, -1.0, 0.5))
    x = torch.tensor([[1.5, -2.0], [0.0, 0.0]], dtype=torch.float64)
    expected = 2 * x[:, 0] ** 2 * x[:, 1] - 1 + 0.5 * x[:, 1] ** 3
    torch.testing.assert_close(p(x), expected[:, None])
    assert (p.variables, p.degree) == (2, 3)


def test_a_random_polynomial_has_every_monomial():
    p = random_polynomial("p", variables=3, degree=4, seed=1)
    assert len(p.exponents) == math.comb(3 + 4, 4) - 1
    assert len(set(p.exponents)) == len(p.exponents)
    assert p.degree == 4
    assert p == random_polynomial("p", variables=3, degree=4, seed=1) != random_polynomial("p", 3, 4, seed=2)


def test_a_sparse_polynomial_has_terms_of_one_degree():
    p = sparse_polynomial("p", variables=6, degree=3, terms=12)
    assert len(p.exponents) == len(p.coefficients) == 12
    assert {sum(e) for e in p.exponents} == {3}
    assert p.variables == 6
    assert p == sparse_polynomial("p", 6, 3, 12) != sparse_polynomial("p", 6, 3, 12, seed=1)


def test_exponents_that_do_not_fit():
    with pytest.raises(ActsmithError, match=r"lengths \[1, 2\]"):
        Polynomial("p", ((1,), (1, 1)), (1.0, 1.0))
    with pytest.raises(ActsmithError, match="reach above 1"):
        PolynomialConfig(CUBE, reach=1.0).load(None)


def test_the_points_of_a_polynomial_problem():
    problem = PolynomialConfig(TRIPLE, low=0.0, high=2.0, reach=1.5, size=256, held_out=500).load(None)
    inside = torch.cat([problem.train[0], problem.splits["validation"][0], problem.splits["test"][0]])
    assert inside.shape == (256 + 500 + 500, 3)
    assert 0 <= inside.min() < 0.05
    assert 1.95 < inside.max() <= 2
    distance = (problem.outside[0] - 1).abs().amax(1)
    assert len(distance) == 500
    assert 1 < distance.min() < 1.05
    assert 1.45 < distance.max() <= 1.5
    x, y = problem.train
    assert float(y.std()) == pytest.approx(1.0, rel=1e-5)
    ratio = x.prod(1) / y[:, 0]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-4, atol=0)


def test_what_the_scores_of_a_polynomial_mean():
    problem = PolynomialConfig(SQUARE, size=512).load(None)
    scale = float((problem.train[0][0] ** 2 / problem.train[1][0]).item())
    right = problem.score(Exactly(lambda x: x**2 / scale), "test")
    assert right[VALUE.name].shape == right[OUTSIDE.name].shape == ()
    assert max(map(float, [right[VALUE.name], right[OUTSIDE.name]])) < 1e-5
    mean = float(problem.splits["test"][1].mean())
    constant = problem.score(Exactly(lambda x: torch.full_like(x, mean)), "test")
    assert float(constant[VALUE.name]) == pytest.approx(1.0, rel=1e-5)
    assert float(constant[OUTSIDE.name]) > 1  # the mean inside is not that outside
    # Right inside alone: the shell sees it.
    clipped = problem.score(Exactly(lambda x: x.clamp(-1, 1) ** 2 / scale), "test")
    assert float(clipped[VALUE.name]) < 1e-5
    assert float(clipped[OUTSIDE.name]) > 0.1


# --------------------------------------------------------------------------------------------------- functions


def test_derivatives_of_networks_are_those_of_finite_differences():
    problem = FunctionConfig("sin(x)").load(None)
    model = Mlp(8, 3).build(resolve("tanh"), 0, problem).double()
    x, h = torch.linspace(-1, 1, 7, dtype=torch.float64)[:, None], 1e-4
    value, first, second = derivatives(model, x)
    with torch.no_grad():
        below, middle, above = (model(x + d) for d in (-h, 0.0, h))
    torch.testing.assert_close(value, middle)
    torch.testing.assert_close(first, (above - below) / (2 * h), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(second, (above - 2 * middle + below) / h**2, rtol=1e-4, atol=1e-5)


def test_a_relu_network_has_no_second_derivative():
    model = Mlp(8, 2).build(resolve("relu"), 0, FunctionConfig("sin(x)").load(None))
    _, first, second = derivatives(model, torch.linspace(-1, 1, 9)[:, None])
    assert first.abs().max() > 0
    assert second.abs().max() == 0


def test_what_the_scores_of_a_function_mean():
    problem = FunctionConfig("sin(2*pi*x)").load(None)
    s = problem.scale
    right = problem.score(Exactly(lambda x: torch.sin(2 * math.pi * x) / s), "test")
    assert all(float(right[m.name]) < 1e-5 for m in (VALUE, FIRST, SECOND))
    line = problem.score(Exactly(lambda x: 0.3 * x), "validation")
    assert float(line[SECOND.name]) == pytest.approx(1.0)
    constant = problem.score(Exactly(lambda x: 0 * x + 0.2), "validation")
    assert float(constant[FIRST.name]) == pytest.approx(1.0)
    # 1 % too fast: the second derivative suffers more than the first, and that more than the value.
    off = problem.score(Exactly(lambda x: torch.sin(2.02 * math.pi * x) / s), "test")
    assert float(off[VALUE.name]) < float(off[FIRST.name]) < float(off[SECOND.name])


def test_a_function_without_its_derivatives_is_refused():
    with pytest.raises(ActsmithError, match="not finite on all of"):
        FunctionConfig("sqrt(x)", low=-1.0, high=1.0).load(None)


def test_the_fingerprints_are_of_all_that_is_scored():
    for config, other in (
        (PolynomialConfig(SQUARE), PolynomialConfig(SQUARE, reach=2.0)),
        (FunctionConfig("sin(x)"), FunctionConfig("sin(x)", seed=1)),
    ):
        assert config.load(None).fingerprint == config.load(None).fingerprint != other.load(None).fingerprint


def test_pictures_are_taken_once_and_in_the_functions_own_units():
    problem = FunctionConfig("exp(x)").load(None)
    watcher = Pictures(after=3, points=5).build(Exactly(lambda x: torch.exp(x) / problem.scale), problem)
    assert watcher.after_epoch(0) is None
    assert watcher.after_epoch(3) is None
    found = watcher.after_epoch(2)
    assert found["x"] == [-1.0, -0.5, 0.0, 0.5, 1.0]
    for name in ("value", "first", "second"):
        np.testing.assert_allclose(found[name], np.exp(found["x"]), rtol=1e-4)
    with pytest.raises(ActsmithError, match="got PolynomialProblem; expected a FunctionProblem"):
        Pictures(3).build(nn.Identity(), PolynomialConfig(SQUARE).load(None))
