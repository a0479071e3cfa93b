"""Ours with other settings: chosen on half of the tasks, judged on the other half.

Twenty random halvings, each judged both ways. The settings of the smallest mean late regret on one half are taken to
the other; what counts is their late regret there.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsmith.table.ours import Ours

__all__ = ["GRID", "Draws", "Interval", "Retuned", "in_words", "interval", "late", "means", "resampled", "retuned"]

Array = NDArray[Any]
Interval = tuple[float, float, float]
"""A mean, and the ends of its 95 % interval."""
Draws = tuple[Array, Array]
"""The share of each task, (draws, t), and of each repetition, (draws, r)."""

GRID = (
    *(
        Ours(known=known, look=look, earned=earned)
        for known, look, earned in itertools.product((None, 16, 0), (None, 1.0, 0.5), (0.5, 0.0))
    ),
    Ours(bold=0.5),
    Ours(bold=2.0),
)
"""The settings that are tried; the first is ours as it is."""
HALVINGS = 20
DRAWS = 4000
"""For intervals: tasks and repetitions are drawn with replacement."""


@dataclass(frozen=True)
class Retuned:
    """What retuning gains.

    Attributes:
        chosen: settings in words, and the share of the halvings that chose them, the most frequent first.
        default: the late regret of the retuned ones less that of ours as it is.
        halvings, settings, repetitions: how many.
        held: regret on judged halves, the mean over the halvings, (t, repetitions, budget).
    """

    chosen: tuple[tuple[str, float], ...]
    default: Interval
    halvings: int
    settings: int
    repetitions: int
    held: Array


def retuned(curves: Array, seed: int = 0) -> Retuned:
    """Choose and judge.

    Args:
        curves: regret of each of `GRID` after 1, 2, ... trainings, (settings, t, repetitions, budget).
        seed: of the halvings and the intervals.
    """
    rng, (_, tasks, repetitions, _) = np.random.default_rng(seed), curves.shape
    lately = late(curves).mean(2)
    held, chosen = np.zeros(curves.shape[1:]), Counter[int]()
    for _ in range(HALVINGS):
        order = rng.permutation(tasks)
        halves = order[: tasks // 2], order[tasks // 2 :]
        for seen, judged in (halves, halves[::-1]):
            best = int(np.argmin(lately[:, seen].mean(1)))
            chosen[best] += 1
            held[judged] += curves[best][judged] / HALVINGS
    draws = resampled(tasks, repetitions, rng)
    often = tuple((in_words(GRID[i]), count / (2 * HALVINGS)) for i, count in chosen.most_common())
    return Retuned(often, interval(late(held) - late(curves[0]), draws), HALVINGS, len(GRID), repetitions, held)


def in_words(one: Ours) -> str:
    """What is set otherwise than by default, in words."""
    default, parts = Ours(), []
    if one.known is not default.known:
        parts.append(f"{one.known} known functions first" if one.known else "no known functions first")
    if one.look is not default.look:
        parts.append("no short looks" if one.look == 1 else f"looks of {one.look:.0%}")
    if one.earned != default.earned:
        parts.append("the surrogate chooses all" if not one.earned else f"{one.earned:.0%} of the places earned")
    if one.bold != default.bold:
        parts.append(f"hope of {one.bold:g} deviations")
    return ", ".join(parts) or "as it is"


def late(curves: Array) -> Array:
    """The mean over the second half of the budget, of (..., budget)."""
    return np.asarray(curves[..., curves.shape[-1] // 2 :].mean(-1))


def resampled(tasks: int, repetitions: int, rng: np.random.Generator) -> Draws:
    """Draws of tasks and of repetitions with replacement: how often each was drawn, as shares."""
    by_task, by_repetition = (rng.multinomial(n, np.full(n, 1 / n), DRAWS) / n for n in (tasks, repetitions))
    return by_task, by_repetition


def means(values: Array, draws: Draws) -> Array:
    """Of values (t, r, ...) the mean over the tasks and repetitions of each draw, (draws, ...)."""
    by_task, by_repetition = draws
    found = np.zeros((len(by_task), *values.shape[2:]))
    for j, own in enumerate(values):
        weight = by_task[:, j].reshape(-1, *[1] * (values.ndim - 2))
        found += weight * np.tensordot(by_repetition, own, 1)
    return found


def interval(values: Array, draws: Draws, together: int = 1) -> Interval:
    """The mean over tasks and repetitions (t, r), and its interval: 95 % for so many of them together (Bonferroni)."""
    low, high = np.quantile(means(values, draws), [0.025 / together, 1 - 0.025 / together])
    return float(values.mean()), float(low), float(high)
