"""How far from a Gaussian the pre-activations of a network are; the quantities are those of `crrelu_law`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special
from torch import Tensor, nn

from actsmith.papers.looking import at_activations
from actsmith.papers.measured import probed_inputs
from actsmith.training.problem import Problem

__all__ = ["QUANTITIES", "gaussianity", "pre_activations"]

BINS = 256
"""Of equal Gaussian mass, in which the negentropy is measured."""
VALUES = 20_000
"""Pre-activations of a layer that are looked at, evenly spaced among all."""
QUANTITIES = ("mean", "std", "distance", "negentropy", "skewness", "kurtosis")


def pre_activations(model: nn.Module, problem: Problem) -> list[NDArray[np.float64]]:
    """Of every activation in the order of construction, (nets, n), n at most `VALUES`; of a stack's nets, or of one."""

    def some(z: Tensor, _: Tensor, nets: int | None) -> NDArray[np.float64]:
        values = z.reshape(nets or 1, -1)
        return values[:, :: max(values.shape[1] // VALUES, 1)].double().cpu().numpy()

    return at_activations(model, probed_inputs(problem), some)


def gaussianity(x: NDArray[np.float64]) -> dict[str, float | None]:
    """The quantities of samples (n,); None where they have no law."""
    mean, std = float(x.mean()), float(x.std())
    if not (np.isfinite(x).all() and std > 0):
        return dict.fromkeys(QUANTITIES)
    z = np.sort((x - mean) / std)
    ranks = np.arange(len(z) + 1) / len(z)
    uniform = special.ndtr(z)
    distance = float(max(np.max(ranks[1:] - uniform), np.max(uniform - ranks[:-1])))
    share = np.histogram(uniform, BINS, (0.0, 1.0))[0] / len(z)
    # A histogram's relative entropy is too large by (bins - 1)/2n (Miller, Madow).
    negentropy = float(special.xlogy(share, share * BINS).sum()) - (BINS - 1) / (2 * len(z))
    values = (mean, std, distance, negentropy, float(np.mean(z**3)), float(np.mean(z**4)) - 3)
    return {name: float(f"{value:.6g}") for name, value in zip(QUANTITIES, values, strict=True)}
