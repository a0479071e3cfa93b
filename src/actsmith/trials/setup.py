"""From what a user asks for to what runs it: the same for `search` and `compare`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike
from actsmith.tasks.named import find_task
from actsmith.tasks.task import Task
from actsmith.training.problem import Metric
from actsmith.training.runtime import Device, Precision, Runtime
from actsmith.trials.pool import Here, Pool, Processes, leave_if_importing
from actsmith.trials.runner import FitRunner, Runner
from actsmith.trials.script import ScriptRunner

__all__ = ["duration", "pool_of", "runner_of"]

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(value: float | str | None, where: str) -> float | None:
    """Seconds of a number of them, or of a time such as 90s, 10m, 2h or 1d; None stays None.

    Raises:
        ActsmithError: it is none, or not positive.

    Example:
        >>> duration("1.5h", "budget")
        5400.0
    """
    if value is None:
        return None
    try:
        text = str(value)
        scale = UNITS.get(text[-1:])
        seconds = float(text if scale is None else text[:-1]) * (scale or 1.0)
    except (ValueError, TypeError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ActsmithError(f"{where}: got {value!r}; expected a time such as 90s, 10m or 2h, or seconds")
    return seconds


def runner_of(
    task: str | Task | Callable[[], Any],
    train: Callable[..., Any] | str | None,
    *,
    metric: str | None,
    better: Literal["higher", "lower"],
    start: FormulaLike | None,
    test: Callable[[Any], Any] | None,
    example: Any,
    data: str | Path | None,
    device: Device,
    precision: Precision,
    options: dict[str, Any] | None = None,
) -> Runner:
    """What trains: the engine on a task, or the user's own loop.

    Raises:
        ActsmithError: a task that is none, a loop without a metric.
    """
    leave_if_importing()
    if train is None:
        if metric is not None or test is not None:
            raise ActsmithError(
                "search: metric and test (--metric, --test) belong to a training loop of your own; a task has its own. "
                "TASK@SCORE judges it by another of its scores, as cifar10/vit@loss"
            )
        if callable(task) and not isinstance(task, Task):
            raise ActsmithError("search: got a function that builds a network; expected your training loop beside it")
        folder = None if data is None else Path(data).expanduser()
        found = task if isinstance(task, Task) else find_task(task, folder, **(options or {}))
        return FitRunner.opened(found, folder, Runtime.create(device, precision))
    if metric is None:
        raise ActsmithError(
            "search: got a training loop without metric; name the key of its result, as metric='val' (--metric)"
        )
    # A script's accuracy may be in percent: its interval is a share's where all of its values are.
    judged = Metric(metric, better, share="acc" in metric.lower())
    return ScriptRunner(task, train, metric=judged, start=start, test=test, example=example)  # type: ignore[arg-type]


def pool_of(
    runner: Runner,
    folder: Path,
    workers: int,
    timeout: float | None,
    grace: float = 10.0,
    *,
    storage: str | Path | None = None,
    study: str | None = None,
    ray: str | None = None,
    resume: bool = False,
    config: dict[str, Any] | None = None,
    elsewhere: Callable[[Path], Runner] | None = None,
) -> Pool:
    """This process for one worker on a task; worker processes for several, and for a user's own loop. With several, or
    with a storage, jobs lie in a ledger, so that others can join.

    Args:
        grace: seconds after the deadline at which a worker's training that did not stop by itself is ended.
        storage: where the ledger lies; the run folder by default.
        study: its name there; the folder's by default.
        ray: address of a Ray cluster, whose nodes train instead of this machine.
        resume, config: as `LedgerPool` takes them.
        elsewhere: makes the runner on another machine, given a folder there; by default what makes it here.

    Raises:
        ActsmithError: others cannot train this, and why.
    """
    here = getattr(runner, "why_here", None)
    if here is not None and (storage is not None or ray is not None):
        option = "storage" if ray is None else "ray"
        raise ActsmithError(
            f"search: {option}: other processes cannot train this: {here}; define your functions at the top of a "
            f"module or script, or leave --{option} out"
        )
    if ray is not None:
        if storage is not None:
            raise ActsmithError("search: got both ray and storage; give one: Ray carries the trainings by itself")
        from actsmith.trials.ray_workers import RayPool

        return RayPool(ray, elsewhere or partial(_made_of, runner.maker(folder)), timeout=timeout, grace=grace)
    few = workers == 1 and storage is None
    if here is not None or (few and timeout is None and not isinstance(runner, ScriptRunner)):
        return Here(runner)
    if few or (storage is None and find_spec("optuna") is None):
        return Processes(runner.maker(folder), workers, timeout=timeout, grace=grace)
    from actsmith.trials.ledger_pool import LedgerPool

    return LedgerPool(
        folder if storage is None else storage, study or folder.name, runner.maker(folder) if workers else None,
        workers=workers, timeout=timeout, grace=grace, resume=resume, config=config, sole=storage is None,
    )  # fmt: skip


def _made_of(make_runner: Callable[[], Runner], folder: Path) -> Runner:
    return make_runner()
