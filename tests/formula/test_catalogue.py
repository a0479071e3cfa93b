"""The whole catalogue against definitions written a second time, in mpmath and in torch."""

import functools
import math

import mpmath as mp
import numpy as np
import pytest
import torch
from mpmath import mpf
from torch.nn import functional
from transformers.activations import ACT2FN, XIELUActivation

from actsmith.errors import FormulaError
from actsmith.formula.catalogue import CATALOGUE, get_activation, resolve
from actsmith.formula.formula import Formula, Param
from actsmith.formula.lower import torch_ops

# ------------------------------------------------------------------------------ definitions, as the papers print them


def clip(x, low, high):
    return min(max(x, low), high)


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def softplus(x):
    return mp.log1p(mp.exp(x)) if x < 0 else x + mp.log1p(mp.exp(-x))


def normal_cdf(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def tanh(x):
    return 1 - 2 / (1 + mp.exp(2 * x)) if x > 1 else mp.tanh(x)


def exp_saturating(x):
    """exp(x), with a ceiling past which no function here can tell the difference."""
    return mp.exp(min(x, mpf(40)))


def elu(x, alpha=1):
    return x if x > 0 else alpha * mp.expm1(x)


SELU_ALPHA = -mp.sqrt(2 / mp.pi) / (mp.erfc(1 / mp.sqrt(2)) * mp.exp(0.5) - 1)
SELU_SCALE = 1 / mp.sqrt(
    mp.quad(lambda t: t**2 * mp.npdf(t), [0, 12])
    + SELU_ALPHA**2 * mp.quad(lambda t: mp.expm1(t) ** 2 * mp.npdf(t), [-12, 0])
)

REFERENCE = {
    "identity": lambda x: x,
    "relu": lambda x: max(x, mpf(0)),
    "leaky_relu": lambda x: x if x > 0 else mpf("0.01") * x,
    "prelu": lambda x: x if x > 0 else x / 4,
    "relu6": lambda x: clip(x, mpf(0), mpf(6)),
    "relu_squared": lambda x: max(x, mpf(0)) ** 2,
    "star_relu": lambda x: (2 * max(x, mpf(0)) ** 2 - 1) / mp.sqrt(5),
    "repu": lambda x: x**2 if x > 0 else mpf(0),
    "mrepu": lambda x: x * (1 + x) ** 2 if x > -1 else mpf(0),
    "hardtanh": lambda x: clip(x, mpf(-1), mpf(1)),
    "hardsigmoid": lambda x: clip(x / 6 + mpf(1) / 2, mpf(0), mpf(1)),
    "hardswish": lambda x: x * clip(x / 6 + mpf(1) / 2, mpf(0), mpf(1)),
    "hardshrink": lambda x: x if abs(x) > 0.5 else mpf(0),
    "softshrink": lambda x: mp.sign(x) * max(abs(x) - mpf(0.5), mpf(0)),
    "elu": elu,
    "celu": elu,
    "selu": lambda x: SELU_SCALE * elu(x, SELU_ALPHA),
    "pelu": elu,
    "elish": lambda x: x / (1 + mp.exp(-x)) if x >= 0 else mp.expm1(x) / (1 + mp.exp(-x)),
    "hard_elish": lambda x: (x if x >= 0 else mp.expm1(x)) * clip((x + 1) / 2, mpf(0), mpf(1)),
    "xielu": lambda x: (x**2 if x > 0 else mp.expm1(x) - x) * mpf(4) / 5 + x / 2,
    "gelu": lambda x: x * normal_cdf(x),
    "gelu_tanh": lambda x: x * sigmoid(2 * mp.sqrt(2 / mp.pi) * (x + mpf("0.044715") * x**3)),
    "quick_gelu": lambda x: x * sigmoid(mpf("1.702") * x),
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "swish": lambda x: x / (1 + mp.exp(-x)),
    "aptx": lambda x: (1 + mp.tanh(x)) * x / 2,
    "mish": lambda x: x * mp.tanh(softplus(x)),
    "tanhexp": lambda x: x * mp.tanh(exp_saturating(x)),
    "telu": lambda x: x * mp.tanh(exp_saturating(x)),
    "logish": lambda x: x * mp.log1p(sigmoid(x)),
    "smish": lambda x: x * mp.tanh(mp.log1p(sigmoid(x))),
    "serf": lambda x: x * mp.erf(softplus(x)),
    "phish": lambda x: x * mp.tanh(x * normal_cdf(x)),
    "gish": lambda x: x * mp.log1p(-mp.expm1(-exp_saturating(x))),
    "golu": lambda x: x * mp.exp(-mp.exp(min(-x, mpf(350)))),  # 0 in any format by then
    "lisht": lambda x: x * tanh(x),
    "laplace": lambda x: mp.erfc(-(x - mp.sqrt(0.5)) / (mp.sqrt(1 / (4 * mp.pi)) * mp.sqrt(2))) / 2,
    "tanh": tanh,
    "lecun_tanh": lambda x: mpf("1.7159") * mp.tanh(2 * x / 3),
    "sigmoid": sigmoid,
    "softsign": lambda x: x / (1 + abs(x)),
    "erf": mp.erf,
    "arctan": mp.atan,
    "isru": lambda x: x / mp.sqrt(1 + x**2),
    "gaussian": lambda x: mp.exp(-(x**2)),
    "sin": mp.sin,
    "snake": lambda x: x + mp.sin(x) ** 2,
    "gcu": lambda x: x * mp.cos(x),
    "sinlu": lambda x: (x + mp.sin(x)) * sigmoid(x),
    "symlog": lambda x: mp.sign(x) * mp.log1p(abs(x)),
    "softplus": softplus,
    "logsigmoid": lambda x: -softplus(-x),
    "squareplus": lambda x: (x + mp.sqrt(x**2 + 4)) / 2,
    "isrlu": lambda x: x if x > 0 else x / mp.sqrt(1 + x**2),
    "bent_identity": lambda x: (mp.sqrt(x**2 + 1) - 1) / 2 + x,
    "nlrelu": lambda x: mp.log1p(max(x, mpf(0))),
    "crrelu": lambda x: max(x, mpf(0)) + mpf("0.01") * x * mp.exp(-(x**2) / 2),
}

KINKS = {
    "relu": (0,), "leaky_relu": (0,), "prelu": (0,), "relu6": (0, 6), "relu_squared": (0,), "star_relu": (0,),
    "repu": (0,), "mrepu": (-1,), "hardtanh": (-1, 1), "hardsigmoid": (-3, 3), "hardswish": (-3, 3),
    "hardshrink": (-0.5, 0.5), "softshrink": (-0.5, 0.5), "elu": (0,), "celu": (0,), "selu": (0,), "pelu": (0,),
    "elish": (0,), "hard_elish": (-1, 0, 1), "xielu": (0,), "softsign": (0,), "symlog": (0,), "isrlu": (0,),
    "nlrelu": (0,), "crrelu": (0,),
}  # fmt: skip

NAMES = list(REFERENCE)
POINTS = np.array(
    [-30, -8.3, -4.7, -2.71, -1.3, -0.9, -0.61, -0.21, -0.013, 1e-4, 0.017, 0.33, 0.77, 1.21, 2.9, 5.3, 6.7, 12.1, 41]
)
MAGNITUDES = np.concatenate([np.logspace(-6, 4, 31) * 1.0371, [0.5, 1, 3, 6, 20, 50, 89, 100, 1e4]])
GRID = np.unique(np.concatenate([-MAGNITUDES, [0], MAGNITUDES])).astype(np.float32)


@functools.cache
def truth(name: str, x: float, order: int, digits: int = 60) -> mpf:
    with mp.workdps(digits):
        return mp.diff(REFERENCE[name], mpf(x), order) if order else REFERENCE[name](mpf(x))


def test_the_reference_covers_the_catalogue() -> None:
    assert set(REFERENCE) == set(CATALOGUE)
    assert len(CATALOGUE) >= 45


# ---------------------------------------------------------------------------------------------------- declarations


@pytest.mark.parametrize("name", NAMES)
def test_declaration_is_complete(name: str) -> None:
    entry = CATALOGUE[name]
    assert entry.name == name
    assert entry.source
    assert entry.summary
    assert "\n" not in entry.summary
    formula = entry.formula()
    assert formula.name == name
    assert Formula(formula.text, formula.params) == formula
    assert dict(formula.params) == entry.params


def test_get_sets_parameters_and_lists_near_matches() -> None:
    assert get_activation("crrelu", eps=-0.3).params["eps"] == Param(-0.3, learn=True)
    assert get_activation("crrelu", eps=Param(0.1)).params["eps"] == Param(0.1)
    with pytest.raises(FormulaError, match="did you mean gelu"):
        get_activation("gellu")
    with pytest.raises(FormulaError, match="actsmith list"):
        get_activation("zzzzzzz")
    with pytest.raises(FormulaError, match=r"no parameter 'epz'; it has: eps"):
        get_activation("crrelu", epz=1.0)
    with pytest.raises(FormulaError, match="outside its range"):
        get_activation("elu", alpha=-1.0)


def test_resolve_takes_formula_name_and_text() -> None:
    f = get_activation("gelu")
    assert resolve(f) is f
    assert resolve("gelu") == f
    assert resolve("x*normal_cdf(x)") == f
    assert resolve("elu", alpha=2.0).params["alpha"].value == 2
    assert resolve("a*x", a=Param(2.0, learn=True)).params["a"].learn
    assert resolve("x") == get_activation("identity")
    with pytest.raises(FormulaError, match="did you mean"):
        resolve("rellu")


# ---------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("name", NAMES)
def test_value_and_three_derivatives_agree_with_the_definition(name: str) -> None:
    jet = get_activation(name).jet(POINTS, 3)
    expected = np.array([[float(truth(name, x, order)) for x in POINTS] for order in range(4)])
    np.testing.assert_allclose(jet, expected, rtol=1e-11, atol=1e-25)


TORCH = {
    "relu": functional.relu, "leaky_relu": functional.leaky_relu, "relu6": functional.relu6, "elu": functional.elu,
    "celu": functional.celu, "selu": functional.selu, "gelu": functional.gelu, "silu": functional.silu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"), "hardswish": functional.hardswish,
    "mish": functional.mish, "tanh": torch.tanh, "hardtanh": functional.hardtanh, "sigmoid": torch.sigmoid,
    "hardsigmoid": functional.hardsigmoid, "softplus": functional.softplus, "softsign": functional.softsign,
    "erf": torch.erf, "hardshrink": functional.hardshrink, "softshrink": functional.softshrink,
    "logsigmoid": functional.logsigmoid, "prelu": torch.nn.PReLU(dtype=torch.float64),
    "quick_gelu": ACT2FN["quick_gelu"], "relu_squared": ACT2FN["relu2"], "laplace": ACT2FN["laplace"],
    "xielu": XIELUActivation(dtype=torch.float64), "identity": ACT2FN["linear"],
}  # fmt: skip
ROUNDED = {"xielu": 1e-4, "laplace": 1e-5}  # transformers has eps = -1e-6, and constants of six decimals
ROUNDED |= {"softplus": 3e-9}  # torch switches to x above 20


@pytest.mark.parametrize("name", TORCH)
def test_value_agrees_with_torch_and_transformers(name: str) -> None:
    x = torch.linspace(-12.0, 25.0, 373, dtype=torch.float64)
    tolerance = ROUNDED.get(name, 1e-13)
    torch.testing.assert_close(get_activation(name)(x), TORCH[name](x).detach(), rtol=tolerance, atol=tolerance * 1e-2)


def test_selu_constants_are_the_exact_ones() -> None:
    params = get_activation("selu").params
    assert params["alpha"].value == pytest.approx(float(SELU_ALPHA), rel=1e-15)
    assert params["scale"].value == pytest.approx(float(SELU_SCALE), rel=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_float32_lowering_is_finite_and_close_up_to_1e4(name: str) -> None:
    formula = get_activation(name)
    outputs = formula._program(2).run([torch.from_numpy(GRID)], torch_ops())
    # Factors up to 1e4 stand before numbers that float32 flushes to zero below 1.2e-38.
    floor = 1e4 * float(np.finfo(np.float32).tiny)
    for order, output in enumerate(outputs):
        got = output.numpy() if isinstance(output, torch.Tensor) else np.full(GRID.shape, output, np.float32)
        assert got.dtype == np.float32
        assert np.all(np.isfinite(got))
        away = np.min(np.abs(GRID[:, None] - np.array([*formula.kinks, np.inf])), axis=1) > 0
        at = GRID if order == 0 else GRID[away]
        expected = np.array([float(truth(name, float(x), order, 120)) for x in at])
        np.testing.assert_allclose(got if order == 0 else got[away], expected, rtol=1e-4, atol=floor)


@pytest.mark.parametrize("name", NAMES)
def test_log_derivative_where_the_derivative_underflows(name: str) -> None:
    points = np.array([-1000.0, -300, -50, 50, 300, 1000])
    got = get_activation(name).log_abs_derivative(points)
    for x, value in zip(points, got, strict=True):
        if name in ("erf", "laplace") or (name == "serf" and abs(x) > 50):
            continue  # erf(300) has 39,000 nines; the closed forms are tested below
        if name == "golu" and x == -1000:
            continue  # -exp(1000)
        slope = truth(name, x, 1, 1000)
        if slope == 0:
            assert value == -math.inf
        elif abs(slope) > abs(truth(name, x, 0, 1000)) * mpf(10) ** -950:  # else the reference has no digits left
            assert value == pytest.approx(float(mp.log(abs(slope))), rel=1e-9, abs=1e-12)


def test_log_derivative_of_gaussian_tails_in_closed_form() -> None:
    x = np.array([-1000.0, -300, -50, 50, 300, 1000])
    np.testing.assert_allclose(
        get_activation("erf").log_abs_derivative(x), math.log(2 / math.sqrt(math.pi)) - x**2, rtol=1e-14
    )
    u = (x - math.sqrt(0.5)) * math.sqrt(4 * math.pi)
    np.testing.assert_allclose(
        get_activation("laplace").log_abs_derivative(x), math.log(math.sqrt(2)) - u**2 / 2, rtol=1e-14
    )


# ----------------------------------------------------------------------------------------------- kinks and smoothness


def one_sided(name: str, kink: float, order: int, side: int) -> float:
    """The one-sided limit of a derivative, from five divided differences extrapolated to the kink."""
    with mp.workdps(60):
        h = mpf(10) ** -8
        values = [mp.diff(REFERENCE[name], kink + side * h * i, order, h=h / 10**4) for i in (1, 2, 3)]
        return float(3 * values[0] - 3 * values[1] + values[2])


@pytest.mark.parametrize("name", NAMES)
def test_kinks_and_smoothness_are_those_of_the_definition(name: str) -> None:
    formula = get_activation(name)
    assert formula.kinks == KINKS.get(name, ())
    if not formula.kinks:
        assert formula.smoothness is None
        return
    measured = -1
    while all(
        one_sided(name, k, measured + 1, -1) == pytest.approx(one_sided(name, k, measured + 1, 1), rel=1e-6, abs=1e-6)
        for k in formula.kinks
    ):
        measured += 1
    assert formula.smoothness == measured


def test_smoothness_depends_on_the_parameters() -> None:
    assert [get_activation("elu", alpha=a).smoothness for a in (1.0, 2.0)] == [1, 0]
    assert [get_activation("celu", alpha=a).smoothness for a in (1.0, 2.0)] == [1, 1]
    assert [get_activation("repu", p=p).smoothness for p in (1, 2, 3)] == [0, 1, 2]
    assert [get_activation("mrepu", p=p).smoothness for p in (1, 2, 3)] == [0, 1, 2]
    assert get_activation("leaky_relu", slope=1.0).smoothness is None
    assert get_activation("xielu", eps=-1e-6).smoothness == -1
