"""A slow, plain reference for the theory: another way to the same numbers, sharing none of its code but f itself.

Values of f come from mpmath's own functions on the formula's tree; entropies are sums over a fine partition:

    smoothed   the density of (Z - mean)/std + tau N by midpoints of 120,000 quantiles, convolved on a grid
    mixed      -sum of bin masses log(bin mass/bin width) of f(X) over exact preimage intervals, Richardson in the width
    g, E f'^2  composite Gauss-Legendre with about 5,000 panels
"""

from __future__ import annotations

import numpy as np
from scipy import special

QUANTILES = 120_000


def smoothed(f, law, tau=0.1):
    """(J_tau, its error) from equally probable midpoints and midpoints of a finer tail; None where f has no moments."""
    results = []
    for count in (QUANTILES, QUANTILES // 2):
        x, p = _cells(law, count)
        with np.errstate(all="ignore"):
            z = f(x)
        if not np.isfinite(z).all():
            return None
        mean = p @ z
        std = np.sqrt(p @ (z - mean) ** 2)
        if not (np.isfinite(std) and std > 0):
            return None
        u = (z - mean) / std
        inside = np.abs(u) < 60
        if p[~inside] @ u[~inside] ** 2 > 0.01:
            return None  # the deviation hangs on what cells do not resolve
        step = tau / 40
        first = np.floor((u[inside].min() - 9 * tau) / step)
        size = int(np.ceil((u[inside].max() + 9 * tau) / step) - first) + 1
        at = u[inside] / step - first
        low = np.floor(at).astype(int)
        share = at - low
        mass = np.bincount(low, p[inside] * (1 - share), size + 1) + np.bincount(low + 1, p[inside] * share, size + 1)
        # linear binning widens by step^2/6 on average; the kernel is narrowed by as much
        width = np.sqrt(tau**2 - step**2 / 6)
        reach = np.arange(-360, 361) * step
        q = np.convolve(mass, np.exp(-((reach / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi)), mode="same")
        results.append((special.entr(np.maximum(q, 0)).sum() * step, p[~inside].sum(), mean, std))
    fine, coarse = results
    error = 3 * abs(fine[0] - coarse[0]) + 1e-6 + 20 * fine[1]
    return fine[0], error, fine[3], abs(fine[3] - coarse[3]) * 3


def _cells(law, count):
    """Midpoints and masses of cells: equally probable in the core, equally wide far into the tails."""
    core = law.quantile(np.linspace(1e-4, 1 - 1e-4, count // 2))
    low, high = law.support
    # E f(X)^2 of a fast f has its mass hundreds of deviations out
    far = np.linspace(max(low, law.mean - 300 * law.std), min(high, law.mean + 300 * law.std), count)
    edges = np.union1d(core, far)
    below, above = law.cdf(edges), law.survival(edges)
    mass = np.where(edges[1:] < law.quantile(0.5), np.diff(below), -np.diff(above))
    return 0.5 * (edges[1:] + edges[:-1]), mass / mass.sum()


def second_moments(f, K):
    """(E f^2, error, E f'^2, error) under N(0, K) by composite Gauss-Legendre rules of three sizes."""
    values = []
    for panels in (6_000, 5_003, 4_007):
        t, w = special.roots_legendre(6)
        # fine about 0 and about kinks, where features are narrow
        fine = np.geomspace(1e-7, 38 * np.sqrt(K), panels // 40)
        centres = np.array([0.0, *(k for k in f.kinks if abs(k) < 36 * np.sqrt(K))][:20])
        beside = (centres[:, None] + np.concatenate([-fine, [0], fine])).ravel()
        edges = np.union1d(np.sqrt(K) * np.linspace(-38, 38, 2 * panels + 1), beside)
        edges = edges[np.abs(edges) <= 38 * np.sqrt(K)]
        half = 0.5 * np.diff(edges)[:, None]
        x = (edges[:-1, None] + half + half * t).ravel()
        weight = (half * w).ravel() * np.exp(-x * x / (2 * K)) / np.sqrt(2 * np.pi * K)
        with np.errstate(all="ignore"):
            s, d = f.jet(x, 1)
            values.append([weight @ (s * s), weight @ (d * d)])
    fine = np.array(values[0])
    error = 5 * np.ptp(np.array(values), axis=0) + 1e-12 * np.abs(fine)
    return fine[0], error[0], fine[1], error[1]


def mixed(f, law):
    """(-sum p log(p/width) + its error) of the continuous part, from 400,000 stratified values, or None: the entropy
    of a histogram whose bins are equally probable, with the bias of m-spacings removed."""
    n = 400_000
    u = (np.arange(n) + 0.5) / n
    with np.errstate(all="ignore"):
        z = np.sort(f(law.quantile(u)))
    if not np.isfinite(z).all():
        return None
    found = []
    for m in (40, 160):
        gaps = z[m:] - z[:-m]
        if (gaps <= 0).any():
            return None
        found.append(float(np.mean(np.log(gaps * n / m))))
    return found[0], 3 * abs(found[0] - found[1]) + 5e-3
