"""A budget is kept whatever is slow, by a clock that pieces of work move; and what too small a one says."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actsmith.formula.formula import Formula
from actsmith.search import run as run_module
from actsmith.search.draft import Draft
from actsmith.search.evidence import Evidence
from actsmith.search.proposers.known import Known
from actsmith.search.result import SearchResult
from actsmith.search.run import search
from actsmith.search.space import Constraints
from actsmith.training.fit import Stopped
from actsmith.trials.runner import Cost, Place
from actsmith.trials.setup import duration
from actsmith.trials.testing import SumRunner
from actsmith.trials.trial import Outcome, Trial

BUDGET = 84.0
STEPS = 10


@dataclass
class Slow(SumRunner):
    """Trains nothing; its clock goes on by what its pieces of work take, in seconds.

    Attributes:
        clock: what `time.time` says.
        told: of a training, as it is foretold.
        takes: of a training, as it turns out, in ten steps.
        hears: of the check whether a signal gets through.
        proposes: of a proposer.
    """

    clock: list[float]
    told: float = 0.2
    takes: float = 0.2
    hears: float = 0.0
    proposes: float = 0.0
    done: list[Trial] = field(default_factory=list)
    rates = (0.5, 1.0, 2.0)
    why_here = "it holds a clock"

    def cost(self) -> Cost:  # type: ignore[override]
        return Cost(self.told, 0.0)

    def silent(self, formula: Formula) -> None:
        self.clock[0] += self.hears

    def run(self, group: Sequence[Trial], place: Place) -> list[Outcome]:
        for _ in range(STEPS):
            self.clock[0] += self.takes * len(group) / STEPS
            if place.passed():
                raise Stopped
        self.done += group
        return [
            Outcome(t, {"score": len(t.formula.text) % 7 + 0.01 * t.seed % 3}, seconds=self.takes, details={"laws": {}})
            for t in group
        ]


@dataclass
class Late:
    """The proposer `known`, with its runner's clock."""

    runner: Slow
    name = "known"
    notes = ()

    def propose(self, evidence: Evidence, rng: np.random.Generator, n: int) -> list[Draft]:
        self.runner.clock[0] += self.runner.proposes
        return Known().propose(evidence, rng, n)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1e9]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def searched(clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SearchResult]:
    """A search with a runner as slow as that, and the proposer `known` alone."""

    def run(constraints: Constraints = Constraints(), **slow: Any) -> SearchResult:  # noqa: B008
        runner = Slow(clock, **slow)
        monkeypatch.setattr(run_module, "_runner", lambda _: runner)
        monkeypatch.setattr(run_module, "PROPOSERS", (Late(runner),))
        folder = tmp_path / "run"
        asked = {"known": ["gelu", "silu"], "budget": BUDGET, "seeds": 3, "constraints": constraints}
        return search("unused", out=folder, resume=folder.exists(), **asked)

    return run


@pytest.mark.parametrize(
    "slow",
    [
        {},
        {"takes": 2.0},  # ten times what was foretold
        {"hears": 5.0},  # sixteen of these are a whole budget
        {"proposes": 30.0},
        {"takes": 1.0, "hears": 5.0, "proposes": 10.0},
    ],
)
def test_no_stage_goes_on_after_the_budget(clock, searched, slow):
    began = clock[0]
    found = searched(**slow)
    assert clock[0] - began <= BUDGET
    assert [row["name"] for row in found.rows if row["kind"] == "start"] == ["relu"]


def test_a_round_that_was_cut_short_leaves_time_for_the_confirmation(searched):
    found = searched(hears=5.0)
    assert max(row["seeds"] for row in found.rows) == 3


def test_too_small_a_budget_says_how_much_would_do(clock, searched):
    """The first training does not end: it takes longer than it was given, at least."""
    began = clock[0]
    found = searched(takes=100.0)
    assert clock[0] - began <= BUDGET
    assert found.rows == ()
    assert "the budget ended before the start's network, with relu, was trained at every rate" in found.conclusion
    told = re.search(r"give at least about (\d+[smh]);", found.conclusion)
    assert told is not None
    given = duration(told.group(1), "") or 0.0
    looked = BUDGET - run_module.FINISHING
    assert given > looked / 2 * 20, "a search takes more than twenty trainings, of which two were together"
    assert not (found.folder / "probe.json").exists()
    board = json.loads((found.folder / "leaderboard.json").read_text())
    assert board["kind"] == "not decided"
    again = searched(takes=0.2)
    assert "ended before" not in again.conclusion
    assert max(row["seeds"] for row in again.rows) >= 3
    assert (again.folder / "probe.json").exists()


def test_what_would_do_is_measured_by_the_trainings_that_ended(searched):
    """The first two rates."""
    found = searched(takes=13.0)
    assert "was trained at every rate" in found.conclusion
    told = re.search(r"give at least about (\d+)m;", found.conclusion)
    assert told is not None
    assert 60 * int(told.group(1)) > 13.0 * 20


def test_so_does_one_that_is_too_small_for_the_confirmation(searched):
    found = searched(takes=4.0)
    assert "ended before" not in found.conclusion
    assert found.rows
    assert "give at least about" in found.conclusion


def test_a_kernel_costs_what_it_costs_where_networks_train(searched, monkeypatch):
    there, seen = torch.device("meta"), []
    monkeypatch.setattr(Slow, "device", there)
    monkeypatch.setattr("actsmith.search.space.kernel_cost", lambda formula, device: seen.append(device) or 1.0)
    searched(Constraints(max_cost=2.0))
    assert set(seen) == {there}
