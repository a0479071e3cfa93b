"""Dtypes, layouts and extreme inputs: what holds for every tensor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nn_support import NAMES, learnable
from torch import Tensor

import actsmith as acts
from actsmith.errors import ActsmithError
from actsmith.formula.lower import torch_ops
from actsmith.nn.activation import Activation
from actsmith.nn.family import Family, family
from actsmith.nn.nodes import Result, Spec, Term

HALVES = [torch.float16, torch.bfloat16]
FLOATS = [torch.float32, *HALVES]


def value_and_gradient(function, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().clone().requires_grad_()
    y = function(x)
    if not y.requires_grad:
        return y, torch.zeros_like(x)
    return y.detach(), torch.autograd.grad(y.sum(), x)[0]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", NAMES)
def test_error_is_at_most_that_of_plain_torch(name: str, dtype: torch.dtype) -> None:
    f = acts.get_activation(name)
    act = Activation(f)
    program = family(f).value.program
    x = torch.linspace(-6, 6, 401).to(dtype)
    x = x[torch.isfinite(torch.as_tensor(f(x.double().numpy())))]
    theta = [act._parameter(n).detach() for n in family(f).learnable]

    def plain(x: Tensor) -> Tensor:
        result = program.run([x, *(t.to(x.dtype) for t in theta)], torch_ops())[0]
        return result if isinstance(result, Tensor) else torch.full_like(x, result)

    exact = value_and_gradient(lambda x: family(f)(x, [t.double() for t in theta]), x.double())
    ours, theirs = value_and_gradient(act, x), value_and_gradient(plain, x)
    for reference, mine, other in zip(exact, ours, theirs, strict=True):
        assert mine.dtype == dtype
        known = torch.isfinite(other) & torch.isfinite(reference)
        error = (mine.double() - reference).abs()[known]
        allowed = (other.double() - reference).abs()[known]
        ulp = torch.finfo(dtype).eps * reference.abs()[known] + torch.finfo(dtype).tiny
        worst = allowed.max() if known.any() else 0.0
        assert (error <= 2 * worst + ulp).all()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", NAMES)
def test_halves_are_the_rounded_float32_result(name: str, dtype: torch.dtype) -> None:
    act = Activation(name)
    x = torch.linspace(-8, 8, 301).to(dtype)
    for half, single in zip(value_and_gradient(act, x), value_and_gradient(act, x.float()), strict=True):
        assert torch.equal(half.nan_to_num(), single.to(dtype).nan_to_num())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_finite_where_the_true_one_is(name: str, dtype: torch.dtype) -> None:
    f = acts.get_activation(name)
    size = np.concatenate([np.logspace(-8, 4, 241), [0.0], np.linspace(0.5, 120, 240)])
    x = torch.tensor(np.concatenate([-size, size, f.kinks])).to(dtype)
    true = f.jet(x.double().numpy(), 1)
    got = value_and_gradient(Activation(f), x)
    for reference, mine in zip(true, got, strict=True):
        representable = np.isfinite(reference) & (np.abs(reference) < 0.99 * torch.finfo(dtype).max)
        bad = representable & ~torch.isfinite(mine).numpy()
        assert not bad.any(), x[torch.as_tensor(bad)][:5]


@pytest.mark.parametrize("name", NAMES)
def test_parameter_gradients_are_finite(name: str) -> None:
    f = learnable(name)
    fam: Family = family(f)
    size = torch.cat([torch.logspace(-8, 4, 241), torch.zeros(1)])
    x = torch.cat([-size, size, torch.tensor(f.kinks)])
    for i in range(len(fam.learnable)):
        order = tuple(int(j == i + 1) for j in range(len(fam.symbols)))
        node = fam.node(Spec(1, len(fam.learnable), (Result((Term(order),)),)))
        theta = [torch.tensor(f.params[n].value) for n in fam.learnable]
        true = node.fused.compute([x.double(), *(t.double() for t in theta)])[0]
        away = torch.ones_like(x, dtype=torch.bool)
        for kink in f.kinks:
            away &= (x - kink).abs() > 1e-6
        huge = true.abs() > 1e37
        assert torch.isfinite(node.fused.compute([x, *theta])[0][away & ~huge & torch.isfinite(true)]).all()
        assert not torch.isnan(true[away]).any(), x[away & torch.isnan(true)][:5]


@pytest.mark.parametrize("dtype", HALVES)
def test_second_derivatives_of_halves(dtype: torch.dtype) -> None:
    act = Activation("crrelu")
    results = []
    for d in (dtype, torch.float64):
        x = torch.linspace(-3, 3, 40).to(dtype).to(d).requires_grad_()
        (g,) = torch.autograd.grad(act(x).sum(), x, create_graph=True)
        penalty = g.double().square().sum()
        results.append([g, *torch.autograd.grad(penalty, [x, act.eps])])
        assert results[-1][1].dtype == d
    for half, exact in zip(*results, strict=True):
        assert torch.allclose(half.double(), exact.double(), rtol=4 * torch.finfo(dtype).eps, atol=1e-3)


def layouts() -> list[tuple[str, Tensor]]:
    g = torch.Generator().manual_seed(0)
    poisoned = torch.full((40,), torch.nan)
    poisoned[1::4] = torch.randn(10, generator=g)
    return [
        ("poisoned", poisoned[1::4]),
        ("contiguous", torch.randn(2, 3, 4, 5, generator=g)),
        ("transposed", torch.randn(5, 7, generator=g).T),
        ("strided", torch.randn(20, generator=g)[::3]),
        ("expanded", torch.randn(1, 4, generator=g).expand(6, 4)),
        ("channels-last", torch.randn(2, 3, 4, 5, generator=g).to(memory_format=torch.channels_last)),
        ("empty", torch.randn(0, 3)),
        ("0-dim", torch.randn((), generator=g)),
        ("odd", torch.randn(1021, generator=g)),
    ]


@pytest.mark.parametrize(("layout", "x"), layouts(), ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("formula", ["crrelu", "relu", "identity", "mish", "step(x)"])
def test_layouts(formula: str, layout: str, x: Tensor) -> None:
    act = Activation(formula)
    before = x.clone()
    y, g = value_and_gradient(act, x)
    flat = x.detach().double().contiguous().numpy()
    np.testing.assert_allclose(y.double().numpy(), act.formula.jet(flat, 1)[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(g.double().numpy(), act.formula.jet(flat, 1)[1], rtol=1e-5, atol=1e-6)
    assert torch.equal(x, before)
    assert y.data_ptr() != x.data_ptr() or not x.numel()
    if layout == "channels-last":
        assert y.is_contiguous(memory_format=torch.channels_last)
        leaf = x.requires_grad_()
        assert torch.autograd.grad(act(leaf).sum(), leaf)[0].is_contiguous(memory_format=torch.channels_last)


def test_a_strided_cotangent() -> None:
    act, x = Activation("crrelu"), torch.randn(6, 8, requires_grad=True)
    c = torch.randn(8, 6).T
    a = torch.autograd.grad(act(x), x, c)[0]
    b = torch.autograd.grad(act(x), x, c.contiguous())[0]
    assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", FLOATS)
def test_autocast_keeps_the_dtype(dtype: torch.dtype) -> None:
    act = Activation("crrelu")
    x = torch.randn(8, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = act(x)
    assert y.dtype == dtype
    y.sum().backward()
    assert x.grad is not None
    assert act.eps.grad is not None
    assert x.grad.dtype == dtype
    assert act.eps.grad.dtype == torch.float32


@pytest.mark.parametrize("x", [torch.arange(3), torch.zeros(2, dtype=torch.complex64), torch.tensor(True), 1.0])
def test_other_inputs_are_refused(x: object) -> None:
    with pytest.raises(ActsmithError, match="expected a floating-point tensor"):
        Activation("relu")(x)
