"""What a search would do with its budget, before it does: `actsmith search ... --dry-run`."""

from __future__ import annotations

from actsmith.errors import ActsmithError
from actsmith.search.plan import CLIMBED, Plan, planned
from actsmith.search.stages import EXPLORED
from actsmith.trials.runner import Runner

__all__ = ["rehearsed"]


def rehearsed(
    runner: Runner,
    *,
    start: str,
    rates: int,
    seeds: int,
    budget: float | None,
    workers: int = 1,
    trials: int | None = None,
) -> str:
    """Stages, trainings, time and the difference that the confirmation can show, as text.

    Args:
        runner: what trains; a few steps are measured.
        start: name of the start.
        rates, seeds, budget, workers, trials: as the search is asked for.

    Raises:
        ActsmithError: a user's own loop, whose cost only its first training tells.
    """
    cost = runner.cost()
    if cost is None:
        raise ActsmithError(
            "search: the cost of a loop of your own is known after its first training alone, so there is no dry run of "
            "it; `actsmith search ... --budget TIME` measures it and shows how it goes"
        )
    plan = planned(budget, cost, rates, seeds, workers)
    each = cost.of(plan.examples)
    explored = trials if trials is not None else plan.explored if plan.explored is not None else EXPLORED
    look = rates * len(plan.tuning_seeds)
    rows = [
        ("look", look, f"{start} at {rates} rates, {_count(len(plan.tuning_seeds), 'seed')} each"),
        ("explore", round(explored * plan.each), _exploring(plan, explored)),
        ("tune", plan.tuning(rates) - look, _tuning(plan, rates)),
        ("confirm", plan.confirming, f"{plan.finalists + 2} activations, {len(plan.seeds)} fresh paired seeds each"),
    ]
    lines = [f"{runner.name}: a training takes about {_time(each)} here, alone"]
    if plan.examples < 1:
        lines[0] += f", on {plan.examples:.1%} of the training examples, for the budget's sake"
    lines += [f"{name:8} {n:6} trainings  {_time(n * each / workers):>8}  {what}" for name, n, what in rows]
    total = sum(n for _, n, _ in rows)
    told = "" if budget is None else f" of the {_time(budget)} that it may take"
    lines.append(f"{'in all':8} {total:6} trainings  {_time(total * each / workers):>8}{told}; stacks are quicker")
    if budget is not None and total * each / workers > budget:
        lines.append("The budget is scant: the search will end in time, with less than this.")
    lines.append(
        f"The confirmation can show a difference of {plan.resolves:.1f} times the deviation of one paired difference."
    )
    return "\n".join(lines)


def _exploring(plan: Plan, explored: int) -> str:
    first = _count(len(plan.exploring_seeds), "seed")
    again = f", the best quarter {len(plan.racing_seeds)} more" if plan.racing_seeds else ""
    return f"about {explored} known functions and proposals at the start's rate, {first} each{again}"


def _tuning(plan: Plan, rates: int) -> str:
    climbing = f", then about {CLIMBED} settings of rate and scale of the finalists" if plan.climbs else ""
    return f"{rates} rates of the {plan.tuned - 1} that lead{climbing}"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n != 1 else ''}"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
