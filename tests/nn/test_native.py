"""Formulas that torch has a kernel for: their values are torch's, bit for bit; their derivatives stay Actsmith's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import actsmith as acts
from actsmith.nn.activation import Activation
from actsmith.nn.family import family
from actsmith.nn.native import NATIVE, native

X = torch.cat([torch.randn(4000, generator=torch.Generator().manual_seed(0)) * 4, torch.logspace(-30, 4, 200)])
X = torch.cat([X, -X, torch.tensor([0.0, -0.0])])
MODULES = {"relu": nn.ReLU(), "tanh": nn.Tanh(), "hardswish": nn.Hardswish()}


def layouts(dtype: torch.dtype) -> list[Tensor]:
    x = X.to(dtype)
    image = x[:360].reshape(2, 3, 6, 10)
    return [x, x[::3], x[:1].expand(5), x[:0], x[0], image.to(memory_format=torch.channels_last), image.transpose(1, 3)]


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")  # of what torch.func imports
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NATIVE)
def test_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    act, own = Activation(name), MODULES[name]
    for x in layouts(dtype):
        for route in ("auto", "composite"):
            with acts.nn.backend(route):
                assert torch.equal(act(x), own(x))
                assert torch.equal(act(x.clone().requires_grad_()), own(x))
    x = layouts(dtype)[0][:60].reshape(6, 10)
    assert torch.equal(torch.vmap(act)(x), own(x))
    assert torch.equal(torch.func.jvp(act, (x,), (x,))[0], own(x))


@pytest.mark.parametrize("name", NATIVE)
def test_bit_for_bit_in_a_graph(name: str) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(Activation(name), backend="eager", fullgraph=True)
    assert torch.equal(compiled(X), MODULES[name](X))


@pytest.mark.parametrize("name", NATIVE)
def test_right_to_rounding_where_the_formula_is_finite(name: str) -> None:
    exact = torch.from_numpy(acts.get_activation(name)(X.double().numpy()))
    error = (NATIVE[name](X).double() - exact).abs()
    assert (error <= 4 * torch.finfo(torch.float32).eps * exact.abs() + torch.finfo(torch.float32).tiny).all()


def test_derivatives_keep_their_tails() -> None:
    """torch's own derivative of tanh is 0 from x = 9 on."""
    x = torch.tensor([-20.0, -12.0, -1.0, 0.5, 10.0, 17.0], requires_grad=True)
    (first,) = torch.autograd.grad(Activation("tanh")(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    for found, order in ((first, 1), (second, 2)):
        exact = acts.get_activation("tanh").derivative(order)(x.detach().double().numpy())
        torch.testing.assert_close(found.detach().double(), torch.from_numpy(exact), rtol=2e-5, atol=0)


@pytest.mark.parametrize("name", NATIVE)
def test_the_same_wherever_an_element_stands(name: str) -> None:
    whole = NATIVE[name](X)
    for start, end, step in ((0, -1, 3), (1, 500, 7), (5, 8, 1), (17, 4000, 1)):
        assert torch.equal(NATIVE[name](X[start:end:step]), whole[start:end:step])
    assert torch.equal(torch.stack([NATIVE[name](v) for v in X[:300]]), whole[:300])


def test_a_formula_is_known_by_what_it_says() -> None:
    for text in ("tanh(x)", "relu(x)", "x*clip(x + 3, 0, 6)/6"):
        assert family(acts.Formula(text)).value.native is not None
    for text in ("tanh(2*x)", "2*tanh(x)", "tanh(x) + x"):
        assert family(acts.Formula(text)).value.native is None
    assert native(acts.get_activation("gelu").bound) is native(acts.get_activation("silu").bound) is None
    learned = acts.Formula("tanh(x) + a", {"a": acts.Param(0.0, learn=True)})
    assert family(learned).value.native is None
