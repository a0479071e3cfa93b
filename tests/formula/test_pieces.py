"""Kinks, pieces and smoothness of formulas that are not in the catalogue."""

import itertools
import math

import numpy as np
import pytest
import sympy as sp

from actsmith.errors import FormulaError
from actsmith.formula import pieces
from actsmith.formula.catalogue import CATALOGUE, get_activation
from actsmith.formula.formula import Formula
from actsmith.formula.lower import lower
from actsmith.formula.parse import X
from actsmith.formula.pieces import MOST_KINKS


@pytest.mark.parametrize(
    ("text", "kinks", "smoothness"),
    [
        ("x", (), None),
        ("step(x)", (0,), -1),
        ("sign(x - 2)", (2,), -1),
        ("abs(x)", (0,), 0),
        ("abs(x)**2", (), None),
        ("abs(x)**3", (0,), 2),
        ("relu(x) - relu(-x)", (), None),
        ("relu(3*x - 1)", (1 / 3,), 0),
        ("relu(x**2 - 2)", (-math.sqrt(2), math.sqrt(2)), 0),
        ("relu(x**2 + 1)", (), None),
        ("relu(x**3 - x)", (-1, 0, 1), 0),
        ("relu(1 - abs(x))", (-1, 0, 1), 0),
        ("relu(relu(x) - 1)", (1,), 0),
        ("max(x, x**2)", (0, 1), 0),
        ("min(x, 1, 2 - x)", (1,), 0),
        ("where(x - 1, x, 1)", (1,), 0),
        ("where(x, x**2, 0)*step(x)", (0,), 1),
        ("relu(exp(x) - 2)", (math.log(2),), 0),
        ("relu(tanh(x) - 0.5)", (math.atanh(0.5),), 0),
        ("where(x, log1p(x), -log1p(-x))", (0,), 1),
        ("x**3*step(x)", (0,), 2),
        ("1/x", (0,), -1),
        ("log(abs(x))", (0,), -1),
        ("sqrt(abs(x))", (0,), 0),
        ("1/(1 + x**2)", (), None),
        ("1/(1 + abs(x))", (0,), 0),
    ],
)
def test_kinks_and_smoothness(text: str, kinks: tuple[float, ...], smoothness: int | None) -> None:
    formula = Formula(text)
    assert formula.kinks == pytest.approx(kinks, rel=1e-12, abs=1e-12)
    assert formula.smoothness == smoothness


def test_rational_kinks_are_exact() -> None:
    left, right = Formula("relu(3*x - 1)").pieces
    assert left.high == sp.Rational(1, 3)
    assert [left.expr, right.expr] == [sp.S.Zero, 3 * X - 1]
    assert left.is_constant
    assert not right.is_constant
    assert left.bounds == (-math.inf, 1 / 3)


@pytest.mark.parametrize("name", CATALOGUE)
def test_pieces_tile_the_line_and_equal_the_formula(name: str) -> None:
    formula = get_activation(name)
    parts = formula.pieces
    assert parts[0].low == -sp.oo
    assert parts[-1].high == sp.oo
    assert all(left.high == right.low for left, right in itertools.pairwise(parts))
    for piece in parts:
        low, high = piece.bounds
        x = np.linspace(max(low, -5.0), min(high, 7.0), 23)[1:-1]
        np.testing.assert_allclose(lower([piece.expr], [X], {}).numpy(x)[0], formula(x), rtol=1e-14, atol=1e-300)


def test_of_infinitely_many_kinks_the_nearest_are_found() -> None:
    kinks = Formula("relu(sin(x))").kinks
    assert len(kinks) == MOST_KINKS
    expected = np.pi * np.arange(-12, 13)
    np.testing.assert_allclose([k for k in kinks if abs(k) < 38], expected, atol=1e-12)


def test_switches_inside_switches_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_MOST_SEARCHES", 70)
    with pytest.raises(FormulaError, match="too many switches inside switches"):
        _ = Formula("abs(sin(9*" * 12 + "x" + "))" * 12).kinks


def test_polynomials_of_high_degree_do_not_expand() -> None:
    assert Formula("relu(((x+1)**100+1)**100)").kinks == ()
