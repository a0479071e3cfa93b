"""The module as a member of a model: parameters, copies, files, text, errors."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from nn_support import NAMES
from torch import nn

import actsmith as acts
from actsmith.errors import ActsmithError, FormulaError
from actsmith.nn import Activation, CRReLU, MRePU, RePU


@pytest.mark.parametrize("name", NAMES)
def test_copies_and_files(name: str, tmp_path: Path) -> None:
    act = Activation(name)
    with torch.no_grad():
        for p in act.parameters():
            p.mul_(1.25)
    x = torch.linspace(-3, 3, 20)
    torch.save(act.state_dict(), tmp_path / "state.pt")
    loaded = Activation(name)
    loaded.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for other in (copy.deepcopy(act), pickle.loads(pickle.dumps(act)), loaded):
        assert torch.equal(other(x).nan_to_num(), act(x).nan_to_num())
        assert other.formula == act.formula
        assert all(a is not b for a, b in zip(act.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_state_is_the_learnable_parameters(name: str) -> None:
    act = Activation(name)
    assert list(act.state_dict()) == [n for n, p in acts.get_activation(name).params.items() if p.learn]
    assert all(p.shape == (1,) and p.dtype == torch.float32 for p in act.parameters())
    model = nn.Sequential(nn.Linear(2, 2), act)
    assert set(model.state_dict()) == {"0.weight", "0.bias", *(f"1.{n}" for n in act.state_dict())}


def test_text() -> None:
    act = CRReLU(0.05)
    assert act.formula.text in repr(act)
    assert "eps=0.05 (learned)" in repr(act)
    assert "p=3" in repr(MRePU(3))
    assert "share=channel, channels=4" in repr(Activation("crrelu", share="channel", channels=4))


def test_formula_reads_the_parameters_back() -> None:
    act = CRReLU(0.05)
    assert act.formula == acts.get_activation("crrelu", eps=0.05)
    with torch.no_grad():
        act.eps.fill_(-0.3)
    assert act.formula == acts.get_activation("crrelu", eps=-0.3)
    assert act.double().formula.params["eps"].value == pytest.approx(-0.3, abs=1e-7)
    assert Activation("relu").formula == acts.get_activation("relu")
    with pytest.raises(ActsmithError, match="4 channels have a formula each"):
        _ = Activation("crrelu", share="channel", channels=4).formula


def test_short_names() -> None:
    x = torch.tensor([-2.0, -0.5, 0.0, 2.0])
    assert torch.equal(RePU(3)(x), torch.relu(x) ** 3)
    assert torch.allclose(MRePU()(x), x * torch.relu(1 + x) ** 2)
    assert torch.allclose(CRReLU(0.5)(x), torch.relu(x) + 0.5 * x * torch.exp(-x.square() / 2))
    assert all(isinstance(m, nn.Module) for m in (RePU(), MRePU(), CRReLU()))
    assert acts.nn.CRReLU is CRReLU


def test_formula_text_with_parameters() -> None:
    act = Activation("x*sigmoid(b*x) + c", params={"b": acts.Param(1.5, learn=True), "c": 1.0})
    assert list(act.state_dict()) == ["b"]
    x = torch.randn(4)
    assert torch.allclose(act(x), x * torch.sigmoid(1.5 * x) + 1)


def test_values_are_taken_by_every_form_of_a_formula() -> None:
    given = acts.get_activation("crrelu")
    for formula in (given, "crrelu", "CRReLU", acts.Formula(given.expr, given.params)):
        act = Activation(formula, params={"eps": 0.5})
        assert act.eps.item() == 0.5
        assert act.formula.params["eps"] == acts.Param(0.5, learn=True)
    assert given.params["eps"].value == 0.01
    assert not list(Activation(given, params={"eps": acts.Param(0.5)}).parameters())
    assert Activation("formula*x", params={"formula": 2.0})(torch.ones(1)).item() == 2
    for formula in (given, "crrelu", "relu"):
        with pytest.raises(FormulaError, match=r"has no parameter 'epsilon'; it has: (eps|none)"):
            Activation(formula, params={"epsilon": 0.5})
    with pytest.raises(FormulaError, match="parameter epsilon does not occur"):
        Activation("x*tanh(x)", params={"epsilon": 0.5})


def test_a_range_holds_and_can_be_reentered() -> None:
    act = Activation("relu(x)**p", params={"p": acts.Param(1.5, learn=True, low=1.0, high=2.0)})
    x = torch.tensor([0.5, 2.0, 3.0])
    with torch.no_grad():
        act.p.fill_(5.0)
    assert torch.allclose(act(x), x**2)
    assert act.formula.params["p"].value == 2.0
    act(x).sum().backward()
    assert act.p.grad is not None
    assert act.p.grad.item() == pytest.approx((x**2 * x.log()).sum().item(), rel=1e-5)


def test_shared_by_the_model() -> None:
    first = Activation("crrelu", share="model")
    model = nn.Sequential(nn.Linear(3, 3), first, nn.Linear(3, 3), first.like())
    for m in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy.deepcopy(model).double()):
        assert m[1].eps is m[3].eps
        assert len(list(m.parameters())) == 5
        state = m.state_dict()
        assert {"1.eps", "3.eps"} <= set(state)
        state["1.eps"], state["3.eps"] = torch.tensor(0.7), torch.tensor(0.7)
        m.load_state_dict(state)
        m(torch.randn(2, 3, dtype=m[0].weight.dtype)).sum().backward()
        assert m[3].eps.item() == pytest.approx(0.7)
        assert m[1].eps.grad is not None
    assert CRReLU().like().eps is not CRReLU().eps
    act = CRReLU(0.3)
    assert act.like().eps is not act.eps
    assert act.like().formula == act.formula


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": "world"}, "expected 'layer', 'channel' or 'model'"),
        ({"share": "channel"}, "needs channels"),
        ({"channels": 3}, "goes with share='channel'"),
    ],
)
def test_wrong_requests(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ActsmithError, match=message):
        Activation("crrelu", **arguments)


def test_wrong_names() -> None:
    with pytest.raises(FormulaError, match="did you mean"):
        Activation("gelo")
    with pytest.raises(ActsmithError, match="cannot be named 'forward'"):
        Activation("forward*x", params={"forward": acts.Param(1.0, learn=True)})


@pytest.mark.parametrize("shape", [(5, 4), (3,), ()])
def test_wrong_channels(shape: tuple[int, ...]) -> None:
    with pytest.raises(ActsmithError, match="expected 3 channels in dimension 1"):
        Activation("crrelu", share="channel", channels=3)(torch.zeros(shape))


def test_on_meta_and_back() -> None:
    with torch.device("meta"):
        act = CRReLU(0.05)
    assert "eps=? (learned)" in repr(act)
    act.to_empty(device="cpu").reset_parameters()
    assert act.formula == acts.get_activation("crrelu", eps=0.05)
    channels = Activation("crrelu", share="channel", channels=3)
    with torch.no_grad():
        channels.eps.fill_(7.0)
    channels.reset_parameters()
    assert channels.eps.tolist() == pytest.approx([0.01] * 3)


@pytest.mark.parametrize("default", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_parameters_are_not_narrower_than_float32(default: torch.dtype) -> None:
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(default)
        dtype = CRReLU().eps.dtype
    finally:
        torch.set_default_dtype(before)
    assert dtype == (torch.float64 if default == torch.float64 else torch.float32)
