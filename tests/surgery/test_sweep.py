"""The sweep over real models: it finds what is wrong, drops nothing, goes on where it stopped; and what it gave."""

from __future__ import annotations

import os
import random
import re
import time

import numpy as np
import pytest
import sweep
import torch
from sweep_models import PACKAGES
from torch import nn
from torch.nn.functional import relu_

X = torch.linspace(-2, 2, 8).reshape(2, 4)
LEAST = {"torchvision": 26, "timm": 126, "transformers": 80}
"""Models of each library that are swapped and equal, at least."""


class Net(nn.Module):
    """An ordinary activation, a gate, one that only training has, and one of which no formula is known."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.act, self.head = nn.GELU(), nn.ReLU()
        self.strange = Strange()

    def forward(self, x):
        h = self.act(self.first(x)) * torch.sigmoid(self.gate(x))
        h = self.strange(self.last.weight.new_ones(4, 4) @ h.T).T
        return (self.last(h), self.last(self.head(h))) if self.training else self.last(h)


class Masked(nn.Module):
    """Training draws from two more generators, as speech models do."""

    def __init__(self) -> None:
        super().__init__()
        self.lin, self.act = nn.Linear(4, 4), nn.GELU()

    def forward(self, x):
        h = self.act(self.lin(x))
        return self.lin(h * np.random.rand() * random.random() if self.training else h)  # noqa: NPY002


def test_a_model_that_draws_from_every_generator_is_equal():
    assert sweep.row_of(lambda: (Masked(), X))["status"] == "equal"


class Lost(nn.Module):
    """Its outputs are what float32 rounds off."""

    def __init__(self) -> None:
        super().__init__()
        self.lin, self.act, self.last = nn.Linear(4, 200), nn.SiLU(), nn.Linear(200, 200)
        nn.init.eye_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x):
        h = self.last(self.act(self.lin(x)))
        return h - h.detach().double().round(decimals=6).to(h.dtype)


def test_what_float32_loses_is_compared_in_float64(monkeypatch):
    row = sweep.row_of(lambda: (Lost(), X))
    assert row["status"] == "equal"
    assert row["difference"]["eval"] > sweep.TOLERANCE
    monkeypatch.setattr(sweep, "_own", lambda s: "x*sigmoid(1.0001*x)")
    assert sweep.row_of(lambda: (Lost(), X))["status"] == "wrong"


class Strange(nn.Module):
    def forward(self, x):
        return x * torch.cos(3.3 * x) + torch.atan(x)


def net():
    return Net(), X


def test_a_row_says_what_was_found_swapped_and_left():
    row = sweep.row_of(net)
    assert row["status"] == "equal"
    assert set(row["difference"]) == {"eval", "train"}
    assert (row["found"], row["swapped"], row["by_default"]) == (4, 3, 3)
    assert row["left"] == {"no formula is known": 1}
    assert sum(n for why, n in row["asked_for"].items() if why.startswith("a gate")) == 1


@pytest.mark.parametrize(("of", "mode"), [("gelu", "eval"), ("relu", "train")])
def test_another_formula_is_seen(of, mode, monkeypatch):
    monkeypatch.setattr(sweep, "_own", lambda s: "x + sin(x)/50" if s.activation == of else s.formula)
    row = sweep.row_of(net)
    assert row["status"] == "wrong"
    assert f"in {mode} mode" in row["reason"]
    assert (row["difference"]["eval"] > sweep.TOLERANCE) == (of == "gelu")


def failing():
    raise KeyError("no such field")


class OnlyEval(nn.Sequential):
    def forward(self, x):
        if self.training:
            raise ValueError("targets should not be none")
        return super().forward(x)


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)

    def forward(self, x):
        h = self.lin(x)
        relu_(h)
        return self.lin(h)


def hanging():
    time.sleep(60)


def dying():
    os._exit(9)


ROWS = [
    (failing, "not built", "KeyError: 'no such field'"),
    (lambda: (OnlyEval(nn.Linear(4, 4), nn.ReLU()), X), "refused", "fails in training mode: ValueError: targets"),
    (lambda: (InPlace(), X), "refused", "changing its input in place"),
    (lambda: (nn.Linear(4, 2), X), "no activation", "holds no activation"),
    (hanging, "not finished", "no answer within 2 s"),
    (dying, "not finished", "ended with status 9"),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork beside threads
def test_nothing_is_dropped_and_it_goes_on_where_it_stopped(tmp_path):
    names = [("own", f"model {i}", build) for i, (build, _, _) in enumerate(ROWS)]
    file = tmp_path / "sweep.jsonl"
    assert len(sweep.run(names[:4], file)) == 4
    with file.open("a") as out:
        out.write('{"package": "own", "mod')  # killed here
    rows = sweep.run(names, file, seconds=2)
    assert sweep.read(file) == rows
    for row, (_, status, reason) in zip(rows, ROWS, strict=True):
        assert row["status"] == status, row
        assert reason in row["reason"]
    text = sweep.table(rows)
    assert re.search(r"^\| own \| 6 \| 5 \| 0 \| 2 \| 2 \| 1 \| 1 \|", text, re.MULTILINE)
    assert text.count("| own model") == 5  # all that is wrong, refused or not built


def test_the_table_in_the_docs_adds_up_and_holds_nothing_wrong():
    page = sweep.PAGE.read_text(encoding="utf-8").split("<!-- sweep -->")[1].split("<!-- /sweep -->")[0]
    head, _, *rows = page.strip().splitlines()[:5]
    columns = [cell.strip() for cell in head.strip("|").split("|")]
    assert len(rows) == len(LEAST)
    for row in rows:
        values = dict(zip(columns, (cell.strip().replace(",", "") for cell in row.strip("|").split("|")), strict=True))
        assert values["wrong"] == "0"
        states = ("equal", "wrong", "refused", "without activations", "not built or run")
        assert int(values["models"]) == sum(int(values[state]) for state in states)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("package", PACKAGES)
def test_sweep(package, tmp_path):
    pytest.importorskip(package)
    rows = sweep.run(sweep.everything([package]), tmp_path / "sweep.jsonl")
    assert not [row for row in rows if row["status"] in ("wrong", "not finished")]
    assert sum(row["status"] == "equal" for row in rows) >= LEAST[package]
