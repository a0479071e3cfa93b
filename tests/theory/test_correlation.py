"""The correlation map: three routes against each other, mpmath, the slope at rho = 1, depth scales."""

from __future__ import annotations

import math

import numpy as np
import pytest

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation
from actsmith.theory.correlation import correlation_flow, correlation_map, depth_scales, hermite_coefficients
from actsmith.theory.kernel import moments

RHO = np.array([-1.0, -0.999, -0.5, 0.0, 0.3, 0.9, 0.999, 1.0])
CLOSED = ("relu", "leaky_relu", "abs(x)", "erf", "sin", "2*sin(x/3)", "identity")
SMOOTH = ("tanh", "gelu", "silu", "erf", "sin", "gaussian", "softplus")
KINKED = ("crrelu", "hardtanh", "elu", "repu", "mrepu", "hardswish", "relu(x - 0.5) + relu(-x - 2)")


def agree(left, right):
    assert np.all(np.abs(left.covariance - right.covariance) <= left.covariance_error + right.covariance_error)
    assert np.all(np.abs(left.complement - right.complement) <= left.complement_error + right.complement_error)


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("K", [0.3, 4.0])
def test_closed_form_against_quadrature(name, K):
    closed, quadrature = (correlation_map(name, K, RHO, route=r) for r in ("closed", "quadrature"))
    agree(closed, quadrature)
    np.testing.assert_allclose(closed.covariance, quadrature.covariance, rtol=0, atol=1e-12 * closed.covariance[-1])


@pytest.mark.parametrize("name", [*SMOOTH, *KINKED])
def test_hermite_against_quadrature(name):
    hermite, quadrature = (correlation_map(name, 0.7, RHO, route=r) for r in ("hermite", "quadrature"))
    agree(hermite, quadrature)
    inside = np.abs(RHO) <= 0.9  # where the remainder of 160 terms is nothing even with a kink
    scale = 1e-10 * hermite.covariance[-1]
    np.testing.assert_allclose(hermite.covariance[inside], quadrature.covariance[inside], rtol=0, atol=scale)
    assert np.all(quadrature.covariance_error <= 1e-11 * quadrature.covariance[-1])


@pytest.mark.parametrize("name", ["tanh", "gelu", "silu"])
def test_against_gauss_hermite_in_two_dimensions(name):
    z, w = np.polynomial.hermite_e.hermegauss(150)
    w = w / w.sum()
    f = get_activation(name)
    for rho in (-0.7, 0.2, 0.6):
        second = rho * z[:, None] + math.sqrt(1 - rho * rho) * z[None, :]
        expected = float(w @ (f(math.sqrt(0.5) * z)[:, None] * f(math.sqrt(0.5) * second)) @ w)
        assert float(correlation_map(name, 0.5, rho).covariance) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", ["tanh", "crrelu", "hardtanh", "gelu", "relu"])
def test_near_one_the_slope_is_chi_perp(name):
    # 1 - rho' = (1 - rho) K E[s'^2]/g + o(1 - rho); across a kink the next term is (1 - rho)^(3/2).
    distance = np.array([1e-6, 1e-9, 1e-12])
    rho = 1 - distance
    m = moments(name, 1.0)
    slope = correlation_map(name, 1.0, rho).complement / (1 - rho)
    expected = float(m.perp / m.g)
    assert np.all(np.abs(slope - expected) <= 3 * np.sqrt(distance) + 1e-6)


def test_arc_cosine_golden_values():
    # Cho & Saul 2009: 0 -> 1/pi for the He-normalised ReLU.
    assert float(correlation_map("relu", 5.0, 0.0, C_W=2.0).correlation) == pytest.approx(1 / math.pi, rel=1e-14)
    assert float(correlation_map("relu", 5.0, -1.0, C_W=2.0).correlation) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
def test_hermite_coefficients_carry_the_moments(name):
    a = hermite_coefficients(get_activation(name), 0.5)
    m = moments(name, 0.5)
    n = np.arange(a.size)
    assert a @ a == pytest.approx(float(m.g), rel=1e-4 if name == "relu" else 1e-12)
    if name != "relu":
        assert n @ a**2 == pytest.approx(0.5 * float(m.perp), rel=1e-11)


def test_ends_and_bias():
    c = correlation_map("tanh", 1.0, [1.0, 0.0], C_W=2.0, C_b=0.3)
    assert c.complement[0] == 0
    assert c.covariance[1] == pytest.approx(0.3, abs=1e-15)
    assert c.correlation[1] == pytest.approx(0.3 / (0.3 + 2 * float(moments("tanh", 1.0).g)), rel=1e-14)


def test_flow_of_the_correlation():
    K, rho = correlation_flow("relu", 2.0, 0.0, 30, C_W=2.0)
    np.testing.assert_allclose(K, 2.0, rtol=1e-12)
    assert np.all(np.diff(rho) > 0)
    # 1 - rho falls like 9 pi^2/(2 depth^2) (Hayou et al., arXiv:1902.06853).
    _, late = correlation_flow("relu", 1.0, 0.9, 100, C_W=2.0)
    assert 0.5 < (1 - late[-1]) * 100**2 / (9 * math.pi**2 / 2) < 1.0


def test_depth_scales():
    ordered = depth_scales("tanh", 0.5, 0.9)
    m = moments("tanh", 0.5)
    assert ordered.xi_perp == pytest.approx(-1 / math.log(0.9 * float(m.perp)), rel=1e-13)
    assert ordered.xi_par == pytest.approx(-1 / math.log(0.9 * float(m.dg)), rel=1e-13)
    assert depth_scales("relu", 1.0, 4.0).xi_perp == pytest.approx(-1 / math.log(2))
    assert depth_scales("sign(x)", 1.0, 1.0).xi_perp == 0


@pytest.mark.parametrize("bad", [{"K": 0.0}, {"rho": 1.1}, {"C_W": 0.0}, {"C_b": -1.0}, {"route": "closed"}])
def test_bad_input(bad):
    with pytest.raises(ActsmithError):
        correlation_map("tanh", **{"K": 1.0, "rho": 0.5, **bad})
