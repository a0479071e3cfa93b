"""Preimages of f on its monotone branches, also where f(x) has lost its digits.

Far from the ends of a branch Newton's method on f serves. Near an end z cannot be told from the end's value: at a fold
f(x) - f(fold) cancels, in a tail tanh(x^2) is 1 in float64 from x = 4.4 on. The distance

    T(x) = |f(end) - f(x)| = int from x to the end of |f'(t)| dt

is known to all its digits, because f' is, and two branches that end in one value are matched by their T.

| symbol | meaning                                               |
|--------|-------------------------------------------------------|
| z      | f(x)                                                  |
| T      | distance of z from the value at an end of the branch  |
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from actsmith.formula.formula import Formula
from actsmith.theory.law import Array
from actsmith.theory.quadrature import nodes

__all__ = ["Branch", "Ends", "inverse", "preimage_at"]

POINTS = 6  # Gauss-Legendre points between neighbours of a table
ROUNDS = 60


@dataclass(frozen=True)
class Branch:
    """An interval on which f is strictly monotone, from z_low = f(low+) to z_high = f(high-)."""

    low: float
    high: float
    z_low: float
    z_high: float

    def covers(self, z: Array) -> np.ndarray:
        """Where z is a value of f on the open branch."""
        low, high = sorted((self.z_low, self.z_high))
        inside: np.ndarray = (low < z) & (z < high)
        return inside

    def ends(self) -> tuple[float, float]:
        """f at the left and at the right end."""
        return self.z_low, self.z_high


def inverse(f: Formula, branch: Branch, z: Array) -> tuple[Array, Array]:
    """x on the branch with f(x) = z, and how far off it may be: a table of f gives the cell, safeguarded Newton the
    rest. Where the rounding of f hides the solution, the bracket that is left is the error."""
    x, values = _table(f, branch)
    cell = np.clip(np.searchsorted(values, z), 1, len(x) - 1)
    rising = branch.z_high > branch.z_low
    low, high = np.minimum(x[cell - 1], x[cell]), np.maximum(x[cell - 1], x[cell])
    with np.errstate(all="ignore"):
        share = (z - values[cell - 1]) / (values[cell] - values[cell - 1])
    guess = np.where(np.isfinite(share), x[cell - 1] + share * (x[cell] - x[cell - 1]), 0.5 * (low + high))
    result, off, at = guess.copy(), np.zeros(len(z)), np.arange(len(z))
    for _ in range(ROUNDS):
        value, slope = f.jet(guess, 1)
        above = (value > z) == rising
        high, low = np.where(above, guess, high), np.where(above, low, guess)
        with np.errstate(all="ignore"):
            newton = guess - (value - z) / slope
        inside = (newton > low) & (newton < high)
        resolution = 4e-16 * np.abs(guess) + 1e-45
        done = (np.abs(value - z) <= 4e-16 * np.abs(z)) | (np.abs(newton - guess) <= resolution)
        done |= high - low <= resolution
        result[at], off[at] = guess, np.where(done, 0.0, high - low)
        if done.all():
            break
        guess = np.where(inside, newton, 0.5 * (low + high))[~done]
        at, z, low, high = at[~done], z[~done], low[~done], high[~done]
    return result, off


@lru_cache(maxsize=512)
def _table(f: Formula, branch: Branch) -> tuple[Array, Array]:
    """x ordered so that f(x) ascends, with f(x), on the branch and at its ends."""
    rule = nodes((0.0,) if branch.low < 0 < branch.high else (), low=branch.low, high=branch.high, step=0.1)
    x = np.sort(np.concatenate([[branch.low, branch.high], rule.x]))
    values = np.concatenate([[branch.z_low], f(x[1:-1]), [branch.z_high]])
    if branch.z_high < branch.z_low:
        x, values = x[::-1], values[::-1]
    return x, np.maximum.accumulate(values)


@dataclass(frozen=True, eq=False)
class Ends:
    """T to one end of a branch.

    Attributes:
        x: a table's points, from the end on, (n,).
        total: T at them, ascending, (n,).
        side: 1 where the branch lies to the right of the end, else -1.
    """

    formula: Formula
    x: Array
    total: Array
    side: int

    def distance(self, x: Array) -> Array:
        """T(x), (n,) -> (n,)."""
        cell = np.clip(np.searchsorted(self.side * self.x, self.side * x), 1, self.x.size - 1) - 1
        result: Array = self.total[cell] + self._between(self.x[cell], x)
        return result

    def solve(self, distance: Array) -> Array:
        """x on the branch with T(x) = distance, by Newton's method on log T inside a cell of the table."""
        cell = np.clip(np.searchsorted(self.total, distance), 1, self.x.size - 1)
        start, before = self.x[cell - 1], self.total[cell - 1]
        low, high = np.minimum(start, self.x[cell]), np.maximum(start, self.x[cell])
        with np.errstate(all="ignore"):
            a, b = np.log(before), np.log(self.total[cell])
            guess = start + (np.log(distance) - a) / (b - a) * (self.x[cell] - start)
        guess = np.where((guess >= low) & (guess <= high), guess, 0.5 * (low + high))
        result, at = guess.copy(), np.arange(guess.size)
        for _ in range(ROUNDS):
            value = before + self._between(start, guess)
            beyond = (value > distance) == (self.side > 0)
            high, low = np.where(beyond, guess, high), np.where(beyond, low, guess)
            with np.errstate(all="ignore"):
                slope = self.side * np.abs(self.formula.jet(guess, 1)[1])
                miss = np.log(distance / value)
                new = guess + miss * value / slope
            inside = (new > low) & (new < high)
            new = np.where(inside, new, 0.5 * (low + high))
            there = np.abs(miss) <= 1e-14  # rounding: a bracket that has closed in on it says no more
            result[at] = np.where(there, guess, new)
            # One more step of Newton's from 1e-8 is right to 1e-16.
            going = ~there & ~((np.abs(miss) <= 1e-8) & inside) & (np.abs(new - guess) > 4e-16 * np.abs(guess))
            if not going.any():
                break
            at, guess, low, high = at[going], new[going], low[going], high[going]
            start, before, distance = start[going], before[going], distance[going]
        return result

    def _between(self, a: Array, b: Array) -> Array:
        """int |f'| between a and b, (n,)."""
        t, w = _legendre()
        half = 0.5 * (b - a)
        points = (0.5 * (a + b))[:, None] + half[:, None] * t
        slope = np.abs(self.formula.jet(points, 1)[1])
        result: Array = (slope @ w) * np.abs(half)
        return result


@lru_cache(maxsize=1)
def _legendre() -> tuple[Array, Array]:
    """Nodes and weights on [-1, 1], each (POINTS,)."""
    t, w = special.roots_legendre(POINTS)
    return t, w


@lru_cache(maxsize=512)
def ends_of(f: Formula, branch: Branch, right: bool) -> Ends:
    """T to the right or to the left end of a branch."""
    rule = nodes((0.0,) if branch.low < 0 < branch.high else (), low=branch.low, high=branch.high, step=0.1)
    x, side = (np.sort(rule.x)[::-1], -1) if right else (np.sort(rule.x), 1)
    found = Ends(f, x, np.zeros(x.size), side)
    end = branch.high if right else branch.low
    with np.errstate(all="ignore"):
        slope, d = np.abs(f.jet(x[:2], 1)[1]), np.abs(x[:2] - end)
        # Inside the first point f' follows a power of the distance.
        power = np.log(slope[1] / slope[0]) / np.log(d[1] / d[0])
        first = slope[0] * d[0] / (1 + power if np.isfinite(power) and power > -0.999 else 1.0)
    total = first + np.concatenate([[0.0], np.cumsum(found._between(x[:-1], x[1:]))])
    return Ends(f, x, total, side)


def preimage_at(f: Formula, branch: Branch, right: bool, distance: Array) -> tuple[Array, np.ndarray]:
    """x on the branch at the distance T from the value at one of its ends, and whether the branch reaches that far."""
    ends = ends_of(f, branch, right)
    return ends.solve(np.minimum(distance, ends.total[-1])), distance <= ends.total[-1]
