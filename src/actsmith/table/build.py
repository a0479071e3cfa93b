"""Measuring: what is trained next is a pure function of what was trained, so that a build that ends goes on.

    look     3 rates x 2 seeds, a chunk of functions before the next chunk, the catalogue first: on every task for the
             first 704, on the six of `tasks.WIDE` for all
    known    seeds 2 to 9 at the best of the rates, for the catalogue, once all of it is measured
    best     the best 200 by their mean place on validation scores of the six: looked at on the other tasks, too, then
             seeds 2 to 9 on all

Whenever it ends, every chunk that was finished is a table; a task that a function was not trained on is empty there.
The rate is chosen on validation scores, the outcome is the test score there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from actsmith.files import read_json
from actsmith.table.functions import Member, members
from actsmith.table.runner import TableRunner
from actsmith.table.tasks import Spec, specs_of, wide
from actsmith.trials.session import Progress, session, silent
from actsmith.trials.setup import duration
from actsmith.trials.trial import History, Outcome, Trial

__all__ = [
    "BEST",
    "CHUNK",
    "EVERYWHERE",
    "FIRST",
    "SEEDS",
    "Built",
    "Round",
    "best_rate",
    "build",
    "first_trials",
    "looked_at",
    "plan",
    "trial_of",
    "whole",
]

SEEDS, FIRST = 10, 2
"""Of the functions that are looked at closely; of all."""
CHUNK = 32
EVERYWHERE = 22 * CHUNK
"""So many functions of the sequence are trained on every task."""
BEST = 200
FUNCTIONS = "functions"
FORMAT = 1


@dataclass(frozen=True)
class Round:
    """Trials of one task that are trained before the next are decided.

    Attributes:
        stage: "look", "known" or "best".
        message: for the progress.
        trials: the trials.
    """

    stage: str
    message: str
    trials: list[Trial]


@dataclass(frozen=True)
class Built:
    """What a build has so far.

    Attributes:
        folder: of the run.
        functions: measured on the tasks that all are asked of, and how many were asked for.
        asked: see `functions`.
        everywhere: measured on all tasks.
        tasks: how many.
        trainings, lost: in all; those that diverged or failed.
        finished: whether nothing is left.
    """

    folder: Path
    functions: int
    asked: int
    everywhere: int
    tasks: int
    trainings: int
    lost: int
    finished: bool

    @property
    def conclusion(self) -> str:
        """In a sentence."""
        state = "finished" if self.finished else "the time is over; the same command goes on"
        return (
            f"{self.functions} of {self.asked} functions are measured, {self.everywhere} on all {self.tasks} tasks, in "
            f"{self.trainings} trainings of which {self.lost} diverged; {state}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "folder": str(self.folder), "conclusion": self.conclusion}


def first_trials(member: Member, spec: Spec, context: str) -> list[Trial]:
    """Every rate with the first seeds."""
    return [trial_of(member, spec, context, rate, seed) for rate in spec.task.rates for seed in range(FIRST)]


def trial_of(member: Member, spec: Spec, context: str, rate: float, seed: int) -> Trial:
    """One training of the table."""
    # Trials of stage "explore" read their activation from a table, so that functions share a stack.
    return Trial(spec.name, member.formula, "explore", rate, seed, test=True, context=context)


def best_rate(member: Member, spec: Spec, context: str, history: Mapping[str, Outcome]) -> float | None:
    """The rate with the best mean validation score; None where a training diverged at every rate."""
    metric = spec.task.metric
    merits: dict[float, list[float | None]] = {}
    for trial in first_trials(member, spec, context):
        merits.setdefault(trial.rate, []).append(history[trial.key].score(metric))
    found = {rate: metric.merit(scores) for rate, scores in merits.items()}
    best = max(found, key=lambda rate: found[rate])
    return best if math.isfinite(found[best]) else None


def further_trials(member: Member, spec: Spec, context: str, history: Mapping[str, Outcome]) -> list[Trial]:
    """The further seeds at the best rate; none where it diverged at all."""
    rate = best_rate(member, spec, context, history)
    return [] if rate is None else [trial_of(member, spec, context, rate, seed) for seed in range(FIRST, SEEDS)]


def plan(
    found: Sequence[Member], specs: Sequence[Spec], contexts: Mapping[str, str], history: Mapping[str, Outcome]
) -> Iterator[Round]:
    """Every round in its order. `history` grows between one and the next; the plan ends where a round was not trained.

    Args:
        found: the functions.
        specs: the tasks.
        contexts: task -> what else decides its outcomes, as `FitRunner.context`.
        history: key -> outcome.
    """

    def look(member: Member, spec: Spec) -> list[Trial]:
        return first_trials(member, spec, contexts[spec.name])

    def closer(member: Member, spec: Spec) -> list[Trial]:
        return further_trials(member, spec, contexts[spec.name], history)

    cheap = wide(specs)
    others = [spec for spec in specs if spec not in cheap]
    known = [member for member in found if member.family == "catalogue"]
    for start in range(0, len(found), CHUNK):
        chunk = found[start : start + CHUNK]
        looks = _Stage("look", "functions", chunk, specs if start < EVERYWHERE else cheap, look, start)
        if not (yield from _rounds(looks, history)):
            return
        closely = _Stage("known", "more seeds,", known, specs, closer)
        if start < len(known) <= start + CHUNK and not (yield from _rounds(closely, history)):
            return
    leaders = _leaders(found, cheap, contexts, history)
    first = {member.formula.name for member in found[:EVERYWHERE]}
    late = [member for member in leaders if member.formula.name not in first]
    for stage in (
        _Stage("best", "more seeds,", leaders, cheap, closer),
        _Stage("best", "looks,", late, others, look),
        _Stage("best", "more seeds,", leaders, others, closer),
    ):
        if not (yield from _rounds(stage, history)):
            return


class _Stage(NamedTuple):
    """Some functions on some tasks: name of the stage, words for the progress, both, the trials of a pair of them, and
    how many functions came before."""

    name: str
    what: str
    members: Sequence[Member]
    specs: Sequence[Spec]
    asked: Callable[[Member, Spec], list[Trial]]
    before: int = 0


def _rounds(stage: _Stage, history: Mapping[str, Outcome]) -> Generator[Round, None, bool]:
    """A chunk on every task before the next, in whole rounds whatever is done of them; returns whether all is."""
    for start in range(0, len(stage.members), CHUNK):
        chunk, number = stage.members[start : start + CHUNK], stage.before + start
        for spec in stage.specs:
            trials = [trial for member in chunk for trial in stage.asked(member, spec)]
            if trials:
                yield Round(stage.name, f"{stage.what} {number + 1} to {number + len(chunk)}: {spec.name}", trials)
            if any(trial.key not in history for trial in trials):
                return False
    return True


def _leaders(
    found: Sequence[Member], specs: Sequence[Spec], contexts: Mapping[str, str], history: Mapping[str, Outcome]
) -> list[Member]:
    """The best by the mean of their places on validation scores, the best first."""
    places = np.zeros(len(found))
    for spec in specs:
        metric, merits = spec.task.metric, []
        for member in found:
            rate, context = best_rate(member, spec, contexts[spec.name], history), contexts[spec.name]
            own = [t for t in first_trials(member, spec, context) if t.rate == rate]
            merits.append(metric.merit([history[t.key].score(metric) for t in own]) if own else -math.inf)
        places += np.argsort(np.argsort(-np.array(merits), kind="stable"))
    return [found[i] for i in np.argsort(places, kind="stable")[:BEST]]


def whole(
    found: Sequence[Member], specs: Sequence[Spec], contexts: Mapping[str, str], history: Mapping[str, Outcome]
) -> list[Member]:
    """The functions that were measured on each of these tasks."""
    return [m for m in found if all(looked_at(m, spec, contexts[spec.name], history) for spec in specs)]


def looked_at(member: Member, spec: Spec, context: str, history: Mapping[str, Outcome]) -> bool:
    """Whether a function was measured on a task."""
    return all(trial.key in history for trial in first_trials(member, spec, context))


def functions_of(folder: Path, count: int) -> list[Member]:
    """The functions of a run: kept in its folder, since making them takes minutes."""
    path = folder / f"{FUNCTIONS}.json"
    kept = read_json(path) if path.is_file() else []
    return [Member.from_dict(values) for values in kept[:count]] if len(kept) >= count else members(count)


def build(
    out: str | Path,
    functions: int = 3000,
    tasks: Sequence[str] | None = None,
    *,
    workers: int = 1,
    time_limit: float | str | None = None,
    progress: Progress = silent,
) -> Built:
    """Train what is not trained yet. A folder with such a run is gone on with, also with more functions than before.

    Args:
        out: the run folder.
        functions: how many.
        tasks: names of `actsmith.table.tasks.SPECS`; all by default.
        workers: processes that train.
        time_limit: seconds, or a time such as 40m; without one until everything is trained.
        progress: called with (stage, done, total, message).

    Raises:
        ActsmithError: no such task, a folder that holds another run.
    """
    folder, specs = Path(out).expanduser(), specs_of(tasks)
    seconds = duration(time_limit, "table: time")
    deadline = None if seconds is None else time.time() + seconds
    runner = TableRunner.opened([spec.name for spec in specs])
    contexts = {name: own.context for name, own in runner.runners.items()}
    config = {"kind": "table", "format": FORMAT, "tasks": runner.config()}
    resume = (folder / "config.json").is_file()
    with session(runner, folder, config, resume=resume, workers=workers, deadline=deadline, progress=progress) as at:
        progress("functions", 0, 1, f"{functions} of them")
        found = functions_of(folder, functions)
        if not (folder / f"{FUNCTIONS}.json").is_file() or len(read_json(folder / f"{FUNCTIONS}.json")) < len(found):
            at.folder.write(f"{FUNCTIONS}.json", [member.to_dict() for member in found])
        progress("functions", 1, 1, f"{len(found)} of them")
        for round_ in plan(found, specs, contexts, at.history):
            at.train([round_.trials], round_.stage, round_.message)
        return _built(folder, found, specs, contexts, at.history)


def _built(
    folder: Path, found: Sequence[Member], specs: Sequence[Spec], contexts: Mapping[str, str], history: History
) -> Built:
    done, everywhere = (len(whole(found, own, contexts, history)) for own in (wide(specs), specs))
    lost = sum(outcome.score(outcome_metric(outcome, specs)) is None for outcome in history.values())
    left = next((r for r in plan(found, specs, contexts, history) if any(t.key not in history for t in r.trials)), None)
    return Built(folder, done, len(found), everywhere, len(specs), len(history), lost, left is None)


def outcome_metric(outcome: Outcome, specs: Sequence[Spec]) -> str:
    """The name of the validation score of the outcome's task."""
    return next(spec.task.metric.name for spec in specs if spec.name == outcome.trial.task)
