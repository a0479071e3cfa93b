"""The correction of decreasing branches, and finite steps, against closed forms and mirror images."""

from __future__ import annotations

import math

import numpy as np
import pytest

import actsmith as acts
from actsmith.theory.laws import Empirical

X = np.linspace(-3, 3, 120)


@pytest.mark.parametrize(
    ("f", "mirrored"), [("relu(x)", "relu(-x)"), ("x", "-x"), ("softplus(x)", "softplus(-x)"), ("elu", None)]
)
def test_the_correction_of_f_of_minus_x_is_the_mirror_image(f: str, mirrored: str | None) -> None:
    formula = acts.Formula(f) if f != "elu" else acts.get_activation("elu")
    other = acts.Formula(mirrored) if mirrored else acts.Formula("where(x, exp(-x) - 1, -x)")
    one, two = acts.correction(formula), acts.correction(other)
    np.testing.assert_allclose(
        float(one.scale) * acts.Formula(one.psi)(X), float(two.scale) * acts.Formula(two.psi)(-X), atol=1e-12
    )


@pytest.mark.parametrize("f", ["-x", "abs(x)", "max(-x, 2*x)", "exp(-x)", "x", "softplus(-2*x)"])
@pytest.mark.parametrize("exact", [False, True])
def test_descent_lowers_the_entropy_whichever_way_f_runs(f: str, exact: bool) -> None:
    before, after = acts.entropy(f).mixed, acts.entropy(acts.improve(f, step=0.02, exact=exact)).mixed
    assert before is not None
    assert after is not None
    assert after < before


@pytest.mark.parametrize("f", ["relu(-x)", "-x", "abs(x)", "exp(-x)"])
def test_a_positive_eps_raises_the_entropy(f: str) -> None:
    assert acts.correction(f).entropy_rate.value > 0


def test_a_measured_law_takes_the_sign_of_each_branch_too() -> None:
    law = Empirical(np.random.default_rng(0).normal(size=20_000))
    up, down = (acts.Formula(acts.correction(f, law).psi) for f in ("x", "-x"))
    np.testing.assert_allclose(up(X), -down(X), atol=1e-9)


def test_a_long_step_shows_its_true_change() -> None:
    row = acts.correction("x").to_dict(step=10.0)["signs"]["published"]
    eps = row["eps"]
    x = np.linspace(-12, 12, 400_001)
    slope = 1 + eps * (1 - x * x) * np.exp(-x * x / 2)
    assert slope.min() < 0, "it folds, so the change is no mean of log f'"
    assert row["entropy_change"] == pytest.approx(10 / math.sqrt(2 * math.pi) * 2**-1.5, rel=1e-9)
    assert row["entropy_change_true"] == pytest.approx(0.163, abs=2e-3)


@pytest.mark.parametrize("law", ["student:2.5", "student:0.7", "student:31", "cauchy", "lognormal", "lognormal:1,0.3"])
def test_the_worst_activation_is_the_distribution_function(law):
    f, law = acts.worst_activation(law, 0, 1), acts.resolve_law(law)
    x = law.quantile(np.array([1e-9, 1e-3, 0.2, 0.5, 0.77, 0.999, 1 - 1e-9]))
    np.testing.assert_allclose(f(x), law.cdf(x), atol=2e-9)
    assert acts.entropy(f, law).mixed == pytest.approx(0.0, abs=1e-6)
