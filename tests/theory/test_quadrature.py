"""Expectations against closed forms: the true error stays below the reported one, at every scale."""

from math import exp, gamma, inf, log, pi, sqrt

import mpmath
import numpy as np
import pytest
from scipy import special, stats

from actsmith.errors import NumericsError
from actsmith.theory.laws import Laplace, Logistic, Mixture, Normal, StudentT, Uniform
from actsmith.theory.quadrature import Estimate, expectation, nodes

SCALES = [1e-8, 1e-4, 1.0, 1e3, 1e6]


def relu(x):
    return np.maximum(x, 0.0)


def closed_forms(family, s):
    """(function, exact expectation) under the centred family at scale s; moments E|z|^k and E log|z| of each."""
    moment, logarithm = {
        Normal: (lambda k: 2 ** (k / 2) * gamma((k + 1) / 2) / sqrt(pi), -(np.euler_gamma + log(2)) / 2),
        Laplace: (lambda k: gamma(k + 1), -np.euler_gamma),
        # E|z|^k = 2 Gamma(k + 1) eta(k), the Dirichlet eta function; E log|z| is its derivative at k = 0.
        Logistic: (lambda k: float(2 * gamma(k + 1) * mpmath.altzeta(k)), log(pi / 2) - np.euler_gamma),
        Uniform: (lambda k: 1 / (k + 1), -1.0),
    }[family]
    yield np.ones_like, 1.0
    yield np.abs, s * moment(1)
    yield lambda x: x**4, s**4 * moment(4)
    yield lambda x: relu(x) ** 2, s**2 * moment(2) / 2
    yield lambda x: np.log(np.abs(x)), log(s) + logarithm
    yield lambda x: np.abs(x) ** -0.5, s**-0.5 * moment(-0.5)


@pytest.mark.parametrize("s", SCALES)
@pytest.mark.parametrize("family", [Normal, Laplace, Logistic, Uniform])
def test_true_error_is_below_the_reported_error_at_every_scale(family, s):
    law = Uniform(-s, s) if family is Uniform else family(0, s)
    for function, exact in closed_forms(family, s):
        got = expectation(function, law, (0.0,))
        assert abs(got.value - exact) <= got.error + 4e-16 * abs(exact)
        assert got.error <= 1e-11 * max(1, abs(exact))
        # Far better than asked: the bound is the coarse rule's, the value the fine rule's.
        assert got.value == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize("df", [1.5, 2.5, 3, 10, 100])
@pytest.mark.parametrize("s", SCALES)
def test_student_moments(df, s):
    for k in (-0.5, 0.5, 1.0, 2.0):
        if k > df - 0.5:
            continue
        exact = s**k * df ** (k / 2) * gamma((k + 1) / 2) * float(mpmath.gammaprod([(df - k) / 2], [df / 2]))
        got = expectation(lambda x, k=k: np.abs(x) ** k, StudentT(df, 0, s), (0.0,))
        assert abs(got.value - exact / sqrt(pi)) <= got.error + 1e-14 * exact
    exact = log(s) + (log(df) + special.digamma(0.5) - special.digamma(df / 2)) / 2
    got = expectation(lambda x: np.log(np.abs(x)), StudentT(df, 0, s), (0.0,))
    assert abs(got.value - exact) <= got.error + 1e-14


@pytest.mark.parametrize("a", [-0.9, 0.3, 0.9])
@pytest.mark.parametrize(
    ("law", "exact"),
    [
        (Normal(0.5, 2), lambda a: exp(a / 2 + 2 * a * a)),
        (Laplace(), lambda a: 1 / (1 - a * a)),
        (Logistic(), lambda a: pi * a / np.sin(pi * a)),
        (Uniform(), lambda a: np.sinh(a) / a),
        (
            Mixture((0.25, 0.75), (Normal(-3, 0.1), Laplace())),
            lambda a: exp(-3 * a + a * a / 200) / 4 + 0.75 / (1 - a * a),
        ),
    ],
)
def test_exponential_moments(law, exact, a):
    got = expectation(lambda x: np.exp(a * x), law)
    assert abs(got.value - exact(a)) <= got.error
    assert got.error <= 1e-11 * got.value + 1e-11


def test_against_mpmath_at_kinks_and_away_from_the_centre():
    law, kink = Normal(0.7, 1.3), -0.4
    with mpmath.workdps(30):
        exact = mpmath.quad(
            lambda x: (
                mpmath.tanh(x) * abs(x - mpmath.mpf("-0.4")) * mpmath.npdf(x, mpmath.mpf("0.7"), mpmath.mpf("1.3"))
            ),
            [-20, -3, mpmath.mpf("-0.4"), 0, 1, 4, 20],
        )
    got = expectation(lambda x: np.tanh(x) * np.abs(x - kink), law, (kink,))
    assert abs(got.value - float(exact)) <= got.error < 1e-11


def test_the_error_falls_exponentially_in_one_over_the_step():
    """relu(x)^2 under N(0, 1) is analytic for |Im t| < pi/4: error ~ exp(-pi^2/(2 h))."""
    steps = np.array([0.8, 0.6, 0.5, 0.4, 0.3])
    errors = []
    for h in steps:
        rule = nodes((0.0,), step=float(h))
        errors.append(abs(rule.w @ (relu(rule.x) ** 2 * Normal().pdf(rule.x)) - 0.5))
    rate = np.polyfit(1 / steps, np.log(errors), 1)[0]
    assert rate == pytest.approx(-(pi**2) / 2, rel=0.25)


def test_one_set_of_nodes_serves_every_kernel():
    rule = nodes((0.0,), cut=4e4, step=0.05)
    K = np.geomspace(1e-8, 1e6, 57)
    values = relu(rule.x) ** 2 * np.exp(-(rule.x**2) / (2 * K[:, None])) / np.sqrt(2 * pi * K[:, None])
    value, error = rule.integrate_many(values)
    assert value.shape == error.shape == K.shape
    np.testing.assert_array_less(np.abs(value - K / 2), error + 1e-30)
    np.testing.assert_array_less(error, 1e-13 * K)


def test_singularity_away_from_zero_is_as_good_as_its_distance_is_known():
    got = expectation(lambda x: np.log(np.abs(x - 1)), Normal(), (1.0,))
    exact = stats.norm.expect(lambda x: np.log(np.abs(x - 1)), lb=-12, ub=1) + stats.norm.expect(
        lambda x: np.log(np.abs(x - 1)), lb=1, ub=12
    )
    assert got.value == pytest.approx(exact, abs=1e-7)
    assert got.error < 1e-12
    # 1 + d rounds d to 2e-16, and int_0^d y^-1/2 dy = 2 sqrt(d): float64 nodes cannot do better, and the error says so.
    root = expectation(lambda x: np.abs(x - 1) ** -0.5, Uniform(0, 3), (1.0,), strict=False)
    assert abs(root.value - (2 + 2 * sqrt(2)) / 3) <= root.error < 1e-6


def test_panels_and_weights():
    rule = nodes((1.0, -1.0, 1.0, 1.0 + 1e-17), low=-2, high=inf, cut=10)
    assert rule.panel.max() == 2
    assert [float(rule.x[rule.panel == i].min()) >= low for i, low in enumerate((-2, -1, 1))] == [True] * 3
    assert not np.isin(rule.x, [-2, -1, 1]).any()
    assert (rule.w > 0).all()
    assert np.count_nonzero(rule.coarse) == pytest.approx(rule.x.size / 2, abs=3)
    for i in range(3):
        assert (np.diff(rule.x[rule.panel == i]) >= 0).all()
    assert rule is nodes([-1.0, 1.0], low=-2, high=inf, cut=10)
    with pytest.raises(ValueError, match="read-only"):
        rule.x[0] = 0
    assert nodes((), low=0, high=1).integrate(nodes((), low=0, high=1).x).value == pytest.approx(0.5, rel=1e-15)
    assert nodes((5.0,), low=-inf, high=0).x.max() < 0
    assert nodes(()).panel.max() == 1


def test_a_value_that_overflows_where_the_density_vanishes_does_no_harm():
    got = expectation(lambda x: np.where(np.abs(x) > 38.7, np.nan, x) ** 2, Normal())
    assert abs(got.value - 1) <= got.error
    got = expectation(lambda x: np.exp(x**2 / 2.5), Normal())
    assert got.value == pytest.approx(sqrt(5), rel=1e-12)


def test_what_cannot_be_integrated_says_so():
    with pytest.raises(NumericsError, match=r"at x = 1\.\d+ is not finite"):
        expectation(lambda x: np.where(x > 1, np.nan, x), Uniform(0, 2), (1.0,))
    with pytest.raises(
        NumericsError, match=r"expectation under student\(1.5,0,1\): got .* with error .*; expected .* moment"
    ):
        expectation(np.square, StudentT(1.5))
    lax = expectation(np.square, StudentT(1.5), strict=False)
    assert lax.error > lax.value > 0
    # A kink that nobody named: the error owns up.
    hidden = expectation(lambda x: np.abs(x - 0.123), Normal(), strict=False)
    exact = 0.123 * (2 * stats.norm.cdf(0.123) - 1) + 2 * stats.norm.pdf(0.123)
    assert 1e-11 < abs(hidden.value - exact) <= hidden.error
    # exp(x^2) outgrows the density.
    with pytest.raises(NumericsError):
        expectation(lambda x: np.exp(x * x), Normal())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cut": 0.0}, "cut: got 0.0; expected a finite positive distance"),
        ({"cut": inf}, "cut: got inf"),
        ({"step": 0.0}, "step: got 0.0"),
        ({"low": 1.0, "high": 1.0}, r"support: got \(1.0, 1.0\); expected low < high"),
    ],
)
def test_bad_rules(arguments, message):
    with pytest.raises(NumericsError, match=message):
        nodes((), **arguments)


def test_bad_values():
    rule = nodes((0.0,))
    with pytest.raises(NumericsError, match=r"values: got shape \(3,\); expected \(\.\.\., \d+\)"):
        rule.integrate_many(np.zeros(3))
    with pytest.raises(NumericsError, match="is not finite"):
        rule.integrate(np.full(rule.x.size, inf))


def test_estimate():
    estimate = Estimate(0.5, 1e-12)
    assert float(estimate) == 0.5
    assert repr(estimate) == "Estimate(0.5 ± 1.0e-12)"


@pytest.mark.parametrize(("mean", "std"), [(100.0, 1.0), (1000.0, 1.0), (100.0, 1e-3), (-1e6, 1.0)])
def test_a_law_far_from_zero_loses_what_its_nodes_lose_and_says_so(mean, std):
    got = expectation(np.abs, Normal(mean, std), (0.0,), strict=False)
    assert abs(got.value - abs(mean)) <= got.error
    assert got.value == pytest.approx(abs(mean), rel=1e-14 * abs(mean) / std)
