"""Activations that change during training, as a reproduction: what it runs, the verdicts, the curves."""

import json

from paper_tables import folder, outcome

from actsmith.formula.catalogue import get_activation as get
from actsmith.papers.dynamic_eafo import CONDITIONS, EXTREMES, REPRODUCTION
from actsmith.papers.reproduce import reproduce


def test_smoke_compares_every_condition(tmp_path):
    found = reproduce("dynamic-eafo", "smoke", out=tmp_path / "run", device="cpu").findings
    (table,) = found.tables
    assert {row.name for row in table.rows} == {c.name for c in CONDITIONS}
    assert all(row.mean is not None for row in table.rows)
    entropies = next(c for c in found.curves if c.name == "entropy-relu")
    assert {s.label for s in entropies.panels["digits plain"]} == {c.name for c in CONDITIONS}
    assert all(None not in s.y for s in entropies.panels["digits plain"])
    extremes = next(c for c in found.curves if c.name == "extremes")
    assert [len(lines) for lines in extremes.panels.values()] == [2, 2]


def test_every_preset_names_its_work_once():
    bases = tuple(get(name) for name in REPRODUCTION.activations)
    for preset in REPRODUCTION.presets.values():
        parts = preset.parts(bases)
        keys = [(p.name, p.activations[0].name) for p in parts]
        assert len(set(keys)) == len(keys)
        labels = [json.dumps({**p.labels, "row": p.activations[0].name}) for p in parts]
        assert len(set(labels)) == len(labels)


SEEDS = range(6)
PARTS = REPRODUCTION.presets["smoke"].parts((get("relu"),))


def findings(accuracy, diverged=()):
    """Of trainings that are made up: accuracies by condition, diverged nets by condition."""
    made = []
    for part in PARTS:
        (formula,) = part.activations
        for seed in SEEDS:
            value = accuracy.get(formula.name, 0.8) + 0.001 * seed
            looks = [{"step": step, "entropy": {"activations.0": 0.5 + step}} for step in (0, 5)]
            lost = formula.name in diverged and seed == 0
            watched = [{"epoch": 1, "looks": looks}]
            made.append(outcome(part.name, formula, seed, {"accuracy": value}, diverged=lost, watched=watched))
    return REPRODUCTION.read(folder(made), PARTS)


def answers(found):
    keys = ("static base", "loss alone", "entropy alone", "learnable", "Lowering", "diverges")
    return [next(c.verdict for c in found.claims if key in c.statement) for key in keys]


def test_answers_follow_the_numbers():
    better = dict.fromkeys(("entropy", "both", "both-strong", "both-critical"), 0.9)
    won, lost, same = "holds", "does not hold", "no difference that matters"
    assert answers(findings(better)) == [won, won, won, same, won, won]
    worse = dict.fromkeys(better, 0.7)
    assert answers(findings(worse)) == [lost, lost, lost, same, lost, won]


def test_divergence_is_told():
    extreme = findings({}, diverged=["start 10 weight 0.1"])
    assert answers(extreme)[-1] == "does not hold"
    assert extreme.facts["extremes"]["broken"] == {"start 10 weight 0.1": [1, 1]}
    untrained = findings({"start -10 weight 0": 0.1})
    assert answers(untrained)[-1] == "does not hold"
    assert untrained.facts["extremes"]["broken"] == {"start -10 weight 0": [0, 6]}
    tuned = findings({}, diverged=["both"])
    assert answers(tuned)[-1] == "does not hold"
    assert "both (1)" in next(c.evidence for c in tuned.claims if "diverges" in c.statement)
    assert tuned.facts["extremes"]["diverged"] == {"digits-plain-relu, both": 1}


def test_curves_are_the_recorded_entropies():
    curves = next(c for c in findings({}).curves if c.name == "entropy-relu")
    line = curves.panels["digits plain"][0]
    assert (line.x, line.y) == ((0.0, 5.0), (0.5, 5.5))


def test_the_extremes_are_read_by_their_labels():
    asked = [(p.labels["start"], p.labels["weight"], p.model.shift) for p in PARTS if p.name == EXTREMES]
    assert {start for start, _, _ in asked} == {0.0, 10.0, -10.0}
    assert all(start == shift for start, _, shift in asked)
