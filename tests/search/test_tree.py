"""Trees of numbers: the same functions as the formulas that are built of them."""

import numpy as np
import pytest

from actsmith.formula.catalogue import CATALOGUE, get_activation
from actsmith.formula.formula import Formula
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

X = np.linspace(-2.95, 2.97, 90)  # kinks at whole numbers are between the points


def test_a_tree_is_its_formula_in_values_and_slopes():
    """Over the whole catalogue; the few with functions that trees have not are none."""
    left_out = set()
    for name in CATALOGUE:
        tree = from_formula(get_activation(name))
        if tree is None:
            left_out.add(name)
            continue
        np.testing.assert_allclose(evaluate(tree, X), Formula(text(tree)).jet(X, 1), rtol=1e-9, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(evaluate(tree, X)[0], get_activation(name)(X), rtol=2e-2, atol=2e-2, err_msg=name)
    assert left_out == {"squareplus"}


@pytest.mark.parametrize("op", [*UNARY, *BINARY, "sech", "exp", "expm1", "log1p", "sqrt1pm1"])
def test_slopes_are_those_of_central_differences(op):
    inner = Node("add", (Node("mul", (constant(0.3), leaf)), constant(1.37)))
    tree = Node(op, (inner, Node("sin", (leaf,))) if op in BINARY else (inner,))
    h = 1e-6
    by_differences = (evaluate(tree, X + h)[0] - evaluate(tree, X - h)[0]) / (2 * h)
    np.testing.assert_allclose(evaluate(tree, X)[1], by_differences, atol=1e-8)


def test_nodes_are_replaced_in_the_order_in_which_they_are_listed():
    tree = from_formula(Formula("x*tanh(2*x + 1) - sin(x)"))
    assert tree is not None
    for i, node in enumerate(nodes(tree)):
        seen = []
        assert replaced(tree, i, lambda n, seen=seen: seen.append(n) or n) == tree
        assert seen == [node]
    assert size(tree) == len(list(nodes(tree)))


def test_constants_are_what_the_formula_shows():
    assert constant(-0.123456).value == -0.123
    assert text(Node("mul", (constant(-0.123456), leaf))) == "(-0.123)*x"
