"""The Hermite family: its base, its terms, its fused kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nn_support import NAMES
from scipy.special import eval_hermitenorm

import actsmith as acts
from actsmith.errors import ActsmithError
from actsmith.nn import Activation, HermiteActivation
from actsmith.nn.hermite import degrees, hermite_formula

X = torch.cat([torch.linspace(-6, 6, 501), torch.tensor([0.0, -1e4, 1e4, 1e9, -1e9])])


@pytest.mark.parametrize("name", NAMES)
def test_it_starts_at_its_base(name: str) -> None:
    """Bit for bit in plain torch, where both compute the same operations; hardswish has torch's own there."""
    with torch.no_grad(), acts.nn.backend("composite"):
        found, base = HermiteActivation(name, order=4)(X).nan_to_num(), Activation(name)(X).nan_to_num()
        torch.testing.assert_close(found, base, rtol=2e-7 if name == "hardswish" else 0.0, atol=0.0)


@pytest.mark.parametrize("name", ["relu", "gelu", "silu", "tanh"])
def test_the_kernel_starts_at_its_base(name: str) -> None:
    """Within one rounding: the compiler may order the operations otherwise."""
    with torch.no_grad():
        base, ours = Activation(name)(X), HermiteActivation(name, order=4)(X)
    assert bool(((ours - base).abs() <= torch.finfo(torch.float32).eps * base.abs()).all())


def test_terms_are_hermite_functions() -> None:
    x = np.linspace(-7, 7, 113)
    for k in range(13):
        f = hermite_formula("identity", (k,)).at(**{f"eps{k}": 0.7})
        expected = x + 0.7 * eval_hermitenorm(k, x) * np.exp(-(x**2) / 2)
        assert np.allclose(f(x), expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())


def test_crrelu_is_order_one_on_relu() -> None:
    act = HermiteActivation("relu", order=1)
    assert list(act.state_dict()) == ["eps1"]
    with torch.no_grad():
        act.eps1.fill_(0.05)
    x = torch.randn(1000, dtype=torch.float64)
    assert torch.allclose(act.double()(x), acts.nn.CRReLU(0.05).double()(x), rtol=1e-8, atol=1e-8)


def test_gradients() -> None:
    act = HermiteActivation("gelu", order=(0, 1, 3)).double()
    with torch.no_grad():
        for i, p in enumerate(act.parameters()):
            p.fill_(0.1 * (i + 1))
    x = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    names, values = zip(*act.named_parameters(), strict=True)

    def f(x: torch.Tensor, *eps: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.func.functional_call(act, dict(zip(names, eps, strict=True)), (x,))
        return result

    assert torch.autograd.gradcheck(f, (x, *values))
    assert torch.autograd.gradgradcheck(f, (x, *values))


def test_sharing() -> None:
    act = HermiteActivation("relu", 2, share="channel", channels=3)
    assert {n: tuple(p.shape) for n, p in act.named_parameters()} == {"eps1": (3,), "eps2": (3,)}
    shared = HermiteActivation("relu", 2, share="model")
    assert shared.like().eps1 is shared.eps1


@pytest.mark.parametrize("order", [0, 13, (), (1, 1), (-1,), (2, 13)])
def test_degrees_that_are_none(order: int | tuple[int, ...]) -> None:
    with pytest.raises(ActsmithError, match="expected a number from 1 to 12"):
        degrees(order)


def test_a_name_that_is_taken() -> None:
    base = acts.Formula("relu(x) + eps1*x", {"eps1": 0.1})
    with pytest.raises(ActsmithError, match="has a parameter 'eps1' already"):
        HermiteActivation(base, 2)
