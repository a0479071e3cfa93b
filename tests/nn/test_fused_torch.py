"""Compiled kernels inside the rest of torch: checkpointing, data loaders, several ranks, tracers, exporters."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from nn_support import NAMES
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

import actsmith as acts
from actsmith.nn import Activation, CRReLU, backend


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), CRReLU(0.3), nn.Linear(16, 4), Activation("gelu"))


def gradients(net: nn.Module, y: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(y.square().sum(), list(net.parameters())))


def test_activation_checkpointing() -> None:
    net, x = model(), torch.randn(5, 8)
    expected = gradients(net, net(x))
    for reentrant in (False, True):
        leaf = x.clone().requires_grad_()
        net.zero_grad()
        checkpoint(net, leaf, use_reentrant=reentrant).square().sum().backward()
        for p, e in zip(net.parameters(), expected, strict=True):
            assert p.grad is not None
            assert torch.equal(p.grad, e)


def test_saved_for_backward_is_once_the_input() -> None:
    x = torch.randn(1000, requires_grad=True)
    for name in NAMES:
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t):
            Activation(name)(x)
        assert sum(n for n in kept if n > 1) == 1000, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast(dtype: torch.dtype) -> None:
    net, x = model(), torch.randn(5, 8)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        y = net(x)
    assert y.dtype == dtype
    assert all(g.dtype == torch.float32 for g in gradients(net, y))


def test_batched_cotangents() -> None:
    act, x = CRReLU(0.3), torch.randn(6, requires_grad=True)
    y = act(x)
    batched = torch.autograd.grad(y, [x, act.eps], torch.eye(6), is_grads_batched=True)
    rows = [torch.autograd.grad(act(x)[i], [x, act.eps]) for i in range(6)]
    for b, r in zip(batched, zip(*rows, strict=True), strict=True):
        assert torch.allclose(b, torch.stack(r))


def test_tracers_see_plain_torch() -> None:
    act, x = CRReLU(0.3), torch.randn(6)
    graph = make_fx(act)(x)
    assert torch.allclose(graph(x), act(x))
    assert any("exp" in str(node.target) for node in graph.graph.nodes)
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        assert act(torch.empty(7)).shape == (7,)
    assert CRReLU().to("meta")(torch.empty(7, device="meta")).shape == (7,)


def test_inference_and_no_grad() -> None:
    act, x = CRReLU(0.3), torch.randn(50)
    expected = act(x).detach()
    with torch.no_grad():
        assert torch.equal(act(x), expected)
    with torch.inference_mode():
        assert torch.equal(act(x.clone()), expected)
    assert not act.requires_grad_(False)(x).requires_grad


def test_an_input_changed_before_backward_is_an_error() -> None:
    act, x = CRReLU(0.3), torch.randn(5, requires_grad=True)
    inner = x * 1
    y = act(inner)
    inner.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


class _Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self) -> None:
        self.act = CRReLU(0.3).requires_grad_(False)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.act(torch.full((50_000,), float(i)))


def test_in_forked_workers() -> None:
    CRReLU(0.3)(torch.zeros(50_000))
    loader = torch.utils.data.DataLoader(_Rows(), 2, num_workers=2, multiprocessing_context="fork", timeout=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork in a process with threads, from Python 3.12
        rows = torch.cat(list(loader))
    assert torch.allclose(rows[:, 0], CRReLU(0.3)(torch.arange(8.0)))


def test_two_ranks(tmp_path: Path) -> None:
    code = """
        import copy, os, sys, torch, torch.distributed as dist
        from torch import nn
        from actsmith.nn import CRReLU
        rank, store = int(sys.argv[1]), sys.argv[2]
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(8, 16), CRReLU(0.3), nn.Linear(16, 4))
        alone, both = copy.deepcopy(net), torch.randn(10, 8)
        parallel = nn.parallel.DistributedDataParallel(net)
        parallel(both[rank * 5:rank * 5 + 5]).square().mean().backward()
        alone(both).square().mean().backward()
        assert all(torch.allclose(p.grad, q.grad, atol=1e-6) for p, q in zip(net.parameters(), alone.parameters()))
        dist.barrier()
        print("same", flush=True)
        os._exit(0)  # PyTorch's teardown may abort a process whose work is done
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    ranks = [
        subprocess.Popen([*command, str(r), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True) for r in (0, 1)
    ]
    assert [r.communicate(timeout=200)[0].strip() for r in ranks] == ["same", "same"]


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == "crrelu" else pytest.mark.slow) for n in NAMES])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_onnx(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    act = Activation(name).requires_grad_(False)
    x = torch.linspace(-4, 4, 33)
    path = tmp_path / "act.onnx"
    torch.onnx.export(act, (x,), path, dynamo=True, verbose=False)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(got, act(x).numpy(), rtol=1e-4, atol=1e-5, equal_nan=True)


def test_both_routes_train_alike() -> None:
    losses = []
    for route in ("compiled", "composite"):
        with backend(route):
            net, x = model(), torch.linspace(-1, 1, 80).reshape(10, 8)
            optimiser = torch.optim.SGD(net.parameters(), 0.05)
            for _ in range(20):
                optimiser.zero_grad()
                loss = (net(x) - 1).square().mean()
                loss.backward()
                optimiser.step()
            losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert acts.nn.backend is backend


def test_models_of_different_formulas_compile_one_after_the_other() -> None:
    """Their constants differ where the code is the same; Dynamo must not make inputs of them."""
    torch._dynamo.reset()
    x = torch.randn(6, 4)
    for names in (["silu"], ["crrelu", "crrelu"], ["gelu", "mish"]):
        layers = [layer for name in names for layer in (nn.Linear(4, 4), Activation(name))]
        model = nn.Sequential(*layers)
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        assert torch.allclose(compiled(x), model(x), atol=1e-6)
