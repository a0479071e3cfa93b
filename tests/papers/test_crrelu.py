"""The reproductions of arXiv:2405.12954 at their smallest: what is measured, who wins and by what rule, resumption."""

import json
from dataclasses import replace
from math import exp, pi, sqrt

import numpy as np
import pytest
import torch

from actsmith.errors import ActsmithError
from actsmith.experiments.findings import Row, Table
from actsmith.experiments.images import Images
from actsmith.experiments.models import Mlp
from actsmith.experiments.reproduce import reproduce, reproduction
from actsmith.experiments.reproductions import crrelu_eps, crrelu_law, crrelu_layers, crrelu_vision
from actsmith.experiments.reproductions.crrelu import (
    ACCURACY,
    HEIGHT,
    Suggestion,
    _corrected,
    contest,
    crrelu,
    measured_laws,
    verdict,
)
from actsmith.formula.catalogue import get, resolve
from actsmith.nn.activation import Activation
from actsmith.theory.laws import Mixture, Normal

CURVED = Mixture((0.5, 0.5), (Normal(-1, 0.5), Normal(0.4, 0.2)))


def table(**values):
    """Activations with their accuracies by seed, on one table."""
    rows = [
        Row(name, tuple(v), None, None, None, None, None, None, None, None, 1e-3, False, 0.0, 0, 0)
        for name, v in values.items()
    ]
    return Table("net", "net", ACCURACY, "relu", tuple(rows))


WORSE, SAME, BETTER = [0.50, 0.51, 0.52, 0.50], [0.60, 0.61, 0.62, 0.60], [0.70, 0.71, 0.72, 0.705]
NOISY = [0.50, 0.72, 0.55, 0.65]


# ------------------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({"a": WORSE}, "reproduced"),
        ({"a": WORSE, "b": NOISY}, "partly reproduced"),
        ({"a": WORSE, "b": BETTER}, "partly reproduced"),
        ({"a": NOISY}, "not resolved"),
        ({"a": NOISY, "b": BETTER}, "not reproduced"),
        ({"a": [*WORSE[:3], None]}, "not resolved"),
    ],
)
def test_the_intervals_decide(others, expected):
    claim = verdict("Best.", contest(table(crrelu=SAME, **others), "crrelu", list(others)), "net")
    assert claim.verdict == expected
    assert all(name in claim.evidence for name in others)


def test_one_win_among_many_must_survive_holm():
    barely = [v - d for v, d in zip(SAME, (0.01, 0.002, 0.009, 0.006), strict=True)]
    (alone,) = contest(table(crrelu=SAME, a=barely), "crrelu", ["a"])
    assert alone.won
    assert 0.02 < alone.p < 0.05
    others = {"a": barely, "b": NOISY, "c": NOISY, "d": NOISY}
    among = contest(table(crrelu=SAME, **others), "crrelu", list(others))
    assert not among[0].won
    assert among[0].p > 0.05


def test_a_lower_score_can_be_the_better_one():
    errors = replace(table(crrelu=WORSE, a=SAME), metric=replace(ACCURACY, better="lower"))
    (duel,) = contest(errors, "crrelu", ["a"])
    assert duel.won
    assert duel.difference.mean == pytest.approx(0.1)


# ------------------------------------------------------------------------------------------------------- measured laws


@pytest.mark.parametrize("std", [0.1, 1.0, 3.0])
def test_a_gaussian_law_suggests_crrelu_at_its_scale(std):
    found = _corrected(Suggestion("eafo", "normal", 0.05), get("relu"), Normal(0, std))
    x = np.linspace(-4 * std, 4 * std, 41)
    expected = std * get("crrelu", eps=0.05)(x / std)
    np.testing.assert_allclose(found(x), expected, rtol=1e-5, atol=1e-9 * std)
    assert found.name == "eafo"
    assert found.params["eps"].learn


def test_another_law_suggests_another_function_as_high():
    found = _corrected(Suggestion("eafo", eps=1.0), get("relu"), CURVED)
    x = np.linspace(-4, 4, 8001)
    shape = found(x) - np.maximum(x, 0)
    assert np.abs(shape).max() == pytest.approx(HEIGHT * CURVED.std, rel=1e-3)
    # The correction of the line f(x) = x is eta = -p'; here on the whole axis, in the sign that is published.
    direction = -CURVED.score(x) * CURVED.pdf(x)
    factor = HEIGHT * CURVED.std / np.abs(direction).max()
    np.testing.assert_allclose(shape, factor * direction, atol=1e-3 * HEIGHT)


def test_the_law_is_that_of_what_reaches_the_activation():
    problem = Images("digits").load(None)
    model = Mlp(32, 2, "kaiming").build(get("relu"), (0, 1), problem)
    laws = measured_laws(model.train(), problem)
    layers = crrelu_law.pre_activations(model, problem)
    assert model.training
    assert len(laws) == len(layers) == 2
    for law, values in zip(laws.values(), layers, strict=True):
        assert values.shape[0] == 2
        assert (law.mean, law.std) == pytest.approx((values.mean(), values.std()), rel=0.05, abs=0.02)


def test_gaussian_samples_look_gaussian_and_others_do_not():
    rng = np.random.default_rng(0)
    near = crrelu_law.gaussianity(rng.normal(2.0, 3.0, 20_000))
    assert near["distance"] < 0.01
    assert abs(near["negentropy"]) < 0.003
    assert (near["mean"], near["std"]) == pytest.approx((2.0, 3.0), rel=0.02)
    signs = crrelu_law.gaussianity(rng.choice([-1.0, 1.0], 20_000))
    assert signs["distance"] == pytest.approx(0.3413, abs=0.01)  # 1/2 - Phi(-1)
    assert signs["kurtosis"] == pytest.approx(-2, abs=0.01)
    uniform = crrelu_law.gaussianity(rng.uniform(size=20_000))
    assert uniform["negentropy"] == pytest.approx(0.5 * np.log(2 * pi * exp(1) / 12), rel=0.05)
    assert set(crrelu_law.gaussianity(np.zeros(100)).values()) == {None}


# ------------------------------------------------------------------------------------------------------------ placement


@pytest.mark.parametrize(("name", "expected"), [
    ("crrelu_first", [True, True, False, False, False, False]),
    ("crrelu_middle", [False, False, True, True, False, False]),
    ("crrelu_last", [False, False, False, False, True, True]),
    ("crrelu", [True] * 6),
    ("relu", [False] * 6),
])  # fmt: skip
def test_the_activation_is_in_its_third_alone(name, expected):
    problem = Images("digits", train=100).load(None)
    formula = {f.name: f for f in crrelu_layers.PLACED}.get(name) or get(name)
    model = crrelu_layers.Placed(Mlp(8, 6, "kaiming")).build(formula, (0, 1), problem)
    assert [hasattr(a, "eps") for a in model.modules() if isinstance(a, Activation)] == expected
    plain = Mlp(8, 6, "kaiming").build(get("relu"), (0, 1), problem)
    for a, b in zip(model.weights, plain.weights, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert model(torch.zeros(2, 3, 1, 8, 8)).shape == (2, 3, 10)


def test_thirds_need_three_layers():
    problem = Images("digits", train=100).load(None)
    with pytest.raises(ActsmithError, match="has 2 activations; expected three or more"):
        crrelu_layers.Placed(Mlp(8, 2, "kaiming")).build(crrelu_layers.PLACED[0], (0,), problem)


# -------------------------------------------------------------------------------------------------------- paths of eps


def path(ends, start):
    """The path of a network of one layer: the start, then an epoch at whose end its seeds are at `ends`."""
    return [[[start] * len(ends)], [ends]]


@pytest.mark.parametrize(("ends", "expected"), [
    ([0.05, 0.06, 0.055], "reproduced"),
    ([-0.05, -0.06, -0.055], "not reproduced"),
    ([0.05, -0.06, 0.01], "not resolved"),
])  # fmt: skip
def test_which_way_eps_goes(ends, expected):
    assert crrelu_eps._rises("net", {0.01: path(ends, 0.01)}).verdict == expected


@pytest.mark.parametrize(("high", "expected"), [
    ([0.05, 0.06, 0.055], "reproduced"),
    ([0.29, 0.31, 0.30], "not reproduced"),
    ([0.02, 0.55, 0.30], "not resolved"),
])  # fmt: skip
def test_whether_the_start_is_forgotten(high, expected):
    paths = {-0.3: path([-0.05, -0.06, -0.055], -0.3), 0.3: path(high, 0.3)}
    if expected == "not reproduced":
        paths[-0.3] = path([-0.29, -0.31, -0.30], -0.3)
    assert crrelu_eps._forgets("net", paths).verdict == expected


# ----------------------------------------------------------------------------------------------------- whole and small


def trained(folder):
    """The lines of the results."""
    return (folder / "results.jsonl").read_text().splitlines()


@pytest.mark.parametrize("name", ["crrelu-eps", "crrelu-layers", "crrelu-law", "crrelu-vision"])
def test_at_its_smallest(name, tmp_path):
    first = reproduce(name, "smoke", out=tmp_path, device="cpu")
    before = trained(tmp_path)
    again = reproduce(name, "smoke", out=tmp_path, device="cpu")
    assert trained(tmp_path) == before
    assert again.findings == first.findings
    records = [json.loads(line) for line in before]
    scored = [r for r in records if r["stage"] == "score"]
    for found in first.findings.tables:
        mine = [r for r in scored if r["experiment"] == found.name]
        assert {row.name for row in found.rows} == {r["activation"] for r in mine}
        for row in found.rows:
            accuracies = [a for r in mine if r["activation"] == row.name for a in r["test"]["accuracy"]]
            assert row.values == tuple(accuracies)
            assert row.diverged == 0
    assert first.findings.claims
    assert first.findings.summary
    json.dumps(first.findings.facts, allow_nan=False)


def test_the_path_of_eps_begins_at_its_start_and_ends_where_the_network_does(tmp_path):
    found = reproduce("crrelu-eps", "smoke", out=tmp_path, device="cpu")
    (record,) = [
        r for r in map(json.loads, trained(tmp_path))
        if r["stage"] == "score" and r["activation"] == crrelu_eps.name_of(-0.1)
    ]  # fmt: skip
    last = [record["parameters"][f"activations.{i}.eps"] for i in range(3)]
    assert record["watched"][-1]["eps"] == [pytest.approx(values, abs=1e-5) for values in last]
    curve = next(c for c in found.findings.curves if c.name == "mlp-digits-path")
    lines = curve.panels["from -0.1"]
    assert len(lines) == 3
    assert all(line.y[0] == -0.1 and len(line.y) == 4 for line in lines)
    assert [line.y[-1] for line in lines] == [pytest.approx(np.mean(values), abs=1e-5) for values in last]


def test_the_law_is_watched_from_the_start(tmp_path):
    reproduce("crrelu-law", "smoke", out=tmp_path, device="cpu")
    (record,) = [
        r for r in map(json.loads, trained(tmp_path)) if r["stage"] == "score" and r["activation"] == "relu"
    ]  # fmt: skip
    start, end = record["watched"][0]["start"], record["watched"][-1]["laws"]
    assert len(start) == len(end) == 3
    assert record["watched"][-1]["epoch"] == 3
    # Kaiming's first layer: variance 2 on inputs of mean square 1.
    assert np.mean(start[0]["std"]) == pytest.approx(sqrt(2), rel=0.15)
    assert start[0]["std"] != end[0]["std"]


def test_the_paper_preset_has_the_nine_tables_and_every_activation():
    found = reproduction("crrelu-vision")
    formulas = tuple(resolve(f) for f in found.activations)
    parts = found.presets["paper"].parts(formulas)
    assert [p.name for p in parts] == [f"{model}-{data}" for model, data in crrelu_vision.PUBLISHED]
    names = {f.name for f in parts[0].experiment.activations} | {s.name for s in parts[0].suggestions}
    assert names == {
        "relu", "prelu", "elu", "celu", "gelu", "silu", "mish", "crrelu", "crrelu_minus", "crrelu_fixed", "eafo",
    }  # fmt: skip
    assert not crrelu("crrelu_fixed", learn=False).params["eps"].learn


@pytest.mark.parametrize("name", ["crrelu-eps", "crrelu-layers", "crrelu-law", "crrelu-vision"])
def test_activations_of_the_command_line_join_every_preset(name):
    found = reproduction(name)
    formulas = tuple(resolve(f) for f in (*found.activations, "tanh"))
    for preset in found.presets.values():
        experiments = [getattr(part, "experiment", part) for part in preset.parts(formulas)]
        joined = [e.name for e in experiments if "tanh" in {f.name for f in e.activations}]
        # Where nothing is compared, laws are watched with ReLU alone.
        compared = [e.name for e in experiments if len(e.activations) > 1]
        assert joined == compared != []


def test_what_a_preset_leaves_out_is_out_of_reach():
    claims = crrelu_vision._claims({"vit-cifar10": replace(table(
        relu=WORSE, crrelu=SAME, prelu=WORSE, elu=WORSE, celu=WORSE, gelu=WORSE, silu=WORSE, mish=WORSE
    ), name="vit-cifar10")})  # fmt: skip
    assert [c.verdict for c in claims] == ["reproduced", *["out of reach here"] * 8, "reproduced"]
