"""KAN layers: the definition, edge by edge, and exact derivatives."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.special import eval_hermitenorm
from torch import Tensor, nn

import actsmith as acts
from actsmith.errors import ActsmithError
from actsmith.nn import KANLinear
from actsmith.nn.kan import hermite_features


def filled(layer: KANLinear) -> KANLinear:
    with torch.no_grad():
        layer.weight.normal_(generator=torch.Generator().manual_seed(0))
    return layer


def test_the_features_are_hermite_functions() -> None:
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)[:, None]
    found = hermite_features(x, 12)
    for k in range(13):
        he = torch.from_numpy(eval_hermitenorm(k, math.sqrt(3) * x.numpy()))
        exact = 3**0.25 * he * torch.exp(-x.square() / 2) / math.sqrt(math.factorial(k))
        assert torch.allclose(found[:, k : k + 1], exact, rtol=1e-10, atol=1e-13)


def test_the_features_are_orthonormal_under_the_normal_law() -> None:
    x = torch.linspace(-12, 12, 2401, dtype=torch.float64)[:, None]
    q = hermite_features(x, 12)
    gram = q.T @ (q * torch.exp(-x.square() / 2)) * 0.01 / math.sqrt(2 * math.pi)
    assert torch.allclose(gram, torch.eye(13, dtype=torch.float64), atol=1e-12)


def test_the_layer_is_the_sum_of_its_edges() -> None:
    layer = filled(KANLinear(3, 2, "silu", order=4)).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    for o in range(2):
        by_formula = sum(layer.edge(o, i)(x[:, i]) for i in range(3))
        by_edges = layer.edge_outputs(x.T, torch.tensor([o, o, o]), torch.arange(3)).sum(0)
        assert torch.allclose(layer(x)[:, o], by_formula, rtol=1e-10)
        assert torch.allclose(layer(x)[:, o], by_edges, rtol=1e-10)


def test_an_edge_keeps_the_parameters_of_its_base() -> None:
    base = acts.Formula("w*x*sigmoid(eps1*x)", {"w": acts.Param(2.0), "eps1": acts.Param(0.5)}, "scaled")
    layer = filled(KANLinear(2, 1, base, order=2)).double()
    x = torch.randn(5, 2, dtype=torch.float64)
    assert torch.allclose(layer(x)[:, 0], layer.edge(0, 0)(x[:, 0]) + layer.edge(0, 1)(x[:, 1]), rtol=1e-10)


def test_it_starts_as_a_linear_layer_after_the_base() -> None:
    layer = KANLinear(4, 3, "silu")
    x = torch.randn(2, 5, 4)
    assert torch.allclose(layer(x), nn.functional.linear(nn.functional.silu(x), layer.weight[:, 0]), atol=1e-6)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
def test_derivatives() -> None:
    layer = filled(KANLinear(3, 2, "tanh", order=3)).double()
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)

    def f(x: Tensor, weight: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(layer, {"weight": weight}, (x,))
        return result

    assert torch.autograd.gradcheck(f, (x, layer.weight))
    assert torch.autograd.gradgradcheck(f, (x, layer.weight))

    def features(x: Tensor) -> Tensor:
        return hermite_features(x, 3)

    assert torch.autograd.gradcheck(features, x, check_forward_ad=True)


def test_far_inputs_and_low_precision() -> None:
    layer = filled(KANLinear(2, 2))
    x = torch.tensor([[1e20, -1e30], [60.0, -60.0]], requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(torch.randn(8, 2))
    assert low.dtype is torch.bfloat16
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    x = torch.randn(8, 2)
    assert torch.allclose(compiled(x), layer(x), atol=1e-6)


def test_it_learns_a_function_that_no_single_layer_has() -> None:
    """f(x, y) = sin(2x) + y^2, additive, so one layer of edges can hold it."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(512, 2, generator=generator) * 4 - 2
    y = torch.sin(2 * x[:, :1]) + x[:, 1:].square()
    layer = KANLinear(2, 1, "silu", order=7)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = (layer(x) - y).square().mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert closure().item() < 0.01 * float(y.var())


def test_errors() -> None:
    with pytest.raises(ActsmithError, match="Hermite family: order"):
        KANLinear(2, 2, order=0)
    with pytest.raises(ActsmithError, match="whole number"):
        KANLinear(2, 2, order=(0, 1, 3))
    with pytest.raises(ActsmithError, match=r"expected \(..., 3\)"):
        KANLinear(3, 2)(torch.randn(5, 4))
    assert isinstance(KANLinear(1, 1, acts.get_activation("crrelu")).base, acts.nn.Activation)
    assert [n for n, _ in KANLinear(1, 1, acts.get_activation("crrelu")).named_parameters()] == ["weight"]
