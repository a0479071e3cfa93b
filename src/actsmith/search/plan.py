"""What a budget buys: a pure function of what one training costs, decided once and kept for the whole run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import sqrt
from typing import Any

from actsmith.trials.runner import Cost

__all__ = ["Plan", "enough", "kept_for_confirming", "more_seeds", "planned"]

TUNING_SEEDS = (1000, 1001, 1002, 1003)
"""Other seeds than the scored ones, 0, 1, ...: what tunes does not judge."""
EXPLORING_SEEDS = (2000, 2001)
"""Of every proposal."""
RACING_SEEDS = (2100, 2101, 2102, 2103)
"""Of the best quarter of what was explored: what was lucky with the first ones is not with these."""
EXAMPLES = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125)
FEWEST = 3
"""Scored seeds, at least."""
USED = 0.85
"""Share of the budget that is planned for."""
CONFIRMING, TUNING = 0.3, 0.2
"""Shares of the budget that are kept for the confirmation and for the tuning before it, at most."""
ELSEWHERE, LEAST_CONFIRMING, MOST_CONFIRMING = 2, 0.05, 0.65
"""For each further task to confirm on so many times what the confirmation takes is kept, since it is tuned there, too;
the shares of the budget that one confirmation gets at least, and all of them at most."""
KNOWN_TUNED = 3
"""The best known functions, which are tuned like finalists."""
CLIMBED = 12
"""Settings around the grid's best that are tried of one activation, about."""
DETECTED = 4.3
"""n = (4.3 s / d)^2 pairs show a difference d in nine of ten confirmations at p < 0.01, s the pairs' deviation."""


@dataclass(frozen=True)
class Plan:
    """How a search spends its budget.

    Attributes:
        exploring_seeds: with which every proposal is tried at the start's rate.
        racing_seeds: with which the best quarter of them is tried again; none: the first ones decide.
        tuning_seeds: with which every rate of every promoted activation is tried.
        seeds: of the confirmation, for which time is kept; as many as were asked for are trained while there is time.
        promoted: activations that are tuned beside the start and the best known ones.
        finalists: that are confirmed, at most, beside the start and the best known one.
        climbs: whether finalists are tuned on, in rate and scale, from the best of the grid.
        explored: proposals and known functions that are tried before time is kept for the rest; None: as many as asked.
        examples: the share of the training examples that every training sees.
        cost: seconds of one training at this share, as it was measured; None where that was not needed.
        rates: False where a user's own loop asks for none, so that there is nothing to tune.
    """

    exploring_seeds: tuple[int, ...]
    racing_seeds: tuple[int, ...]
    tuning_seeds: tuple[int, ...]
    seeds: tuple[int, ...]
    promoted: int
    finalists: int
    climbs: bool
    explored: int | None
    examples: float
    cost: float | None
    rates: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """The inverse of `to_dict`."""
        lists = ("exploring_seeds", "racing_seeds", "tuning_seeds", "seeds")
        own: dict[str, Any] = {f.name: values[f.name] for f in fields(cls) if f.name in values}
        return cls(**own | {name: tuple(own[name]) for name in lists})

    @property
    def tuned(self) -> int:
        """Activations whose rates are tried, the start among them."""
        return 1 + self.promoted + (KNOWN_TUNED if self.climbs else 1)

    def tuning(self, rates: int) -> int:
        """Trainings that tune, with so many rates for each."""
        climbing = (self.finalists + 2) * CLIMBED if self.climbs else 0
        return len(self.tuning_seeds) * (rates * self.tuned + climbing)

    @property
    def confirming(self) -> int:
        """Trainings that confirm."""
        return len(self.seeds) * (self.finalists + 2)

    def elsewhere(self, rates: int) -> int:
        """On a further task: the start, the finalists and the best known one are tuned and confirmed there."""
        nets = self.finalists + 2
        tuning = len(self.tuning_seeds) * nets * (rates + (CLIMBED if self.climbs else 0))
        return tuning + self.confirming

    def trainings(self, rates: int) -> int:
        """All in all, with so many rates for each that is tuned; of exploring the share that is planned for."""
        return self.tuning(rates) + self.confirming + round(self.each * (self.explored or 0))

    @property
    def each(self) -> float:
        """Trainings of one activation that is explored, in the mean."""
        return len(self.exploring_seeds) + 0.25 * len(self.racing_seeds)

    @property
    def resolves(self) -> float:
        """The difference that the confirmation can show, in deviations of a paired difference."""
        return DETECTED / sqrt(len(self.seeds))


def _step(
    exploring: int, racing: int, tuning: int, share: float, *, promoted: int, finalists: int, climbs: bool = False
) -> Plan:  # fmt: skip
    seeds = tuple(range(round(100 * share)))  # of a hundred: the share of those asked for
    return Plan(
        EXPLORING_SEEDS[:exploring], RACING_SEEDS[:racing], TUNING_SEEDS[:tuning], seeds, promoted, finalists, climbs,
        None, 1.0, None,
    )  # fmt: skip


STEPS = (
    (_step(2, 4, 4, 1.0, promoted=6, finalists=3, climbs=True), 96),
    (_step(2, 2, 2, 1.0, promoted=4, finalists=3, climbs=True), 64),
    (_step(1, 2, 2, 0.7, promoted=4, finalists=2), 32),
    (_step(1, 0, 2, 0.5, promoted=2, finalists=1), 16),
    (_step(1, 0, 1, 0.3, promoted=1, finalists=1), 8),
)
"""From generous to scant, each with the activations that it should explore at least."""


def kept_for_confirming(confirming: float, whole: float, further: int = 0) -> float:
    """What is kept of a budget for the confirmation, here and on further tasks, in the units of the arguments.

    Args:
        confirming: what the confirmation takes here.
        whole: the budget.
        further: tasks to confirm on beside.

    Example:
        >>> kept_for_confirming(5.0, 100.0), kept_for_confirming(90.0, 100.0)
        (5.0, 30.0)
        >>> kept_for_confirming(5.0, 100.0, 1), kept_for_confirming(90.0, 100.0, 2), kept_for_confirming(90.0, 100.0, 3)
        (15.0, 60.0, 65.0)
    """
    most = min(CONFIRMING + CONFIRMING / 2 * further, MOST_CONFIRMING)
    return min((1 + ELSEWHERE * further) * confirming, most * whole)


def planned(
    budget: float | None, cost: Cost | None, rates: int, seeds: int, workers: int = 1, *, further: int = 0
) -> Plan:  # fmt: skip
    """The most generous plan that fits, on fewer examples where none does.

    Args:
        budget: seconds; None for as long as it takes.
        cost: of one training.
        rates: learning rates that are tried for each promoted activation.
        seeds: of the confirmation, as asked for.
        workers: trainings that run at the same time.
        further: tasks to confirm on beside, for which time is kept.

    Example:
        >>> planned(None, None, rates=4, seeds=15).explored is None
        True
        >>> plan = planned(600.0, Cost(60.0, 1.0), rates=4, seeds=10)
        >>> plan.examples, len(plan.tuning_seeds), len(plan.seeds), plan.explored
        (0.25, 1, 3, 10)
    """
    found: Plan | None = None
    known = budget is not None and cost is not None
    for examples in EXAMPLES if known and cost is not None and cost.training else (1.0,):
        each = cost.of(examples) if known and cost is not None else None
        for step, least in STEPS:
            scored = tuple(range(max(round(len(step.seeds) / 100 * seeds), min(FEWEST, seeds))))
            found = Plan(**vars(step) | {"seeds": scored, "examples": examples, "cost": each})
            if budget is None or each is None:
                return found
            trainings = USED * budget * workers / max(each, 1e-9)
            kept = max(found.confirming, kept_for_confirming(found.confirming, trainings, further))
            explored = int((trainings - found.tuning(rates) - kept) / found.each)
            found = Plan(**vars(found) | {"explored": max(explored, least)})
            if explored >= least:
                return found
    assert found is not None
    return found


def enough(each: float, rates: int, workers: int = 1) -> float:
    """Seconds of a budget that the scantest plan takes.

    Args:
        each: seconds of one training.
        rates: learning rates that are tried for each promoted activation.
        workers: trainings that run at the same time.

    Example:
        >>> round(enough(10.0, rates=4))
        341
    """
    scant, least = STEPS[-1]
    trainings = scant.tuning(rates) + FEWEST * (scant.finalists + 2) + least * scant.each
    return each * trainings / (USED * workers)


def more_seeds(left: float, cost: float, nets: int, seeds: int, workers: int = 1) -> int:
    """How many seeds a confirmation that did not decide can have more: up to twice as many, so that the test split is
    looked at seldom.

    Args:
        left: seconds; the count is a function of the time alone, never of the scores.
        cost: seconds of one training.
        nets: the activations that are confirmed.
        seeds: that they have already.
        workers: trainings that run at the same time.

    Example:
        >>> more_seeds(60.0, 1.0, nets=3, seeds=10), more_seeds(600.0, 1.0, 3, 10), more_seeds(2.0, 1.0, 3, 10)
        (17, 20, 0)
    """
    return min(int(USED * left * workers / max(cost * nets, 1e-9)), 2 * seeds)
