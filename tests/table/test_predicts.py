"""What predicts, on tables whose answer is known."""

import dataclasses

import numpy as np
import pytest
from synthetic import made

from actsmith.table.correlations import area_of, spearman
from actsmith.table.functions import members
from actsmith.table.predicts import Predictor, predicts
from actsmith.theory.measured import MeasuredTable


@pytest.fixture(scope="module")
def table() -> MeasuredTable:
    return made(members(100))


def test_rank_statistics_have_their_textbook_values() -> None:
    x = np.arange(20.0)
    assert spearman(x, -(x**3)) == pytest.approx(-1)
    assert area_of(x, x > 9) == 1
    assert area_of(np.zeros(40), np.arange(40) % 2 == 0) == 0.5
    assert spearman(x[:5], x[:5]) is None
    assert area_of(x, x > 18) is None


def test_what_was_not_trained_says_nothing(table: MeasuredTable) -> None:
    """Half of the functions were not trained on the last task: they are no failures there, and change nothing else."""
    diverged, outcome = table.diverged.copy(), table.outcome.copy()
    diverged[50:, 2] = outcome[50:, 2] = np.nan
    some = predicts(dataclasses.replace(table, diverged=diverged, outcome=outcome), draws=20)
    named: dict[str, Predictor] = {p.name: p for p in some.predictors}
    assert some.lost == int((table.diverged > 0).sum() - (table.diverged[50:, 2] > 0).sum())
    assert some.trained == 250
    assert (named["forward gain"].rho or 0) > 0.95
    assert named["forward gain"].auc is not None
    assert named["forward gain"].auc[0] == 1
    assert (named["other tasks"].rho or 0) > 0.95


def test_what_decides_is_found_and_what_says_nothing_is_not(table: MeasuredTable) -> None:
    found = predicts(table, draws=60)
    named: dict[str, Predictor] = {p.name: p for p in found.predictors}
    gain, entropy, chance = named["forward gain"], named["entropy"], named["chance"]
    assert gain.rho is not None
    assert gain.rho > 0.95
    assert entropy.rho == pytest.approx(-gain.rho)
    assert chance.low is not None
    assert chance.high is not None
    assert chance.low < 0 < chance.high
    shares = [named[name].rho or 0 for name in ("10% of the training", "50% of the training", "100% of the training")]
    assert shares == sorted(shares)
    assert gain.auc is not None
    assert gain.auc[0] == 1
    assert gain.better is not None
    assert gain.better[0] < gain.rho  # a narrower range is harder
    whole = next(t for t in found.thesis if t.what == "all functions")
    assert whole.high < 0  # here a lower entropy is worse, and that is said
    assert found.functions == 100
    assert found.pairs is None
