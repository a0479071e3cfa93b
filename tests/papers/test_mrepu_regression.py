"""The reproductions of regression: verdicts on depth, and the pictures of one seed."""

import math
from dataclasses import replace

import numpy as np
import pytest
from paper_tables import ERROR, table

from actsmith.papers import mrepu_polynomial
from actsmith.papers.claims import judge
from actsmith.papers.mrepu import ACTIVATIONS, REPU
from actsmith.papers.reproduce import reproduce

GOOD = [0.010, 0.011, 0.012, 0.0105]


def answers(failing):
    """Of the questions on depth, where the nets of (name, initialisation) in `failing` diverged."""
    seeds = 8
    tables = [
        table(
            ERROR, f"triple-{init}-12",
            **{f.name: ([None] * seeds if (f.name, init) in failing else 2 * GOOD) for f in ACTIVATIONS},
        )
        for init in ("critical", "kaiming")
    ]  # fmt: skip
    claims = judge(mrepu_polynomial.QUESTIONS, tables)
    return [c.verdict for c in claims if "cannot be trained" in c.statement]


def test_what_is_said_of_depth():
    """RePU 2 and 3 from the critical start, then from He's."""
    repu = {(f.name, n) for f in REPU for n in ("critical", "kaiming")}
    assert answers(repu) == ["reproduced"] * 4
    assert answers(set()) == ["no difference that matters"] * 4
    mixed = answers({("repu_2", "kaiming"), ("mrepu_3", "critical")})
    assert mixed == ["no difference that matters", "reproduced", "contradicted", "no difference that matters"]


def test_targets_are_counted_by_the_lower_mean():
    labels = {"depth": mrepu_polynomial.DEPTH, "init": "critical"}
    means = [(0.1, 0.2), (0.1, 0.2), (0.3, 0.2), (0.1, None), (None, 0.2)]
    tables = [
        replace(made, rows=tuple(replace(r, mean=m) for r, m in zip(made.rows, pair, strict=True)))
        for pair in means
        for made in [table(ERROR, labels=labels, a=GOOD, b=GOOD)]
    ]
    assert mrepu_polynomial._wins(tables, "a", "b") == (3, 5, 1.0)


def test_pictures_reach_the_findings(tmp_path):
    result = reproduce("mrepu-function", "smoke", tmp_path)
    (figure,) = (c for c in result.findings.curves if c.name.endswith("-fit"))
    assert list(figure.panels) == ["value", "first derivative", "second derivative"]
    exact, *fits = figure.panels["first derivative"]
    np.testing.assert_allclose(exact.y, 2 * math.pi * np.cos(2 * math.pi * np.asarray(exact.x)), atol=1e-3)
    assert {s.label for s in fits} >= {"relu", "gelu", "mrepu_2"}
    second = {s.label: s.y for s in figure.panels["second derivative"]}
    assert set(second["relu"]) == {0.0}


def test_errors_are_compared_in_decades_and_means_are_geometric(tmp_path):
    found = reproduce("mrepu-polynomial", "smoke", tmp_path, activations=["softplus"]).findings
    assert {row.name for row in found.tables[0].rows} == {f.name for f in ACTIVATIONS} | {"softplus"}
    best = found.tables[0].rows[0]
    assert best.mean == pytest.approx(math.exp(sum(map(math.log, best.values)) / 2))
