"""torch.func, forward mode, torch.compile and torch.export."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nn_support import NAMES, learnable, smooth_points, tensor
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap

import actsmith as acts
from actsmith.nn.activation import Activation, CRReLU

# torch's own, when it first meets a forward-mode dual number.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")


@pytest.mark.parametrize("name", NAMES)
def test_functional_transforms_are_the_jet(name: str) -> None:
    f = acts.get_activation(name)
    points = smooth_points(f, 9)
    jet = f.jet(points, 2)
    act = Activation(f).double().requires_grad_(False)
    x = tensor(points, grad=False)
    close = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(vmap(act)(x), jet[0], **close)
    np.testing.assert_allclose(vmap(grad(act))(x), jet[1], **close)
    np.testing.assert_allclose(vmap(grad(grad(act)))(x), jet[2], **close)
    np.testing.assert_allclose(jvp(act, (x,), (2 * torch.ones_like(x),))[1], 2 * jet[1], **close)
    np.testing.assert_allclose(jacrev(act)(x), np.diag(jet[1]), **close)
    np.testing.assert_allclose(jacfwd(act)(x), np.diag(jet[1]), **close)
    np.testing.assert_allclose(hessian(lambda v: act(v).sum())(x), np.diag(jet[2]), **close)
    np.testing.assert_allclose(jacrev(jacfwd(lambda v: act(v).sum()))(x), np.diag(jet[2]), **close)


def test_per_sample_gradients_of_the_parameters() -> None:
    act = CRReLU(0.1).double()
    x = torch.randn(5, 3, dtype=torch.float64)

    def loss(params: dict[str, torch.Tensor], row: torch.Tensor) -> torch.Tensor:
        return functional_call(act, params, (row,)).square().sum()

    params = {"eps": act.eps.detach()}
    samples = vmap(grad(loss), in_dims=(None, 0))(params, x)["eps"]
    for row, sample in zip(x, samples, strict=True):
        (one,) = torch.autograd.grad(act(row).square().sum(), act.eps)
        assert sample.item() == pytest.approx(one.item(), rel=1e-12)
    ensemble = vmap(lambda e: functional_call(act, {"eps": e}, (x,)))(torch.linspace(0, 1, 4, dtype=torch.float64))
    assert ensemble.shape == (4, 5, 3)


def test_transforms_with_channel_parameters() -> None:
    act = Activation("crrelu", share="channel", channels=3).double()
    x = torch.randn(4, 3, dtype=torch.float64)
    table = jacrev(lambda e: functional_call(act, {"eps": e}, (x,)))(act.eps.detach())
    assert torch.allclose(table, jacfwd(lambda e: functional_call(act, {"eps": e}, (x,)))(act.eps.detach()))
    expected = x * torch.exp(-x.square() / 2)
    assert torch.allclose(table, torch.diag_embed(expected))


def run(act: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.detach().requires_grad_()
    act.zero_grad()
    y = act(x)
    y.square().sum().backward()
    assert x.grad is not None
    return [y.detach(), x.grad, *(p.grad for p in act.parameters() if p.grad is not None)]


def assert_compiles(f: acts.Formula, backend: str) -> None:
    torch._dynamo.reset()
    act = Activation(f)
    compiled = torch.compile(act, fullgraph=True, backend=backend)
    # Where a where-branch, a log or a power overflows if autograd goes through it.
    x = torch.cat([torch.linspace(-5, 5, 100), torch.tensor([-1e4, -100.0, 100.0, 0.0])])
    x = torch.cat([x, torch.tensor(f.kinks)])
    for expected, got in zip(run(act, x), run(compiled, x), strict=True):
        finite = torch.isfinite(expected)
        assert torch.isfinite(got[finite]).all()
        assert torch.allclose(got[finite], expected[finite], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["crrelu", "mrepu", "mish"])
def test_compile_has_no_graph_break(name: str) -> None:
    assert_compiles(learnable(name), "aot_eager")


def test_compile_of_a_model_has_no_graph_break() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv1d(3, 4, 1), Activation("crrelu", share="channel", channels=4), torch.nn.Flatten(), CRReLU()
    )
    compiled, x = torch.compile(model, fullgraph=True, backend="aot_eager"), torch.randn(2, 3, 5)
    for expected, got in zip(run(model, x), run(compiled, x), strict=True):
        assert torch.allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_compile_with_inductor() -> None:
    assert_compiles(acts.get_activation("crrelu"), "inductor")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_compile_of_the_catalogue(name: str) -> None:
    assert_compiles(learnable(name), "inductor")


def test_compile_of_halves() -> None:
    torch._dynamo.reset()
    act = CRReLU()
    compiled = torch.compile(act, fullgraph=True, backend="aot_eager")
    x = torch.linspace(-5, 5, 50, dtype=torch.bfloat16)
    for expected, got in zip(run(act, x), run(compiled, x), strict=True):
        assert got.dtype == expected.dtype
        assert torch.allclose(got, expected, rtol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_export(name: str) -> None:
    act = Activation(name)
    x = torch.linspace(-3, 3, 24).reshape(4, 6)
    program = torch.export.export(act, (x,), dynamic_shapes=({0: torch.export.Dim("n", min=2)},))
    assert all(
        n.op != "call_function" or "aten" in str(n.target) or "sym" in str(n.target) for n in program.graph.nodes
    )
    other = torch.linspace(-2, 4, 42).reshape(7, 6)
    with acts.nn.backend("composite"):
        assert torch.equal(program.module()(other).nan_to_num(), act(other).nan_to_num())
