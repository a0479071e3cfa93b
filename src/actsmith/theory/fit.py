"""A measured law as a small mixture of normals, so that what is derived from it has a closed form.

Weighted EM (Dempster, Laird, Rubin 1977) on nodes that carry the law's mass:

    r_ij = w_j phi(x_i; m_j, s_j) / sum_k w_k phi(x_i; m_k, s_k)
    w_j = sum_i p_i r_ij,   m_j = sum_i p_i r_ij x_i / w_j,   s_j^2 = sum_i p_i r_ij (x_i - m_j)^2 / w_j

The number of components has the smallest BIC = -2 n sum_i p_i log p(x_i) + (3 k - 1) log n, with n capped: a million
correlated pre-activations would otherwise ask for every component there may be.

| symbol  | meaning                                  | shape        |
|---------|------------------------------------------|--------------|
| x, p    | nodes and their masses, sum 1            | (nodes,)     |
| r       | share of component j in node i           | (nodes, k)   |
| w, m, s | weights, means, standard deviations      | (k,)         |
| n       | effective number of samples              | ()           |
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np

from actsmith.errors import LawError
from actsmith.theory.law import Array, Law
from actsmith.theory.laws import Mixture, Normal

__all__ = ["MixtureFit", "fit_mixture"]

NODES = 2001
MOST_EFFECTIVE = 1e4
"""Effective samples for the BIC: the pre-activations of one input, and of neighbouring weights, are not independent."""
ROUNDS = 500
SETTLED = 1e-8
"""EM stops where a round gains less than this many nats per sample."""


@dataclass(frozen=True)
class MixtureFit:
    """A law and the mixture that stands for it.

    Attributes:
        law: a Normal, or a Mixture of Normals with the components from left to right.
        distance: Kolmogorov's, sup |F_fit - F|, on the nodes.
        bic: of every number of components tried, from one on, per effective sample.
    """

    law: Normal | Mixture
    distance: float
    bic: tuple[float, ...]


def fit_mixture(law: Law, most: int = 3, digits: int | None = 4) -> MixtureFit:
    """The mixture of at most `most` normals with the smallest BIC.

    Args:
        law: any law; an `Empirical` one is taken at its sample count, another at the cap of 10,000.
        most: the largest number of components.
        digits: significant digits kept in means and deviations, decimals in weights, so that the formulas that follow
            can be read; None keeps all.

    Raises:
        LawError: `most` is below 1, or the law has no finite deviation.

    Example:
        >>> from actsmith.theory.laws import Normal
        >>> fit_mixture(Normal(1, 2)).law.spec
        'normal(1,2)'
    """
    if most < 1:
        raise LawError(f"fit_mixture: most: got {most}; expected 1 or more components")
    if not np.isfinite(law.std):
        raise LawError(f"fit_mixture: got {law}, whose deviation is not finite; expected a law with two moments")
    x, p = _nodes(law)
    n = min(float(getattr(law, "count", MOST_EFFECTIVE)), MOST_EFFECTIVE)
    fits: list[tuple[Array, Array, Array]] = []
    bic: list[float] = []
    for k in range(1, most + 1):
        w, m, s, likelihood = _expectation_maximisation(x, p, _start(x, p, k))
        fits.append((w, m, s))
        bic.append(-2 * likelihood + (3 * k - 1) * log(n) / n)
    chosen = _as_law(*fits[int(np.argmin(bic))], digits)
    distance = float(np.max(np.abs(chosen.cdf(x) - law.cdf(x))))
    return MixtureFit(chosen, distance, tuple(bic))


def _nodes(law: Law) -> tuple[Array, Array]:
    """Quantiles at the middles of a graded grid of probabilities, with the mass of each cell.

    With u = (1 + tanh t)/2 the tails down to 1e-7 have their own nodes and EM sees the whole variance.
    """
    t = np.linspace(-8.0, 8.0, NODES + 1)
    edges = 0.5 * (1 + np.tanh(t))
    edges[0], edges[-1] = 0.0, 1.0
    # The left half from below and the right half from above: 1 - u would lose its digits.
    x = np.asarray(law.quantile(0.5 * (edges[1:] + edges[:-1])))
    p = np.diff(edges)
    finite = np.isfinite(x)
    return x[finite], p[finite] / p[finite].sum()


def _start(x: Array, p: Array, k: int) -> tuple[Array, Array, Array]:
    """k slices of equal mass, each with its own mean and deviation."""
    piece = np.minimum((np.cumsum(p) * k).astype(int), k - 1)
    w: Array = np.asarray(np.bincount(piece, p, k), dtype=np.float64)
    m = np.bincount(piece, p * x, k) / w
    s = np.sqrt(np.bincount(piece, p * (x - m[piece]) ** 2, k) / w)
    return w, m, s


def _expectation_maximisation(
    x: Array, p: Array, start: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array, float]:
    """(w, m, s, mean log likelihood) where EM has settled."""
    w, m, s = start
    mean = float(p @ x)
    # A component narrower than a thousandth of the law follows the nodes, not the density.
    narrowest = 1e-3 * float(np.sqrt(p @ (x - mean) ** 2))
    likelihood = -np.inf
    for _ in range(ROUNDS):
        s = np.maximum(s, narrowest)
        terms = np.log(w) - np.log(s) - 0.5 * log(2 * np.pi) - 0.5 * ((x[:, None] - m) / s) ** 2
        total = np.logaddexp.reduce(terms, axis=1)
        before, likelihood = likelihood, float(p @ total)
        if likelihood - before < SETTLED:
            break
        share = p[:, None] * np.exp(terms - total[:, None])
        w = np.maximum(share.sum(axis=0), 1e-12)
        m = x @ share / w
        s = np.sqrt(np.sum(share * (x[:, None] - m) ** 2, axis=0) / w)
    order = np.argsort(m)
    return w[order] / w.sum(), m[order], s[order], likelihood


def _as_law(w: Array, m: Array, s: Array, digits: int | None) -> Normal | Mixture:
    if digits is not None:
        w = np.maximum(np.round(w, digits), 10.0**-digits)
        w[np.argmax(w)] += 1 - w.sum()
        w = np.round(w, digits)
        spread = float(np.max(s))
        m = np.array([_significant(v, digits, spread) for v in m])
        s = np.array([_significant(v, digits, 0.0) for v in s])
    normals = tuple(Normal(float(mean), float(std)) for mean, std in zip(m, s, strict=True))
    return normals[0] if len(normals) == 1 else Mixture(tuple(w.tolist()), normals)


def _significant(value: float, digits: int, scale: float) -> float:
    """`value` rounded to significant digits, of `scale` where that is larger: a mean near 0 needs no more."""
    size = max(abs(value), scale)
    return float(round(value, digits - 1 - int(np.floor(np.log10(size))))) if size > 0 else value
