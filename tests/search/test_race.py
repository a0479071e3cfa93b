"""The exploration's rungs: gains are paired, the best quarter goes on, a cheap share must rank as the whole does."""

import math

import numpy as np
import pytest

from actsmith.formula.formula import Formula
from actsmith.search.race import Race
from actsmith.training.problem import Metric
from actsmith.trials.trial import History, Outcome

START = Formula("x", name="start")
ARMS = [Formula(f"x + {i}*sin(x)", name=f"f{i}") for i in range(1, 9)]
RACE = Race("t", "c", Metric("loss", "lower"), START, 1e-2, ((1, 2), (3, 4, 5)))


def played(scores, rungs=(0, 1), race=RACE, noise=0.5):
    """Losses: the seed's own part, common to all, and what the activation gains."""
    common = {seed: noise * (-1) ** seed for seed in range(10)}
    return History(
        Outcome(t, {"loss": None if gain is None else 5.0 + common[t.seed] - gain}, diverged=gain is None)
        for f, gain in scores.items()
        for rung in rungs
        for t in race.trials(f, rung)
    )


def test_a_gain_is_the_difference_on_the_same_seeds():
    history = played({START: 0.0, ARMS[0]: 0.25, ARMS[1]: -0.5, ARMS[2]: None})
    assert RACE.gain(ARMS[0], history) == pytest.approx(0.25)
    assert RACE.gain(ARMS[1], history, 1) == pytest.approx(-0.5)
    assert RACE.gain(ARMS[2], history) == -math.inf
    assert RACE.gain(ARMS[3], history) is None


def test_the_best_quarter_goes_on_and_what_diverged_does_not():
    gains = {f: float(i) for i, f in enumerate(ARMS)}
    history = played({START: 0.0, **gains, ARMS[7]: None}, rungs=(0,))
    assert RACE.promoted(ARMS, history) == [ARMS[6], ARMS[5]]
    assert Race("t", "c", RACE.metric, START, 1e-2, ((1,), ())).promoted(ARMS, history) == []


def test_the_second_rung_decides_where_there_is_one():
    first = played({START: 0.0, ARMS[0]: 3.0, ARMS[1]: 2.0, ARMS[2]: 9.0}, rungs=(0,))
    second = played({START: 0.0, ARMS[0]: 0.5, ARMS[1]: 1.0}, rungs=(1,))
    history = History([*first.values(), *second.values()])
    assert [f.name for f in RACE.ranked(ARMS, history)] == ["f2", "f1", "f3"]


def test_a_share_that_turns_the_order_round_does_not_agree():
    gains = {f: float(i) for i, f in enumerate(ARMS)}
    whole = played({START: 0.0, **gains}, rungs=(0,))
    for sign, expected in ((1, 1.0), (-1, -1.0)):
        cheap = played({START: 0.0, **{f: sign * g for f, g in gains.items()}}, rungs=(0,), race=RACE.at(0.25))
        history = History([*whole.values(), *cheap.values()])
        assert RACE.agreement(ARMS, history, 0.25) == pytest.approx(expected)
    assert RACE.agreement(ARMS[:3], whole, 0.25) == 0.0
    assert not np.isnan(RACE.agreement(ARMS, whole, 0.5))
