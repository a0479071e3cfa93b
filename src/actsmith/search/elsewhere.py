"""Confirmation on tasks that the search never saw: the same finalists, tuned there, on fresh paired seeds.

What a search finds on one text may be of that text alone. `--confirm-on TASK` asks; the run folder holds a run of its
own for each such task, under elsewhere/.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.search.conclude import Confirmed, by, confirmed
from actsmith.search.plan import FEWEST, Plan
from actsmith.tasks.named import find_task
from actsmith.trials.policy import TuneThenScore
from actsmith.trials.runner import Runner
from actsmith.trials.session import Progress, Session, climb, session
from actsmith.trials.setup import runner_of

__all__ = ["Elsewhere", "confirm_elsewhere", "elsewhere"]


@dataclass(frozen=True)
class Elsewhere:
    """A task to confirm on.

    Attributes:
        text: as it was asked for: TASK or TASK=PATH.
        open: loads its data.
    """

    text: str
    open: Callable[[], Runner]


def elsewhere(text: str, *, data: str | Path | None, device: Any, precision: Any) -> Elsewhere:
    """TASK, or TASK=PATH: a text file to learn, or the folder of its data, instead of the search's.

    Raises:
        ActsmithError: no such path, no such task. What is wrong with its data is said when it is opened.
    """
    name, sign, path = text.partition("=")
    options: dict[str, Any] = {}
    if sign:
        there = Path(path).expanduser()
        if not there.exists():
            raise ActsmithError(
                f"--confirm-on {text}: no file or folder {path!r}; expected TASK, or TASK=PATH of its data"
            )
        data, options = (there, {}) if there.is_dir() else (None, {"train_file": there})
    try:
        task = find_task(name, data, **options)
    except ActsmithError as error:
        raise ActsmithError(f"--confirm-on {text}: {error}") from None

    def opened() -> Runner:
        return runner_of(
            task, None, metric=None, better="higher", start=None, test=None, example=None, data=data, device=device,
            precision=precision,
        )  # fmt: skip

    return Elsewhere(text, opened)


def confirm_elsewhere(
    task: Elsewhere,
    folder: Path,
    formulas: Sequence[Formula],
    known: str | None,
    plan: Plan,
    *,
    seeds: int,
    workers: int,
    deadline: float | None,
    progress: Progress,
) -> dict[str, Any]:
    """Tune and score there.

    Args:
        task: where.
        folder: of the search.
        formulas: the start first, then the finalists.
        known: the best known function among them, by the search.
        plan: of the search: tuning seeds, and whether rate and scale are climbed.
        seeds: fresh paired ones.
        workers, deadline, progress: as everywhere.

    Returns:
        task, metric, and for each activation its score and its difference to the start; plain JSON values. No rows
        where its data cannot be had, or the budget has ended: the sentence says so.
    """
    if deadline is not None and time.time() >= deadline:
        return _unseen(task, "the budget ended before it was seen")
    progress("confirm", 0, 1, f"loading {task.text}")
    try:
        runner = task.open()
    except ActsmithError as error:  # what was found before stands
        return _unseen(task, str(error))
    slug = "".join(c if c.isalnum() or c in "-_" else "-" for c in task.text)[-60:]
    path = folder / "elsewhere" / slug
    there = (path / "config.json").is_file()
    policy = TuneThenScore(
        runner.name, runner.context, runner.metric, runner.rates, tuple(range(seeds)), plan.tuning_seeds, ranked=True,
        judge=runner.judge, climbs=plan.climbs,
    )  # fmt: skip
    with session(
        runner, path, runner.config(), resume=there, workers=workers, deadline=deadline, progress=progress
    ) as run:
        _tune(run, policy, formulas, task.text)
        rounds = [list(policy.scoring(f, run.history)) for f in formulas]
        pieces = [own[i : i + FEWEST] for i in range(0, seeds, FEWEST) for own in rounds]
        run.train(pieces, "confirm", f"on {task.text}")
        found = confirmed(run.history, policy, formulas[0], formulas[1:], known=known)
    return {
        "task": task.text, "metric": runner.metric.name, "better": runner.metric.better, "log": runner.metric.log,
        "seeds": len(found[0].seeds) if found else 0, "rows": [_row(one) for one in found],
        "sentence": _sentence(task.text, found, formulas[0].name, policy),
    }  # fmt: skip


def _unseen(task: Elsewhere, why: str) -> dict[str, Any]:
    empty = {"metric": "", "better": "higher", "log": False, "seeds": 0, "rows": []}
    return {"task": task.text, **empty, "sentence": f"On {task.text}: not confirmed: {why.rstrip('.')}."}


def _tune(run: Session, policy: TuneThenScore, formulas: Sequence[Formula], name: str) -> None:
    run.train([policy.tuning(f) for f in formulas], "confirm", f"rates on {name}")
    climb(policy, formulas, run.history, lambda rounds: run.train(rounds, "confirm", f"rate and scale on {name}"))


def _row(one: Confirmed) -> dict[str, Any]:
    values = vars(replace(one, seeds=()))
    return {k: vars(v) if hasattr(v, "mean") else v for k, v in values.items() if k != "seeds"}


def _sentence(name: str, found: Sequence[Confirmed], start: str, policy: TuneThenScore) -> str:
    """On TASK: X is better than START by ...; Y is not told apart from it."""
    if not found:
        return f"On {name}: too few seeds for a comparison."
    words = {"better": "better than", "worse": "worse than", "same": "as good as", "open": "not told apart from"}
    said = [f"{c.name} is {words[c.verdict]} {start}{by(c, policy.metric)}" for c in found[1:]]
    return f"On {name} ({len(found[0].seeds)} paired seeds): {'; '.join(said)}."
