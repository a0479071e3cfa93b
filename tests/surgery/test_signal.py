"""What carries a signal, and what does not, in networks of several kinds."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from surgery_models import tokens, transformers
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula
from actsmith.nn import Activation
from actsmith.nn.start import start_of
from actsmith.surgery.replace import replace_
from actsmith.surgery.signal import FAR, SAME, signal

SQUARE = Formula("relu(x)**2", name="square")
R = Formula("tanh(0.835*x + 0.404) - 0.299*x", name="R")
SHIFTED = Formula("0*x + 1 + 1e-9*tanh(x)", name="still")


class Block(nn.Module):
    def __init__(self, act: nn.Module, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.up, self.act, self.down = nn.Linear(width, 4 * width), act, nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norms[0](x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        out: Tensor = x + self.down(self.act(self.up(self.norms[1](x))))
        return out


def transformer(formula: FormulaLike, depth: int = 6, width: int = 32) -> nn.Module:
    torch.manual_seed(0)
    blocks = [Block(Activation(formula), width) for _ in range(depth)]
    return nn.Sequential(nn.Linear(8, width), *blocks, nn.LayerNorm(width), nn.Flatten(), nn.Linear(5 * width, 10))


def perceptron(formula: FormulaLike, depth: int, own_start: bool = False, width: int = 64) -> nn.Sequential:
    """With torch's initialisation, or with the activation's own start."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), Activation(formula)]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    if own_start:
        start = start_of(resolve(formula), depth)
        for module in model:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=math.sqrt(start.C_W / width))
                nn.init.normal_(module.bias, std=math.sqrt(start.C_b))
    return model


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("formula", ["gelu", "repu", SQUARE, R])
def test_a_normalised_transformer_carries_what_criticality_would_drop(formula: FormulaLike) -> None:
    found = signal(transformer(formula), inputs(16, 5, 8))
    assert found.carries, found.reason
    assert len(found.sites) == 6
    assert 0.5 < found.growth < 2
    assert 0.1 < found.deviation < 2


@pytest.mark.parametrize("own_start", [False, True])
@pytest.mark.parametrize("formula", ["relu", SQUARE, R])
def test_a_perceptron_of_six_layers_carries_it_too(formula: FormulaLike, own_start: bool) -> None:
    found = signal(perceptron(formula, 6, own_start), inputs(64, 64))
    assert found.carries, found.reason


@pytest.mark.parametrize("own_start", [False, True])
def test_a_plain_perceptron_of_twelve_layers_does_not_carry_repu(own_start: bool) -> None:
    found = signal(perceptron("repu", 12, own_start), inputs(64, 64))
    assert not found.carries
    assert signal(perceptron("relu", 12, own_start), inputs(64, 64)).carries


def test_the_reasons() -> None:
    same = signal(perceptron(SHIFTED, 2), inputs(64, 64))
    assert same.reason is not None
    assert same.reason.startswith("from activation 1 of 2 (1) on its output is the same for every example")
    assert same.sites[0].deviation < SAME
    endless = signal(perceptron("mrepu", 8), inputs(64, 64))
    assert endless.reason is not None
    assert "its output is not finite behind activation" in endless.reason
    scaled = perceptron("relu", 4)
    with torch.no_grad():
        scaled[2].weight.mul_(1e3 * FAR)
        scaled[2].bias.zero_()
    assert "explodes on the way from the last activation to" in (signal(scaled, inputs(64, 64)).reason or "")
    with torch.no_grad():
        scaled[2].weight.div_(1e6 * FAR**2)
        for layer in (scaled[4], scaled[6], scaled[8]):
            layer.bias.zero_()
    assert "vanishes on the way" in (signal(scaled, inputs(64, 64)).reason or "")


def test_a_readout_that_starts_at_zero_is_no_reason() -> None:
    model = perceptron("relu", 4)
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    found = signal(model, inputs(64, 64))
    assert found.carries
    assert found.deviation == 0
    assert {site.gradient for site in found.sites} == {0.0}


def test_numbers_are_what_they_are_called() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3), nn.Tanh())
    x = inputs(32, 4)
    found = signal(model, x, lambda net, batch: net(batch).square().sum())
    first = torch.relu(model[0](x)).detach().requires_grad_()
    last = torch.tanh(model[2](first))
    (gradient,) = torch.autograd.grad(last.square().sum(), first)
    site = found.sites[0]
    assert site.path == "1"
    assert site.rms == pytest.approx(first.double().square().mean().sqrt().item(), rel=1e-6)
    assert site.gradient == pytest.approx(gradient.square().mean().sqrt().item(), rel=1e-5)
    spread = first.double().var(0, correction=0).mean().sqrt().item()
    assert site.deviation == pytest.approx(spread / site.rms, rel=1e-6)
    assert found.growth == pytest.approx(last.square().mean().sqrt().item() / site.rms, rel=1e-5)
    assert found.to_dict()["carries"] is True


def functions() -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = torch.relu(layer(x))
            return x

    return Net()


def gpt() -> nn.Module:
    build = transformers(
        "GPT2LMHeadModel", "GPT2Config", tokens, vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=2
    )  # fmt: skip
    return build()[0]


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Conv2d(8, 8, 3),
        nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "batch", "count"),
    [
        (functions, inputs(16, 8), 3),
        (convolutional, inputs(8, 3, 8, 8), 2),
        (gpt, {"input_ids": tokens(), "labels": tokens()}, 2),
    ],
)
def test_every_form_of_site_and_nothing_is_left_behind(
    build: Callable[[], nn.Module], batch: object, count: int
) -> None:
    torch.manual_seed(0)
    model = build().train()
    example = batch if not isinstance(batch, dict) else {"input_ids": batch["input_ids"]}
    for swapped in (False, True):
        if swapped:
            replace_(model, R, example=example)
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
        state, modes = torch.get_rng_state(), [m.training for m in model.modules()]
        found = signal(model, batch)
        assert found.carries, found.reason
        assert len(found.sites) == count
        assert all(site.gradient for site in found.sites)
        assert torch.equal(torch.get_rng_state(), state)
        assert [m.training for m in model.modules()] == modes
        assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters() if p.grad is not None)
        assert signal(model, batch) == found


def test_what_has_no_activation_or_no_gradient_is_refused() -> None:
    with pytest.raises(ActsmithError, match="no activation of Linear runs"):
        signal(nn.Linear(4, 4), inputs(8, 4))
    frozen = perceptron("relu", 2).requires_grad_(False)
    with pytest.raises(ActsmithError, match="nothing that the model returns has a gradient"):
        signal(frozen, inputs(64, 64))
    with pytest.raises(ActsmithError, match="is the model frozen"):
        signal(frozen, inputs(64, 64), lambda net, batch: net(batch).sum())
