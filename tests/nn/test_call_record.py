"""Calls of functions that a swap redirected, as plain data, and redirected again in a model of the same source."""

from __future__ import annotations

import functools
import importlib.util
import json
import sys

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F  # noqa: N812

from actsmith.errors import ActsmithError
from actsmith.nn import Activation
from actsmith.nn.swap_record import rebuild_, swap_record
from actsmith.surgery.replace import replace_

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


class Two(nn.Module):
    """The same call twice, one of a tensor's method, one in a nested function."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        def last(h):
            return F.silu(self.b(h))

        h = F.relu(self.a(x))
        h = F.relu(self.b(h))
        return self.a(last(self.a(h).tanh()))


def helper(h, scale=2.0):
    return torch.relu(h) * scale


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x):
        return self.a(F.gelu(self.a(x)))


def logged(function):
    @functools.wraps(function)
    def call(self, x):
        return function(self, x) + 0

    return call


class Helped(Base):
    """A helper, `super().forward`, a decorator, and an entry point beside forward."""

    @logged
    def forward(self, x):
        return self.a(helper(super().forward(x)))

    def encode(self, x):
        return F.silu(self.a(x))


class Listed(nn.Module):
    """Functions of torch's in a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x):
        for act in [F.relu, F.gelu]:
            x = self.a(act(x))
        return x


class Plain(nn.Module):
    """A module in a plain list, which no record can name."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.acts = nn.Linear(4, 4), [nn.ReLU()]

    def forward(self, x):
        return self.a(self.acts[0](self.a(x)))


def built(kind):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), kind())


def swapped(kind, to="crrelu"):
    model = built(kind)
    swaps = replace_(model, to, example=X)
    with torch.no_grad():
        for i, p in enumerate(swaps.parameters()):
            p.add_(0.1 * (i + 1))
    return model, swaps


@pytest.mark.parametrize(("kind", "count"), [(Two, 4), (Helped, 2), (Listed, 2)])
@pytest.mark.parametrize("to", ["crrelu", "sin(x)"])
def test_calls_are_redirected_again(kind, count, to):
    model, swaps = swapped(kind, to)
    assert len(swaps.changed) == count
    record = json.loads(json.dumps(swap_record(model)))
    other = built(kind)
    before = other(X)
    assert rebuild_(other, record) == count
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(X), model(X))
    assert not torch.equal(other(X), before)
    assert rebuild_(other, record) == 0
    assert swap_record(other) == record
    assert torch.equal(built(kind)(X), before)  # the user's class is as it was


def test_the_model_itself_and_a_root_of_another_class():
    model = Two()
    replace_(model, "crrelu", example=X)
    record = swap_record(model)
    other = Two()
    rebuild_(other, record)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(X), model(X))
    assert rebuild_(Base(), record, strict=False) == 0


def load(tmp_path, name, text):
    """A module of that source."""
    file = tmp_path / f"{name}.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(name, file)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SOURCE = """
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x):
        return self.a(F.relu(self.a(x)))
"""


def test_lines_may_move_but_calls_may_not_change(tmp_path):
    model = load(tmp_path, "one", SOURCE).Net()
    replace_(model, "crrelu", example=X)
    record = swap_record(model)
    moved = SOURCE.replace("class Net", '"""Another version."""\n\nclass Net')
    moved = load(
        tmp_path, "two", moved.replace("        return self.a(", "        x = x * 1.0\n        return self.a(")
    ).Net()
    rebuild_(moved, record)
    moved.load_state_dict(model.state_dict())
    assert torch.equal(moved(X), model(X))
    for name, new in (("three", "F.relu(x)"), ("four", "F.relu(self.a(x)) + F.relu(self.a(x))")):
        other = load(tmp_path, name, SOURCE.replace("F.relu(self.a(x))", new)).Net()
        state = set(other.state_dict())
        with pytest.raises(ActsmithError, match=r"forward calls F.relu\(self.a\(x\)\) [02] times, not 1.*replace_ as"):
            rebuild_(other, record)
        assert type(other) is sys.modules[name].Net
        assert set(other.state_dict()) == state


def test_what_has_no_record_warns_and_is_refused_where_it_is_loaded():
    model, _ = swapped(Plain)
    with pytest.warns(UserWarning, match="is called where the code of a Plain has no record .*no function"):
        record = swap_record(model)
    assert [row["path"] for row in record] == ["1.actsmith_relu_0"]
    with pytest.raises(ActsmithError, match=r"has no '1\.actsmith_relu_0'"):
        rebuild_(built(Plain), record)


def test_a_graph_has_no_record():
    model = fx.symbolic_trace(Base())
    replace_(model, "crrelu", example=X)
    with pytest.warns(UserWarning, match="actsmith_gelu_0 is called in a graph; it is not recorded"):
        swap_record(model)


@pytest.mark.parametrize(
    "change",
    [
        {"form": "exec"},
        {"children": ["a; import os"]},
        {"children": [3]},
        {"which": 7},
        {"which": -1},
        {"olds": ["os.system"]},
        {"olds": ["torch.no_such"]},
        {"text": "helper(x)"},
    ],
)
def test_a_record_that_was_written_by_hand_is_refused(change):
    record = swap_record(swapped(Listed)[0])
    record[0]["calls"][0]["edits"][0] |= change
    with pytest.raises(ActsmithError, match="swap record: the calls in Listed cannot be redirected"):
        rebuild_(built(Listed), record)


def test_only_activations_stand_where_calls_lead():
    model, _ = swapped(Two)
    rows = swap_record(model)
    assert [row["path"] for row in rows if "calls" in row] == ["1"]
    assert all(isinstance(model.get_submodule(row["path"]), Activation) for row in rows if "calls" not in row)
