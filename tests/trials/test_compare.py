"""A comparison: tuned rates, paired seeds, a sentence that the intervals carry, and a run that goes on."""

import json

import pytest
import trial_runners

import actsmith as acts
from actsmith.errors import ActsmithError
from actsmith.tasks.flat import FlatImages
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.task import Task
from actsmith.training.recipe import Recipe
from actsmith.trials.compare import compare
from actsmith.trials.runner import FitRunner

TASK = Task("digits", FlatImages("digits"), Mlp(16, 2), Recipe(3, 64), rates=(3e-3, 1e-2))
ASKED = {"seeds": 3, "tuning_seeds": 1}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare") / "run"
    return compare(TASK, ["relu", "gelu", acts.Formula("0.001*x", name="flat")], out=folder, **ASKED)


def test_the_table_is_that_of_the_records(finished):
    records = [json.loads(line) for line in (finished.folder / "results.jsonl").read_text().splitlines()]
    for row in finished.table.rows:
        scored = [r for r in records if r["stage"] == "score" and r["formula"]["name"] == row.name]
        assert sorted(r["seed"] for r in scored) == [0, 1, 2]
        assert row.mean == pytest.approx(sum(r["test"]["accuracy"] for r in scored) / 3)
        assert 0 <= row.low <= row.mean <= row.high <= 1
        tuned = [r for r in records if r["stage"] == "tune" and r["formula"]["name"] == row.name]
        best = max(tuned, key=lambda r: (r["validation"]["accuracy"], -r["validation"]["loss"]))
        assert row.rate == best["rate"]
        assert {r["test"] for r in tuned} == {None}
    assert finished.table.reference == "relu"


def test_it_says_what_the_intervals_carry(finished):
    text = str(finished)
    assert text.endswith(finished.conclusion)
    assert "3 paired seeds" in finished.conclusion
    assert json.loads((finished.folder / "comparison.json").read_text())["conclusion"] == finished.conclusion


def test_resumed_it_trains_nothing(finished, monkeypatch):
    monkeypatch.setattr(FitRunner, "run", lambda *_, **__: pytest.fail("trained again"))
    formulas = ["relu", "gelu", acts.Formula("0.001*x", name="flat")]
    again = compare(TASK, formulas, out=finished.folder, resume=True, **ASKED)
    assert again.table == finished.table
    with pytest.raises(ActsmithError, match="another configuration"):
        compare(TASK, formulas[:2], out=finished.folder, resume=True, **ASKED)
    with pytest.raises(ActsmithError, match="no folder"):
        compare(TASK, formulas, out=finished.folder / "typo", resume=True, **ASKED)


@pytest.mark.parametrize(
    ("formulas", "message"), [(["relu"], "two formulas"), (["relu", "ReLU"], "different names"), ("gelu", "two")]
)
def test_requests_that_compare_nothing(formulas, message, tmp_path):
    with pytest.raises(ActsmithError, match=message):
        compare(TASK, formulas, out=tmp_path / "run", **ASKED)
    assert not (tmp_path / "run").exists()


def test_where_a_loop_has_no_test_its_validation_scores_judge(tmp_path):
    asked = {"metric": "error", "better": "lower", "seeds": 3, "tuning_seeds": 1, "rates": (1,)}
    found = compare(trial_runners.model, ["tanh", "relu"], trial_runners.train, out=tmp_path / "run", **asked)
    assert all(row.mean is not None for row in found.table.rows)
    assert "3 paired seeds" in found.conclusion
    again = {**asked, "rates": (1.0,), "resume": True}
    assert compare(trial_runners.model, ["tanh", "relu"], trial_runners.train, out=tmp_path / "run", **again) == found


def test_a_fine_one_tunes_every_formula_on_in_rate_and_scale(tmp_path):
    found = compare(TASK, ["relu", "gelu"], out=tmp_path / "run", fine=True, **ASKED)
    records = [json.loads(line) for line in (found.folder / "results.jsonl").read_text().splitlines()]
    for name in ("relu", "gelu"):
        own = [r for r in records if r["formula"]["name"] == name]
        scored = {(r["rate"], r.get("scale", 1.0)) for r in own if r["stage"] == "score"}
        tuned = {(r["rate"], r.get("scale", 1.0)): r["validation"]["accuracy"] for r in own if r["stage"] == "tune"}
        assert len(tuned) >= len(TASK.rates) + 3
        ((rate, scale),) = scored
        assert tuned[rate, scale] == max(tuned.values())
