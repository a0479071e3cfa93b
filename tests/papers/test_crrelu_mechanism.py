"""What is measured against closed forms, the links on planted stories, and networks that are measured again by hand."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import ndtr

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation as get
from actsmith.nn.activation import Activation
from actsmith.papers import crrelu_mechanism as mechanism
from actsmith.papers.rank_correlation import between
from actsmith.papers.readers import outcomes
from actsmith.papers.reproduce import planned, reproduce
from actsmith.papers.separation import entropies, overlap, probe_error, separation
from actsmith.theory.entropy import entropy
from actsmith.trials.folder import RunFolder

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "crrelu-mechanism"
RNG = np.random.Generator(np.random.PCG64(3))


def two_gaussians(d, n=40_000, units=1):
    """N(0, 1) and N(d, 1) in equal shares; of several units the first alone tells."""
    y = np.arange(n) % 2
    x = RNG.standard_normal((n, units))
    x[:, 0] += d * y
    return x, y


# ------------------------------------------------------------------------------------------------- separation


@pytest.mark.parametrize("name", ["identity", "relu", "tanh", "gelu"])
def test_entropies_of_samples_are_those_of_the_theory(name):
    x, y = two_gaussians(0)
    found, within = entropies(get(name)(x), y)
    assert found == pytest.approx(entropy(name).smoothed, abs=0.01)
    assert within == pytest.approx(found, abs=0.01)  # the classes are alike


def test_entropy_within_classes_is_at_the_common_scale():
    d, tau = 3.0, 0.1
    x, y = two_gaussians(d)
    _, within = entropies(x, y)
    variance = 1 / (1 + d**2 / 4) + tau**2
    assert within == pytest.approx(np.log(2 * np.pi * np.e * variance) / 2, abs=0.01)


def test_a_unit_that_does_not_vary_has_no_entropy_and_tells_nothing():
    x, y = two_gaussians(2.0, n=400, units=2)
    x[:, 1] = 0.3
    assert entropies(x, y) == pytest.approx(entropies(x[:, :1], y))
    assert overlap(x[:, 1:], y) == 1
    found = separation(x[:, 1:], y)
    assert (found["entropy"], found["within"], found["overlap"]) == (None, None, 1)
    assert found["probe"] == pytest.approx(0.5, abs=0.05)
    x[0, 0] = np.inf
    assert set(separation(x, y).values()) == {None}


@pytest.mark.parametrize("d", [0.5, 1.0, 2.0, 4.0])
def test_overlap_and_probe_of_two_gaussians(d):
    x, y = two_gaussians(d)
    assert overlap(x, y) == pytest.approx(2 * ndtr(-d / 2), abs=0.015)
    x, y = two_gaussians(d, units=3)
    assert probe_error(x, y) == pytest.approx(ndtr(-d / 2), abs=0.01)


def test_data_processing():
    """An increasing f leaves the overlap as it is, a falling one within the estimate's error, none lowers it."""
    y = RNG.integers(4, size=2000)
    x = RNG.standard_normal((2000, 3)) + 0.7 * y[:, None]
    before = overlap(x, y)
    for f in (np.tanh, np.exp, lambda v: v**3, lambda v: 5 * v - 2):
        assert overlap(f(x), y) == before
    assert overlap(-x, y) == pytest.approx(before, abs=0.003)
    assert overlap(get("relu")(x - 1), y) > before + 0.01
    for f in (np.abs, get("gelu"), np.sin, np.round):
        assert overlap(f(x), y) > before - 0.003


def test_a_probe_gains_where_f_makes_classes_linear():
    x = RNG.standard_normal((4000, 2))
    y = (np.abs(x[:, 0]) > 0.6745).astype(int)
    assert probe_error(x, y) > 0.4
    assert probe_error(np.abs(x), y) < 0.2


# -------------------------------------------------------------------------------------------- rank correlations


def test_families_are_drawn_together():
    families = [str(i // 5) for i in range(40)]
    head = np.repeat(RNG.standard_normal(8), 5)[None, :, None]
    x = head + 0.1 * RNG.standard_normal((2, 40, 3))
    y = 0.5 * head + np.repeat(RNG.standard_normal(8), 5)[None, :, None] + 0.1 * RNG.standard_normal((2, 40, 3))
    each, together = between(x, y, families, draws=300)
    _, apart = between(x, y, [str(i) for i in range(40)], draws=300)
    assert len(each) == 2
    assert together.rho == apart.rho
    assert together.high - together.low > 1.3 * (apart.high - apart.low)
    assert between(x, 3 * x + 1, families, draws=50)[1].low == pytest.approx(1)
    with pytest.raises(ActsmithError, match="four families"):
        between(x, y, ["one"] * 40)


def planted(sign):
    """Measurements in which f's changes drive each other, and the loss by `sign`."""
    names = tuple(f.name for f in mechanism.activations())
    change = RNG.standard_normal((2, len(names), 1, 1)) + 0.05 * RNG.standard_normal((2, len(names), 3, 4))
    zero = RNG.standard_normal(change.shape)
    at = {"z": dict.fromkeys(mechanism.QUANTITIES, zero), "a": dict.fromkeys(mechanism.QUANTITIES, zero + change)}
    return mechanism.Measurements(names, {"start": at, "end": at}, 10 + sign * change.mean(-1))


def test_links_of_planted_stories():
    for sign, expected in ((1, "reproduced"), (-1, "does not hold")):
        m = planted(sign)
        found = {
            ln.name: mechanism._found(ln, "end", m, ["one", "two"], [*m.names], change=True) for ln in mechanism.LINKS
        }
        assert mechanism._claim(found["entropy-overlap"], "").verdict == "reproduced"
        for name in ("probe-loss", "entropy-loss"):
            claim = mechanism._claim(found[name], "")
            assert (claim.verdict, claim.origin, claim.margin) == (expected, "paper", 0.2)
            assert found[name].mean.rho * sign > 0.9


def test_activations_are_many_and_some_increase():
    made = mechanism.activations()
    assert len(made) == len({f.name for f in made}) >= 30
    assert [mechanism.rises(get(n)) for n in ("tanh", "sigmoid", "relu", "gelu", "sin")] == [True, True, *[False] * 3]


# --------------------------------------------------------------------------------------------------- networks


def test_a_stack_is_measured_as_its_nets():
    part = planned("crrelu-mechanism", "smoke").parts[1]
    problem = part.problem.load(None)
    nets = [part.model.build(get("crrelu"), seed, problem) for seed in (0, 1)]
    stack = nets[0].batched(2)
    stack.load_state_dict({k: torch.stack([n.state_dict()[k] for n in nets]).reshape(v.shape)
                           for k, v in stack.state_dict().items()})  # fmt: skip
    x = problem.splits["test"][0][:50]
    together = mechanism.layers_of(stack, x)
    for i, net in enumerate(nets):
        for (z, a), (zs, as_), f in zip(mechanism.layers_of(net, x), together, net.activations, strict=True):
            assert z.shape == a.shape == (1, 50, 16)
            np.testing.assert_allclose(zs[i], z[0], atol=1e-5)
            np.testing.assert_allclose(as_[i], a[0], atol=1e-5)
            assert isinstance(f, Activation)
            np.testing.assert_allclose(f.formula(z[0]), a[0], atol=1e-5)


def test_a_cell_of_the_smoke_preset_measured_by_hand(tmp_path):
    result = reproduce("crrelu-mechanism", "smoke", tmp_path, device="cpu", activations=["elu"])
    part = result.parts[1]
    problem = part.problem.load(None)
    x, y = (torch.cat([problem.splits[s][i] for s in ("validation", "test")]) for i in (0, 1))
    net = part.model.build(get("elu"), 0, problem)
    y, z = y.numpy(), mechanism.layers_of(net, x)[0][0][0]
    measured = result.findings.facts["measured, mean over layers and seeds"]
    assert {*measured} == {"before training", "after training"}
    with RunFolder(result.folder, result.config, resume=True, lock=False) as folder:
        first = next(o for o in outcomes(folder, "digits")["elu"] if o.trial.seed == 0)
    record = first.details["watched"][0]["start"][0]
    by_hand = []
    for unit in z.T:
        edges = np.sort(unit)[[len(unit) * i // 10 for i in range(1, 10)]]
        laws = [np.bincount(np.searchsorted(edges, unit[y == c], "right"), minlength=10) / sum(y == c)
                for c in range(10)]  # fmt: skip
        by_hand += [np.minimum(p, q).sum() for p, q in combinations(laws, 2)]
    assert record["z"]["overlap"] == pytest.approx(np.mean(by_hand), abs=1e-4)
    assert record["a"]["overlap"] == pytest.approx(record["z"]["overlap"], abs=1e-4)  # elu increases
    chain = {c.statement.split(":")[0] for c in result.findings.claims}
    assert chain == {link.statement for link in mechanism.LINKS}
    assert "elu" in result.findings.facts["increasing"]


@pytest.mark.parametrize("time", ["before training", "after training"])
def test_published_links_follow_from_the_published_measurements(time):
    found = json.loads((RESULTS / "findings.json").read_text())
    claims = [c for c in found["claims"] if c["statement"].endswith(f"{time}.")]
    assert len(claims) == len(mechanism.LINKS)
    for link, claim in zip(mechanism.LINKS, claims, strict=True):
        rhos = []
        for t in found["tables"]:
            losses = {row["name"]: np.mean(row["values"]) for row in t["rows"] if None not in row["values"]}
            rows = found["facts"]["measured, mean over layers and seeds"][time][t["name"]]
            ends = [
                [losses[n] if q == "loss" else round(at[q][1] - at[q][0], 4) for n, at in rows.items()]
                for q in link.ends
            ]
            rhos.append(stats.spearmanr(*ends).statistic)
        effect = claim["effect"]
        assert effect["mean"] == pytest.approx(np.mean(rhos), abs=0.01)
        decided = {"reproduced": effect["low"] > 0.2, "does not hold": effect["high"] < -0.2}
        inside = effect["low"] > -0.2 and effect["high"] < 0.2
        expected = next(
            (v for v, is_it in decided.items() if is_it), "no difference that matters" if inside else "open"
        )
        assert (claim["verdict"], claim["margin"]) == (expected, 0.2)
