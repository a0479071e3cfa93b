"""What is written about a run: complete, sorted, deterministic, and honest about what was not told apart."""

import html
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from actsmith.errors import ActsmithError
from actsmith.report import leaderboard_markdown, render
from actsmith.report.data import read_run
from actsmith.theory.fit import fit_mixture
from actsmith.theory.laws import Empirical, Normal


def _row(name, formula, validation, difference=None, half=0.004, **more):
    score = None if difference is None else 0.95 + difference
    row = {
        "name": name, "formula": formula, "parameters": {}, "kind": "known", "origin": "known", "same_as": [],
        "validation": validation, "score": score, "low": None, "high": None, "difference": difference,
        "difference_low": None, "difference_high": None, "p": None, "verdict": None, "seeds": 0, "learning_rate": 0.01,
        "learning_rate_at_edge": False, "step_seconds": 0.002, "diverged": 0, "reason": None, "learned": {},
        "entropy": 0.7, "universality": "scale_invariant",
    }  # fmt: skip
    if difference is not None:
        row |= {"low": score - half, "high": min(score + half, 1.0), "difference_low": difference - half,
                "difference_high": difference + half, "p": 0.01, "verdict": "better", "seeds": 5}  # fmt: skip
    return row | more


EPS = {"eps": {"value": 0.1, "learn": True}}
NO_DIFFERENCE = dict.fromkeys(("difference", "difference_low", "difference_high", "p"))
ROWS = [
    _row("relu+0.1[normal]", "relu(x) + eps*x*exp(-x**2/2)", 0.96, 0.01, kind="candidate", parameters=EPS,
         learned={"eps": 0.14}, origin="EAFO correction of relu"),
    _row("elu", "where(x, x, expm1(x))", 0.955, 0.005, 0.006, verdict="open"),
    _row("relu", "relu(x)", 0.95, 0.0, kind="start") | NO_DIFFERENCE,
    _row("celu", "where(x, x, expm1(x))", 0.955, 0.005, 0.006, verdict="open", same_as=["elu"]),
    _row("a|b `c`", "0.5*relu(x) + 0.1*x", 0.94, learning_rate_at_edge=True, entropy=None),
    _row("mrepu", "x*relu(1 + x)**2", 0.3, diverged=3),
    _row("repu", "relu(x)**2", None, diverged=4),
]  # fmt: skip
PLAN = {"tuning_seeds": [1000, 1001], "seeds": [0, 1, 2, 3, 4], "activations": 8, "finalists": 3, "examples": 0.5,
        "cost": 1.0}  # fmt: skip
SENTENCE = "relu+0.1[normal] is better than relu by +0.01 accuracy [+0.006, +0.014], 5 fresh paired seeds."
BOARD = {
    "task": "digits", "start": "relu", "metric": "accuracy", "better": "higher", "log": False, "judge": "test",
    "rows": ROWS,
    "conclusion": SENTENCE, "kind": "better", "recommended": "relu+0.1[normal]", "front": ["relu", "elu"],
    "trainings": 77, "plan": PLAN, "skipped": [], "command": "actsmith search --resume runs/x",
}  # fmt: skip


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
    config = {"rates": [0.001, 0.01], "seeds": 5}
    dropped = [{"name": "relu-0.1[pooled]", "formula": "x", "params": {}, "origin": "o", "reason": "no signal"}]
    files = {
        "leaderboard.json": BOARD,
        "config.json": config,
        "explored.json": {"activations": [], "dropped": dropped, "notes": []},
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
    assert text.splitlines()[2] == f"**{SENTENCE}**", "the conclusion comes first"
    confirmed = [line for line in text.splitlines() if line.startswith("| `") and "0.95" in line]
    assert len(confirmed) == 3, "each function once"
    assert "+0.006 to +0.014" in confirmed[0]
    assert "the start" in confirmed[2]
    assert "(= elu)" in lines[3]
    assert "0.01*" in lines[4]
    assert "(3 without a score)" in lines[5]
    assert "diverged" in lines[6]
    assert "50% of the training examples" in text
    assert "learned, on average, eps = 0.14" in text
    assert "no signal: `relu-0.1[pooled]`" in text
    assert "alone it orders nothing" in text


def test_render_writes_pictures_that_stay_the_same(folder):
    written = render(folder)
    assert [p.name for p in written] == ["leaderboard.md", "scores.svg", "shapes.svg", "laws.svg", "index.html"]
    first = {p: p.read_bytes() for p in written}
    assert render(folder) == written
    assert {p: p.read_bytes() for p in written} == first
    for path in written[1:-1]:
        root = ElementTree.parse(path).getroot()
        assert root.tag.endswith("svg")
    scores = first[folder / "scores.svg"].decode()
    for word in ("relu+0.1[normal]", "elu = celu", "5 paired seeds", "0.3, off the scale", "diverged"):
        assert word in scores
    assert "pre-activation x" in first[folder / "shapes.svg"].decode()
    assert "layer 2: mean" in first[folder / "laws.svg"].decode()
    assert "the first" not in first[folder / "laws.svg"].decode(), "it has few enough layers for all of them"


def test_pictures_have_room_for_long_names_and_say_what_they_leave_out(folder):
    probe = json.loads((folder / "probe.json").read_text())
    first = next(iter(probe["layers"].values()))
    (folder / "probe.json").write_text(json.dumps({"layers": {str(i): first for i in range(14)}}))
    long = "0.0169*x*exp(-0.49*x**2) + relu(x)"
    rows = [{**row, "name": long} if row["name"] == "relu+0.1[normal]" else row for row in ROWS]
    (folder / "leaderboard.json").write_text(json.dumps({**BOARD, "rows": rows}))
    render(folder)
    assert "12 of its 14" in re.sub(r"<[^>]*>\s*", " ", (folder / "laws.svg").read_text())
    for name in ("scores.svg", "shapes.svg"):
        text = (folder / name).read_text()
        assert long not in text
        assert long[:23] in text
    assert long in (folder / "leaderboard.md").read_text()


def test_a_search_that_ended_early_has_a_page_too(folder):
    for name in ("explored.json", "probe.json"):
        (folder / name).unlink()
    short = {**BOARD, "rows": [ROWS[2] | {"score": None, "seeds": 0}], "conclusion": "Not decided.", "front": []}
    (folder / "leaderboard.json").write_text(json.dumps(short))
    assert "No activation was confirmed" in leaderboard_markdown(folder)
    assert [p.name for p in render(folder)] == ["leaderboard.md", "scores.svg", "shapes.svg", "index.html"]


def test_a_board_without_rows_has_its_page(folder):
    (folder / "leaderboard.json").write_text(json.dumps(BOARD | {"rows": [], "front": []}))
    (folder / "probe.json").unlink()
    assert ".svg" not in leaderboard_markdown(folder)
    assert [p.name for p in render(folder)] == ["leaderboard.md", "index.html"]


def test_every_look_is_told(folder):
    assert "times" not in leaderboard_markdown(folder)
    (folder / "leaderboard.json").write_text(json.dumps(BOARD | {"looks": [3, 5]}))
    text = leaderboard_markdown(folder)
    assert "Holm-corrected, times 2 for the looks at 3, 5 seeds." in text
    (folder / "leaderboard.json").write_text(json.dumps(BOARD | {"plan": PLAN | {"rates": False}}))
    assert "is tried at the script's own rate with 2 seeds" in leaderboard_markdown(folder)


def test_a_folder_of_the_release_before_is_named(folder):
    (folder / "leaderboard.json").write_text(json.dumps({"task": "digits", "start": "relu", "rows": []}))
    with pytest.raises(ActsmithError, match=r"version 0\.1"):
        render(folder)


def test_the_numbers_behind_the_pictures(folder):
    data = read_run(folder)
    assert [r.name for r in data.focus] == [r["name"] for r in ROWS[:-2]]
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


def test_the_page_has_the_conclusion_and_the_scores_first_and_all_that_the_markdown_has(folder):
    render(folder)
    page = (folder / "index.html").read_text()
    head, _, rest = page.partition("<svg")
    assert SENTENCE in html.unescape(head)
    assert "<table" not in head
    assert "<code>a|b &#39;c&#39;</code>" in rest
    assert "`" not in re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", page, flags=re.DOTALL)
    assert page.count("<svg") == 3
    words = html.unescape(re.sub(r"<[^>]+>", "", rest))
    for word in ("50% of the training examples", "no signal: relu-0.1[pooled]", "+0.006 to +0.014", "diverged"):
        assert word in words
    assert not re.search(r"<script|<link|<img| src=", page)


@pytest.mark.slow
def test_the_page_fits_a_phone(folder, on_a_phone):
    render(folder)
    seen = on_a_phone(folder / "index.html")
    assert seen["width"] <= 390
    assert seen["picture"] < 844
    assert seen["said"] == []
