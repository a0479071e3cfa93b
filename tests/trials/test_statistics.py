"""Intervals against scipy's own, and their coverage."""

import numpy as np
import pytest
from scipy import stats

from actsmith.errors import ActsmithError
from actsmith.trials.statistics import interval, paired_difference


def test_agrees_with_scipy():
    x = np.random.default_rng(0).normal(size=7)
    got, expected = interval(x.tolist()), stats.ttest_1samp(x, 0).confidence_interval(0.95)
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high))
    y = x + np.random.default_rng(1).normal(0.1, 0.3, size=7)
    paired, expected = paired_difference(y.tolist(), x.tolist()), stats.ttest_rel(y, x).confidence_interval(0.95)
    assert (paired.low, paired.high) == pytest.approx((expected.low, expected.high))


def test_covers_what_it_says():
    rng = np.random.default_rng(2)
    held = [abs(i.mean) <= i.high - i.mean for i in (interval(rng.normal(size=5).tolist()) for _ in range(2000))]
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)


def test_equal_values_have_no_width():
    assert interval([0.5, 0.5, 0.5]) == type(interval([0, 1]))(0.5, 0.5, 0.5, 3)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")]])
def test_too_little_is_refused(values):
    with pytest.raises(ActsmithError, match="two or more finite"):
        interval(values)


def test_pairs_need_partners():
    with pytest.raises(ActsmithError, match="one a seed"):
        paired_difference([1.0, 2.0], [1.0])
