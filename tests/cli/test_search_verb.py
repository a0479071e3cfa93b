"""`actsmith search` and `actsmith compare`: what they ask of the library, and what they refuse."""

import json

import pytest

from actsmith.cli import main
from actsmith.search import sanity as suite
from actsmith.tasks.text import _read_tokens

SCRIPT = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(2, 4), nn.Linear(4, 1)

    def forward(self, x):
        return self.last(nn.functional.gelu(self.first(x)))

def model():
    return Net()

def train(net, trial):
    trial.rate(1.0)
    return {"error": net(torch.ones(8, 2)).square().mean().item()}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "verb_script.py").write_text(SCRIPT)
    return tmp_path


def test_compare_takes_the_start_of_a_network_that_calls_a_function(folder, capsys):
    line = ["compare", "verb_script:model", "verb_script:train", "gelu", "relu", "--metric", "error", "--lower"]
    assert main([*line, "--seeds", "2", "--out", "run"]) == 2
    assert "no activation is found in the modules" in capsys.readouterr().err
    assert main([*line, "--seeds", "2", "--out", "run", "--start", "gelu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in found["table"]["rows"]} == {"gelu", "relu"}


def test_a_text_is_found_from_another_folder_when_a_search_goes_on(folder, capsys, monkeypatch):
    (folder / "book.txt").write_text("It is a truth universally acknowledged. " * 200)
    line = ["search", "hf:gpt2", "--config", "n_layer=1,n_embd=16,n_head=2", "--train-file", "book.txt"]
    assert main([*line, "--out", "run", "--budget", "0.1s"]) == 0
    (folder / "else").mkdir()
    monkeypatch.chdir(folder / "else")
    assert main(["search", "--resume", str(folder / "run"), "--budget", "0.1s"]) == 0
    (folder / "book.txt").write_text("It was the best of times. " * 200)
    _read_tokens.cache_clear()  # as in a process of its own
    capsys.readouterr()
    assert main(["search", "--resume", str(folder / "run"), "--budget", "0.1s"]) == 2
    assert "another configuration (data: there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("verb_script:model verb_script:train", "(--metric)"),
        ("verb_script:model verb_script:trian --metric error", "did you mean train?"),
        ("digits --out run --resume run", "--resume: got task, --out beside it"),
        ("--resume nothing", "'nothing' holds no run to go on with"),
        ("digits --budget soon", "expected a time such as 90s"),
        ("digits --start geluu", "did you mean gelu"),
    ],
)
def test_wrong_requests_have_one_message_and_status_2(folder, capsys, line, message):
    assert main(["search", *line.split()]) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith("actsmith search: ")
    assert not err.startswith("actsmith search: search: ")
    assert message in err
    assert not (folder / "run").exists()


def test_a_preset_runs_cases_and_says_how_many_hold(tmp_path, monkeypatch, capsys):
    def fake(out, **asked):
        assert asked["only"] == ["digits", "heat"]
        held = {"digits": True, "heat": False}
        rows = [suite.Checked(name=n, task=n, start="relu", must="", held=held[n]) for n in asked["only"]]
        (tmp_path / "s").mkdir()
        (tmp_path / "s" / "sanity.md").write_text("| table |")
        return rows

    monkeypatch.setattr(suite, "sanity", fake)
    assert main(["search", "--preset", "sanity", "digits,heat", "--out", str(tmp_path / "s")]) == 1
    assert "1 of 2 hold" in capsys.readouterr().out


def test_a_metric_belongs_to_a_loop_of_your_own(capsys):
    assert main(["search", "digits", "--metric", "loss"]) == 2
    assert "TASK@SCORE" in capsys.readouterr().err
