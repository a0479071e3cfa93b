"""The sentence at the end: what the intervals carry, chosen by validation, judged once by test."""

from dataclasses import replace

import numpy as np
import pytest

from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula
from actsmith.search.conclude import conclude, confirmed, front
from actsmith.search.plan import EXAMPLES, FEWEST, planned
from actsmith.training.problem import Metric
from actsmith.trials.policy import TuneThenScore
from actsmith.trials.runner import Cost
from actsmith.trials.trial import History, Outcome

ACCURACY = Metric("accuracy", "higher", share=True)
ERROR = Metric("error", "lower", log=True)
START, OTHER, THIRD = get_activation("relu"), get_activation("gelu"), get_activation("silu")


def _policy(metric=ACCURACY, seeds=10):
    return TuneThenScore("t", "c", metric, (1e-2,), tuple(range(seeds)))


def _history(policy, scores):
    """name -> (validation, test) arrays."""
    outcomes = []
    for formula, (validation, test) in scores.items():
        for trial, v, t in zip(policy.scoring(formula, {}), validation, test, strict=False):
            name = policy.metric.name
            outcomes.append(Outcome(trial, {name: float(v)}, {name: float(t)}, diverged=not np.isfinite(t)))
    return History(outcomes)


def _said(scores, metric=ACCURACY, finalists=(OTHER,), known=None):
    policy = _policy(metric)
    found = confirmed(_history(policy, scores), policy, START, finalists)
    return found, conclude(found, "relu", policy, 50, go_on="`go on`", known=known)


def _noise(seed, mean, spread=0.01):
    return mean + spread * np.random.default_rng(seed).standard_normal(10)


def test_a_clear_win_is_announced_with_its_numbers():
    base = _noise(0, 0.9)
    found, said = _said({START: (base, base), OTHER: (base + 0.03, base + 0.03 + _noise(1, 0, 0.002))})
    assert (said.kind, said.recommended) == ("better", "gelu")
    assert found[1].verdict == "better"
    assert f"{found[1].difference.mean:+.4g}" in said.sentence
    assert "10 fresh paired seeds" in said.sentence


def test_the_best_is_chosen_by_validation_and_never_by_test():
    base = _noise(0, 0.9)
    scores = {
        START: (base, base),
        OTHER: (base + 0.02, base - 0.01 + _noise(1, 0, 0.002)),  # leads on validation, worse on test
        THIRD: (base + 0.01, base + 0.05 + _noise(2, 0, 0.002)),  # the best on test: not chosen
    }
    _, said = _said(scores, finalists=(OTHER, THIRD))
    assert said.chosen == "gelu"
    assert (said.kind, said.recommended) == ("nothing better", "relu")
    assert "keep relu" in said.sentence


def test_a_lead_that_the_interval_does_not_carry_is_not_announced():
    base = _noise(0, 0.9)
    _, said = _said({START: (base, base), OTHER: (base + 0.02, base + _noise(1, 0.002, 0.02))})
    assert (said.kind, said.recommended) == ("not decided", "relu")
    assert "Go on with `go on`" in said.sentence


def test_where_the_start_leads_it_is_kept():
    base = _noise(0, 0.9)
    _, said = _said({START: (base, base), OTHER: (base - 0.02, base + 0.05)})
    assert (said.kind, said.recommended, said.chosen) == ("nothing better", "relu", "relu")


def test_errors_are_compared_by_their_logarithm_and_lower_is_better():
    base = 10 ** _noise(0, -1, 0.05)
    found, said = _said({START: (base, base), OTHER: (base / 2, base / 2.1)}, metric=ERROR)
    assert said.kind == "better"
    assert found[1].difference.mean == pytest.approx(np.log10(2.1), abs=1e-6)
    assert found[0].score.mean == pytest.approx(10 ** np.log10(base).mean())
    assert "decades of error" in said.sentence


def test_a_finalist_whose_net_diverged_is_worse():
    base = _noise(0, 0.9)
    lost = base.copy()
    lost[3] = np.nan
    found, said = _said({START: (base, base), OTHER: (base + 0.02, lost)})
    assert found[1].verdict == "worse"
    assert said.recommended == "relu"
    assert "diverged" not in said.sentence


def test_a_finalist_that_is_ahead_where_it_trains_is_kept_in_mind():
    base = _noise(0, 0.9)
    lost = base + _noise(3, 0.05)
    lost[[3, 5]] = np.nan
    found, said = _said({START: (base, base), OTHER: (lost, lost)})
    assert (said.kind, said.recommended, found[1].verdict) == ("nothing better", "relu", "worse")
    assert found[1].where_trained.mean == pytest.approx(np.nanmean(lost - base))
    assert found[1].where_trained.count == len(base) - 2
    assert f"{OTHER.name} was ahead by {np.nanmean(lost - base):.4g} accuracy" in said.sentence
    assert (
        f"2 of its {len(base)} trainings diverged or failed: try it with clipped gradients or a lower rate"
        in said.sentence
    )


def test_a_start_whose_training_failed_says_nothing_for_the_others():
    policy, base = _policy(), _noise(0, 0.9)
    history = _history(policy, {START: (base, base), OTHER: (base + 0.02, base + 0.02)})
    first = policy.scoring(START, {})[0]
    history.add(Outcome(first, reason="ended after 60 s"))
    found = confirmed(history, policy, START, (OTHER,))
    said = conclude(found, "relu", policy, 50, go_on="`go on`")
    assert (found[1].verdict, said.kind, said.recommended) == ("open", "not decided", "relu")
    assert "failed or diverged" in said.sentence


def test_without_a_test_the_validation_scores_judge_and_the_sentence_says_so():
    policy, base = replace(_policy(), judge="validation"), _noise(0, 0.9)
    history = _history(policy, {START: (base, base), OTHER: (base + 0.03 + _noise(1, 0, 0.002), base)})
    assert not any(outcome.trial.test for outcome in history.values())
    said = conclude(confirmed(history, policy, START, (OTHER,)), "relu", policy, 50, go_on="`go on`")
    assert (said.kind, said.recommended) == ("better", "gelu")
    assert said.sentence.endswith("no test was given.")


def test_only_common_seeds_count_and_one_is_too_few():
    base = _noise(0, 0.9)
    found, _ = _said({START: (base, base), OTHER: (base[:4], base[:4])})
    assert found[0].seeds == (0, 1, 2, 3)
    found, said = _said({START: (base, base), OTHER: (base[:1], base[:1])})
    assert (found, said.kind) == ([], "not decided")


def test_the_p_values_are_corrected_over_the_finalists():
    base = _noise(0, 0.9)
    shift = _noise(1, 0.008, 0.01)
    one, _ = _said({START: (base, base), OTHER: (base, base + shift)})
    two, _ = _said({START: (base, base), OTHER: (base, base + shift), THIRD: (base, base + shift)},
                   finalists=(OTHER, THIRD))  # fmt: skip
    assert two[1].p == pytest.approx(2 * one[1].p)


def test_copies_of_one_function_are_announced_as_winners_in_a_twentieth_of_searches_at_most():
    rng = np.random.default_rng(0)
    copies = [Formula("gelu(x)", name=f"copy{i}") for i in range(3)]
    wins = 0
    for _ in range(300):
        scores = {f: (0.9 + 0.01 * rng.standard_normal(10), 0.9 + 0.01 * rng.standard_normal(10))
                  for f in (START, *copies)}  # fmt: skip
        wins += _said(scores, finalists=copies)[1].kind == "better"
    assert wins / 300 <= 0.05


def test_the_front_is_what_nothing_beats_in_both():
    rows = [("quick", 0.8, 1), ("slow", 0.9, 3), ("useless", 0.7, 2), ("best", 0.95, 4), ("lost", None, 0)]
    table = [{"name": name, "validation": v, "step_seconds": s, "same_as": []} for name, v, s in rows]
    assert front(table, ACCURACY) == ["quick", "slow", "best"]


def test_plans_fit_their_budget_or_are_the_scantest():
    for cost in (0.01, 1.0, 30.0, 300.0):
        for budget in (60.0, 600.0, 36000.0):
            plan = planned(budget, Cost(cost, 0.1 * cost), rates=4, seeds=10)
            fits = plan.trainings(4) * cost * (plan.examples + 0.1) <= budget
            assert fits or plan.examples == EXAMPLES[-1]
            assert len(plan.seeds) >= FEWEST
    assert planned(36000.0, Cost(3.0, 0.1), 4, 10).trainings(4) > planned(600.0, Cost(3.0, 0.1), 4, 10).trainings(4)
    assert len(planned(600.0, Cost(1.0, 0.1), 4, 2).seeds) == 2
