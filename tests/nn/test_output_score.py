"""Entropy, score and slope from samples, against the theory's exact values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import actsmith as acts
from actsmith.nn.output_score import (
    GRID,
    LIMIT,
    TAU,
    Objective,
    counts_of,
    entropy_of,
    score_of,
    slope_of,
    standardised,
    sums_of,
)

MIXTURE = acts.Mixture((0.3, 0.7), (acts.Normal(-1.5, 0.5), acts.Normal(0.8, 0.7)))
LAWS = {"normal": acts.Normal(1.0, 3.0), "mixture": MIXTURE}


def read(z: Tensor, objective: Objective) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """counts, score, places of the grid in z, std, of one group."""
    sums = sums_of(z)
    u, std = standardised(z, sums)
    counts = counts_of(u)
    grid = torch.linspace(-LIMIT, LIMIT, GRID, dtype=torch.float64)
    return counts[0], score_of(counts, objective)[0], (grid * std + sums[0, 1] / sums[0, 0])[0], std[0, 0]


def relative_error(weights: np.ndarray, found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.sqrt((weights @ (found - exact) ** 2) / (weights @ exact**2)))


@pytest.mark.parametrize("name", LAWS)
def test_the_score_to_five_percent(name: str) -> None:
    """In the mean square of the law, from 262,144 samples: 64 updates of 4,096 each."""
    law = LAWS[name]
    z = torch.from_numpy(law.sample(262_144, 0))[None]
    counts, score, at, std = (t.numpy() for t in read(z, "scale_free"))
    assert relative_error(counts, score / std, np.asarray(law.score(at))) < 0.05


@pytest.mark.parametrize("name", LAWS)
def test_the_smoothed_score_to_five_percent(name: str) -> None:
    """S = E s(u + tau N), s the score of U + tau N, by quadrature."""
    law = LAWS[name]
    z = torch.from_numpy(law.sample(400_000, 1))[None]
    counts, score, at, std = (t.numpy() for t in read(z, "smoothed"))
    parts = zip(law.weights, law.laws, strict=True) if isinstance(law, acts.Mixture) else [(1.0, law)]
    wide = acts.Mixture(*zip(*[(w, acts.Normal(p.mean, np.hypot(p.std, TAU * std))) for w, p in parts], strict=True))
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    exact = sum(
        w * np.asarray(wide.score(at + TAU * std * v)) for v, w in zip(nodes, weights / weights.sum(), strict=True)
    )
    assert relative_error(counts, score / std, exact) < 0.05


def test_the_error_falls_with_the_samples() -> None:
    errors = []
    for n in (4_096, 262_144):
        counts, score, at, std = (t.numpy() for t in read(torch.from_numpy(MIXTURE.sample(n, 2))[None], "scale_free"))
        errors.append(relative_error(counts, score / std, np.asarray(MIXTURE.score(at))))
    assert errors[1] < 0.4 * errors[0]


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "identity"])
def test_the_entropy(name: str) -> None:
    x = np.random.default_rng(3).standard_normal(300_000)
    z = torch.from_numpy(np.asarray(acts.get_activation(name)(x)))[None]
    u, _ = standardised(z, sums_of(z))
    exact = acts.entropy(name, "normal", tau=TAU).smoothed
    assert float(entropy_of(counts_of(u))) == pytest.approx(float(exact), abs=5e-3)


@pytest.mark.parametrize("objective", ["smoothed", "scale_free"])
def test_the_slope_does_not_see_shift_and_scale(objective: Objective) -> None:
    z = torch.from_numpy(MIXTURE.sample(5_000, 4))[None]
    sums = sums_of(z)
    u, std = standardised(z, sums)
    counts = counts_of(u)
    slope = slope_of(u, std, score_of(counts, objective), counts)
    size = slope.abs().mean()
    assert abs(slope.mean()) < 1e-3 * size
    assert abs((slope * u).mean()) < 1e-3 * size


def test_the_smoothed_slope_is_that_of_the_sampled_entropy() -> None:
    """Against a finite difference of the entropy of the very sample, along a smooth change of it."""
    z = torch.from_numpy(MIXTURE.sample(4_096, 5))[None]
    change = torch.sin(2 * z)

    def entropy(step: float) -> float:
        moved = z + step * change
        return float(entropy_of(counts_of(standardised(moved, sums_of(moved))[0])))

    sums = sums_of(z)
    u, std = standardised(z, sums)
    counts = counts_of(u)
    slope = slope_of(u, std, score_of(counts, "smoothed"), counts)
    h = 1e-3
    assert float((slope * change).mean()) == pytest.approx((entropy(h) - entropy(-h)) / (2 * h), rel=5e-3)


def test_what_has_no_law() -> None:
    z = torch.tensor([[1.0] * 200, [float("nan")] * 200, [*[0.0, 1.0] * 99, float("inf"), float("nan")]])
    sums = sums_of(z)
    assert sums[:, 0].tolist() == [200, 0, 198]
    u, std = standardised(z, sums)
    counts = counts_of(u)
    assert counts.sum(1).tolist() == pytest.approx([0, 0, 198])
    slope = slope_of(u, std, score_of(counts, "smoothed"), counts)
    assert torch.isfinite(slope).all()
    assert not slope[:2].any()


def test_counts_keep_mass_and_mean() -> None:
    u = torch.randn(2, 1_000, dtype=torch.float64)
    counts = counts_of(u)
    grid = torch.linspace(-LIMIT, LIMIT, GRID, dtype=torch.float64)
    assert torch.allclose(counts.sum(1), torch.tensor(1_000.0).double())
    assert torch.allclose(counts @ grid / 1_000, u.mean(1), atol=1e-12)
