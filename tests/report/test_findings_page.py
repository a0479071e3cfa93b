"""The page of a reproduction: what is in the findings is on the page, and a second run of the same trains nothing."""

import json
import sys
import types
from dataclasses import dataclass
from xml.etree import ElementTree

import pytest

from actsmith.cli import main
from actsmith.errors import ActsmithError
from actsmith.papers import reproduce as module
from actsmith.papers.claims import Claim, Question, judge
from actsmith.papers.experiment import Experiment
from actsmith.papers.findings import Curves, Findings, Series
from actsmith.papers.readers import table
from actsmith.papers.reproduce import Preset, Reproduction, reproduce, reproduction, reproduction_names
from actsmith.report.findings import render_findings
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.task import describe
from actsmith.training.problem import Regression
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime


@dataclass(frozen=True)
class Line:
    """y = |x| on 64 points."""

    metric = Regression.metric

    def load(self, data):
        import torch

        x = torch.linspace(-1, 1, 64)[:, None]
        return Regression((x, x.abs()), (x, x.abs()), (x, x.abs()), 1)


@dataclass(frozen=True)
class Count:
    """A part that trains nothing, and says how often it did its work."""

    name: str = "count"

    def to_dict(self):
        return describe(self)

    def left(self, folder):
        return int("count" not in folder.results)

    def run(self, run):
        if self.left(run.folder):
            run.append("count", {"value": 1})
        run.report("count", 1, 1, "done")


def parts(formulas):
    recipe = Recipe(epochs=2, batch=32)
    return (Experiment("abs", Line(), Mlp(width=8, depth=2), formulas, (1e-2,), recipe, seeds=(0, 1)), Count())


def read(folder, asked):
    found = table(folder, asked[0], Regression.metric, title="|x| with pipes")
    x, y = (0.0, 1.0, 2.0), (1.0, None, 3.0)
    curves = Curves("curve", "A curve", {"one": (Series("a", x, y, y, y), Series("b", x, y))}, "x", "y", log_y=True)
    claim = Claim("relu fits |x|", "reproduced", f"count is {folder.results['count']['value']}")
    drawn = judge([Question("gelu is better, drawn", "gelu", "relu", 0.1)], [found])
    return Findings("Two activations.", (found,), (curves,), (claim, *drawn), {"answer": float("nan")})


FAKE = Reproduction(
    name="fake", title="A <fake> paper", source="nowhere", claims="Everything.", activations=("relu", "gelu"),
    presets={"smoke": Preset(parts, "a second"), "small": Preset(parts, "a second")}, read=read,
)  # fmt: skip


@pytest.fixture
def fake(monkeypatch):
    home = types.ModuleType("actsmith.papers.fake")
    home.REPRODUCTION = FAKE
    monkeypatch.setitem(sys.modules, home.__name__, home)
    monkeypatch.setattr(module, "_HOME", {"fake": "fake"})


def test_all_that_was_found_is_on_the_page(fake, tmp_path):
    result = reproduce("fake", "smoke", tmp_path / "run", activations=["silu"], runtime=Runtime.create("cpu"))
    files = {f.name: f for f in render_findings(result)}
    assert set(files) == {"README.md", "index.html", "findings.json", "abs.svg", "claims.svg", "curve.svg"}
    for name in ("abs.svg", "claims.svg", "curve.svg"):
        assert ElementTree.parse(files[name]).getroot().tag.endswith("svg")
    page, html = files["README.md"].read_text(), files["index.html"].read_text()
    for text in (
        "relu",
        "gelu",
        "silu",
        "reproduced",
        "Two activations.",
        "count is 1",
        "gelu is better, drawn",
        "decades of relative rmse",
        "nowhere",
        "--activation silu",
    ):
        assert text in page
        assert text in html
    assert "A &lt;fake&gt; paper" in html
    assert html.count("<svg") == 3
    saved = json.loads(files["findings.json"].read_text())
    assert saved["facts"] == {"answer": None}
    assert {row["name"] for row in saved["tables"][0]["rows"]} == {"relu", "gelu", "silu"}
    first = saved["tables"][0]["rows"][0]
    assert f"{first['mean']:.4g}" in page


def test_a_second_run_changes_nothing(fake, tmp_path):
    runtime = Runtime.create("cpu")
    first = reproduce("fake", "smoke", tmp_path / "run", runtime=runtime)
    before = (tmp_path / "run" / "results.jsonl").read_text()
    second = reproduce("fake", "smoke", tmp_path / "run", runtime=runtime)
    assert (tmp_path / "run" / "results.jsonl").read_text() == before
    assert second.findings.tables == first.findings.tables
    with pytest.raises(ActsmithError, match="another configuration"):
        reproduce("fake", "smoke", tmp_path / "run", activations=["silu"], runtime=runtime)


def test_the_command_states_the_cost_first(fake, tmp_path, capsys):
    request = ["reproduce", "fake", "--preset", "smoke", "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*request, "--pages", str(tmp_path / "pages"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("fake, preset smoke: a second\n")
    assert json.loads(out)["claims"][0]["verdict"] == "reproduced"
    assert (tmp_path / "pages" / "README.md").is_file()
    assert main(request) == 0
    assert "So small a size answers nothing" in capsys.readouterr().out
    small = ["reproduce", "fake", "--preset", "small", "--out", str(tmp_path / "small"), "--device", "cpu"]
    assert main(small) == 0
    assert "reproduced: relu fits |x|" in capsys.readouterr().out


def test_a_dry_run_says_what_is_left_and_trains_nothing(fake, tmp_path, capsys):
    request = ["reproduce", "fake", "--preset", "smoke", "--out", str(tmp_path / "run")]
    assert main([*request, "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["left"] == {"abs": 4, "count": 1}
    assert said["cost"] == "a second"
    assert not (tmp_path / "run").exists()
    assert main([*request, "--only", "count", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "In all 1." in out
    assert "abs" not in out
    assert main([*request, "--seeds", "3", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["left"]["abs"] == 6


def test_wrong_requests_say_what_to_do(fake, tmp_path, capsys):
    assert main(["reproduce", "fak"]) == 2
    assert "did you mean fake?" in capsys.readouterr().err
    assert main(["reproduce", "fake", "--preset", "paper", "--device", "cpu"]) == 2
    assert "preset: got 'paper'; expected smoke, small" in capsys.readouterr().err
    assert main(["reproduce", "fake", "--only", "ab", "--dry-run"]) == 2
    assert "no table named 'ab'; did you mean abs?" in capsys.readouterr().err
    assert main(["reproduce", "fake", "--data", str(tmp_path / "no"), "--device", "cpu"]) == 2
    assert "no folder" in capsys.readouterr().err


def test_without_a_name_it_lists_them(fake, capsys):
    assert main(["reproduce"]) == 0
    assert "A <fake> paper" in capsys.readouterr().out


def test_every_reproduction_is_whole():
    for name in reproduction_names():
        found = reproduction(name)
        assert found.name == name
        assert set(found.presets) == {"smoke", "small", "paper"}
        assert all(preset.cost for preset in found.presets.values())
