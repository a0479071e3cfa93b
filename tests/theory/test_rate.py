"""dH/deps of a correction: against differences of the entropy, high precision, and integrals that have no limit."""

import json
import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy import integrate, optimize, stats

import actsmith as acts
from actsmith.formula.parse import X
from actsmith.theory.rate import entropy_rates

x = sp.Symbol("x", real=True)
NORMAL = sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)
STUDENT_3 = 6 * sp.sqrt(3) / (sp.pi * (3 + x**2) ** 2)


def rate_integrand(f, p):
    """p d'/f' with d = -p' + p f''/f', by SymPy's own calculus, to any precision."""
    slope = f.diff(x)
    d = -p.diff(x) + p * slope.diff(x) / slope
    return sp.lambdify(x, sp.simplify(p * d.diff(x) / slope), "mpmath")


DIVERGENT = [
    # name, law, f and p beside the trouble, an interval that stops short of it, one that goes further, growth, place
    ("repu", "normal", x**2, NORMAL, (1e-2, 5), (1e-3, 5), 100, "near x = 0"),
    ("relu_squared", "normal", x**2, NORMAL, (1e-3, 5), (1e-4, 5), 100, "near x = 0"),
    ("star_relu", "student:3", x**2, STUDENT_3, (1e-3, 5), (1e-4, 5), 100, "near x = 0"),
    pytest.param(  # finding the kinks of its psi takes some ten seconds
        ("crrelu", "uniform:-1,1", x * sp.exp(-(x**2) / 2), sp.S.Half, (-1 + 1e-3, 0), (-1 + 1e-4, 0), 100,
        "near x = -1"), marks=pytest.mark.slow,
    ),
    ("snake", "normal", x + sp.sin(x) ** 2, NORMAL, (-0.7854 + 1e-2, 0), (-0.78541 + 1e-3, 0), 1e3, "near x = -0.7854"),
    ("tanh", "laplace", sp.tanh(x), sp.exp(x) / 2, (-20, 0), (-40, 0), 2, "in the left tail"),
    ("erf", "normal", sp.erf(x), NORMAL, (-20, 0), (-40, 0), 8, "in the left tail"),
    ("elu", "student:3", sp.exp(x) - 1, STUDENT_3, (-50, 0), (-100, 0), 1e15, "in the left tail"),
]  # fmt: skip


@pytest.mark.parametrize("case", DIVERGENT)
def test_a_divergent_rate_is_none_with_its_place(case):
    name, law, f, p, short, long, growth, place = case
    with mpmath.workdps(40):
        term = rate_integrand(f, p)
        first, second = (
            mpmath.quad(term, mpmath.linspace(*(mpmath.mpf(end) for end in ends), 41)) for ends in (short, long)
        )
    assert second / first > 0.7 * growth  # without bound: the integral has no limit
    c = acts.correction(name, law)
    assert c.entropy_rates is None
    assert math.isnan(c.entropy_rate.value)
    assert c.entropy_rate.error == math.inf
    assert f"does not converge {place}" in c.reasons["entropy_rate"]
    assert c.reasons["entropy_rate"] in c.note
    record = c.to_dict()
    assert math.isnan(record["signs"]["published"]["entropy_change"])
    assert record["reasons"]["dH_deps"] == c.reasons["entropy_rate"]


def test_entropy_of_repu_changes_like_the_cube_root_of_eps():
    """f - eps (x + 1/x) exp(-x^2/2) is monotone on x > 0: H - H_0 = E log(1 + eps psi'/f'), by mpmath."""
    assert acts.correction("repu").psi == (X + 1 / X) * sp.exp(-(X**2) / 2)

    def change(eps):
        def term(t):
            ratio = (t**2 + t**-2) * mpmath.exp(-(t**2) / 2) / (2 * t)
            return 2 * mpmath.npdf(t) * mpmath.log1p(eps * ratio)

        return mpmath.quad(term, [0, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 12])

    assert change(8e-9) / change(1e-9) == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize(
    ("name", "law", "place"),
    [("relu_squared", "normal", 0), ("x**3", "normal", 0), ("repu", "laplace", 0), ("crrelu", "uniform:-1,1", -1)],
)
def test_no_smoothed_rate_where_the_changed_function_has_no_variance(name, law, place):
    """psi ~ 1/(x - x0) beside a root of f': f + eps psi has no finite variance at any eps, so no J to differ."""
    c = acts.correction(name, law)
    assert c.smoothed_rate is None
    assert f"E psi^2 does not converge near x = {place}: f + eps psi has no finite" in c.reasons["smoothed_rate"]
    for eps in (1e-2, -1e-2, 1e-4, -1e-4):
        assert acts.entropy(c.formula(eps), law).smoothed is None
    assert c.to_dict()["dJ_deps"] is None


def test_a_pole_is_not_tabulated():
    law = acts.Empirical(np.random.default_rng(0).normal(size=2000))
    with pytest.raises(acts.ActsmithError, match="has a pole at x = 0, where"):
        acts.correction("relu_squared", law)


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("elu", "normal"), ("selu", "normal"), ("softsign", "normal"), ("softsign", "student:3"),
        ("softplus", "laplace"), ("sigmoid", "laplace"), ("arctan", "laplace"),
    ],
)  # fmt: skip
def test_each_sign_has_its_own_rate_where_psi_jumps(name, law):
    """One-sided differences of the entropy, extrapolated to eps = 0."""
    c = acts.correction(name, law)
    base = acts.entropy(name, law).mixed

    def extrapolated(eps):
        near, far = ((acts.entropy(c.formula(k * eps), law).mixed - base) / (k * eps) for k in (1, 2))
        return 2 * near - far

    rates = c.entropy_rates
    assert rates.jumps == (0.0,)
    assert rates.above.value == pytest.approx(extrapolated(1e-4), rel=1e-4)
    assert rates.below.value == pytest.approx(extrapolated(-1e-4), rel=1e-4)
    assert math.isnan(c.entropy_rate.value)
    assert "two signs differ" in c.reasons["entropy_rate"]
    signs = c.to_dict()["signs"]
    assert signs["published"]["entropy_change"] == pytest.approx(0.01 * rates.above.value)
    assert signs["descend"]["entropy_change"] == pytest.approx(-0.01 * rates.below.value)


def test_the_laplace_laws_own_kink_in_closed_form():
    """f = x, psi = sign(x) exp(-|x|): E psi' = -1/2; eps < 0 lays a width 2|eps| of density 1/2 over another."""
    c = acts.correction("identity", "laplace")
    assert c.entropy_rates.above.value == pytest.approx(-0.5, abs=1e-12)
    assert c.entropy_rates.below.value == pytest.approx(-0.5 + 2 * math.log(2), abs=1e-8)
    assert "positive eps (the sign that arXiv:2405.12954 publishes) lowers it, a negative one lowers it" in c.note


def test_relu_and_what_the_note_says_of_it():
    c = acts.correction("relu")
    assert c.entropy_rates.above == c.entropy_rates.below == c.entropy_rate
    assert c.reasons == {}
    assert "changes by +0.353553 nats" in c.note
    assert "a negative one lowers it, which is the direction of the theory" in c.note
    json.dumps(c.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("name", "law", "f", "p", "ends"),
    [
        ("isru", "student:3", x / sp.sqrt(1 + x**2), STUDENT_3, [0, 1, 10, 1e3, mpmath.inf]),
        ("tanh", "normal", sp.tanh(x), NORMAL, [0, 1, 4, 12]),
        # psi'/f' rises to exp(200) before the law ends it, where p and f' underflow
        ("tanh", "normal:0,10", sp.tanh(x), NORMAL.subs(x, x / 10) / 10, [0, 50, 80, 100, 120, 150, 300]),
    ],
)
def test_rate_in_tails_equals_high_precision(name, law, f, p, ends):
    c = acts.correction(name, law)
    with mpmath.workdps(150):
        expected = 2 * mpmath.quad(rate_integrand(f, p), ends) / mpmath.mpf(str(sp.N(c.scale, 30)))
    assert c.entropy_rate.value == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize("name", ["isrlu", "isru", "softsign", "softplus", "logsigmoid"])
def test_smoothed_rate_under_a_heavy_tail_is_the_derivative_of_the_entropy(name):
    c = acts.correction(name, "student:3")
    up, down = (acts.entropy(c.formula(eps), "student:3").smoothed for eps in (1e-3, -1e-3))
    # the 5e-6 of the mass beyond 60 standard deviations has no share in the variation
    assert c.smoothed_rate == pytest.approx((up - down) / 2e-3, abs=2e-5)


def test_psi_keeps_its_digits_in_the_tails():
    """d = -p' + p f''/f', with f''/f' = 1 - sigmoid(x) for softplus and -3 x/(1 + x^2) for isru."""
    law = acts.resolve_law("student:3")
    at = np.array([-1e30, -1e9, -740.0, -2.0, 3.0])
    for name, bend in (("softplus", 1 / (1 + np.exp(np.maximum(at, -700)))), ("isru", -3 / (at + 1 / at))):
        c = acts.correction(name, law)
        d = float(c.scale) * acts.Formula(c.psi)(at)
        np.testing.assert_allclose(d, law.pdf(at) * (bend - law.score(at)), rtol=1e-12)


def test_rate_where_f_turns_at_a_kink_is_the_mean_score():
    """-E[psi s(Z)], THEORY 1.6: no fold, and psi vanishes at the kink. q(z) = p(z) + 2 p(2 z) for slopes 1 and -1/2."""
    psi = acts.Formula("x*exp(-x**2/2) + x**2*exp(-x**2)")
    f = acts.get_activation("prelu", slope=-0.5)

    def score(z):
        near, far = stats.norm.pdf(z), 2 * stats.norm.pdf(2 * z)
        return (-z * near - 4 * z * far) / (near + far)

    sides = (lambda t: psi(t) * score(t), lambda t: psi(-t) * score(t / 2))
    expected = -sum(integrate.quad(lambda t, side=side: stats.norm.pdf(t) * side(t), 0, 12)[0] for side in sides)
    rates = entropy_rates(f, psi, acts.Normal())
    assert rates.above.value == pytest.approx(expected, rel=1e-7)


def hardswish_entropy(psi, eps, law):
    """-E log q on x > -3 for f + eps psi, with the partner on the other side of the fold by bisection."""

    def f(t):
        return (t * min(t + 3, 6) / 6) + eps * psi(t)

    def slope(t):
        return (f(t + 1e-6) - f(t - 1e-6)) / 2e-6

    fold = optimize.brentq(slope, -2.5, -0.5, xtol=1e-13)
    last = optimize.brentq(lambda t: f(t) - f(-3 + 1e-15), fold + 0.5, 2, xtol=1e-14)

    def term(t):
        q = law.pdf(t) / abs(slope(t))
        if t < last:
            ends = (fold, last) if t < fold else (-3, fold)
            low, high = (f(end) - f(t) for end in ends)
            if low * high < 0:
                other = optimize.brentq(lambda s: f(s) - f(t), *ends, xtol=1e-14)
                q += law.pdf(other) / abs(slope(other))
        return -law.pdf(t) * math.log(q)

    nodes, weights = np.polynomial.legendre.leggauss(120)
    s, w = (nodes + 1) / 2, weights / 2
    total = sum(wi * 2 * si * (fold + 3) * term(fold - (fold + 3) * si**2) for si, wi in zip(s, w, strict=True))
    total += sum(wi * 2 * si * (last - fold) * term(fold + (last - fold) * si**2) for si, wi in zip(s, w, strict=True))
    for a, b in pairwise([end for end in (last, 0, 3, 12, 40) if end >= last]):
        total += sum(wi * (b - a) * term(a + (b - a) * si) for si, wi in zip(s, w, strict=True))
    return total


def test_a_flat_piece_stays_flat_where_f_folds():
    law = acts.Laplace()
    c = acts.correction("hardswish", law)
    psi = acts.Formula(c.psi)
    up, down = (hardswish_entropy(psi, eps, law) for eps in (2e-3, -2e-3))
    assert c.entropy_rate.value == pytest.approx((up - down) / 4e-3 / float(law.survival(-3.0)), rel=1e-3)


def test_a_quotient_that_drifts_for_ever_is_no_rate():
    """mrepu ends on x = -1 with f' = -2 (x + 1) + ...: E[psi'/f'] is logarithmic there, and so is every halving."""
    c = acts.correction("mrepu", "uniform:-1,1")
    assert c.form == "projected"
    assert c.entropy_rates is None
    slope = acts.Formula(c.psi).jet(-1.0, 1)[1]
    reason = c.reasons["entropy_rate"]
    assert "do not settle" in reason
    drift = float(reason.split("changes of ")[1].split(" ")[0])
    assert drift == pytest.approx(abs(slope) / 4 * math.log(2), rel=0.03)  # p psi'/2 for every factor e of eps
    assert acts.correction("crrelu").entropy_rates is None
