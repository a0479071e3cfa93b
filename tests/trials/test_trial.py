"""A trial's content: its key is a digest of it, worked out once."""

from dataclasses import replace

import numpy as np
import pytest

from actsmith.formula.catalogue import resolve
from actsmith.formula.formula import Formula
from actsmith.trials.trial import Outcome, Trial, scaled


def test_a_key_is_of_the_content_and_no_part_of_it(monkeypatch):
    trial = Trial("digits", resolve("gelu"), "tune", 0.01, 1000)
    before = trial.to_dict()
    key = trial.key
    assert trial.to_dict() == before
    assert Trial.from_dict(before).key == key
    assert replace(trial, seed=1001).key != key
    assert trial == Trial.from_dict(before)
    monkeypatch.setattr(Trial, "to_dict", lambda _: pytest.fail("worked out again"))
    assert trial.key == key


def test_a_formula_is_read_once_however_many_trials_have_it(monkeypatch):
    outcome = Outcome(Trial("digits", Formula("x*sigmoid(1.25*x)"), "tune", 0.01, 1000)).to_dict()
    first = Outcome.from_dict(outcome)
    monkeypatch.setattr(Formula, "from_dict", lambda *_: pytest.fail("parsed again"))
    assert Outcome.from_dict(outcome | {"seed": 3}).trial.formula is first.trial.formula


def test_one_number_has_one_key():
    plain = Trial("digits", resolve("gelu"), "tune", 1.0, 3)
    for other in (
        replace(plain, rate=1),
        replace(plain, length=1),
        replace(plain, seed=np.int64(3)),
        replace(plain, rate=np.float64(1)),
    ):
        assert other.key == plain.key


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_equal_formulas_of_two_names_keep_their_names(scale):
    first = resolve("gelu")
    assert [scaled(f, scale).name for f in (first, first.renamed("other"), first)] == ["gelu", "other", "gelu"]
