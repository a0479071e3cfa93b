"""Jets through our other modules: tables, splines, KAN layers; and stacks of networks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from actsmith.nn import KANLinear, LookupActivation, SplineActivation, derivatives
from actsmith.nn.jet_algebra import Slots
from actsmith.nn.jet_tensor import Jet
from actsmith.nn.lookup import lookup

MULTIS = [(3, 0), (1, 1)]


def nested(model: nn.Module, x: Tensor, multi: tuple[int, int]) -> Tensor:
    y = model(x).squeeze(-1)
    for i, k in enumerate(multi):
        for _ in range(k):
            (y,) = (torch.autograd.grad(y.sum(), x, create_graph=True)[0][:, i],)
    return y


def mixed(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "kan":
        return nn.Sequential(KANLinear(2, 6, "tanh", 3), KANLinear(6, 1, "silu", 3))
    make = {"table": lambda: LookupActivation("gelu"), "spline": lambda: SplineActivation("tanh")}[name]
    return nn.Sequential(nn.Linear(2, 6), make(), nn.Linear(6, 6), make(), nn.Linear(6, 1))


@pytest.mark.parametrize("name", ["table", "spline", "kan"])
def test_the_derivatives_are_those_of_nested_autograd(name):
    """Of a table and a spline, whose third derivative has jumps, both take the same cubic."""
    model = mixed(name).double()
    if name == "kan":
        with torch.no_grad():
            for p in model.parameters():
                p.normal_(0, 0.5)
    x = torch.randn(12, 2, dtype=torch.double, generator=torch.Generator().manual_seed(1)).requires_grad_()
    parameters = list(model.parameters())
    for multi, found in derivatives(model, x, MULTIS).items():
        true = nested(model, x, multi)
        torch.testing.assert_close(found.squeeze(-1), true, rtol=1e-9, atol=1e-9)
        ours, theirs = (
            torch.autograd.grad(v.square().sum(), parameters, allow_unused=True, retain_graph=True)
            for v in (found, true)
        )
        for a, b in zip(ours, theirs, strict=True):
            assert (a is None and b is None) or torch.allclose(a, torch.zeros_like(a) if b is None else b)


@pytest.mark.parametrize("name", ["table", "spline", "kan"])
def test_halves(name):
    model, x = mixed(name), torch.rand(5, 2)
    true = derivatives(model, x, [(2, 0)])[2, 0]
    found = derivatives(model.bfloat16(), x.bfloat16(), [(2, 0)])[2, 0]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), true, rtol=0.1, atol=0.1)


def test_tables_of_many_nets():
    """A table for each net, as stacks of different formulas have them."""
    tables = [LookupActivation(name).table for name in ("tanh", "gelu")]
    slots = Slots(((0,), (1,), (2,)))
    packed = torch.randn(3, 2, 7, dtype=torch.double)
    both = lookup(Jet(packed, slots), torch.stack(tables)).packed
    for i, table in enumerate(tables):
        torch.testing.assert_close(both[:, i], lookup(Jet(packed[:, i], slots), table).packed)
