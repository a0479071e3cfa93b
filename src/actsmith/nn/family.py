"""One autograd operation per formula, closed under differentiation (the algebra is in `actsmith.nn.nodes`).

A `Node` computes what its `Spec` says, on one of two routes that return the same: `Node.evaluate`, plain torch
operations, which is what transforms and tracers see, and a compiled kernel (`actsmith.nn.fused`). Its derivatives are
again nodes, made when first needed, so every order is exact; nothing is saved for them but the node's inputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Self

import sympy as sp
import torch
from torch import Tensor
from torch.autograd import Function

from actsmith.formula.formula import Formula
from actsmith.formula.lower import lower, torch_ops
from actsmith.formula.parse import X, parameter_symbol
from actsmith.formula.removable import with_limits
from actsmith.nn.fused import Fused
from actsmith.nn.inlined import Inlined
from actsmith.nn.jet_algebra import Multi, Slots, Sums, spec_of
from actsmith.nn.jet_tensor import Jet
from actsmith.nn.native import native
from actsmith.nn.nodes import ELEMENTWISE, Derived, Order, Result, Spec, gradients, raised, value_spec
from actsmith.nn.packed import Packed, Packs
from actsmith.nn.private import run_by_dynamo, transforming

__all__ = ["Family", "Node", "compute_dtype", "family", "jets_of"]

_OPS = torch_ops()  # here, because Dynamo warns of a call to a cached function
_HALVES = (torch.float16, torch.bfloat16)


class Family:
    """The derivatives of a formula in x and in its learnable parameters, as nodes made when first needed."""

    def __init__(self, formula: Formula) -> None:
        self.formula = formula
        self.learnable = tuple(name for name, p in formula.params.items() if p.learn)
        ends = {name: (formula.params[name].low, formula.params[name].high) for name in self.learnable}
        self.ranges = {name: pair for name, pair in ends.items() if math.isfinite(pair[0]) or math.isfinite(pair[1])}
        fixed = formula.values(learned=False)
        self.symbols = (X, *(parameter_symbol(name) for name in self.learnable))
        value_order: Order = (0,) * len(self.symbols)
        self.probe = {parameter_symbol(name): formula.params[name].value for name in self.learnable}
        self._expressions: dict[Order, sp.Expr] = {value_order: formula.expr.subs(fixed)}
        self._nodes: dict[Spec, Node] = {}
        self._packed: dict[tuple[Spec, Packs], Packed] = {}
        self.jets: dict[Slots, str] = {}
        self.value = self.node(value_spec(len(self.learnable)))
        self.first, self.first_sources = self.value.gradient((True,), (True,) * len(self.symbols))
        self.inlined = Inlined(self)

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

    def computed(self, order: Order) -> sp.Expr:
        """D^order f with its limits at removable singularities."""
        return with_limits(self.expression(order), self.formula.limits, order, self.symbols)

    def node(self, spec: Spec) -> Node:
        """The node of a spec; one program for all its results, sharing their common subexpressions."""
        node = self._nodes.get(spec)
        if node is None:
            node = self._nodes.setdefault(spec, Node(self, spec))
        return node

    def packed(self, node: Node, packs: Packs) -> Packed:
        """One of its nodes over packs."""
        key = (node.spec, packs)
        found = self._packed.get(key)
        if found is None:
            found = self._packed.setdefault(key, Packed(node, packs))
        return found

    def of_jet(self, jet: Jet, theta: Sequence[Tensor] = ()) -> Jet:
        """The formula of a value with derivatives."""
        packed: Packed = getattr(self, jets_of(self, jet.slots.multis, jet.slots.sums))
        return Jet(packed((jet.packed, *theta))[0], jet.slots)

    def __call__(self, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        """f(x, theta), differentiable to any order in both."""
        if torch.compiler.is_compiling():
            return self._traced(x, theta)
        return self.value.fused.call((x, *theta))[0]

    def _traced(self, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        """In the graph of torch.compile or torch.export."""
        transformed = transforming()
        if not transformed and not torch.compiler.is_exporting():
            result: Tensor = _Traced.apply(self.value, self.first, x, *theta)
            return result
        learns = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *theta))
        if not transformed and not learns:
            return self.value.evaluate((x, *theta))[0]
        wide = compute_dtype(x)
        return self.inlined(x.to(wide), [t.to(wide) for t in theta]).to(x.dtype)


class Node:
    """What a spec says, of one family.

    Attributes:
        of, spec: whose, and what.
        program: D^a f for the spec's orders.
        native: torch's own function, where the node is the value of a formula that torch has a kernel for.
    """

    def __init__(self, of: Family, spec: Spec) -> None:
        self.of = of
        self.spec = spec
        self.program = lower([of.computed(order) for order in spec.orders], of.symbols, of.probe)
        is_value = spec == value_spec(0)
        self.native = native(of.expression(spec.orders[0])) if is_value else None
        self._places = [[spec.orders.index(t.order) for t in r.terms] for r in spec.results]  # Dynamo has no such index
        self._gradients: dict[Any, Derived] = {}
        self._fused: Fused | None = None

    @property
    def fused(self) -> Fused:
        """The compiled route."""
        if self._fused is None:
            self._fused = Fused(self)
        return self._fused

    def gradient(self, given: tuple[bool, ...], needed: tuple[bool, ...]) -> tuple[Node, tuple[int, ...]]:
        """The node of the gradients that exist, and its sources (see `Derived`)."""
        derived = self.gradients(given, needed)
        assert derived.spec is not None
        return self.of.node(derived.spec), derived.sources

    def gradients(self, given: tuple[bool, ...], needed: tuple[bool, ...]) -> Derived:
        """For the outputs that have a cotangent, in the inputs that need it."""
        key = (given, needed)
        if key not in self._gradients:
            self._gradients[key] = gradients(self.spec, given, needed)
        return self._gradients[key]

    def evaluate(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The results at the inputs in plain torch; float16 and bfloat16 are computed in float32.

        No result shares memory with an input. What autograd records here is not to be used: it can be NaN where the
        derivative is finite.
        """
        spec, x = self.spec, tensors[0]
        wide = compute_dtype(x)
        if self.native is not None:
            return (self.native(x.to(wide)).to(x.dtype),)
        a = [t.to(wide) for t in tensors[: spec.elementwise]]
        b = [t.to(wide) for t in tensors[spec.elementwise :]]
        values = self.program.run([a[0], *b[: spec.learnable]], _OPS)
        results = []
        for result, places in zip(spec.results, self._places, strict=True):
            value = _like(a[0], _sum_of_terms(result, a, b, [_like(a[0], values[i]) for i in places]))
            if result.into == ELEMENTWISE:
                results.append(value.to(x.dtype))
            else:
                like = tensors[spec.elementwise + result.into]
                results.append(_sum_to(value, like.shape).to(like.dtype))
        return tuple(results)


def _sum_of_terms(result: Result, a: list[Tensor], b: list[Tensor], values: list[Tensor]) -> Any:
    """Each term's value comes in x's memory format, not the cotangent's."""
    total: Any = None
    for term, value in zip(result.terms, values, strict=True):
        product: Any = None if term.count == 1 else term.count
        for factor in [*(a[w] for w in term.weights), *(b[s] for s in term.scalars), value]:
            product = factor if product is None else product * factor
        total = product if total is None else total + product
    return total


def family(formula: Formula) -> Family:
    """The family of a formula; equal formulas of one name share it."""
    return _family(formula, formula.name)


@lru_cache(maxsize=256)
def _family(formula: Formula, name: str) -> Family:
    return Family(formula)


@run_by_dynamo
def jets_of(of: Family, multis: tuple[Multi, ...], sums: Sums = ()) -> str:
    """The attribute of the family that is its formula on jets with these slots: one pack, then the learnable
    parameters; one pack out. By its name, since Dynamo looks into attributes alone."""
    slots = Slots(multis, sums)
    name = of.jets.get(slots)
    if name is None:
        spec = spec_of(slots, len(of.learnable))
        rows = tuple(range(spec.elementwise))
        packed = of.packed(of.node(spec), Packs((len(rows),), tuple((0, row) for row in rows), (rows,)))
        packed.prepare()
        name = f"jets_{len(of.jets)}"
        setattr(of, name, packed)
        of.jets[slots] = name
    return name


def compute_dtype(x: Tensor | Jet) -> torch.dtype:
    """float32 for float16 and bfloat16, else x's own dtype."""
    return torch.float32 if x.dtype in _HALVES else x.dtype


def _like(x: Tensor, value: Any) -> Tensor:
    """The value, a number or a tensor, in x's shape and memory format and in memory of its own."""
    if not isinstance(value, Tensor):
        return torch.full_like(x, value)
    if value.shape != x.shape:
        return torch.ones_like(x) * value
    return value.clone() if value is x else value


def _sum_to(value: Tensor, shape: torch.Size) -> Tensor:
    """The sum of value over the dimensions along which `shape` was broadcast to it."""
    if value.shape == shape:
        return value
    lead = value.ndim - len(shape)
    dims = [i for i in range(value.ndim) if i < lead or shape[i - lead] != value.shape[i]]
    return value.sum(dims, keepdim=True).reshape(shape)


class _Traced(Function):
    """f and its first gradient for torch.compile, which knows no second one, and whose Dynamo takes no `jvp`."""

    @staticmethod
    def forward(ctx: Any, value: Node, first: Node, x: Tensor, *theta: Tensor) -> Tensor:
        ctx.first = first
        ctx.save_for_backward(x, *theta)
        return value.evaluate((x, *theta))[0]

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> Any:
        x, *theta = ctx.saved_tensors
        return None, None, *ctx.first.evaluate((x, c, *theta))
