"""Looking after every seed: the closed form against quadrature, and what a simulation says of its errors and power."""

from math import exp, inf, log, sqrt

import numpy as np
import pytest
from scipy import integrate, stats

from actsmith.errors import ActsmithError
from actsmith.trials.sequential import Sequential, confidence_sequence, log_evidence, log_evidence_of_signs
from actsmith.trials.statistics import interval
from actsmith.trials.verdict import verdict

MARGIN = 0.8
"""In deviations, as the numbers below."""


def by_quadrature(differences, mean):
    """The density of Student's t under delta ~ N(0, 1), a noncentral t, over that under delta = 0."""
    n = len(differences)
    t = sqrt(n) * (np.mean(differences) - mean) / np.std(differences, ddof=1)

    def weighed(delta):
        return stats.nct.pdf(t, n - 1, delta * sqrt(n)) * stats.norm.pdf(delta)

    return integrate.quad(weighed, -8, 8, limit=200)[0] / stats.t.pdf(t, n - 1)


@pytest.mark.parametrize(("n", "shift"), [(3, 0.0), (6, 0.7), (12, 1.0), (25, -0.4)])
def test_the_closed_form_is_the_mixture(n, shift):
    d = np.random.default_rng(n).normal(shift, 1.3, n)
    assert exp(log_evidence(d, 0.2)) == pytest.approx(by_quadrature(d, 0.2), rel=1e-5)


def test_the_confidence_sequence_holds_what_the_evidence_does_not_exclude():
    d = np.random.default_rng(0).normal(0.5, 1.0, 15)
    found = confidence_sequence(d)
    for end in (found.low, found.high):
        assert log_evidence(d, end) == pytest.approx(log(20), rel=1e-9)
    assert found.low < interval(d).low < interval(d).high < found.high
    assert confidence_sequence([0.1, 0.3]).high == inf
    assert log_evidence([1.0, 1.0], 0.0) == inf


def test_signs():
    assert log_evidence_of_signs(0, 0) == 0
    mixture = integrate.quad(lambda q: q**7 * (1 - q) ** 2, 0, 1)[0] / 0.5**9
    assert exp(log_evidence_of_signs(7, 2)) == pytest.approx(mixture)


def ended(effect, rng, most=60):
    """Verdict and number of pairs of one experiment that is looked at after every pair."""
    d = rng.normal(effect, 1.0, most)
    for n in range(3, most + 1):
        found = verdict(confidence_sequence(d[:n]), MARGIN)
        if found != "open":
            return found, n
    return "open", most


def test_stopping_when_decided_makes_few_errors_and_finds_what_is_there():
    rng = np.random.default_rng(1)
    none = [ended(0.0, rng) for _ in range(200)]
    large = [ended(2.0, rng) for _ in range(100)]
    edge = [ended(MARGIN, rng)[0] for _ in range(200)]
    assert sum(v in ("better", "worse") for v, _ in none) <= 4
    assert sum(v == "same" for v, _ in none) >= 0.9 * 200
    assert sum(v == "better" for v, _ in large) == 100
    assert np.median([n for _, n in large]) <= 16
    # At the edge both "better" and "same" are errors: never more than the level of either side.
    assert sum(v != "open" for v in edge) <= 0.1 * 200


def test_zero_is_excluded_seldom_where_it_is_true_and_soon_where_it_is_not():
    """And a plain t-interval that is looked at after every pair excludes it five times as often as it says."""
    rng = np.random.default_rng(2)
    false, peeked, found = 0, 0, []
    for _ in range(150):
        null, real = rng.normal(0.0, 1.0, 40), rng.normal(1.0, 1.0, 60)
        looks = [confidence_sequence(null[:n]) for n in range(3, 41)]
        false += any(not i.low < 0 < i.high for i in looks)
        peeks = [interval(null[:n]) for n in range(3, 41)]
        peeked += any(not i.low < 0 < i.high for i in peeks)
        found.append(next((n for n in range(3, 61) if confidence_sequence(real[:n]).low > 0), inf))
    assert false <= 0.05 * 150
    assert peeked >= 0.15 * 150
    assert np.median(found) <= 15
    assert max(found) < inf


def test_seeds_are_added_until_all_is_decided():
    plan = Sequential(most=12, least=5, step=3, first=100)
    assert [len(block) for block in plan.blocks()] == [5, 8, 11, 12]
    assert plan.until(lambda seeds: len(seeds) >= 8) == tuple(range(100, 108))
    assert plan.until(lambda seeds: False) == tuple(range(100, 112))
    for wrong in ({"most": 1}, {"most": 5, "least": 6}, {"most": 9, "step": 0}):
        with pytest.raises(ActsmithError, match="sequential seeds"):
            Sequential(**wrong)
