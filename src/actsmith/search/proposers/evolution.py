"""Regularised evolution of expression trees (Real et al., arXiv:1802.01548): the best of a few drawn from the youngest
is the parent, and the oldest drop out whatever their merit."""

from __future__ import annotations

import math
from functools import lru_cache, partial

import numpy as np

from actsmith.formula.formula import Formula
from actsmith.search.candidates import Candidate
from actsmith.search.draft import Draft, build
from actsmith.search.evidence import Evidence
from actsmith.search.tree import (
    BINARY,
    UNARY,
    Node,
    constant,
    evaluate,
    from_formula,
    leaf,
    nodes,
    replaced,
    size,
    text,
)

__all__ = ["Evolution", "crossed", "grown", "mutated"]

POPULATION = 64
"""The youngest that were tried, from which parents are taken."""
TOURNAMENT = 8
CROSSED = 0.2
"""The share of children with two parents."""
FRESH = 0.1
"""The share of trees grown anew, where something was tried; all where nothing was."""
LARGEST = 24
"""Nodes of a tree."""
BEYOND = np.concatenate([-np.geomspace(10, 1e3, 8), np.geomspace(10, 1e3, 8)])
HUGE = 1e30
"""Values and slopes for |x| <= 1000 stay below it, far inside float32."""


class Evolution:
    """Children of the best of random few: trees mutated, their constants moved, and crossed."""

    name = "evolution"
    notes: tuple[str, ...] = ()

    def propose(self, evidence: Evidence, rng: np.random.Generator, n: int) -> list[Draft]:
        """n children that are finite; fewer where three draws for each did not give them."""
        population = [
            (t.candidate.formula.name, tree, t.merit)
            for t in evidence.tried[-POPULATION:]
            if (tree := _tree(t.candidate.formula)) is not None
        ]
        x = np.concatenate([evidence.grid.x, BEYOND])
        drafts: list[Draft] = []
        for _ in range(3 * n):
            if len(drafts) == n:
                break
            tree, origin, parents = _child(population, rng)
            if size(tree) > LARGEST or leaf not in nodes(tree):
                continue
            f, d = evaluate(tree, x)
            if np.max(np.abs(f)) < HUGE and np.max(np.abs(d)) < HUGE:  # false where it is nan
                make = partial(_make, tree, origin, parents)
                m = evidence.grid.x.size
                drafts.append(Draft(f[:m], d[:m], self.name, origin, parents, make))
        return drafts


def _make(tree: Node, origin: str, parents: tuple[str, ...]) -> Candidate:
    return build(text(tree), Evolution.name, origin, parents, short=True)


@lru_cache(maxsize=1024)
def _tree(formula: Formula) -> Node | None:
    tree = from_formula(formula)
    return tree if tree is not None and size(tree) <= LARGEST else None


def _child(population: list[tuple[str, Node, float]], rng: np.random.Generator) -> tuple[Node, str, tuple[str, ...]]:
    if not population or rng.random() < FRESH:
        return grown(rng), "a random tree", ()
    first, tree = _winner(population, rng)
    if len(population) > 1 and rng.random() < CROSSED:
        second, other = _winner(population, rng)
        if second != first:
            return crossed(tree, other, rng), f"a cross of {first} and {second}", (first, second)
    return mutated(tree, rng), f"mutation of {first}", (first,)


def _winner(population: list[tuple[str, Node, float]], rng: np.random.Generator) -> tuple[str, Node]:
    """The best of `TOURNAMENT` drawn with replacement."""
    drawn = rng.integers(len(population), size=TOURNAMENT)
    name, tree, _ = population[max(drawn, key=lambda i: population[i][2])]
    return name, tree


def grown(rng: np.random.Generator, depth: int = 3) -> Node:
    """A random tree of at most that depth, constants aside."""
    kind = rng.random() if depth else 1.0
    if kind < 0.4:
        op = BINARY[rng.integers(len(BINARY))]
        return Node(op, (grown(rng, depth - 1), grown(rng, depth - 1)))
    if kind < 0.85:
        return _wrapped(_scaled(grown(rng, depth - 1), rng), rng)
    return leaf if rng.random() < 0.85 else constant(rng.normal())


def _wrapped(node: Node, rng: np.random.Generator) -> Node:
    """A unary function of it, or its square."""
    i = int(rng.integers(len(UNARY) + 1))
    return Node(UNARY[i], (node,)) if i < len(UNARY) else Node("power", (node,), 2.0)


def _scaled(node: Node, rng: np.random.Generator) -> Node:
    """c u in half of the cases, and c u + d in a quarter."""
    chance = rng.random()
    if chance < 0.5:
        node = Node("mul", (constant(math.exp(rng.normal(0, 0.5))), node))
    return Node("add", (node, constant(rng.normal(0, 0.5)))) if chance < 0.25 else node


def crossed(first: Node, second: Node, rng: np.random.Generator) -> Node:
    """The first, with one of its nodes replaced by one of the second's."""
    donors = list(nodes(second))
    donor = donors[rng.integers(len(donors))]
    return replaced(first, int(rng.integers(size(first))), lambda _: donor)


def mutated(tree: Node, rng: np.random.Generator) -> Node:
    """One change: constants moved (in half of the cases), a function exchanged, put in, or taken out, a term added."""
    at, kind = int(rng.integers(size(tree))), rng.random()
    if kind < 0.5:
        return _moved(tree, rng)
    if kind < 0.62:
        return replaced(tree, at, lambda node: _exchanged(node, rng))
    if kind < 0.72:
        return replaced(tree, at, lambda node: _wrapped(node, rng))
    if kind < 0.82:
        return replaced(tree, at, lambda node: node.args[rng.integers(len(node.args))] if node.args else node)
    if kind < 0.92:
        return Node("add", (tree, Node("mul", (constant(rng.normal(0, 0.3)), grown(rng, 1)))))
    return replaced(tree, at, lambda node: grown(rng, 2))


def _moved(tree: Node, rng: np.random.Generator) -> Node:
    """Every constant moved by some 15 % of it; where there is none, a node scaled."""
    places = [i for i, node in enumerate(nodes(tree)) if node.op == "constant"]
    if not places:
        factor = constant(math.exp(rng.normal(0, 0.3)))
        return replaced(tree, int(rng.integers(size(tree))), lambda node: Node("mul", (factor, node)))
    for i in places:
        tree = replaced(tree, i, lambda node: constant(node.value + rng.normal(0, 0.15) * max(abs(node.value), 0.1)))
    return tree


def _exchanged(node: Node, rng: np.random.Generator) -> Node:
    """The node with another function of as many arguments."""
    if node.op in UNARY:
        return Node(UNARY[rng.integers(len(UNARY))], node.args)
    if node.op in BINARY:
        return Node(BINARY[rng.integers(len(BINARY))], node.args)
    return node
