"""WAFBC and the EAFO correction against their defining equations, finite differences and the paper."""

import math

import numpy as np
import pytest
import sympy as sp

import actsmith as acts
from actsmith.formula.inverse import solve_inverse
from actsmith.formula.parse import X
from actsmith.theory.eafo import Z

SYMBOLIC_LAWS = ["normal", "normal:0.5,2", "logistic", "laplace", "student:3", "student:4"]


@pytest.mark.parametrize("law", [*SYMBOLIC_LAWS, "uniform:-2,1"])
@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 1), (-2.5, 0.5)])
def test_worst_activation_has_the_largest_entropy_between_its_bounds(law, low, high):
    f = acts.worst_activation(law, low, high)
    found = acts.entropy(f, law)
    assert found.differential == pytest.approx(math.log(high - low), abs=1e-10)
    x = acts.resolve_law(law).quantile(np.linspace(0.01, 0.99, 50))
    np.testing.assert_allclose(f(x), low + (high - low) * acts.resolve_law(law).cdf(x), atol=1e-12)


@pytest.mark.parametrize("law", ["normal", "logistic", "laplace"])
def test_any_admissible_perturbation_lowers_the_worst_activations_entropy(law):
    rng = np.random.default_rng(0)
    for _ in range(5):
        shift, width, size = rng.normal(), rng.uniform(0.5, 2), rng.uniform(0.05, 0.2) * rng.choice([-1, 1])
        f = acts.Formula(
            acts.worst_activation(law).bound + sp.Float(size) * sp.exp(-((X - shift) ** 2) / (2 * width**2))
        )
        assert acts.entropy(f, law).differential < math.log(2) - 1e-6 or acts.analyze(f).monotone is False


def test_worst_of_known_laws_is_the_known_function():
    x = np.linspace(-4, 4, 41)
    np.testing.assert_allclose(
        acts.worst_activation("logistic", 0, 1)(x), acts.get_activation("sigmoid")(x), rtol=1e-14
    )
    np.testing.assert_allclose(acts.worst_activation(acts.Logistic.sech2(), -1, 1)(x), np.tanh(x), atol=1e-15)
    np.testing.assert_allclose(acts.worst_activation("normal")(x), acts.Formula("erf(x/sqrt(2))")(x), atol=1e-15)


def test_relu_under_the_normal_law_gives_the_papers_correction_with_both_signs():
    """THEORY 1.5."""
    c = acts.correction("relu", "normal")
    assert c.psi == X * sp.exp(-(X**2) / 2)
    assert c.scale == 1 / sp.sqrt(2 * sp.pi)
    flat, line = c.pieces
    assert flat.eta is None
    assert flat.direction is None
    assert sp.simplify(line.eta - Z * sp.exp(-(Z**2) / 2) / sp.sqrt(2 * sp.pi)) == 0
    assert c.entropy_rate.value == pytest.approx(2**-1.5, abs=1e-12)
    assert round(c.smoothed_rate, 6) == 0.394423
    published, descent = acts.improve("relu", sign="published"), acts.improve("relu")
    assert published == acts.get_activation("crrelu", eps=0.01)
    assert descent == acts.get_activation("crrelu", eps=-0.01)
    assert published.params["eps"].learn


@pytest.mark.parametrize("law", SYMBOLIC_LAWS)
@pytest.mark.parametrize("name", ["relu", "tanh", "softplus", "elu", "leaky_relu", "arctan", "2*x + 1"])
def test_correction_satisfies_its_defining_equation(name, law):
    """f'(x) eta(f(x)) with eta = -q'(z)/y'(z), q(f(x)) = p(x)/f'(x): so d = -d/dx [p/f'] f', by central differences."""
    f = acts.resolve(name)
    p = acts.resolve_law(law)
    c = acts.correction(f, law)
    d = acts.Formula(c.psi * c.scale)
    x = np.array([-1.7, -0.6, 0.3, 0.9, 2.2])
    x = x[[not any(piece.low < v < piece.high and piece.direction is None for piece in c.pieces) for v in x]]
    h = 1e-5

    def ratio(t):
        return p.pdf(t) / f.jet(t, 1)[1]

    expected = -f.jet(x, 1)[1] * (ratio(x + h) - ratio(x - h)) / (2 * h)
    np.testing.assert_allclose(d(x), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("law", ["normal", "logistic", "laplace"])
@pytest.mark.parametrize("name", ["tanh", "softplus", "arctan", "elu"])
def test_closed_form_of_eta_agrees_with_the_direction(name, law):
    """eta is found through the inverse, the direction without it."""
    c = acts.correction(name, law)
    f = acts.get_activation(name)
    for piece in c.pieces:
        if piece.eta is None:
            continue
        x = np.clip(np.array([-0.8, 0.35, 1.1]), piece.low + 0.1, piece.high - 0.1)
        d = acts.Formula(piece.direction)(x)
        for point, value in zip(x, d, strict=True):
            eta = float(piece.eta.subs(Z, sp.Float(float(f(point)), 30)).evalf(20))
            assert float(f.jet(point, 1)[1]) * eta == pytest.approx(value, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize(("name", "law"), [("tanh", "normal"), ("softplus", "logistic"), ("arctan", "normal")])
def test_first_order_change_of_entropy_has_a_second_order_remainder(name, law):
    c = acts.correction(name, law)
    base = acts.entropy(name, law).differential
    steps = np.array([0.02, 0.01, 0.005])
    remainder = [
        abs(acts.entropy(c.formula(eps), law).differential - base - eps * c.entropy_rate.value) for eps in steps
    ]
    order = np.polyfit(np.log(steps), np.log(remainder), 1)[0]
    assert order == pytest.approx(2, abs=0.1)
    assert acts.entropy(c.formula(-0.01), law).differential < base  # the theory's sign descends


def test_mixture_law_has_a_closed_form_correction():
    law = acts.Mixture((0.3, 0.7), (acts.Normal(-1, 0.5), acts.Normal(0.5, 1)))
    c = acts.correction("relu", law)
    x = np.array([0.2, 1.0, 2.5])
    np.testing.assert_allclose(acts.Formula(c.psi * c.scale)(x), -law.pdf(x) * law.score(x), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: acts.correction("step"), "unknown|no activation"),
        (lambda: acts.correction("step(x)"), "flat everywhere"),
        (lambda: acts.correction("sigmoid", "logistic"), "stationary"),
        (lambda: acts.correction("sigmoid", "logistic"), "nothing to correct"),
        (lambda: acts.improve("tanh", step=20, exact=True), "breaks monotonicity near x ="),
        (lambda: acts.improve("relu", keep="depth"), "keep must be"),
        (lambda: acts.improve("relu", keep="critical", sign="published"), "neither a sign nor exact"),
        (lambda: acts.entropy_flow("relu", order=2), "order"),
        (lambda: acts.improve("relu", sign="up"), "sign must be"),
        (lambda: acts.improve("relu", step=-1), "step: got"),
        (lambda: acts.worst_activation("normal", 1, 1), "low < high"),
    ],
)
def test_requests_that_cannot_be_met_say_why(call, message):
    with pytest.raises(acts.ActsmithError, match=message):
        call()


@pytest.mark.parametrize(
    "text", ["2*exp(x) + 1", "tanh(3*x)", "log(1 + exp(x))", "x**3", "expm1(x)/2", "normal_cdf(x)"]
)
def test_inverse_undoes_the_piece(text):
    f = acts.Formula(text)
    for piece in f.pieces:
        y = solve_inverse(piece, Z)
        low, high = (max(-1.0, piece.bounds[0]), min(1.0, piece.bounds[1]))
        for x in np.linspace(low, high, 5)[1:-1]:
            assert float(y.subs(Z, sp.Float(float(f(x)), 40)).evalf(20)) == pytest.approx(x, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "crrelu", "hardswish"])
def test_folding_functions_are_corrected_through_the_score(name):
    """The predicted change of the smoothed entropy equals the measured one up to a second-order remainder."""
    c = acts.correction(name)
    assert c.form == "projected"
    assert "folds" in c.to_dict()["eta"][0]["reason"]
    base = acts.entropy(name).smoothed
    steps = np.array([0.004, 0.002, 0.001])
    remainder = [abs(acts.entropy(c.formula(-s)).smoothed - base + s * c.smoothed_rate) for s in steps]
    assert np.polyfit(np.log(steps), np.log(remainder), 1)[0] == pytest.approx(2, abs=0.15)
    assert acts.entropy(c.formula(-0.01)).smoothed < base < acts.entropy(c.formula(0.01)).smoothed


@pytest.mark.parametrize("name", ["relu", "tanh", "softplus"])
def test_tabulated_correction_of_samples_approaches_the_closed_one(name):
    law = acts.Empirical(np.random.default_rng(0).normal(size=200_000))
    tabulated, closed = acts.correction(name, law), acts.correction(name, "normal")
    assert tabulated.form == "tabulated"
    x = np.linspace(0.1, 2, 20)
    shapes = [acts.Formula(c.psi)(x) for c in (tabulated, closed)]
    assert np.corrcoef(*shapes)[0, 1] > 0.95
    assert np.sign(tabulated.smoothed_rate) == np.sign(closed.smoothed_rate)


def test_worst_activation_of_samples():
    law = acts.Empirical(np.random.default_rng(0).normal(size=100_000))
    f = acts.worst_activation(law, 0, 1)
    x = law.quantile(np.linspace(0.001, 0.999, 101))
    np.testing.assert_allclose(f(x), law.cdf(x), atol=1e-8)
    # the spline's knots are closer than the quadrature's nodes, which leaves 1e-9 where closed forms reach 1e-12
    assert acts.entropy(f, law).differential == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("sign", ["descend", "published"])
@pytest.mark.parametrize("name", ["tanh", "softplus", "2*x + tanh(x)"])
def test_exact_step_inverts_the_corrected_inverse(name, sign):
    """f_new(y + step eta(z)) = z at points of the curve, and it agrees with first order to second order in the step."""
    f = acts.resolve(name)
    c = acts.correction(f)
    gaps, steps = [], [0.08, 0.04, 0.02]
    for step in steps:
        exact = acts.improve(f, step=step, sign=sign, exact=True)
        first = acts.improve(f, step=step, sign=sign)
        x = np.linspace(-2, 2, 21)
        eps = first.params[c.symbol].value
        image = x - eps * acts.Formula(c.psi)(x) / f.jet(x, 1)[1]
        np.testing.assert_allclose(exact(image), f(x), atol=1e-7)
        gaps.append(np.abs(exact(x) - first(x)).max())
    assert np.polyfit(np.log(steps), np.log(gaps), 1)[0] == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("law", ["normal", "laplace"])
@pytest.mark.parametrize("name", ["relu", "gelu", "mish"])
def test_flow_lowers_the_entropy_step_by_step_and_keeps_criticality(name, law):
    found = acts.entropy_flow(name, law, steps=6, keep="critical")
    levels = [point.entropy for point in found.history]
    assert levels == sorted(levels, reverse=True)
    assert len(set(levels)) == len(levels) > 2
    assert all(point.condition_error < 1e-8 for point in found.history)
    assert all(point.universality in ("half_stable", "zero_stable", "scale_invariant") for point in found.history)
    assert acts.entropy(found.formula, law).smoothed == pytest.approx(levels[-1], abs=1e-7)
    points = acts.criticality(found.formula).points
    assert any(abs(p.K - 1) < 1e-6 and abs(p.C_W - 1) < 1e-6 for p in points)


def test_flow_without_conditions_and_its_short_form():
    found = acts.entropy_flow("silu", steps=5)
    short, residual = found.short(3)
    whole, nothing = found.short(7)
    assert 0 < residual < 1
    assert nothing == pytest.approx(0, abs=1e-9)
    assert len(short.params) == 3
    x = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(whole(x), found.formula(x), atol=1e-10)


def test_improve_keeps_criticality():
    f = acts.improve("gelu", keep="critical")
    assert any(abs(p.K - 1) < 1e-7 for p in acts.criticality(f).points)


def test_proposition_2():
    """sup |g(f(x)) - x| = C eps^2 + O(eps^3), by a fit of the order and the coefficient."""
    eps = np.array([1e-2, 3e-3, 1e-3, 3e-4])
    sups = np.array([acts.inverse_error(e).sup for e in eps])
    order = np.polyfit(np.log(eps), np.log(sups), 1)[0]
    assert order == pytest.approx(2, abs=2e-3)
    assert acts.inverse_error(1e-5).sup / 1e-10 == pytest.approx(0.293604515531, rel=1e-4)
    assert acts.inverse_error(0.1).leading == pytest.approx(0.293604515531, abs=1e-12)
    assert acts.inverse_error(1e-5).at == pytest.approx(math.sqrt((5 - math.sqrt(17)) / 4), abs=1e-3)


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.9])
def test_prelu_against_relu(slope):
    """The paper's reviewers asked: under N(0, 1) every slope in (0, 1] raises the smoothed entropy above ReLU's."""
    relu = acts.entropy("relu").smoothed
    prelu = acts.entropy(acts.get_activation("prelu", slope=slope)).smoothed
    assert prelu == pytest.approx(relu, abs=1e-9) if slope == 0 else prelu > relu


def test_crrelu_is_never_shown_without_the_word_on_its_sign():
    for eps in (0.01, -0.2):
        assert "raises the output entropy" in acts.analyze(acts.get_activation("crrelu", eps=eps)).note
    assert acts.analyze("relu").note is None
