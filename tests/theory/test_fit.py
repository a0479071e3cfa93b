"""The mixture fit: known mixtures come back, and the number of components is the true one."""

import numpy as np
import pytest

from actsmith.errors import LawError
from actsmith.theory.fit import fit_mixture
from actsmith.theory.laws import Empirical, Logistic, Mixture, Normal, StudentT

TWO = Mixture((0.3, 0.7), (Normal(-2.0, 0.5), Normal(1.0, 0.8)))
THREE = Mixture((0.2, 0.5, 0.3), (Normal(-4.0, 0.5), Normal(0.0, 0.8), Normal(5.0, 1.0)))


@pytest.mark.parametrize("law", [Normal(), Normal(-3, 0.01), Normal(1e3, 20)])
def test_a_normal_law_is_its_own_fit(law):
    fit = fit_mixture(law)
    assert isinstance(fit.law, Normal)
    assert fit.law.mean == pytest.approx(law.mean, abs=1e-3 * law.std)
    assert fit.law.std == pytest.approx(law.std, rel=1e-3)
    assert fit.distance < 1e-3


@pytest.mark.parametrize("law", [TWO, THREE])
def test_a_known_mixture_comes_back(law):
    fit = fit_mixture(law, digits=None)
    assert isinstance(fit.law, Mixture)
    assert len(fit.law.laws) == len(law.laws)
    np.testing.assert_allclose(fit.law.weights, law.weights, atol=2e-3)
    np.testing.assert_allclose([c.mean for c in fit.law.laws], [c.mean for c in law.laws], atol=1e-2)
    np.testing.assert_allclose([c.std for c in fit.law.laws], [c.std for c in law.laws], rtol=1e-2)
    assert fit.distance < 1e-3


def test_from_samples():
    fit = fit_mixture(Empirical(TWO.sample(20_000, seed=3)))
    assert isinstance(fit.law, Mixture)
    assert len(fit.law.laws) == 2
    np.testing.assert_allclose(fit.law.weights, TWO.weights, atol=0.02)
    assert fit.distance < 0.01


def test_few_samples_ask_for_few_components():
    """The BIC's penalty is (3 k - 1) log n/n: a slight skew is worth a component in 1e5 samples, the noise of 1,000
    of a normal law is not."""
    skewed = Mixture((0.8, 0.2), (Normal(0, 1), Normal(1.0, 1.4)))
    assert all(isinstance(fit_mixture(Empirical(Normal().sample(1_000, seed))).law, Normal) for seed in range(3))
    assert isinstance(fit_mixture(Empirical(skewed.sample(100_000, seed=0))).law, Mixture)


def test_another_shape_is_fitted_closely():
    assert fit_mixture(Logistic()).distance < 5e-3


def test_rounding_costs_little_and_leaves_a_law():
    for law in (TWO, THREE, Logistic(0.1, 3.0)):
        rounded, full = fit_mixture(law), fit_mixture(law, digits=None)
        assert rounded.distance < full.distance + 1e-3
        assert isinstance(rounded.law, Mixture)
        assert all(w == round(w, 4) for w in rounded.law.weights)


def test_scale_and_place_carry_over():
    """EM commutes with x -> a x + b."""
    fit = fit_mixture(TWO, digits=None).law
    moved = Mixture(TWO.weights, tuple(Normal(10 * c.mean + 3, 10 * c.std) for c in TWO.laws))
    other = fit_mixture(moved, digits=None).law
    assert isinstance(fit, Mixture)
    assert isinstance(other, Mixture)
    np.testing.assert_allclose([c.std for c in other.laws], [10 * c.std for c in fit.laws], rtol=1e-6)
    np.testing.assert_allclose([c.mean for c in other.laws], [10 * c.mean + 3 for c in fit.laws], rtol=1e-6)


def test_most_bounds_the_components():
    assert isinstance(fit_mixture(THREE, most=1).law, Normal)
    with pytest.raises(LawError, match="expected 1 or more"):
        fit_mixture(THREE, most=0)


def test_a_law_without_variance_is_refused():
    with pytest.raises(LawError, match="two moments"):
        fit_mixture(StudentT(1.5))
