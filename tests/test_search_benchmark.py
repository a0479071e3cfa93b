"""The benchmark of the search: what is counted, who chooses, and how often nothing is announced."""

from __future__ import annotations

import numpy as np
import pytest

from actsmith.benchmarks.outcomes import Drawn, Outcomes
from actsmith.benchmarks.renamed import Scores, alarms
from actsmith.benchmarks.search import METHODS, Pool, efficiency, main, trainings
from actsmith.formula.catalogue import resolve
from actsmith.formula.formula import Formula
from actsmith.search.candidates import Candidate
from actsmith.training.problem import Metric


@pytest.fixture(scope="module")
def table() -> Outcomes:
    """Eight known functions and forty waves; the nearer the rate is to 1.3, the better, and a known one is at 1.15."""
    rng = np.random.default_rng(0)
    names = ["relu", "tanh", "silu", "elu", "sigmoid", "softplus", "atan"]
    known = [*map(resolve, names), Formula("sin(1.15*x)", name="wave")]
    rates = np.linspace(0.4, 4.0, 40)
    waves = [Formula(f"sin({k:.4f}*x)", name=f"wave {i}") for i, k in enumerate(rates)]
    merits = np.concatenate([np.full(7, -2.0) + 0.1 * rng.normal(size=7), [-0.15], -np.abs(rates - 1.3)])
    candidates = [Candidate(f, "known", "", "known") for f in known]
    candidates += [Candidate(f, "candidate", "", "family" if i % 2 else "affine") for i, f in enumerate(waves)]
    return Outcomes("waves", tuple(candidates), merits[:, None] + 0.01 * rng.normal(size=(48, 4)))


def test_a_repetition_is_half_of_it(table: Outcomes) -> None:
    first, again, other = table.drawn(0), table.drawn(0), table.drawn(1)
    assert first.candidates == again.candidates != other.candidates
    assert sum(c.kind == "known" for c in first.candidates) == 8
    assert len(first.candidates) == 8 + 20
    rates = [float(first.candidates[i].formula.text.removeprefix("sin(").partition("*")[0]) for i in first.good]
    assert rates
    assert all(abs(k - 1.3) < 0.2 for k in rates)
    assert all(first.candidates[i].kind == "candidate" for i in first.good)


@pytest.mark.parametrize("name", METHODS)
def test_everyone_chooses_each_of_the_others_once(table: Outcomes, name: str) -> None:
    if name == "tpe":
        pytest.importorskip("optuna")
    pool = Pool(table.drawn(0))
    found = list(METHODS[name](pool, 0))
    assert sorted(found) == sorted(pool.others.tolist())
    assert found == list(METHODS[name](pool, 0))


def test_the_search_needs_fewer_trainings_than_chance(table: Outcomes) -> None:
    pools = [Pool(table.drawn(seed)) for seed in range(4)]
    ours, chance = (
        [trainings(METHODS[name](pool, seed), pool.found.good) for seed, pool in enumerate(pools)]
        for name in ("actsmith", "random")
    )
    assert np.mean(ours) < np.mean(chance)
    assert max(ours) <= 6


def test_trainings_are_counted_to_the_first_good_one() -> None:
    assert trainings((place for place in (4, 2, 7)), np.array([7, 9])) == 3
    assert trainings((place for place in (4, 2, 7)), np.array([1])) == 3


def test_ratios_have_their_interval() -> None:
    rng = np.random.default_rng(0)
    shared = rng.exponential(size=200)
    counts = {
        task: {"random": 20 * shared + 1, "half": 10 * shared + 0.5 * scale, "noisy": 20 * rng.exponential(size=200)}
        for task, scale in (("a", 1.0), ("b", 1.0))
    }
    rows = {(row.task, row.method): row for row in efficiency(counts)}
    assert rows["a", "random"].ratio == rows["a", "random"].low == rows["a", "random"].high == 1.0
    half = rows["all", "half"]
    assert half.low == pytest.approx(half.high) == pytest.approx(0.5)
    noisy = rows["all", "noisy"]
    assert noisy.low < noisy.ratio < noisy.high
    assert noisy.high - noisy.low < rows["a", "noisy"].high - rows["a", "noisy"].low
    width = noisy.high - noisy.low
    assert noisy.low - width < 20 / 21 < noisy.high + width  # four standard errors on either side
    assert rows["a", "noisy"].mean == pytest.approx(counts["a"]["noisy"].mean())


@pytest.fixture(scope="module")
def stored() -> Scores:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=64)
    return Scores("nothing", Metric("score", "higher"), shared + rng.normal(size=64), shared + rng.normal(size=64))


def test_among_copies_no_winner_is_announced(stored: Scores) -> None:
    assert alarms(stored, searches=60).rate <= 0.05


def test_what_is_better_is_announced(stored: Scores) -> None:
    assert alarms(stored, searches=10, gain=5.0).rate >= 0.8


def test_a_wrong_request_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["folder", "--fast"]) == 2
    assert "usage" in capsys.readouterr().err


def test_a_pool_knows_who_is_known(table: Outcomes) -> None:
    drawn = table.drawn(0)
    assert isinstance(drawn, Drawn)
    pool = Pool(drawn)
    evidence = pool.evidence(pool.known.tolist())
    assert [tried.promoted for tried in evidence.tried].count(True) == 2
    assert evidence.best(1)[0].candidate.formula.name == "wave"
