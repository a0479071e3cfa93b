"""The verbs: the JSON contract, exit statuses and messages."""

import json
import sys

import numpy as np
import pytest

from actsmith.cli import main

SQRT_17 = 17**0.5


def run(capsys, *arguments):
    status = main(list(arguments))
    out, err = capsys.readouterr()
    return status, out, err


def record(capsys, *arguments):
    status, out, _ = run(capsys, *arguments, "--json")
    assert status == 0
    assert out.count("\n") == 1  # one object and nothing else
    return json.loads(out)


def test_analyze_gelu_agrees_with_the_theory(capsys):
    a = record(capsys, "analyze", "gelu")
    assert a["name"] == "gelu"
    assert a["law"] == "normal(0,1)"
    assert a["criticality"]["universality"] == "half_stable"
    top = max(a["criticality"]["points"], key=lambda p: p["K"])
    assert top["K"] == pytest.approx((3 + SQRT_17) / 2, rel=1e-9)
    assert top["C_W"] == pytest.approx(1.983058257437547, rel=1e-9)
    assert top["C_b"] == pytest.approx(0.1729223907560673, rel=1e-9)
    assert set(a) >= {"formula", "parameters", "kinks", "entropy", "smoothness", "bounded", "monotone", "error"}
    assert set(a["entropy"]) >= {"differential", "atom_mass", "mixed", "scale_free", "smoothed", "tau", "error"}
    assert a["bounded"] == [True, False]
    assert a["monotone"] is False
    assert a["smoothness"] is None
    assert a["smoothness_reason"] == "infinitely differentiable"


def test_analyze_gives_the_known_classes(capsys):
    relu = record(capsys, "analyze", "relu")
    assert relu["criticality"]["universality"] == "scale_invariant"
    assert relu["criticality"]["points"][0]["C_W"] == pytest.approx(2, rel=1e-9)
    assert relu["entropy"]["differential"] is None
    assert "atom" in relu["entropy"]["reasons"]["differential"]
    tanh = record(capsys, "analyze", "tanh")
    assert tanh["criticality"]["universality"] == "zero_stable"
    assert tanh["criticality"]["a1"] == pytest.approx(-2, rel=1e-9)
    silu = record(capsys, "analyze", "silu")
    top = max(silu["criticality"]["points"], key=lambda p: p["K"])
    assert [top["K"], top["C_W"], top["C_b"]] == pytest.approx([14.3201736180, 1.98800467827, 0.555143170722], rel=1e-9)
    repu = record(capsys, "analyze", "repu", "--param", "p=2")
    assert repu["criticality"]["universality"] == "none"
    assert repu["criticality"]["points"] == []
    assert repu["criticality"]["ratio"] == pytest.approx(1.5, rel=1e-12)
    assert "(2p - 1)/p = 1.5" in repu["note"]
    mrepu = record(capsys, "analyze", "mrepu", "--param", "p=2")
    assert mrepu["criticality"]["universality"] == "zero_unstable"
    assert mrepu["criticality"]["a1"] == pytest.approx(18, rel=1e-9)


def test_derive_prints_a_long_correction_once(capsys):
    main(["derive", "x*sigmoid(1.5*x)"])
    printed = capsys.readouterr().out
    assert printed.count("exp(-x**2/2)") == 5
    assert "descend:  f + eps*psi  with eps = -0.01" in printed


def test_derive_relu_states_both_signs(capsys):
    d = record(capsys, "derive", "relu")
    assert d["correction"] == "x*exp(-x**2/2)"
    assert d["dH_deps"] == pytest.approx(2**-1.5, abs=1e-12)
    descend, published = d["signs"]["descend"], d["signs"]["published"]
    assert descend["eps"] == -0.01
    assert published["eps"] == 0.01
    assert descend["entropy_change"] == pytest.approx(-0.01 * 2**-1.5, abs=1e-12)
    assert published["entropy_change"] == pytest.approx(0.01 * 2**-1.5, abs=1e-12)
    assert "publishes" in d["note"]


def test_worst_rank_and_list(capsys):
    assert record(capsys, "worst", "--law", "logistic", "--low", "0")["formula"] == "sigmoid(x)"
    names = [row["name"] for row in record(capsys, "rank", "relu", "sigmoid", "gelu", "repu", "tanh", "silu")["rows"]]
    assert names == ["repu", "relu", "gelu", "silu", "tanh", "sigmoid"]
    activations = record(capsys, "list")["activations"]
    assert len(activations) >= 40
    assert all(row["formula"] and row["source"] for row in activations)


def test_analyze_writes_a_page_beside_its_json(capsys, tmp_path):
    page = tmp_path / "gelu.html"
    status, out, err = run(capsys, "analyze", "x*sigmoid(b*x)", "--param", "b=1.5", "--json", "--html", str(page))
    assert (status, err) == (0, f"Page: {page}\n")
    found = json.loads(out)
    text = page.read_text()
    assert f"{found['entropy']['smoothed']:+.9f}" in text
    assert found["criticality"]["verdict"] in text
    assert "X ~ normal(0,1)" in text
    status, out, _ = run(capsys, "analyze", "relu", "--law", "laplace", "--html", str(page))
    assert status == 0
    assert "scale_invariant" in out
    assert "X ~ laplace(0,1)" in page.read_text()


def test_a_page_that_cannot_be_written(capsys, tmp_path):
    for path in (tmp_path / "no" / "page.html", tmp_path):
        status, out, err = run(capsys, "analyze", "relu", "--json", "--html", str(path))
        assert (status, out) == (2, "")
        assert err.startswith(f"actsmith analyze: --html: cannot write '{path}'")
        assert err.count("\n") == 1


def test_a_page_without_matplotlib(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, out, err = run(capsys, "analyze", "relu", "--html", str(tmp_path / "page.html"))
    assert (status, out) == (2, "")
    assert err == "actsmith analyze: report: matplotlib is missing; pip install 'actsmith[report]'\n"
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("verb", ["analyze", "derive"])
def test_the_plain_form_shows_the_same_numbers(capsys, verb):
    status, out, _ = run(capsys, verb, "relu")
    assert status == 0
    assert ("scale_invariant" in out) if verb == "analyze" else ("descend" in out and "published" in out)


def test_a_law_from_a_file_of_samples(capsys, tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=20_000))
    a = record(capsys, "analyze", "tanh", "--law", str(path))
    normal = record(capsys, "analyze", "tanh")
    assert a["entropy"]["differential"] == pytest.approx(normal["entropy"]["differential"], abs=0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["analyze", "gleu"], "or gelu"),
        (["analyze", "x +"], "not well formed"),
        (["analyze", "a*x"], "--param a=1.0"),
        (["analyze", "relu", "--param", "p"], "expected NAME=VALUE"),
        (["analyze", "relu", "--param", "p=2"], "no parameter 'p'"),
        (["analyze", "relu", "--law", "normall"], "normal"),
        (["analyze", "log(x)"], "not a finite real number near x"),
        (["analyze", "__import__('os').system('x')"], "only named functions"),
        (["derive", "sigmoid", "--law", "logistic"], "nothing to correct"),
        (["derive", "relu", "--step", "-1"], "step: got"),
        (["worst", "--low", "2"], "low < high"),
        (["search", "digitz"], "digits"),
        (["search", "--budget", "soon"], "expected a time such as"),
    ],
)
def test_a_wrong_request_gives_one_message_and_status_2(capsys, arguments, message):
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_probe_shows_every_site_of_a_model(capsys, tmp_path):
    page = tmp_path / "probe.html"
    status, out, _ = run(capsys, "probe", "timm:vit_tiny_patch16_224", "--html", str(page))
    assert status == 0
    assert "blocks.11.mlp.act" in out
    assert "random" in out or "normal images" in out
    assert "blocks.11.mlp.act" in page.read_text()


def test_probe_of_a_users_own_model(capsys, tmp_path, monkeypatch):
    (tmp_path / "mine_probed.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Linear(5, 40), nn.GELU(), nn.Linear(40, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "x.npy"
    np.save(data, np.random.default_rng(0).normal(size=(300, 5)))
    found = record(capsys, "probe", "mine_probed:net", "--data", str(data))
    (site,) = found["sites"]
    assert site["site"]["activation"] == "gelu"
    assert "300 inputs" in found["inputs"]
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["probe", "timm:no_such_model"], "expected module:object"),
        (["probe", "no.such.module:net"], "no module 'no.such.module' in the current folder"),
        (["probe", "torch.nn:Identiti"], "torch.nn has no 'Identiti'; did you mean Identity or init?"),
        (["probe", "torch.nn:"], "expected module:object, as in"),
        (["probe", "collections:OrderedDict"], "expected a torch.nn.Module"),
        (["probe", "torch.nn:Identity", "--data", "/no/such.npy"], "cannot be read as .npy"),
        (["probe", "torch.nn:Identity"], "does not describe its input"),
    ],
)
def test_a_model_that_cannot_be_probed(capsys, arguments, message):
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert message in err
