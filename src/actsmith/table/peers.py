"""The methods that ours is compared with. All begin with the same random functions of a draw, trained in whole.

random      any function
evolution   regularised (arXiv:1802.01548): one of the nearest sixteenth in shape to the best of 8 drawn from
            the 32 youngest
TPE         tree-structured Parzen estimator (Bergstra et al. 2011) over the leading shape coordinates and the family:
            densities l of the best quarter and g of the others; of 24 drawn by l that of the largest l/g. Optuna's
            cannot choose from a finite set, and takes 20 ms a choice
process     Gaussian process on shape and theory, the largest expected improvement
AQuaSurF    mean score of the 3 nearest by outputs and by the eigenvalues of the Fisher information of the untrained
            network (Bingham, Miikkulainen, arXiv:2301.05785): squared distances of either, each in units of their mean,
            summed; without the paper's UMAP. Where a table has no eigenvalues, by outputs alone
with gains  the same by outputs and by gains and first loss of the untrained network
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from actsmith.table.replay import Play, squares
from actsmith.table.screen import Screen

__all__ = ["BEGIN", "aquasurf", "evolution", "process", "random", "tpe", "with_gains"]

Array = NDArray[Any]

BEGIN, TOGETHER = 8, 4
"""Random functions at the start; functions that are chosen at once."""
POPULATION, TOURNAMENT, NEAREST = 32, 8, 16
"""Of evolution: so many youngest live, so many compete, a mutation is among the nearest one of so many."""
NEIGHBOURS = 3
COORDINATES, GOOD, ASKED = 4, 0.25, 24
"""Of the Parzen estimator: shape coordinates, the share of the tried that is good, draws from their density."""


def random(play: Play, rng: np.random.Generator) -> None:
    """See the module."""
    play.train(rng.permutation(len(play.told)))


def evolution(play: Play, rng: np.random.Generator) -> None:
    """See the module."""
    _begin(play, rng)
    scores = play.told[:, -1]
    while not play.over:
        young = np.array(play.tried[-POPULATION:])
        group = young[rng.integers(len(young), size=TOURNAMENT)]
        parent = group[int(np.argmin(scores[group]))]
        left = play.left
        near = np.argsort(play.draw.apart[parent, left], kind="stable")[: max(len(left) // NEAREST, 1)]
        play.train([int(left[rng.choice(near)])])


def tpe(play: Play, rng: np.random.Generator) -> None:
    """See the module."""
    _begin(play, rng)
    points = play.draw.points[:, :COORDINATES]
    points = (points - points.mean(0)) / np.maximum(points.std(0), 1e-12)
    apart, width = squares(points), points.shape[1]
    kinds, numbers = np.unique(play.draw.families, return_inverse=True)
    alike = np.asarray((numbers[:, None] == numbers) + 1 / len(kinds), np.float32)
    broad = np.exp(-(points**2).sum(1) / 2)

    def density(of: Array, left: Array) -> Array:
        """Mean of the kernels of some, and of a broad one for where nothing was tried, at those that are left."""
        squared = np.float32(len(of) ** (-2 / (width + 4)))  # Scott's rule
        kernels = np.exp(-apart[np.ix_(left, of)] / (2 * squared)) * squared ** (-width / 2) * alike[np.ix_(left, of)]
        return np.asarray((kernels.sum(1) + broad[left]) / (len(of) + 1))

    while not play.over:
        order, left = np.array(play.tried)[np.argsort(play.scores(), kind="stable")], play.left
        good = int(np.ceil(GOOD * len(order)))
        best, others = density(order[:good], left), density(order[good:], left)
        asked = rng.choice(len(left), min(ASKED * TOGETHER, len(left)), p=best / best.sum())
        asked = np.unique(asked)
        play.train(left[asked[np.argsort(-(best / others)[asked], kind="stable")[:TOGETHER]]])


def process(play: Play, rng: np.random.Generator) -> None:
    """See the module."""
    _begin(play, rng)
    while not play.over:
        scores = play.normal()
        screen = Screen(play.draw.kernels, np.array(play.tried), scores, TOGETHER)
        chosen: list[int] = []
        for _ in range(TOGETHER):
            deviation = np.maximum(screen.deviation, 1e-9)
            z = (scores.min() - screen.mean) / deviation
            hope = deviation * (z * ndtr(z) + np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))
            hope[[*play.tried, *chosen]] = -np.inf
            chosen.append(int(np.argmax(hope)))
            screen.take(chosen[-1])
        play.train(chosen)


def aquasurf(play: Play, rng: np.random.Generator) -> None:
    """See the module."""
    fisher = play.draw.fisher[:, play.task]
    measured = (fisher != 0).any(1) if fisher.size else np.zeros(len(fisher), bool)
    apart = _in_means(play.draw.outputs_apart)
    if measured.sum() > 1:
        both = np.ix_(measured, measured)
        other = np.ones_like(apart)  # the mean distance, where there is no eigenvalue to compare
        other[both] = _in_means(squares(fisher[measured]))
        apart = apart + other
    _by_neighbours(play, rng, apart)


def with_gains(play: Play, rng: np.random.Generator) -> None:
    """See the module."""
    _by_neighbours(play, rng, _in_means(play.draw.outputs_apart) + _in_means(squares(play.draw.start[:, play.task])))


def _begin(play: Play, rng: np.random.Generator) -> None:
    play.train(rng.permutation(len(play.told))[:BEGIN])


def _by_neighbours(play: Play, rng: np.random.Generator, apart: Array) -> None:
    """Those whose nearest tried functions scored best in the mean."""
    _begin(play, rng)
    while not play.over:
        left, tried, count = play.left, np.array(play.tried), min(NEIGHBOURS, len(play.tried))
        near = np.argpartition(apart[np.ix_(left, tried)], count - 1, axis=1)[:, :count]
        play.train(left[np.argsort(play.normal()[near].mean(1), kind="stable")[:TOGETHER]])


def _in_means(apart: Array) -> Array:
    """In units of the mean, of what is not on the diagonal about."""
    return np.asarray(apart / max(float(apart.mean()), 1e-12))
