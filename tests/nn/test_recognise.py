"""One recogniser: what surgery finds, what `critical_init_` follows and what stands for a formula are the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.nn.activation import Activation
from actsmith.nn.as_formula import as_formula
from actsmith.nn.following import activations_that_follow
from actsmith.nn.recognise import formula_of_module, recognise_module
from actsmith.surgery.sites import sites


class Custom(nn.Module):
    """GELU's tanh form, as GPT-2 has it."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x.pow(3))))


class Other(nn.ReLU):
    """A subclass of torch's that computes something else."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.silu(input)


class Scaled(nn.Module):
    """Learned slopes, one for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([0.1, 0.2, 0.3, 0.4]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.slope * x)


def instance() -> nn.Module:
    act = nn.ReLU()
    act.forward = functional.mish  # type: ignore[method-assign]
    return act


ONE = [
    (nn.ReLU(), "relu"), (nn.ELU(0.5), "elu"), (nn.LeakyReLU(-0.2), "leaky_relu"), (nn.PReLU(), "prelu"),
    (nn.RReLU(0.1, 0.3), "leaky_relu"), (nn.Tanhshrink(), "tanhshrink"), (nn.Softplus(3.0), "softplus"),
    (nn.Threshold(0.0, -2.0), "threshold"), (nn.Hardtanh(-2.0, 0.5), "hardtanh"), (Custom(), "gelu_tanh"),
    (Other(), "silu"), (instance(), "mish"), (Activation("crrelu"), "crrelu"),
]  # fmt: skip


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize(("act", "name"), ONE, ids=lambda v: v if isinstance(v, str) else type(v).__name__)
def test_all_ways_agree(act: nn.Module, name: str, watched: bool) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.act, self.b = nn.Linear(4, 4), act, nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.act(self.a(x))
            return self.b(x) if not watched or x.sum() < 1e9 else x

    model, x = Model(), torch.randn(3, 4)
    what = recognise_module(act)
    assert what is not None
    assert what.name == name
    assert what.formula == formula_of_module(act) == as_formula(act)
    (site,) = sites(model, x)
    (declared,) = sites(model)
    assert (site.activation, site.formula) == (declared.activation, declared.formula) == (name, what.formula)
    (first, _), how = activations_that_follow(model, x)
    assert how == ("watched" if watched else "traced")
    assert first.formula == what.formula


def channels(act: nn.Module, name: str, *values: float) -> nn.Module:
    with torch.no_grad():
        getattr(act, name).copy_(torch.tensor(values))
    return act


@pytest.mark.parametrize(
    ("act", "name", "mean"),
    [
        (channels(nn.PReLU(4), "weight", 0.1, 0.2, 0.3, 0.6), "prelu", 0.3),
        (channels(Activation("crrelu", "channel", 4), "eps", 0.1, 0.2, 0.3, 0.6), "crrelu", 0.3),
    ],
)
def test_a_formula_for_each_channel(act: nn.Module, name: str, mean: float) -> None:
    """It has none of its own; what follows a layer is that of the means."""
    what = recognise_module(act)
    assert what is not None
    assert (what.name, what.formula) == (name, None)
    assert what.typical is not None
    assert [p.value for p in what.typical.params.values()] == [pytest.approx(mean)]
    model = nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 2))
    (site,) = sites(model, torch.randn(3, 4))
    assert (site.activation, site.formula) == (name, None)
    assert activations_that_follow(model)[0][0].formula == what.typical
    with pytest.raises(ActsmithError, match="not known"):
        as_formula(act)


def test_channels_of_an_unknown_class() -> None:
    """Their values are no function of one number, on any grid: an activation by what it does, without a name."""
    model = nn.Sequential(nn.Linear(4, 4), Scaled(), nn.Linear(4, 2))
    (site,) = sites(model, torch.randn(3, 4))
    assert (site.path, site.activation, site.formula) == ("1", None, None)
    assert formula_of_module(model[1]) is None


def test_what_is_none() -> None:
    for module in (nn.Linear(4, 4), nn.Dropout(), nn.LayerNorm(257), nn.Sequential(nn.ReLU()), nn.Identity()):
        assert formula_of_module(module) is None
    assert recognise_module(nn.GELU()) == recognise_module(nn.GELU("none").to("meta"))


def test_a_formula_written_out_in_a_watched_forward() -> None:
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            x = x * torch.sigmoid(1.5 * x)
            x = self.c(torch.sigmoid(self.b(x)) * x)
            return x if x.sum() < 1e9 else -x

    (a, b, c), how = activations_that_follow(Written(), torch.randn(3, 4))
    assert how == "watched"
    assert [f.formula and f.formula.text for f in (a, b, c)] == ["x*sigmoid(1.5*x)", "sigmoid(x)", None]
    assert [f.gate for f in (a, b, c)] == [True, True, False]
    assert [f.feeds for f in (a, b, c)] == [True, True, False]
