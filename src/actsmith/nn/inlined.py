"""A formula in plain torch operations that autograd may differentiate, for graphs that keep no operation of ours.

torch.export, and torch.func inside torch.compile, write an activation's operations into a graph and differentiate
these. What autograd makes of them is often not the derivative: where(x > 0, x, expm1(x)) has 0 inf = NaN at x = 100.
So the graph holds the formula's own derivatives, computed at a detached x0 = x, theta0 = theta:

    f = f(x0) + sum_i D_i f(x0) d_i + 1/2 sum_ij D_ij f(x0) d_i d_j,      d_i = u_i - u_i0 = 0,  u = (x, theta)

Its value is f, and its first and second derivatives are those of f wherever these are finite; a second one that is not
finite counts as 0, the third and higher ones are 0. Where autograd of the plain operations is right at every point of a
test, to second order, there is no need for it: the plain operations stand in the graph, and have all orders.

| symbol | meaning                                    | shape           |
|--------|--------------------------------------------|-----------------|
| x      | pre-activation                             | any             |
| theta  | learnable parameters                       | broadcasts to x |
| d      | u - u0: zeros that carry the derivative    | of u            |
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import grad

from actsmith.formula.lower import Program, lower, parameter_settings, torch_ops
from actsmith.nn.private import run_by_dynamo

if TYPE_CHECKING:
    from actsmith.nn.family import Family

__all__ = ["ORDERS", "Inlined"]

ORDERS = 2
"""Derivatives that hold in a graph whatever the formula is."""

_OPS = torch_ops()  # here, because Dynamo warns of a call to a cached function
_LARGEST = 1e30  # what float32's derivatives may reach without a product of them overflowing
_CLOSE, _SMALL = 1e-3, 1e-4  # relative and absolute error that counts as right in float32


class Inlined:
    """A family's formula for graphs. What it needs is made when it is first prepared.

    Attributes:
        orders: the multi-indices of the derivatives, those of order 0 first.
        program: the derivatives.
        plain: whether autograd of the plain operations is right.
    """

    def __init__(self, of: Family) -> None:
        self.of = of
        self.orders = _orders(len(of.symbols))
        self.factors = [[i for i, k in enumerate(order) for _ in range(k)] for order in self.orders]
        self.scales = [1 / math.prod(map(math.factorial, order)) for order in self.orders]
        self.program: Program | None = None
        self.plain = False

    @run_by_dynamo
    def prepare(self) -> bool:
        """Make the program and test the plain operations, once; whether these serve."""
        if self.program is None:
            # In a thread of its own there is no mode, no transform and no tracer.
            thread = threading.Thread(target=self._prepare)
            thread.start()
            thread.join()
        assert self.program is not None
        return self.plain

    def _prepare(self) -> None:
        expressions = [self.of.computed(order) for order in self.orders]
        program = lower(expressions, self.of.symbols, self.of.probe)
        self.plain = _right(self, program)
        self.program = program

    def __call__(self, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        """f in x's shape, float32 or float64."""
        if self.prepare():
            return self.of.value.evaluate((x, *theta))[0]
        assert self.program is not None
        moving = [torch.where(torch.isfinite(u), u, 0.0) for u in (x, *theta)]
        zeros = [u - u.detach() for u in moving]
        at = [u.detach() for u in (x, *theta)]
        values = self.program.run(at, _OPS)
        total: Any = values[0]
        for value, factors, scale in zip(values[1:], self.factors[1:], self.scales[1:], strict=True):
            hidden = len(factors) > 1 and isinstance(value, Tensor)
            term: Any = scale * (torch.where(torch.isfinite(value), value, 0.0) if hidden else value)
            for i in factors:
                term = zeros[i] * term
            total = total + torch.where(torch.isfinite(term), term, 0.0)  # 0 times a derivative that is not finite
        return total if isinstance(total, Tensor) and total.shape == x.shape else torch.ones_like(x) * total


def _orders(count: int) -> list[tuple[int, ...]]:
    """The multi-indices of `count` variables up to ORDERS, the lower ones first."""
    chosen = [Counter(c) for k in range(ORDERS + 1) for c in combinations_with_replacement(range(count), k)]
    return [tuple(c[i] for i in range(count)) for c in chosen]


def _right(inlined: Inlined, program: Program) -> bool:
    """Whether autograd of the plain operations is right, to second order, in float32 at ordinary and extreme points."""
    size = torch.logspace(-30, 10, 161, dtype=torch.float64)
    size = torch.cat([size, torch.linspace(0.01, 130, 1300, dtype=torch.float64)]).float()
    x = torch.cat([-size, torch.zeros(1), size])
    of = inlined.of
    for setting in parameter_settings(of.symbols[1:], of.probe):
        leaves = [x.clone().requires_grad_(), *(torch.full_like(x, v).requires_grad_() for v in setting)]
        exact = program.run([u.detach().double() for u in leaves], _OPS)
        value = of.value.evaluate(leaves)[0]
        found = {inlined.orders[0]: value}
        for order, factors in zip(inlined.orders[1:], inlined.factors[1:], strict=True):
            below = list(order)
            below[factors[-1]] -= 1
            before = found[tuple(below)]
            got = (
                grad(before.sum(), leaves[factors[-1]], create_graph=True, allow_unused=True)[0]
                if (before.requires_grad)
                else None
            )
            found[order] = torch.zeros_like(x) if got is None else got
        truths = [torch.as_tensor(e, dtype=torch.float64).broadcast_to(x.shape) for e in exact]
        known = torch.stack([t.abs() < _LARGEST for t in truths]).all(0)
        for order, truth in zip(inlined.orders, truths, strict=True):
            off = (found[order].detach().double() - truth).abs()[known]
            if not bool((off <= _CLOSE * truth.abs()[known] + _SMALL).all()):
                return False
    return True
