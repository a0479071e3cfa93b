"""The tangent kernel and the vertex: closed forms of ReLU and linear networks, and a real random network."""

from __future__ import annotations

import math

import numpy as np
import pytest

from actsmith.theory.kernel import kernel_flow, susceptibilities
from actsmith.theory.recursions import ntk_flow, vertex_flow


def test_linear_and_relu_networks_in_closed_form():
    layers = np.arange(7)
    np.testing.assert_allclose(ntk_flow("relu", 3.0, 6, 2.0), 1.5 * layers, rtol=1e-13)
    np.testing.assert_allclose(vertex_flow("relu", 3.0, 6, 2.0), 5 * 9 * layers, rtol=1e-12)
    np.testing.assert_allclose(vertex_flow("identity", 1.0, 6, 1.0), 2 * layers, rtol=1e-12)


def test_tangent_kernel_by_its_sum_over_layers():
    # Theta^(L) = sum_l (lambda_b + lambda_W g_l) prod_{k > l} chi_perp_k
    C_W, C_b, depth = 1.4, 0.05, 9
    K = kernel_flow("tanh", 0.7, depth, C_W, C_b)
    g = (K[1:] - C_b) / C_W
    chi = np.array([susceptibilities("tanh", k, C_W).chi_perp for k in K[:-1]])
    expected = sum((0.3 + 0.9 * g[i]) * np.prod(chi[i + 1 :]) for i in range(depth))
    theta = ntk_flow("tanh", 0.7, depth, C_W, C_b, lambda_W=0.9, lambda_b=0.3)
    assert theta[-1] == pytest.approx(expected, rel=1e-12)


def test_a_blow_up_is_infinite():
    assert np.isinf(ntk_flow("repu", 3.0, 20, 1.0)[-1])
    assert np.isinf(vertex_flow("repu", 3.0, 20, 1.0)[-1])


def test_vertex_is_the_variance_of_a_real_random_network():
    width, depth, networks, C_W = 60, 3, 4000, 1.5
    rng = np.random.default_rng(1)
    squares = np.empty(networks)
    for i in range(networks):
        z = rng.normal(size=width) * math.sqrt(C_W)  # the first pre-activation: exactly Gaussian with K = C_W
        for _ in range(depth):
            z = rng.normal(size=(width, width)) @ np.tanh(z) * math.sqrt(C_W / width)
        squares[i] = np.mean(z * z)
    K, V = kernel_flow("tanh", C_W, depth, C_W)[-1], vertex_flow("tanh", C_W, depth, C_W)[-1]
    # Var over networks of the mean of z^2 = (V + 2 K^2)/n: the sample mean of n neurons adds 2 K^2/n.
    measured = squares.var(ddof=1) * width
    assert measured == pytest.approx(V + 2 * K**2, rel=4 * math.sqrt(2 / networks) + 5 / width)
