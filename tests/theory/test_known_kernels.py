"""Kernels that oscillate, overflow, diverge or lie beyond the search grid, against closed forms and mpmath."""

from __future__ import annotations

import math
import re

import mpmath as mp
import numpy as np
import pytest

import actsmith as acts
from actsmith.errors import ActsmithError, NumericsError
from actsmith.theory.closed import closed_moments
from actsmith.theory.kernel import expectations, moments


def test_a_kernel_that_overflows_is_infinite():
    flow = acts.kernel_flow("x**2", 3.0, 10, 1.0)
    np.testing.assert_allclose(flow[:9], [3.0 ** (2 ** (n + 1) - 1) for n in range(9)], rtol=1e-9)
    assert np.isinf(flow[9:]).all()


@pytest.mark.parametrize("w", [1.0, 30.0, 50.0, 1e3, 1e5, 1e8])
@pytest.mark.parametrize("K", [1e-4, 1.0, 7.0])
def test_sines_of_every_frequency(w, K):
    for f, sign in ((f"sin({w!r}*x)", -1), (f"cos({w!r}*x)", 1)):
        right = 0.5 * (1 + sign * math.exp(-2 * w * w * K))
        assert acts.kernel_flow(f, K, 1, 1.0)[1] == pytest.approx(right, rel=1e-10)
        m = moments(f, K)
        assert abs(float(m.perp) - w * w * 0.5 * (1 - sign * math.exp(-2 * w * w * K))) <= float(m.perp_error) + 1e-9


def test_a_sine_inside_a_bounded_function_is_followed_too():
    with mp.workdps(20):
        # tanh(sin(80 x)) is periodic, and far from 0 frequency its square is its mean over a period
        right = float(mp.quad(lambda t: mp.tanh(mp.sin(t)) ** 2, [0, mp.pi]) / mp.pi)
    assert acts.kernel_flow("tanh(sin(80*x))", 1.0, 1, 1.0)[1] == pytest.approx(right, rel=1e-9)
    assert acts.kernel_flow("relu(sin(40*x))", 1.0, 1, 1.0)[1] == pytest.approx(0.25, rel=1e-6)
    with pytest.raises(NumericsError, match="not resolved"):
        acts.kernel_flow("sigmoid(sin(1e6*x))", 1.0, 1, 1.0)


@pytest.mark.parametrize(
    "f",
    ["sin(x)", "x + cos(x**2)", "x*sin(2*x + 1)**2", "exp(x)*cos(x)", "x*exp(-x**2/2)", "cosh(x/3) - normal_pdf(x)"],
)
def test_closed_moments_are_those_of_the_quadrature(f):
    K = np.array([0.01, 0.5, 1.0, 2.0])
    closed, rule = closed_moments(acts.Formula(f), K, 6), expectations(acts.Formula(f), K, 6)
    assert (np.abs(closed[0] - rule[0]) <= closed[1] + rule[1]).all()


@pytest.mark.parametrize("f", ["1/x", "abs(x)**(-1/2)", "sin(x)/cos(x)", "exp(x**2)", "1/(x - 1)**2", "log(abs(x))/x"])
def test_what_diverges_is_infinite(f):
    assert acts.kernel_flow(f, 1.0, 1, 1.0)[1] == math.inf


@pytest.mark.parametrize("power", [-0.25, -0.4, -0.45])
def test_integrable_poles_are_integrated(power):
    right = 2**power * math.gamma(power + 0.5) / math.sqrt(math.pi)
    m = moments(f"abs(x)**({power})", 1.0)
    assert abs(float(m.g) - right) <= float(m.g_error)


@pytest.mark.parametrize(("C_b", "K"), [(1e6, 2e6), (1e-12, 2e-12), (1e20, 2e20), (1e-20, 2e-20), (0.0, 0.0)])
def test_the_edge_of_the_search_is_neither_zero_nor_infinity(C_b, K):
    p = acts.phase_diagram("relu", [1.0], [C_b])
    assert float(p.K[0, 0]) == pytest.approx(K, rel=1e-9)
    assert p.label.tolist() == [["ordered"]]
    assert acts.phase_diagram("relu", [2.0], [C_b + 1.0]).label.tolist() == [["diverging"]]


def test_many_folds_have_a_phase_diagram():
    p = acts.phase_diagram("sin(30*x)", [1.0, 2.0], [0.0, 0.1])
    np.testing.assert_allclose(p.K, [[0.5, 1.0], [0.6, 1.1]], rtol=1e-9)
    assert acts.phase_diagram("x + cos(x**2)", [2.0], [0.1]).label.tolist() == [["diverging"]]


def test_a_kernel_that_falls_below_a_distant_kink():
    right = 0.1 * 0.5 * math.erfc(5 / math.sqrt(0.2))
    assert 0 < acts.kernel_flow("relu(x-5)", 0.1, 3, 1.0)[1] < right
    assert acts.kernel_flow("relu(x-5)", 0.1, 3, 1.0)[3] == 0


@pytest.mark.parametrize("f", ["tanh(1e6*x)", "exp(x)", "exp(-x)", "x**9"])
def test_a_form_that_is_not_found_is_a_refusal_that_agrees_with_itself(f):
    with pytest.raises(ActsmithError, match="no critical affine form") as caught:
        acts.critical_form(f)
    for side, low, high in re.findall(r"stays (above|below) 1, (\S+) to ([^\s,]+)", str(caught.value)):
        assert float(low) >= 1 if side == "above" else float(high) <= 1


BAD = [
    lambda: acts.kernel_flow("relu", 1.0, -1, 1.0),
    lambda: acts.kernel_flow("relu", 1.0, 1.5, 1.0),
    lambda: acts.kernel_flow("relu", 1.0, 1, 1.0, None),
    lambda: acts.kernel_flow("relu", 1.0, 1, "2"),
    lambda: acts.kernel_flow("relu", None, 1, 1.0),
    lambda: acts.kernel_flow("relu", [], 1, 1.0),
    lambda: acts.ntk_flow("relu", 1.0, -1, 1.0),
    lambda: acts.ntk_flow("relu", 1.0, 3, 1.0, lambda_W="a"),
    lambda: acts.vertex_flow("relu", 1.0, None, 1.0),
    lambda: acts.correlation_flow("relu", 1.0, 0.5, -1, C_W=1.0),
    lambda: acts.correlation_map("relu", "1", 0.5),
    lambda: acts.correlation_map("relu", 1.0, 0.5, route="best"),
    lambda: acts.depth_scales("relu", 1.0, None),
    lambda: acts.susceptibilities("relu", 1.0, "2"),
    lambda: acts.susceptibilities("relu", math.inf, 1.0),
    lambda: acts.phase_diagram("relu", [], []),
    lambda: acts.phase_diagram("relu", None, 1.0),
    lambda: acts.phase_diagram("relu", 1.0, 1.0, K0="1"),
    lambda: acts.criticality("relu").safe_depth("1"),
    lambda: acts.entropy("relu", tau="a"),
    lambda: acts.entropy("relu", tau=math.inf),
    lambda: acts.improve("relu", step="a"),
    lambda: acts.entropy_flow("relu", steps=1.5),
    lambda: acts.entropy_flow("relu", step=None),
    lambda: acts.worst_activation("normal", "a", 1),
    lambda: acts.rank("relu"),
    lambda: acts.screen("relu"),
]


@pytest.mark.parametrize("call", BAD)
def test_arguments_are_checked(call):
    with pytest.raises(ActsmithError, match="expected"):
        call()
