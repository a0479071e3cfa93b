"""Training with the modules, on real data, and initialisation."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.nn import Activation, CRReLU
from actsmith.nn.init import critical_init_


@pytest.mark.parametrize("share", ["layer", "channel", "model"])
def test_a_network_learns_digits_and_its_activation(share: str) -> None:
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images[:600] / 16, dtype=torch.float32)
    y = torch.tensor(labels[:600])
    first = Activation("crrelu", share=share, channels=32 if share == "channel" else None)
    model = nn.Sequential(nn.Linear(64, 32), first, nn.Linear(32, 32), first.like(), nn.Linear(32, 10))
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert (first.eps.detach() - 0.01).abs().max() > 1e-3


def test_initialisation() -> None:
    g = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(400, 300), CRReLU(), nn.Linear(300, 10, bias=False))
    critical_init_(model, C_W=2.0, C_b=0.3, generator=g)
    assert model[0].weight.std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.02)
    assert model[0].bias.std().item() == pytest.approx(math.sqrt(0.3), rel=0.15)
    assert model[2].weight.std().item() == pytest.approx(math.sqrt(2 / 300), rel=0.05)
    conv = nn.Conv2d(16, 64, 5)
    critical_init_(conv, "gelu", 1.5, 0.0, g)
    assert conv.weight.std().item() == pytest.approx(math.sqrt(1.5 / 400), rel=0.02)
    assert conv.bias is not None
    assert not conv.bias.any()


def test_critical_initialisation_takes_the_most_usable_point() -> None:
    layer = nn.Linear(1000, 1000)
    critical_init_(layer, "gelu", generator=torch.Generator().manual_seed(0))
    # GELU: K* = (3 + sqrt 17)/2 with these, Roberts, Yaida, Hanin 2022, section 5.3.4
    assert layer.weight.var().item() * 1000 == pytest.approx(1.983058257437547, rel=0.01)
    assert layer.bias.var().item() == pytest.approx(0.1729223907560673, rel=0.15)


def test_initialisation_refuses() -> None:
    with pytest.raises(ActsmithError, match="sigmoid has no critical point"):
        critical_init_(nn.Linear(2, 2), "sigmoid")
    with pytest.raises(ActsmithError, match="expected variances"):
        critical_init_(nn.Linear(2, 2), C_W=-1.0, C_b=0.0)
    with pytest.raises(ActsmithError, match="expected both or neither"):
        critical_init_(nn.Linear(2, 2), "relu", 1.0)
