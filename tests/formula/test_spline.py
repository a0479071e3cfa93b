"""Spline formulas: a formula like any other."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from scipy import interpolate

import actsmith as acts
from actsmith.formula.parse import X
from actsmith.formula.spline import Table, spline_expression

KNOTS = np.linspace(-4, 4, 65)


@pytest.fixture
def tanh_spline():
    return acts.Formula(spline_expression(X, KNOTS, np.tanh(KNOTS)), name="spline of tanh")


def test_values_and_derivatives_are_those_of_the_natural_cubic(tanh_spline):
    cubic = interpolate.CubicSpline(KNOTS, np.tanh(KNOTS), bc_type="natural")
    x = np.linspace(-3.99, 3.99, 401)
    for order, row in enumerate(tanh_spline.jet(x, 3)):
        np.testing.assert_allclose(row, cubic(x, order), atol=1e-9)
    np.testing.assert_allclose(tanh_spline(KNOTS), np.tanh(KNOTS), atol=1e-15)


def test_tails_are_straight_and_c2(tanh_spline):
    far = tanh_spline.jet(np.array([-1e4, -4.5, 4.5, 1e4]), 3)
    assert np.all(far[2:] == 0)
    assert far[1][0] == far[1][1]
    for end in (-4.0, 4.0):
        inside, outside = tanh_spline.jet(np.array([np.nextafter(end, 0), np.nextafter(end, 2 * end)]), 2).T
        np.testing.assert_allclose(inside, outside, atol=1e-12)
    assert tanh_spline.smoothness == 2
    assert tanh_spline.derivative(2).smoothness == 0


def test_error_falls_with_the_fourth_power_of_the_step():
    x = np.linspace(-2, 2, 1001)
    steps, errors = [], []
    for n in (33, 65, 129):
        knots = np.linspace(-6, 6, n)
        f = acts.Formula(spline_expression(X, knots, np.sin(knots)))
        steps.append(knots[1] - knots[0])
        errors.append(np.abs(f(x) - np.sin(x)).max())
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(4, abs=0.3)


def test_it_travels_as_plain_data(tanh_spline):
    x = np.linspace(-5, 5, 11)
    saved = json.loads(json.dumps(tanh_spline.to_dict()))
    for other in (acts.Formula.from_dict(saved), pickle.loads(pickle.dumps(tanh_spline)), copy.deepcopy(tanh_spline)):
        assert other == tanh_spline
        assert hash(other) == hash(tanh_spline)
        np.testing.assert_array_equal(other(x), tanh_spline(x))
    assert acts.Formula(spline_expression(X, KNOTS, np.tanh(KNOTS))) == tanh_spline
    assert acts.Formula(spline_expression(X, KNOTS, np.sin(KNOTS))) != tanh_spline


def test_every_layer_takes_it(tanh_spline):
    plain = acts.analyze("tanh")
    found = acts.analyze(tanh_spline)
    assert found.entropy.smoothed == pytest.approx(plain.entropy.smoothed, abs=1e-4)
    assert found.criticality.universality == "zero_stable"
    layer = acts.nn.Activation(tanh_spline).double()
    x = torch.linspace(-5, 5, 40, dtype=torch.float64, requires_grad=True)
    np.testing.assert_allclose(layer(x).detach().numpy(), tanh_spline(x.detach().numpy()), atol=1e-14)
    assert torch.autograd.gradcheck(layer, (x + 0.013,))
    assert torch.autograd.gradgradcheck(layer, (x + 0.013,))
    assert layer(x.float().detach()).dtype == torch.float64 or layer.float()(x.float().detach()).dtype == torch.float32


def test_composed_and_scaled(tanh_spline):
    f = acts.Formula(2 * tanh_spline.expr.subs(X, 3 * X - 1))
    x = np.linspace(-1, 1, 7)
    np.testing.assert_allclose(f.jet(x, 1)[1], 6 * tanh_spline.jet(3 * x - 1, 1)[1], rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Table(0, 0, (1, 2, 3, 4)), "low < high"),
        (lambda: Table(0, 1, (1, 2)), "4 to 4,096"),
        (lambda: Table(0, 1, (1, 2, 3, float("nan"))), "finite values"),
        (lambda: acts.Formula("spline(x, t_0, 0)"), "no table 't_0'"),
        (lambda: acts.Formula("spline(x)"), "expected spline"),
    ],
)
def test_bad_splines_say_what_is_wrong(call, message):
    with pytest.raises(acts.FormulaError, match=message):
        call()
