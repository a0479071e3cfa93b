"""Folders of earlier releases: read to the same tables, never trained in, refused where they are not finished."""

import json

import pytest

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import resolve
from actsmith.papers import old_runs
from actsmith.papers.reproduce import reproduce, reproduction
from actsmith.report.findings import render_findings

NAME = "mrepu-polynomial"


def record(experiment, activation, stage, *, rate, seeds, errors):
    """A line as the releases before format 2 wrote it."""
    scores = {"relative_rmse": errors, "outside_rmse": [2 * e for e in errors]}
    return {
        "key": f"{experiment}/{activation}/{stage}/{rate:g}/{','.join(map(str, seeds))}", "experiment": experiment,
        "activation": activation, "stage": stage, "rate": rate, "seeds": seeds, "diverged": [False] * len(seeds),
        "loss": [[1.0, e] for e in errors], "validation": scores, "test": scores if stage == "score" else None,
        "curve": [], "step_seconds": 0.002, "peak_bytes": 1000,
        "parameters": {"activations.0.eps": [0.25, 0.5][: len(seeds)]} if activation == "gelu" else {}, "watched": [],
    }  # fmt: skip


def parts():
    found = reproduction(NAME)
    return found.presets["smoke"].parts(tuple(resolve(f) for f in found.activations))


@pytest.fixture
def old(tmp_path):
    """A finished smoke run, its first training in file order being the last that was made."""
    lines = []
    for part in parts():
        for i, formula in enumerate(part.activations):
            lines += [
                record(part.name, formula.name, "tune", rate=rate, seeds=[1000, 1001], errors=[0.5, 0.6])
                for rate in part.rates
            ]
            lines.append(
                record(part.name, formula.name, "score", rate=0.03, seeds=[0, 1], errors=[0.1 * (i + 1), 0.2 * (i + 1)])
            )
    config = {"reproduction": NAME, "preset": "smoke", "parts": [{"kind": "Experiment"}]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "versions.json").write_text("[]")
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_a_finished_run_makes_its_page_without_training(old, monkeypatch):
    from actsmith.papers import experiment

    monkeypatch.setattr(experiment, "settle", None)  # nothing is trained
    before = (old / "results.jsonl").read_bytes()
    result = reproduce(NAME, "smoke", old)
    page = next(f for f in render_findings(result) if f.name == "README.md").read_text()
    assert (old / "results.jsonl").read_bytes() == before
    first = next(t for t in result.findings.tables if t.name == "square-critical-2")
    assert first.row("relu").values == (0.1, 0.2)
    assert first.row("relu").mean == pytest.approx((0.1 * 0.2) ** 0.5)
    assert first.row("gelu").values == (0.2, 0.4)
    assert first.row("relu").step_seconds == pytest.approx(0.001)  # each net's share of the stack
    assert "square-critical-2" not in page or "0.1414" in page
    assert "| relu | 0.1414 |" in page


def test_a_run_that_is_not_finished_is_refused(old):
    lines = (old / "results.jsonl").read_text().splitlines(keepends=True)
    (old / "results.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(ActsmithError, match=r"not finished \(2 trainings are left.*finish it with that release"):
        reproduce(NAME, "smoke", old)
    (old / "results.jsonl").write_text("".join(lines) + '{"key": "torn')
    with pytest.raises(ActsmithError, match=f"line {len(lines) + 1} is no record"):
        reproduce(NAME, "smoke", old)


def test_another_run_or_another_activation_is_refused(old):
    with pytest.raises(ActsmithError, match="holds a run of mrepu-polynomial, preset smoke"):
        reproduce("mrepu-function", "smoke", old)
    with pytest.raises(ActsmithError, match="activations differ"):
        reproduce(NAME, "smoke", old, activations=["softplus"])


def test_a_record_of_a_stack_becomes_one_outcome_a_seed(old):
    found = old_runs.read(old, NAME, "smoke", parts())
    relu, gelu = (found.all().of("square-critical-2", name, "score") for name in ("relu", "gelu"))
    assert [o.trial.seed for o in relu] == [0, 1]
    assert [o.details["loss"] for o in relu] == [[1.0, 0.1], [1.0, 0.2]]
    assert [o.details["parameters"] for o in gelu] == [{"activations.0.eps": [0.25]}, {"activations.0.eps": [0.5]}]
    assert gelu[0].trial.formula == resolve("gelu")
    assert all(o.test is None for o in found.all().of(stage="tune"))


def test_what_was_watched_is_cut_by_seed():
    watched = [
        {"epoch": 1, "eps": [[0.1, 0.2], [0.3, 0.4]]},
        {"epoch": 2, "laws": [{"mean": [1.0, None]}], "looks": [{"step": 5, "entropy": {"a": [0.5, 0.6]}}]},
        {"epoch": 3, "x": [0.0, 0.5, 1.0]},
    ]
    made = {**record("e", "relu", "score", rate=1e-2, seeds=[3, 4], errors=[0.1, 0.2]), "watched": watched}
    second = old_runs.outcomes_of(made, resolve("relu"))[1].details["watched"]
    assert second[0]["eps"] == [0.2, 0.4]
    assert second[1]["laws"] == [{"mean": None}]
    assert second[1]["looks"] == [{"step": 5, "entropy": {"a": 0.6}}]
    assert second[2]["x"] == [0.0, 0.5, 1.0]
