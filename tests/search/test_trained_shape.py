"""The shape that training finds: read back to a short formula, and a candidate of the search."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from search_support import ASKED, small_task

import actsmith as acts
from actsmith.errors import ActsmithError
from actsmith.nn import HermiteActivation, SplineActivation, hermite_formula
from actsmith.search.run import search
from actsmith.search.trained_shape import mean_shape, read_back, shape_formula, trained_candidates
from actsmith.training.runtime import Runtime
from actsmith.trials.runner import FitRunner, Place
from actsmith.trials.trial import Trial


def test_a_short_shape_is_read_back_as_it_is() -> None:
    shape = hermite_formula("relu", 4).at(eps1=0.2, eps3=-0.05)
    short = read_back(shape, acts.get_activation("relu"))
    x = np.linspace(-5, 5, 101)
    assert short.residual < 1e-6
    assert np.allclose(short.formula(x), shape(x), atol=1e-9)
    assert not any(p.learn for p in short.formula.params.values())


def test_the_residual_is_the_distance_that_is_left() -> None:
    """Under N(0, 1), by samples."""
    base = acts.get_activation("gelu")
    shape = hermite_formula("gelu", 4).at(eps1=0.1, eps2=0.08, eps3=0.05, eps4=-0.03)
    short = read_back(shape, base, terms=1)
    x = np.random.default_rng(0).standard_normal(400_000)
    left, before = (np.sqrt(np.mean((shape(x) - f(x)) ** 2)) for f in (short.formula, base))
    assert short.residual == pytest.approx(left / before, rel=0.02)
    assert read_back(shape, base, terms=2).residual < short.residual


def test_a_trained_spline_is_read_back_too() -> None:
    act = SplineActivation("gelu", knots=65)
    knots = torch.linspace(-4, 4, 65)
    with torch.no_grad():
        act.values.add_(0.3 * knots * torch.exp(-knots.square() / 2))
    short = read_back(act.formula, acts.get_activation("gelu"), terms=1)
    assert (
        short.formula.text
        == read_back(acts.Formula("gelu(x) + 0.3*x*exp(-x**2/2)"), acts.get_activation("gelu")).formula.text
    )
    assert short.residual < 0.01


def test_no_change_is_the_base() -> None:
    short = read_back(HermiteActivation("tanh").formula, acts.get_activation("tanh"))
    assert (short.formula, short.residual) == (acts.get_activation("tanh"), 0.0)


def _shape(start: str, seeds: tuple[int, ...], rate: float, **changed: float) -> acts.Formula:
    """What training makes of an activation, by the engine."""
    task, base = small_task(epochs=2), acts.get_activation(start, **changed)
    runner = FitRunner(task, task.problem.load(None), Runtime.create("cpu"))
    formula = shape_formula(base)
    trials = [Trial(task.name, formula, "shape", rate, seed, context=runner.context) for seed in seeds]
    outcomes = [o for group in runner.groups(trials) for o in runner.run(group, Place())]
    return mean_shape(formula, outcomes)


def test_training_moves_the_shape_the_same_way_every_time() -> None:
    first, again = (_shape("relu", (7,), 1e-2) for _ in range(2))
    assert first == again
    assert any(abs(p.value) > 1e-3 for p in first.params.values())
    assert not any(p.learn for p in first.params.values())
    candidates = trained_candidates(acts.get_activation("relu"), first)
    assert {c.formula.name for c in candidates} == {"relu[trained]"}
    assert all("residual" in c.origin for c in candidates)


def test_a_base_with_parameters_keeps_what_it_learned() -> None:
    shape = _shape("prelu", (7,), 1e-2)
    slope = trained_candidates(acts.get_activation("prelu"), shape)[0].formula.params["slope"]
    assert slope.value == shape.params["slope"].value
    assert slope.value != acts.get_activation("prelu").params["slope"].value
    assert not slope.learn


@pytest.mark.filterwarnings("ignore")
def test_when_every_network_diverges() -> None:
    with pytest.raises(ActsmithError, match="every network diverged"):
        _shape("repu", (7,), 1e12, p=4)


def test_the_search_trains_it_from_scratch(tmp_path: Path) -> None:
    options = {**ASKED, "known": ["gelu"], "seeds": 2, "rates": [1e-2, 3e-2], "trials": 1}
    result = search(small_task(epochs=2), out=tmp_path / "run", **options)
    explored = json.loads((tmp_path / "run" / "explored.json").read_text())["activations"]
    entry = next(a for a in explored if a["name"] == "relu[trained]")
    assert (entry["kind"], entry["proposer"], entry["parents"]) == ("candidate", "shape", ["relu"])
    assert "read back from training" in entry["origin"]
    assert result.rows
    records = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    assert {r["formula"]["name"] for r in records if r.get("stage") == "shape"} == {"relu[shape]"}
    assert "relu[trained]" in {r["formula"]["name"] for r in records if r.get("stage") == "explore"}


def test_a_base_without_the_family_leaves_a_note(tmp_path: Path) -> None:
    start = acts.Formula("relu(x) + eps1*x*exp(-x**2)", {"eps1": 0.1}, "taken")
    options = {"known": [], "seeds": 2, "rates": [1e-2, 3e-2], "trials": 1}
    search(small_task(epochs=2), start=start, out=tmp_path / "run", **options)
    notes = json.loads((tmp_path / "run" / "explored.json").read_text())["notes"]
    assert any("eps1" in note.get("trained shape", "") for note in notes)
