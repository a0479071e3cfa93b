"""Removable singularities, kinks in pairs and smoothness, against mpmath and hand derivation."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest

import actsmith as acts
from actsmith.formula.formula import Formula


@pytest.mark.parametrize(
    ("text", "function", "centre"),
    [
        ("sin(x)/x", mp.sinc, 0.0),
        ("(exp(x)-1)/x", lambda x: mp.expm1(x) / x if x else mp.mpf(1), 0.0),
        ("(1-cos(x))/x**2", lambda x: mp.sinc(x / 2) ** 2 / 2, 0.0),
        ("(x-1)/(x**2-1)", lambda x: 1 / (x + 1), 1.0),
        ("x/tanh(x)", lambda x: x / mp.tanh(x) if x else mp.mpf(1), 0.0),
        ("sin(x-2)/(x-2)", lambda x: mp.sinc(x - 2), 2.0),
        ("x/log(1+x)", lambda x: x / mp.log1p(x) if x else mp.mpf(1), 0.0),
    ],
)
def test_a_removable_singularity_has_its_limit_and_derivatives(text, function, centre):
    f = Formula(text)
    assert centre not in f.kinks
    x = centre + np.array([0.0, 1e-12, -1e-8, 1e-5, -1e-3, 0.03, 0.4])
    jets = f.jet(x, 2)
    with mp.workdps(40):
        for k, tolerance in ((0, 1e-14), (1, 1e-12), (2, 1e-10)):
            right = [
                float(function(mp.mpf(v))) if k == 0 else float(mp.diff(function, mp.mpf(v) + mp.mpf(10) ** -18, k))
                for v in x
            ]
            np.testing.assert_allclose(jets[k], right, rtol=tolerance, atol=tolerance)
    assert f(centre) == jets[0][0]
    np.testing.assert_allclose(f.log_abs_derivative(x, 1), np.log(np.abs(jets[1])), rtol=1e-9, atol=1e-300)


def test_the_kernel_and_entropy_of_sinc():
    s = acts.susceptibilities("sin(x)/x", 1.0, 1.0)
    with mp.workdps(20):
        slope = lambda x: mp.cos(x) / x - mp.sin(x) / x**2  # noqa: E731
        right = 2 * mp.quad(lambda x: slope(x) ** 2 * mp.npdf(x), [mp.mpf("1e-9"), 1, 3, 12])
    assert s.chi_perp == pytest.approx(float(right), rel=1e-10)
    assert acts.entropy("sin(x)/x").mixed is not None


@pytest.mark.parametrize("text", ["1/x", "1/(x-1)", "sin(x)/x**2", "log(abs(x))", "sqrt(abs(x))"])
def test_poles_and_branch_points_stay(text):
    assert len(Formula(text).kinks) == 1


@pytest.mark.parametrize(
    ("text", "smoothness"),
    [
        ("relu(x)**1.5", 1), ("relu(x)**2.5", 2), ("relu(x)**10", 9), ("relu(x)**9", 8), ("relu(x)**40", 39),
        ("relu(x-1e8)", 0), ("relu(x-1e8)**3", 2), ("abs(x)**3", 2), ("relu(x)", 0), ("step(x)", -1),
        ("where(x>0, exp(-1/x), 0)", None), ("where(x>0, x, expm1(x))", 1), ("relu(x**3-2)**2", 1),
        ("sqrt(abs(x))", 0), ("relu(x+1e-7)**2", 1), ("sin(x)/x", None), ("1/x", -1),
    ],
)  # fmt: skip
def test_smoothness(text, smoothness):
    assert Formula(text).smoothness == smoothness


@pytest.mark.parametrize("p", [1.5, 2, 2.5, 9, 10])
def test_smoothness_of_repu(p):
    assert acts.get_activation("repu", p=p).smoothness == math.ceil(p) - 1


def test_roots_in_pairs_and_beside_a_kink():
    kinks = Formula("relu(0.001-abs(sin(x-1)))").kinks
    near = [k for k in kinks if abs(k - 1) < 0.5]
    np.testing.assert_allclose(near, [1 - math.asin(0.001), 1, 1 + math.asin(0.001)], atol=1e-12)
    pair = Formula("relu(exp(-(x-1.234)**2)-0.9999999)").kinks
    half = math.sqrt(-math.log(0.9999999))
    np.testing.assert_allclose(pair, [1.234 - half, 1.234 + half], atol=1e-9)
    beside = Formula("relu(abs(x-0.5)-1e-6*cos(x))").kinks
    assert len([k for k in beside if abs(k - 0.5) < 1e-5 and k != 0.5]) == 2
