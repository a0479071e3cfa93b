"""The kernel: defining integrals by mpmath, closed forms, the expansion at 0, and a real random network."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import CATALOGUE, get_activation, resolve
from actsmith.formula.formula import Formula
from actsmith.formula.parse import X
from actsmith.theory.expansion import ORDER, kernel_expansion, one_sided_series
from actsmith.theory.kernel import kernel_flow, moments, second_moment, susceptibilities

WIDE = np.geomspace(1e-12, 1e8, 41)


def close(actual, expected, relative):
    np.testing.assert_allclose(actual, expected, rtol=relative, atol=0)


# ---------------------------------------------------------------- defining equations

MP = {
    "gelu": (lambda x: x * mpmath.ncdf(x), ()),
    "silu": (lambda x: x / (1 + mpmath.exp(-x)), ()),
    "tanh": (mpmath.tanh, ()),
    "softplus(x)": (lambda x: mpmath.log(1 + mpmath.exp(x)), ()),
    "where(x, x, expm1(x))": (lambda x: x if x > 0 else mpmath.expm1(x), (0,)),
    "clip(x, -1, 1)": (lambda x: max(-1, min(1, x)), (-1, 1)),
    "relu(x - 0.5) + 0.2*x": (lambda x: max(x - 0.5, 0) + x / 5, (0.5,)),
}


def exact(function, kinks, K):
    """g, g' and E[s'^2] by mpmath at 30 digits: g' as the derivative of the integral itself."""
    with mpmath.workdps(30):
        ends = sorted({-mpmath.inf, *(mpmath.mpf(k) for k in kinks), mpmath.mpf(0), mpmath.inf})
        root = mpmath.sqrt(K)
        ends = sorted({*ends, *(c * root for c in (-12, -4, -1, 1, 4, 12))})

        def mean(h):
            weight = lambda x: mpmath.exp(-x * x / (2 * K)) / mpmath.sqrt(2 * mpmath.pi * K)  # noqa: E731
            return mpmath.quad(lambda x: h(x) * weight(x), ends)

        g = mean(lambda x: function(x) ** 2)
        dg = mean(lambda x: (x * x - K) * function(x) ** 2) / (2 * K * K)
        return float(g), float(dg)


@pytest.mark.parametrize("name", MP)
@pytest.mark.parametrize("K", [0.01, 0.7, 30.0])
def test_moments_are_the_defining_integrals(name, K):
    function, kinks = MP[name]
    g, dg = exact(function, kinks, mpmath.mpf(K))
    m = moments(name, K)
    assert abs(float(m.g) - g) <= float(m.g_error) + 1e-15 * g
    assert abs(float(m.dg) - dg) <= float(m.dg_error) + 1e-15 * abs(dg)
    close(m.g, g, 1e-13)
    close(m.dg, dg, 1e-12)


@pytest.mark.parametrize("name", ["gelu", "tanh", "softplus(x)", "clip(x, -1, 1)", "relu", "where(x, x, expm1(x))"])
def test_derivatives_with_respect_to_K_are_those_of_g(name):
    K = np.geomspace(1e-3, 1e3, 13)
    h = 1e-3
    for value, derivative in (("g", "dg"), ("dg", "d2g")):
        ends = [getattr(moments(name, K * math.exp(d * h)), value) for d in (-2, -1, 1, 2)]
        slope = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * h) / K
        scale = np.abs(getattr(moments(name, K), value)) / K
        assert np.all(np.abs(getattr(moments(name, K), derivative) - slope) <= 1e-8 * scale)


# ---------------------------------------------------------------- closed forms


def test_relu_at_every_scale():
    m = moments("relu", WIDE)
    for actual, expected in ((m.g, WIDE / 2), (m.dg, 0.5), (m.perp, 0.5), (m.fourth, 1.5 * WIDE**2)):
        close(actual, expected, 1e-13)
    assert np.all(m.g_error <= 1e-13 * WIDE)


@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_repu_moments(p):
    m = moments(get_activation("repu", p=p), WIDE)
    double_factorial = math.prod(range(1, 2 * p, 2))
    close(m.g, double_factorial / 2 * WIDE**p, 1e-12)
    close(m.dg / m.perp, (2 * p - 1) / p, 1e-12)


def test_erf_arcsine_law():
    m = moments("erf(x)", WIDE)
    close(m.g, 2 / np.pi * np.arcsin(2 * WIDE / (1 + 2 * WIDE)), 1e-12)
    close(m.dg, 4 / np.pi / (1 + 2 * WIDE) / np.sqrt(1 + 4 * WIDE), 1e-12)
    close(m.perp, 4 / np.pi / np.sqrt(1 + 4 * WIDE), 1e-12)


def test_gelu_closed_form():
    # E[z^2 Phi(z)^2] = K/4 + K/(2 pi) asin(K/(1+K)) + K^2/(pi (1+K) sqrt(1+2K))
    K = WIDE
    g = K / 4 + K / (2 * np.pi) * np.arcsin(K / (1 + K)) + K**2 / (np.pi * (1 + K) * np.sqrt(1 + 2 * K))
    close(moments("gelu", K).g, g, 1e-12)


def test_sine_up_to_where_the_error_says():
    K = np.geomspace(1e-8, 1e4, 60)
    m = moments("sin(x)", K)
    assert np.all(np.abs(m.g + np.expm1(-2 * K) / 2) <= 4 * m.g_error)
    assert np.all(np.abs(m.dg - np.exp(-2 * K)) <= 4 * m.dg_error)
    assert np.all(m.g_error[K < 50] <= 1e-8)


def test_exponential_until_it_overflows():
    K = np.array([0.1, 1.0, 10.0, 60.0])
    close(moments("exp(x)", K).g, np.exp(2 * K), 1e-10)
    assert moments("exp(x)", 1e4).g == np.inf
    assert moments("exp(x**2)", 0.3).g == np.inf
    close(moments("exp(x**2)", 0.1).g, 1 / math.sqrt(0.6), 1e-9)


def test_a_jump_makes_the_slope_by_parts_and_chi_perp_infinite():
    # s = step(x - 1): g = P(z > 1), g' = phi(1/sqrt K)/(2 K^(3/2))
    K = np.array([0.1, 1.0, 7.0])
    m = moments("step(x - 1)", K)
    close(m.dg, np.exp(-1 / (2 * K)) / np.sqrt(2 * np.pi) / (2 * K**1.5), 1e-12)
    assert np.all(np.isinf(m.perp))
    assert np.all(np.isnan(m.d2g))


def test_a_function_that_is_undefined_somewhere_has_no_moments():
    assert np.isnan(float(moments("log(x)", 1.0).g))


def test_shapes_limits_and_refusals():
    assert moments("gelu", np.ones((2, 3))).g.shape == (2, 3)
    assert moments("gelu", np.ones((0,))).g.shape == (0,)
    zero = moments("sigmoid(x)", 0.0)
    assert (float(zero.g), float(zero.dg), float(zero.perp)) == pytest.approx((0.25, 0.0625, 0.0625))
    close(moments("tanh", [0.0]).d2g, [-4.0], 1e-14)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ActsmithError):
            moments("gelu", bad)


def test_beyond_the_shared_nodes():
    K = np.array([1e-120, 1e-40, 1e12, 1e100])
    close(moments("relu", K).g, K / 2, 1e-13)
    close(moments("tanh", 1e20).g, 1.0, 1e-9)
    close(moments("where(x, x, expm1(x))", 1e-60).dg, 1.0, 1e-12)


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_whole_catalogue_has_moments(name):
    K = np.geomspace(1e-8, 10, 19)
    m = moments(name, K)
    assert np.all(np.isfinite(m.g))
    assert np.all(m.g_error <= 1e-8 * m.g)
    assert np.all(m.fourth >= m.g**2 * (1 - 1e-8))


# ---------------------------------------------------------------- the expansion at 0


@pytest.mark.parametrize(
    "text",
    ["tanh(x)", "gelu(x)", "silu(x)", "mish(x)", "softplus(x)", "x*sigmoid(3*x)", "sin(x)*exp(x)", "asinh(x)*cos(x)",
     "atan(x) + erf(x)", "log1p(exp(x))/(2 + sin(x))", "x*(1 + x**2)**0.3", "sinh(x) - sech(x)", "x*erfc(x)",
     "expm1(x)*cosh(x)", "normal_pdf(x + 1)", "x/sqrt(1 + x**2)"],
)  # fmt: skip
def test_series_are_sympys(text):
    f = Formula(text)
    for side in (1, -1):
        expected = [float(f.expr.diff(X, k).subs(X, 0).evalf(20)) / math.factorial(k) * side**k for k in range(6)]
        np.testing.assert_allclose(one_sided_series(f, side)[:6], expected, rtol=1e-13, atol=1e-14)


def test_series_of_switches_are_one_sided():
    f = Formula("where(x, x + x**3, expm1(x))")
    np.testing.assert_array_equal(one_sided_series(f, 1)[:4], [0, 1, 0, 1])
    np.testing.assert_allclose(one_sided_series(f, -1)[:4], [0, -1, 1 / 2, -1 / 6], rtol=1e-15)
    assert one_sided_series(Formula("sqrt(abs(x))"), 1) is None
    assert one_sided_series(Formula("1/x"), 1) is None
    sinc = one_sided_series(Formula("sin(x)/x"), 1)
    np.testing.assert_allclose(sinc[:5], [1, 0, -1 / 6, 0, 1 / 120], rtol=1e-15)
    assert math.isnan(sinc[ORDER])
    np.testing.assert_array_equal(one_sided_series(Formula("relu(x)**2.5"), 1), None)
    np.testing.assert_allclose(one_sided_series(Formula("sqrt(x**2 + x**4)"), -1)[:4], [0, 1, 0, 0.5], rtol=1e-15)


@pytest.mark.parametrize("name", ["tanh", "gelu", "crrelu", "where(x, x, expm1(x))", "x*relu(1 + x)**2"])
def test_expansion_converges_to_the_quadrature(name):
    e = kernel_expansion(resolve(name))
    K = np.array([1e-3, 5e-4, 2.5e-4])
    terms = 6
    g = sum(e.g[n] * K ** (n / 2) for n in range(terms))
    gap = np.abs(moments(name, K).g - g)
    order = np.log2(gap[:-1] / gap[1:])
    assert np.all((order > terms / 2 - 0.2) | (gap[1:] < 1e-17))
    np.testing.assert_allclose(sum(e.perp[n] * K ** (n / 2) for n in range(6)), moments(name, K).perp, rtol=2e-6)


def test_softsign_expansion_has_half_integer_powers():
    # f = t - t^2 + ...: f^2 = t^2 - 2 t^3, E|z|^3 = 2 sqrt(2/pi) K^(3/2)
    assert kernel_expansion(Formula("x/(1 + abs(x))")).g[3] == pytest.approx(-4 * math.sqrt(2 / math.pi), rel=1e-14)


# ---------------------------------------------------------------- the recursion


def test_flow_blows_up_and_dies_without_noise():
    up = kernel_flow("repu", 2.0, 14, 1.0)
    assert up[1] == pytest.approx(6.0)
    assert np.isinf(up[-1])
    down = kernel_flow("repu", 0.2, 14, 1.0)
    assert down[-1] == 0.0
    assert kernel_flow("tanh", [0.1, 1.0], 5, 1.0).shape == (6, 2)
    close(kernel_flow("relu", 1.0, 400, 1.0)[-1], 0.5**400, 1e-11)
    with pytest.raises(ActsmithError):
        kernel_flow("relu", 1.0, 3, -1.0)


@pytest.mark.parametrize("name", ["gelu", "sin(x)", "relu(x - 1)", "exp(0.1*x)", "x*relu(1 + x)**2", "hardtanh"])
def test_the_fast_second_moment_is_the_slow_one(name):
    g = second_moment(resolve(name))
    K = np.geomspace(1e-3, 1e2, 23)
    close([g(k) for k in K.tolist()], moments(name, K).g, 1e-9)


@pytest.mark.parametrize(("name", "C_W", "C_b"), [("tanh", 1.5, 0.1), ("gelu", 1.983, 0.1729), ("relu", 2.0, 0.0)])
def test_a_real_random_network_follows_the_kernel(name, C_W, C_b):
    f, width, depth, networks = resolve(name), 800, 4, 24
    rng = np.random.default_rng(0)
    x = rng.normal(size=width)
    seen = np.empty((networks, depth))
    for i in range(networks):
        z = x
        for layer in range(depth):
            weights = rng.normal(size=(width, width), scale=math.sqrt(C_W / width))
            z = weights @ f(z) + rng.normal(size=width, scale=math.sqrt(C_b))
            seen[i, layer] = np.mean(z * z)
    # The first layer is given by the input itself; the recursion predicts every later one.
    first = C_b + C_W * float(np.mean(f(x) ** 2))
    predicted = kernel_flow(name, first, depth - 1, C_W, C_b)
    standard_error = seen.std(axis=0, ddof=1) / math.sqrt(networks)
    # A finite width biases the mean by O(1/width) of K.
    assert np.all(np.abs(seen.mean(axis=0) - predicted) <= 4 * standard_error + 10 * predicted / width)


def test_susceptibilities_are_the_growth_of_differences():
    K, C_W, C_b = 0.8, 1.3, 0.05
    chi = susceptibilities("tanh", K, C_W)
    near = kernel_flow("tanh", [K * (1 - 1e-5), K * (1 + 1e-5)], 1, C_W, C_b)
    assert chi.chi_par == pytest.approx((near[1, 1] - near[1, 0]) / (near[0, 1] - near[0, 0]), rel=1e-8)
    # chi_perp: two inputs at a small angle, by brute-force integration over both.
    x, w = np.polynomial.hermite_e.hermegauss(120)
    u, v = np.meshgrid(x, x)
    weight = np.outer(w, w) / w.sum() ** 2
    angle = 1e-4
    a = np.tanh(math.sqrt(K) * (math.cos(angle) * u + math.sin(angle) * v))
    b = np.tanh(math.sqrt(K) * (math.cos(angle) * u - math.sin(angle) * v))
    grown = C_W * float(np.sum(weight * (a - b) ** 2))
    assert chi.chi_perp == pytest.approx(grown / (4 * K * math.sin(angle) ** 2), rel=1e-6)
