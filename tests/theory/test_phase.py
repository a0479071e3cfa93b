"""The phase diagram: fixed points that are fixed, the labels, and the exact critical line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from actsmith.errors import ActsmithError
from actsmith.theory.criticality import criticality
from actsmith.theory.kernel import kernel_flow, moments
from actsmith.theory.phase import PHASES, phase_diagram


@pytest.mark.parametrize("name", ["tanh", "gelu", "sigmoid", "crrelu", "sin", "repu"])
def test_fixed_points_are_fixed_and_reached(name):
    C_W, C_b = np.array([0.3, 0.8, 1.3, 2.6]), np.array([0.0, 0.05, 0.4])
    diagram = phase_diagram(name, C_W, C_b)
    assert diagram.K.shape == diagram.label.shape == (3, 4)
    for (i, j), K in np.ndenumerate(diagram.K):
        end = kernel_flow(name, 1.0, 400, float(C_W[j]), float(C_b[i]))[-1]
        if np.isinf(K):
            assert end > 1e6
            assert diagram.label[i, j] == "diverging"
        elif K > 0 and abs(diagram.chi_par[i, j]) < 0.95:
            m = moments(name, K)
            assert abs(C_b[i] + C_W[j] * float(m.g) - K) <= 1e-13 * K
            assert end == pytest.approx(K, rel=1e-6)
            assert diagram.chi_perp[i, j] == pytest.approx(C_W[j] * float(m.perp), rel=1e-13)
        elif K == 0:
            assert end < 1e-3


def test_tanh_is_ordered_critical_chaotic_along_zero_bias():
    assert phase_diagram("tanh", [0.5, 1.0, 2.0], 0.0).label.tolist() == [["ordered", "critical", "chaotic"]]
    relu = phase_diagram("relu", [1.0, 2.0, 3.0], [0.0, 0.1])
    assert relu.label.tolist() == [["ordered", "critical", "diverging"], ["ordered", "diverging", "diverging"]]
    assert relu.K[0, 1] == 1.0


@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_the_exact_line_separates_the_labels(name):
    line = phase_diagram(name, 1.0, 0.0).line
    for K, C_W, C_b in line[(line[:, 0] > 0.01) & (line[:, 0] < 10)][::20]:
        assert phase_diagram(name, [0.9 * C_W, C_W, 1.1 * C_W], C_b, K0=K, tolerance=1e-6).label.tolist()[0] == [
            "ordered", "critical", "chaotic",
        ]  # fmt: skip


def test_critical_points_lie_on_the_line():
    point = criticality("gelu").points[0]
    line = phase_diagram("gelu", 2.0, 0.1).line
    C_W = np.interp(point.K, line[:, 0], line[:, 1])
    C_b = np.interp(point.K, line[:, 0], line[:, 2])
    assert (C_W, C_b) == pytest.approx((point.C_W, point.C_b), rel=1e-3)


def test_a_fixed_point_that_repels_is_said():
    # exp(-x^2) has g' < 0: with a large C_W the kernel jumps to and fro.
    diagram = phase_diagram("gaussian", [1.0, 200.0], 0.0)
    assert set(diagram.label.reshape(-1).tolist()) <= set(PHASES)
    unsettled = np.abs(diagram.chi_par) > 1
    assert np.all((diagram.label == "unsettled") == unsettled)


def test_data_is_json():
    data = json.loads(json.dumps(phase_diagram("relu", [1.0, 3.0], [0.0, 0.1]).to_dict(), allow_nan=False))
    assert data["K"][0] == [0.0, None]


def test_bad_input():
    for bad in ({"C_W": 0.0}, {"C_W": 1.0, "C_b": -1.0}, {"C_W": 1.0, "K0": 1e9}, {"C_W": [[1.0]]}):
        with pytest.raises(ActsmithError):
            phase_diagram("tanh", **{"C_b": 0.0, **bad})


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    from actsmith.report.kernel_figure import plot_phases

    path = plot_phases(phase_diagram("gelu", np.linspace(1.5, 4, 12), np.linspace(0, 0.5, 8)), tmp_path / "p.svg")
    assert "diverging" in path.read_text(encoding="utf-8")
