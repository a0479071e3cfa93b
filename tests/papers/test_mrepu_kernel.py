"""Kernels through depth at initialisation: known laws, the claims' logic, and the whole of it at the smallest size."""

import json
import math

import numpy as np
import pytest

from actsmith.formula.catalogue import get_activation as get
from actsmith.papers import kernels, mrepu_kernel
from actsmith.papers.experiment import Run
from actsmith.papers.kernels import Balance, Depth, Sizes, Starts, growth, survived
from actsmith.papers.mrepu import ACTIVATIONS, MREPU, REPU
from actsmith.papers.reproduce import reproduce
from actsmith.theory.kernel import kernel_flow
from actsmith.trials.folder import RunFolder

SIZES = Sizes(width=32, depth=6, nets=4)


@pytest.mark.parametrize("formula", REPU, ids=lambda f: f.name)
@pytest.mark.parametrize("C_W", [1e-3, 0.3, 5.0])
def test_log_k_of_repu_grows_by_p_a_layer(formula, C_W):
    assert growth(kernel_flow(formula, 1.0, 12, C_W)) == pytest.approx(formula.params["p"].value, rel=1e-9)


def test_relu_off_its_critical_point_is_a_plain_exponential():
    assert growth(kernel_flow("relu", 1.0, 12, 1.7)) == pytest.approx(1.0, rel=1e-9)


def test_what_hardly_moves_has_no_growth():
    assert growth(kernel_flow("relu", 1.0, 12, 2.0)) is None


def test_the_window_ends_where_k_leaves_it():
    assert survived([1e-3, 1.0, 999.0, 1001.0]) == 2
    assert survived([1.0, 0.5, 0.0009, 1.0]) == 1
    assert survived([1.0, None]) == 0
    assert survived([1.0, 2.0, 3.0]) == 2


def test_gradients_in_theory():
    """ReLU's stay; RePU's on balance are multiplied by chi_perp = p^2/(2p - 1) in each layer."""
    relu = Depth((get("relu"),), SIZES, (0.01,)).record(get("relu"))
    np.testing.assert_allclose(relu["gradient"], 1.0, rtol=1e-12)
    for formula in REPU:
        p = formula.params["p"].value
        chi = p**2 / (2 * p - 1)
        found = Depth((formula,), SIZES, (0.01,)).record(formula)
        np.testing.assert_allclose(found["gradient"], chi ** np.arange(6, -1, -1), rtol=1e-9)
        assert found["ratio"] == pytest.approx((2 * p - 1) / p)


def test_layers_survived_at_an_offset():
    """ReLU's K is (1 + d)^l; RePU's log K is log(1 + d) (p^l - 1)/(p - 1)."""
    offsets = (0.01, 0.3)
    relu = Depth((get("relu"),), SIZES, offsets).record(get("relu"))
    assert relu["high"] == [math.floor(math.log(1000) / math.log(1 + d)) for d in offsets]
    assert relu["low"] == [math.floor(math.log(1000) / -math.log(1 - d)) for d in offsets]
    assert relu["exact"] == 1000
    for formula in REPU:
        p = formula.params["p"].value
        found = Depth((formula,), SIZES, offsets).record(formula)
        expected = [math.floor(math.log((p - 1) * math.log(1000) / math.log(1 + d) + 1, p)) for d in offsets]
        assert found["high"] == expected


def test_only_the_right_classes_are_followed(tmp_path):
    main, other = (type("Runtime", (), {"main": m})() for m in (True, False))
    formulas = (get("relu"), REPU[0], MREPU[0])
    with RunFolder(tmp_path, {}, resume=True) as folder:
        balance, starts = Balance(formulas, SIZES, (0.5, 1.0)), Starts(formulas, SIZES, (0.1, 1e-3))
        assert (balance.left(folder), starts.left(folder)) == (1, 1)
        for part in (balance, starts):
            part.run(Run(folder, main, None))
        assert sorted(folder.results) == ["balance/repu_2", "starts/mrepu_1"]
        assert (balance.left(folder), starts.left(folder)) == (0, 0)
        runs = folder.results["starts/mrepu_1"]["runs"]
        assert runs[0]["safe_depth"] < runs[1]["safe_depth"]
        assert folder.results["starts/mrepu_1"]["a1"] == pytest.approx(3.0)
        Depth(formulas, SIZES, (0.1,)).run(Run(folder, other, None))
        assert len(folder.results) == 2


def test_smoke(tmp_path, monkeypatch):
    lines = []
    result = reproduce(
        "mrepu-kernel", "smoke", tmp_path / "run", activations=["softplus"], report=lambda *line: lines.append(line)
    )
    names = {f.name for f in ACTIVATIONS} | {"softplus"}
    records = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    assert {r["activation"] for r in records if r["part"] == "depth"} == names
    assert {r["activation"] for r in records if r["part"] == "balance"} == {"repu_2", "repu_3", "softplus"}
    assert {r["activation"] for r in records if r["part"] == "starts"} == {"mrepu_1", "mrepu_2", "mrepu_3"}
    found = result.findings
    assert [c.name for c in found.curves] == ["kernel", "gradient", "tolerance", "balance", "starts", "safe-depth"]
    assert found.facts["growth q"]["repu_3"]["0.5"] == pytest.approx(3.0)
    limit, finite = found.claims[1:3]
    assert (limit.verdict, finite.verdict) == ("reproduced", "does not hold")  # a theorem: the limit K -> 0 alone
    assert ("balance", 3, 3, "done") in lines

    def never(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(kernels, "simulate", never)
    again = reproduce("mrepu-kernel", "smoke", tmp_path / "run", activations=["softplus"])
    assert again.findings == found


def _balance(name, growths, survives):
    """A record of one ensemble a factor; it leaves the window where `survives` is false."""
    runs = [
        {
            "factor": factor,
            "growth": q,
            "kernel": [1.0] * 4,
            "simulated": {"kernel": [1.0, 1.0, 1.0, 1.0 if s else 1e9]},
        }
        for factor, q, s in zip((0.5, 1.0, 2.0), growths, survives, strict=True)
    ]
    return {"activation": name, "runs": runs}


def _depth(name):
    return {"activation": name, "ratio": 1.5, "low": [3], "high": [4]}


@pytest.mark.parametrize(
    ("growths", "survives", "verdict"),
    [
        ((True, None, True), (False, False, False), "reproduced"),
        ((True, None, True), (False, True, False), "contradicted"),
        ((False, None, False), (False, False, False), "contradicted"),
    ],
)
def test_the_verdict_on_repu(growths, survives, verdict):
    balance = [
        _balance(f.name, [None if g is None else f.params["p"].value if g else 1.0 for g in growths], survives)
        for f in REPU
    ]
    claim = mrepu_kernel._repu([_depth(n) for n in ("relu", "repu_2", "repu_3")], balance, (0.01,))
    assert claim.verdict == verdict


@pytest.mark.parametrize(
    ("depths", "small", "every"),
    [((500, 500, 500), "reproduced", "holds"), ((5, 500, 500), "reproduced", "does not hold"),
     ((5, 5, 50), "contradicted", "does not hold")],
)  # fmt: skip
def test_the_verdict_on_mrepus_stability(depths, small, every):
    runs = [{"K0": k, "safe_depth": d} for k, d in zip((1.0, 1e-2, 1e-4), depths, strict=True)]
    found = mrepu_kernel._stable([{"activation": f.name, "runs": runs} for f in MREPU])
    assert [c.verdict for c in found] == [small, every]


@pytest.mark.parametrize(
    ("chi", "points", "limit", "finite"),
    [(1 + 1e-7, 1, "reproduced", "holds"), (1 + 1e-7, 0, "reproduced", "does not hold"),
     (1.1, 0, "contradicted", "does not hold")],
)  # fmt: skip
def test_the_verdict_on_criticality(chi, points, limit, finite):
    record = {"chi_par": chi, "chi_perp": chi, "a1": 3.0, "points_above_0": points}
    found = mrepu_kernel._critical([{"activation": f.name, **record} for f in MREPU])
    assert [c.verdict for c in found] == [limit, finite]
