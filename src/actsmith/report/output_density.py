"""The density of an activation's output as a picture shows it: what is in view, on which scale, where it is cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from actsmith.theory.law import Law
from actsmith.theory.output import WEIGHTLESS, OutputLaw

__all__ = ["OutputDensity", "window"]

Array = NDArray[np.float64]

TAIL = 5e-3
"""The probability of a law on each side that need not be in view."""
DENSEST = 0.2
"""The share of an output's mass that is at its densest: a fold's value, where the density is infinite, is cut there."""
WIDE = 30.0
"""Densities of which most differ by more than this are drawn on a logarithmic scale."""
MOST = 1e4
"""And at most this far from the densities of the thinner parts."""


def window(law: Law) -> tuple[float, float]:
    """Where a law has its mass, with a margin."""
    return _around(*law.quantile([TAIL, 1 - TAIL]))


@dataclass(frozen=True, eq=False)
class OutputDensity:
    """What is drawn of an `OutputLaw`.

    Attributes:
        window: ends of the axis of values.
        scale: ends of the axis of densities; None where all of the mass is on single values.
        logarithmic: whether that axis is.
        stretches: values, ascending, and their density, on every interval that is reached without a gap.
        atoms: (value, probability) of the single values that carry any.
    """

    window: tuple[float, float]
    scale: tuple[float, float] | None
    logarithmic: bool
    stretches: tuple[tuple[Array, Array], ...]
    atoms: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, output: OutputLaw) -> OutputDensity:
        """The picture of an output."""
        mass = output.rule.w * output.p
        wide = _around(*_mass_quantiles(output.z, mass, (TAIL, 1 - TAIL)))
        values = {a.value: None for a in output.atoms}
        atoms = tuple((value, sum(a.mass for a in output.atoms if a.value == value)) for value in values)
        if not output.branches:
            return cls(wide, None, False, (), atoms)
        scale, logarithmic = _scale(_density(output), mass[~output.flat])
        stretches = tuple(_in_view(z, q, wide, scale) for z, q in _stretches(output))
        return cls(wide, scale, logarithmic, stretches, atoms)


def _around(low: float, high: float) -> tuple[float, float]:
    margin = 0.15 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def _density(output: OutputLaw) -> Array:
    """q at the nodes off the flat pieces; beyond e^700 it is cut, where floats end."""
    q: Array = np.exp(np.minimum(output.log_q[~output.flat], 700.0))
    return q


def _scale(q: Array, mass: Array) -> tuple[tuple[float, float], bool]:
    """Linear where most of the mass has densities of one size, cut at a pole; else logarithmic."""
    least, low, high, most = _mass_quantiles(q, mass, (0.02, 0.25, 1 - DENSEST, 0.98))
    if high > WIDE * low:
        return (float(max(least / 2, low / MOST)), float(min(2 * most, MOST * low))), True
    return (0.0, float(min(1.08 * q.max(), 1.5 * high))), False


def _stretches(output: OutputLaw) -> Iterator[tuple[Array, Array]]:
    """The output's values and their density, ascending, on every interval that the branches reach without a gap."""
    images = sorted(sorted((b.z_low, b.z_high)) for b in output.branches)
    joined: list[list[float]] = []
    for low, high in images:
        if joined and low <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], high)
        else:
            joined.append([low, high])
    # Where there is next to no mass the density lacks the other branches' share.
    known = (output.rule.w * output.p)[~output.flat] > WEIGHTLESS
    z, q = output.z[~output.flat][known], _density(output)[known]
    order = np.argsort(z)
    z, q = z[order], q[order]
    for low, high in joined:
        inside = (z >= low) & (z <= high)
        yield z[inside], q[inside]


def _in_view(x: Array, y: Array, wide: tuple[float, float], high: tuple[float, float]) -> tuple[Array, Array]:
    """The points in view and one to each side, a thousandth of it apart: a rule's nodes crowd elsewhere."""
    y = np.minimum(y, 10 * high[1])
    height = np.log(y / high[0]) / log(high[1] / high[0]) if high[0] > 0 else y / high[1]
    places = np.rint(1000 * np.stack([x / np.ptp(wide), height]))
    kept = np.append(True, np.any(np.diff(places, axis=1) != 0, axis=0))
    x, y = x[kept], y[kept]
    first, last = np.searchsorted(x, wide)
    seen = slice(max(first - 1, 0), last + 1)
    return x[seen], y[seen]


def _mass_quantiles(values: Array, mass: Array, levels: Sequence[float]) -> Array:
    """The values below which these shares of the mass lie."""
    order = np.argsort(values)
    total = np.cumsum(mass[order])
    found: Array = values[order][np.minimum(np.searchsorted(total, np.multiply(levels, total[-1])), len(order) - 1)]
    return found
