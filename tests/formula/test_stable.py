"""What people write out in exponentials becomes the form that neither overflows nor cancels."""

import mpmath as mp
import numpy as np
import pytest
import torch

import actsmith.nn
from actsmith.formula.formula import Formula


@pytest.mark.parametrize(
    ("written", "stable"),
    [
        ("x*exp(x)/(1+exp(x))", "x*sigmoid(x)"),
        ("exp(2*x)/(1+exp(x))**2", "sigmoid(x)**2"),
        ("exp(x)/(1+exp(x))**2", "sigmoid(x)*sigmoid(-x)"),
        ("exp(x)/(exp(x)+3)", "sigmoid(x-log(3))"),
        ("log(sigmoid(x))", "-softplus(-x)"),
        ("log(1+exp(x))", "softplus(x)"),
        ("log1p(exp(x))", "softplus(x)"),
        ("log(exp(x)+exp(-x))", "x+softplus(-2*x)"),
        ("(exp(x)-exp(-x))/(exp(x)+exp(-x))", "tanh(x)"),
        ("(exp(2*x)-1)/(exp(2*x)+1)", "tanh(x)"),
        ("(1-exp(-2*x))/(1+exp(-2*x))", "tanh(x)"),
        ("sinh(x)/cosh(x)", "tanh(x)"),
        ("x*(exp(x)-1)/(exp(x)+1)", "x*tanh(x/2)"),
        ("expm1(2*x)/(exp(2*x)+1)", "tanh(x)"),
        ("1/(exp(x)+exp(-x))", "sech(x)/2"),
        ("0.5*x*(1+tanh(x))", "x*sigmoid(2*x)"),
        ("1-tanh(x)", "2*sigmoid(-2*x)"),
        ("1-sigmoid(x)", "sigmoid(-x)"),
        ("3*exp(x**2)-3", "3*expm1(x**2)"),
        ("log(3-3*sigmoid(x))", "log(3)-softplus(x)"),
        ("log(2*sigmoid(x)**3*exp(-2*x))", "log(2)-softplus(-x)-2*softplus(x)"),
        ("log(x+sqrt(x**2+1))", "asinh(x)"),
        ("log(sqrt(4*x**2+9)-2*x)", "asinh(-2*x/3)+log(9)/2"),
    ],
)
def test_written_out(written, stable):
    assert Formula(written).expr == Formula(stable).expr
    x = np.array([-3.0, -0.1, 0.7, 5.0])
    names = {k: getattr(np, k) for k in ("exp", "log", "log1p", "expm1", "sinh", "cosh", "tanh", "sqrt")}
    names |= {"sigmoid": lambda u: 1 / (1 + np.exp(-u)), "x": x}
    np.testing.assert_allclose(Formula(written)(x), eval(written, names), rtol=1e-12)  # noqa: S307  (our own text)


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("log(exp(x)+exp(2*x)+1)", {-1e4: 0.0, 1e4: 2e4, 500.0: 1000.0}),
        ("log(sigmoid(x))", {-1e4: -1e4, -95.0: -95.0, 1e4: 0.0}),
        ("x*((1+exp(x))**2-1)/((1+exp(x))**2+1)", {-1e4: 0.0, 400.0: 400.0, 1e4: 1e4}),
        ("(x*exp(x)+1)/(exp(x)+1)", {-1e4: 1.0, 1e4: 1e4}),
        ("x*sech(x)**2*cosh(2*x)", {-1e4: -2e4, 1e4: 2e4}),
        ("x*cosh(x)/(1+cosh(x))", {-1e4: -1e4, 1e4: 1e4}),
        ("x*sinh(x)/(2+cosh(x))", {-1e4: 1e4, 1e4: 1e4}),
    ],
)
def test_far_out(text, limits):
    f = Formula(text)
    for x, value in limits.items():
        assert f(x) == pytest.approx(value, rel=1e-12, abs=1e-12)
        assert f.jet(x, 1)[1] == pytest.approx((f(1.001 * x) - f(x)) / (0.001 * x), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "x", "value", "slope"),
    [
        ("x*exp(x)/(1+exp(x))", [88.0, 1e4, -1e4], [88.0, 1e4, 0.0], [1.0, 1.0, 0.0]),
        ("log(sigmoid(x))", [-95.0, -1e4, 95.0], [-95.0, -1e4, 0.0], [1.0, 1.0, 0.0]),
        ("x*cosh(x)/(1+cosh(x))", [88.0, 1e4, -1e4], [88.0, 1e4, -1e4], [1.0, 1.0, 1.0]),
        ("x*exp(2*x)/(exp(2*x)+exp(x)+1)", [88.0, 1e4, -1e4], [88.0, 1e4, 0.0], [1.0, 1.0, 0.0]),
        ("log(x+sqrt(x**2+1))", [-1e4, 1e4], [-9.903487555, 9.903487555], [1e-4, 1e-4]),
    ],
)
def test_far_out_in_float32(text, x, value, slope):
    """A module's value and gradient, by the limits of each formula."""
    t = torch.tensor(x, requires_grad=True)
    y = actsmith.nn.Activation(Formula(text))(t)
    (found,) = torch.autograd.grad(y.sum(), t)
    np.testing.assert_allclose(y.detach().numpy(), value, rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(found.numpy(), slope, rtol=2e-3, atol=1e-37)  # x e^-x-like terms of size 1e4 cancel


@pytest.mark.parametrize(
    "text", ["x*(1+erf(x/sqrt(2)))/2", "0.5*x*(1-erf(-x/sqrt(2)))", "x - x*normal_cdf(-x)", "x*(1-normal_cdf(-x))"]
)
def test_gelu_as_it_is_typed(text):
    f = Formula(text)
    if "x - x" not in text:
        assert f.expr == Formula("x*normal_cdf(x)").expr
    assert f(-1.5) == pytest.approx(-0.10021080190, abs=1e-10)


@pytest.mark.parametrize(
    "text",
    [
        "log(normal_cdf(x))",
        "log((1+erf(x/sqrt(2)))/2)",
        "log(erfc(-x/sqrt(2))) - log(2)",
        "log1p(erf(x/sqrt(2))) - log(2)",
    ],
)
def test_log_normal_cdf_and_its_derivatives_at_any_distance(text):
    """Against mpmath; far out f' = -x - 1/x + ..., f'' = -1 + 1/x^2 - ...."""
    f = Formula(text)
    x = [-1e4, -300.0, -40.0, -5.1, -4.9, -0.5, 0.0, 2.0, 8.0]
    with mp.workdps(40):
        ratio = [mp.npdf(t) / (mp.erfc(-mp.mpf(t) / mp.sqrt(2)) / 2) for t in x]
        exact = [[mp.log(mp.erfc(-mp.mpf(t) / mp.sqrt(2)) / 2) for t in x], ratio,
                 [-r * (r + t) for r, t in zip(ratio, x, strict=True)]]  # fmt: skip
    jet = f.jet(np.array(x), 2)
    for order in range(3):
        np.testing.assert_allclose(jet[order], [float(v) for v in exact[order]], rtol=5e-14, atol=1e-15)


def test_log_normal_cdf_as_a_module():
    t = torch.tensor([-1e4, -300.0, -40.0, -5.1, -4.9, 0.0, 3.0], requires_grad=True)
    y = actsmith.nn.Activation(Formula("log(normal_cdf(x))"))(t)
    (slope,) = torch.autograd.grad(y.sum(), t, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), t)
    exact = Formula("log_normal_cdf(x)").jet(t.detach().numpy(), 2)
    for found, right, error in ((y, exact[0], 2e-6), (slope, exact[1], 2e-6), (bend, exact[2], 3e-5)):
        np.testing.assert_allclose(found.detach().numpy(), right, rtol=error)
