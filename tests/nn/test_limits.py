"""Removable singularities in modules: finite in value and derivatives, on every route."""

import mpmath as mp
import numpy as np
import pytest
import torch

import actsmith.nn
from actsmith.formula.formula import Formula, Param
from actsmith.nn import backend
from actsmith.search.export import to_torch_source

CASES = [
    ("sin(x)/x", {}, mp.sinc),
    ("(x-1)/(x**2-1) + relu(x - 1.5)", {}, lambda x: 1 / (x + 1) + max(x - 1.5, 0)),
    ("x/tanh(x)", {}, lambda x: x / mp.tanh(x) if x else mp.mpf(1)),
    ("sin(a*x)/x", {"a": Param(1.5, learn=True)}, lambda x: mp.mpf(1.5) * mp.sinc(1.5 * x)),
]
POINTS = [0.0, 1e-20, -1e-4, 0.015, -0.05, 1.0, 2.0]


def derivatives(function, x):
    """value, slope, second derivative, by autograd."""
    x = x.clone().requires_grad_()
    value = function(x)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), x)
    return [v.detach().double().numpy() for v in (value, slope, bend)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
@pytest.mark.parametrize("route", ["compiled", "composite"])
def test_values_and_derivatives(case, route):
    text, params, function = case
    with mp.workdps(40):
        exact = [[float(mp.diff(function, mp.mpf(x) + mp.mpf(10) ** -15, k)) for x in POINTS] for k in range(3)]
    for dtype, tolerances in ((torch.float64, (1e-13, 1e-11, 2e-9)), (torch.float32, (1e-6, 5e-5, 5e-3))):
        module = actsmith.nn.Activation(Formula(text, params)).to(dtype)
        with backend(route):
            found = derivatives(module, torch.tensor(POINTS, dtype=dtype))
        for got, right, tolerance in zip(found, exact, tolerances, strict=True):
            np.testing.assert_allclose(got, right, atol=tolerance)
        if params:
            value = module(torch.zeros(1, dtype=dtype))
            (slope,) = torch.autograd.grad(value, list(module.parameters()))
            assert slope.item() == pytest.approx(1, abs=tolerances[1])  # d(a sinc(a x))/da at 0


def test_a_formula_of_a_tensor_and_the_exported_file():
    x = torch.tensor(POINTS, dtype=torch.float64)
    for text, params, _ in CASES:
        f = Formula(text, params)
        right = f.jet(x.numpy(), 1)
        found = derivatives(f, x)
        np.testing.assert_allclose(found[0], right[0], atol=1e-14)
        np.testing.assert_allclose(found[1], right[1], atol=1e-14)
        scope: dict = {}
        exec(to_torch_source(f, "Exported"), scope)  # noqa: S102  (our own text)
        at = x.clone().requires_grad_()
        value = scope["Exported"]().double()(at)
        np.testing.assert_allclose(value.detach().numpy(), right[0], atol=1e-7)
        np.testing.assert_allclose(torch.autograd.grad(value.sum(), at)[0].numpy(), right[1], atol=1e-7)


def test_a_singularity_that_moves_with_a_parameter_is_none():
    assert Formula("(x-1)/(x**2-a)", {"a": Param(1.0, learn=True)}).limits == ()
    assert len(Formula("(x-1)/(x**2-a)", {"a": 1.0}).limits) == 1


@pytest.mark.parametrize("compiler", ["eager", "aot_eager"])
def test_under_torch_compile(compiler):
    module = actsmith.nn.Activation(Formula("sin(x)/x"))
    compiled = torch.compile(module, backend=compiler, fullgraph=True)
    x = torch.tensor(POINTS, requires_grad=True)
    (plain,) = torch.autograd.grad(module(x).sum(), x)
    (traced,) = torch.autograd.grad(compiled(x).sum(), x)
    torch.testing.assert_close(traced, plain)
    torch._dynamo.reset()
