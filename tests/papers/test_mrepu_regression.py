"""Regression of known functions: the targets, what the scores mean, who beats whom, and all of it at the smallest
size.
"""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.experiments import experiment
from actsmith.experiments.duels import Duel, duel, together
from actsmith.experiments.findings import Row, Table
from actsmith.experiments.functions import (
    FIRST,
    OUTSIDE,
    SECOND,
    VALUE,
    FunctionConfig,
    Pictures,
    Polynomial,
    PolynomialConfig,
    derivatives,
    random_polynomial,
)
from actsmith.experiments.initial import initialisation
from actsmith.experiments.network import Stack
from actsmith.experiments.reproduce import reproduce
from actsmith.experiments.reproductions import mrepu_polynomial
from actsmith.experiments.reproductions.mrepu import ACTIVATIONS, MREPU, REPU, error_lines, failed, fails
from actsmith.formula.catalogue import get


class Exactly(nn.Module):
    """A stack of two equal networks that are a given function."""

    nets = 2

    def __init__(self, function):
        super().__init__()
        self.function, self.unused = function, nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.function(x)


# ------------------------------------------------------------------------------------------------- polynomials


def test_a_polynomial_is_the_sum_of_its_terms():
    p = Polynomial("p", ((2, 1), (0, 0), (0, 3)), (2.0, -1.0, 0.5))
    x = torch.tensor([[1.5, -2.0], [0.0, 0.0]], dtype=torch.float64)
    expected = 2 * x[:, 0] ** 2 * x[:, 1] - 1 + 0.5 * x[:, 1] ** 3
    torch.testing.assert_close(p(x), expected[:, None])
    assert (p.variables, p.degree) == (2, 3)


def test_a_random_polynomial_has_every_monomial():
    p = random_polynomial("p", variables=3, degree=4, seed=1)
    assert len(p.exponents) == math.comb(3 + 4, 4) - 1
    assert len(set(p.exponents)) == len(p.exponents)
    assert p.degree == 4
    assert p == random_polynomial("p", variables=3, degree=4, seed=1) != random_polynomial("p", 3, 4, seed=2)


def test_exponents_that_do_not_fit():
    with pytest.raises(ActsmithError, match=r"lengths \[1, 2\]"):
        Polynomial("p", ((1,), (1, 1)), (1.0, 1.0))
    with pytest.raises(ActsmithError, match="reach above 1"):
        PolynomialConfig(mrepu_polynomial.CUBE, reach=1.0).load(None)


def test_the_points_of_a_polynomial_problem():
    problem = PolynomialConfig(mrepu_polynomial.TRIPLE, low=0.0, high=2.0, reach=1.5, size=256, held_out=500).load(None)
    inside = torch.cat([problem.train[0], problem.splits["validation"][0], problem.splits["test"][0]])
    assert inside.shape == (256 + 500 + 500, 3)
    assert 0 <= inside.min() < 0.05
    assert 1.95 < inside.max() <= 2
    distance = (problem.outside[0] - 1).abs().amax(1)
    assert len(distance) == 500
    assert 1 < distance.min() < 1.05
    assert 1.45 < distance.max() <= 1.5
    x, y = problem.train
    assert float(y.std()) == pytest.approx(1.0, rel=1e-5)
    ratio = x.prod(1) / y[:, 0]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-4, atol=0)


def test_what_the_scores_of_a_polynomial_mean():
    problem = PolynomialConfig(mrepu_polynomial.SQUARE, size=512).load(None)
    scale = float((problem.train[0][0] ** 2 / problem.train[1][0]).item())
    right = problem.score(Exactly(lambda x: x**2 / scale), "test")
    assert right[VALUE.name].shape == right[OUTSIDE.name].shape == (2,)
    assert max(map(float, [*right[VALUE.name], *right[OUTSIDE.name]])) < 1e-5
    mean = float(problem.splits["test"][1].mean())
    constant = problem.score(Exactly(lambda x: torch.full_like(x, mean)), "test")
    assert float(constant[VALUE.name][0]) == pytest.approx(1.0, rel=1e-5)
    assert float(constant[OUTSIDE.name][0]) > 1  # the mean inside is not that outside
    # Right inside alone: the shell sees it.
    clipped = problem.score(Exactly(lambda x: x.clamp(-1, 1) ** 2 / scale), "test")
    assert float(clipped[VALUE.name][0]) < 1e-5
    assert float(clipped[OUTSIDE.name][0]) > 0.1


# --------------------------------------------------------------------------------------------------- functions


def test_derivatives_of_networks_are_those_of_finite_differences():
    formula = get("tanh")
    stack = Stack(
        formula, [0, 1, 2], features=1, width=8, depth=3, outputs=1, start=initialisation(formula, 3),
        dtype=torch.float64,
    )  # fmt: skip
    x, h = torch.linspace(-1, 1, 7, dtype=torch.float64)[:, None], 1e-4
    value, first, second = derivatives(stack, x)
    with torch.no_grad():
        below, middle, above = (stack((x + d).expand(3, 7, 1)) for d in (-h, 0.0, h))
    torch.testing.assert_close(value, middle)
    torch.testing.assert_close(first, (above - below) / (2 * h), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(second, (above - 2 * middle + below) / h**2, rtol=1e-4, atol=1e-5)


def test_a_relu_network_has_no_second_derivative():
    formula = get("relu")
    stack = Stack(formula, [0], features=1, width=8, depth=2, outputs=1, start=initialisation(formula, 2))
    _, first, second = derivatives(stack, torch.linspace(-1, 1, 9)[:, None])
    assert first.abs().max() > 0
    assert second.abs().max() == 0


def test_what_the_scores_of_a_function_mean():
    problem = FunctionConfig("sin(2*pi*x)").load(None)
    s = problem.scale
    right = problem.score(Exactly(lambda x: torch.sin(2 * math.pi * x) / s), "test")
    assert all(float(right[m.name].max()) < 1e-5 for m in (VALUE, FIRST, SECOND))
    line = problem.score(Exactly(lambda x: 0.3 * x), "validation")
    assert float(line[SECOND.name][0]) == pytest.approx(1.0)
    constant = problem.score(Exactly(lambda x: 0 * x + 0.2), "validation")
    assert float(constant[FIRST.name][0]) == pytest.approx(1.0)
    # 1 % too fast: the second derivative suffers more than the first, and that more than the value.
    off = problem.score(Exactly(lambda x: torch.sin(2.02 * math.pi * x) / s), "test")
    assert float(off[VALUE.name][0]) < float(off[FIRST.name][0]) < float(off[SECOND.name][0])


def test_a_function_without_its_derivatives_is_refused():
    with pytest.raises(ActsmithError, match="not finite on all of"):
        FunctionConfig("sqrt(x)", low=-1.0, high=1.0).load(None)


def test_pictures_are_taken_once_and_in_the_functions_own_units():
    problem = FunctionConfig("exp(x)").load(None)
    watcher = Pictures(after=3, points=5).build(Exactly(lambda x: torch.exp(x) / problem.scale), problem)
    assert watcher.after_epoch(0) is None
    assert watcher.after_epoch(3) is None
    found = watcher.after_epoch(2)
    assert found["x"] == [-1.0, -0.5, 0.0, 0.5, 1.0]
    for name in ("value", "first", "second"):
        np.testing.assert_allclose(found[name], np.exp(found["x"]), rtol=1e-4)


# ---------------------------------------------------------------------------------------------- who beats whom


def _row(name, values):
    nothing = dict.fromkeys(("mean", "low", "high", "difference", "difference_low", "difference_high", "p", "effect"))
    return Row(
        name=name, values=tuple(values), rate=0.1, at_edge=False, step_seconds=1.0, peak_bytes=1,
        diverged=sum(v is None for v in values), **nothing,
    )  # fmt: skip


def _table(*rows):
    return Table("t", "t", VALUE, "relu", rows)


GOOD, BAD = [0.010, 0.011, 0.012, 0.0105], [0.5, 0.52, 0.61, 0.49]


def test_a_duel_counts_what_differs_and_what_diverged():
    tables = [
        _table(_row("a", GOOD), _row("b", BAD)),
        _table(_row("a", BAD), _row("b", GOOD)),
        _table(_row("a", GOOD), _row("b", [*BAD[:3], None])),
        _table(_row("a", [None] * 4), _row("b", BAD)),
        _table(_row("a", [None] * 4), _row("b", [None] * 4)),
        _table(_row("a", GOOD), _row("b", [0.011, 0.0105, 0.012, 0.010])),
    ]
    assert duel(tables, "a", "b") == Duel("a", "b", wins=2, losses=2, ties=2)
    assert duel(tables[:1], "b", "a") == Duel("b", "a", wins=0, losses=1, ties=0)


def test_a_duel_corrects_for_the_number_of_tables():
    """One difference of p = 0.03 counts alone, not among three."""
    b = [1.0, 1.0, 1.0, 1.0]
    a = [10.0**v for v in (-0.1, -0.5, -0.3, -0.6)]
    assert duel([_table(_row("a", a), _row("b", b))], "a", "b").wins == 1
    assert duel([_table(_row("a", a), _row("b", b))] * 3, "a", "b").wins == 0


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ((5, 0, 1), "reproduced"),
        ((2, 0, 4), "partly reproduced"),
        ((3, 2, 1), "partly reproduced"),
        ((2, 2, 2), "not reproduced"),
        ((0, 1, 5), "not reproduced"),
        ((0, 0, 6), "not resolved"),
    ],
)
def test_the_verdict_of_a_duel(counts, verdict):
    assert Duel("a", "b", *counts).verdict == verdict


def test_several_duels_together():
    won, lost, nothing = Duel("a", "b", 5, 0, 1), Duel("c", "b", 0, 5, 1), Duel("d", "b", 0, 0, 6)
    assert together([won, won]) == "reproduced"
    assert together([won, lost]) == together([won, nothing]) == "partly reproduced"
    assert together([lost, nothing]) == "not reproduced"
    assert together([nothing]) == "not resolved"


def test_failing_is_diverging_or_learning_nothing():
    table = _table(_row("a", GOOD), _row("b", [None, 0.1]), _row("c", [0.98, 1e9, 0.2]))
    assert [failed(table, name) for name in "abc"] == [0, 1, 2]
    whole = _table(*(replace(_row(n, GOOD), low=low) for n, low in zip("abc", (0.01, None, 0.95), strict=True)))
    assert [fails(whole, name) for name in "abc"] == [False, True, True]


def test_lines_leave_gaps_where_an_error_is_none_or_huge():
    def table(*means):
        rows = [replace(_row(n, GOOD), mean=m) for n, m in zip("ab", means, strict=True)]
        return _table(*rows[::-1])

    a, b = error_lines([(2.0, table(0.5, 0.1)), (6.0, table(None, 1e9))])
    assert (a.label, a.x, a.y) == ("a", (2.0, 6.0), (0.5, None))
    assert (b.label, b.y) == ("b", (0.1, None))


def _verdicts(failing):
    """Verdicts on RePU and on MRePU where the nets of (name, initialisation) in `failing` diverged."""
    tables = [
        [_table(*(_row(f.name, [None] * 4 if (f.name, init) in failing else GOOD) for f in ACTIVATIONS))]
        for init in ("critical", "kaiming")
    ]
    return (
        mrepu_polynomial._repu_fails(*tables, 12).verdict,
        mrepu_polynomial._mrepu_trains(*tables, 12).verdict,
    )


def test_the_verdicts_on_depth():
    repu = {(f.name, n) for f in REPU for n in ("critical", "kaiming")}
    assert _verdicts(set()) == ("not reproduced", "reproduced")
    assert _verdicts(repu) == ("reproduced", "reproduced")
    assert _verdicts(repu - {("repu_2", "kaiming")})[0] == "partly reproduced"
    assert _verdicts({("repu_2", "kaiming")})[0] == "not reproduced"
    assert _verdicts({(f.name, "kaiming") for f in MREPU})[1] == "partly reproduced"
    assert _verdicts({("mrepu_3", "critical")})[1] == "partly reproduced"
    assert _verdicts({(f.name, "critical") for f in MREPU[1:]})[1] == "not reproduced"


# ------------------------------------------------------------------------------------------ the smallest size


@pytest.mark.parametrize(("name", "experiments"), [("mrepu-polynomial", 2), ("mrepu-function", 1)])
def test_smoke(name, experiments, tmp_path, monkeypatch):
    run = tmp_path / "run"
    result = reproduce(name, "smoke", run, activations=["softplus"])
    names = {f.name for f in ACTIVATIONS} | {"softplus"}
    records = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    assert len(records) == experiments * len(names) * 3  # two rates tuned, one scored
    table = result.findings.tables[0]
    assert {row.name for row in table.rows} == names
    assert all(len(row.values) == 2 for row in table.rows)
    best = table.rows[0]
    assert best.mean == pytest.approx(math.exp(sum(map(math.log, best.values)) / 2))
    assert result.findings.claims
    # Results alone decide the findings, and nothing is trained again.
    monkeypatch.setattr(experiment, "fit", None)
    assert reproduce(name, "smoke", run, activations=["softplus"]).findings == result.findings


def test_pictures_reach_the_findings(tmp_path):
    result = reproduce("mrepu-function", "smoke", tmp_path)
    (figure,) = (c for c in result.findings.curves if c.name.endswith("-fit"))
    assert list(figure.panels) == ["value", "first derivative", "second derivative"]
    exact, *fits = figure.panels["first derivative"]
    np.testing.assert_allclose(exact.y, 2 * math.pi * np.cos(2 * math.pi * np.asarray(exact.x)), atol=1e-3)
    assert {s.label for s in fits} >= {"relu", "gelu", "mrepu_2"}
    second = {s.label: s.y for s in figure.panels["second derivative"]}
    assert set(second["relu"]) == {0.0}
