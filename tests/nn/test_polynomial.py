"""Networks that equal polynomials: random ones, every p, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation
from actsmith.nn.polynomial import polynomial_network

KINDS = [("repu", p) for p in (2, 3, 4, 5)] + [("mrepu", p) for p in (1, 2, 3, 4)]


def value(coefficients, x):
    return sum(c * np.prod(x ** np.array(e), axis=1) for e, c in coefficients.items())


@pytest.mark.parametrize(("name", "p"), KINDS)
@pytest.mark.parametrize(("variables", "degree"), [(1, 6), (2, 6), (3, 4), (4, 3), (2, 5), (1, 1), (2, 0)])
def test_random_polynomials(name, p, variables, degree):
    rng = np.random.default_rng([len(name), p, variables, degree])
    exponents = [e for e in itertools.product(range(degree + 1), repeat=variables) if sum(e) <= degree]
    coefficients = {e: rng.normal() for e in exponents}
    low = rng.uniform(-2, 1, variables)
    high = low + rng.uniform(0.5, 2, variables)
    net = polynomial_network(
        coefficients, get_activation(name, p=p), list(zip(low.tolist(), high.tolist(), strict=True))
    )
    x = np.concatenate([rng.uniform(low, high, (300, variables)), [low, high]])
    expected = value(coefficients, x)
    with torch.no_grad():
        actual = net(torch.from_numpy(x)).numpy()[:, 0]
    assert np.abs(actual - expected).max() <= 1e-9 * max(1.0, np.abs(expected).max())


def test_an_array_of_coefficients_and_one_domain_for_all():
    net = polynomial_network([[1.0, 0.0], [0.0, 2.0]], "repu", (0.0, 3.0))  # 1 + 2 x y
    y = net(torch.tensor([[3.0, 2.0], [0.5, 1.0]], dtype=torch.float64))
    assert y.squeeze(1).tolist() == pytest.approx([13.0, 2.0], rel=1e-13)


def test_repu_is_a_polynomial_everywhere_mrepu_on_its_domain_alone():
    x = torch.tensor([[3.0]], dtype=torch.float64)
    assert polynomial_network({(3,): 1.0}, "repu")(x).item() == pytest.approx(27, rel=1e-12)
    assert abs(polynomial_network({(3,): 1.0}, "mrepu")(x).item() - 27) > 1


def test_depth_is_the_logarithm_of_the_degree():
    hidden = [len(polynomial_network({(d,): 1.0}, "mrepu")) // 2 for d in range(1, 9)]
    assert hidden == [0, 1, 2, 2, 3, 3, 3, 3]


@pytest.mark.parametrize(
    ("coefficients", "activation", "domain"),
    [
        ({(1,): 1.0}, "relu", (-1.0, 1.0)),
        ({(1,): 1.0}, get_activation("repu", p=1), (-1.0, 1.0)),
        ({(1,): 1.0}, get_activation("mrepu", p=1.5), (-1.0, 1.0)),
        ({}, "repu", (-1.0, 1.0)),
        ({(1,): 1.0, (1, 2): 1.0}, "repu", (-1.0, 1.0)),
        ({(-1,): 1.0}, "repu", (-1.0, 1.0)),
        ({(1,): float("nan")}, "repu", (-1.0, 1.0)),
        ({(1,): 1.0}, "repu", (1.0, -1.0)),
        ({(1,): 1.0}, "repu", [(0.0, 1.0), (0.0, 1.0)]),
    ],
)
def test_what_is_refused(coefficients, activation, domain):
    with pytest.raises(ActsmithError, match="polynomial network"):
        polynomial_network(coefficients, activation, domain)
