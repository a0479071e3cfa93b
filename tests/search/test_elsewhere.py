"""What the finalists do on a task that the search never saw, and what a search would do before it does it."""

import json
import time

import pytest
from search_support import ASKED, small_task

from actsmith.cli import main
from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation
from actsmith.search.elsewhere import Elsewhere, confirm_elsewhere, elsewhere
from actsmith.search.plan import Plan, planned
from actsmith.search.run import rehearse, search
from actsmith.trials.runner import Cost, FitRunner
from actsmith.trials.script import ScriptRunner

OTHER = "search_support:small_task"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere") / "run"
    return search(small_task(2), out=folder, confirm_on=[OTHER], **{**ASKED, "trials": 0, "seeds": 2})


def test_finalists_are_tuned_and_scored_there(found):
    board = json.loads((found.folder / "leaderboard.json").read_text())
    (there,) = board["elsewhere"]
    assert there["task"] == OTHER
    names = [row["name"] for row in there["rows"]]
    assert names[0] == "relu"
    assert set(names) == {row["name"] for row in board["rows"] if row["seeds"]}
    (folder,) = (found.folder / "elsewhere").iterdir()
    records = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    for row in there["rows"]:
        own = [r for r in records if r["formula"]["name"] == row["name"] and r["stage"] == "score"]
        assert sorted(r["seed"] for r in own) == [0, 1]
        assert row["score"]["mean"] == pytest.approx(sum(r["test"]["accuracy"] for r in own) / 2)
        tuned = [r for r in records if r["formula"]["name"] == row["name"] and r["stage"] in ("tune", "look")]
        assert len({(r["rate"], r.get("scale", 1.0)) for r in tuned}) > len(ASKED["rates"]), (
            "rate and scale are tuned on"
        )


def test_the_conclusion_says_what_came_of_it(found):
    assert f"On {OTHER} (2 paired seeds): " in found.conclusion
    assert found.conclusion.count("relu") > 1


def test_a_further_run_takes_up_what_was_trained_there(found):
    """With other finalists, or with more seeds, as a search that goes on may have."""
    folder = found.folder / "elsewhere" / "search_support-small_task"
    before = (folder / "results.jsonl").read_text()
    plan = Plan.from_dict(json.loads((found.folder / "leaderboard.json").read_text())["plan"])
    formulas = [get_activation(name) for name in ("relu", "gelu")]
    asked = {"seeds": 3, "workers": 1, "deadline": None, "progress": lambda *_: None}
    task = elsewhere(OTHER, data=None, device="cpu", precision="no")
    there = confirm_elsewhere(task, found.folder, formulas, None, plan, **asked)
    assert there["seeds"] == 3
    assert (folder / "results.jsonl").read_text().startswith(before)


@pytest.mark.parametrize("how", [search, rehearse])
@pytest.mark.parametrize(
    ("asked", "why"), [("austen=/no/such", "no file or folder"), ("digitz/vit", "--confirm-on digitz/vit: no task")]
)
def test_what_is_mistyped_is_refused_before_there_is_a_folder(tmp_path, how, asked, why):
    with pytest.raises(ActsmithError, match=why):
        how(task=small_task(), out=tmp_path / "run", confirm_on=[asked], **ASKED)
    assert not (tmp_path / "run").exists()


def test_a_task_whose_data_cannot_be_had_leaves_the_rest_standing(tmp_path):
    (tmp_path / "empty").mkdir()
    asked = {**ASKED, "known": ["gelu"], "trials": 0, "seeds": 2, "confirm_on": [f"fashion-mnist={tmp_path / 'empty'}"]}
    found = search(small_task(1), out=tmp_path / "run", **asked)
    assert "not confirmed: " in found.conclusion
    assert {row["seeds"] for row in found.rows} == {2}


def test_after_the_budget_a_further_task_is_not_even_opened(tmp_path):
    task = Elsewhere("late", lambda: pytest.fail("opened"))
    plan = planned(None, None, rates=2, seeds=2)
    asked = {"seeds": 2, "workers": 1, "deadline": time.time() - 1, "progress": lambda *_: None}
    there = confirm_elsewhere(task, tmp_path, [get_activation("relu")], None, plan, **asked)
    assert there["sentence"] == "On late: not confirmed: the budget ended before it was seen."
    assert there["rows"] == []


def test_a_dry_run_says_what_the_budget_buys(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["search", "digits", "--budget", "10m", "--dry-run"]) == 0
    out = capsys.readouterr().out
    for word in ("look", "explore", "tune", "confirm", "in all", "can show a difference"):
        assert word in out
    assert not (tmp_path / "runs").exists()
    counts = [int(line.partition(" trainings ")[0].split()[-1]) for line in out.splitlines() if " trainings " in line]
    assert len(counts) == 5
    assert sum(counts[:-1]) == counts[-1]


def test_a_larger_budget_buys_more():
    def confirmed(budget):
        text = rehearse(task=small_task(400), budget=budget)
        return [int(line.split()[1]) for line in text.splitlines() if line.startswith(("explore", "confirm"))]

    assert confirmed("10m") > confirmed("30s")


def _counted(text):
    """First word and number of trainings of each line of a dry run."""
    lines = [line.split() for line in text.splitlines() if " trainings " in line]
    return [(words[0], next(int(word) for word in words if word.isdigit())) for words in lines]


def test_a_dry_run_counts_further_tasks(monkeypatch):
    monkeypatch.setattr(FitRunner, "cost", lambda self: Cost(0.5 if self.task.recipe.epochs == 2 else 1.0, 0.0))
    asked = {"task": small_task(2), "budget": 600, "rates": [1e-3, 1e-2], "seeds": 4}
    alone, more = rehearse(**asked), rehearse(**asked, confirm_on=[OTHER])
    counts = dict(_counted(alone)), _counted(more)
    plan = planned(600.0, Cost(0.5, 0.0), rates=2, seeds=4, further=1)
    there = plan.elsewhere(len(small_task().rates))
    assert [n for name, n in counts[1] if name == "confirm"] == [counts[0]["confirm"], there]
    assert f"on {OTHER}, where a training takes about 1 s" in more
    assert dict(counts[1])["explore"] < counts[0]["explore"], "time is kept for it"
    assert "Of the budget " in more
    assert "Of the budget " not in alone
    assert "Of the budget " not in rehearse(**{**asked, "budget": None}, confirm_on=[OTHER])


def test_of_a_loop_of_your_own_there_is_no_dry_run(monkeypatch):
    monkeypatch.setattr(ScriptRunner, "cost", lambda _: None)
    with pytest.raises(ActsmithError, match="after its first training alone"):
        rehearse(task=lambda: None, train=lambda net, trial: {}, metric="accuracy", start="relu", budget="1m")
