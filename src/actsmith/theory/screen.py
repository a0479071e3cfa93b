"""Screening: entropy and criticality of many formulas at a few milliseconds each, to some three digits.

What `analyze` does to 1e-10 with symbols, kinks as integration limits and refinement, this does on fixed nodes with
slopes by central differences. It is for sieving thousands of candidates; analyze what is left.

| symbol | meaning                                                             | shape |
|--------|---------------------------------------------------------------------|-------|
| x      | nodes, crowded at 0                                                 | (n,)  |
| W      | Gaussian weights: row i integrates against N(0, K_i)                | (k,n) |
| R      | chi_par/chi_perp = E[z f f']/(K E f'^2), 1 where f can be critical  | (k,)  |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, pi, sqrt

import numpy as np

from actsmith.errors import ActsmithError, FormulaError
from actsmith.formula.catalogue import CATALOGUE, resolve
from actsmith.formula.formula import Formula
from actsmith.formula.lower import Program, lower
from actsmith.formula.parse import X, parse
from actsmith.formula.stable import standardise
from actsmith.theory.entropy import DEFAULT_TAU
from actsmith.theory.law import Array, Law
from actsmith.theory.laws import resolve_law
from actsmith.theory.output import reach
from actsmith.theory.quadrature import nodes
from actsmith.theory.smoothed import REACH, deposit

__all__ = ["Screened", "screen"]

POINTS = 3_000
KERNELS = np.logspace(-6, 3, 55)
FLAT = 2e-3  # |R - 1| below this is 1: kinks between nodes cost 1e-3
LIMIT = 60.0


@dataclass(frozen=True)
class Screened:
    """A formula after screening.

    Attributes:
        text: the formula as it was given.
        smoothed: J_0.1 to about 1e-3; None where f is constant, not finite, or without variance.
        universality: the likely class; "none" where no critical point shows on 1e-6 <= K <= 1e3.
        reason: why `smoothed` is None or the formula could not be read, else "".
    """

    text: str
    smoothed: float | None
    universality: str
    reason: str = ""

    @property
    def formula(self) -> Formula:
        """The Formula, to analyze."""
        return resolve(self.text)


def screen(formulas: Sequence[str | Formula], law: Law | str = "normal") -> list[Screened]:
    """Smoothed entropy and universality class of every formula, lowest entropy first, unusable ones last.

    >>> [s.text for s in screen(["sigmoid(x)", "relu(x)", "gelu(x)", "1/0"])]
    ['relu(x)', 'gelu(x)', 'sigmoid(x)', '1/0']
    """
    if isinstance(formulas, str | Formula):
        raise ActsmithError("screen: got one formula; expected a sequence of them, as in screen(['relu', 'x*tanh(x)'])")
    law = resolve_law(law)
    found = [_screen(f, law) for f in formulas]
    return sorted(found, key=lambda s: (s.smoothed is None, s.smoothed or 0.0, s.text))


def _screen(f: str | Formula, law: Law) -> Screened:
    text = f.text if isinstance(f, Formula) else f
    try:
        program = _program(f)
    except FormulaError as error:
        return Screened(text, None, "none", str(error))
    smoothed, reason = _entropy(program, law)
    return Screened(text, smoothed, _class(program), reason)


def _program(f: str | Formula) -> Program:
    if isinstance(f, Formula):
        return lower([f.bound], [X], {})
    if f in CATALOGUE:
        return lower([resolve(f).bound], [X], {})
    return lower([standardise(parse(f))], [X], {})


def _entropy(program: Program, law: Law) -> tuple[float | None, str]:
    x, weight = _law_nodes(law)
    z = program.numpy(x)[0]
    if not np.isfinite(z).all():
        return None, f"not finite near x = {x[~np.isfinite(z)][0]:.4g}"
    mean = weight @ z
    variance = weight @ (z - mean) ** 2
    if not (isfinite(variance) and variance > 1e-24 * (1 + mean * mean)):
        return None, "constant under the law"
    u = np.clip((z - mean) / sqrt(variance), -LIMIT, LIMIT)
    tau = DEFAULT_TAU
    grid, density = deposit(u, weight, tau, u.min() - REACH * tau, u.max() + REACH * tau)
    density = np.maximum(density, 1e-300)
    return float(-(density @ np.log(density)) * (grid[1] - grid[0])), ""


@lru_cache(maxsize=32)
def _law_nodes(law: Law) -> tuple[Array, Array]:
    """Equally probable in the core, equally spaced in the tails: midpoints and their masses."""
    low, high = reach(law)
    core = law.quantile(np.linspace(1e-3, 1 - 1e-3, POINTS // 2))
    width = max(core[-1] - core[0], 1e-300)
    spread = np.linspace(max(low, core[0] - 2 * width), min(high, core[-1] + 2 * width), POINTS // 2)
    edges = np.unique(np.concatenate([core, spread]))
    cdf = law.cdf(edges)
    mass = np.diff(cdf)
    mass[0] += cdf[0]
    mass[-1] += 1 - cdf[-1]
    return 0.5 * (edges[1:] + edges[:-1]), mass


@lru_cache(maxsize=1)
def _kernel_nodes() -> tuple[Array, Array]:
    rule = nodes((0.0,), cut=40 * sqrt(KERNELS[-1]), step=0.06)
    keep = np.abs(rule.x) > 1e-9
    x, w = rule.x[keep], rule.w[keep]
    K = KERNELS[:, None]
    return x, w * np.exp(-0.5 * x * x / K) / np.sqrt(2 * pi * K)


def _class(program: Program) -> str:
    x, weights = _kernel_nodes()
    with np.errstate(all="ignore"):
        value, slope = _with_slope(program, x)
        if not (np.isfinite(value).all() and np.isfinite(slope).all()):
            bad = ~(np.isfinite(value) & np.isfinite(slope))
            value, slope = np.where(bad, 0.0, value), np.where(bad, 0.0, slope)
            reachable = weights[:, bad].sum(axis=1) < 1e-12
        else:
            reachable = np.ones(len(KERNELS), bool)
        g, perp, parallel = weights @ value**2, weights @ slope**2, weights @ (x * value * slope)
        ratio = parallel / (KERNELS * perp)
    usable = reachable & np.isfinite(ratio) & (perp > 1e-12)
    if not usable.any():
        return "none"
    K, gap, C_W = KERNELS[usable], ratio[usable] - 1, 1 / perp[usable]
    shift = K - C_W * g[usable]
    if np.all(np.abs(gap) < FLAT) and np.all(np.abs(shift) < FLAT * K):
        return "scale_invariant"
    at_zero = float(program.numpy(0.0)[0])
    grows = _growth_at_zero(g[usable] / K, K) if abs(at_zero) < 1e-6 and abs(gap[0]) < 0.02 else None
    if grows is not None and grows < 0:
        return "zero_stable"
    crossing = (gap[:-1] * gap[1:] < 0) & ((shift[:-1] > -FLAT * K[:-1]) | (shift[1:] > -FLAT * K[1:]))
    if np.any(crossing & (np.maximum(np.abs(gap[:-1]), np.abs(gap[1:])) > FLAT)):
        return "half_stable"
    return "none" if grows is None else "zero_unstable"


def _growth_at_zero(gain: Array, K: Array) -> float | None:
    """The sign of a1: whether g(K)/K first rises or falls, K rising from 0."""
    change = gain / gain[0] - 1
    shows = np.nonzero((np.abs(change) > FLAT) & (K < 10))[0]
    return float(np.sign(change[shows[0]])) if len(shows) else None


def _with_slope(program: Program, x: Array) -> tuple[Array, Array]:
    """f and f' at x, the slope by central differences: a kink inside the step of 1e-5 |x| + 1e-7 is averaged."""
    h = 1e-5 * np.abs(x) + 1e-7
    value, above, below = (program.numpy(at)[0] for at in (x, x + h, x - h))
    return value, (above - below) / (2 * h)
