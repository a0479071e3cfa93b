"""What people write out in exponentials becomes the form that neither overflows nor cancels."""

import numpy as np
import pytest

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
    ],
)
def test_written_out(written, stable):
    assert Formula(written).expr == Formula(stable).expr
    x = np.array([-3.0, -0.1, 0.7, 5.0])
    names = {k: getattr(np, k) for k in ("exp", "log", "log1p", "expm1", "sinh", "cosh")}
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
    ],
)
def test_far_out(text, limits):
    f = Formula(text)
    for x, value in limits.items():
        assert f(x) == pytest.approx(value, rel=1e-12, abs=1e-12)
        assert f.jet(x, 1)[1] == pytest.approx((f(1.001 * x) - f(x)) / (0.001 * x), rel=1e-6, abs=1e-6)
