"""Which of thousands of proposals is worth training: a Gaussian process on the function itself, theory beside it.

A proposal is a point: its shape and its slope's shape in L2(p), p the law of the pre-activations, and what theory says
of it. Theory is neither an order nor a veto here; as coordinates it is strong. scikit-learn's process learns from what
was trained how quality varies over these points.

| symbol     | meaning                                                                  | shape  |
|------------|--------------------------------------------------------------------------|--------|
| f, f'      | values and slopes on the nodes x of a grid with weights w                | (n, m) |
| o, e       | odd and even part, f = o + e                                             | (n, m) |
| chi_perp   | E f'^2, which the size of the weights multiplies                         | (n,)   |
| R - 1      | distance from criticality, R = chi_par/chi_perp = E X f f'/(E X^2 E f'^2) | (n,)   |
| J          | smoothed entropy, without the law's own: E log(f'^2/var f + tau^2)/2     | (n,)   |

Where weights and biases are drawn symmetrically, f(x), -f(x), f(-x) and -f(-x) train alike: the signs of o and of e do
not matter, and the process need not learn four functions for one. A residual stream that passes through the activation
breaks that, so both readings are fitted and the likelier one is kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata, spearmanr

from actsmith.errors import require
from actsmith.search.draft import Grid

__all__ = ["Batch", "Surrogate", "coordinates", "theory"]

Array = NDArray[np.float64]

TAU = 0.1
"""Of the smoothed entropy."""
COMPONENTS = 12
"""Principal components of the shapes: more tell nothing more apart."""
FURTHEST = 3.0
"""Standard deviations at which a coordinate of theory ends."""
LEARNED_FROM = 200
"""Tried functions, the best ones and others at even distances, that the kernel's constants are fitted to."""
PLAIN = 3.0
"""By so much the log likelihood must be higher where mirrored functions are not one."""
BOLD = 1.0
"""Standard deviations that hope adds to a mean."""
FEWEST = 8
"""Tried functions below which nothing is fitted."""
TINY = 1e-12


def theory(values: Array, slopes: Array, grid: Grid) -> Array:
    """What theory says, as coordinates (n, 6): log chi_perp, R - 1, J, and the linear Hermite share, the mean's share,
    the logarithm of E f^2.

    Args:
        values, slopes: f and f' on the grid's nodes, finite, float64 (n, m).
        grid: whose law p is.

    Example:
        >>> from actsmith.theory.laws import Normal
        >>> grid = Grid.of(Normal())
        >>> theory(grid.x[None], np.ones((1, grid.x.size)), grid).round(1) + 0.0  # the identity
        array([[0., 0., 0., 1., 0., 0.]])
    """
    x, w = grid.x, grid.weights
    centred = x - w @ x
    z = centred / np.sqrt(w @ centred**2)
    mean, square, perp = values @ w, values**2 @ w + TINY, slopes**2 @ w + TINY
    variance = np.maximum(square - mean**2, TINY * square)
    ratio = (values * slopes) @ (w * x) / ((w @ x**2) * perp)
    entropy = np.log(slopes**2 / variance[:, None] + TAU**2) @ w / 2
    linear = (values @ (w * z)) ** 2 / square
    columns = (np.log(perp), np.clip(ratio - 1, -2, 2), entropy, linear, mean**2 / square, np.log(square))
    return np.stack(columns, axis=1)


def coordinates(values: Array, slopes: Array, grid: Grid, *, symmetric: bool = True) -> Array:
    """The points of functions, (n, k): principal components of their shapes, then theory, both of mean square 2.

    Points are comparable among the functions of one call only.

    Args:
        values, slopes: f and f' on the grid's nodes, finite, float64 (n, m).
        grid: whose law p is.
        symmetric: whether f(x), -f(x), f(-x), -f(-x) are one point.
    """
    if symmetric:
        values, slopes = _one_of_four(values, slopes, grid)
    root = np.sqrt(grid.weights)
    shapes = np.concatenate([_unit(values * root), _unit(slopes * root)], axis=1)
    decomposition = require("sklearn.decomposition", "search", "surrogate")
    count = min(COMPONENTS, *shapes.shape)
    components: Array = decomposition.PCA(count, svd_solver="covariance_eigh").fit_transform(shapes)
    said = theory(values, slopes, grid)
    deviation = said.std(axis=0)
    said = np.clip((said - said.mean(axis=0)) / np.where(deviation > TINY, deviation, 1.0), -FURTHEST, FURTHEST)
    return np.concatenate([_sized(components), _sized(said)], axis=1)


def _unit(rows: Array) -> Array:
    sizes: Array = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(sizes, TINY)


def _sized(block: Array) -> Array:
    """The block with mean square norm 2 of its rows."""
    size = float(np.sqrt((block**2).sum(axis=1).mean() / 2))
    return block / max(size, TINY)


def _one_of_four(values: Array, slopes: Array, grid: Grid) -> tuple[Array, Array]:
    """Odd and even part with signs of their own: o rises with x, e with |x|, in the mean."""
    x, w = grid.x, grid.weights
    other, other_slopes = _mirrored(values, slopes, x)
    odd, even = (values - other) / 2, (values + other) / 2
    odd_slopes, even_slopes = (slopes - other_slopes) / 2, (slopes + other_slopes) / 2
    far = np.abs(x)
    rises = np.where(odd @ (w * x) < 0, -1.0, 1.0)[:, None]
    opens = np.where(even @ (w * (far - w @ far)) < 0, -1.0, 1.0)[:, None]
    return rises * odd + opens * even, rises * odd_slopes + opens * even_slopes


def _mirrored(values: Array, slopes: Array, x: Array) -> tuple[Array, Array]:
    """f(-x) and its slope at the nodes, interpolated between them where the law is not symmetric, straight beyond."""
    at = np.clip(-x, x[0], x[-1])
    right = np.clip(np.searchsorted(x, at), 1, x.size - 1)
    share = (at - x[right - 1]) / np.maximum(x[right] - x[right - 1], TINY)

    def read(rows: Array) -> Array:
        return (1 - share) * rows[:, right - 1] + share * rows[:, right]

    slope = read(slopes)
    return read(values) + slope * (-x - at), -slope


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A process that was fitted to what was tried, and where the pool lies.

    Attributes:
        process: scikit-learn's, conditioned on the tried functions; it speaks of normal scores of merits.
        pool: the pool's points, (p, k).
        correlation: Spearman's, between merits and what the process says of each round without having seen it.
        symmetric: whether mirrored functions are one.
    """

    process: object
    pool: Array
    correlation: float
    symmetric: bool

    @classmethod
    def fitted(
        cls, tried: tuple[Array, Array], merits: Array, rounds: Sequence[int], pool: tuple[Array, Array], grid: Grid
    ) -> Surrogate | None:
        """Learn from what was tried; None where that is too little: fewer than eight, or all alike.

        Args:
            tried: values and slopes of what was tried, finite, (t, m).
            merits: higher is better, -inf for the worst there is, (t,).
            rounds: the round of each, (t,).
            pool: values and slopes of what may be tried, finite, (p, m).
            grid: of both.
        """
        if len(merits) < FEWEST or np.unique(merits).size < FEWEST // 2:
            return None
        # Normal scores: a merit far below the others is as bad as the worst, a diverged one the worst.
        scores = norm.ppf((rankdata(merits) - 0.5) / len(merits))
        values, slopes = (np.concatenate(pair) for pair in zip(tried, pool, strict=True))
        found = []
        for symmetric in (True, False):
            points = coordinates(values, slopes, grid, symmetric=symmetric)
            known, asked = points[: len(merits)], points[len(merits) :]
            likelihood, process = _fitted(known, scores)
            found.append((likelihood, cls(process, asked, _left_out(process, scores, rounds), symmetric)))
        (likelihood, one), (other_likelihood, other) = found
        return other if other_likelihood > likelihood + PLAIN else one

    def predict(self) -> tuple[Array, Array]:
        """Mean and standard deviation of the pool's normal scores, (p,) each."""
        mean, deviation = self.process.predict(self.pool, return_std=True)  # type: ignore[attr-defined]
        return mean, deviation

    def batch(self, among: NDArray[np.intp]) -> Batch:
        """A batch to be chosen from a part of the pool: some thousands at most, the cost grows with their square."""
        mean, covariance = self.process.predict(self.pool[among], return_cov=True)  # type: ignore[attr-defined]
        return Batch(among, mean, covariance, float(self.process.alpha))  # type: ignore[attr-defined]


class Batch:
    """Chooses one after another by mean + BOLD deviations, each time as if the outcomes of those before were known.

    Their outcomes would leave their own means as they are, and make their neighbours certain: so a batch spreads.

    Args:
        among: places in the pool, (s,).
        mean, covariance: of their scores, (s,) and (s, s).
        noise: the variance of a measured score.
    """

    def __init__(self, among: NDArray[np.intp], mean: Array, covariance: Array, noise: float) -> None:
        self.among, self.mean, self.covariance, self.noise = among, mean, covariance.copy(), noise
        self.index = {place: i for i, place in enumerate(among.tolist())}

    def order(self) -> NDArray[np.intp]:
        """Places in the pool, the most promising first."""
        deviation = np.sqrt(np.maximum(np.diagonal(self.covariance), 0.0))
        return self.among[np.argsort(-(self.mean + BOLD * deviation), kind="stable")]

    def take(self, place: int) -> None:
        """One is chosen; one that is not of this part changes nothing."""
        i = self.index.get(place)
        if i is not None:
            column = self.covariance[:, i]
            self.covariance -= np.outer(column, column) / (column[i] + self.noise)


def _fitted(points: Array, scores: Array) -> tuple[float, object]:
    """The log likelihood, and the process of what is not noise: its constants from a part, given all."""
    gaussian = require("sklearn.gaussian_process", "search", "surrogate")
    kernels = gaussian.kernels
    kernel = kernels.ConstantKernel(1.0, (0.05, 20.0)) * kernels.Matern(1.0, (0.1, 30.0), nu=2.5)
    kernel += kernels.WhiteKernel(0.1, (1e-3, 2.0))
    part = np.arange(len(scores))
    if len(scores) > LEARNED_FROM:
        order, half = np.argsort(-scores, kind="stable"), LEARNED_FROM // 2
        others = np.linspace(half, len(scores) - 1, LEARNED_FROM - half).round().astype(int)
        part = order[np.concatenate([np.arange(half), others])]
    with warnings.catch_warnings():
        # A constant at its bound is an answer, too.
        warnings.simplefilter("ignore", require("sklearn.exceptions", "search", "surrogate").ConvergenceWarning)
        learned = gaussian.GaussianProcessRegressor(kernel).fit(points[part], scores[part])
    signal, noise = learned.kernel_.k1, learned.kernel_.k2.noise_level
    process = gaussian.GaussianProcessRegressor(signal, alpha=noise, optimizer=None).fit(points, scores)
    return float(learned.log_marginal_likelihood_value_), process


def _left_out(process: object, scores: Array, rounds: Sequence[int]) -> float:
    """Spearman's correlation of scores and predictions of each round from the others; a single round counts as five.

    With A the inverse of the covariance, the prediction of a part G without it is y_G - A_GG^-1 (A y)_G.
    """
    number = np.asarray(rounds)
    if np.unique(number).size < 2:
        number = np.arange(len(scores)) % 5
    factor: Array = process.L_  # type: ignore[attr-defined]
    inverse = np.linalg.inv(factor)
    precision = inverse.T @ inverse
    told = precision @ scores
    predicted = np.empty_like(scores)
    for one in np.unique(number):
        part = np.flatnonzero(number == one)
        predicted[part] = scores[part] - np.linalg.solve(precision[np.ix_(part, part)], told[part])
    found = float(spearmanr(predicted, scores).statistic)
    return found if np.isfinite(found) else 0.0
