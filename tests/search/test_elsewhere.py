"""What the finalists do on a task that the search never saw, and what a search would do before it does it."""

import json

import pytest
from search_support import ASKED, small_task

from actsmith.cli import main
from actsmith.errors import ActsmithError
from actsmith.search.run import rehearse, search
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


def test_a_mistyped_path_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ActsmithError, match="no file or folder"):
        search(small_task(), out=tmp_path / "run", confirm_on=["austen=/no/such"], **ASKED)
    assert not (tmp_path / "run" / "results.jsonl").exists()


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


def test_of_a_loop_of_your_own_there_is_no_dry_run(monkeypatch):
    monkeypatch.setattr(ScriptRunner, "cost", lambda _: None)
    with pytest.raises(ActsmithError, match="after its first training alone"):
        rehearse(task=lambda: None, train=lambda net, trial: {}, metric="accuracy", start="relu", budget="1m")
