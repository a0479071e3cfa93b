"""Entropies where f saturates, folds to a higher order, folds often or is narrow: against closed forms and mpmath."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest

import actsmith as acts
from actsmith.theory.laws import Mixture, Normal

E_LOG_X = -(np.euler_gamma + math.log(2)) / 2  # E log|N|
H_NORMAL = 0.5 * math.log(2 * math.pi * math.e)


def within(value: float, right: float, error: float, slack: float = 1e-9) -> bool:
    return abs(value - right) <= error + slack


@pytest.mark.parametrize("centre", [0, 1, -2.5])
@pytest.mark.parametrize("power", [2, 4, 6, 8])
def test_even_powers_fold_to_their_order(power, centre):
    f, law = f"(x - ({centre}))**{power} + 3", Normal(centre, 1)
    e = acts.entropy(f, law)
    # |X - c|^n is monotone in |X - c|, whose entropy is H(N) - log 2
    right = H_NORMAL - math.log(2) + math.log(power) + (power - 1) * E_LOG_X
    assert within(e.mixed, right, e.error)


def test_a_fold_of_order_four_away_from_the_centre():
    with mp.workdps(25):
        p = lambda x: mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)  # noqa: E731
        s = lambda u: p(1 + u) + p(1 - u)  # noqa: E731
        right = mp.quad(lambda u: -s(u) * mp.log(s(u) / (4 * u**3)), [0, 1e-6, 0.01, 1, 3, 9])
    e = acts.entropy("(x-1)**4")
    assert within(e.mixed, float(right), e.error)
    assert e.mixed == pytest.approx(1.823429079, abs=2e-9)


def test_tails_that_saturate_are_matched():
    e = acts.entropy("tanh(x**2)")
    # monotone in |X|: H = H(|N|) + E log(2|x| sech(x^2)^2)
    with mp.workdps(25):
        slope = lambda x: mp.log(2 * x) - 2 * mp.log(mp.cosh(x * x))  # noqa: E731
        mean = mp.quad(lambda x: slope(x) * mp.exp(-x * x / 2) * mp.sqrt(2 / mp.pi), [0, 0.1, 1, 3, 12])
    assert within(e.mixed, float(mean) + H_NORMAL - math.log(2), e.error)
    assert e.mixed == pytest.approx(-0.504593619, abs=2e-9)


def test_a_deviation_that_is_tiny_is_one():
    e = acts.entropy("tanh(100*x)", "normal:3,0.5")
    with mp.workdps(40):
        density = lambda x: mp.exp(-(((x - 3) / 0.5) ** 2) / 2) / (0.5 * mp.sqrt(2 * mp.pi))  # noqa: E731
        marks = [-3, -1, -0.1, -0.01, 0, 0.01, 0.1, 1, 3, 8]
        gap = mp.quad(lambda x: (1 - mp.tanh(100 * x)) * density(x), marks)
        square = mp.quad(lambda x: (1 - mp.tanh(100 * x)) ** 2 * density(x), marks)
        right = float(mp.sqrt(square - gap**2))
    assert e.std == pytest.approx(right, rel=1e-5)


def test_an_inverse_that_rounding_hides():
    one, two = (acts.entropy(f"where(x>0,x,{g})") for g in ("1-exp(x)", "-expm1(x)"))
    assert within(one.mixed, two.mixed, one.error + two.error)
    assert one.smoothed == pytest.approx(1.223942, abs=1e-6)


@pytest.mark.parametrize("w", [1, 3, 6])
def test_a_sine_that_folds_often(w):
    with mp.workdps(20):

        def wrapped(t):  # the density of w N on the circle
            return mp.nsum(lambda k: mp.npdf((t + 2 * mp.pi * k) / w) / w, [-20, 20])

        def surprise(t):
            s = wrapped(t) + wrapped(mp.pi - t)
            return -s * mp.log(s / mp.cos(t)) if s > 0 else mp.mpf(0)

        right = float(mp.re(mp.quad(surprise, [-mp.pi / 2, -1, 0, 1, mp.pi / 2], maxdegree=5)))
    e = acts.entropy(f"sin({w}*x)")
    assert within(e.mixed, right, e.error, 1e-8)


def test_folds_without_number_leave_the_smoothed_entropy():
    arcsine = acts.entropy("sin(30*x)")
    assert arcsine.mixed is None
    assert "folds" in arcsine.reasons["mixed"]
    rng = np.random.default_rng(0)
    u = np.sqrt(2) * np.sin(2 * np.pi * rng.random(2_000_000)) + 0.1 * rng.normal(size=2_000_000)
    counts, edges = np.histogram(u, bins=400)
    p = counts[counts > 0] / u.size
    assert arcsine.smoothed == pytest.approx(float(-(p * np.log(p / np.diff(edges)[0])).sum()), abs=3e-3)
    for f in ("x+cos(x**2)", "sin(x) + sin(20*x)/2 + sin(100*x)/3", "abs(sin(20*x))"):
        assert acts.entropy(f).smoothed is not None


def test_what_overflows_in_the_tails_has_its_entropy():
    e = acts.entropy("exp(x**3)")
    assert within(e.mixed, H_NORMAL + math.log(3) + 2 * E_LOG_X, e.error)
    assert e.smoothed is None


def test_a_fold_far_below_what_f_typically_is():
    """Under uniform:-2,3 this is 1e53 at the median and folds at 0 between 0 and 0.96.

    The right number: quadrature over the right branch, x = v^2 beside the fold, partners by Brent's method.
    """
    e = acts.entropy("expm1(41.4*x)*tanh(x)+129+normal_cdf(x-1.91)**4", "uniform:-2,3")
    assert within(e.mixed, 40.4240631, e.error + 1e-7)


@pytest.mark.parametrize("switch", ["x", "tanh(((x)**3)**3)", "x**3*exp(-x**2)"])
def test_a_switch_whose_argument_underflows_beside_its_root(switch):
    """q(y) = p(log y)/y + [y > 1/2] p(logit y)/(y (1 - y)), by scipy's quad."""
    for law, right in (("normal", -0.239844697956921), ("laplace:0.5,0.7", -0.477748968352264)):
        e = acts.entropy(f"where({switch}, sigmoid(x), exp(x))", law)
        assert within(e.mixed, right, e.error + 1e-12)


def test_narrow_components_far_apart():
    law = Mixture((0.5, 0.5), (Normal(-5, 0.001), Normal(5, 0.001)))
    e = acts.entropy("x", law)
    right = math.log(2) + 0.5 * math.log(2 * math.pi * math.e * (0.01 + (0.001 / law.std) ** 2))
    assert within(e.smoothed, right, e.error)
    assert within(e.mixed, math.log(2) + H_NORMAL + math.log(0.001), e.error)


def test_an_atom_is_counted_by_its_value():
    e = acts.entropy("relu(1-abs(x))")
    assert e.atom_mass == pytest.approx(math.erfc(1 / math.sqrt(2)), rel=1e-12)
    assert "0.317311" in e.reasons["differential"]


@pytest.mark.parametrize(
    "f", ["normal_cdf(10*sin(2*x))", "relu(sin(10*x))", "abs(sin(10*x))", "normal_cdf(abs(x))/(1+cos(2*x)**2)"]
)
def test_many_branches_take_seconds(f):
    e = acts.entropy(f)
    assert e.smoothed is not None
    if f == "relu(sin(10*x))":  # h(1/2) + H(|sin|)/2, the angle uniform to 1e-20
        assert within(e.mixed, math.log(2) + 0.5 * math.log(math.pi / 4), e.error)


def test_folds_at_which_f_saturates():
    """z = Phi(10 sin 2x) is monotone in s = sin 2x: H(Z) = H(s) + E log(10 phi(10 s)), E s^2 = (1 - exp(-8))/2."""
    e, s = acts.entropy("normal_cdf(10*sin(2*x))"), acts.entropy("sin(2*x)")
    right = s.mixed + math.log(10 / math.sqrt(2 * math.pi)) - 25 * (1 - math.exp(-8))
    assert within(e.mixed, right, e.error + s.error)


def test_folds_come_in_pairs_between_nodes():
    """g = 1.0001 + cos(x) has no root, g = 0.9999 + cos(x) two near each odd multiple of pi: g^2 folds there thrice."""
    from actsmith.theory.output import branches_of

    law = acts.resolve_law("laplace")
    folds = [
        len([x for x in branches_of(acts.Formula(f), law).folds if 15 < x < 16.5])
        for f in ("(cos(x)+1.0001)**2", "(cos(x)+0.999)**2")
    ]
    assert folds == [1, 3]


def test_moments_of_what_folds_too_often_are_closed():
    """E cos(x^2) = Re (1 - 2i)^(-1/2), E cos(x^2)^2 = 1/2 + Re (1 - 4i)^(-1/2)/2, f' = 1 - 2x sin(x^2) by parts."""
    e = acts.entropy("x+cos(x**2)")
    mean, square = ((1 - 2j) ** -0.5).real, 0.5 + ((1 - 4j) ** -0.5).real / 2
    assert within(e.mean, mean, 1e-10)
    assert within(e.std, math.sqrt(1 + square - mean**2), 1e-10)
    s = acts.susceptibilities("x+cos(x**2)", 1.0, 1.0)
    assert within(s.chi_perp, 3 - 2 * ((1 - 4j) ** -1.5).real, 1e-9)
    wave = acts.susceptibilities("abs(sin(10*x))", 1.0, 1.0)
    assert within(wave.chi_perp, 50 * (1 + math.exp(-200)), 1e-9)
    assert acts.phase_diagram("abs(sin(10*x))", [1.0], [0.1]).K[0, 0] == pytest.approx(0.6, rel=1e-10)
