"""What a search would do with its budget, before it does: `actsmith search ... --dry-run`."""

from __future__ import annotations

from collections.abc import Sequence

from actsmith.errors import ActsmithError
from actsmith.search.elsewhere import Elsewhere
from actsmith.search.plan import CLIMBED, LEAST_CONFIRMING, Plan, kept_for_confirming, planned
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
    further: Sequence[Elsewhere] = (),
) -> str:
    """Stages, trainings, time and the difference that the confirmation can show, as text.

    Args:
        runner: what trains; a few steps are measured.
        start: name of the start.
        rates, seeds, budget, workers, trials: as the search is asked for.
        further: tasks to confirm on beside; each is opened, and a few steps of it are measured.

    Raises:
        ActsmithError: a user's own loop, whose cost only its first training tells; a further task that cannot be had.
    """
    cost = runner.cost()
    if cost is None:
        raise ActsmithError(
            "search: the cost of a loop of your own is known after its first training alone, so there is no dry run of "
            "it; `actsmith search ... --budget TIME` measures it and shows how it goes"
        )
    plan = planned(budget, cost, rates, seeds, workers, further=len(further))
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
    there = [_elsewhere(task, plan) for task in further]
    timed = [(name, n, n * each / workers, what) for name, n, what in rows]
    timed += [("confirm", n, seconds / workers, what) for n, seconds, what in there]
    lines += [f"{name:8} {n:6} trainings  {_time(seconds):>8}  {what}" for name, n, seconds, what in timed]
    total, seconds = sum(row[1] for row in timed), sum(row[2] for row in timed)
    told = "" if budget is None else f" of the {_time(budget)} that it may take"
    lines.append(f"{'in all':8} {total:6} trainings  {_time(seconds):>8}{told}; stacks are quicker")
    if budget is not None and there:
        lines.append(_kept(plan, budget, each / workers, [own / workers for _, own, _ in there]))
    if budget is not None and seconds > budget:
        lines.append("The budget is scant: the search will end in time, with less than this.")
    lines.append(
        f"The confirmation can show a difference of {plan.resolves:.1f} times the deviation of one paired difference."
    )
    return "\n".join(lines)


def _elsewhere(task: Elsewhere, plan: Plan) -> tuple[int, float, str]:
    """Trainings and seconds on a further task, on all of its examples, and what they are."""
    runner = task.open()
    cost, count = runner.cost(), plan.elsewhere(len(runner.rates))
    assert cost is not None, "a named task is no loop of a user's"
    each = cost.of(1.0)
    climbing = f", about {CLIMBED} settings of rate and scale" if plan.climbs else ""
    own = f"{plan.finalists + 2} activations, {len(runner.rates)} rates{climbing}, {len(plan.seeds)} fresh seeds each"
    return count, count * each, f"on {task.text}, where a training takes about {_time(each)}: {own}"


def _kept(plan: Plan, budget: float, each: float, there: Sequence[float]) -> str:
    """What time is kept for the confirmations, and whether that is enough for the further tasks."""
    here = each * plan.confirming
    kept = kept_for_confirming(max(here, LEAST_CONFIRMING * budget), budget, len(there))
    said = f"Of the budget {_time(kept)} {'are' if kept >= 2 else 'is'} kept for confirming, here and there"
    if sum(there) <= kept - min(here, kept):
        return f"{said}."
    return f"{said}; the further tasks would take longer, and end in time with fewer settings or seeds."


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
