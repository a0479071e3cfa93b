"""A swap as plain data: what is where, put into another model of the same structure."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.nn import Activation, CRReLU, HermiteActivation
from actsmith.nn.swap_record import SWAPS, rebuild_, swap_record
from actsmith.surgery import swaps

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def net(*activations: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    parts = [part for f in activations for part in (nn.Linear(4, 4), f)]
    return nn.Sequential(*parts, nn.Linear(4, 2))


def through_json(model: nn.Module) -> list[dict]:
    return json.loads(json.dumps(swap_record(model)))


def learned(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1)
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: (CRReLU(0.05), Activation("gelu")),
        lambda: (HermiteActivation("relu", 3), Activation("x*sigmoid(b*x)", params={"b": 1.5})),
        lambda: (Activation("crrelu", "channel", 4, -1), Activation("tanh")),
    ],
)
def test_the_same_model_is_built_again(make):
    model = learned(net(*make()))
    other = net(nn.GELU(), nn.GELU())
    assert rebuild_(other, through_json(model)) == 2
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(X), model(X))
    assert rebuild_(other, through_json(model)) == 0  # all there already
    assert torch.equal(other(X), model(X))


def test_shared_modules_and_tied_parameters_stay_so():
    f, tied = CRReLU(), Activation("crrelu", "model")
    model = net(f, f, tied, tied.like())
    other = net(*[nn.ReLU() for _ in range(4)])
    rebuild_(other, through_json(model))
    assert other[1] is other[3]
    assert other[5] is not other[7]
    assert other[5].eps is other[7].eps
    assert len(list(other.parameters())) == len(list(model.parameters()))


def test_a_module_of_torchs_that_a_swap_put_in_is_its_formula():
    class Site:
        aliases = ()

    class Change:
        path, site = "1", Site()

    class Swaps:
        changed = (Change(),)

    model = net(nn.SiLU(), nn.ReLU())
    Change.module = model[1]
    vars(model)[SWAPS] = Swaps()
    (row,) = swap_record(model)
    assert row["path"] == "1"
    assert row["formula"]["name"] == "silu"
    model[1] = Change.module = nn.Bilinear(2, 2, 2)
    with pytest.warns(UserWarning, match="1 is a Bilinear, whose formula is not known"):
        assert swap_record(model) == []


def test_the_name_is_that_of_the_swaps():
    assert swaps.SWAPS == SWAPS


def test_a_function_in_an_attribute_becomes_the_activation():
    class Net(nn.Module):
        def __init__(self, act) -> None:
            super().__init__()
            self.act = act

        def forward(self, x):
            return self.act(x)

    other = Net(functional.gelu)
    rebuild_(other, swap_record(Net(CRReLU(0.3))))
    assert torch.equal(other(X), CRReLU(0.3)(X))
    assert list(other.state_dict()) == ["act.eps"]


def test_another_structure_is_refused_and_left_as_it_was():
    other = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    record = swap_record(net(CRReLU(), CRReLU()))
    with pytest.raises(ActsmithError, match="Sequential has no '3'; a call that has no record"):
        rebuild_(other, record)
    assert type(other[1]) is nn.ReLU
    assert rebuild_(other, record, strict=False) == 1


def test_it_is_as_wide_as_what_is_around_it():
    other = net(nn.ReLU()).double()
    rebuild_(other, swap_record(net(CRReLU())))
    assert other[1].eps.dtype == torch.float64
    assert not rebuild_(other.eval(), [])
    other = net(nn.ReLU()).eval()
    rebuild_(other, swap_record(net(CRReLU())))
    assert not other[1].training
