"""Tables from outcomes: what scipy finds, pairs by seed, Holm over the table, decades, nets that diverged."""

from dataclasses import replace

import pytest
from scipy import stats

from actsmith.formula.catalogue import get_activation
from actsmith.training.problem import Metric
from actsmith.trials.statistics import holm
from actsmith.trials.tables import by_seed, contest, table
from actsmith.trials.trial import Outcome, Trial

SCORE, ERROR = Metric("score", "higher"), Metric("error", "lower", log=True)
RELU, GELU, BAD = [0.90, 0.91, 0.92, 0.93], [0.92, 0.94, 0.93, 0.96], [0.1, 0.9, 0.9, 0.9]


def outcomes(name, values, *, metric="score", diverged=(), rate=1e-2):
    return [
        Outcome(
            Trial("e", get_activation(name), "score", rate, seed, test=True), {metric: value}, {metric: value},
            diverged=seed in diverged, step_seconds=0.5, peak_bytes=100 + seed,
        )
        for seed, value in enumerate(values)
    ]  # fmt: skip


def made(metric=SCORE, **values):
    found = {own[0].name: own for own in values.values()}
    return table(found, metric, reference="relu", rates=(1e-3, 1e-2, 1e-1), name="e", title="t")


@pytest.fixture
def three():
    return made(
        relu=outcomes("relu", RELU), gelu=outcomes("gelu", GELU, rate=1e-1), silu=outcomes("silu", BAD, diverged=[0])
    )


def test_a_row_holds_what_scipy_finds(three):
    assert [row.name for row in three.rows] == ["gelu", "relu", "silu"]
    row = three.row("gelu")
    low, high = stats.t.interval(0.95, 3, loc=sum(GELU) / 4, scale=stats.sem(GELU))
    assert (row.mean, row.low, row.high) == pytest.approx((sum(GELU) / 4, low, high))
    assert row.p == pytest.approx(stats.ttest_rel(GELU, RELU).pvalue)
    difference = [a - b for a, b in zip(GELU, RELU, strict=True)]
    assert row.difference == pytest.approx(sum(difference) / 4)
    assert row.effect == pytest.approx(row.difference / stats.tstd(difference))
    assert (row.at_edge, three.row("relu").at_edge) == (True, False)
    assert (row.step_seconds, row.peak_bytes) == (0.5, 103)
    assert three.row("relu").difference is None
    with pytest.raises(KeyError):
        three.row("tanh")


def test_one_diverged_net_takes_the_mean_away_and_stays_visible(three):
    row = three.row("silu")
    assert (row.mean, row.p, row.diverged) == (None, None, 1)
    assert row.values == (None, 0.9, 0.9, 0.9)
    assert by_seed(outcomes("silu", BAD, diverged=[0]), SCORE, "test") == {0: None, 1: 0.9, 2: 0.9, 3: 0.9}


def test_seeds_are_paired_whatever_their_order():
    mixed = made(relu=outcomes("relu", RELU), gelu=outcomes("gelu", GELU)[::-1])
    assert mixed.row("gelu").values == tuple(GELU)


def test_p_is_corrected_over_the_table():
    others = {"gelu": GELU, "silu": [0.91, 0.93, 0.92, 0.94], "tanh": [0.9, 0.92, 0.91, 0.93]}
    found = made(relu=outcomes("relu", RELU), **{name: outcomes(name, values) for name, values in others.items()})
    expected = holm([stats.ttest_rel(values, RELU).pvalue for values in others.values()])
    assert [found.row(name).p for name in others] == pytest.approx(expected)


def test_errors_are_compared_in_decades():
    found = made(
        ERROR, relu=outcomes("relu", [1e-2, 1e-4], metric="error"), gelu=outcomes("gelu", [1e-3, 1e-6], metric="error")
    )
    assert found.row("relu").mean == pytest.approx(1e-3)
    assert found.row("gelu").difference == pytest.approx(-1.5)
    assert found.rows[0].name == "gelu"
    (duel,) = contest([(found, "gelu", "relu")])
    assert duel.difference.mean == pytest.approx(1.5)  # decades gained


def test_a_contest_says_who_diverged(three):
    verdicts = [d.verdict for d in contest([(three, "relu", "silu"), (three, "silu", "relu"), (three, "silu", "silu")])]
    assert verdicts == ["better", "worse", "open"]


def test_a_training_that_failed_says_nothing_for_the_others():
    lost = outcomes("relu", RELU)
    lost[0] = replace(lost[0], validation={}, test=None, reason="CUDA out of memory")
    found = made(relu=lost, gelu=outcomes("gelu", GELU))
    assert (found.row("relu").failed, found.row("relu").diverged, found.row("relu").interval) == (1, 1, None)
    assert [d.verdict for d in contest([(found, "gelu", "relu"), (found, "relu", "gelu")])] == ["open", "open"]


def test_each_activation_may_have_rates_of_its_own():
    found = table(
        {"relu": outcomes("relu", RELU, rate=1e-1), "gelu": outcomes("gelu", GELU, rate=1e-1)}, SCORE, reference="relu",
        rates={"relu": (1e-2, 1e-1), "gelu": (1e-2, 1e-1, 1.0)}, name="e", title="t",
    )  # fmt: skip
    assert [found.row(name).at_edge for name in ("relu", "gelu")] == [True, False]
