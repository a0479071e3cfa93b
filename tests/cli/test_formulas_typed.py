"""Formulas as they come from a shell: a leading minus, parameters of one and of several, names that mean nothing."""

import io
import json
import os
import subprocess
import sys

import pytest

from actsmith.cli import main


def run(capsys, *arguments):
    status = main(list(arguments))
    out, err = capsys.readouterr()
    return status, out, err


def record(capsys, *arguments):
    status, out, _ = run(capsys, *arguments, "--json")
    assert status == 0
    return json.loads(out)


def test_a_leading_minus_is_part_of_the_formula(capsys):
    assert record(capsys, "analyze", "-softplus(-x)")["formula"] == "-softplus(-x)"
    assert record(capsys, "analyze", "-x")["formula"] == "-x"
    assert record(capsys, "analyze", "-a*x", "--param", "a=-1/2")["parameters"] == {"a": -0.5}
    assert record(capsys, "worst", "--low", "-2")["low"] == -2
    names = [row["formula"] for row in record(capsys, "rank", "-relu(-x)", "-x")["rows"]]
    assert sorted(names) == ["-relu(-x)", "-x"]


@pytest.mark.parametrize("text", ["1/2", "0.5", "5e-1", " 0.5 ", "sqrt(1/4)", "½"])
def test_a_parameter_is_a_number_as_one_writes_it(capsys, text):
    assert record(capsys, "analyze", "a x", "--param", f"a={text}")["parameters"] == {"a": 0.5}


def test_formulas_of_one_request_share_its_parameters(capsys):
    rows = record(capsys, "rank", "relu(x)", "x*a", "swish", "--param", "a=2", "--param", "beta=1.5")["rows"]
    assert {row["name"] for row in rows} == {"relu(x)", "a*x", "swish"}


def test_names_with_values_and_in_any_case(capsys):
    assert record(capsys, "analyze", "mrepu:3")["parameters"] == {"p": 3.0}
    assert record(capsys, "analyze", "LeakyReLU:0.1")["name"] == "leaky_relu"
    assert record(capsys, "analyze", "GELU")["name"] == "gelu"
    assert record(capsys, "analyze", "f(x) = x·Φ(x)")["formula"] == "x*normal_cdf(x)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["analyze", "relu", "--learn", "b"], "--learn: no parameter 'b'; expected one of: none"),
        (["analyze", "swish", "--learn", "betta"], "--learn: no parameter 'betta'; did you mean beta?"),
        (["rank", "relu", "swish", "--learn", "q"], "--learn: no parameter 'q'; expected one of: beta"),
        (["rank", "relu", "swish", "--param", "betta=1"], "--param: no parameter 'betta'; did you mean beta?"),
        (["compare", "digits", "relu", "gelu", "--learn", "b"], "--learn: no parameter 'b'"),
        (["search", "digits", "--learn", "b"], "--learn: no parameter 'b'"),
        (["search", "digits", "--start", "relu", "--param", "b=1"], "relu has no parameter 'b'"),
        (["analyze", "a*x", "--param", "a"], "--param: expected NAME=VALUE with a number, got 'a'"),
        (["analyze", "a*x", "--param", "a="], "--param: expected NAME=VALUE with a number, got 'a='"),
        (["analyze", "a*x", "--param", "a=x"], "--param a: expected a number such as 0.5 or 1/2, got 'x'"),
        (["analyze", "z*sigmoid(z)"], "write x*sigmoid(x)"),
        (["analyze", "mrepu:3,4"], "its parameters are p"),
        (["analyze", "relu", "--html", "a" * 300 + ".html"], "cannot write"),
        (["compare", "digits", "relu", "gelu", "--out", "a" * 300], "cannot use the run folder"),
    ],
)
def test_a_wrong_request_says_what_to_write(capsys, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["analyze", "relu", "--law"], ["probe", "torch.nn:Identity", "--data"]])
def test_an_empty_file_is_no_array(capsys, tmp_path, arguments):
    path = tmp_path / "empty.npy"
    path.touch()
    status, out, err = run(capsys, *arguments, str(path))
    assert (status, out) == (2, "")
    assert ".npy" in err


def test_a_terminal_without_unicode_is_no_reason_to_end():
    code = "from actsmith.cli import main; raise SystemExit(main())"
    run = subprocess.run(
        [sys.executable, "-c", code, "analyze", "π x", "--param", "λ=1"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert run.stderr.startswith("actsmith analyze: ")


def test_only_a_stream_without_unicode_is_changed(monkeypatch):
    utf, plain = (io.TextIOWrapper(io.BytesIO(), encoding=name) for name in ("utf-8", "ascii"))
    for stream, errors in ((utf, "strict"), (plain, "replace")):
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["list"]) == 0
        assert stream.errors == errors
