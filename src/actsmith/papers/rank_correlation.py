"""Whether a number known beforehand puts activations in the order in which training puts them.

Spearman's rho with a percentile interval from a bootstrap over families of activations and over the seeds, and a linear
combination of ranked quantities that is fitted on some tasks and tested on the others.

| symbol | meaning                                            | shape                        |
|--------|----------------------------------------------------|------------------------------|
| q      | a quantity of each activation; may be infinite     | (activations,)               |
| merit  | scores, more is better; -inf where a net diverged  | (tasks, activations, seeds)  |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from actsmith.errors import ActsmithError
from actsmith.papers.claims import Claim, Effect, Origin, worded
from actsmith.trials.statistics import Interval
from actsmith.trials.verdict import verdict

__all__ = [
    "WEAK",
    "Correlation",
    "agreement",
    "between",
    "combined",
    "correlated",
    "correlations",
    "spearman",
    "split_half",
]

DRAWS = 1000
WEAK = 0.2
"""A rank correlation up to which one may not choose by it."""
REGROUPED = 20
"""How many times the activations are cut into a half to fit and a half to test."""

Floats = NDArray[np.float64]
Families = Sequence[str] | NDArray[Any]
"""Of each activation the name of the family that it is drawn with."""


@dataclass(frozen=True)
class Correlation:
    """A rank correlation with its 95 % interval, over `count` activations."""

    rho: float
    low: float
    high: float
    count: int

    def to_dict(self) -> dict[str, float]:
        """Plain values, rounded to what the bootstrap resolves."""
        return {"rho": round(self.rho, 3), "low": round(self.low, 3), "high": round(self.high, 3), "n": self.count}

    def __str__(self) -> str:
        return f"{self.rho:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def spearman(x: Floats, y: Floats) -> Floats:
    """Spearman's rho along the last axis: Pearson's r of the ranks, ties sharing theirs; 0 where one is constant.

    Example:
        >>> float(spearman(np.array([1.0, 2.0, np.inf]), np.array([0.1, 0.2, 0.3])))
        1.0
    """
    a, b = _centred(x), _centred(y)
    size = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    product = (a * b).sum(-1)
    rho: Floats = np.divide(product, size, out=np.zeros_like(product), where=size > 0)
    return rho


def _centred(x: Floats) -> Floats:
    ranks: Floats = rankdata(x, axis=-1)
    centred: Floats = ranks - ranks.mean(-1, keepdims=True)
    return centred


def correlations(q: Floats, merit: Floats, families: Families, seed: int = 0) -> tuple[list[Correlation], Correlation]:
    """Rank correlation of q with the merit on each task, and its mean over the tasks.

    Every draw of the bootstrap takes families of activations with replacement, the same for all tasks, and for each
    task seeds with replacement, the same for all activations.

    Args:
        q, merit: as above.
        families: of each activation; members of one are drawn together.

    Raises:
        ActsmithError: fewer than four activations, or shapes that do not agree.
    """
    _require(q[None], merit)

    def each(chosen: NDArray[np.intp], means: Floats) -> Floats:
        return spearman(q[None, chosen], means)

    values, draws = _bootstrap(each, (merit,), families, seed)
    found = [_interval(v, d, len(q)) for v, d in zip(values, draws.T, strict=True)]
    return found, _interval(float(values.mean()), draws.mean(1), len(q))


def between(
    x: Floats, y: Floats, families: Families, draws: int = DRAWS, seed: int = 0
) -> tuple[list[Correlation], Correlation]:
    """Rank correlation on each task of two numbers that every network has, and its mean over the tasks.

    Every draw of the bootstrap takes families of activations with replacement, the same for all tasks, and for each
    task seeds with replacement, the same for x and y.

    Args:
        x, y: (tasks, activations, seeds).
        families: of each activation, which are drawn together.

    Raises:
        ActsmithError: shapes that do not agree, or fewer than four families.
    """
    if x.shape != y.shape:
        raise ActsmithError(
            f"rank correlation: got {x.shape} and {y.shape}; expected (tasks, activations, seeds) twice"
        )
    values, drawn = _bootstrap(lambda chosen, a, b: spearman(a, b), (x, y), families, seed, draws)
    found = [_interval(v, d, len(families)) for v, d in zip(values, drawn.T, strict=True)]
    return found, _interval(float(values.mean()), drawn.mean(1), len(families))


def correlated(
    statement: str, found: Correlation, sign: int, evidence: str, size: str, *, origin: Origin = "ours",
    where: str = "", panel: str = "",
) -> Claim:  # fmt: skip
    """The claim that a correlation has this sign and is not weak, by its interval."""
    low, high = sorted((sign * found.low, sign * found.high))
    answer = verdict(Interval(sign * found.rho, low, high, found.count), WEAK)
    effect = Effect(sign * found.rho, low, high, found.count, (0, 0), answer, nan)
    return Claim(
        f"{statement}.", worded(answer, origin, published=False), evidence, origin, where, margin=WEAK, effect=effect,
        unit="rank correlation", size=size, panel=panel,
    )  # fmt: skip


def combined(
    quantities: Floats,
    merit: Floats,
    families: Families,
    *,
    new_activations: bool = False,
    draws: int = 300,
    seed: int = 0,
) -> tuple[Correlation, Floats]:
    """How well a combination fitted on half of the tasks orders the activations on the others.

    The ranks of the quantities, (k, activations), are fitted by least squares to the ranks of the merit averaged over
    the fitting tasks; for every way to halve the tasks the fit is tested on each task of the other half. The result is
    the mean.

    Args:
        quantities: what is combined.
        merit: as above, two tasks or more.
        families: of each activation; members of one are drawn together, and are on one side of every cut.
        new_activations: whether the test also leaves out the activations of the fit (half of the families, at random).
        draws, seed: of the bootstrap.

    Returns:
        The correlation, and the mean weight of each quantity (in ranks).

    Raises:
        ActsmithError: too few activations for so many quantities, or shapes that do not agree.
    """
    _require(quantities, merit)
    rng = np.random.Generator(np.random.PCG64(seed + 1))
    tasks, count = merit.shape[:2]
    if count < (2 if new_activations else 1) * (len(quantities) + 2):
        raise ActsmithError(f"combination: got {count} activations; too few for {len(quantities)} quantities")
    everything = np.ones(count, bool)
    members = _members(families)
    cuts = [_half(members, rng) for _ in range(REGROUPED)] if new_activations else [everything]
    fitted = _halves(tasks)

    def tested(chosen: NDArray[np.intp], means: Floats) -> Floats:
        x, y = _scaled(quantities[:, chosen]), _scaled(means)
        targets = fitted @ y / fitted.sum(1, keepdims=True)
        rhos, weights = [], []
        for cut in cuts:
            inside = cut[chosen]
            outside = ~inside if new_activations else inside
            if min(inside.sum(), outside.sum()) < len(quantities) + 2:
                continue
            w = np.linalg.lstsq(x[:, inside].T, targets[:, inside].T, rcond=None)[0].T
            each = spearman((w @ x[:, outside])[:, None], y[None, :, outside])
            rhos.append((each * ~fitted).sum() / (~fitted).sum())
            weights.append(w.mean(0))
        if not rhos:  # a draw of few families leaves too little on one side of every cut
            return np.full(len(quantities) + 1, np.nan)
        return np.array([np.mean(rhos), *np.mean(weights, 0)])

    value, spread = _bootstrap(tested, (merit,), families, seed, draws)
    return _interval(float(value[0]), spread[:, 0], count), value[1:]


def _members(families: Families) -> list[NDArray[np.intp]]:
    """The activations of each family."""
    return [np.flatnonzero(np.array(families) == family) for family in dict.fromkeys(families)]


def _half(members: Sequence[NDArray[np.intp]], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Families at random until they hold half of the activations."""
    count = sum(map(len, members))
    inside = np.zeros(count, bool)
    for family in rng.permutation(len(members)):
        if inside.sum() + len(members[family]) <= count // 2:
            inside[members[family]] = True
    return inside


def _halves(tasks: int) -> NDArray[np.bool_]:
    """Every way to fit on a half of the tasks, (ways, tasks); of an odd number the larger and the smaller half."""
    sizes = sorted({tasks // 2, tasks - tasks // 2})
    ways = [fit for size in sizes for fit in combinations(range(tasks), size)]
    return np.array([[t in fit for t in range(tasks)] for fit in ways])


def _scaled(x: Floats) -> Floats:
    """Ranks, mean 0, in [-1, 1]."""
    scaled: Floats = 2 * _centred(x) / max(x.shape[-1] - 1, 1)
    return scaled


def agreement(merit: Floats) -> float:
    """The mean rank correlation between two tasks: what a perfect knowledge of one says of another."""
    means = merit.mean(-1)
    return float(np.mean([spearman(means[i], means[j]) for i, j in combinations(range(len(means)), 2)]))


def split_half(merit: Floats) -> list[float]:
    """For each task the rank correlation of half of its seeds with the others, the mean over all halvings."""
    seeds = merit.shape[-1]
    halves = [list(h) for h in combinations(range(seeds), seeds // 2)]
    rest = [[s for s in range(seeds) if s not in h] for h in halves]
    return [
        float(np.mean([spearman(task[:, a].mean(-1), task[:, b].mean(-1)) for a, b in zip(halves, rest, strict=True)]))
        for task in merit
    ]


def _bootstrap(
    statistic: Callable[..., Any], numbers: Sequence[Floats], families: Families, seed: int, draws: int = DRAWS
) -> tuple[Floats, Floats]:
    """The statistic's values, (k,), and on every draw, (draws, k). It takes activations and of each of the numbers
    (tasks, n, seeds) their mean over the drawn seeds, (tasks, chosen)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    tasks, count, seeds = numbers[0].shape
    members = _members(families)
    if len(families) != count or len(members) < 4:
        raise ActsmithError(
            f"rank correlation: got {len(members)} families of {len(families)} activations; expected four families or "
            f"more of {count}"
        )
    value = statistic(np.arange(count), *(v.mean(-1) for v in numbers))
    drawn = []
    for _ in range(draws):
        chosen = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        taken = np.broadcast_to(rng.integers(seeds, size=(tasks, 1, seeds)), (tasks, len(chosen), seeds))
        drawn.append(statistic(chosen, *(np.take_along_axis(v[:, chosen], taken, -1).mean(-1) for v in numbers)))
    return value, np.array(drawn)


def _interval(value: float, draws: Floats, count: int) -> Correlation:
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return Correlation(float(value), float(low), float(high), count)


def _require(quantities: Floats, merit: Floats) -> None:
    if merit.ndim != 3 or quantities.shape[1] != merit.shape[1] or merit.shape[1] < 4:
        raise ActsmithError(
            f"rank correlation: got quantities {quantities.shape} and merit {merit.shape}; expected (k, n) and "
            "(tasks, n, seeds) with n >= 4"
        )
