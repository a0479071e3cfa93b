"""Derivatives of the modules: defining equations over the whole catalogue, in x and in every parameter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nn_support import NAMES, learnable, smooth_points, tensor
from torch.autograd import grad, gradcheck, gradgradcheck

import actsmith as acts
from actsmith.nn.activation import Activation
from actsmith.nn.family import family

# torch's own, when it first meets a forward-mode dual number.
FORWARD_MODE = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")


def inputs(f: acts.Formula, count: int) -> tuple[torch.Tensor, ...]:
    values = (torch.tensor(p.value, dtype=torch.float64, requires_grad=True) for p in f.params.values())
    return tensor(smooth_points(f, count)), *values


@pytest.mark.parametrize("name", NAMES)
def test_value_is_the_formulas(name: str) -> None:
    f = acts.get_activation(name)
    x = np.linspace(-20, 20, 401)
    # Parameters are float32, so exact only up to their rounding.
    np.testing.assert_allclose(
        Activation(f)(torch.tensor(x)).detach().numpy(), f(x), rtol=1e-6, atol=1e-7, equal_nan=True
    )


@FORWARD_MODE
@pytest.mark.parametrize("name", NAMES)
def test_first_derivatives(name: str) -> None:
    f = learnable(name)
    assert gradcheck(
        lambda x, *theta: family(f)(x, theta), inputs(f, 7), check_forward_ad=True, check_batched_grad=True
    )


@FORWARD_MODE
@pytest.mark.parametrize("name", NAMES)
def test_second_derivatives(name: str) -> None:
    f = learnable(name)
    # The mixed derivatives are as large as 1e3 at the ends of MRePU's range; atol is for the quotient's rounding.
    assert gradgradcheck(lambda x, *theta: family(f)(x, theta), inputs(f, 4), check_fwd_over_rev=True, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_up_to_the_third_are_the_jet(name: str) -> None:
    f = acts.get_activation(name)
    points = smooth_points(f, 25)
    jet = f.jet(points, 3)
    x = tensor(points)
    y = Activation(f).double()(x)
    for k in (1, 2, 3):
        (y,) = grad(y.sum(), x, create_graph=True)
        np.testing.assert_allclose(y.detach().numpy(), jet[k], rtol=1e-5, atol=1e-6)


@FORWARD_MODE
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3), (2, 3, 7)])
@pytest.mark.parametrize("channel_dim", [1, -1])
def test_channel_parameters(shape: tuple[int, ...], channel_dim: int) -> None:
    channels = shape[channel_dim]
    act = Activation("crrelu", share="channel", channels=channels, channel_dim=channel_dim).double()
    eps = torch.linspace(-0.5, 0.5, channels, dtype=torch.float64, requires_grad=True)
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def call(x: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.func.functional_call(act, {"eps": eps}, (x,))
        return out

    y = call(x, eps)
    for c in range(channels):
        expected = acts.get_activation("crrelu", eps=eps[c].item())(x.select(channel_dim, c).detach().numpy())
        np.testing.assert_allclose(y.select(channel_dim, c).detach().numpy(), expected, rtol=1e-12)
    assert grad(y.sum(), eps)[0].shape == (channels,)
    small = tuple(slice(0, min(n, 2)) if i != channel_dim % len(shape) else slice(None) for i, n in enumerate(shape))
    assert gradcheck(call, (x[small].detach().requires_grad_(), eps), check_forward_ad=True)
    assert gradgradcheck(call, (x[small].detach().requires_grad_(), eps))


def test_no_gradient_where_none_is_asked() -> None:
    act = Activation("crrelu")
    x = torch.randn(5)
    act(x).sum().backward()
    assert act.eps.grad is not None
    assert x.grad is None
    act.requires_grad_(False)
    x.requires_grad_()
    (g,) = grad(act(x).sum(), x, create_graph=True)
    (h,) = grad(g.sum(), x)
    assert h.shape == x.shape


def test_backward_keeps_the_input_and_nothing_else() -> None:
    kept: list[torch.Tensor] = []

    def pack(t: torch.Tensor) -> torch.Tensor:
        kept.append(t)
        return t

    x = torch.randn(1000, requires_grad=True)
    act = Activation("crrelu")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = act(x)
    assert sorted(t.numel() for t in kept) == [1, 1000]
    assert {t.data_ptr() for t in kept} == {x.data_ptr(), act.eps.data_ptr()}
    y.sum().backward()
