"""Real networks against the theory: kernels, correlations, gradients and fluctuations within their standard errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation
from actsmith.nn.simulate import kernel_against_depth, simulate
from actsmith.theory.correlation import correlation_flow
from actsmith.theory.criticality import criticality
from actsmith.theory.kernel import kernel_flow, moments
from actsmith.theory.recursions import vertex_flow
from actsmith.theory.tuning import critical_form

WIDTH, NETS = 96, 400
# Activation, K0, depth; RePU has no critical point and fluctuates beyond any perturbation after two layers.
CASES = {
    "relu": (1.0, 4),
    "tanh": (0.5, 4),
    "gelu": (3.56, 4),
    "crrelu": (1.0, 4),
    "repu": (0.3, 1),
    "mrepu": (1e-3, 4),
}


def run(name, width=WIDTH, nets=NETS, seed=3):
    K0, depth = CASES[name]
    f = get_activation(name)
    points = criticality(f).points
    C_W, C_b = (points[0].C_W, points[0].C_b) if points else (0.5, 0.0)
    return simulate(f, width, depth, C_W, C_b, nets, seed, K0=K0, rho0=0.5), K0


@pytest.mark.parametrize("name", CASES)
def test_against_the_recursions(name):
    s, K0 = run(name)
    f = get_activation(name)
    K = kernel_flow(f, K0, s.depth, s.C_W, s.C_b)
    expected = vertex_flow(f, K0, s.depth, s.C_W, s.C_b) / (WIDTH * K**2)
    after = slice(1, None)
    # The theory itself is right to the next order in 1/n: (V/(n K^2))^2 for the fluctuation, V/(n K^2) for means.
    assert np.all(np.abs(s.kernel - K)[after] <= 4.5 * s.kernel_error[after] + expected[after] * K[after])
    assert np.all(
        np.abs(s.fluctuation - expected)[after] <= 4.5 * s.fluctuation_error[after] + 2 * expected[after] ** 2
    )
    assert s.kernel[0] == pytest.approx(K0, rel=1e-14)
    _, rho = correlation_flow(f, K0, 0.5, s.depth, C_W=s.C_W, C_b=s.C_b)
    assert np.all(np.abs(s.correlation - rho)[after] <= 4.5 * s.correlation_error[after] + expected[after])
    perp = s.C_W * moments(f, K[:-1]).perp
    gradient = np.cumprod(perp[::-1])[::-1]
    assert np.all(np.abs(s.gradient[:-1] - gradient) <= 4.5 * s.gradient_error[:-1] + 2 * expected[-1] * gradient)


def test_relu_fluctuates_exactly_as_known():
    # (1 + 5/n)^L - 1, at a width where that is far from 5 L/n.
    s = simulate("relu", 32, 5, 2.0, 0.0, 3000, seed=1)
    exact = (1 + 5 / 32) ** np.arange(6) - 1
    assert np.all(np.abs(s.fluctuation - exact)[1:] <= 4.5 * s.fluctuation_error[1:])
    assert np.all(np.abs(s.kernel - 1) <= 4.5 * s.kernel_error + 1e-14)  # the mean is exact at any width


def test_a_tuned_activation_is_critical_at_lecun_initialisation():
    s = simulate(critical_form("tanh"), 192, 6, 1.0, 0.0, 60, seed=2)
    assert np.all(np.abs(s.kernel - 1) <= 4.5 * s.kernel_error + 0.1)
    assert np.all(np.abs(s.gradient - 1) <= 4.5 * s.gradient_error + 0.1)


def test_one_seed_one_result():
    a, b, c = (simulate("gelu", 16, 2, 2.0, 0.1, 10, seed) for seed in (5, 5, 6))
    assert np.array_equal(a.kernel, b.kernel)
    assert not np.array_equal(a.kernel, c.kernel)


def test_groups_of_networks_are_one_ensemble(monkeypatch):
    import actsmith.nn.simulate as module

    monkeypatch.setattr(module, "AT_ONCE", 3 * 16 * 16)
    s = simulate("relu", 16, 2, 2.0, 0.0, 100)
    assert s.kernel.shape == (3,)
    assert abs(s.kernel[2] - 1) <= 5 * s.kernel_error[2]


def test_as_many_networks_at_a_time_as_their_weights_of_all_layers_allow(monkeypatch):
    import actsmith.nn.simulate as module

    counts = []
    ensemble = module._ensemble
    monkeypatch.setattr(module, "_ensemble", lambda f, nets, *rest: (counts.append(nets), ensemble(f, nets, *rest))[1])
    monkeypatch.setattr(module, "AT_ONCE", 4 * 10 * 8 * 8)
    simulate("relu", 8, 10, 2.0, nets=10)
    simulate("relu", 8, 1000, 2.0, nets=2)
    assert counts == [4, 4, 2, 1, 1]


def test_whatever_the_default_device():
    here = simulate("gelu", 8, 2, 2.0, 0.1, 4)
    with torch.device("meta"):
        there = simulate("gelu", 8, 2, 2.0, 0.1, 4)
    assert np.array_equal(here.gradient, there.gradient)


@pytest.mark.parametrize("bad", [{"width": 0}, {"nets": 1}, {"C_W": -1.0}, {"K0": 0.0}, {"rho0": 2.0}])
def test_bad_input(bad):
    with pytest.raises(ActsmithError):
        simulate("relu", **{"width": 4, "depth": 1, "C_W": 2.0, "nets": 2, **bad})


def test_kernel_figure(tmp_path):
    pytest.importorskip("matplotlib")
    from actsmith.report.kernel_figure import plot_kernels

    curves = kernel_against_depth(width=16, depth=4, nets=4)
    assert {c.simulation.formula.name for c in curves} == {"relu", "gelu", "repu", "mrepu", "crrelu"}
    assert "infinite width" in plot_kernels(curves, tmp_path / "k.svg").read_text(encoding="utf-8")
