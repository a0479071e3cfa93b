"""The start of a network of coordinates: what its first layer sees on the domain, which frequencies are kept, and that
derivatives are of order one, by simulation."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import actsmith as acts
from actsmith.errors import ActsmithError
from actsmith.nn import Activation, critical_init_, start_of
from actsmith.nn.jets import derivatives

BOX = [(-1.0, 1.0), (0.0, 1.0)]
FAR = [(100.0, 102.0), (0.0, 1e-3)]
SEARCHED = "1.68*(x*tanh(softplus(0.73*x))) + 0.00131*(x*sigmoid(0.694*x)) + 0.676*x"
"""What a search found from ReLU (docs/search.md)."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(box: list[tuple[float, float]], count: int = 2000) -> Tensor:
    low, high = torch.tensor(box, dtype=torch.double).T
    return low + (high - low) * torch.rand(count, len(box), dtype=torch.double, generator=generator(9))


def mlp(make: object, width: int, depth: int, inputs: int = 2, *, bias: bool = True) -> nn.Sequential:
    fans = [inputs, *[width] * depth]
    hidden = [m for a, b in pairwise(fans) for m in (nn.Linear(a, b, bias=bias), make())]  # type: ignore[operator]
    return nn.Sequential(*hidden, nn.Linear(width, 1)).double()


@pytest.mark.parametrize("box", [BOX, FAR, [(0.0, 5.0)]], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sampled", [True, False])
def test_the_first_pre_activation_has_the_critical_second_moment_on_the_domain(box, bias, sampled):
    model = mlp(nn.GELU, 4000, 1, len(box), bias=bias)
    report = critical_init_(model, domain=points(box, 5000) if sampled else box, generator=generator())
    start = start_of("gelu", 1)
    expected = start.K0 if bias else start.K0 - start.C_b
    with torch.no_grad():
        assert model[0](points(box)).square().mean().item() == pytest.approx(expected, rel=0.1)
    assert report.square == pytest.approx(points(box).square().mean().item(), rel=0.05)
    assert report.input_scale == 1
    assert 4000 * len(box) * model[0].weight.square().mean().item() / 4000 == pytest.approx(report[0].C_W, rel=0.1)
    assert f"coordinates of mean square {report.square:.4g}" in str(report)


def test_every_coordinate_counts_alike_and_the_domain_makes_no_difference():
    """The same network of the coordinates about their middle and over their spread, bias and all."""
    x = points(BOX, 50)
    far = x * x.new_tensor([1.0, 1e-3]) + x.new_tensor([101.0, 0.0])
    values = []
    for box, at in ((BOX, x), (FAR, far)):
        model = mlp(nn.GELU, 64, 3)
        critical_init_(model, domain=box, generator=generator())
        with torch.no_grad():
            values.append(model(at))
    torch.testing.assert_close(values[0], values[1], rtol=1e-9, atol=1e-9)


def sizes(make: object, multis: list[tuple[int, int]], **options: float) -> dict[tuple[int, ...], Tensor]:
    """Mean squares of u and its derivatives in 20 nets of width 256 and depth 10, over the domain.

    Each coordinate counts in units of its deviation over the domain.
    """
    x, found = points(BOX, 32).float(), []
    for seed in range(20):
        model = mlp(make, 256, 10).float()
        critical_init_(model, domain=BOX, generator=generator(seed), **options)
        with torch.no_grad():
            u = derivatives(model, x, multis)
        found.append({(i, j): v.square().mean() / (3**i * 12**j) for (i, j), v in u.items()})
    return {multi: torch.stack([one[multi] for one in found]) for multi in found[0]}


@pytest.mark.parametrize("name", ["tanh", "gelu", "sin", "mrepu", SEARCHED])
def test_u_u_x_and_u_xx_are_of_order_one_at_depth_ten(name):
    """Between 0.1 and 10: in the median net, and in the mean over nets.

    The mean of MRePU (p = 2) is that of its few largest nets: it is unstable at zero. Of it the median says what holds.
    """
    for multi, size in sizes(lambda: Activation(name), [(2, 0), (0, 2)]).items():
        assert 0.1 < size.median() < 10, multi
        assert name == "mrepu" or 0.1 < size.mean() < 10, multi


def test_a_cubic_mrepu_asks_for_a_smaller_start():
    """p = 3: u_xx^2 is of order 100 from the K0 of its own; from 1e-4 u and u_x are of order one and u_xx is small."""
    own, smaller = (sizes(lambda: acts.nn.MRePU(3), [(2, 0)], **k0) for k0 in ({}, {"K0": 1e-4}))
    assert own[2, 0].median() > 20
    assert 0.1 < smaller[0, 0].median() < 10
    assert 0.1 < smaller[1, 0].median() < 10
    assert smaller[2, 0].median() < 10


class Sine(nn.Module):
    """As a user writes it."""

    def __init__(self, omega: float = 30.0) -> None:
        super().__init__()
        self.omega = omega

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.omega * x)


class Fourier(nn.Module):
    """A feature matrix in a buffer, or in a layer."""

    def __init__(self, learned: bool) -> None:
        super().__init__()
        self.matrix = nn.Linear(2, 32, bias=False) if learned else None
        self.register_buffer("B", 3 * torch.randn(2, 32, generator=generator()))

    def forward(self, x: Tensor) -> Tensor:
        z = 2 * math.pi * (x @ self.B if self.matrix is None else self.matrix(x))
        return torch.cat([torch.sin(z), torch.cos(z)], -1)


def siren(sine: object, width: int = 64) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, width), sine(), nn.Linear(width, width), sine(), nn.Linear(width, 1))  # type: ignore[operator]


@pytest.mark.parametrize("sine", [Sine, lambda: Activation("sin(30*x)")])
def test_the_first_layer_of_a_siren_keeps_its_frequencies(sine):
    torch.manual_seed(0)
    model = siren(sine)
    weight, bias = model[0].weight.clone(), model[0].bias.clone()
    report = critical_init_(model, domain=BOX, generator=generator())
    assert torch.equal(weight, model[0].weight)
    assert torch.equal(bias, model[0].bias)
    assert report[0].note == "left alone: its frequencies are the task's"
    assert report.first == "2"
    assert report.square == pytest.approx(0.5, abs=0.05)  # of a sine of many frequencies
    assert pytest.approx(1 / 900) == report.K0  # 30 z has the variance 1: no frequency is made that was not there
    with torch.no_grad():
        assert model(points(BOX).float()).square().mean().item() == pytest.approx(1, rel=0.7)
    for drawn in ({"keep": ()}, {"K0": 1 / 18}):
        report = critical_init_(model, domain=BOX, generator=generator(), **drawn)
        assert report[0].drawn
        assert drawn.get("K0", 1) == report.K0
    assert critical_init_(model)[0].drawn  # without a domain nobody said that the inputs are coordinates


def test_sin_of_x_itself_is_an_activation():
    report = critical_init_(siren(lambda: Activation("sin")), domain=BOX)
    assert report[0].drawn
    assert report.K0 == 1


@pytest.mark.parametrize("learned", [True, False])
def test_fourier_features_keep_their_scale(learned):
    features = Fourier(learned)
    model = nn.Sequential(features, nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 1))
    before = [t.clone() for t in (*features.parameters(), *features.buffers())]
    report = critical_init_(model, domain=BOX, generator=generator())
    assert all(torch.equal(a, b) for a, b in zip(before, (*features.parameters(), *features.buffers()), strict=True))
    assert report.first == "1"
    assert report.square == pytest.approx(0.5, abs=1e-6)  # sin^2 + cos^2 over two
    assert not report.scales
    with torch.no_grad():
        z = model[1](features(points(BOX).float()))
    assert z.square().mean().item() == pytest.approx(start_of("gelu", 1).K0, rel=0.15)


def test_what_is_kept_can_be_named():
    model = mlp(nn.Tanh, 64, 2).float()
    before = model[0].weight.clone()
    report = critical_init_(model, domain=BOX, keep=["0"])
    assert torch.equal(before, model[0].weight)
    assert report[0].note == "left alone: to be kept"
    assert report.first == "2"
    nested = nn.Sequential(mlp(nn.Tanh, 8, 2), nn.Linear(1, 4), nn.Tanh())
    assert [r.drawn for r in critical_init_(nested, keep="0")] == [False, False, False, True]
    with pytest.raises(ActsmithError, match=r"no layer at 'one'; there are \['0', '2', '4'\]"):
        critical_init_(model, keep=["one"])


def test_a_readout_right_behind_what_is_kept():
    model = nn.Sequential(nn.Linear(2, 512), Sine(), nn.Linear(512, 1))
    report = critical_init_(model, domain=BOX, generator=generator())
    assert pytest.approx(2, rel=0.1) == report[1].C_W  # 1/E[sin^2]


class Separate(nn.Module):
    """u(x, t), with two encoders beside the first layer (Wang, Teng, Perdikaris, 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.first = nn.Linear(2, 512), nn.Linear(2, 512), nn.Linear(2, 512)
        self.second, self.out = nn.Linear(512, 512), nn.Linear(512, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        xt = torch.cat([x, t], 1)
        a, b = torch.tanh(self.a(xt)), torch.tanh(self.b(xt))
        h = torch.tanh(self.first(xt))
        h = torch.tanh(self.second(h * a + (1 - h) * b))
        return self.out(h)


def test_separate_coordinates_and_several_first_layers():
    model = Separate().double()
    report = {r.path: r for r in critical_init_(model, domain=FAR, generator=generator())}
    for name in ("a", "b", "first"):
        assert "input scale" in report[name].note
        with torch.no_grad():
            z = model.get_submodule(name)(points(FAR))
        assert z.square().mean().item() == pytest.approx(1, rel=0.15)
    assert "input scale" not in report["second"].note


def test_inputs_that_the_model_normalises_itself_are_measured():
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(nn.Tanh, 64, 2).float()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(2 * (x - x.new_tensor([101.0, 5e-4])) / x.new_tensor([2.0, 1e-3]))

    report = critical_init_(Normalised(), domain=FAR)
    assert report.square == pytest.approx(1 / 3, rel=0.01)
    assert not report.scales


def test_the_scale_can_be_reported_instead():
    model = mlp(nn.Tanh, 64, 2)
    report = critical_init_(model, domain=BOX, inputs="report")
    assert report.square == pytest.approx(1 / 3)
    assert report.input_scale == pytest.approx(math.sqrt(3))
    assert report[0].C_W == 1


@pytest.mark.parametrize(("domain", "message"), [
    ([(0, 0)], "low < high"), ([(1, 0)], "low < high"), ([(0, math.inf)], "low < high"), ("box", "for each coordinate"),
    ([1, 2], "for each coordinate"), (torch.zeros(5), "points"), (torch.zeros(5, 2), "low < high"),
    ([(0, 1)] * 3, "does not take points"),
])  # fmt: skip
def test_wrong_domains(domain, message):
    model = mlp(nn.Tanh, 8, 2)
    before = model[0].weight.clone()
    with pytest.raises(ActsmithError, match=message):
        critical_init_(model, domain=domain)
    assert torch.equal(before, model[0].weight)
    with pytest.raises(ActsmithError, match="one or the other"):
        critical_init_(model, domain=BOX, C_W=1.0, C_b=0.0)
