"""Criticality: the defining equations at every reported point, closed forms, golden values, the recursion itself."""

from __future__ import annotations

import json
import math
import pickle
from itertools import pairwise

import mpmath
import numpy as np
import pytest

from actsmith.errors import ActsmithError, NumericsError
from actsmith.formula.catalogue import CATALOGUE, get_activation, resolve
from actsmith.formula.formula import Formula, Param
from actsmith.theory.criticality import UNIVERSALITY, criticality
from actsmith.theory.kernel import kernel_flow, moments

ELU = "where(x, x, expm1(x))"
SELU = "where(x, 1.0507009873554805*x, 1.7580993408473766*expm1(x))"


def crrelu(eps):
    return Formula("relu(x) + eps*x*exp(-x**2/2)", {"eps": Param(eps)})


# ---------------------------------------------------------------- defining equations


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_point_meets_the_conditions(name):
    c = criticality(name)
    assert c.universality in UNIVERSALITY
    assert (c.universality == "none") == (not any(p.kind in UNIVERSALITY for p in c.points))
    for p in c.points:
        assert p.C_W > 0
        assert p.C_b >= 0
        K = p.K if p.K > 0 else 1e-12
        m = moments(name, K)
        slack = 1e-9 if p.K > 0 else 1e-4  # at K = 0 the corrections are sqrt(K)
        assert p.C_W * m.dg == pytest.approx(1, abs=slack)
        assert p.C_W * m.perp == pytest.approx(1, abs=slack)
        if p.K > 0:
            assert p.C_b + p.C_W * m.g == pytest.approx(K, rel=1e-12)


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_record_is_json_and_says_why_something_is_missing(name):
    c = criticality(name)
    data = json.loads(json.dumps(c.to_dict(), allow_nan=False))
    assert set(data) >= {"universality", "a1", "b1", "verdict", "points"}
    for point in data["points"]:
        assert set(point) >= {"K", "C_W", "C_b", "stability"}
    for key in ("a1", "b1", "ratio", "settles"):
        assert (data[key] is None) == (key in data["reasons"])
    assert c.verdict.endswith(".")
    assert pickle.loads(pickle.dumps(c)).to_dict() == c.to_dict()


# ---------------------------------------------------------------- the expected classes (THEORY.md, section 3)

CLASSES = {
    "scale_invariant": ["x", "relu(x)", "where(x, x, 0.01*x)", "where(x, x, 0.25*x)", "-3*x", "abs(x)", "relu(-2*x)"],
    "zero_stable": ["tanh(x)", "sin(x)", "erf(x)", "atan(x)", "x/(1 + abs(x))", "clip(x, -1, 1)", ELU, SELU,
                    "asinh(x)", "min(relu(x), 6)"],
    "half_stable": ["gelu(x)", "silu(x)", "mish(x)"],
    "zero_unstable": ["x*relu(1 + x)", "x*relu(1 + x)**2", "x*relu(1 + x)**3"],
    "none": ["relu(x)**2", "relu(x)**3", "sigmoid(x)", "softplus(x)", "x**2", "x + 1", "step(x)", "sign(x)", "exp(x)",
             "relu(x + 1)"],
}  # fmt: skip


@pytest.mark.parametrize(("expected", "text"), [(k, t) for k, texts in CLASSES.items() for t in texts])
def test_universality(expected, text):
    assert criticality(text).universality == expected


def test_scale_invariant_weights_are_exact():
    assert pytest.approx(2, rel=1e-15) == criticality("relu").points[0].C_W
    slope = 0.01
    assert (
        pytest.approx(2 / (1 + slope**2), rel=1e-14)
        == criticality(get_activation("leaky_relu", slope=slope)).points[0].C_W
    )
    assert [p.C_b for p in criticality("relu").points] == [0.0]


def test_gelu_golden():
    # Derived by hand from GELU's closed form; THEORY.md, section 3.
    c = criticality("gelu")
    point, zero = c.points
    assert pytest.approx((3 + math.sqrt(17)) / 2, rel=1e-13) == point.K
    assert pytest.approx(1.983058257437547, rel=1e-13) == point.C_W
    assert point.C_b == pytest.approx(0.1729223907560673, rel=1e-12)
    assert abs(point.K - (3 + math.sqrt(17)) / 2) <= point.error * point.K
    assert point.a < 0
    assert (zero.K, zero.C_W, zero.kind) == (0.0, pytest.approx(4.0), "zero_unstable")
    # s = x Phi(x): s1 = 1/2, s2 = 2 phi(0), s3 = 0.
    assert c.a1 == pytest.approx(0.75 * 16 / (2 * math.pi), rel=1e-13)
    assert c.b1 == pytest.approx(16 / (2 * math.pi), rel=1e-13)
    assert pytest.approx(3.03498, rel=1e-6) == c.settles.K
    assert c.settles.chi_perp == pytest.approx(0.99398, abs=2e-6)


def test_silu_golden():
    point = criticality("silu").points[0]
    assert pytest.approx(14.3201736180, rel=1e-11) == point.K
    assert pytest.approx(1.98800467827, rel=1e-11) == point.C_W
    assert point.C_b == pytest.approx(0.555143170722, rel=1e-11)
    assert point.a > 0


def test_star_relu_has_a_rational_point():
    # s = c relu(x)^2 + d: E[z s s'] and E[s'^2] are polynomials; with c d = -0.4, 3 c^2 K + c d = 2 c^2 K.
    c, d = 0.8944, -0.4472
    point = criticality(f"{c}*relu(x)**2 - {-d}").points[0]
    assert pytest.approx(-d / c, rel=1e-12) == point.K
    assert pytest.approx(1 / (2 * c * c * point.K), rel=1e-12) == point.C_W


@pytest.mark.parametrize(
    ("text", "a1", "b1"),
    [("tanh(x)", -2, -2), ("sin(x)", -1, -1), ("atan(x)", -2, -2), ("erf(x)", -2, -2), ("silu(x)", 0.75, 1.0),
     ("x*relu(1 + x)", 3, 4), ("x*relu(1 + x)**2", 18, 22), ("x*relu(1 + x)**3", 45, 54), ("clip(x, -1, 1)", 0, 0)],
)  # fmt: skip
def test_small_kernel_coefficients(text, a1, b1):
    c = criticality(text)
    assert c.a1 == pytest.approx(a1, rel=1e-12, abs=1e-14)
    assert c.b1 == pytest.approx(b1, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("eps", [-0.5, -0.3, -0.01, -1e-4, 1e-4, 0.01, 0.3, 2.0])
def test_crrelu(eps):
    c = criticality(crrelu(eps))
    A = ((1 + eps) ** 2 + eps**2) / 2
    for value in (c.a1, c.b1):
        assert value == pytest.approx(-1.5 * eps * (1 + 2 * eps) / A, rel=1e-11, abs=1e-14)
    assert c.universality == ("zero_stable" if eps > 0 else "half_stable")
    if eps < 0:
        assert c.points[0].K > 0
        assert [p.kind for p in c.points if p.K == 0] == ["zero_unstable"]


def test_elu_by_high_precision_quadrature():
    # g(K)/K - 1 = -sqrt(2/pi) K^(1/2) + (7/8) K + ...: s^2 = t^2 - t^3 + (7/12) t^4 on the left, E|z|^4 = 3 K^2.
    def excess(K):
        with mpmath.workdps(40):
            root = mpmath.sqrt(K)
            left = mpmath.quad(
                lambda u: mpmath.expm1(-root * u) ** 2 * mpmath.exp(-u * u / 2), [0, 2, 6, 20]
            ) / mpmath.sqrt(2 * mpmath.pi)
            return float(mpmath.mpf(1) / 2 + left / K - 1)

    for K in (1e-8, 1e-6):
        K = mpmath.mpf(K)  # noqa: PLW2901
        expected = -math.sqrt(2 / math.pi) * float(K) ** 0.5 + 7 / 8 * float(K)
        assert excess(K) == pytest.approx(expected, rel=3 * float(K))
    c = criticality(ELU)
    assert (c.points[0].a, c.points[0].power) == (pytest.approx(-math.sqrt(2 / math.pi), rel=1e-14), 1.5)
    assert c.a1 is None
    assert "K^(3/2)" in c.reasons["a1"]


def test_repu_is_never_critical_at_one_ratio():
    for p in (2, 3, 4):
        c = criticality(get_activation("repu", p=p))
        assert c.ratio == pytest.approx((2 * p - 1) / p, rel=1e-13)
        assert (c.points, c.universality) == ((), "none")
        assert "at every K" in c.verdict


def test_mrepu_has_no_other_point_and_its_verdict_counts_layers():
    c = criticality(get_activation("mrepu", p=2))
    assert [p.K for p in c.points] == [0.0]
    depths = [c.safe_depth(K0) for K0 in (1e-2, 1e-4)]
    assert 7 <= depths[0] <= 11
    assert 300 <= depths[1] <= 900
    assert all(f"{d} layers" in c.verdict for d in depths)


def test_straight_pieces_that_vanish_at_their_kinks_are_critical_on_a_line():
    # Softshrink: s s'' = 0, so chi_par = chi_perp at every K; g' = P(|z| > 1/2) grows, so a > 0.
    c = criticality("relu(x - 0.5) - relu(-x - 0.5)")
    point = c.points[0]
    assert (c.universality, point.K) == ("half_stable", 1.0)
    assert pytest.approx(1 / math.erfc(0.5 / math.sqrt(2)), rel=1e-13) == point.C_W
    assert point.a > 0
    assert "line" in point.stability


def test_jumps_and_undefined_functions_are_answered_not_raised():
    assert "jumps" in criticality("sign(x)").verdict
    for text in ("log(x)", "1/x", "exp(x**2)", "sinh(x)", "exp(exp(x))", "sqrt(abs(x))", "x*exp(x)", "1e-3*x**9 + x"):
        assert criticality(text).verdict


def test_a_constant_passes_no_gradient():
    c = criticality("5")
    assert (c.universality, c.points) == ("none", ())
    assert "constant" in c.verdict


def test_a_restricted_range_is_said():
    c = criticality("tanh(sin(x))")
    assert "searched from" in c.reasons["range"]
    assert "checked up to" in c.verdict
    assert "keep the input kernel below" in criticality("x - 0.1*x**3").verdict


def test_fractional_powers_at_zero_are_decided_by_number():
    grows, falls = criticality("x + sign(x)*abs(x)**2.5"), criticality("x/(1 + abs(x)**1.5)")
    assert (grows.universality, falls.universality) == ("zero_unstable", "zero_stable")
    assert grows.a1 is None
    assert "series" in grows.reasons["a1"]


# ---------------------------------------------------------------- what is said about stability, by iteration


@pytest.mark.parametrize("text", ["gelu", "silu", "mish", "0.8944*relu(x)**2 - 0.4472"])
def test_half_stability_by_iteration(text):
    c = criticality(text)
    point = c.points[0]
    # Near enough that the fixed point where it settles does not interfere: SiLU's is 2% above K*.
    d = 0.1 * min(abs(c.settles.K - point.K) if c.settles else math.inf, 0.2 * point.K)
    above, below = (kernel_flow(text, point.K + s * d, 200, point.C_W, point.C_b) - point.K for s in (1, -1))
    attracted, repelled = (above, below) if point.a < 0 else (below, above)
    assert abs(attracted[-1]) < abs(attracted[0])
    assert abs(repelled[-1]) > abs(repelled[0])
    # One step is the quadratic term: K' - K = a d^2.
    assert above[1] - above[0] == pytest.approx(point.a * d**2, rel=0.15)


def test_where_gelu_settles():
    c = criticality("gelu")
    flow = kernel_flow("gelu", 2.5, 120_000, c.points[0].C_W, c.points[0].C_b)
    assert flow[-1] == pytest.approx(c.settles.K, rel=1e-5)


@pytest.mark.parametrize("text", ["tanh(x)", "erf(x)", "sin(x)"])
def test_zero_stable_falls_like_one_over_depth(text):
    c = criticality(text)
    flow = kernel_flow(text, 1e-2, 4000, c.points[0].C_W)
    assert 1 / flow[-1] - 1 / flow[-1001] == pytest.approx(-1000 * c.a1, rel=1e-2)


def test_elu_falls_like_one_over_depth_squared():
    flow = kernel_flow(ELU, 1e-4, 4000, 1.0)
    assert flow[-1] * 4000**2 == pytest.approx(2 * math.pi, rel=0.15)


@pytest.mark.parametrize("text", ["clip(x, -1, 1)", "min(relu(x), 6)"])
def test_hard_limits_fall_beyond_all_orders(text):
    c = criticality(text)
    assert (c.points[0].kind, c.points[0].power, c.a1) == ("zero_stable", None, 0.0)
    flow = kernel_flow(text, 1.0, 50, c.points[0].C_W)
    assert np.all(np.diff(flow) <= 1e-15 * flow[:-1])  # below rounding, flat
    assert np.all(np.diff(kernel_flow(text, 9.0, 5, c.points[0].C_W)) < 0)


# ---------------------------------------------------------------- invariances


@pytest.mark.parametrize("text", ["gelu(x)", "silu(x)", "snake"])
def test_scaling_the_output_and_the_input(text):
    f = resolve(text)
    base = criticality(f).points[0]
    x = next(s for s in f.expr.free_symbols if s.name == "x")
    output = criticality(Formula(3 * f.expr, f.params)).points[0]
    assert (output.K, output.C_W, output.C_b) == pytest.approx((base.K, base.C_W / 9, base.C_b), rel=1e-10)
    inside = criticality(Formula(f.expr.subs(x, 2 * x), f.params)).points[0]
    assert (inside.K, inside.C_W, inside.C_b) == pytest.approx((base.K / 4, base.C_W / 4, base.C_b / 4), rel=1e-10)
    mirrored = criticality(Formula(-f.expr.subs(x, -x), f.params)).points[0]
    assert (mirrored.K, mirrored.C_W, mirrored.C_b) == pytest.approx((base.K, base.C_W, base.C_b), rel=1e-10)


def test_kinks_away_from_zero_against_a_dense_scan():
    # Hardswish: every sign change of chi_par - chi_perp by its own closed-form-free scan with another rule.
    f = resolve("x*clip(x + 3, 0, 6)/6")
    nodes, weights = np.polynomial.legendre.leggauss(400)
    K = np.geomspace(1e-3, 1e4, 4001)

    def mean(h, k):
        ends = np.array([-40 * math.sqrt(k), -3, 3, 40 * math.sqrt(k)])
        ends = np.unique(np.clip(ends, ends[0], ends[-1]))
        total = 0.0
        for a, b in pairwise(ends):
            x = (a + b) / 2 + (b - a) / 2 * nodes
            total += float((b - a) / 2 * (weights * h(x) * np.exp(-x * x / 2 / k)).sum())
        return total / math.sqrt(2 * math.pi * k)

    def excess(k):
        return mean(lambda x: x * f(x) * f.jet(x, 1)[1], k) / k - mean(lambda x: f.jet(x, 1)[1] ** 2, k)

    coarse = K[::40]
    values = np.array([excess(k) for k in coarse])
    changes = np.flatnonzero(values[:-1] * values[1:] < 0)
    points = [p.K for p in criticality(f).points if p.K > 0]
    assert len(points) == changes.size == 1
    assert coarse[changes[0]] < points[0] < coarse[changes[0] + 1]
    assert excess(points[0]) == pytest.approx(0, abs=1e-10)


# ---------------------------------------------------------------- families: the class changes with the sign


@pytest.mark.parametrize("size", [1e-9, 1e-6, 1e-4, 0.01, 0.1, 0.3, 0.4, 0.45, 0.4999, 0.5])
def test_crrelu_changes_class_with_the_sign_of_eps(size):
    for eps in (size, -size):
        c = criticality(crrelu(eps))
        A = ((1 + eps) ** 2 + eps**2) / 2
        zero = next(p for p in c.points if p.K == 0)
        assert pytest.approx(1 / A, rel=1e-13) == zero.C_W
        assert c.a1 == pytest.approx(-1.5 * eps * (1 + 2 * eps) / A, rel=1e-10, abs=1e-14)
        assert c.b1 == pytest.approx(c.a1, rel=1e-10, abs=1e-14)
        if eps > 0:
            assert (c.universality, len(c.points)) == ("zero_stable", 1)
        else:
            assert zero.kind == "zero_unstable"
            # K* grows like 2.83/|eps| and leaves the searched range at tiny eps.
            assert (c.universality == "half_stable") == (size >= 1e-5)


def test_crrelu_at_zero_is_relu_and_at_minus_half_loses_its_quadratic_term():
    assert criticality(crrelu(0.0)).universality == "scale_invariant"
    c = criticality(crrelu(-0.5))
    zero = next(p for p in c.points if p.K == 0)
    assert (c.a1, zero.power, zero.a) == (0.0, 3.0, pytest.approx(3.75, rel=1e-13))


@pytest.mark.parametrize("shift", [-0.7, -0.2, 0.3, 0.5, 0.54, 0.6])
def test_tanh_shifted_along_itself(shift):
    # f = tanh(x + b) - tanh(b), t = tanh b: s3/s1 = 6 t^2 - 2, s2/s1 = -2 t, so a1 = 9 t^2 - 2 and b1 = 10 t^2 - 2.
    c = criticality(Formula("tanh(x + b) - tanh(b)", {"b": shift}))
    t = math.tanh(shift)
    assert c.a1 == pytest.approx(9 * t**2 - 2, rel=1e-9)
    assert c.b1 == pytest.approx(10 * t**2 - 2, rel=1e-9)
    zero = next(p for p in c.points if p.K == 0)
    assert zero.kind == ("zero_stable" if 9 * t**2 < 2 else "zero_unstable")
    assert pytest.approx(1 / (1 - t**2) ** 2, rel=1e-12) == zero.C_W


@pytest.mark.parametrize("text", ["tanh(x) + 0.3", "relu(2*x) - 1", "tanh(x + 0.5)"])
def test_a_shift_that_moves_f_away_from_zero_ends_criticality_at_zero(text):
    assert all(p.K > 0 for p in criticality(text).points)


def test_affine_images_of_one_function_agree():
    # sigmoid(x) - 1/2 = tanh(x/2)/2.
    a, b = criticality("sigmoid(x) - 0.5"), criticality("tanh(x/2)/2")
    assert pytest.approx(b.points[0].C_W, rel=1e-13) == a.points[0].C_W
    assert a.a1 == pytest.approx(b.a1, rel=1e-10)


# ---------------------------------------------------------------- safe depth and the edges


def test_safe_depth():
    relu = criticality("relu")
    assert relu.safe_depth(1.0, limit=200) == 200
    assert relu.safe_depth(1.0, C_W=1.0) == 9  # 2^-10 < 1/1000
    assert relu.safe_depth(1.0, C_W=4.0) == 9  # 2^10 > 1000
    assert criticality("repu").safe_depth(1.0, C_W=1.0) == 4
    for bad in ({"K0": 0.0}, {"K0": 1.0, "ceiling": 1.0}):
        with pytest.raises(ActsmithError):
            relu.safe_depth(**bad)
    with pytest.raises(NumericsError, match="critical point"):
        criticality("repu").safe_depth(1.0)


def test_equal_formulas_with_two_names_keep_their_names():
    assert criticality(Formula("tanh(x)", name="one")).formula.name == "one"
    assert criticality(Formula("tanh(x)", name="two")).formula.name == "two"


def test_a_fresh_formula_takes_little_time():
    import time

    criticality("0.111*tanh(x) + x*sigmoid(x)")
    best = math.inf
    for i in range(5):
        f = Formula(f"0.{i + 1}7*tanh(x) + x*sigmoid(x)")
        assert f.kinks == ()
        start = time.process_time()
        criticality(f)
        best = min(best, time.process_time() - start)
    assert best < 0.15  # 10 ms on an idle core
