"""The sanity suite: its claims on outcomes made up for them, what is kept, what goes on; one real search."""

import json
from dataclasses import replace
from math import log10

import pytest
from search_support import small_task

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import resolve
from actsmith.search import sanity as suite
from actsmith.search.sanity import CASES, Case, Checked, Found, markdown, sanity
from actsmith.trials.trial import History, Outcome, Trial

CLAIMS = {case.name: case.claim for case in CASES}


def row(name, **values):
    usual = {"difference": None, "difference_low": None, "difference_high": None, "p": None, "over_known": None}
    return {"name": name, "formula": resolve(name).text, "p_over_known": None, **usual, **values}


def found(start, best, outcomes=(), kind="better", **values):
    rows = [row(start)] if best == start else [row(best, **values), row(start)]
    board = {"start": start, "recommended": best, "rows": rows, "kind": kind, "conclusion": "A sentence."}
    return Found(board, History(outcomes))


def outcome(name, seed=0, stage="score", seconds=1.0, **test):
    return Outcome(Trial("t", resolve(name), stage, 0.1, seed, test=True), {}, test, seconds=seconds)


def test_every_case_is_a_task_with_a_claim():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) == 8
    assert all(case.budget > 0 and case.must for case in CASES)
    for case in CASES:
        for text in (case.start, *case.extra):
            resolve(text)


@pytest.mark.parametrize(("error", "held"), [(0.04, True), (0.06, False)])
def test_the_relative_error_is_that_of_the_test_split(error, held):
    outcomes = [outcome("relu", 0, relative_l2=1.0), outcome("relu", 1, relative_l2=0.25)]
    outcomes += [outcome("gelu", seed, relative_l2=error) for seed in (0, 1)]
    holds, says = CLAIMS["heat"](found("relu", "gelu", outcomes))
    assert holds is held
    assert says.startswith(f"relative_l2 {error:g}, relu 0.5")
    assert CLAIMS["heat"](found("relu", "relu", outcomes))[0] is False
    outcomes.append(outcome("relu", 2))  # diverged: no score
    assert CLAIMS["heat"](found("relu", "gelu", outcomes))[0] is True


@pytest.mark.parametrize(
    ("case", "values", "held"),
    [
        ("cifar10", {"difference": 0.041}, True),
        ("cifar10", {"difference": 0.039}, False),
        ("text", {"difference": 0.16}, True),
        ("text", {"difference": 0.14}, False),
        ("polynomial", {"difference": -log10(0.59)}, True),
        ("polynomial", {"difference": -log10(0.61)}, False),
        ("transformer", {"over_known": -0.1, "p_over_known": 0.01}, False),
        ("transformer", {"over_known": -0.1, "p_over_known": 0.2}, True),
        ("transformer", {}, True),
        ("digits", {"difference": 0.01, "difference_low": 0.001, "p": 0.01}, True),
        ("digits", {"difference": 0.01, "difference_low": -0.001, "p": 0.04}, False),
        ("digits", {"difference": 0.01, "difference_low": 0.001, "p": 0.06}, False),
    ],
)
def test_a_claim_holds_or_not_by_what_was_confirmed(case, values, held):
    start = "gelu" if case == "polynomial" else "relu"
    assert CLAIMS[case](found(start, "sin", **values))[0] is held
    if case in ("cifar10", "text", "polynomial"):  # nothing better was found
        assert CLAIMS[case](found(start, start, kind="nothing better"))[0] is False


def test_a_periodic_shape_has_a_sine():
    better = {"difference": 0.5}
    assert CLAIMS["periodic"](found("relu", "snake", [outcome("snake")], **better))[0] is True
    assert CLAIMS["periodic"](found("relu", "gelu", [outcome("gelu")], **better)) == (
        False,
        "0.32 of relu's error outside",
    )


def test_what_is_rejected_is_tried_neither_confirmed_nor_dear():
    explored = [outcome(name, seed, "explore") for name in suite.POWERS for seed in range(2)]
    others = [outcome("gelu", seed, "tune") for seed in range(30)]
    holds, says = CLAIMS["deep"](found("relu", "relu", [*explored, *others]))
    assert holds is True
    assert "relu_squared: explore, 5.6% of the time; star_relu: explore, 5.6% of the time" in says
    assert CLAIMS["deep"](found("relu", "relu", [*explored[2:], *others]))[0] is False
    assert CLAIMS["deep"](found("relu", "relu", [*explored, *others[:10]]))[0] is False
    assert CLAIMS["deep"](found("relu", "relu", [outcome("star_relu"), *explored, *others]))[0] is False


def test_nothing_found_is_nothing_announced():
    assert CLAIMS["digits"](found("relu", "relu", kind="not decided")) == (True, "not decided")
    assert CLAIMS["transformer"](found("relu", "relu", kind="not decided")) == (False, "not decided")
    assert CLAIMS["transformer"](found("relu", "relu", kind="nothing better")) == (True, "nothing better")


@pytest.fixture
def cases(monkeypatch):
    one = Case("one", replace(small_task(2), name="one"), "relu", 0.1, "anything", lambda f: (True, "yes"))
    monkeypatch.setattr(suite, "CASES", (one, replace(one, name="two", task="no-such-task")))
    return suite.CASES


def test_what_is_done_is_not_done_again_and_what_cannot_be_run_says_why(cases, tmp_path, monkeypatch):
    calls = []

    def searched(task, **asked):
        calls.append(asked)
        if task == "no-such-task":
            raise ActsmithError("no task named 'no-such-task'")
        asked["out"].mkdir(parents=True)
        board = {"recommended": "gelu", "rows": [row("gelu")], "conclusion": "GELU|it is.", "kind": "better"}
        (asked["out"] / "leaderboard.json").write_text(json.dumps(board))
        (asked["out"] / "config.json").write_text("{}")

    monkeypatch.setattr(suite, "search", searched)
    first = sanity(tmp_path, scale=0.5)
    assert [(r.name, r.held, r.found) for r in first] == [("one", True, "gelu"), ("two", None, "")]
    assert (calls[0]["budget"], calls[0]["seeds"], calls[0]["start"]) == (3.0, 10, "relu")
    assert first[1].says == "no task named 'no-such-task'"
    again = sanity(tmp_path)
    assert [len(calls), again[0]] == [3, first[0]]  # the one that could not be run is tried again
    assert [Checked(**r) for r in json.loads((tmp_path / "sanity.json").read_text())] == again
    table = (tmp_path / "sanity.md").read_text()
    assert table == markdown(again)
    assert "| yes |" in table
    assert "| not run |" in table
    assert sanity(tmp_path, only=["one"])[0] == first[0]
    assert len(calls) == 3
    with pytest.raises(ActsmithError, match="no case named 'onw'; did you mean one"):
        sanity(tmp_path, only=["onw"])


def test_a_long_formula_has_no_cell():
    usual = Checked("one", "digits", "relu", "anything", found="affine-1", formula="x*tanh(x)", held=True)
    assert "| affine-1: `x*tanh(x)` |" in markdown([usual])
    assert "| affine-1 |" in markdown([replace(usual, formula="x + " * 30 + "x")])


def test_an_interrupted_search_goes_on(cases, tmp_path, monkeypatch):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "request.json").write_text("{}")
    calls = []

    def resumed(folder, **asked):
        calls.append((folder, asked["budget"]))
        raise ActsmithError("enough")

    monkeypatch.setattr(suite, "resume", resumed)
    sanity(tmp_path, only=["one"])
    assert calls == [(tmp_path / "one", 6.0)]


def test_a_search_that_did_not_decide_goes_on(cases, tmp_path, monkeypatch):
    boards = [{"rows": [], "recommended": "relu", "kind": "not decided"}]
    boards.append({"rows": [row("relu")], "recommended": "relu", "kind": "nothing better"})

    def searched(task, **asked):
        asked["out"].mkdir(exist_ok=True)
        board = {"conclusion": "A sentence.", **boards.pop(0)}
        (asked["out"] / "leaderboard.json").write_text(json.dumps(board))
        (asked["out"] / "config.json").write_text("{}")

    monkeypatch.setattr(suite, "search", searched)
    (first,) = sanity(tmp_path, only=["one"])
    assert (first.held, first.found, first.says) == (False, "relu", "the budget ended before the first trainings did")
    (second,) = sanity(tmp_path, only=["one"])
    assert (second.held, second.kind) == (True, "nothing better")
    assert second.minutes >= first.minutes
    assert sanity(tmp_path, only=["one"]) == [second]
    assert boards == []


@pytest.mark.slow
def test_a_real_search_is_checked(cases, tmp_path):
    (one,) = sanity(tmp_path, only=["one"], scale=5)
    assert one.held is True
    assert one.trainings > 10
    assert one.found in one.conclusion
    assert 0 < one.minutes < 1
    read = Found.read(tmp_path / "one")
    assert read.best["name"] == one.found
    assert len(read.history) == one.trainings
