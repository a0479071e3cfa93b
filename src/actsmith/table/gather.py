"""From a build's folder to a table: every number is read from the trainings, none is computed otherwise.

| symbol | meaning                          |
|--------|----------------------------------|
| n      | functions                        |
| t      | tasks                            |
| r      | rates of a task                  |
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsmith.errors import ActsmithError
from actsmith.files import read_json
from actsmith.table.build import (
    BEST,
    EVERYWHERE,
    FIRST,
    FUNCTIONS,
    SEEDS,
    best_rate,
    first_trials,
    looked_at,
    trial_of,
    whole,
)
from actsmith.table.functions import Member
from actsmith.table.quantities import MEANINGS, quantities_of
from actsmith.table.runner import QUANTITIES
from actsmith.table.tasks import SHARES, Spec, specs_of, wide
from actsmith.tasks.task import describe
from actsmith.theory.measured import DECADES, NODES, MeasuredTable
from actsmith.trials.trial import History, Outcome

__all__ = ["Gathered", "gathered", "table_of"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Gathered:
    """What a build's folder holds.

    Attributes:
        folder: of the run.
        members: the functions that were measured on the tasks that all are asked of.
        specs: the tasks.
        contexts: task -> what else decides its outcomes.
        history: all outcomes.
    """

    folder: Path
    members: list[Member]
    specs: list[Spec]
    contexts: Mapping[str, str]
    history: History


def gathered(folder: str | Path) -> Gathered:
    """Read a build, also one that is under way.

    Raises:
        ActsmithError: no build is there, nothing was measured on the tasks that all are asked of, or its tasks are not
            those of this version.
    """
    path = Path(folder).expanduser()
    if not (path / "results.jsonl").is_file() or not (path / "config.json").is_file():
        raise ActsmithError(f"table: {str(path)!r} holds no build; begin one with actsmith table build --out DIR")
    config = read_json(path / "config.json")
    specs = specs_of(list(config["tasks"]))
    for spec in specs:
        if not _holds(config["tasks"][spec.name]["task"], json.loads(json.dumps(describe(spec.task)))):
            raise ActsmithError(f"table: {str(path)!r}: its task {spec.name!r} is another than this version's; rebuild")
    content = (path / "results.jsonl").read_text(encoding="utf-8")
    records = [json.loads(line) for line in content[: content.rfind("\n") + 1].splitlines()]
    history = History(Outcome.from_dict(record) for record in records if "tested" in record)
    known = [Member.from_dict(values) for values in read_json(path / f"{FUNCTIONS}.json")]
    contexts = {outcome.trial.task: outcome.trial.context for outcome in history.values()}
    asked = wide(specs)
    members = whole(known, asked, contexts, history) if len(contexts) == len(specs) else []
    if not members:
        raise ActsmithError(
            f"table: {str(path)!r}: no function was measured on the {len(asked)} tasks that all are yet"
        )
    return Gathered(path, members, specs, contexts, history)


def _holds(kept: Any, now: Any) -> bool:
    """Whether a task is as it was; settings that came since stand at their defaults, and are left aside."""
    if isinstance(kept, dict) and isinstance(now, dict):
        return all(name in now and _holds(value, now[name]) for name, value in kept.items())
    return bool(kept == now)


def table_of(found: Gathered) -> MeasuredTable:
    """The table of a build; takes some milliseconds a function for what theory says of it."""
    members, specs = found.members, found.specs
    shape = (len(members), len(specs))
    arrays: dict[str, Array] = {
        "outcome": np.full(shape, np.nan), "rate": np.full(shape, np.nan), "diverged": np.full(shape, np.nan),
        "seeds": np.full((*shape, SEEDS), np.nan), "step_seconds": np.full(shape, np.nan),
        "by_rate": np.full((*shape, len(specs[0].task.rates)), np.nan),
        "early": np.full((*shape, len(SHARES)), np.nan),
        "fisher": np.full((*shape, DECADES[1] - DECADES[0]), np.nan),
    }  # fmt: skip
    start = {name: np.full(shape, np.nan) for name in QUANTITIES}
    for i, member in enumerate(members):
        for j, spec in enumerate(specs):
            if not looked_at(member, spec, found.contexts[spec.name], found.history):
                continue
            cell = _cell(member, spec, found)
            for name, value in cell.items():
                (start[name.partition(":")[2]] if name.startswith("start:") else arrays[name])[i, j] = value
    said = [quantities_of(member.formula) for member in members]
    with np.errstate(all="ignore"):
        values = np.array([np.asarray(member.formula(NODES), np.float64) for member in members])
    return MeasuredTable(
        names=tuple(member.formula.name for member in members),
        formulas=tuple(member.formula.text for member in members),
        families=tuple(member.family for member in members),
        origins=tuple(member.origin for member in members),
        tasks=tuple(spec.described() for spec in specs),
        rates=np.array([spec.task.rates for spec in specs]),
        shares=np.array(SHARES),
        start=start,
        theory={name: np.array([row[name] for row in said]) for name in MEANINGS},
        values=values,
        about=_about(found, arrays["outcome"]),
        **arrays,
    )  # fmt: skip


def _cell(member: Member, spec: Spec, found: Gathered) -> dict[str, Any]:
    """What was measured of one function on one task."""
    context, history = found.contexts[spec.name], found.history
    first = [history[trial.key] for trial in first_trials(member, spec, context)]
    rates = spec.task.rates
    own = {rate: [outcome for outcome in first if outcome.trial.rate == rate] for rate in rates}
    metric = spec.task.metric.name
    early = np.array([[_mean([_at(o, share, spec) for o in own[rate]]) for share in SHARES] for rate in rates])
    values: dict[str, Any] = {
        "diverged": np.mean([outcome.score(metric) is None for outcome in first]),
        "step_seconds": np.median([outcome.step_seconds for outcome in first]),
        "by_rate": [_mean([outcome.score(metric) for outcome in own[rate]]) for rate in rates],
        "early": np.where(np.isnan(early), np.inf, early).min(0),
    }
    values["early"] = np.where(np.isinf(values["early"]), np.nan, values["early"])
    looked: Mapping[str, Any] = next((o.details for o in first if "start" in o.details), {})
    values |= {f"start:{name}": _finite(looked.get("start", {}).get(name)) for name in QUANTITIES}
    if looked.get("fisher") is not None:
        values["fisher"] = looked["fisher"]
    rate = best_rate(member, spec, context, history)
    if rate is not None:
        values["rate"] = rate
        values["seeds"] = _seeds(member, spec, rate, found)
        values["outcome"] = _mean([v for v in values["seeds"] if not math.isnan(v)])
    return values


def _seeds(member: Member, spec: Spec, rate: float, found: Gathered) -> list[float]:
    """The test score of every seed at the rate; not a number for one that was not trained, or diverged."""
    scores = []
    for seed in range(SEEDS):
        trial = trial_of(member, spec, found.contexts[spec.name], rate, seed)
        outcome = found.history.get(trial.key)
        scores.append(math.nan if outcome is None else _finite(outcome.score(spec.score, "test")))
    return scores


def _at(outcome: Outcome, share: float, spec: Spec) -> float | None:
    """The validation score after a share of the epochs, the nearest whole epoch, one at least."""
    metric = spec.task.metric.name
    if share == 1 or outcome.reason is not None:
        return outcome.score(metric)
    epoch = max(round(share * spec.task.recipe.epochs), 1)
    return next((scores[metric] for at, scores in outcome.details["curve"] if at == epoch), None)


def _finite(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else float(value)


def _mean(values: Sequence[float | None]) -> float:
    """The geometric mean; not a number where one is missing, or there is none."""
    if not values or any(value is None or not math.isfinite(value) or value < 0 for value in values):
        return math.nan
    return float(np.exp(np.mean([math.log(max(value or 0.0, 1e-30)) for value in values])))


def _about(found: Gathered, outcome_of: Array) -> dict[str, Any]:
    """How it was measured; `everywhere` counts the functions of all tasks, `closely` those that have all seeds on every
    task that they train on."""
    names = {member.formula.name for member in found.members}
    own = [outcome for outcome in found.history.values() if outcome.name in names]
    done = {(outcome.name, outcome.trial.task) for outcome in own if outcome.trial.seed == SEEDS - 1}
    trained = np.isfinite(outcome_of)
    closely = sum(
        trained[i].any()
        and all((member.formula.name, spec.name) in done or not trained[i, j] for j, spec in enumerate(found.specs))
        for i, member in enumerate(found.members)
    )
    measured = time.gmtime((found.folder / "results.jsonl").stat().st_mtime)
    return {
        "functions": len(found.members),
        "unselected": EVERYWHERE,
        "everywhere": len(whole(found.members, found.specs, found.contexts, found.history)),
        "tasks": [vars(spec.described()) for spec in found.specs],
        "trainings": len(own),
        "seeds": FIRST,
        "seeds_closely": SEEDS,
        "closely": closely,
        "best": BEST,
        "data": {spec.name: found.contexts[spec.name] for spec in found.specs},
        "epochs": {spec.name: spec.task.recipe.epochs for spec in found.specs},
        "seconds": sum(outcome.seconds for outcome in own),
        "versions": read_json(found.folder / "versions.json"),
        "measured": time.strftime("%Y-%m-%d", measured),
    }
