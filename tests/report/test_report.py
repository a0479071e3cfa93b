"""What is written about a run: complete, sorted, deterministic, and honest about what was not told apart."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from actsmith.errors import ActsmithError
from actsmith.report import leaderboard_markdown, render
from actsmith.report.data import read_run
from actsmith.theory.fit import fit_mixture
from actsmith.theory.laws import Empirical, Normal


def _row(name, formula, accuracy, difference, half, **more):
    row = {
        "name": name, "formula": formula, "kind": "baseline", "accuracy": accuracy, "low": accuracy - half,
        "high": accuracy + half, "difference": difference, "difference_low": difference - half,
        "difference_high": difference + half, "seeds": 5, "learning_rate": 0.01, "step_seconds": 0.002, "entropy": 0.7,
        "universality": "scale_invariant", "origin": "known", "parameters": {}, "learned": {}, "diverged": 0,
        "learning_rate_at_edge": False, "same_as": [],
    }  # fmt: skip
    return row | more


EPS = {"eps": {"value": 0.1, "learn": True}}
ROWS = [
    _row("relu+0.1[normal]", "relu(x) + eps*x*exp(-x**2/2)", 0.96, 0.01, 0.004, kind="derived", parameters=EPS,
         learned={"eps": 0.14}, origin="EAFO correction of relu"),
    _row("elu", "where(x, x, expm1(x))", 0.955, 0.005, 0.006, same_as=["celu"]),
    _row("relu", "relu(x)", 0.95, 0.0, 0.0),
    _row("a|b `c`", "0.5*relu(x) + 0.1*x", 0.94, -0.01, 0.002, learning_rate_at_edge=True, entropy=None),
    _row("mrepu", "x*relu(1 + x)**2", 0.3, -0.65, 0.4, diverged=3),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    layers = {}
    for i, law in enumerate((Normal(), Normal(-1, 2))):
        measured = Empirical(law.sample(3000, seed=i))
        fit = fit_mixture(measured)
        layers[str(2 * i + 1)] = {
            "law": measured.to_dict(),
            "fit": {"law": fit.law.to_dict(), "distance": fit.distance},
        }
    config = {
        "learning_rates": [0.001, 0.01], "tuning_seeds": [1000, 1001], "seeds": 5,
        "shape": {"width": 64, "depth": 2, "epochs": 3, "batch": 32},
    }  # fmt: skip
    dropped = [
        {"name": "relu-0.1[pooled]", "formula": "x", "params": {}, "origin": "o", "reason": "critical in no class"}
    ]
    files = {
        "leaderboard.json": {"task": "digits", "start": "relu", "rows": ROWS},
        "config.json": config,
        "candidates.json": {"kept": [], "dropped": dropped, "notes": []},
        "probe.json": {"layers": layers},
    }
    for name, values in files.items():
        (tmp_path / name).write_text(json.dumps(values))
    return tmp_path


def test_the_markdown_says_it_all(folder):
    text = leaderboard_markdown(folder)
    lines = [line for line in text.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert len(lines) == len(ROWS)
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "(5 seeds): `relu+0.1[normal]`. Worse: `a\\|b 'c'`, `mrepu`. Not told apart: 1." in text
    assert "about one in twenty" in text
    assert "0.9600 to" not in text
    assert "+0.0060 to +0.0140" in lines[0]
    assert "(= celu)" in lines[1]
    assert "0.01*" in lines[3]
    assert "(3 of 5 diverged)" in lines[4]
    assert "learned, on average, eps = 0.14" in text
    assert "critical in no class: `relu-0.1[pooled]`" in text


def test_render_writes_pictures_that_stay_the_same(folder):
    written = render(folder)
    assert [p.name for p in written] == ["leaderboard.md", "accuracy.svg", "shapes.svg", "laws.svg"]
    first = {p: p.read_bytes() for p in written}
    assert render(folder) == written
    assert {p: p.read_bytes() for p in written} == first
    for path in written[1:]:
        root = ElementTree.parse(path).getroot()
        assert root.tag.endswith("svg")
    accuracy = first[folder / "accuracy.svg"].decode()
    for word in ("relu+0.1[normal]", "elu = celu", "test accuracy, 5 seeds", "0.300, off the scale"):
        assert word in accuracy
    assert "pre-activation x" in first[folder / "shapes.svg"].decode()
    assert "layer 2: mean" in first[folder / "laws.svg"].decode()


def test_the_numbers_behind_the_pictures(folder):
    data = read_run(folder)
    assert [r.name for r in data.focus] == [r["name"] for r in ROWS[:-1]]
    assert data.curves[0].name == "relu"
    x = data.curves[1].x
    learned = np.maximum(x, 0) + 0.14 * x * np.exp(-(x**2) / 2)
    np.testing.assert_allclose(data.curves[1].value, learned, atol=1e-12)
    for density in data.densities:
        assert np.trapezoid(density.measured, density.x) == pytest.approx(1, abs=0.01)


def test_a_folder_without_a_search(tmp_path):
    with pytest.raises(ActsmithError, match="has no leaderboard"):
        render(tmp_path)
    (tmp_path / "leaderboard.json").write_text("{")
    with pytest.raises(ActsmithError, match="not JSON"):
        leaderboard_markdown(tmp_path)
