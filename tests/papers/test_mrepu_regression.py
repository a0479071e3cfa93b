"""The reproductions of regression: verdicts on depth, and the pictures of one seed."""

import math

import numpy as np
import pytest
from paper_tables import ERROR, table

from actsmith.papers import mrepu_polynomial
from actsmith.papers.mrepu import ACTIVATIONS, MREPU, REPU
from actsmith.papers.reproduce import reproduce

GOOD = [0.010, 0.011, 0.012, 0.0105]


def verdicts(failing):
    """Verdicts on RePU and on MRePU where the nets of (name, initialisation) in `failing` diverged."""
    tables = [
        table(
            ERROR, labels={"init": init},
            **{f.name: [None] * 4 if (f.name, init) in failing else GOOD for f in ACTIVATIONS},
        )
        for init in ("critical", "kaiming")
    ]  # fmt: skip
    return tuple(claim.verdict for claim in mrepu_polynomial._deep(tables, 12))


def test_the_verdicts_on_depth():
    repu = {(f.name, n) for f in REPU for n in ("critical", "kaiming")}
    assert verdicts(set()) == ("not reproduced", "reproduced")
    assert verdicts(repu) == ("reproduced", "reproduced")
    assert verdicts(repu - {("repu_2", "kaiming")})[0] == "partly reproduced"
    assert verdicts({("repu_2", "kaiming")})[0] == "not reproduced"
    assert verdicts({("mrepu_3", "critical")})[1] == "partly reproduced"
    assert verdicts({(f.name, n) for f in MREPU for n in ("critical", "kaiming")})[1] == "not reproduced"


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
