"""One autograd operation per formula, closed under differentiation.

| symbol   | meaning                                                              | shape          |
|----------|----------------------------------------------------------------------|----------------|
| x        | pre-activation                                                       | any            |
| theta_i  | learnable parameter i                                                | broadcasts to x |
| w        | weight: 1 in the forward pass, the cotangent after it                | of x           |
| a        | multi-index: a[0] derivatives in x, a[1 + i] in theta_i              |                |
| D^a f    | that derivative of the formula, computed pointwise                   | of x           |

A node computes outputs of two kinds from the same (w, x, theta):

    M[a]    = w D^a f(x, theta)                  elementwise
    S[a, i] = sum w D^a f(x, theta)              over all that theta_i was broadcast along

With a cotangent c, the gradients of either are again nodes of weights c or c w,

    dw = c D^a f = M[a](c),    dx = M[a + e_x](c w),    dtheta_i = S[a + e_i, i](c w),

so every order of derivative is exact, and a node keeps nothing for it but w, x and theta. `Plan.evaluate` is all of the
arithmetic; whatever computes it faster replaces it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Self

import sympy as sp
import torch
from torch import Tensor
from torch.autograd import Function

from actsmith.formula.formula import Formula
from actsmith.formula.lower import Program, lower, torch_ops
from actsmith.formula.parse import X, parameter_symbol

__all__ = ["Family", "Output", "family"]

Order = tuple[int, ...]

ELEMENTWISE, ELEMENTWISE_WIDE = -1, -2
_OPS = torch_ops()  # here, because Dynamo warns of a call to a cached function
_HALVES = (torch.float16, torch.bfloat16)


class Output(NamedTuple):
    """What a node returns: D^order f, and into what.

    `into` is ELEMENTWISE (x's shape and dtype), ELEMENTWISE_WIDE (x's shape, the dtype computed in), or i >= 0: summed
    to the shape of theta_i, in its dtype.
    """

    order: Order
    into: int


class Family:
    """The derivatives of a formula in x and in its learnable parameters, as plans made when first needed."""

    def __init__(self, formula: Formula) -> None:
        self.formula = formula
        self.learnable = tuple(name for name, p in formula.params.items() if p.learn)
        fixed = {parameter_symbol(n): sp.Rational(repr(p.value)) for n, p in formula.params.items() if not p.learn}
        self.symbols = (X, *(parameter_symbol(name) for name in self.learnable))
        value_order: Order = (0,) * len(self.symbols)
        self._probe = {parameter_symbol(name): formula.params[name].value for name in self.learnable}
        self._expressions: dict[Order, sp.Expr] = {value_order: formula.expr.subs(fixed)}
        self._plans: dict[tuple[Output, ...], Plan] = {}
        self.value = self.plan((Output(value_order, ELEMENTWISE),))
        self.first = self.value.gradients(self.value.outputs[0], [True] * len(self.symbols))

    def __reduce__(self) -> tuple[Any, ...]:
        return family, (self.formula,)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # nothing in it changes but what it has cached

    def expression(self, order: Order) -> sp.Expr:
        """D^order f."""
        if order not in self._expressions:
            last = max(i for i, k in enumerate(order) if k)
            self._expressions[order] = self.expression(raised(order, last, -1)).diff(self.symbols[last])
        return self._expressions[order]

    def plan(self, outputs: tuple[Output, ...]) -> Plan:
        """How to compute the outputs; one program for all, sharing their common subexpressions."""
        if outputs not in self._plans:
            program = lower([self.expression(o.order) for o in outputs], self.symbols, self._probe)
            self._plans[outputs] = Plan(self, outputs, program)
        return self._plans[outputs]

    def __call__(self, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        """f(x, theta), differentiable to any order in both."""
        if torch.compiler.is_compiling():
            result: Tensor = _Traced.apply(self.value, self.first, x, *theta)
            return result
        return _node(self.value, None, x, theta)[0]


@dataclass(frozen=True, eq=False)
class Plan:
    """How to compute some outputs of a family."""

    of: Family
    outputs: tuple[Output, ...]
    program: Program

    def evaluate(self, weight: Tensor | None, x: Tensor, theta: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The outputs at (w, x, theta); float16 and bfloat16 are computed in float32.

        No output shares memory with an input. What autograd records here is not to be used: it can be NaN where the
        derivative is finite.
        """
        wide = compute_dtype(x)
        wide_x = x.to(wide)
        results = self.program.run([wide_x, *(t.to(wide) for t in theta)], _OPS)
        values = [_like(wide_x, value) for value in results]
        if weight is not None:
            wide_weight = weight.to(wide)
            values = [wide_weight * value for value in values]
        return tuple(_into(o, v, x, theta) for o, v in zip(self.outputs, values, strict=True))

    def gradients(self, output: Output, needs: Sequence[bool]) -> Plan:
        """Of x first, then of each theta_i: the plan of those gradients of one output that are needed."""
        order = output.order
        wanted = (Output(raised(order, i), i - 1 if i else ELEMENTWISE) for i, needed in enumerate(needs) if needed)
        return self.of.plan(tuple(wanted))


def family(formula: Formula) -> Family:
    """The family of a formula; equal formulas of one name share it."""
    return _family(formula, formula.name)


@lru_cache(maxsize=256)
def _family(formula: Formula, name: str) -> Family:
    return Family(formula)


def compute_dtype(x: Tensor) -> torch.dtype:
    """float32 for float16 and bfloat16, else x's own dtype."""
    return torch.float32 if x.dtype in _HALVES else x.dtype


def raised(order: Order, index: int, by: int = 1) -> Order:
    """a + by e_index."""
    return (*order[:index], order[index] + by, *order[index + 1 :])


def _node(plan: Plan, weight: Tensor | None, x: Tensor, theta: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The outputs of the plan, differentiable in weight, x and theta."""
    result: tuple[Tensor, ...] = _Node.apply(plan, weight, x, *theta)
    return result


def _like(x: Tensor, value: Any) -> Tensor:
    """The value, a number or a tensor, in x's shape and memory format and in memory of its own."""
    if not isinstance(value, Tensor):
        return torch.full_like(x, value)
    if value.shape != x.shape:
        return torch.ones_like(x) * value
    return value.clone() if value is x else value


def _into(output: Output, value: Tensor, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
    if output.into >= 0:
        like = theta[output.into]
        return _sum_to(value, like.shape).to(like.dtype)
    return value.to(x.dtype) if output.into == ELEMENTWISE else value


def _sum_to(value: Tensor, shape: torch.Size) -> Tensor:
    """The sum of value over the dimensions along which `shape` was broadcast to it."""
    if value.shape == shape:
        return value
    lead = value.ndim - len(shape)
    dims = [i for i in range(value.ndim) if i < lead or shape[i - lead] != value.shape[i]]
    return value.sum(dims, keepdim=True).reshape(shape)


def _times(c: Tensor, weight: Tensor | None, x: Tensor) -> Tensor:
    """c w in the dtype computed in, of x's shape."""
    c = c.expand(x.shape)
    wide = compute_dtype(x)
    return c if weight is None else c.to(wide) * weight.to(wide)


def _total(parts: Iterable[Tensor | None]) -> Tensor | None:
    result: Tensor | None = None
    for part in parts:
        result = part if result is None else result if part is None else result + part
    return result


class _Traced(Function):
    """f and its first gradient for torch.compile, which knows no second one, and whose Dynamo takes no `jvp`."""

    @staticmethod
    def forward(ctx: Any, value: Plan, first: Plan, x: Tensor, *theta: Tensor) -> Tensor:
        ctx.first = first
        ctx.save_for_backward(x, *theta)
        return value.evaluate(None, x, theta)[0]

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> Any:
        x, *theta = ctx.saved_tensors
        return None, None, *ctx.first.evaluate(c, x, theta)


class _Node(Function):
    """The node of the module's docstring: reverse and forward mode, any order, and under vmap."""

    generate_vmap_rule = True

    @staticmethod
    def forward(plan: Plan, weight: Tensor | None, x: Tensor, *theta: Tensor) -> Any:
        return plan.evaluate(weight, x, theta)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.plan, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        plan: Plan = ctx.plan
        weight, x, *theta = ctx.saved_tensors
        needs_weight, *needs = ctx.needs_input_grad[1:]
        totals: list[Tensor | None] = [None] * (1 + len(needs))
        for output, c in zip(plan.outputs, cotangents, strict=True):
            if c is None:
                continue
            if needs_weight:
                wide = plan.of.plan((Output(output.order, ELEMENTWISE_WIDE),))
                totals[0] = _total([totals[0], _node(wide, c.expand(x.shape), x, theta)[0].to(weight.dtype)])
            if any(needs):
                parts = iter(_node(plan.gradients(output, needs), _times(c, weight, x), x, theta))
                for i, needed in enumerate(needs):
                    totals[1 + i] = _total([totals[1 + i], next(parts)]) if needed else None
        return None, *totals

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        plan: Plan = ctx.plan
        weight, x, *theta = ctx.saved_tensors
        weight_tangent, *others = tangents[1:]

        def along(output: Output) -> Tensor | None:
            terms = [(output, weight_tangent)] if weight_tangent is not None else []
            for i, t in enumerate(others):
                if t is not None:
                    terms.append((Output(raised(output.order, i), output.into), _times(t, weight, x)))
            return _total(_node(plan.of.plan((o,)), w, x, theta)[0] for o, w in terms)

        return tuple(along(output) for output in plan.outputs)
