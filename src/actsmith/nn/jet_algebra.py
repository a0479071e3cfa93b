"""The algebra of jets: what an activation and a product do to all derivatives of their arguments.

A jet holds derivatives of u(x + sum_i t_i v_i) in the steps t at t = 0, one *slot* for each multi-index: slot 0 is the
value. Some slots are sums of derivatives of one order (a Laplacian), which pass through a network as one: of such a sum
only the terms that hold lower derivatives need more than the sum itself.

    f(z)'s derivative of order a   Faa di Bruno: over the partitions of a into blocks, f^(number of blocks) prod z_block
    (y z)'s derivative             Leibniz: sum over b <= a of binomial(a, b) y_b z_(a - b)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from math import comb, prod
from typing import NamedTuple

from actsmith.nn.nodes import Result, Spec, Term

__all__ = ["Multi", "Slots", "Sums", "closure", "leibniz", "partitions", "products_of", "spec_of"]

Multi = tuple[int, ...]
"""Derivatives in each of the steps."""
Sums = tuple[tuple[tuple[Multi, int], ...], ...]


class Slots(NamedTuple):
    """What a jet holds, in this order; a plain tuple, which torch.compile can look through.

    Attributes:
        multis: multi-indices, every smaller one of each among them, the value first.
        sums: whole combinations of derivatives of one order, whose smaller multi-indices are all in `multis`:
            ((multi-index, coefficient), ...).
        fallback: whether functions without a rule are differentiated by nested forward mode.
    """

    multis: tuple[Multi, ...]
    sums: Sums = ()
    fallback: bool = False


def spec_of(slots: Slots, learnable: int) -> Spec:
    """An activation with so many learnable parameters, jets in, jets out."""
    tail, places = (0,) * learnable, {multi: i for i, multi in enumerate(slots.multis)}

    def terms(counts: Mapping[tuple[Multi, ...], int]) -> Iterator[Term]:
        for blocks, count in counts.items():
            yield Term((len(blocks), *tail), tuple(sorted(places[block] for block in blocks)), count=count)

    results = [Result(tuple(terms(partitions(multi)))) for multi in slots.multis]
    for at, parts in enumerate(slots.sums, len(slots.multis)):
        own = [Term((1, *tail), (at,))]
        for multi, coefficient in parts:
            own += terms({b: coefficient * n for b, n in partitions(multi).items() if len(b) > 1})
        results.append(Result(tuple(own)))
    return Spec(len(results), learnable, tuple(results))


@cache
def products_of(slots: Slots) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    """For each slot of y z: (slot of y, slot of z, coefficient), whose sum it is."""
    places = {multi: i for i, multi in enumerate(slots.multis)}
    found = [tuple((places[b], places[c], n) for b, c, n in leibniz(multi)) for multi in slots.multis]
    for at, parts in enumerate(slots.sums, len(slots.multis)):
        terms: dict[tuple[int, int], int] = {(0, at): 1, (at, 0): 1}
        for multi, coefficient in parts:
            for b, c, n in leibniz(multi):
                if any(b) and any(c):
                    pair = (places[b], places[c])
                    terms[pair] = terms.get(pair, 0) + coefficient * n
        found.append(tuple((i, j, n) for (i, j), n in terms.items()))
    return tuple(found)


def closure(wanted: Iterable[Multi]) -> tuple[Multi, ...]:
    """The multi-indices and all smaller ones, by order.

    >>> closure([(2, 0), (0, 1)])
    ((0, 0), (0, 1), (1, 0), (2, 0))
    """
    found = {below for multi in wanted for below in product(*(range(k + 1) for k in multi))}
    return tuple(sorted(found, key=lambda multi: (sum(multi), multi)))


@cache
def partitions(multi: Multi) -> dict[tuple[Multi, ...], int]:
    """Partitions of a derivative into blocks, each with how often it occurs (Faa di Bruno, Bell).

    >>> partitions((3,))
    {((3,),): 1, ((1,), (2,)): 3, ((1,), (1,), (1,)): 1}
    """
    if not any(multi):
        return {(): 1}
    first = next(i for i, k in enumerate(multi) if k)
    rest = tuple(k - (i == first) for i, k in enumerate(multi))
    found: dict[tuple[Multi, ...], int] = {}
    for others in product(*(range(k, -1, -1) for k in rest)):  # what is with the first derivative in its block
        block = tuple(k + (i == first) for i, k in enumerate(others))
        ways = prod(comb(n, k) for n, k in zip(rest, others, strict=True))
        for blocks, count in partitions(tuple(n - k for n, k in zip(rest, others, strict=True))).items():
            key = tuple(sorted((block, *blocks)))
            found[key] = found.get(key, 0) + ways * count
    return found


def leibniz(multi: Sequence[int]) -> Iterator[tuple[Multi, Multi, int]]:
    """(b, a - b, binomial(a, b)) for all b <= a."""
    for b in product(*(range(k + 1) for k in multi)):
        ways = prod(comb(n, k) for n, k in zip(multi, b, strict=True))
        yield b, tuple(n - k for n, k in zip(multi, b, strict=True)), ways
