"""The learnable spline: against SciPy, against its formula, and its derivatives of every order on both routes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

import actsmith as acts
from actsmith.errors import ActsmithError
from actsmith.nn import SplineActivation
from actsmith.nn.piecewise import Grid, _deposit, _kernel, piecewise

ROUTES = ["compiled", "composite"]


FORWARD_MODE = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")


def function_of(act: SplineActivation) -> Callable[[Tensor, Tensor], Tensor]:
    def f(x: Tensor, values: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(act, {"values": values}, (x,))
        return result

    return f


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", ["relu", "gelu", "tanh"])
def test_it_is_the_natural_spline(name: str, route: str) -> None:
    act = SplineActivation(name).double()
    knots = np.linspace(-4, 4, 32)
    reference = CubicSpline(knots, act.values.detach().numpy(), bc_type="natural")
    x = np.linspace(-4, 4, 777)
    with acts.nn.backend(route):
        y = act(torch.from_numpy(x)).detach().numpy()
        far = act(torch.tensor([-9.0, 7.0], dtype=torch.float64)).detach().numpy()
    assert np.allclose(y, reference(x), rtol=1e-6, atol=1e-6)
    ends = [reference(-4) - 5 * reference(-4, 1), reference(4) + 3 * reference(4, 1)]
    assert np.allclose(far, ends, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh"])
def test_it_starts_near_its_base(name: str) -> None:
    x = torch.linspace(-4, 4, 2001)
    bound = {"relu": 0.045, "gelu": 0.0025, "tanh": 0.0025}[name]
    assert float((SplineActivation(name)(x).detach() - acts.get_activation(name)(x)).abs().max()) < bound


def test_its_formula() -> None:
    act = SplineActivation("silu", knots=9, reach=3)
    with torch.no_grad():
        act.values.add_(torch.randn(9))
    x = torch.linspace(-6, 6, 500)
    exact = act.formula(x.double().numpy())
    assert np.allclose(act(x).detach(), exact, atol=1e-5 * np.abs(exact).max())
    assert act.formula.smoothness == 2


@FORWARD_MODE
@pytest.mark.parametrize("route", ROUTES)
def test_derivatives(route: str) -> None:
    act = SplineActivation("gelu", knots=8, reach=2).double()
    x = (torch.randn(13, generator=torch.Generator().manual_seed(0)) * 2).double().requires_grad_()
    f = function_of(act)
    with acts.nn.backend(route):
        assert torch.autograd.gradcheck(f, (x, act.values))
        assert torch.autograd.gradgradcheck(f, (x, act.values))
        assert torch.autograd.gradcheck(f, (x, act.values), check_forward_ad=True, check_backward_ad=False)


def test_the_routes_agree_on_any_layout() -> None:
    act = SplineActivation("gelu")
    for x in (torch.randn(3, 5, 7, 9), torch.randn(40_000), torch.randn(0, 3), torch.randn(6, 8)[::2, ::3]):
        for given in (
            x,
            x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x,
            x.mT if x.ndim > 1 else x,
        ):
            results = []
            for route in ROUTES:
                leaf = given.detach().clone(memory_format=torch.preserve_format).requires_grad_()
                with acts.nn.backend(route):
                    y = act(leaf)
                    found = torch.autograd.grad(
                        torch.cos(torch.arange(y.numel()).view(y.shape)).mul(y).sum(), [leaf, act.values]
                    )
                results.append((y, *found))
            for ours, other in zip(*results, strict=True):
                assert ours.shape == other.shape
                assert torch.allclose(ours, other, rtol=1e-4, atol=1e-4)


def test_special_values_and_halves() -> None:
    act = SplineActivation("gelu")
    y = act(torch.tensor([float("nan"), 1e30, -1e30, 0.0]))
    assert torch.isnan(y[0])
    assert torch.isfinite(y[1:]).all()
    x = torch.linspace(-5, 5, 100)
    for dtype in (torch.float16, torch.bfloat16):
        assert act(x.to(dtype)).dtype is dtype
        assert torch.allclose(act(x.to(dtype)).float(), act(x.to(dtype).float()), rtol=1e-2, atol=1e-2)


def test_transforms_and_compile() -> None:
    act = SplineActivation("gelu", knots=8)
    x = torch.randn(4, 6)
    slopes = torch.func.vmap(torch.func.grad(lambda v: act(v).sum()))(x)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(act(leaf).sum(), leaf)
    assert torch.allclose(slopes, expected, atol=1e-6)
    compiled = torch.compile(act, backend="aot_eager", fullgraph=True)
    (found,) = torch.autograd.grad(compiled(leaf).sum(), leaf)
    assert torch.allclose(found, expected, atol=1e-6)


def test_the_sum_is_the_same_for_any_number_of_threads() -> None:
    act, x = SplineActivation("relu"), torch.randn(300_001)
    before, sums = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        sums.append(torch.autograd.grad(act(x).sum(), act.values)[0])
    torch.set_num_threads(before)
    assert torch.equal(*sums)


def test_deposit_is_the_transpose_of_gather() -> None:
    grid = Grid(-1.0, 0.25, 10)
    x, g = torch.randn(50).double(), torch.randn(50).double()
    c = torch.randn(10, 4).double()
    assert float(g @ piecewise(x, c, grid)) == pytest.approx(float((c * _deposit(x, g, grid)).sum()), rel=1e-12)


def test_errors() -> None:
    with pytest.raises(ActsmithError, match="4 to 4096 knots"):
        SplineActivation("relu", knots=3)
    with pytest.raises(ActsmithError, match="not finite everywhere"):
        SplineActivation("log(x)")
    with pytest.raises(ActsmithError, match="floating-point tensor"):
        SplineActivation()(torch.arange(3))


def test_autocast_rounds_nothing_but_the_result() -> None:
    act, x = SplineActivation("gelu"), torch.linspace(-6, 6, 4001)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(act(x), act(x.clone()).float(), atol=1e-6)
        inside = act(x)
    assert torch.allclose(inside, act(x), atol=1e-6)


@pytest.mark.parametrize("there", [torch.bfloat16, torch.float16, torch.float64])
def test_a_cast_and_back_rounds_the_values_alone(there: torch.dtype) -> None:
    act = SplineActivation("gelu").to(there).float()
    x = torch.linspace(-6, 6, 1001)
    assert torch.allclose(act(x).double(), torch.from_numpy(act.formula(x.double().numpy())), atol=2e-6)
    wide = act.double()(x.double())
    assert torch.allclose(wide, torch.from_numpy(act.formula(x.double().numpy())), atol=1e-12)


def test_made_on_meta_and_loaded() -> None:
    saved = SplineActivation("gelu")
    with torch.device("meta"):
        act = SplineActivation("relu")
    act.to_empty(device="cpu").load_state_dict(saved.state_dict())
    x = torch.linspace(-6, 6, 101)
    assert torch.equal(act(x), saved(x))


def test_made_in_inference_mode_first() -> None:
    with torch.inference_mode():
        SplineActivation("gelu", knots=17)
    act = SplineActivation("gelu", knots=17)
    act(torch.randn(5)).sum().backward()
    assert torch.isfinite(act.values.grad).all()


def test_another_device_takes_plain_torch() -> None:
    x = torch.empty(8, device="meta")
    assert _kernel(x, torch.empty(33, 4, device="meta")) is None
    assert _kernel(torch.randn(8), torch.randn(33, 4)) is not None
