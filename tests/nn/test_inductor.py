"""The route of other devices, on the CPU: a node through torch.compile against its plain torch twin."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from nn_support import learnable
from torch import Tensor
from torch.autograd import grad

import actsmith as acts
from actsmith.nn import Activation, backend
from actsmith.nn.backend import _state
from actsmith.nn.family import family

# Of torch's own: what its compiler meets when it is imported and first run.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors on the CPU take the route of other devices, and there is no other."""
    monkeypatch.setattr(_state, "inductor", True)
    with backend("compiled"):
        yield


def orders(act: torch.nn.Module, x: Tensor, order: int) -> list[Tensor]:
    """Values and gradients in x and the parameters, and of second order those of a scalar made of them."""
    leaves = [x.detach().requires_grad_(), *act.parameters()]
    y = act(leaves[0])
    cotangent = torch.cos(torch.arange(x.numel(), dtype=torch.float64)).reshape(x.shape).to(x.dtype)
    first = grad(y, leaves, cotangent, create_graph=order > 1)
    found = [y, *first]
    if order > 1:
        found += grad(sum((g.double().square().sum() for g in first), torch.zeros(())), leaves)
    return [t.detach() for t in found]


def assert_the_twins(act: torch.nn.Module, x: Tensor, order: int) -> None:
    ours = orders(act, x, order)
    with backend("composite"):
        theirs = orders(act, x, order)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == other.dtype
        assert mine.shape == other.shape
        scale = 1 + (float(other.abs().max()) if other.numel() else 0.0)
        eps = torch.finfo(x.dtype).eps
        assert torch.allclose(mine, other, rtol=4 * eps, atol=64 * eps * scale)


@pytest.mark.usefixtures("elsewhere")
def test_values_and_first_gradients() -> None:
    act = Activation("crrelu")
    assert_the_twins(act, torch.linspace(-4, 4, 1001), 1)
    (served,) = family(act.formula).value.fused.elsewhere.values()
    assert served is not None
    act(torch.ones(3)).add_(1)  # no view


@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("name", ["crrelu", "gelu", "mrepu", "sinlu"])
def test_both_orders(name: str) -> None:
    act = Activation(learnable(name))
    assert_the_twins(act, torch.linspace(-3, 3, 1001), 2)
    for shape in ((1,), (), (0, 3), (7, 11), (2, 3, 4, 5), (100_000,)):
        assert_the_twins(act, torch.randn(shape, generator=torch.Generator().manual_seed(0)), 2)


@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_dtypes(dtype: torch.dtype) -> None:
    act = Activation("crrelu")
    assert_the_twins(act, torch.linspace(-3, 3, 500).to(dtype), 1)
    assert_the_twins(act, torch.linspace(-3, 3, 500), 1)


@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
def test_layouts_and_channels() -> None:
    x = torch.randn(3, 6, 5, 7, generator=torch.Generator().manual_seed(0))
    act = Activation("crrelu", "channel", 6)
    for t in (x, x.to(memory_format=torch.channels_last), x[..., ::2], x[:1], x.transpose(2, 3)):
        assert_the_twins(act, t, 2)
        assert_the_twins(Activation("crrelu"), t, 1)
        assert act(t).stride() == torch.empty_like(t).stride()
    assert_the_twins(act, torch.randn(9, 6), 1)


@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
def test_thread_counts_and_first_use_from_threads() -> None:
    x, act = torch.randn(200_000, generator=torch.Generator().manual_seed(0)), Activation("mish")
    before, found = torch.get_num_threads(), []
    work = [threading.Thread(target=lambda: found.append(orders(act, x, 1))) for _ in range(4)]
    try:
        torch.set_num_threads(1)
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(orders(act, x, 1))
    finally:
        torch.set_num_threads(before)
    assert len(found) == 7
    for other in found[1:]:
        assert all(torch.allclose(a, b, rtol=1e-6, atol=1e-6) for a, b in zip(found[0], other, strict=True))


@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
def test_a_training_step_under_autocast_and_no_grad() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), Activation("crrelu"), torch.nn.Linear(16, 1))
    x = torch.randn(10, 8)
    with torch.autocast("cpu", torch.bfloat16):
        loss = net(x).square().mean()
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    with torch.no_grad():
        plain = net(x)
    with torch.inference_mode():
        assert torch.allclose(net(x.clone()), plain)


@pytest.mark.slow
def test_where_it_fails_the_twin_serves_with_one_warning(tmp_path: Path) -> None:
    code = """
        import warnings, torch
        from actsmith.nn import Activation
        from actsmith.nn.backend import _state
        _state.inductor = True
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            x = torch.linspace(-2, 2, 100, requires_grad=True)
            for name in ("crrelu", "mish"):
                y = Activation(name)(x)
                y.sum().backward()
        ours = [str(w.message) for w in caught if "is computed by plain torch" in str(w.message)]
        print(len(ours), *ours)
    """
    broken = {"CXX": "/bin/false", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **broken},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.startswith("1 activation crrelu on cpu is computed by plain torch"), done.stdout + done.stderr
    assert "torch.compile failed" in done.stdout


def test_a_device_without_storage_is_served_by_the_twin() -> None:
    code = """
        import warnings, torch
        import torch._lazy.ts_backend
        from actsmith.nn import CRReLU
        torch._lazy.ts_backend.init()
        x = torch.linspace(-2, 2, 100)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = []
            for device in ("lazy", "cpu"):
                act, leaf = CRReLU(0.3).to(device), x.clone().requires_grad_()
                y = act(leaf.to(device))
                y.sum().backward()
                found.append([t.detach().cpu() for t in (y, leaf.grad, act.eps.grad)])
        print(sum("is computed by plain torch" in str(w.message) for w in caught))
        print(all(torch.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in zip(*found)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.split() == ["1", "True"], done.stdout + done.stderr


def test_meta_tensors_are_left_alone() -> None:
    assert Activation("crrelu").to("meta")(torch.empty(7, device="meta")).shape == (7,)


def test_the_switch_is_off() -> None:
    assert not _state.inductor
    assert acts.nn.backend is backend


@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
def test_jets_are_written_where_they_belong() -> None:
    """The route of other devices for a jet, its gradient and the gradient of that."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 4), Activation("crrelu"), torch.nn.Linear(4, 1)).double()
    x = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def found() -> list[Tensor]:
        u = acts.nn.derivatives(model, x, [(2, 0)])
        return [u[2, 0], *grad(u[2, 0].square().sum(), [x, *model.parameters()])]

    ours = found()
    with backend("composite"):
        theirs = found()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, rtol=1e-10, atol=1e-12)
