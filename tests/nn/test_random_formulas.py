"""Fifty random formulas through every way in which torch differentiates, on both routes, and against mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from nn_support import random_formula, smooth_points, tensor
from torch import Tensor
from torch.autograd import grad, gradcheck, gradgradcheck
from torch.func import grad as gradient
from torch.func import hessian, jacfwd, jacrev, jvp, vmap

import actsmith as acts
from actsmith.nn import backend
from actsmith.nn.family import family

SEEDS = range(50)
ROUTES = ("compiled", "composite")

# torch's own, when it first meets a forward-mode dual number.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")

IN_MPMATH = {
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "relu": lambda x: max(x, mpmath.mpf(0)),
    "erf": mpmath.erf,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "atan": mpmath.atan,
    "exp": mpmath.exp,
    "sech": mpmath.sech,
    "asinh": mpmath.asinh,
    "normal_cdf": mpmath.ncdf,
}


def value(f: acts.Formula):
    return lambda x, *theta: family(f)(x, theta)


def inputs(f: acts.Formula, count: int) -> tuple[Tensor, ...]:
    theta = (torch.tensor(p.value, dtype=torch.float64, requires_grad=True) for p in f.params.values())
    return tensor(smooth_points(f, count, 2.0)), *theta


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("seed", SEEDS)
def test_first_and_second_derivatives(seed: int, route: str) -> None:
    f = random_formula(seed)
    with backend(route):
        assert gradcheck(value(f), inputs(f, 5), check_forward_ad=True, check_batched_grad=True)
        assert gradgradcheck(value(f), inputs(f, 3), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_third_derivative_is_mpmaths(seed: int, route: str) -> None:
    f = random_formula(seed)
    x, *theta = inputs(f, 4)
    with backend(route):
        y = value(f)(x, *theta)
        for _ in range(3):
            (y,) = grad(y.sum(), x, create_graph=True)
    names = IN_MPMATH | {name: mpmath.mpf(p.value) for name, p in f.params.items()}
    code = compile(f.text, "formula", "eval")
    with mpmath.workdps(50):
        for at, got in zip(x.tolist(), y.tolist(), strict=True):
            expected = mpmath.diff(lambda u: eval(code, names, {"x": u}), at, 3)  # noqa: S307  (our own text)
            assert got == pytest.approx(float(expected), rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_functional_transforms_and_batched_cotangents(seed: int) -> None:
    f = random_formula(seed)
    points = smooth_points(f, 4, 2.0)
    jet = f.jet(points, 2)
    theta = [torch.tensor(p.value, dtype=torch.float64) for p in f.params.values()]
    x, close = tensor(points, grad=False), {"rtol": 1e-9, "atol": 1e-9}

    def call(v: Tensor) -> Tensor:
        return family(f)(v, theta)

    np.testing.assert_allclose(vmap(call)(x), jet[0], **close)
    np.testing.assert_allclose(vmap(gradient(call))(x), jet[1], **close)
    np.testing.assert_allclose(jvp(call, (x,), (torch.full_like(x, 3.0),))[1], 3 * jet[1], **close)
    np.testing.assert_allclose(jacrev(call)(x), np.diag(jet[1]), **close)
    np.testing.assert_allclose(jacfwd(call)(x), np.diag(jet[1]), **close)
    np.testing.assert_allclose(hessian(lambda v: call(v).sum())(x), np.diag(jet[2]), **close)
    leaf = x.clone().requires_grad_()
    (rows,) = grad(call(leaf), leaf, torch.eye(len(x), dtype=x.dtype), is_grads_batched=True)
    np.testing.assert_allclose(rows, np.diag(jet[1]), **close)
