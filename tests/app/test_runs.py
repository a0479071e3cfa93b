"""A folder is shown as it grows, and nothing is written into it."""

import json
from pathlib import Path

import pytest

from actsmith.app.ledgers import Storage
from actsmith.app.runs import Watched
from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation
from actsmith.trials.ledger import Ledger
from actsmith.trials.statistics import share_interval
from actsmith.trials.trial import Outcome, Trial


def line(name: str, stage: str, seed: int, rate: float, accuracy: float | None) -> str:
    trial = Trial("digits", get_activation(name), stage, rate, seed, test=stage == "score")
    scores = {"accuracy": accuracy}
    outcome = Outcome(trial, scores, scores if stage == "score" else None)
    return json.dumps(outcome.to_dict()) + "\n"


def test_it_grows(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    assert watched.view()["tables"] == []
    file = tmp_path / "results.jsonl"
    file.write_text(line("relu", "tune", 0, 0.01, 0.8) + line("relu", "tune", 1, 0.01, 0.9) + '{"key": "torn')
    (row,) = watched.view()["tables"][0]["rows"]
    expected = share_interval([0.8, 0.9])
    assert (row["mean"], row["low"], row["high"]) == pytest.approx(
        (expected.mean, expected.low, expected.high), rel=1e-5
    )
    with file.open("a") as opened:
        opened.write(' no more"}\n' + line("relu", "tune", 0, 0.1, 0.95) + line("gelu", "score", 0, 0.1, 0.7))
        opened.write(line("elu", "tune", 0, 0.1, None))
    view = watched.view()
    rows = view["tables"][0]["rows"]
    assert [row["name"] for row in rows] == ["gelu", "relu", "elu"]  # what confirms stands above what tunes
    assert rows[1]["mean"] == 0.95  # at its best rate
    assert rows[2]["mean"] is None
    assert (view["trainings"], view["other"]) == (5, 1)
    assert view["latest"][0]["name"] == "elu"
    assert view["state"] == "running: tune elu"


def test_a_finished_search_shows_its_own_leaderboard(tmp_path: Path) -> None:
    row = {"name": "mine", "formula": "a*relu(x)", "parameters": {"a": {"value": 2.0}}, "validation": 0.9,
           "score": 0.95, "low": 0.94, "high": 0.96, "seeds": 9, "learning_rate": 0.01,
           "verdict": "better"}  # fmt: skip
    board = {"conclusion": "mine is better", "metric": "accuracy", "task": "digits", "start": "relu", "rows": [row]}
    (tmp_path / "leaderboard.json").write_text(json.dumps(board))
    view = Watched(tmp_path).view()
    assert view["state"] == "finished"
    assert view["conclusion"] == "mine is better"
    shown = view["tables"][0]["rows"][0]
    assert (shown["mean"], shown["values"], shown["verdict"]) == (0.95, {"a": 2.0}, "better")
    assert {file.name for file in tmp_path.iterdir()} == {"leaderboard.json"}


def test_lower_is_better_for_errors(tmp_path: Path) -> None:
    scored = [
        line(name, "tune", 0, 0.1, value).replace("accuracy", "rmse") for name, value in (("relu", 0.9), ("elu", 0.1))
    ]
    (tmp_path / "results.jsonl").write_text("".join(scored))
    (table,) = Watched(tmp_path).view()["tables"]
    assert table["metric"] == "rmse"
    assert [row["name"] for row in table["rows"]] == ["elu", "relu"]
    (tmp_path / "request.json").write_text('{"better": "higher"}')
    assert [row["name"] for row in Watched(tmp_path).view()["tables"][0]["rows"]] == ["relu", "elu"]


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ActsmithError, match="no folder"):
        Watched(tmp_path / "none")


def test_a_storage_shows_its_searches(tmp_path: Path) -> None:
    file = tmp_path / "ledger.log"
    ledger = Ledger(file, "first")
    ledger.begin(
        {"run": "a", "name": "digits", "metric": {"name": "error of its own", "better": "lower"}}, resume=False
    )
    lead = ledger.lead()
    names, scores = ("relu", "gelu", "elu"), (0.2, 0.1, None)
    trials = [Trial("digits", get_activation(name), "tune", 0.01, seed) for name in names for seed in (0, 1)]
    for i in (0, 2, 4):
        ledger.publish(trials[i : i + 2], None)
    before = file.read_bytes()
    storage = Storage(str(file))
    (empty,) = storage.views()
    assert empty["state"] == "running: 0 in training, 3 waiting"
    assert file.read_bytes() == before
    for score in scores[:2]:
        job = ledger.claim("somewhere 7")
        assert job is not None
        found = {"other": 5.0, "error of its own": score}
        ledger.finish(job, [Outcome(t, found) for t in job.trials])
    ledger.claim("somewhere 7")
    (view,) = storage.views()
    assert view["state"] == "running: 1 in training, 0 waiting: tune elu (2 networks, somewhere 7)"
    (shown,) = view["tables"]
    assert (view["name"], view["kind"], view["trainings"]) == ("first", f"search on digits, in {file}", 4)
    assert [(row["name"], row["mean"], row["seeds"]) for row in shown["rows"]] == [("gelu", 0.1, 2), ("relu", 0.2, 2)]
    ledger.lead_end(lead)
    assert storage.views()[0]["state"].startswith("nobody leads it now")
    ledger.set_attribute("closed", True)
    Ledger(file, "second").begin({"run": "b", "name": "blobs"}, resume=False)
    second, first = storage.views()
    assert (second["name"], second["tables"]) == ("second", [])
    assert first["state"].startswith("ended")
    assert first["trainings"] == 4  # read once
    file.write_text("no journal\n" + file.read_text())
    with pytest.raises(ActsmithError, match="a line that is no JSON"):
        Storage(str(file))
