"""The benchmarks: how ratios are made, what is written, and what is said of absent peers."""

from __future__ import annotations

import csv
import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from torch import nn

from actsmith.benchmarks import activation, criticality, engine, kan, pinn, run, surgery, training
from actsmith.benchmarks.measure import Row, absolute, interleaved
from actsmith.cli import main
from actsmith.errors import ActsmithError
from actsmith.nn import Activation


def test_ratios_are_of_neighbouring_times():
    calls = {"one": lambda: time.sleep(0.004), "three": lambda: time.sleep(0.012)}
    one, three = interleaved("sleep", calls, 5, 2, {"three": 0.5})
    assert (one.p20, one.p50, one.p80, one.ratio) == (1, 1, 1, 1)
    assert three.against == "one"
    assert three.p20 <= three.p50 <= three.p80
    assert 1.5 < three.p50 < 4.5
    assert three.seconds >= 0.012
    assert (one.met, three.met) == (None, False)


def test_a_time_has_its_target_too():
    row = absolute("start", "", [0.3, 0.1, 0.2], 0.2)
    assert (row.seconds, row.p50, row.met) == (0.1, pytest.approx(0.2), True)
    assert run.line(row).endswith("s  target 0.2 met")
    assert "MISSED" in run.line(absolute("start", "", [0.3], 0.2))


def test_what_backward_keeps_is_counted():
    assert activation.saved_for_backward(Activation("crrelu")) == 1.0
    assert activation.saved_for_backward(activation.naive_crrelu()) > 2


def test_the_command_writes_csv_and_one_json_object(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(criticality, "peers", lambda python: dict.fromkeys(("dks", "neural-tangents"), "no module"))
    out = tmp_path / "rows.csv"
    assert main(["bench", "criticality", "--quick", "--json", "--out", str(out)]) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout.count("\n") == 1
    found = json.loads(stdout)
    assert [(r["what"], r["activation"], r["target"]) for r in found["rows"]] == [
        ("criticality", "tanh", 0.03),
        ("criticality", "gelu", 0.03),
    ]
    assert found["machine"]["copy_bandwidth"] > 0
    assert [note.partition(":")[0] for note in found["left_out"]] == ["dks", "neural-tangents"]
    assert all("pip install" in note and note in stderr for note in found["left_out"])
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(r["p50"]) for r in rows] == [r["p50"] for r in found["rows"]]
    assert {"p20", "p50", "p80", "target"} <= set(rows[0])


def test_a_peer_that_is_here_is_compared_with(monkeypatch):
    slow = {name: {"seconds": 100.0} for name in criticality.NAMES}
    monkeypatch.setattr(criticality, "peers", lambda python: {"dks": slow, "neural-tangents": "no module"})
    ratios = [r for r in criticality.rows(True, lambda note: None) if r.against == "dks's transform"]
    assert len(ratios) == 2
    assert all(r.met and r.p50 < 0.01 for r in ratios)


def test_the_plain_form_counts_the_targets(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(activation, "rows", lambda quick, say: iter([Row("a", "b", "c", 1.0, 1, 2, 3, 2, 2.5)]))
    assert main(["bench", "activation", "--out", str(tmp_path / "rows.csv")]) == 0
    out = capsys.readouterr().out
    assert "target 2.5 met" in out
    assert "1 of 1 targets met" in out


def test_the_b_spline_layer_is_scipys():
    layer = kan.BSplineKAN(2, 3).double()
    x = torch.rand(50, 2, dtype=torch.float64) * 2 - 1
    basis = BSpline(layer.grid.double().numpy(), np.eye(8), 3)(x.numpy())
    assert torch.allclose(layer.bases(x), torch.from_numpy(basis), atol=1e-7)
    exact = torch.nn.functional.silu(x) @ layer.base.T + torch.einsum("nik,oik->no", layer.bases(x), layer.spline)
    assert torch.allclose(layer(x), exact)


def test_kan_layers_are_compared_on_the_same_data():
    data = replace(kan.regression(200), steps=4, widths=(4, 3, 1))
    results = kan.compare_kans(data, seeds=(0, 1), rates=(1e-2,))
    assert [r.layer for r in results] == list(kan.LAYERS)
    assert results[0].difference.mean == 0
    assert all(r.score.mean > 0 and r.seconds > 0 for r in results)
    b_splines, hermite, _ = results
    assert hermite.bytes < 0.5 * b_splines.bytes
    assert b_splines.ratio == 1


def test_without_timm_one_line_says_so(monkeypatch):
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    notes = []
    assert list(training.rows(True, notes.append)) == []
    assert len(notes) == 1
    assert "actsmith[vision]" in notes[0]


def test_pinn_rows(monkeypatch):
    """All rows at a small size; jets keep less for backward."""
    monkeypatch.setattr(pinn, "POINTS", 20)
    monkeypatch.setattr(pinn, "JETS", {"tanh": nn.Tanh, "gelu": nn.GELU, "crrelu": lambda: Activation("crrelu")})
    monkeypatch.setattr(pinn, "LAPLACIANS", {2: 1.0})
    monkeypatch.setattr(pinn, "find_spec", lambda name: None)
    notes: list[str] = []
    rows = list(pinn.rows(True, notes.append))
    assert len([r for r in rows if r.what == "u_xx"]) == 6
    assert all(0 < r.p50 < 1 for r in rows if r.what.endswith("kept for backward"))
    assert "jax" in notes[0]


@pytest.mark.parametrize("make", [pinn.nested_step, lambda a, order: pinn.jet_step(a, [(order, 0)])])
def test_a_pinn_step_trains(make):
    """Nested and by jets."""
    torch.manual_seed(0)
    step = make(lambda: Activation("tanh"), 3)
    cells = dict(zip(step.__code__.co_freevars, (c.cell_contents for c in step.__closure__), strict=True))
    inner = cells["loss"].__closure__
    model = next(c.cell_contents for c in inner if isinstance(c.cell_contents, nn.Module))
    before = [p.clone() for p in model.parameters()]
    step()
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_redirected_call_computes_what_was_written():
    x = torch.randn(3)
    made = surgery.models()
    assert list(made) == [surgery.WRITTEN, "nn.ReLU", "relu", "nn.ReLU as a child"]
    assert all(torch.equal(model(x), torch.relu(x)) for model in made.values())
    assert [n for n, _ in made["relu"].named_children()] == ["actsmith_relu_0"]


def test_wrong_requests(capsys, tmp_path):
    assert main(["bench", "everything"]) == 2
    named = "activation, training, pinn, engine, adaptive, theory, criticality, surgery, workers, playground, gpu"
    assert f"expected some of {named}" in capsys.readouterr().err
    with pytest.raises(ActsmithError, match="cannot be written"):
        next(run.run(["theory"], True, tmp_path / "no" / "such.csv", print))


def test_the_engine_trains_every_way(monkeypatch):
    task = engine.tasks(quick=True)["perceptron"]
    small = replace(task, recipe=replace(task.recipe, epochs=1), model=replace(task.model, width=4, depth=1))
    monkeypatch.setattr(engine, "tasks", lambda quick: {"perceptron": small})
    rows = list(engine.rows(True, print))
    assert [(r.what, r.activation, r.against) for r in rows] == [
        ("perceptron, 22 steps", way, engine.WAYS[0]) for way in engine.WAYS
    ]
    assert rows[0].p50 == 1
    assert all(r.seconds > 0 for r in rows)


def test_what_the_engine_trains_needs_no_download():
    assert list(engine.tasks(quick=False)) == ["perceptron", "convolutional", "vision transformer", "text"]
