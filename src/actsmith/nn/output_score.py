"""Entropy of an activation's output, and its slope, from a sample: what `actsmith.theory.smoothed` does with a law.

For f -> f + h the two entropies that do not follow the scale (THEORY 1.3) change by

    dJ = -E[h~ S(U)],   U = (Z - E Z)/std Z,   h~ = (h - E h)/std Z - U Cov(U, h)/std Z

    scale-free  J = H(U)             S(u) = s(u), the score (log q)' of U
    smoothed    J = H(U + tau N)     S(u) = E s(u + tau N), s the score of U + tau N

so that, as a gradient in the sampled outputs, dJ/dz_i = -[S(u_i) - E S - u_i E(U S)]/(n std).

All is read from one histogram of U, whose counts may be summed over processes and over time. A point is shared between
its two neighbours on the grid, which widens it by step^2/6 in variance; the smoothing leaves out that much. The
smoothed score is q'/q of the histogram under a Gaussian of width tau. The plain score, which a Gaussian kernel would
estimate slowly, is the spline that minimises E[s^2/2 + s'] (score matching, Hyvarinen 2005; the spline: Cox 1985).

| symbol | meaning                                   | shape  |
|--------|-------------------------------------------|--------|
| z, u   | outputs, standardised outputs             | (G, n) |
| c      | counts on the grid                        | (G, m) |
| S      | score on the grid                         | (G, m) |
| B      | cubic B-splines on the grid               | (m, K) |
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from scipy.interpolate import BSpline
from torch import Tensor
from torch.nn import functional

__all__ = ["GRID", "TAU", "Objective", "counts_of", "entropy_of", "score_of", "slope_of", "standardised", "sums_of"]

Objective = Literal["smoothed", "scale_free"]

TAU = 0.1
STEP = TAU / 4
LIMIT = 16.0
"""Standard deviations that the grid reaches to. A point beyond it is alone within tau: its own score there is 0."""
GRID = 2 * round(LIMIT / STEP) + 1
REACH = 9.0  # Gaussians are cut at 9 of their widths
BLOCK = 64
SPLINES, SPLINE_REACH = 28, 3.5
ROUGH = 30.0
"""Penalty on third differences of the spline, in units of one sample: it keeps the tails straight."""


def sums_of(z: Tensor) -> Tensor:
    """(number, sum, sum of squares) of the finite outputs of each group, float64 (G, 3)."""
    known = torch.isfinite(z)
    z = torch.where(known, z, 0).double()
    return torch.stack([known.sum(1).double(), z.sum(1), z.square().sum(1)], 1)


def standardised(z: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """u in float64 (G, n), NaN where z is not finite or all are alike, and std (G, 1)."""
    count, total, square = sums.unbind(1)
    mean = (total / count)[:, None]
    variance = (square / count)[:, None] - mean.square()
    std = torch.where(variance > 1e-12 * mean.square(), variance, torch.nan).sqrt()
    return torch.where(torch.isfinite(z), z.double() - mean, torch.nan) / std, std


def counts_of(u: Tensor) -> Tensor:
    """The histogram of u on the grid, every point shared linearly between its two neighbours: float64 (G, m)."""
    at, share, inside = _cells(u)
    counts = u.new_zeros(len(u), GRID)
    counts.scatter_add_(1, at, torch.where(inside, 1 - share, 0))
    return counts.scatter_add_(1, at + 1, torch.where(inside, share, 0))


def score_of(counts: Tensor, objective: Objective) -> Tensor:
    """S on the grid, (G, m)."""
    return _smoothed_score(counts) if objective == "smoothed" else _matched_score(counts)


def entropy_of(counts: Tensor) -> Tensor:
    """The smoothed entropy J_tau in nats, (G,); NaN without counts."""
    density = _spread(counts, _gaussian(0).to(counts)) / counts.sum(1, keepdim=True)
    entropy: Tensor = torch.special.entr(density).sum(1) * STEP
    return entropy


def slope_of(u: Tensor, std: Tensor, score: Tensor, counts: Tensor) -> Tensor:
    """n dJ/dz_i (G, n): 0 for what is not finite or has no scale."""
    at, share, inside = _cells(u)
    found = torch.gather(score, 1, at) * (1 - share) + torch.gather(score, 1, at + 1) * share
    total = counts.sum(1, keepdim=True)
    grid = _grid().to(counts)
    mean = (counts * score).sum(1, keepdim=True) / total
    along = (counts * score * grid).sum(1, keepdim=True) / total
    slope = -(torch.where(inside, found, 0) - mean - u * along) / std
    return slope.nan_to_num(0.0, 0.0, 0.0)


def _cells(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The grid point to the left of u, the share of the one to the right, and whether u is on the grid."""
    inside = u.abs() < LIMIT
    place = (torch.where(inside, u, 0) + LIMIT) / STEP
    at = place.floor().clamp(0, GRID - 2)
    return at.long(), place - at, inside


def _spread(values: Tensor, band: Tensor) -> Tensor:
    """The convolution of each row with a kernel, zeros outside, as one matrix product over blocks of the grid."""
    reach = (len(band) - BLOCK) // 2
    blocks = -(-values.shape[1] // BLOCK)
    padded = functional.pad(values, (reach, reach + blocks * BLOCK - values.shape[1]))
    spread: Tensor = padded.unfold(1, len(band), BLOCK) @ band
    return spread.flatten(1)[:, : values.shape[1]]


def _smoothed_score(counts: Tensor) -> Tensor:
    density, slope = (_spread(counts, _gaussian(k).to(counts)) for k in (0, 1))
    score = torch.where(density > 1e-200, slope / density.clamp(min=1e-200), 0)
    return _spread(score, _gaussian(0, TAU).to(counts)) * STEP


def _matched_score(counts: Tensor) -> Tensor:
    basis, slope, rough = (t.to(counts) for t in _splines())
    total = counts.sum(1, keepdim=True)
    gram = torch.einsum("mk,gm,ml->gkl", basis, counts, basis) / total[:, :, None]
    ridge = ROUGH / total[:, :, None].clamp(min=1) * rough + 1e-9 * torch.eye(SPLINES, dtype=gram.dtype).to(gram)
    drive = counts @ slope / total
    weights, _ = torch.linalg.solve_ex(gram + ridge, -drive[:, :, None])
    score: Tensor = weights[:, :, 0] @ basis.T
    return score


@lru_cache(maxsize=1)
def _grid() -> Tensor:
    return torch.linspace(-LIMIT, LIMIT, GRID, dtype=torch.float64)


@lru_cache(maxsize=4)
def _gaussian(derivative: int, width: float | None = None) -> Tensor:
    """The density of N(0, width^2), or its derivative, at the steps of the grid, for a block: (block + 2 reach, block).

    Column j holds the kernel, reversed, from row j on.
    """
    width = (TAU**2 - STEP**2 / 6) ** 0.5 if width is None else width
    reach = round(REACH * width / STEP)
    v = torch.arange(-reach, reach + 1, dtype=torch.float64) * (STEP / width)
    density = torch.exp(-v.square() / 2) / (width * (2 * torch.pi) ** 0.5)
    kernel = density * (-v / width) if derivative else density
    lag = torch.arange(BLOCK + 2 * reach)[:, None] - torch.arange(BLOCK)
    return torch.where((lag >= 0) & (lag <= 2 * reach), kernel[(2 * reach - lag).clamp(0, 2 * reach)], 0)


@lru_cache(maxsize=1)
def _splines() -> tuple[Tensor, Tensor, Tensor]:
    """B (m, K), B' (m, K) and the penalty (K, K); beyond the splines' reach the score is a straight line."""
    gap = 2 * SPLINE_REACH / (SPLINES - 3)
    knots = np.arange(-3, SPLINES + 1) * gap - SPLINE_REACH
    splines = BSpline(knots, np.eye(SPLINES), 3)
    u = _grid().numpy()
    inside = np.clip(u, -SPLINE_REACH, SPLINE_REACH - 1e-9)
    slope = splines.derivative()(inside)
    value = splines(inside) + (u - inside)[:, None] * slope
    third = np.diff(np.eye(SPLINES), 3, axis=0)
    return torch.from_numpy(value), torch.from_numpy(slope), torch.from_numpy(third.T @ third)
