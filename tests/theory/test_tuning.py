"""Tuning: the three conditions, the recursion, closed solutions, and the reasons where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from actsmith.errors import FormulaError
from actsmith.formula.catalogue import CATALOGUE, get_activation, resolve
from actsmith.formula.formula import Formula
from actsmith.theory.criticality import criticality
from actsmith.theory.kernel import kernel_flow, moments
from actsmith.theory.tuning import FARTHEST, critical_form, tuning

JUMPS = ("hardshrink",)


@pytest.mark.parametrize("name", [n for n in CATALOGUE if n not in JUMPS])
def test_the_conditions_hold_over_the_catalogue(name):
    t = tuning(name)
    m = moments(t.formula, 1.0)
    assert np.allclose([m.g, m.dg, m.perp], 1, rtol=0, atol=1e-10)
    x = np.linspace(-4, 4, 41)
    np.testing.assert_allclose(t.formula(x), t.c * (get_activation(name)(t.a * x + t.b) + t.d), rtol=1e-12, atol=1e-12)
    assert math.hypot(math.log(t.a), t.b) <= FARTHEST


@pytest.mark.parametrize("name", ["tanh", "gelu", "silu", "softplus", "sigmoid", "crrelu", "elu", "repu", "gaussian"])
def test_the_recursion_stays(name):
    assert np.all(np.abs(kernel_flow(critical_form(name), 1.0, 50, C_W=1.0) - 1) < 1e-10)


@pytest.mark.parametrize("name", ["tanh", "gelu", "softplus"])
def test_criticality_finds_the_same_point(name):
    nearest = min(criticality(critical_form(name)).points, key=lambda p: abs(p.K - 1))
    assert (nearest.K, nearest.C_W, nearest.C_b) == pytest.approx((1, 1, 0), abs=1e-7)


def test_the_conditions_by_gauss_hermite():
    # A second route to the moments: 200 Gauss-Hermite nodes on the tuned expression itself.
    z, w = np.polynomial.hermite_e.hermegauss(200)
    w = w / w.sum()
    for name in ("tanh", "gelu", "silu"):
        s, d = critical_form(name).jet(z, 1)
        np.testing.assert_allclose([w @ s**2, w @ d**2, w @ (z * s * d)], 1, rtol=0, atol=1e-9)


def test_scale_invariant_functions_are_only_scaled():
    t = tuning("relu")
    assert (t.a, t.b, t.d) == (1.0, 0.0, 0.0)
    assert t.c == pytest.approx(math.sqrt(2), rel=1e-15)
    assert tuning("identity").c == pytest.approx(1, rel=1e-15)


def test_a_shifted_relu_is_shifted_back():
    # relu(a x) satisfies all conditions with d = 0 for every a, so 3 relu(x - 1/4) does with b = 1/4.
    t = tuning(Formula("3*relu(x - 0.25)"))
    assert (t.a, t.b, t.d) == pytest.approx((1, 0.25, 0), abs=1e-9)
    assert t.c == pytest.approx(math.sqrt(2) / 3, rel=1e-9)


def test_the_solution_is_the_nearest():
    # No solution nearer than the one taken: F keeps its sign on a fine grid of the disc inside it.
    from actsmith.theory.tuning import _search

    for name in ("tanh", "gelu"):
        t = tuning(name)
        rho = math.hypot(math.log(t.a), t.b)
        radius, angle = np.meshgrid(np.linspace(0, 0.98 * rho, 40), np.linspace(-math.pi, math.pi, 80))
        values = _search(resolve(name), np.exp((radius * np.cos(angle)).ravel()), (radius * np.sin(angle)).ravel())
        assert all(np.ptp(np.sign(row)) == 0 for row in values)


def test_the_result_is_a_formula_like_any_other():
    assert critical_form("swish").params["beta"].learn
    for name in ("swish", "gelu", "elu", "hardswish", "mrepu", "snake", "crrelu"):
        f = critical_form(name)
        assert Formula.from_dict(f.to_dict()) == f


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sign(x)", "jumps"),
        ("3", "constant"),
        ("x**2", "chi_par stays"),
        ("log(x)", "not finite"),
        ("exp(x**2)", "critical_form"),
    ],
)
def test_why_there_is_none(text, reason):
    with pytest.raises(FormulaError, match=reason):
        critical_form(text)


def test_a_reason_counts_what_is_known():
    """Of exp(a x), m = exp(a^2): chi_par = 2 - 1/m ± sqrt((a^2 - 1 + 1/m)/m) > 1; tanh(1e6 x) has chi_par = 7.5e-13 at
    a = 1, and the rule that searches sees its steps nowhere near."""
    with pytest.raises(FormulaError, match=r"stays above 1, 1 to .* and stays above 1, 1 to .*moments are known"):
        critical_form("exp(x)")
    with pytest.raises(FormulaError, match=r"stays below 1, 7.501e-13 to 7.501e-13 .*moments are known: at 2%"):
        critical_form("tanh(1e6*x)")
