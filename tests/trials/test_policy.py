"""Tuning climbs over rate and scale; what comes next is a function of the history alone."""

import math

import pytest

from actsmith.formula.catalogue import get_activation
from actsmith.training.problem import Metric
from actsmith.trials.policy import TuneThenScore
from actsmith.trials.trial import History, Outcome, Trial, scaled

LOSS = Metric("loss", "lower")
GELU = get_activation("gelu")


def policy(**changes):
    values = {"rates": (1e-3, 1e-2, 1e-1), "seeds": (0, 1), "tuning_seeds": (1000, 1001), "climbs": True}
    return TuneThenScore("t", "c", LOSS, **values | changes)


def settled(rules, loss):
    """Do what the rules ask for until they ask for nothing."""
    history = History()
    while trials := rules.next(GELU, history):
        for t in trials:
            history.add(Outcome(t, {"loss": loss(t.rate, t.scale)}, {"loss": 0.0} if t.test else None))
        assert len(history) < 500
    return history


@pytest.mark.parametrize(("rate", "scale"), [(2.2e-2, 1.0), (1e-2, 2.1), (3.5e-3, 0.6), (1e-1, 1.0)])
def test_the_climb_ends_at_the_best_setting_of_the_lattice(rate, scale):
    history = settled(policy(), lambda r, s: math.log(r / rate) ** 2 + math.log(s / scale) ** 2)
    found = policy().setting(GELU, history)
    assert abs(math.log(found[0] / rate)) <= math.log(2) / 4 + 1e-6
    assert abs(math.log(found[1] / scale)) <= math.log(2) / 4 + 1e-6
    scored = history.of(stage="score")
    assert {(o.trial.rate, o.trial.scale) for o in scored} == {found}
    assert {o.trial.seed for o in scored} == {0, 1}


def test_the_grid_is_left_where_the_best_lies_beyond():
    history = settled(policy(), lambda r, s: abs(math.log(r / 0.4)) + abs(math.log(s)))
    assert policy().rate(GELU, history) == pytest.approx(0.4, rel=0.01)
    assert not policy().at_edge(policy().rate(GELU, history))


def test_ways_that_meet_are_one_setting():
    history = settled(policy(), lambda r, s: abs(math.log(r / 2e-2)) + abs(math.log(s / 2)))
    settings = {(o.trial.rate, o.trial.scale) for o in history.of(stage="tune")}
    apart = [abs(math.log(a[0] / b[0])) + abs(math.log(a[1] / b[1])) for a in settings for b in settings if a != b]
    assert min(apart) > 0.3


def test_equal_settings_are_no_reason_to_move():
    history = settled(policy(), lambda r, s: 0.5)
    assert policy().setting(GELU, history) == (1e-3, 1.0)
    assert len(history.of(stage="tune")) == 2 * (3 + 4)


def test_a_single_rate_leaves_the_scale_to_climb():
    history = settled(policy(rates=(1e-2,), ranked=True), lambda _, s: abs(math.log(s / 1.4)))
    assert policy(rates=(1e-2,), ranked=True).setting(GELU, history) == (1e-2, pytest.approx(1.41421))


def test_without_a_climb_the_grid_alone_is_tried():
    history = settled(policy(climbs=False), lambda r, s: abs(math.log(r / 2e-2)))
    assert {o.trial.scale for o in history.values()} == {1.0}
    assert len(history) == 3 * 2 + 2


def test_what_is_settled_stays():
    history = settled(policy(), lambda r, s: abs(math.log(r / 2e-2)))
    fixed = policy(settled={"gelu": (1e-3, 0.5)})
    assert fixed.setting(GELU, history) == (1e-3, 0.5)
    assert fixed.climbing(GELU, history) == ()
    assert {(t.rate, t.scale) for t in fixed.scoring(GELU, history)} == {(1e-3, 0.5)}


def test_half_of_a_step_decides_nothing():
    rules, whole = policy(), settled(policy(), lambda r, s: abs(math.log(r / 5e-2)))
    grid = History(o for o in whole.values() if o.trial.key in {t.key for t in rules.tuning(GELU)})
    ring = rules.climbing(GELU, grid)
    half = History([*grid.values(), *(whole[t.key] for t in ring[: len(ring) // 2])])
    assert rules.climbing(GELU, half) == ring
    assert rules.setting(GELU, half) == rules.setting(GELU, grid)


def test_a_scale_is_part_of_the_key_and_none_is_what_it_was():
    plain = Trial("t", GELU, "tune", 1e-2, 0)
    assert "scale" not in plain.to_dict()
    assert plain.key != Trial("t", GELU, "tune", 1e-2, 0, scale=2.0).key
    assert Trial.from_dict(Trial("t", GELU, "tune", 1e-2, 0, scale=2.0).to_dict()).scale == 2.0
    assert Trial("t", GELU, "tune", 1e-2, 0, scale=2.0).activation(1.5) == pytest.approx(2 * GELU(1.5))
    assert scaled(GELU, 1.0) is GELU


# -------------------------------------------------------------------------------------------- beyond the grid


def growing(**changes):
    return policy(climbs=False, grows=True, **changes)


def tried(history):
    return sorted({o.trial.rate for o in history.of(stage="tune")})


@pytest.mark.parametrize(
    ("best", "expected"),
    [
        (1e-2, [1e-3, 1e-2, 1e-1]),  # inside: nothing beyond
        (1e-1, [1e-3, 1e-2, 1e-1, 1.0]),  # an end: one beyond, which is worse
        (1.0, [1e-3, 1e-2, 1e-1, 1.0, 10.0]),
        (1e-4, [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]),
        (1e9, [1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1e3]),  # four at most
    ],
)
def test_a_grid_grows_beyond_an_end_that_is_its_best(best, expected):
    history = settled(growing(), lambda r, _: abs(math.log(r / best)))
    assert tried(history) == pytest.approx(expected)
    assert growing().grid(GELU, history) == pytest.approx(tuple(expected))
    assert growing().rate(GELU, history) == min(expected, key=lambda r: abs(math.log(r / best)))
    assert {o.trial.seed for o in history.of(stage="tune") if o.trial.rate == expected[-1]} == {1000, 1001}


def test_a_grown_grid_goes_on_from_any_moment_as_it_was():
    def loss(rate, _):
        return abs(math.log(rate / 0.9))

    whole = settled(growing(), loss)
    outcomes = list(whole.values())
    for count in range(len(outcomes)):
        history = History(outcomes[:count])
        while trials := growing().next(GELU, history):
            for t in trials:
                history.add(whole[t.key])  # a trial of another run is a KeyError
        assert set(history) == set(whole)


def test_a_single_rate_and_one_that_is_settled_do_not_grow():
    assert tried(settled(growing(rates=(1e-2,), ranked=True), lambda r, _: 1 / r)) == [1e-2]
    history = settled(growing(settled={"gelu": (1e-1, 1.0)}), lambda r, _: 1 / r)
    assert growing(settled={"gelu": (1e-1, 1.0)}).growing(GELU, history) == ()
    assert policy(climbs=False).growing(GELU, history) == ()
