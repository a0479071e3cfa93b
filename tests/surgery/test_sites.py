"""Finding activations: every form, recognised by its values, gates and squashes told apart."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from actsmith.formula.catalogue import CATALOGUE, get_activation
from actsmith.nn import Activation
from actsmith.nn.recognise import GRID, NOT_ONE, recognise, recognise_module
from actsmith.surgery.sites import sites

TORCH = [
    (nn.ReLU(), "relu"), (nn.LeakyReLU(0.2), "leaky_relu"), (nn.PReLU(), "prelu"), (nn.RReLU(), "leaky_relu"),
    (nn.ELU(), "elu"), (nn.ELU(0.5), "elu"), (nn.CELU(2.0), "celu"), (nn.SELU(), "selu"), (nn.GELU(), "gelu"),
    (nn.GELU("tanh"), "gelu_tanh"), (nn.SiLU(), "silu"), (nn.Mish(), "mish"), (nn.Hardswish(), "hardswish"),
    (nn.Hardtanh(-2, 1), "hardtanh"), (nn.ReLU6(), "relu6"), (nn.Softplus(), "softplus"), (nn.Softplus(2), "softplus"),
    (nn.Softsign(), "softsign"), (nn.Tanh(), "tanh"), (nn.Sigmoid(), "sigmoid"), (nn.Hardsigmoid(), "hardsigmoid"),
    (nn.Softshrink(0.3), "softshrink"), (nn.Hardshrink(), "hardshrink"), (nn.LogSigmoid(), "logsigmoid"),
    (nn.Threshold(0.0, -1.0), "threshold"), (nn.Tanhshrink(), "tanhshrink"), (nn.PReLU(3), "prelu"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), TORCH, ids=lambda v: v if isinstance(v, str) else repr(v))
def test_torch_modules_are_recognised_by_value(module: nn.Module, name: str | None) -> None:
    what = recognise_module(module)
    assert what is not None
    assert what.name == name
    if what.formula is not None:
        x = torch.tensor(GRID, dtype=torch.float32)
        torch.testing.assert_close(what.formula(x), module.eval()(x).detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in CATALOGUE if n not in NOT_ONE])
def test_the_catalogue_is_recognised(name: str) -> None:
    f = get_activation(name)
    what = recognise(lambda x: f(x.double()).float())
    assert what is not None
    assert what.name is not None
    assert what.formula is not None
    torch.testing.assert_close(torch.tensor(what.formula(GRID)), torch.tensor(f(GRID)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "function",
    [lambda x: 2 * x + 1, lambda x: x.softmax(-1), lambda x: x.cumsum(0), lambda x: x[:3], lambda x: x @ x, lambda: 0,
     lambda x: x.sum(), lambda x: x / 0],
)  # fmt: skip
def test_what_is_no_activation(function: object) -> None:
    assert recognise(function) is None  # type: ignore[arg-type]


def test_the_default_device_does_not_matter() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.GELU())
    with torch.device("meta"):
        assert [s.activation for s in sites(model)] == ["gelu"]
        assert recognise(functional.gelu) == recognise_module(nn.GELU())
    assert recognise_module(nn.PReLU(device="meta")) is None  # it has no values


def test_our_own_module_knows_its_formula() -> None:
    what = recognise_module(Activation("x*sigmoid(b*x)", params={"b": 3}))
    assert what is not None
    assert what.formula is not None
    assert what.formula.params["b"].value == 3
    per_channel = recognise_module(Activation("crrelu", "channel", 4))
    assert per_channel is not None
    assert (per_channel.name, per_channel.formula) == ("crrelu", None)


class Forms(nn.Module):
    """An activation in every form that there is."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Linear(4, 8)
        self.act = nn.GELU()
        self.stored = functional.silu
        self.partial = functools.partial(functional.leaky_relu, negative_slope=0.3)
        self.scale = torch.sqrt

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.lift(x))
        x = self.partial(self.stored(self.lift(x[:, :4])))
        x = functional.relu(x) + torch.relu(x - 1) + (x + 1).relu_()
        x = functional.hardtanh(x, -2.0, 2.0).clamp(min=0).clamp(min=-1)
        return torch.tanh(self.scale(x + 1))


def test_every_form() -> None:
    model = nn.Sequential(Forms())
    found = sites(model, torch.randn(3, 4))
    assert [(s.path, s.kind, s.activation, s.calls) for s in found] == [
        ("0.act", "module", "gelu", 1),
        ("0.stored", "attribute", "silu", 1),
        ("0.partial", "attribute", "leaky_relu", 1),
        ("0.relu:0", "function", "relu", 1),
        ("0.relu:1", "function", "relu", 1),
        ("0.relu:2", "function", "relu", 1),
        ("0.hardtanh:0", "function", "hardtanh", 1),
        ("0.clamp:0", "function", "relu", 1),
        ("0.tanh:0", "function", "tanh", 1),
    ]
    assert [s.depth for s in found] == list(range(9))
    assert [s.reason for s in found if not s.ordinary] == ["a squash: it feeds no linear map"]
    assert [s.path for s in sites(model)] == ["0.stored", "0.partial", "0.act"]
    assert model[0].stored is functional.silu
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class Gated(nn.Module):
    """A GLU, squeeze-and-excitation, a spatial gate, a layer scale, and a SiLU written out."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.glu, self.se, self.spatial, self.plain = nn.SiLU(), nn.Sigmoid(), nn.Sigmoid(), nn.Sigmoid()
        self.gamma = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.glu(self.a(x)) * self.b(x)
        x = x * self.se(x.mean((2, 3))).view(-1, 3, 1, 1)
        x = x * self.spatial(x.mean(1, keepdim=True))
        x = self.gamma * functional.relu(x)
        x = x * torch.sigmoid(x)
        return self.a(self.plain(x))


def test_gates_and_squashes() -> None:
    found = {s.path: (s.gates, s.squashes) for s in sites(Gated(), torch.randn(2, 3, 5, 5))}
    assert found == {
        "glu": (True, False),
        "se": (False, True),
        "spatial": (False, True),
        "relu:0": (False, False),
        "sigmoid:0": (True, False),
        "plain": (False, False),
    }


def test_shared_modules_have_one_site() -> None:
    act = nn.ReLU()
    model = nn.Sequential(nn.Linear(3, 3), act, nn.Linear(3, 3), act)
    (site,) = sites(model, torch.randn(2, 3))
    assert (site.path, site.aliases, site.calls) == ("1", ("3",), 2)


def test_units_are_where_the_layer_before_puts_them() -> None:
    conv = nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU())
    linear = nn.Sequential(nn.Linear(3, 5), nn.ReLU())
    (first,), (second,) = sites(conv, torch.randn(2, 3, 4, 4)), sites(linear, torch.randn(2, 4, 4, 3))
    assert (first.channel_dim, first.channels) == (1, 5)
    assert (second.channel_dim, second.channels) == (-1, 5)


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4), nn.RReLU(inplace=True)).train()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.random.get_rng_state()
    sites(model, torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
    assert model.training
    assert torch.equal(random, torch.random.get_rng_state())
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    with pytest.raises(RuntimeError):
        sites(model, torch.randn(3, 5))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_site_is_plain_data() -> None:
    (site,) = sites(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), torch.randn(2, 2))
    data = site.to_dict()
    assert data["activation"] == "relu"
    assert data["formula"]["formula"] == "relu(x)"
