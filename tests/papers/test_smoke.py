"""Every reproduction at its smallest, to its page; a second run trains nothing and finds the same."""

import json
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from actsmith.formula.catalogue import resolve
from actsmith.papers import experiment
from actsmith.papers.reproduce import planned, reproduce, reproduction, reproduction_names
from actsmith.report.findings import render_findings

TRAINED = [name for name in reproduction_names() if name not in ("mrepu-kernel", "crrelu-dpo", "crrelu-text")]
"""Those that need no data in their smallest preset and train with the engine."""


@pytest.mark.parametrize("name", TRAINED)
def test_smoke(name, tmp_path, monkeypatch):
    first = reproduce(name, "smoke", tmp_path, device="cpu")
    before = (tmp_path / "results.jsonl").read_bytes()
    assert set(planned(name, "smoke", tmp_path).left.values()) == {0}
    monkeypatch.setattr(experiment, "settle", None)  # results alone decide the findings
    again = reproduce(name, "smoke", tmp_path, device="cpu")
    assert (tmp_path / "results.jsonl").read_bytes() == before
    assert again.findings == first.findings
    scored = [r for r in map(json.loads, before.splitlines()) if r.get("stage") == "score"]
    for table in first.findings.tables:
        for row in table.rows:
            known = [r["test"].get(table.metric.name) for r in scored if r["formula"]["name"] == row.name]
            assert all(v is None or v in known for v in row.values)
            assert len(row.values) == 2
    assert first.findings.summary
    # Of two of them no question is of so small a run.
    assert first.findings.claims or name in ("mrepu-polynomial", "mrepu-function", "mrepu-vision")
    json.dumps(first.findings.facts, allow_nan=False)
    pages = {f.name: f.read_text() for f in render_findings(first) if f.suffix != ".svg"}
    assert all(claim.statement.rstrip(".") in pages["README.md"] for claim in first.findings.claims)


@pytest.mark.parametrize("name", reproduction_names())
def test_activations_of_the_command_line_join_every_preset(name):
    found = reproduction(name)
    formulas = tuple(resolve(f) for f in (*found.activations, "bent_identity"))
    for size, preset in found.presets.items():
        parts = preset.parts(formulas)
        assert preset.cost
        joined = any("bent_identity" in json.dumps(part.to_dict()) for part in parts)
        assert joined != ((name, size) == ("dynamic-eafo", "smoke"))  # which takes the first base alone
        keys = [(part.name, json.dumps(part.to_dict())) for part in parts]
        assert len(set(keys)) == len(keys)


def test_every_module_of_a_reproduction_is_listed():
    folder = Path(experiment.__file__).parent
    written = {p.stem for p in folder.glob("*.py") if "\nREPRODUCTION = " in p.read_text()}
    assert written == {name.replace("-", "_") for name in reproduction_names()}


@pytest.mark.parametrize("name", [n for n in reproduction_names() if reproduction(n).questions])
def test_every_question_is_of_a_table_of_the_small_preset(name):
    """A question whose table or activations are not there would be left out without a word."""
    found = reproduction(name)
    parts = found.presets["small"].parts(tuple(resolve(f) for f in found.activations))
    for q in found.questions:
        words = q.tables.split("-")
        tables = [
            "-".join(words[: len(words) - cut]) for cut in range(3)
        ]  # of one experiment there may be NAME-loss and the like
        mine = [p for p in parts if any(fnmatchcase(p.name, pattern) for pattern in tables)]
        assert mine, q.tables
        known = {n for p in mine for n in (a.name for a in getattr(p, "arms", p.activations))}
        known |= {s.name for p in mine for s in getattr(p, "suggestions", ())}
        for side in (q.first, q.second):
            assert {side} <= known if isinstance(side, str) else {*side} <= known
