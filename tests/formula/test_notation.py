"""What people type: the corpus, LaTeX and text as round trips, and the names of functions."""

import time

import numpy as np
import pytest
import sympy as sp
import torch
from corpus import PARAMETERS, READ, REFUSED

from actsmith.errors import FormulaError
from actsmith.formula.catalogue import ALIASES, CATALOGUE, FOUND, get_activation, number, resolve
from actsmith.formula.formula import Formula
from actsmith.formula.functions import SPELLED, known_name, squash
from actsmith.formula.parse import MAX_POWER, parse
from actsmith.formula.primitives import FUNCTIONS
from actsmith.nn.activation import Activation

GRID = np.array([-7.3, -2.6, -1.2, -0.7, -0.31, 0.23, 0.77, 1.4, 2.2, 6.7])


def formula(text: str, values: dict[str, float] = PARAMETERS) -> Formula:
    """The formula of a text with those of the parameters that it has."""
    expression = parse(text, values)
    free = {str(s) for s in expression.free_symbols}
    return Formula(expression, {n: v for n, v in values.items() if n in free})


# -------------------------------------------------------------------------------------------------------- the corpus


@pytest.mark.parametrize(("function", "texts"), READ, ids=[texts[0] for _, texts in READ])
def test_what_people_type_is_read_as_they_mean_it(function, texts):
    for text in texts:
        np.testing.assert_allclose(formula(text)(GRID), function(GRID), rtol=1e-12, atol=1e-14, err_msg=text)


@pytest.mark.parametrize("text", REFUSED, ids=lambda t: ascii(t[:30]))
def test_what_cannot_be_read_is_refused_with_its_mend(text):
    with pytest.raises(FormulaError, match=REFUSED[text]) as caught:
        formula(text)
    assert len(str(caught.value)) < 600


def test_the_corpus_is_large_and_says_each_thing_once():
    texts = [text for _, texts in READ for text in texts]
    assert len(texts) + len(REFUSED) >= 300
    assert len(set(texts)) == len(texts)
    assert not set(texts) & set(REFUSED)


# --------------------------------------------------------------------------------------------------------- round trips

UNARY = [name for name, (_, least, _) in FUNCTIONS.items() if least == 1]
VALUES = {"a": 0.7, "alpha": 1.3, "sigma": 0.9, "theta": 0.4, "b1": 1.1, "eps_0": 0.2, "Phi": 0.6}


def grow(rng: np.random.Generator, depth: int) -> str:
    """A random text of formula, of at most `depth` levels."""
    if depth == 0 or rng.random() < 0.12:
        leaves = ["x", "x", "x", "2", "0.1", "1/3", "-x", "1e-7", "pi", "e", "1234.5", "3", *VALUES]
        return str(rng.choice(leaves))
    inner = [grow(rng, depth - 1) for _ in range(3)]
    kind = rng.integers(9)
    if kind < 4:
        return f"{rng.choice(UNARY)}({inner[0]})"
    if kind < 6:
        return f"({inner[0]} {rng.choice(['+', '-', '*'])} {inner[1]})"
    if kind == 6:
        return f"where({inner[0]} > {inner[1]}, {inner[2]}, x)"
    if kind == 7:
        return f"{rng.choice(['max', 'min'])}({inner[0]}, {inner[1]})"
    return str(rng.choice([
        f"{inner[0]}/(1 + abs({inner[1]}))",
        f"softplus({inner[0]})**({rng.choice(['2', '-1', '1/2', '-3/2', 'a', '-a'])})",
        f"tanh({inner[0]})**{rng.integers(2, 6)}", f"({inner[0]})*({inner[1]} > 0)", f"elu({inner[0]}, 0.3)",
        f"({inner[0]} + 1)*({inner[1]} - 2)/3",
    ]))  # fmt: skip


def random_formulas(count: int, seed: int) -> list[Formula]:
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        text = grow(rng, int(rng.integers(1, 5)))
        try:
            found.append(formula(text, VALUES))
        except FormulaError:  # beyond float64, or a constant
            continue
    return found


def test_500_random_formulas_survive_their_text_their_latex_and_their_data():
    for f in random_formulas(500, 0):
        assert Formula(f.text, f.params) == f, f.text
        assert Formula.from_dict(f.to_dict()) == f, f.text
        assert Formula(f.latex(), f.params) == f, f.latex()


@pytest.mark.parametrize("name", [*CATALOGUE, *FOUND, *ALIASES])
def test_the_catalogue_survives_its_latex(name):
    f = get_activation(name)
    assert Formula(f.latex(), f.params) == f
    assert Formula(f"${f.latex()}$", f.params) == f


@pytest.mark.parametrize(
    "text",
    ["where(x > 1000, x, 1000)", "clip(x, -1000, 1000)", f"x**{MAX_POWER}", "x**120*relu(x)**300", "max(x, 1e300)",
     "0." + "1234567890" * 6 + "*x", "1" * 200 + "*x/" + "3" * 199, "x/" + "7" * 45, "tanh(1e6*x)", "relu(x - 1e8)",
     "floor(1e5*x)", "sigmoid(1e4)*x", "cbrt(1e9)*x"],
)  # fmt: skip
def test_what_text_prints_text_reads(text):
    f = Formula(text)
    assert Formula(f.text) == f
    assert Formula.from_dict(f.to_dict()) == f


def test_a_saved_formula_may_be_longer_than_a_typed_one():
    f = Formula(sp.Add(*[sp.sin(i * sp.Symbol("x") + sp.Rational(1, 3**i)) for i in range(1, 75)]))
    assert len(f.text) > 2000
    assert Formula.from_dict(f.to_dict()) == f
    with pytest.raises(FormulaError, match="at most 2,000 are read"):
        Formula(f.text)


# --------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", CATALOGUE)
def test_an_activation_is_a_function_of_its_parameters(name):
    f = get_activation(name)
    for spelled in (name, name.upper(), name.replace("_", ""), name.title()):
        assert get_activation(spelled) == f
        np.testing.assert_allclose(Formula(f"{spelled}(x)")(GRID), f(GRID), rtol=1e-13, atol=1e-15)
    if f.params and name not in ("squareplus", "hardtanh"):
        entry = CATALOGUE[name]
        by_name = ", ".join(f"{n}={p.value!r}" for n, p in entry.params.items())
        by_place = ", ".join(repr(p.value) for p in entry.params.values())
        assert parse(f"{name}(x, {by_name})") == parse(f"{name}(x, {by_place})") == parse(f"{name}(x)")


def test_no_two_functions_share_a_name():
    names = {*FUNCTIONS, *SPELLED, *CATALOGUE, *FOUND, *ALIASES}
    of_squashed: dict[str, set[str]] = {}
    for name in names:
        of_squashed.setdefault(squash(name), set()).add(name)
    x = 0.37
    for same in of_squashed.values():
        if len(same) > 1 and same != {"Phi", "phi"}:
            read = [parse(f"{name}({x})") for name in same if name not in ("max", "min", "where")]
            assert len({round(float(e), 12) for e in read}) == 1, same
    assert known_name("Phi") == "Phi"
    assert known_name("phi") == "phi"


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [("mrepu:3", "mrepu", {"p": 3.0}), ("pelu:2,1/2", "pelu", {"a": 2.0, "b": 0.5}),
     ("ELU: alpha = 0.5", "elu", {"alpha": 0.5}),
     ("leaky-relu", "leaky_relu", {"slope": 0.01}), ("relu2", "relu_squared", {}), ("linear", "identity", {}),
     ("tanhshrink", "tanhshrink", {}), ("threshold:1", "threshold", {"threshold": 1.0, "value": 0.0}),
     ("rrelu", "rrelu", {"slope": 11 / 48}), (" SiLU ", "silu", {})],
)  # fmt: skip
def test_names_with_values(text, name, values):
    f = resolve(text)
    assert f.name == name
    assert {n: p.value for n, p in f.params.items()} == values


@pytest.mark.parametrize(
    ("text", "message"),
    [("mrepu:3,4", "its parameters are p"), ("relu:3", "its parameters are none"),
     ("elu:alfa=2", "no parameter 'alfa'"),
     ("elu:x", "expected a number such as 0.5"), ("mrepu:", "not well formed"), ("rellu", "did you mean relu"),
     ("cosh", r"write cosh\(x\)")],
)  # fmt: skip
def test_a_name_that_cannot_be_read(text, message):
    with pytest.raises(FormulaError, match=message):
        resolve(text)


def test_numbers_of_the_command_line():
    assert number("1/2", "a") == 0.5
    assert number("-1e-3", "a") == -1e-3
    assert number("√(2/π)", "a") == pytest.approx((2 / np.pi) ** 0.5, rel=1e-15)
    with pytest.raises(FormulaError, match="--param a: expected a number"):
        number("x", "--param a")


def test_a_parameter_hides_a_function():
    assert Formula("sigma*x", {"sigma": 2.0})(1.0) == 2
    assert Formula("sigma(x + 1)", {"sigma": 2.0})(1.0) == 4
    assert Formula("t*x", {"t": 2.0})(1.0) == 2


def test_a_parameter_that_is_not_there_has_its_near_matches():
    with pytest.raises(FormulaError, match="no parameter 'betta'; it has: beta; did you mean beta"):
        get_activation("swish").at(betta=1.0)


# ------------------------------------------------------------------------------------------------- steps, poles, limits


def test_floor_on_every_route():
    f = Formula("x - floor(2x)/2")
    x = np.array([-2.0, -1.3, -0.5, -0.01, 0.0, 0.2, 0.5, 1.75, 3e4 + 0.25])
    np.testing.assert_array_equal(f(x), x - np.floor(2 * x) / 2)
    np.testing.assert_array_equal(f.jet(x, 2)[1:], [np.ones_like(x), np.zeros_like(x)])
    assert {-1.5, -0.5, 0.0, 0.5, 1.0} <= set(f.kinks)
    assert all(float(2 * k).is_integer() for k in f.kinks)
    assert f.smoothness == -1
    for dtype in (torch.float32, torch.float64):
        t = torch.tensor(x, dtype=dtype).repeat(500).requires_grad_()
        y = Activation(f)(t)
        torch.testing.assert_close(y, t - torch.floor(2 * t) / 2)
        (slope,) = torch.autograd.grad(y.sum(), t)
        torch.testing.assert_close(slope, torch.ones_like(t))


def test_tan_cbrt_and_sinc():
    poles = np.array([k for k in Formula("tan(x)").kinks if abs(k) < 5])
    np.testing.assert_allclose(poles, np.pi * np.array([-1.5, -0.5, 0.5, 1.5]), rtol=1e-12)
    np.testing.assert_allclose(Formula("tan(x)").jet(GRID, 1), [np.tan(GRID), 1 + np.tan(GRID) ** 2], rtol=1e-13)
    np.testing.assert_allclose(Formula("cbrt(x)").jet(GRID, 1), [np.cbrt(GRID), np.cbrt(GRID) / GRID / 3], rtol=1e-14)
    assert Formula("cbrt(x)").kinks == (0.0,)
    assert Formula("cbrt(x)")(0.0) == 0
    np.testing.assert_allclose(Formula("sinc(x)").jet(0.0, 2), [1, 0, -(np.pi**2) / 3], atol=1e-12)


# ---------------------------------------------------------------------------------------------------- SymPy, and safety


def test_a_piecewise_is_read_or_refused_by_name():
    x = sp.Symbol("x")
    assert Formula(sp.Piecewise((sp.sin(x) / x, sp.Ne(x, 0)), (1, True)))(0.0) == 1
    assert Formula(sp.Piecewise((1, (x > 1) | (x < -1)), (0, True)))(np.array([-2, 0, 2])).tolist() == [1, 0, 1]
    assert Formula(sp.Piecewise((7, sp.Eq(x, 2)), (x, True)))(np.array([1, 2, 3])).tolist() == [1, 7, 3]
    assert Formula(sp.Piecewise((1, x >= 0), (0, True)))(0.0) == 1
    assert Formula(sp.Piecewise((-1, x < -1), (x, x < 1), (1, x >= 1)))(np.array([-3, 0.5, 3])).tolist() == [-1, 0.5, 1]
    real = sp.Symbol("x", real=True)
    with pytest.raises(FormulaError, match=r"without a value for every x; add a last pair \(value, True\)"):
        Formula(sp.Piecewise((real, real > 0)))
    with pytest.raises(FormulaError, match="Piecewise condition must compare"):
        Formula(sp.Piecewise((x, sp.Contains(x, sp.Interval(0, 1))), (0, True)))


def test_symbols_with_assumptions_are_the_variable():
    positive = sp.Symbol("x", positive=True)
    assert Formula(sp.log(1 + sp.exp(positive))) == Formula("softplus(x)")
    a = sp.Symbol("a", integer=True)
    assert Formula(a * sp.Symbol("x", complex=True), {"a": 2})(1.5) == 3
    for wrong in (sp.oo * sp.Symbol("x"), sp.I * sp.Symbol("x")):
        with pytest.raises(FormulaError, match="finite real numbers"):
            Formula(wrong)


def test_nothing_new_is_slow_or_runs():
    hostile = [
        "2x" * 900, "|" * 999, "|x" * 600, "√" * 1900 + "x", "x²" * 900, "^" * 1999, "x^" * 40 + "x", "(x>0)" * 390,
        r"\frac{" * 300, r"\frac{x}{" * 40 + "x" + "}" * 40, "{" * 45 + "x" + "}" * 45, r"\sqrt" * 390, "a" * 1999,
        "x.relu()" * 200, "x" + ".relu()" * 280, "nn.GELU()" * 200, "(x>0)|" * 300 + "(x>1)", "not " * 490 + "x>0",
        "x<" * 900 + "x", "elu(" * 49 + "x" + ")" * 49, "mish(2" * 40 + "x" + ")" * 40, "sin^2" * 390 + "(x)",
        "pow(" * 40 + "x" + ", 30)" * 40, "square(" * 45 + "3" + ")" * 45, "floor(" * 45 + "x" + ")" * 45,
        "where(x>0 or x>1 and x>2, " * 30 + "x" + ", 1)" * 30, "x⁹⁹⁹⁹⁹⁹⁹⁹⁹", "α" * 1999, "__import__('os').relu()",
    ]  # fmt: skip
    for text in hostile:
        start = time.process_time()
        message = ""
        try:
            Formula(text)
        except FormulaError as error:
            message = str(error)
        assert len(message) < 700
        assert time.process_time() - start < 1, text[:40]
