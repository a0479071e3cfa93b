"""The surrogate: its coordinates against closed forms, its symmetry, and what it learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from actsmith.formula.catalogue import resolve
from actsmith.search.draft import Grid
from actsmith.search.surrogate import BOLD, FEWEST, Surrogate, coordinates, theory
from actsmith.theory.entropy import entropy
from actsmith.theory.laws import Mixture, Normal

GRID = Grid.of(Normal())
SKEWED = Grid.of(Mixture((0.7, 0.3), (Normal(-0.5, 0.8), Normal(1.2, 0.5))))
Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


def look(*names: str, grid: Grid = GRID) -> Pair:
    values, slopes = zip(*(grid.look(resolve(name)) for name in names), strict=True)
    return np.stack(values), np.stack(slopes)


def waves(n: int, seed: int) -> tuple[Pair, NDArray[np.float64]]:
    """a sin(k x) + d x, and their k, on which their quality depends."""
    rng = np.random.default_rng(seed)
    a, k, d = rng.uniform(0.5, 1.5, (n, 1)), rng.uniform(0.3, 3.0, (n, 1)), rng.normal(0, 0.2, (n, 1))
    x = GRID.x
    return (a * np.sin(k * x) + d * x, a * k * np.cos(k * x) + d), k[:, 0]


def test_theory_of_relu_is_known() -> None:
    """E f'^2 = 1/2; scale invariant, so R = 1; E f^2 = 1/2; (E f)^2 = 1/(2 pi); (E X f)^2 = 1/4."""
    log_perp, distance, _, linear, mean, log_square = theory(*look("relu"), GRID)[0]
    assert log_perp == pytest.approx(math.log(0.5), abs=0.02)
    assert distance == pytest.approx(0.0, abs=0.02)
    assert linear == pytest.approx(0.5, abs=0.01)
    assert mean == pytest.approx(1 / math.pi, abs=0.01)
    assert log_square == pytest.approx(math.log(0.5), abs=0.01)


def test_the_smoothed_entropy_ranks_as_the_exact_one() -> None:
    """Both smooth, one the density, the other the slope: the order of the catalogue is nearly one."""
    names = ["tanh", "sigmoid", "gelu", "silu", "elu", "softplus", "sin", "selu", "mish", "relu", "atan", "softsign"]
    exact = [entropy(resolve(name)).smoothed for name in names]
    assert spearmanr(theory(*look(*names), GRID)[:, 2], exact).statistic > 0.7


@pytest.mark.parametrize("grid", [GRID, SKEWED], ids=["normal", "skewed"])
def test_mirrored_functions_are_one_point(grid: Grid) -> None:
    texts = [
        "x*normal_cdf(x)",
        "-x*normal_cdf(x)",
        "-x*normal_cdf(-x)",
        "x*normal_cdf(-x)",
        "tanh(x)",
        "x**2",
        "sin(2*x)",
    ]
    pair = look(*texts, grid=grid)
    points = coordinates(*pair, grid)
    distances = np.linalg.norm(points - points[0], axis=1)
    assert distances[:4].max() < 0.02 * distances[4:].min()
    plain = coordinates(*pair, grid, symmetric=False)
    assert np.linalg.norm(plain - plain[0], axis=1)[1:4].min() > 0.5


def test_it_learns_what_quality_depends_on() -> None:
    tried, k = waves(60, 0)
    pool, others = waves(300, 1)
    merits = -np.abs(k - 1.2)
    merits[k > 2.8] = -np.inf
    found = Surrogate.fitted(tried, merits, np.arange(60) // 12, pool, GRID)
    assert found is not None
    mean, deviation = found.predict()
    assert spearmanr(mean, -np.abs(others - 1.2)).statistic > 0.9
    assert found.correlation > 0.9
    assert (deviation > 0).all()


def test_a_batch_hopes_less_of_what_is_like_those_taken() -> None:
    """Taking one leaves the deviations that a process has which saw one there more, whatever it saw."""
    from sklearn.gaussian_process import GaussianProcessRegressor

    tried, k = waves(40, 0)
    pool, _ = waves(50, 1)
    merits = -np.abs(k - 1.2) + 0.3 * np.random.default_rng(2).normal(size=40)
    found = Surrogate.fitted(tried, merits, [0] * 40, pool, GRID)
    assert found is not None
    mean, deviation = found.predict()
    among = np.arange(10, 40)
    batch = found.batch(among)
    np.testing.assert_allclose(np.sqrt(np.diagonal(batch.covariance)), deviation[among], rtol=1e-6)
    first = int(batch.order()[0])
    assert first == among[np.argmax((mean + BOLD * deviation)[among])]
    batch.take(first)
    batch.take(0)  # of the pool, but not of this part
    process: GaussianProcessRegressor = found.process  # type: ignore[assignment]
    more = GaussianProcessRegressor(process.kernel_, alpha=process.alpha, optimizer=None)
    more.fit(np.vstack([process.X_train_, found.pool[first]]), np.append(process.y_train_, 0.0))
    after = more.predict(found.pool[among], return_std=True)[1]
    np.testing.assert_allclose(np.sqrt(np.diagonal(batch.covariance)), after, rtol=1e-6)
    assert after[first - 10] < 0.97 * deviation[first]


def test_the_correlation_is_that_of_processes_that_did_not_see_the_round() -> None:
    """The closed form against refitting at the same constants."""
    from sklearn.gaussian_process import GaussianProcessRegressor

    tried, k = waves(30, 3)
    pool, _ = waves(5, 4)
    merits = -np.abs(k - 1.2) + 0.5 * np.random.default_rng(5).normal(size=30)
    rounds = np.arange(30) // 10
    found = Surrogate.fitted(tried, merits, rounds, pool, GRID)
    assert found is not None
    process: GaussianProcessRegressor = found.process  # type: ignore[assignment]
    predicted = np.empty(30)
    for one in range(3):
        out = rounds == one
        kept = GaussianProcessRegressor(process.kernel_, alpha=process.alpha, optimizer=None)
        predicted[out] = kept.fit(process.X_train_[~out], process.y_train_[~out]).predict(process.X_train_[out])
    assert found.correlation == pytest.approx(spearmanr(predicted, merits).statistic, abs=1e-9)


def test_noise_is_not_believed() -> None:
    """Of merits that depend on nothing the correlation is about 0, so that chance chooses in half of the cases."""
    correlations = []
    for seed in range(6):
        tried, _ = waves(40, seed)
        found = Surrogate.fitted(tried, np.random.default_rng(seed).normal(size=40), np.arange(40) // 8, tried, GRID)
        assert found is not None
        correlations.append(found.correlation)
    assert abs(float(np.mean(correlations))) < 0.3


def test_too_little_is_nothing() -> None:
    tried, k = waves(FEWEST, 0)
    few = (tried[0][:-1], tried[1][:-1])
    assert Surrogate.fitted(few, k[:-1], [0] * (FEWEST - 1), tried, GRID) is None
    assert Surrogate.fitted(tried, np.full(FEWEST, -np.inf), [0] * FEWEST, tried, GRID) is None
    assert Surrogate.fitted(tried, k, [0] * FEWEST, tried, GRID) is not None
