"""`actsmith export`: what is written can be used where it goes."""

import json
import re

import numpy as np
import pytest
import torch

import actsmith as acts
from actsmith.cli import main


def test_the_torch_file_computes_the_formula(tmp_path):
    file = tmp_path / "mine.py"
    line = ["export", "x*sigmoid(b*x)", "--param", "b=1.5", "--learn", "b", "--to", "torch", "--out", str(file)]
    assert main(line) == 0
    made: dict = {}
    exec(compile(file.read_text(), str(file), "exec"), made)  # noqa: S102  (our own file)
    x = torch.linspace(-3, 3, 31)
    assert torch.allclose(made["MyActivation"]()(x), x * torch.sigmoid(1.5 * x))
    assert [n for n, _ in made["MyActivation"]().named_parameters()] == ["b"]


def test_latex_can_be_read_again(capsys):
    assert main(["export", "gelu", "--to", "latex"]) == 0
    text = capsys.readouterr().out.strip()
    assert acts.Formula(text).expr == acts.get_activation("gelu").expr


@pytest.mark.parametrize("name", ["gelu", "repu", "relu", "identity", "logsigmoid", "x*sigmoid(1.5*x)"])
def test_bibtex_is_whole(name, capsys):
    assert main(["export", name, "--to", "bibtex", "--json"]) == 0
    text = json.loads(capsys.readouterr().out)["text"]
    entries = re.findall(r"^@(\w+)\{(\w+),$", text, re.MULTILINE)
    assert entries[-1] == ("software", "actsmith")
    assert len({key for _, key in entries}) == len(entries) == text.count("@")
    assert text.count("{") == text.count("}")
    assert f"version = {{{acts.__version__}}}" in text
    assert ("eprint = {1606.08415}" in text) == (name == "gelu")
    assert ("{2408.02697}" in text) == (name == "repu")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_onnx_file_runs_at_any_size(tmp_path, capsys):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    file = tmp_path / "f.onnx"
    assert main(["export", "x*sigmoid(b*x)", "--param", "b=1.5", "--to", "onnx", "--out", str(file)]) == 0
    assert capsys.readouterr().out == ""
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    x = np.linspace(-4, 4, 26, dtype=np.float32).reshape(2, 13)
    (y,) = session.run(["y"], {"x": x})
    np.testing.assert_allclose(y, x / (1 + np.exp(-1.5 * x)), rtol=1e-5, atol=1e-6)


def test_what_cannot_be_written_is_said(tmp_path, capsys):
    assert main(["export", "gelu", "--to", "onnx"]) == 2
    assert "--out gelu.onnx" in capsys.readouterr().err
    assert main(["export", "gelu", "--to", "latex", "--out", str(tmp_path / "no" / "file")]) == 2
    assert "cannot write" in capsys.readouterr().err
