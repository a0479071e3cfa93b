"""What a budget buys: a pure function of what one training costs, decided once and kept for the whole run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from actsmith.trials.runner import Cost

__all__ = ["Plan", "more_seeds", "planned"]

TUNING_SEEDS = (1000, 1001, 1002, 1003)
"""Other seeds than the scored ones, 0, 1, ...: what tunes does not judge."""
STEPS = ((4, 1.0, 24), (4, 1.0, 12), (2, 0.5, 8), (1, 0.5, 6), (1, 0.3, 4))
"""Tuning seeds, share of the scored seeds, activations beside the start: from generous to scant."""
EXAMPLES = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125)
FEWEST = 3
"""Scored seeds, at least."""
USED = 0.85
"""Share of the budget that is planned for."""
CONFIRMING = 0.4
"""Share of the budget that is kept for the confirmation, at most."""


@dataclass(frozen=True)
class Plan:
    """How a search spends its budget.

    Attributes:
        tuning_seeds: with which every rate of every activation is tried.
        seeds: of the confirmation, for which time is kept; as many as were asked for are trained while there is time.
        activations: that are tuned beside the start before time is kept for all seeds; None for all.
        finalists: candidates or known functions that are confirmed, at most, beside the start and the best known one.
        examples: the share of the training examples that every training sees.
        cost: seconds of one training at this share, as it was measured; None where that was not needed.
        rates: False where a user's own loop asks for none, so that there is nothing to tune.
    """

    tuning_seeds: tuple[int, ...]
    seeds: tuple[int, ...]
    activations: int | None
    finalists: int
    examples: float
    cost: float | None
    rates: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """The inverse of `to_dict`."""
        own: dict[str, Any] = {f.name: values[f.name] for f in fields(cls) if f.name in values}
        return cls(**own | {name: tuple(own[name]) for name in ("tuning_seeds", "seeds")})

    def trainings(self, rates: int) -> int:
        """How many that are, with so many rates for each activation."""
        tuned = rates * len(self.tuning_seeds) * (1 + (self.activations or 0))
        return tuned + len(self.seeds) * (self.finalists + 2)


def planned(budget: float | None, cost: Cost | None, rates: int, seeds: int, workers: int = 1) -> Plan:
    """The most generous plan that fits, on fewer examples where none does.

    Args:
        budget: seconds; None for as long as it takes.
        cost: of one training.
        rates: learning rates that are tried for each activation.
        seeds: of the confirmation, as asked for.
        workers: trainings that run at the same time.

    Example:
        >>> planned(None, None, rates=4, seeds=10).activations is None
        True
        >>> plan = planned(600.0, Cost(60.0, 1.0), rates=4, seeds=10)
        >>> plan.examples, len(plan.tuning_seeds), len(plan.seeds)
        (0.25, 1, 3)
    """
    if budget is None or cost is None:
        return Plan(TUNING_SEEDS, tuple(range(seeds)), None, 3, 1.0, None)
    found: Plan | None = None
    for examples in EXAMPLES if cost.training else (1.0,):  # nothing is gained where fewer cost as much
        for tuning, share, activations in STEPS:
            scored = tuple(range(max(round(share * seeds), min(FEWEST, seeds))))
            finalists, each = 3 if activations > 6 else 1, cost.of(examples)
            found = Plan(TUNING_SEEDS[:tuning], scored, activations, finalists, examples, each)
            if found.trainings(rates) * each <= USED * budget * workers:
                return found
    assert found is not None
    return found


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
