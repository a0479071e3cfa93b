"""Compiled kernels against their plain torch twins: the whole catalogue and random formulas, every layout and dtype."""

from __future__ import annotations

import pytest
import torch
from nn_support import NAMES, learnable, random_formula
from torch import Tensor

import actsmith as acts
from actsmith.errors import FormulaError
from actsmith.nn import Activation, backend
from actsmith.nn.emit import HUGE_FROM
from actsmith.nn.family import family

ODD = 1021


def formulas() -> list[acts.Formula]:
    return [*(learnable(name) for name in NAMES), *(random_formula(seed) for seed in range(50))]


def derivatives(f: acts.Formula, x: Tensor, order: int = 2) -> list[Tensor]:
    """Values, gradients in x and the parameters, and those of a scalar made of the gradients."""
    x = x.detach().clone().requires_grad_()
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    theta = [torch.tensor(p.value, dtype=wide, requires_grad=True) for p in f.params.values() if p.learn]
    y = family(f)(x, theta)
    c = torch.cos(torch.arange(x.numel(), dtype=torch.float64)).reshape(x.shape).to(x.dtype)
    first = torch.autograd.grad(y, [x, *theta], c, create_graph=True)
    found = [y, *first]
    if order > 1:
        scalar = sum((g.double() * torch.cos(g.detach().double())).sum() for g in first)
        if isinstance(scalar, Tensor) and scalar.requires_grad:
            found += torch.autograd.grad(scalar, [x, *theta])
    return [t.detach() for t in found]


def both(f: acts.Formula, x: Tensor, order: int = 2) -> list[tuple[Tensor, Tensor]]:
    with backend("compiled"):
        ours = derivatives(f, x, order)
    with backend("composite"):
        return list(zip(ours, derivatives(f, x, order), strict=True))


def points(f: acts.Formula, dtype: torch.dtype) -> Tensor:
    x = torch.linspace(-5, 5, ODD, dtype=torch.float64)
    for kink in f.kinks:
        x = torch.where((x - kink).abs() < 0.02, kink + 0.03, x)
    return x[torch.isfinite(torch.as_tensor(f(x.numpy())))].to(dtype)


@pytest.mark.parametrize("f", formulas(), ids=lambda f: f.name[:24])
def test_a_kernel_is_its_twin_to_second_order(f: acts.Formula) -> None:
    for mine, other in both(f, points(f, torch.float64)):
        scale = other.abs().max() if other.numel() else 0.0
        assert mine.dtype == other.dtype
        assert torch.allclose(mine, other, rtol=1e-9, atol=1e-11 * float(1 + scale), equal_nan=True)


@pytest.mark.parametrize("f", formulas(), ids=lambda f: f.name[:24])
def test_error_is_at_most_twice_the_composite_ones(f: acts.Formula) -> None:
    x = points(f, torch.float32)
    exact = derivatives(f, x.double(), 1)
    for (mine, other), true in zip(both(f, x, 1), exact, strict=True):
        known = torch.isfinite(other) & torch.isfinite(true)
        error, allowed = (mine.double() - true)[known].abs(), (other.double() - true)[known].abs()
        size = true[known].abs() if mine.ndim else torch.tensor(float(ODD))  # a sum of ODD terms of order 1
        assert (error <= 2 * (allowed.max() if allowed.numel() else 0) + 2.4e-7 * size).all()


@pytest.mark.parametrize("f", formulas(), ids=lambda f: f.name[:24])
def test_infinities_and_nan_are_the_composites(f: acts.Formula) -> None:
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e4, -1e4])
    act = Activation(f).requires_grad_(False)
    found = []
    for route in ("compiled", "composite"):
        with backend(route):
            leaf = x.clone().requires_grad_()
            y = act(leaf)
            found.append((y.detach(), torch.autograd.grad(y, leaf, torch.ones_like(y))[0]))
    for mine, other in zip(*found, strict=True):
        assert torch.equal(mine.isnan(), other.isnan()), (mine, other)
        assert torch.equal(mine.isposinf(), other.isposinf())
        assert torch.equal(mine.isneginf(), other.isneginf())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_read_and_rounded_exactly(dtype: torch.dtype) -> None:
    every = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(dtype)
    with backend("compiled"):
        same = Activation("identity")(every)
        scaled = Activation("1.5*x")(every)
    assert torch.equal(same.isnan(), every.isnan())
    assert torch.equal(same.nan_to_num(), every.nan_to_num())
    assert torch.equal(scaled.nan_to_num(), (every.float() * 1.5).to(dtype).nan_to_num())


def layouts() -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    image = torch.randn(3, 6, 5, 7, generator=g)
    return {
        "contiguous": image,
        "channels-last": image.to(memory_format=torch.channels_last),
        "permuted": torch.randn(5, 6, 3, 7, generator=g).permute(2, 1, 0, 3),
        "strided": torch.randn(3, 6, 5, 14, generator=g)[..., ::2],
        "expanded": torch.randn(3, 6, 1, 1, generator=g).expand(3, 6, 5, 7),
        "empty": torch.empty(0, 6, 5, 7),
        "one": torch.randn(1, 6, 1, 1, generator=g),
        "rows": torch.randn(50, 6, generator=g),
        "large": torch.randn(4, 6, 61, 67, generator=g),
    }


@pytest.mark.parametrize("share", ["layer", "channel"])
@pytest.mark.parametrize("layout", list(layouts()))
def test_layouts_and_channels(layout: str, share: str) -> None:
    x = layouts()[layout]
    act = Activation(learnable("sinlu"), share, 6 if share == "channel" else None)
    with torch.no_grad():
        for p in act.parameters():
            p.add_(0.1 * torch.arange(p.numel()).reshape(p.shape))
    before = x.clone()
    results = []
    for route in ("compiled", "composite"):
        with backend(route):
            leaf = x.detach().requires_grad_()
            y = act(leaf)
            c = (
                torch.linspace(-1, 1, x.numel()).reshape(x.shape).mT
                if x.ndim == 4 and x.shape[2] == x.shape[3]
                else 1.5
            )
            grads = torch.autograd.grad((y * c).square().sum(), [leaf, *act.parameters()])
            results.append([y.detach(), *grads])
    for mine, other in zip(*results, strict=True):
        assert mine.shape == other.shape
        assert torch.allclose(mine, other, rtol=1e-4, atol=1e-4)
    assert torch.equal(x, before)
    if layout == "channels-last":
        assert results[0][0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("theta_dtype", [torch.float64, torch.bfloat16])
def test_parameters_of_another_dtype(theta_dtype: torch.dtype) -> None:
    act = Activation("crrelu").to(theta_dtype)
    x = torch.randn(100, requires_grad=True)
    with backend("compiled"):
        act(x).sum().backward()
    assert x.grad is not None
    assert act.eps.grad is not None
    assert (x.grad.dtype, act.eps.grad.dtype) == (torch.float32, theta_dtype)


@pytest.mark.parametrize("n", [1000, 100_003])
def test_results_depend_neither_on_threads_nor_on_position(n: int) -> None:
    x = torch.randn(n, generator=torch.Generator().manual_seed(0), requires_grad=True)
    act = Activation("crrelu")
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 2, 3):
            torch.set_num_threads(threads)
            y = act(x)
            found.append([y.detach(), *torch.autograd.grad(y, [x, act.eps], x.detach())])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
    part = act(x[n - 300 : n - 7])
    assert torch.equal(part, found[0][0][n - 300 : n - 7])


def test_a_result_on_huge_pages() -> None:
    n = HUGE_FROM // 4 + 12_345
    x, act = torch.linspace(-3, 3, n, requires_grad=True), Activation("crrelu")
    with backend("compiled"):
        y = act(x)
        (slope,) = torch.autograd.grad(y, x, torch.ones_like(y))
        for part in (slice(0, 9000), slice(n // 2, n // 2 + 5000), slice(n - 700, n)):
            leaf = x[part].detach().requires_grad_()
            small = act(leaf)
            assert torch.equal(y[part], small)
            assert torch.equal(slope[part], torch.autograd.grad(small, leaf, torch.ones_like(small))[0])


def test_sums_are_reduced_in_double() -> None:
    x = torch.randn(3_000_000, generator=torch.Generator().manual_seed(0))
    act = Activation("crrelu")
    with backend("compiled"):
        (single,) = torch.autograd.grad(act(x).sum(), act.eps)
    exact = (x.double() * torch.exp(-x.double().square() / 2)).sum()
    size = (x.double() * torch.exp(-x.double().square() / 2)).abs().sum()
    assert abs(single.double() - exact) < 1e-8 * size


def test_third_order_shares_one_kernel_per_node() -> None:
    x = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    y = x
    with backend("compiled"):
        y = Activation("gelu")(x)
        for _ in range(3):
            (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    expected = acts.get_activation("gelu").jet(x.detach().numpy(), 3)[3]
    assert torch.allclose(y.detach(), torch.as_tensor(expected), rtol=1e-12)


def test_splines() -> None:
    f = acts.worst_activation(acts.Empirical(torch.randn(4000, generator=torch.Generator().manual_seed(0)).numpy()))
    try:
        pairs = both(f, torch.linspace(-4, 4, 333, dtype=torch.float64))
    except FormulaError:
        pytest.skip("this law's worst activation is no spline")
    for mine, other in pairs:
        assert torch.allclose(mine, other, rtol=1e-9, atol=1e-9)
