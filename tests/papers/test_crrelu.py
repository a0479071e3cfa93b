"""The reproductions of arXiv:2405.12954: what is measured, where an activation acts, what its eps does."""

import json
from math import exp, pi, sqrt

import numpy as np
import pytest
import torch
from paper_tables import table

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation as get
from actsmith.formula.catalogue import resolve
from actsmith.nn.activation import Activation
from actsmith.papers import crrelu_dose, crrelu_eps, crrelu_layers, crrelu_vision, crrelu_worst
from actsmith.papers.crrelu import LOSS, crrelu, fast
from actsmith.papers.gaussianity import gaussianity, pre_activations
from actsmith.papers.measured import HEIGHT, Measured, Suggestion, corrected, measured_laws
from actsmith.papers.reproduce import reproduce, reproduction
from actsmith.tasks.images import Images
from actsmith.tasks.perceptron import Mlp
from actsmith.theory.laws import Mixture, Normal
from actsmith.training.problem import Metric
from actsmith.training.stack import Stack

CURVED = Mixture((0.5, 0.5), (Normal(-1, 0.5), Normal(0.4, 0.2)))


DIGITS = Images(dataset="digits", train=100).load(None)


# ------------------------------------------------------------------------------------------------------- measured laws


@pytest.mark.parametrize("std", [0.1, 1.0, 3.0])
def test_a_gaussian_law_suggests_crrelu_at_its_scale(std):
    found = corrected(Suggestion("eafo", "normal", 0.05), get("relu"), Normal(0, std))
    x = np.linspace(-4 * std, 4 * std, 41)
    expected = std * get("crrelu", eps=0.05)(x / std)
    np.testing.assert_allclose(found(x), expected, rtol=1e-5, atol=1e-9 * std)
    assert found.name == "eafo"
    assert found.params["eps"].learn


def test_another_law_suggests_another_function_as_high():
    found = corrected(Suggestion("eafo", eps=1.0), get("relu"), CURVED)
    x = np.linspace(-4, 4, 8001)
    shape = found(x) - np.maximum(x, 0)
    assert np.abs(shape).max() == pytest.approx(HEIGHT * CURVED.std, rel=1e-3)
    # The correction of the line f(x) = x is eta = -p'; here on the whole axis, in the sign that is published.
    direction = -CURVED.score(x) * CURVED.pdf(x)
    factor = HEIGHT * CURVED.std / np.abs(direction).max()
    np.testing.assert_allclose(shape, factor * direction, atol=1e-3 * HEIGHT)


def test_the_law_is_that_of_what_reaches_the_activation():
    problem = Images(dataset="digits").load(None)
    models = [Mlp(32, 2, "kaiming").build(get("relu"), seed, problem).train() for seed in (0, 1)]
    laws, layers = measured_laws(models[1], problem), pre_activations(models[1], problem)
    assert models[1].training
    assert len(laws) == len(layers) == 2
    for law, values in zip(laws.values(), layers, strict=True):
        assert values.shape[0] == 1
        assert (law.mean, law.std) == pytest.approx((values.mean(), values.std()), rel=0.05, abs=0.02)
    stack = Stack(models, "own")
    for i, together in enumerate(pre_activations(stack.module, problem)):
        np.testing.assert_allclose(np.sort(together[1]), np.sort(layers[i][0]), rtol=1e-4, atol=1e-5)


def test_gaussian_samples_look_gaussian_and_others_do_not():
    rng = np.random.default_rng(0)
    near = gaussianity(rng.normal(2.0, 3.0, 20_000))
    assert near["distance"] < 0.01
    assert abs(near["negentropy"]) < 0.003
    assert (near["mean"], near["std"]) == pytest.approx((2.0, 3.0), rel=0.02)
    signs = gaussianity(rng.choice([-1.0, 1.0], 20_000))
    assert signs["distance"] == pytest.approx(0.3413, abs=0.01)  # 1/2 - Phi(-1)
    assert signs["kurtosis"] == pytest.approx(-2, abs=0.01)
    uniform = gaussianity(rng.uniform(size=20_000))
    assert uniform["negentropy"] == pytest.approx(0.5 * np.log(2 * pi * exp(1) / 12), rel=0.05)
    assert set(gaussianity(np.zeros(100)).values()) == {None}


# ------------------------------------------------------------------------------------------------------------ placement


@pytest.mark.parametrize(("name", "expected"), [
    ("crrelu_first", [True, True, False, False, False, False]),
    ("crrelu_middle", [False, False, True, True, False, False]),
    ("crrelu_last", [False, False, False, False, True, True]),
    ("crrelu", [True] * 6),
    ("relu", [False] * 6),
])  # fmt: skip
def test_the_activation_is_in_its_third_alone(name, expected):
    formula = {f.name: f for f in crrelu_layers.PLACED}.get(name) or get(name)
    models = [crrelu_layers.Placed(Mlp(8, 6, "kaiming")).build(formula, seed, DIGITS) for seed in (0, 1)]
    found = [hasattr(a, "eps") for a in models[0].modules() if isinstance(a, Activation)]
    assert found == expected
    plain = Mlp(8, 6, "kaiming").build(get("relu"), 0, DIGITS)
    for a, b in zip(models[0].layers, plain.layers, strict=True):
        torch.testing.assert_close(a.weight, b.weight, rtol=0, atol=0)
    x = torch.randn(2, 3, 1, 8, 8)
    together = Stack(models, "own").eval().module(x)
    for model, inputs, outputs in zip(models, x, together, strict=True):
        torch.testing.assert_close(model.eval()(inputs), outputs)


def test_thirds_need_three_layers():
    with pytest.raises(ActsmithError, match="has 2 activations; expected three or more"):
        crrelu_layers.Placed(Mlp(8, 2, "kaiming")).build(crrelu_layers.PLACED[0], 0, DIGITS)


# -------------------------------------------------------------------------------------------------------- paths of eps


def path(ends, start):
    """The path of a network of one layer: the start, then an epoch at whose end its seeds are at `ends`."""
    return np.array([[[start] * len(ends)], [ends]])


@pytest.mark.parametrize(("ends", "expected"), [
    ([0.05, 0.06, 0.055], "holds"),
    ([-0.05, -0.06, -0.055], "does not hold"),
    ([0.05, -0.06, 0.01], "open"),
])  # fmt: skip
def test_which_way_eps_goes(ends, expected):
    assert crrelu_eps._rises("net", {0.01: path(ends, 0.01)}).verdict == expected


@pytest.mark.parametrize(("high", "expected"), [
    ([0.05, 0.06, 0.055], "holds"),
    ([0.29, 0.31, 0.30], "does not hold"),
    ([0.02, 0.55, 0.30], "open"),
])  # fmt: skip
def test_whether_the_start_is_forgotten(high, expected):
    paths = {-0.3: path([-0.05, -0.06, -0.055], -0.3), 0.3: path(high, 0.3)}
    if expected == "does not hold":
        paths[-0.3] = path([-0.29, -0.31, -0.30], -0.3)
    assert crrelu_eps._forgets("net", paths).verdict == expected


# ----------------------------------------------------------------------------------------------------- whole and small


def scored(path, activation):
    """The details of the scored trainings of one activation, by seed."""
    records = map(json.loads, (path / "results.jsonl").read_text().splitlines())
    own = [r for r in records if r.get("stage") == "score" and r["formula"]["name"] == activation]
    return [r["details"] for r in sorted(own, key=lambda r: r["seed"])]


def test_the_path_of_eps_begins_at_its_start_and_ends_where_the_network_does(tmp_path):
    found = reproduce("crrelu-eps", "smoke", out=tmp_path, device="cpu")
    nets = scored(tmp_path, crrelu_eps.name_of(-0.1))
    last = [[net["parameters"][f"activations.{i}.eps"][0] for i in range(3)] for net in nets]
    assert [net["watched"][-1]["eps"] for net in nets] == [pytest.approx(values, abs=1e-5) for values in last]
    curve = next(c for c in found.findings.curves if c.name == "mlp-digits-path")
    lines = curve.panels["from -0.1"]
    assert len(lines) == 3
    assert all(line.y[0] == -0.1 and len(line.y) == 4 for line in lines)
    assert [line.y[-1] for line in lines] == [pytest.approx(v, abs=1e-5) for v in np.mean(last, 0)]


def test_the_law_is_watched_from_the_start_and_suggests_once(tmp_path):
    found = reproduce("crrelu-law", "smoke", out=tmp_path, device="cpu")
    watched = scored(tmp_path, "relu")[0]["watched"]
    start, end = watched[0]["start"], watched[-1]["laws"]
    assert len(start) == len(end) == 3
    assert watched[-1]["epoch"] == 3
    # Kaiming's first layer: variance 2 on inputs of mean square 1.
    assert start[0]["std"] == pytest.approx(sqrt(2), rel=0.15)
    assert start[0]["std"] != end[0]["std"]
    assert "eafo" in {row.name for row in found.findings.tables[0].rows}
    records = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    (reference,) = [r for r in records if r.get("stage") == "measured"]
    assert (reference["seed"], reference["test"]) == (2000, None)
    (derived,) = [r for r in records if r["key"] == "mlp-digits/measured"]
    assert derived["suggested"][0]["name"] == "eafo"


def test_the_paper_preset_has_the_nine_tables_and_every_activation():
    found = reproduction("crrelu-vision")
    parts = found.presets["paper"].parts(tuple(resolve(f) for f in found.activations))
    assert [p.name for p in parts] == [f"{model}-{data}" for model, data in crrelu_vision.PUBLISHED]
    assert all(isinstance(p, Measured) for p in parts)
    names = {f.name for f in parts[0].activations} | {s.name for s in parts[0].suggestions}
    assert names == {
        "relu", "prelu", "elu", "gelu", "silu", "mish", "crrelu", "crrelu_minus", "crrelu_fixed", "crrelu_fast", "eafo",
    }  # fmt: skip
    assert not crrelu("crrelu_fixed", learn=False).params["eps"].learn


def test_what_a_preset_leaves_out_is_out_of_reach():
    found = reproduction("crrelu-vision")
    formulas = tuple(resolve(f) for f in found.activations)
    small, paper = (list(crrelu_vision._published(found.presets[p].parts(formulas))) for p in ("small", "paper"))
    assert [c.verdict for c in small] == ["out of reach"] * 2
    assert "--preset paper --only vit-tiny-imagenet" in small[1].evidence
    assert paper == []


# ------------------------------------------------------------------------------------------- worst, dose, fast


def test_the_worst_of_a_measured_law_is_twice_its_distribution_function():
    found = corrected(Suggestion("worst_measured", kind="worst"), get("relu"), CURVED)
    x = np.linspace(-3, 2, 51)
    np.testing.assert_allclose(found(x), 2 * CURVED.cdf(x) - 1, atol=1e-12)
    assert found.params == {}
    assert found.name == "worst_measured"


def test_shares_of_the_known_that_are_better_than_the_worst():
    """By seed: of four known nets 3, then 1 score better; a diverged one is worse than any; equal is not better."""
    values = {"worst_normal": [0.5, 0.8], "relu": [0.6, 0.7], "gelu": [0.7, None], "tanh": [0.5, 0.9],
              "silu": [0.9, 0.8], "worst_measured": [1.0, 1.0]}  # fmt: skip
    accurate = table(**values)
    wrong = table(
        Metric("error", "lower"), **{n: [None if v is None else -v for v in own] for n, own in values.items()}
    )
    np.testing.assert_allclose(crrelu_worst._shares([accurate, wrong], "worst_normal"), [[0.75, 0.25]] * 2)
    lost = table(worst_normal=[None, 0.1], relu=[0.1, None])
    np.testing.assert_allclose(crrelu_worst._shares([lost], "worst_normal"), [[1, 0]])
    assert crrelu_worst._shares([accurate, table(relu=[0.1, 0.2])], "worst_normal").size == 0


def test_the_worst_activation_is_judged_by_its_place():
    many = np.full((5, 8), 0.95) + 0.01 * np.arange(8)
    shares = {("critical", "worst_normal"): many, ("kaiming", "worst_normal"): 1 - many,
              ("critical", "worst_logistic"): np.full((5, 8), 0.5) + 0.001 * np.arange(8),
              ("critical", "worst_measured"): np.array([])}  # fmt: skip
    claims = list(crrelu_worst._places(shares, "size"))
    assert [c.verdict for c in claims] == ["reproduced", "does not hold", "no difference that matters"]
    assert claims[0].effect.mean == pytest.approx(0.485)


def test_slopes_by_dose_are_least_squares_seed_by_seed():
    eps = np.array([-0.3, -0.1, 0.0, 0.1])
    losses = np.random.default_rng(0).uniform(0.1, 1.0, (4, 3))
    names = [crrelu_dose.DOSES[e].name if e else "relu" for e in eps]
    values = {name: list(own) for name, own in zip(names, losses, strict=True)}
    centred = eps - eps.mean()
    by_hand = centred @ np.log10(losses) / (centred @ centred)
    made = table(LOSS, **dict(reversed(values.items())))
    assert crrelu_dose._slopes(made) == pytest.approx(by_hand)
    values[names[0]][1] = None
    assert crrelu_dose._slopes(table(LOSS, **values)) == pytest.approx(by_hand[[0, 2]])


@pytest.mark.parametrize(("slope", "answer"), [(-0.1, "reproduced"), (0.1, "does not hold"), (0.001, "no difference")])
def test_the_sign_of_the_slope_answers(slope, answer):
    doses = {f.name: [0.5 * 10 ** (slope * e + 0.0001 * s) for s in range(5)] for e, f in crrelu_dose.DOSES.items()}
    made = table(LOSS, relu=[0.5 * 10 ** (0.0001 * s) for s in range(5)], **doses)
    claim = crrelu_dose._claim(made, "size")
    assert claim.verdict.startswith(answer)
    assert claim.effect.mean == pytest.approx(-0.3 * slope)


def test_fast_is_the_same_function_with_ten_times_the_step():
    x = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(fast()(x), crrelu()(x), atol=1e-15)
    assert fast().params["eps"].value == pytest.approx(0.001)


def test_a_fall_of_eps_is_counted_in_its_own_units():
    claims = list(crrelu_vision._falls({"crrelu": [[-0.02, 0.0]] * 3 + [[-0.03, 0.0]]}, "size"))
    assert [c.verdict for c in claims] == ["holds"]
    assert claims[0].effect.mean == pytest.approx(0.02125)
    assert claims[0].evidence == "below zero at the end in 4 of 8 layers"
