"""Rank correlations against known answers, what the theory records, and the reproduction end to end."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation as get
from actsmith.nn.start import KAIMING, Start, start_of
from actsmith.papers.families import families
from actsmith.papers.foreknowledge import Theory, distance, quantities
from actsmith.papers.rank_correlation import (
    Correlation,
    agreement,
    combined,
    correlated,
    correlations,
    spearman,
    split_half,
)
from actsmith.papers.reproduce import reproduce
from actsmith.papers.theory_vs_training import REPRODUCTION, activations

RNG = np.random.Generator(np.random.PCG64(7))
ALONE = [str(i) for i in range(40)]
"""Each activation a family of its own."""


def planted(tasks=4, count=40, seeds=5, noise=0.3):
    """Quantities (3, count) of which the first decides the merit (tasks, count, seeds)."""
    q = RNG.standard_normal((3, count))
    return q, q[0][None, :, None] + noise * RNG.standard_normal((tasks, count, seeds))


# -------------------------------------------------------------------------------------------- rank correlation


def test_spearman_is_scipys_with_ties_and_infinities():
    x = np.array([0.0, 0.0, 1.0, 3.0, np.inf, -np.inf, 2.0])
    y = np.array([1.0, 2.0, 2.0, 5.0, 4.0, -np.inf, -np.inf])
    ranks = stats.pearsonr(stats.rankdata(x), stats.rankdata(y)).statistic
    assert float(spearman(x, y)) == pytest.approx(ranks)
    assert float(spearman(np.ones(4), np.arange(4.0))) == 0


def test_an_interval_holds_what_is_there():
    q, merit = planted()
    each, mean = correlations(q[0], merit, ALONE)
    assert len(each) == 4
    assert mean.low > 0.8
    assert all(c.low <= c.rho <= c.high for c in each)
    _, nothing = correlations(q[1], merit, ALONE)
    assert nothing.low < 0 < nothing.high
    _, backwards = correlations(-q[0], merit, ALONE)
    assert backwards.rho == pytest.approx(-mean.rho)


def test_copies_of_an_activation_are_no_evidence():
    """Ten activations, each four times: drawn by family, the interval is as wide as that of ten."""
    q, merit = planted(count=10, noise=1.0)
    copied, four = np.tile(q[0], 4), np.tile(merit, (1, 4, 1))
    few, kin, many = (
        correlations(a, b, names)[1]
        for a, b, names in ((q[0], merit, ALONE[:10]), (copied, four, ALONE[:10] * 4), (copied, four, ALONE))
    )
    assert kin.high - kin.low == pytest.approx(few.high - few.low, rel=0.2)
    assert many.high - many.low < 0.75 * (few.high - few.low)


def test_families_are_shapes_and_what_is_corrected():
    formulas = [get("tanh"), get("relu"), get("sigmoid"), get("gelu"), get("silu"), get("sin").renamed("relu-0.3eafo")]
    assert families(formulas) == ["tanh", "relu", "tanh", "gelu", "gelu", "relu"]


def test_a_combination_finds_the_quantity_on_tasks_and_activations_it_has_not_seen():
    q, merit = planted()
    for new in (False, True):
        found, weights = combined(q, merit, ALONE, new_activations=new, draws=40)
        assert found.low > 0.7
        assert weights[0] > 0.7
        assert np.abs(weights[1:]).max() < 0.3


def test_a_combination_of_noise_predicts_nothing_for_new_activations():
    q, _ = planted()
    found, _ = combined(q, RNG.standard_normal((4, 40, 5)), ALONE, new_activations=True, draws=40)
    assert found.low < 0.1


def test_a_net_that_diverged_comes_last_and_breaks_nothing():
    q, merit = planted()
    worst = int(np.argmin(q[0]))
    merit[:, worst] = -np.inf
    _, mean = correlations(q[0], merit, ALONE)
    assert mean.rho > 0.8
    assert math.isfinite(mean.low)


def test_reliability_of_seeds_and_agreement_of_tasks():
    _, quiet = planted(noise=0.01)
    _, loud = planted(noise=30.0)
    assert min(split_half(quiet)) > 0.99
    assert max(split_half(loud)) < 0.6
    assert agreement(quiet) > 0.99
    assert agreement(loud) < 0.5


def test_shapes_that_do_not_agree_are_refused():
    with pytest.raises(ActsmithError, match="n >= 4"):
        correlations(np.arange(3.0), np.zeros((1, 3, 2)), ALONE[:3])
    with pytest.raises(ActsmithError, match="too few"):
        combined(RNG.standard_normal((3, 8)), np.zeros((2, 8, 2)), ALONE[:8], new_activations=True)
    with pytest.raises(ActsmithError, match="got 3 families of 6"):
        correlations(np.arange(6.0), np.zeros((1, 6, 2)), ["a", "a", "b", "b", "c", "c"])
    with pytest.raises(ActsmithError, match="expected"):
        correlations(np.arange(5.0), np.zeros((1, 6, 2)), ALONE[:5])


# ------------------------------------------------------------------------------------------------------ theory


def test_distance_is_zero_at_criticality_and_infinite_for_a_jump():
    for name in ("relu", "gelu", "silu"):
        assert distance(get(name), start_of(get(name), 6), 6) < 1e-6
    # W ~ N(0, 1.8/fan_in): chi_par = chi_perp = 0.9 in every layer of ReLU.
    start = Start("none", C_W=1.8, C_b=0.0, K0=1.0, readout=1.0)
    assert distance(get("relu"), start, 6) == pytest.approx(-math.log(0.9))
    # RePU: chi_par : chi_perp = 3 : 2 at every K, so no start is nearer than half of that.
    assert distance(get("repu"), start_of(get("repu"), 6), 6) > math.log(1.5) / 2
    assert distance(get("hardshrink"), KAIMING, 6) == math.inf
    assert distance(get("mrepu"), KAIMING, 6) == math.inf


def test_quantities_say_what_is_undefined(tmp_path):
    theory = Theory(tuple(get(n) for n in ("relu", "gelu", "hardshrink")), depth=4)
    records = {f"theory/{f.name}": json.loads(json.dumps(_plain(theory.record(f)))) for f in theory.activations}
    folder = type("Folder", (), {"results": records})
    found = quantities(folder, ["relu", "gelu", "hardshrink"])
    assert found["scale_free"][0] == -math.inf  # half of the output is one number
    assert found["smoothness"].tolist() == [0, math.inf, -1]
    assert found["distance"].tolist() == [0, 0, math.inf]
    assert found["smoothed"][:2].tolist() == pytest.approx([0.741995, 0.877996])


def _plain(record):
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}


def test_the_study_is_of_many_different_activations():
    names = [f.name for f in activations()]
    assert len(names) == len(set(names)) >= 60
    assert {"relu", "crrelu", "relu-0.3eafo", "gelu_kept_critical", "worst_normal"} <= set(names)
    parts = REPRODUCTION.presets["small"].parts((get("relu"),))
    assert [p.name for p in parts[1:6]] == ["digits", "fashion-mnist", "cifar10", "polynomial", "austen"]
    assert all(len(p.most) >= 5 and len(p.activations) >= 60 for p in parts[1:])


# ---------------------------------------------------------------------------------------------------- end to end


@pytest.mark.parametrize(
    ("rho", "low", "high", "expected"),
    [
        (0.5, 0.3, 0.7, "holds"),
        (0.4, 0.1, 0.6, "open"),  # up to 0.2 one may not choose by it
        (0.0, -0.1, 0.1, "no difference that matters"),
        (-0.4, -0.6, -0.25, "does not hold"),
    ],
)
def test_the_answer_is_the_intervals(rho, low, high, expected):
    assert correlated("S", Correlation(rho, low, high, 40), 1, "", "").verdict == expected
    turned = correlated("S", Correlation(-rho, -high, -low, 40), -1, "", "", origin="paper")
    assert turned.verdict == {"holds": "reproduced"}.get(expected, expected)
    assert (turned.effect.mean, turned.effect.low, turned.effect.high) == (rho, low, high)


def test_smoke_relates_what_it_trained_to_the_theory(tmp_path):
    found = reproduce("theory-vs-training", "smoke", tmp_path, device="cpu").findings
    assert [t.name for t in found.tables] == ["digits", "polynomial", "digits-kaiming", "polynomial-kaiming"]
    assert len(found.claims) == 7  # too few activations to leave half of them out
    assert set(found.facts["rank correlation with merit"]["smoothed"]) == {"digits", "polynomial", "mean"}
    assert found.curves[0].panels["smoothness"][0].low is not None
    alone = reproduce("theory-vs-training", "smoke", tmp_path, device="cpu", only=["digits"]).findings
    assert [t.name for t in alone.tables] == ["digits"]
    assert alone.claims == ()
