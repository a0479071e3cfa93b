"""On a CUDA device: every formula against float64 and its plain twin, and what users do with the modules.

`make gpu` runs it. ACTSMITH_TEST_DEVICE=cpu runs the same on the CPU, where what is CUDA's own is left out: that shows
that the tests themselves are right.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import grad

import actsmith as acts
from actsmith.formula.catalogue import resolve
from actsmith.nn import Activation, KANLinear, SplineActivation, backend, derivatives, laplacian
from actsmith.tasks.named import find_task
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime
from actsmith.trials.runner import FitRunner, Place
from actsmith.trials.trial import Trial

DEVICE = torch.device(os.environ.get("ACTSMITH_TEST_DEVICE", "cuda"))
CUDA = DEVICE.type == "cuda"
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(CUDA and not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]
only_cuda = pytest.mark.skipif(not CUDA, reason="of CUDA's own")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
RANDOM = (
    "x*sigmoid(1.3*x) + 0.2*sin(2*x)", "asinh(softplus(x))*relu(x)", "tanh(x)*exp(-x**2/3)", "x*normal_cdf(x) - 0.1*x",
    "relu(x - 0.3)**2", "sech(x)*x + 0.1*x", "where(x, x, 0.3*expm1(x))", "atan(x)*erf(x)", "x*tanh(softplus(0.7*x))",
    "cos(x) + 0.5*x", "abs(x)*sigmoid(x)", "max(x, tanh(x))", "x/(1 + abs(x))", "softplus(x) - log(2)",
    "clip(x, -1, 2)*x", "x*exp(-x**2/2) + relu(x)", "sqrt(1 + x**2) + x", "sigmoid(x)*sigmoid(-x)",
    "sin(x)**2 + 0.3*x", "min(x, 1)*sigmoid(x)",
)  # fmt: skip
FORMULAS = [*acts.CATALOGUE, *RANDOM]
SOME = ("crrelu", "gelu", RANDOM[0])


def learning(text: str) -> acts.Formula:
    """With every parameter learnable."""
    f = acts.get_activation(text) if text in acts.CATALOGUE else acts.Formula(text)
    params = {n: acts.Param(p.value, learn=True, low=p.low, high=p.high) for n, p in f.params.items()}
    return acts.Formula(f.expr, params, f.name)


def points(f: acts.Formula, dtype: torch.dtype) -> Tensor:
    """Off the kinks, exact in every dtype."""
    x = torch.arange(-64, 65, dtype=torch.float64) / 16 + 1 / 64
    for kink in f.kinks:
        x = x[(x - kink).abs() > 0.02]
    return x.to(dtype)


def orders(act: nn.Module, x: Tensor) -> list[Tensor]:
    """The value, and gradients of first to third order in x and the parameters."""
    leaves = [x.detach().requires_grad_(), *act.parameters()]
    found, y = [], act(leaves[0])
    for order in range(3):
        weight = torch.cos(torch.arange(y.numel(), dtype=torch.float64) + order).to(y).reshape(y.shape)
        gradients = grad(y, leaves, weight, create_graph=True, allow_unused=True)
        found += [y, *(g for g in gradients if g is not None)]
        if gradients[0] is None or not gradients[0].requires_grad:
            break
        y = gradients[0]
    return [t.detach().double().cpu() for t in found]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("text", FORMULAS if CUDA else SOME)
def test_formulas_to_third_order(text: str, dtype: torch.dtype) -> None:
    """At most several times what plain torch is off by in this dtype, and a few units in the last place."""
    f = learning(text)
    x = points(f, dtype)
    act = Activation(f, device=DEVICE)
    with backend("compiled"):
        mine = orders(act, x.to(DEVICE))
    with backend("composite"):
        twin, true = orders(act, x.to(DEVICE)), orders(Activation(f).double(), x.double())
    eps = torch.finfo(dtype).eps
    for a, b, c in zip(mine, twin, true, strict=True):
        size = 1 + c.abs().max()
        assert ((a - c).abs() <= 8 * (b - c).abs().max() + 64 * eps * size).all()


@pytest.mark.parametrize("text", SOME)
@pytest.mark.parametrize("share", ["layer", "channel"])
def test_parameters_of_layers_and_channels_in_any_memory_order(text: str, share: Any) -> None:
    options = {"channels": 3} if share == "channel" else {}
    act = Activation(learning(text), share=share, **options)
    x = torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    true = orders(copy.deepcopy(act).double(), x.double())
    there = act.to(DEVICE)
    for way in (x.to(DEVICE), x.to(DEVICE).to(memory_format=torch.channels_last), x.to(DEVICE)[:, :, ::1, :].clone()):
        for a, c in zip(orders(there, way), true, strict=True):
            assert torch.allclose(a, c, rtol=1e-4, atol=1e-4 * (1 + float(c.abs().max())))


def network(width: int = 32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, width), Activation("crrelu"), nn.Linear(width, 4)).to(DEVICE)


def trained(model: nn.Module, step: Callable[[nn.Module, Tensor], Tensor]) -> list[float]:
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    x, losses = torch.randn(64, 8, generator=torch.Generator().manual_seed(1)).to(DEVICE), []
    for _ in range(5):
        optimiser.zero_grad()
        loss = step(model, x)
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(float(loss))
    return losses


def plain(model: nn.Module, x: Tensor) -> Tensor:
    return (model(x).float() - 1).square().mean()


def test_mixed_precision() -> None:
    def mixed(model: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast(DEVICE.type, torch.bfloat16):
            return plain(model, x)

    true, found = trained(network(), plain), trained(network(), mixed)
    assert found[-1] < found[0]
    assert found == pytest.approx(true, rel=0.05)


@only_cuda
def test_float16_with_a_scaler() -> None:
    model, scaler = network(), torch.amp.GradScaler("cuda")
    optimiser, x = torch.optim.SGD(model.parameters(), 0.1), torch.randn(64, 8, device=DEVICE)
    losses = []
    for _ in range(10):
        optimiser.zero_grad()
        with torch.autocast("cuda", torch.float16):
            loss = plain(model, x)
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
        losses.append(float(loss))
    assert losses[-1] < losses[0]


def test_compiled_models() -> None:
    true, model = trained(network(), plain), network()
    compiled = torch.compile(model, backend="inductor" if CUDA else "aot_eager")
    assert trained(compiled, plain) == pytest.approx(true, rel=1e-4)


@only_cuda
def test_cuda_graphs() -> None:
    model, x = network(), torch.randn(64, 8, device=DEVICE)
    trained(model, plain)  # kernels are made before anything is recorded
    true = model(x)
    graphed = torch.cuda.make_graphed_callables(model, (x.clone().requires_grad_(),))
    assert torch.allclose(graphed(x.clone().requires_grad_()), true, atol=1e-6)


@only_cuda
def test_another_stream() -> None:
    act, x = Activation("crrelu", device=DEVICE), torch.randn(1 << 22, device=DEVICE)
    true, stream = act(x), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        found = act(x)
    torch.cuda.current_stream().wait_stream(stream)
    assert torch.equal(found, true)


@only_cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
def test_a_second_device() -> None:
    x = torch.randn(1000)
    found = [Activation("crrelu", device=f"cuda:{i}")(x.to(f"cuda:{i}")).cpu() for i in (0, 1)]
    assert torch.equal(*found)


@pytest.mark.parametrize("name", ["tanh", "crrelu", "gelu"])
def test_jets(name: str) -> None:
    """Values and gradients against float64 on the CPU."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), Activation(name), nn.Linear(16, 16), Activation(name), nn.Linear(16, 1))
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))

    def found(m: nn.Module, z: Tensor) -> list[Tensor]:
        u = derivatives(m, z, [(3, 0), (1, 1)])
        lap = laplacian(m, z)[1]
        gradients = grad((u[3, 0] + u[1, 1] + lap).square().mean(), list(m.parameters()), allow_unused=True)
        results = [*u.values(), lap, *(g for g in gradients if g is not None)]
        return [t.detach().double().cpu() for t in results]

    true = found(copy.deepcopy(model).double(), x.double())
    for a, c in zip(found(model.to(DEVICE), x.to(DEVICE)), true, strict=True):
        assert torch.allclose(a, c, rtol=1e-3, atol=1e-3 * (1 + float(c.abs().max())))


@pytest.mark.parametrize("make", [lambda: SplineActivation("gelu"), lambda: KANLinear(8, 4)], ids=["spline", "KAN"])
def test_splines_and_kan_layers(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    module = make()
    x = torch.randn(32, 8, generator=torch.Generator().manual_seed(1))
    true, there = module(x), module.to(DEVICE)
    found = there(x.to(DEVICE))
    torch.autograd.backward(found.square().sum())
    assert torch.allclose(found.cpu(), true, atol=1e-4)
    assert all(torch.isfinite(p.grad).all() for p in there.parameters() if p.grad is not None)


def test_entropy_descent() -> None:
    model = network()
    descent = acts.nn.EntropyDescent(model, weight=1.0, every=1, samples=100)

    torch.autograd.backward(plain(model, torch.randn(128, 8, device=DEVICE)) * 0)
    descent.step()
    assert model[1].eps.grad.abs() > 0


def test_surgery_on_a_vision_transformer() -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=10, depth=2).to(DEVICE)
    images = torch.randn(2, 3, 224, 224, device=DEVICE)
    swaps = acts.replace_(model, "crrelu", example=images)
    assert len(swaps.changed) == 2
    torch.autograd.backward(model(images).square().mean())
    assert all(p.grad is not None and p.grad.is_cuda == CUDA for n, p in model.named_parameters() if n.endswith("eps"))


def test_a_trial_and_a_stack_of_trainings(tmp_path: Path) -> None:
    """Each alone, and all in one stack; memory is reported for each."""
    task = replace(find_task("digits"), recipe=Recipe(2, 64))
    runtime = Runtime.create("auto" if CUDA else "cpu")
    assert runtime.device.type == DEVICE.type
    for mode in ("alone", "own"):
        choice = {"mode": mode, "seconds": {mode: 1.0}, "threads": {mode: 1}, "reasons": {}}
        runner = FitRunner.opened(task, None, runtime, lambda name, measure, choice=choice: choice)
        trials = [Trial("digits", resolve("crrelu"), "tune", 3e-3, seed, context=runner.context) for seed in range(3)]
        outcomes = [o for group in runner.groups(trials) for o in runner.run(group, Place(tmp_path))]
        assert len(outcomes) == 3
        assert all(o.reason is None and o.peak_bytes > 0 for o in outcomes)
        assert all(0.3 < o.validation["accuracy"] <= 1 for o in outcomes)
