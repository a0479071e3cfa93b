"""The algebra of the derivatives of a formula: what a node computes, and the nodes that are its derivatives.

| symbol   | meaning                                                              | shape           |
|----------|----------------------------------------------------------------------|-----------------|
| x        | pre-activation: elementwise input 0                                  | any             |
| w_j      | weights (cotangents, tangents): elementwise inputs 1, 2, ...         | of x            |
| theta_i  | learnable parameters: broadcast inputs 0, 1, ...                     | broadcasts to x |
| s_j      | scalar weights: the further broadcast inputs                         | of a theta_i    |
| a        | multi-index: a[0] derivatives in x, a[1 + i] in theta_i              |                 |
| D^a f    | that derivative of the formula, computed pointwise                   | of x            |

A term is a whole number times a product of some w_j, some s_j and one D^a f(x, theta). A node returns sums of terms,
each either elementwise or summed over all that one of the broadcast inputs was broadcast along. The derivative of a
term is again a term: in x and in theta_i it raises a, in a weight it removes that weight once, and the cotangent or
tangent becomes a weight. So every derivative of a node is a node, which needs nothing but its inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

Order = tuple[int, ...]

ELEMENTWISE = -1


@dataclass(frozen=True)
class Term:
    """count times prod of w_j over `weights`, times prod of s_j over `scalars`, times D^order f."""

    order: Order
    weights: tuple[int, ...] = ()
    scalars: tuple[int, ...] = ()
    count: int = 1


@dataclass(frozen=True)
class Result:
    """A sum of terms: elementwise (`into` = ELEMENTWISE), or summed to the shape of broadcast input `into`."""

    terms: tuple[Term, ...]
    into: int = ELEMENTWISE


@dataclass(frozen=True)
class Spec:
    """What a node computes.

    Attributes:
        elementwise: number of elementwise inputs, x among them.
        broadcast: number of broadcast inputs; the learnable parameters come first.
        results: what it returns. Inputs stand in the order x, w_1, ..., theta_0, ..., s_1, ...
    """

    elementwise: int
    broadcast: int
    results: tuple[Result, ...]

    @property
    def learnable(self) -> int:
        """How many of the broadcast inputs are parameters."""
        return len(self.results[0].terms[0].order) - 1

    @cached_property
    def orders(self) -> tuple[Order, ...]:
        """The derivatives of the formula that occur."""
        return tuple(dict.fromkeys(t.order for r in self.results for t in r.terms))


@dataclass(frozen=True)
class Derived:
    """A derivative of a node.

    Attributes:
        spec: what computes it; None where all is zero.
        sources: its inputs, counted through the node's inputs and then what was given (the cotangents of outputs, or
            the tangents of inputs, that are there).
        targets: of each input (reverse mode) or output (forward mode), the result of `spec` that is its derivative;
            None for an exact zero.
    """

    spec: Spec | None
    sources: tuple[int, ...]
    targets: tuple[int | None, ...]


def value_spec(learnable: int) -> Spec:
    """f itself."""
    return Spec(1, learnable, (Result((Term((0,) * (1 + learnable)),)),))


def raised(order: Order, index: int, by: int = 1) -> Order:
    """a + by e_index."""
    return (*order[:index], order[index] + by, *order[index + 1 :])


def gradients(spec: Spec, given: Sequence[bool], needed: Sequence[bool]) -> Derived:
    """The vector-Jacobian product, for the outputs that have a cotangent and the inputs that need a gradient."""
    elementwise, broadcast = spec.elementwise, spec.broadcast
    cotangents: list[tuple[Result, int | None, int | None]] = []  # the output, its cotangent as weight or as scalar
    for result, present in zip(spec.results, given, strict=True):
        if present and result.into == ELEMENTWISE:
            cotangents.append((result, elementwise, None))
            elementwise += 1
        elif present:
            cotangents.append((result, None, broadcast))
            broadcast += 1
    results: list[Result] = []
    targets: list[int | None] = []
    for position, wanted in enumerate(needed):
        terms: list[Term] = []
        for result, weight, scalar in cotangents if wanted else ():
            for term in result.terms:
                derivative = _derivative(spec, term, position)
                if derivative is not None:
                    terms.append(_times(derivative, weight, scalar))
        into = position - spec.elementwise if position >= spec.elementwise else ELEMENTWISE
        targets.append(len(results) if terms else None)
        results += [Result(tuple(terms), into)] if terms else []
    kinds = [result.into == ELEMENTWISE for result, present in zip(spec.results, given, strict=True) if present]
    return _derived(spec, kinds, results, targets)


def tangents(spec: Spec, given: Sequence[bool]) -> Derived:
    """The Jacobian-vector product, for the inputs that have a tangent."""
    elementwise, broadcast = spec.elementwise, spec.broadcast
    moving: list[tuple[int, int | None, int | None]] = []  # the input, its tangent as weight or as scalar
    for position, present in enumerate(given):
        if present and position < spec.elementwise:
            moving.append((position, elementwise, None))
            elementwise += 1
        elif present:
            moving.append((position, None, broadcast))
            broadcast += 1
    results: list[Result] = []
    targets: list[int | None] = []
    for result in spec.results:
        terms: list[Term] = []
        for term in result.terms:
            for position, weight, scalar in moving:
                derivative = _derivative(spec, term, position)
                if derivative is not None:
                    terms.append(_times(derivative, weight, scalar))
        targets.append(len(results) if terms else None)
        results += [Result(tuple(terms), result.into)] if terms else []
    return _derived(spec, [position < spec.elementwise for position, _, _ in moving], results, targets)


def _derivative(spec: Spec, term: Term, position: int) -> Term | None:
    """Of one term in the input at `position`; None for zero."""
    if position == 0:
        return replace(term, order=raised(term.order, 0))
    if position < spec.elementwise:
        return _without(term, position)
    index = position - spec.elementwise
    if index < spec.learnable:
        return replace(term, order=raised(term.order, 1 + index))
    if index not in term.scalars:
        return None
    return replace(term, scalars=tuple(s for s in term.scalars if s != index))


def _without(term: Term, weight: int) -> Term | None:
    """The derivative in a weight: w^m gives m w^(m - 1)."""
    power = term.weights.count(weight)
    if not power:
        return None
    at = term.weights.index(weight)
    return replace(term, weights=term.weights[:at] + term.weights[at + 1 :], count=power * term.count)


def _times(term: Term, weight: int | None, scalar: int | None) -> Term:
    weights = term.weights if weight is None else (*term.weights, weight)
    scalars = term.scalars if scalar is None else (*term.scalars, scalar)
    return replace(term, weights=weights, scalars=scalars)


def _derived(spec: Spec, kinds: Sequence[bool], results: list[Result], targets: list[int | None]) -> Derived:
    """With the inputs that no term uses left out. `kinds` says of what was given whether it is elementwise."""
    if not results:
        return Derived(None, (), tuple(targets))
    count = spec.elementwise + spec.broadcast
    extra = range(count, count + len(kinds))
    of_weight = [*range(spec.elementwise), *(i for i, kind in zip(extra, kinds, strict=True) if kind)]
    of_scalar = [*range(spec.elementwise, count), *(i for i, kind in zip(extra, kinds, strict=True) if not kind)]
    weights = sorted({0} | {w for r in results for t in r.terms for w in t.weights})
    used = {s for r in results for t in r.terms for s in t.scalars} | {r.into for r in results if r.into >= 0}
    scalars = sorted(set(range(spec.learnable)) | used)
    w_at, s_at = {w: i for i, w in enumerate(weights)}, {s: i for i, s in enumerate(scalars)}

    def renumbered(term: Term) -> Term:
        weights = tuple(sorted(w_at[w] for w in term.weights))
        return replace(term, weights=weights, scalars=tuple(s_at[s] for s in term.scalars))

    final = tuple(
        Result(_merged(renumbered(t) for t in r.terms), r.into if r.into < 0 else s_at[r.into]) for r in results
    )
    sources = (*(of_weight[w] for w in weights), *(of_scalar[s] for s in scalars))
    return Derived(Spec(len(weights), len(scalars), final), sources, tuple(targets))


def _merged(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Equal terms as one, with their counts added."""
    counts: dict[Term, int] = {}
    for term in terms:
        one = replace(term, count=1)
        counts[one] = counts.get(one, 0) + term.count
    return tuple(replace(one, count=count) for one, count in counts.items() if count)
