"""Formula: validation, the function, its derivatives, and its life as data."""

import copy
import json
import pickle

import numpy as np
import pytest
import sympy as sp
import torch

from actsmith.errors import FormulaError
from actsmith.formula.catalogue import CATALOGUE, get_activation
from actsmith.formula.formula import Formula, Param
from actsmith.formula.lower import torch_ops
from actsmith.formula.parse import X

NAMES = list(CATALOGUE)
GRID = np.linspace(-4.03, 4.11, 41)


# ---------------------------------------------------------------------------------------------------------- validation


@pytest.mark.parametrize(
    ("text", "params", "message"),
    [
        ("x", {"a": 1.0}, "parameter a does not occur"),
        ("a*x", {"a": 1.0, "x": 2.0}, "'x' cannot be a name"),
        ("a*x", {"a": 1.0, "pi": 3.0}, "'pi' cannot be a name"),
        ("a*x", {"a": 1.0, "relu": 3.0}, "'relu' cannot be a name"),
        ("a*x", {"a": 1.0, "lambda": 3.0}, "'lambda' cannot be a name"),
        ("a*x", {"a": 1.0, "b c": 3.0}, "'b c' cannot be a name"),
        ("a*x", {"a": "much"}, "expected a number, got 'much'"),
        ("a*x", {"a": float("nan")}, "outside its range"),
        ("a*x", {"a": float("inf")}, "outside its range"),
        ("sqrt(-1 - x**2)", {}, "not a finite real number anywhere"),
        ("log(-exp(x))", {}, "not a finite real number anywhere"),
    ],
)
def test_a_formula_checks_itself(text: str, params: dict[str, float], message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        Formula(text, params)


def test_a_parameter_checks_itself() -> None:
    with pytest.raises(FormulaError, match=r"value 2.0 is outside its range \[0, 1\]"):
        Param(2, low=0, high=1)
    with pytest.raises(FormulaError, match="expected a number"):
        Param(None)  # type: ignore[arg-type]
    assert Param(1, learn=True).value == 1.0


def test_a_free_symbol_needs_a_value() -> None:
    with pytest.raises(FormulaError, match=r"no value for b; give params=\{'b': ...\}"):
        Formula(sp.Symbol("b") * sp.Symbol("x"))


def test_what_is_neither_text_nor_expression_is_refused() -> None:
    with pytest.raises(FormulaError, match="expected text or a SymPy expression, got list"):
        Formula([1])  # type: ignore[arg-type]
    with pytest.raises(FormulaError, match="no name gamma"):
        Formula(sp.gamma(sp.Symbol("x")))


def test_formulas_are_immutable() -> None:
    f = get_activation("crrelu")
    with pytest.raises(AttributeError, match="immutable"):
        f.name = "other"
    with pytest.raises(AttributeError, match="immutable"):
        f.anything = 1
    with pytest.raises(TypeError):
        f.params["eps"] = Param(1.0)  # type: ignore[index]


# ------------------------------------------------------------------------------------------- from SymPy's own functions


def test_sympy_functions_become_primitives() -> None:
    x = sp.Symbol("x")
    for ours, theirs in [
        ("relu(x)", sp.Max(0, x)),
        ("min(6, relu(x))", sp.Min(6, sp.Max(0, x))),
        ("abs(x)", sp.Abs(X)),
        ("step(x)", sp.Heaviside(x)),
        ("x*sign(x)", X * sp.sign(X)),
        ("where(x, x, x/4)", sp.Piecewise((x, x > 0), (x / 4, True))),
        ("where(-x, 0, x)", sp.Piecewise((0, x < 0), (x, True))),
        ("tanh(x)", sp.tanh(x)),
        ("sech(x)", 1 / sp.cosh(x)),
        ("sigmoid(x)", 1 / (1 + sp.exp(-x))),
        ("softplus(x)", sp.log(1 + sp.exp(x))),
        ("log1p(x**2)", sp.log(1 + x**2)),
    ]:
        assert Formula(theirs) == Formula(ours), ours


def test_forms_that_overflow_are_computed_in_the_form_that_does_not() -> None:
    x = np.array([-1e4, 1e4])
    np.testing.assert_array_equal(Formula("1/(1 + exp(-x))")(x), [0, 1])
    np.testing.assert_array_equal(Formula("log(1 + exp(x))")(x), [0, 1e4])
    np.testing.assert_allclose(Formula("log(cosh(x))")(x), 1e4 - np.log(2), rtol=1e-15)
    np.testing.assert_array_equal(Formula("x/cosh(x)")(x), [0, 0])


# --------------------------------------------------------------------------------------------------------- the function


def test_calling_keeps_the_kind_of_its_argument() -> None:
    f = get_activation("silu")
    assert isinstance(f(1.0), float)
    assert f(np.ones((2, 3))).shape == (2, 3)
    assert f(np.float32(1)) == f(1.0)
    for dtype in (torch.float32, torch.float64):
        assert f(torch.ones(4, 1, dtype=dtype)).dtype == dtype
    constant = Formula("2")
    assert constant(3.0) == 2
    assert constant(np.zeros(3)).tolist() == [2, 2, 2]
    assert constant(torch.zeros(3)).tolist() == [2, 2, 2]


def test_calling_does_not_touch_its_argument() -> None:
    x = np.linspace(-1, 1, 5)
    before = x.copy()
    result = get_activation("identity")(x)
    result[:] = 7
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", NAMES)
def test_derivative_is_the_slope(name: str) -> None:
    f = get_activation(name)
    h = 1e-6
    away = GRID[np.min(np.abs(GRID[:, None] - np.array([*f.kinks, np.inf])), axis=1) > 2 * h]
    slope = (f(away + h) - f(away - h)) / (2 * h)
    np.testing.assert_allclose(f.derivative()(away), slope, rtol=1e-7, atol=1e-8)
    np.testing.assert_array_equal(f.derivative()(away), f.jet(away, 1)[1])
    second = (f.derivative()(away + h) - f.derivative()(away - h)) / (2 * h)
    np.testing.assert_allclose(f.derivative(2)(away), second, rtol=1e-7, atol=1e-8)


def test_derivative_keeps_the_parameters_that_remain() -> None:
    f = Formula("a*x + b", {"a": Param(2, learn=True), "b": 1.0})
    assert f.derivative(0) == f
    assert dict(f.derivative().params) == {"a": Param(2, learn=True)}
    assert dict(f.derivative(2).params) == {}
    assert f.derivative(2)(1.0) == 0
    with pytest.raises(FormulaError, match="order must be 0 or more"):
        f.derivative(-1)


def test_derivatives_that_would_not_end_are_refused() -> None:
    f = Formula("sin(" * 40 + "x" + ")" * 40)
    with pytest.raises(FormulaError, match="derivative of order 3 is too large"):
        f.derivative(3)


def test_derivatives_with_a_free_exponent_are_finite_at_the_kink() -> None:
    expression = get_activation("mrepu").derivative().expr.subs({sp.Symbol("p", real=True): sp.Integer(2)})
    assert Formula(expression)(-1.0) == 0


def test_algebraic_derivatives_do_not_cancel() -> None:
    x = np.float32(1e4)
    for name, slope in [("softsign", 1 / (1 + 1e4) ** 2), ("isru", (1 + 1e8) ** -1.5)]:
        outputs = get_activation(name)._program(1).run([torch.tensor([x])], torch_ops())
        assert float(outputs[1]) == pytest.approx(slope, rel=1e-6)


# ------------------------------------------------------------------------------------------------------------- as data


@pytest.mark.parametrize("name", NAMES)
def test_every_copy_is_equal(name: str) -> None:
    f = get_activation(name)
    f.jet(0.5, 1)
    for again in (
        Formula.from_dict(json.loads(json.dumps(f.to_dict()))),
        pickle.loads(pickle.dumps(f)),
        copy.deepcopy(f),
        copy.copy(f),
    ):
        assert again == f
        assert hash(again) == hash(f)
        assert again.name == f.name
        assert dict(again.params) == dict(f.params)
        np.testing.assert_array_equal(again(GRID), f(GRID))


def test_equality_is_of_the_mathematics() -> None:
    assert Formula("max(0, x)") == Formula("relu(x)", name="other")
    assert Formula("x + x") == Formula("2*x")
    assert Formula("a*x", {"a": 1.0}) != Formula("a*x", {"a": 2.0})
    assert Formula("a*x", {"a": 1.0}) != Formula("a*x", {"a": Param(1.0, learn=True)})
    assert Formula("x") != "x"
    assert len({Formula("x"), Formula("1*x"), Formula("2*x")}) == 2


def test_at_changes_values_and_keeps_the_rest() -> None:
    f = get_activation("crrelu")
    g = f.at(eps=-0.5)
    assert g.params["eps"] == Param(-0.5, learn=True)
    assert g.name == "crrelu"
    assert f.params["eps"].value == 0.01
    assert g(1.0) == pytest.approx(1 - 0.5 * np.exp(-0.5))
    assert f.at(eps=Param(1.0, low=0.0)).params["eps"] == Param(1.0, low=0.0)
    with pytest.raises(FormulaError, match="outside its range"):
        get_activation("repu").at(p=0.5)
    with pytest.raises(FormulaError, match="relu has no parameter 'a'; it has: none"):
        get_activation("relu").at(a=1.0)


def test_renamed_and_default_name() -> None:
    assert Formula("max(0, x)").name == "relu(x)"
    assert get_activation("relu").renamed("rectifier").name == "rectifier"
    assert repr(get_activation("elu")) == "Formula('where(x, x, alpha*expm1(x))', params={'alpha': 1.0}, name='elu')"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gelu", [r"\Phi\left(x\right)"]),
        ("mish", [r"\tanh\left(\mathrm{softplus}\left(x\right)\right)"]),
        ("crrelu", [r"\mathrm{relu}\left(x\right)", r"e^{- \frac{x^{2}}{2}}", "eps"]),
        ("repu", [r"\mathrm{relu}^{p}\left(x\right)"]),
    ],
)
def test_latex(name: str, expected: list[str]) -> None:
    latex = get_activation(name).latex()
    assert latex.count("{") == latex.count("}")
    for part in expected:
        assert part in latex


@pytest.mark.parametrize(
    "text", ["1/3/(1 + abs(x))", "2*(x + 1)*(x + 2)", "-(x + 1)*(x + 2)", "2*x*(x + 1)", "-1/3/(1 + abs(x))",
             "0.1*(x + 1)*(x + 2)", "2/3*(x + 1)/(x**2 + 1)", "-(x + 1)/(x**2 + 1)", "1e-7*x", "x**(1/3)", "e**x"]
)  # fmt: skip
def test_text_reads_back_to_an_equal_formula(text: str) -> None:
    assert Formula(Formula(text).text) == Formula(text)


@pytest.mark.parametrize(
    ("given", "text"),
    [("1e300*x", "1e+300*x"), ("x**2/1e25", "1e-25*x**2"), ("x/3e30", "x/3e+30"), ("max(x, -1e40)", "max(-1e+40, x)")],
)
def test_a_number_of_many_digits_is_written_with_an_exponent(given, text):
    assert Formula(given).text == text
    assert Formula(text) == Formula(given)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("sign(softplus(100*x))", "1"), ("relu(exp(x))", "exp(x)"), ("abs(-2*sigmoid(x))", "2*sigmoid(x)"),
        ("where(-normal_cdf(x), 1, x)", "x"), ("step(3*cosh(x))*x", "x"), ("max(0, -exp(x)) + x", "x"),
    ],
)  # fmt: skip
def test_a_switch_of_what_is_positive_has_one_side(given, text):
    """Far out it underflows to 0, where a switch computed from its value would turn."""
    assert Formula(given).text == text
