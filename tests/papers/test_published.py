"""The published results are those of the code: one cell is trained again, and the page of all is in step."""

import json
from pathlib import Path

import pytest

from actsmith.formula.catalogue import resolve
from actsmith.papers.experiment import Experiment
from actsmith.papers.reproduce import reproduction
from actsmith.report.results import results_markdown
from actsmith.training.runtime import Runtime
from actsmith.trials.runner import FitRunner, Place
from actsmith.trials.trial import Trial

RESULTS = Path(__file__).parents[2] / "docs" / "results"
PUBLISHED = sorted(p.parent.name for p in RESULTS.glob("*/findings.json"))


def published(name):
    return json.loads((RESULTS / name / "findings.json").read_text())


def test_the_page_of_all_results_is_in_step():
    assert (RESULTS / "README.md").read_text() == results_markdown(RESULTS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_published_is_the_small_preset_with_its_figures(name):
    found, page = published(name), (RESULTS / name / "README.md").read_text()
    assert (found["reproduction"], found["preset"]) == (name, "small")
    assert found["command"] in page
    for claim in found["claims"]:
        assert claim["verdict"] in page
    for table in found["tables"]:
        assert all(len(row["values"]) >= 3 for row in table["rows"])


def test_one_cell_trained_again_gives_what_is_published():
    name, cell = "mrepu-polynomial", "relu"
    found = reproduction(name)
    formulas = tuple(resolve(f) for f in found.activations)
    asked = next(p for p in found.presets["small"].parts(formulas) if isinstance(p, Experiment))
    table = next(t for t in published(name)["tables"] if t["name"] == asked.name)
    row = next(r for r in table["rows"] if r["name"] == cell)
    formula = next(f for f in formulas if f.name == cell)
    runner = FitRunner(asked.task, asked.problem.load(None), Runtime.create("cpu"))
    trials = [Trial(asked.name, formula, "score", row["rate"], seed, test=True) for seed in asked.seeds]
    again = [outcome for group in runner.groups(trials) for outcome in runner.run(group, Place())]
    # Training multiplies rounding; another machine's sums are in another order.
    for here, there in zip(again, row["values"], strict=True):
        assert here.score(table["metric"]["name"], "test") == pytest.approx(there, rel=0.2)
