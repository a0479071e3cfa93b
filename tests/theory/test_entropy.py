"""Entropies of f(X): closed forms, mpmath, Monte Carlo, and invariances."""

import math

import mpmath
import numpy as np
import pytest
from scipy import stats

import actsmith as acts
from actsmith.formula.formula import Formula
from actsmith.theory.entropy import output_moments
from actsmith.theory.laws import Normal
from actsmith.theory.output import branches_of
from actsmith.theory.smoothed import deposit, smoothed_output

LOG_2 = math.log(2)


def gaussian_entropy(std: float = 1.0) -> float:
    return 0.5 * math.log(2 * math.pi * math.e * std**2)


CLOSED_FORMS = [
    # formula, law, H(Z): H(X) + E log|f'(X)|
    ("x", "normal", gaussian_entropy()),
    ("3*x - 1", "normal:2,0.5", gaussian_entropy(1.5)),
    ("exp(x)", "normal:0.3,2", gaussian_entropy(2) + 0.3),
    ("x**3", "normal", gaussian_entropy() + math.log(3) - math.log(2) - np.euler_gamma),
    ("sigmoid(x)", "logistic", 0.0),
    ("tanh(x/2)", "logistic", LOG_2),
    ("2*normal_cdf(x) - 1", "normal", LOG_2),
    ("abs(x)", "normal", gaussian_entropy() - LOG_2),
    ("x**2", "uniform:-1,1", math.log(2) - 1),
    ("x", "laplace:0,2", 1 + math.log(4)),
    ("expm1(x)", "laplace", 1 + LOG_2),
]


@pytest.mark.parametrize(("text", "law", "expected"), CLOSED_FORMS)
def test_differential_entropy_equals_its_closed_form(text, law, expected):
    found = acts.entropy(text, law)
    assert abs(found.differential - expected) <= found.error
    assert found.error < 1e-8


def test_chi_squared_entropy_of_the_square_of_a_gaussian():
    found = acts.entropy("x**2", "normal")
    assert abs(found.differential - float(stats.chi2(1).entropy())) <= found.error + 1e-12


@pytest.mark.parametrize(
    ("text", "law", "mass", "mixed"),
    [
        # h_b(1/2) + half of what the half-line carries
        ("relu(x)", "normal", 0.5, LOG_2 + 0.5 * (gaussian_entropy() - LOG_2)),
        ("relu(x)", "laplace", 0.5, LOG_2 + 0.5 * 1.0),
        ("step(x)", "normal", 1.0, LOG_2),
        ("clip(x, -1, 1)", "uniform:-2,2", 0.5, 1.5 * LOG_2 + 0.5 * LOG_2 - 0.5 * math.log(0.5) - 0.5 * LOG_2),
    ],
)
def test_atoms_enter_the_mixed_entropy_and_leave_the_differential_undefined(text, law, mass, mixed):
    found = acts.entropy(text, law)
    assert found.atom_mass == pytest.approx(mass, abs=1e-12)
    assert found.differential is None
    assert "atom of mass" in found.reasons["differential"]
    if text != "clip(x, -1, 1)":
        assert abs(found.mixed - mixed) <= found.error
    else:  # two atoms of 1/4 and a uniform density 1/4 on (-1, 1)
        assert found.mixed == pytest.approx(2 * 0.25 * math.log(4) + 0.5 * math.log(4), abs=found.error)


def test_entropy_of_a_folding_activation_equals_mpmath():
    """x exp(x): both preimages are Lambert W in closed form, integrated with 30 digits; nothing shared."""
    mpmath.mp.dps = 30

    def f(x):
        return x * mpmath.exp(x)

    def q_term(x):
        return mpmath.npdf(x) / abs((1 + x) * mpmath.exp(x))

    def integrand(x):
        q = q_term(x)
        if x < 0:
            q += q_term(mpmath.lambertw(f(x), 0 if x < -1 else -1).real)
        return -mpmath.npdf(x) * mpmath.log(q)

    # x = -1 -+ e^t and -e^t take the logarithmic singularities at the fold and at the edge of the left branch apart
    half = mpmath.log(mpmath.mpf(1) / 2)
    left = mpmath.quad(lambda t: integrand(-1 - mpmath.exp(t)) * mpmath.exp(t), [-28, -5, 0, mpmath.log(10)])
    middle = mpmath.quad(lambda t: integrand(-1 + mpmath.exp(t)) * mpmath.exp(t), [-28, -5, half])
    to_zero = mpmath.quad(lambda t: integrand(-mpmath.exp(t)) * mpmath.exp(t), [-40, -5, half])
    right = mpmath.quad(integrand, [0, 1, 4, 11])
    found = acts.entropy("x*exp(x)", "normal")
    assert abs(found.differential - float(left + middle + to_zero + right)) < 1e-10


@pytest.mark.parametrize("law", ["normal", "laplace", "student:5"])
@pytest.mark.parametrize("name", ["gelu", "silu", "tanh", "mish", "sin"])
def test_entropy_agrees_with_samples(name, law):
    f = acts.get_activation(name)
    if name == "gelu" and law != "normal":
        pytest.skip("the spacings estimator needs more samples than memory for the tail of gelu: log|f'| ~ -x^2/2")
    if (name, law) == ("sin", "student:5"):
        found = acts.entropy(f, law)
        assert found.differential is None
        assert "more than 64" in found.reasons["differential"]
        return
    found = acts.entropy(f, law)
    z = f(acts.resolve_law(law).sample(200_000, seed=1))
    estimates = [stats.differential_entropy(part, method="vasicek") for part in np.split(z, 20)]
    standard_error = np.std(estimates, ddof=1) / math.sqrt(20)
    # the estimator is biased by about the window over the sample size, which the tails of gelu feel the most
    assert abs(np.mean(estimates) - found.differential) < 5 * standard_error + 0.02


@pytest.mark.parametrize("law", ["normal", "laplace", "logistic", "student:5", "uniform:-2,1"])
@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus", "elu", "arctan", "leaky_relu"])
def test_change_of_entropy_is_the_mean_log_slope(name, law):
    """H(f(X)) - H(X) = E log|f'(X)| for monotone f, by Monte Carlo, within four standard errors."""
    f, law = acts.get_activation(name), acts.resolve_law(law)
    logs = f.log_abs_derivative(law.sample(100_000, seed=2))
    gain = acts.entropy(f, law).differential - law.entropy
    assert abs(logs.mean() - gain) < 4 * logs.std(ddof=1) / math.sqrt(len(logs))


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "crrelu", "hardtanh"])
@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_smoothed_entropy_agrees_with_a_direct_integral(name, tau):
    """q_tau(u) by summing kernels over a dense plain grid in x, and the trapezoid rule in u: nothing shared."""
    f = acts.get_activation(name)
    x = np.linspace(-10, 10, 8_001)
    w = stats.norm.pdf(x) * (x[1] - x[0])
    z = f(x)
    mean = w @ z
    u = (z - mean) / math.sqrt(w @ (z - mean) ** 2)
    grid = np.linspace(u.min() - 8 * tau, u.max() + 8 * tau, 1_501)
    q = np.exp(-0.5 * ((grid[:, None] - u) / tau) ** 2) @ w / (tau * math.sqrt(2 * math.pi))
    direct = -np.trapezoid(q * np.log(np.maximum(q, 1e-300)), grid)
    # the plain sum crosses the kinks, which costs it h^2
    assert acts.entropy(f, "normal", tau=tau).smoothed == pytest.approx(direct, abs=2e-5)


def test_reference_values_under_the_standard_normal():
    """THEORY 1.7: the identity 1.4239 and erf(x/sqrt 2) 1.2946; the first is exactly H(N(0, 1 + tau^2))."""
    assert acts.entropy("x").smoothed == pytest.approx(gaussian_entropy(math.sqrt(1.01)), abs=1e-11)
    assert round(acts.entropy("erf(x/sqrt(2))").smoothed, 4) == 1.2946


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "mrepu"])
def test_smoothed_and_scale_free_entropy_do_not_see_scale_or_shift(name):
    f = acts.get_activation(name)
    moved = acts.Formula(-7 * f.bound + 3)
    before, after = acts.entropy(f), acts.entropy(moved)
    assert after.smoothed == pytest.approx(before.smoothed, abs=1e-10)
    if before.scale_free is not None:
        assert after.scale_free == pytest.approx(before.scale_free, abs=1e-9)
        assert after.differential == pytest.approx(before.differential + math.log(7), abs=1e-9)


def test_order_under_the_standard_normal():
    names = ["repu", "relu", "gelu", "silu", "tanh", "sigmoid"]
    values = [acts.entropy(name).smoothed for name in names]
    assert values == sorted(values)


def test_variation_is_the_derivative_of_the_smoothed_entropy():
    """dJ/deps by the score against a central difference, and THEORY 1.5's 0.394423 for ReLU and psi_1."""
    relu = acts.get_activation("relu")
    output = smoothed_output(relu, acts.Normal(), output_moments(relu, acts.Normal()), 0.1)
    h = 1e-4
    for text in ("x*exp(-x**2/2)", "exp(-x**2/2)", "x**2*exp(-x**2)"):
        up, down = (acts.entropy(f"relu(x) + {s}*({text})").smoothed for s in (h, -h))
        assert output.variation(acts.Formula(text)(output.x)) == pytest.approx((up - down) / (2 * h), rel=1e-5)
    assert round(output.variation(acts.Formula("x*exp(-x**2/2)")(output.x)), 6) == 0.394423


def test_deposit_reproduces_the_kernel_sum():
    rng = np.random.default_rng(0)
    u, w = rng.normal(size=200), rng.random(200)
    grid, density = deposit(u, w, 0.1, -4, 4)
    direct = (w[:, None] * stats.norm.pdf(grid, u[:, None], 0.1)).sum(axis=0)
    np.testing.assert_allclose(density, direct, atol=1e-10 * direct.max())
    _, slope = deposit(u, w, 0.1, -4, 4, derivative=1)
    exact = (w[:, None] * stats.norm.pdf(grid, u[:, None], 0.1) * (u[:, None] - grid) / 0.01).sum(axis=0)
    np.testing.assert_allclose(slope, exact, atol=1e-9 * np.abs(exact).max())


def test_infinite_variance_leaves_the_scale_free_entropies_undefined():
    found = acts.entropy("x", "student:1.5")
    assert found.scale_free is None
    assert found.smoothed is None
    assert "variance" in found.reasons["smoothed"]
    assert found.differential == pytest.approx(float(stats.t(1.5).entropy()), abs=1e-8)


@pytest.mark.parametrize(
    ("text", "law", "message"),
    [
        ("log(x)", "normal", "not a finite real number near x ="),
        ("3 + 0*x", "normal", "is constant"),
        ("relu(x - 50)", "uniform:-1,1", "is constant"),
    ],
)
def test_bad_formulas_name_the_place(text, law, message):
    with pytest.raises(acts.FormulaError, match=message):
        acts.entropy(text, law)


@pytest.mark.parametrize("law", ["normal", "laplace", "logistic", "student:5", "uniform:-1,1"])
def test_error_bound_is_small_over_the_catalogue(law):
    """Below 1e-8 everywhere but for functions that oscillate under a heavy tail, which say so."""
    for name in acts.CATALOGUE:
        found = acts.entropy(name, law)
        if law == "student:5" and name in ("sin", "gcu", "snake", "sinlu"):
            continue
        assert found.error < (1e-5 if law == "student:5" else 1e-8), name  # f underflows where 1e-7 of student:5 is
        # golu falls like exp(-exp(-x)): E log|f'| = -infinity unless the law's left tail is lighter than exponential
        diverges = name == "golu" and law in ("laplace", "logistic", "student:5")
        assert (found.mixed is None) == diverges, name


def test_samples_agree_with_their_law():
    law = acts.Empirical(np.random.default_rng(3).normal(size=1_000_000))
    for name in ("relu", "gelu", "tanh"):
        assert acts.entropy(name, law).smoothed == pytest.approx(acts.entropy(name).smoothed, abs=5e-3)


@pytest.mark.parametrize("tau", [0, -1, float("nan")])
def test_tau_must_be_positive(tau):
    with pytest.raises(acts.ActsmithError, match="tau"):
        acts.entropy("relu", tau=tau)


@pytest.mark.parametrize("scale", ["1e200", "1e-200"])
def test_a_scale_whose_square_is_beyond_float64(scale):
    """H(c X) = H(X) + log c; the other two do not see c."""
    found, plain = acts.entropy(f"{scale}*x"), acts.entropy("x")
    assert found.differential == pytest.approx(plain.differential + math.log(float(scale)), rel=1e-12)
    assert found.std == pytest.approx(float(scale), rel=1e-12)
    assert found.scale_free == pytest.approx(plain.scale_free, abs=1e-10)
    assert found.smoothed == pytest.approx(plain.smoothed, abs=1e-10)


@pytest.mark.parametrize(
    ("text", "bounded", "monotone"),
    [
        ("exp(x)", (True, False), True),
        ("1e200*x", (False, False), True),
        ("x*sigmoid(x) + x**4*exp(-x**2/2)", (True, False), False),
    ],
)
def test_analysis_of_what_overflows_is_without_a_warning(text, bounded, monotone):
    found = acts.analyze(text)
    assert (found.bounded, found.monotone) == (bounded, monotone)
    if text == "1e200*x":
        assert found.criticality.universality == "none"
        assert "moments of the function are infinite" in found.criticality.verdict
        assert "moments of f are infinite" in found.criticality.reasons["a1"]


@pytest.mark.parametrize("slope", [2.0, 1.5, 3.0])
def test_a_kink_is_no_fold_beside_itself(slope: float) -> None:
    """Where two lines cross, rounding finds the zero of f' at the kink again: no branch of no width is made of that."""
    f = Formula(f"min({slope}*x + 1.41, -cos(0.373*x) + max(-1.99, x))")
    branches = branches_of(f, Normal()).branches
    assert min(b.high - b.low for b in branches) > 1e-12
    x = np.random.default_rng(0).normal(size=400_000)
    found = acts.entropy(f)
    assert found.mean == pytest.approx(f(x).mean(), abs=5e-3)
    assert found.std == pytest.approx(f(x).std(), abs=5e-3)
