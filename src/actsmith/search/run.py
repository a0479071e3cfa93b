"""The main job: from a task, or from your own network and training loop, to an activation and a sentence about it.

    look      train the network with the start activation, its rate tuned; measure the laws of its pre-activations
    explore   known functions, then rounds of proposals (`actsmith.search.proposers`), of which a surrogate chooses, at
              the start's rate on the same seeds; the best quarter again on fresh ones; what carries no signal through
              the network is left out
    tune      the rates of the best of them and of the best known, then rate and output scale of those that lead
    confirm   at most three of them, the start and the best known function on fresh paired seeds; the test split is read
              here for the first time
    conclude  one sentence, leaderboard.json, explored.json, formula.json and best.py in the run folder

A network's score is that after the last epoch; one that diverged or failed counts as the worst there is.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from actsmith.errors import ActsmithError
from actsmith.files import read_json
from actsmith.formula.catalogue import FormulaLike, is_one, resolve
from actsmith.formula.formula import Formula
from actsmith.names import named_object
from actsmith.search.candidates import Candidate, same_function
from actsmith.search.elsewhere import Elsewhere, elsewhere
from actsmith.search.proposers import PROPOSERS, Proposer
from actsmith.search.proposers.own import Own
from actsmith.search.rehearse import rehearsed
from actsmith.search.result import SearchResult
from actsmith.search.space import Constraints
from actsmith.search.stages import REQUEST, Asked, Stages
from actsmith.tasks.task import Task
from actsmith.trials.folder import RunFolder, folder_for
from actsmith.trials.joining import request_of
from actsmith.trials.runner import Runner
from actsmith.trials.session import Progress, session, silent
from actsmith.trials.setup import duration, runner_of

__all__ = ["KNOWN", "SearchResult", "rehearse", "resume", "search"]

KNOWN = ("relu", "leaky_relu", "prelu", "elu", "celu", "gelu", "silu", "mish", "crrelu", "mrepu")
FINISHING = 10.0
"""Seconds of a budget that are kept for the conclusion and for what hangs at the deadline, at most a seventh of it."""


def search(
    task: str | Task | Callable[[], Any] = "digits",
    train: Callable[..., Any] | str | None = None,
    *,
    start: FormulaLike | None = None,
    known: Sequence[FormulaLike] = KNOWN,
    extra: Sequence[FormulaLike] = (),
    trials: int | None = None,
    propose: Callable[[list[dict[str, Any]]], Sequence[str]] | str | None = None,
    constraints: Constraints = Constraints(),  # noqa: B008
    seeds: int = 15,
    confirm_on: Sequence[str] = (),
    rates: Sequence[float] | None = None,
    budget: float | str | None = None,
    metric: str | None = None,
    better: Literal["higher", "lower"] = "higher",
    test: Callable[[Any], Any] | None = None,
    example: Any = None,
    workers: int = 1,
    storage: str | Path | None = None,
    ray: str | None = None,
    trial_timeout: float | str | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    device: Literal["auto", "cpu"] = "auto",
    precision: Literal["no", "bf16", "fp16"] = "no",
    progress: Progress | None = None,
    options: dict[str, Any] | None = None,
) -> SearchResult:
    """Look for an activation better than `start`; everything is kept in the run folder.

    Args:
        task: a task's name (`actsmith.tasks.named.task_names`), `timm:NAME`, `hf:NAME`, `module:object`, a Task; or
            your function that builds your network, with its usual activation in place. `train` goes with that.
        train: your training loop, `train(net, trial)`: see `actsmith.trials.script`.
        start: the activation to improve, the reference of every difference; by default what the network has most of.
        known: known functions, tried under the same rules.
        extra: formulas of your own to try.
        trials: proposals to try beside those; 0 for none. By default as many as the budget has time for, 64 without a
            budget. With a number, and no budget, one worker or many end with the same table.
        propose: a proposer of your own, `propose(history) -> formulas`: history is a list of dictionaries with formula,
            name, merit, origin; or its name, module:function. It works beside the others.
        constraints: on proposals: their kernel's cost, monotone or smooth ones alone, operators.
        seeds: fresh paired seeds for the confirmation, 2 or more.
        confirm_on: further tasks on which the finalists are confirmed, names as `task` takes them, or TASK=PATH with a
            text file or a folder of data of its own.
        rates: the learning rates tried for every activation; of your own loop, factors on its own rate.
        budget: seconds, or a time such as "10m": the search ends with its conclusion inside it.
        metric, better, test, example: of your own loop: the key of its result, which way is better, what scores a net
            on the test split (called in the confirmation alone), one input batch (which proves swaps).
        workers: processes that train at the same time on this machine; others may join, see `actsmith worker`. 0 leaves
            it to them.
        storage: where the ledger lies from which workers pull: a folder, or `postgresql+psycopg://USER@HOST/DATABASE`.
            By default the run folder. Nothing of it is kept, so that it is given again to `resume`.
        ray: address of a Ray cluster whose nodes train, "auto" for the running one.
        trial_timeout: seconds (or a time) after which a training of your own loop is ended.
        data: the folder of the task's files.
        out: the run folder; runs/<task>-<start>-<number> by default.
        resume: go on with the run in `out`.
        device, precision: where and how a task's networks train.
        progress: called with (stage, done, total, message).
        options: of `timm:` and `hf:` tasks, see `actsmith.tasks.named.find_task`.

    Raises:
        ActsmithError: a request that cannot be met.
    """
    return _begun(dict(locals()), time.time())


def _begun(asked: dict[str, Any], began: float) -> SearchResult:
    _check(asked)
    for name in ("budget", "trial_timeout"):
        asked[name] = duration(asked[name], name)
    progress: Progress = asked["progress"] or silent
    progress("look", 0, 1, "loading")
    runner = _runner(asked)
    if (why := getattr(runner, "why_here", None)) is not None:
        progress("look", 0, 1, f"in this process, where a training that hangs cannot be ended: {why}")
    return _searched(runner, asked, began)


def rehearse(**arguments: Any) -> str:
    """What `search` with these arguments would do, and how long it would take, as text; a few steps are measured.

    Raises:
        ActsmithError: as `search`; of a loop of your own, whose cost its first training alone tells.
    """
    asked = {name: p.default for name, p in inspect.signature(search).parameters.items()} | arguments
    _check(asked)
    runner, further = _runner(asked), _further(asked)
    rates = runner.rates if asked["rates"] is None else asked["rates"]
    return rehearsed(
        runner, start=resolve(runner.usual if asked["start"] is None else asked["start"]).name, rates=len(rates),
        seeds=asked["seeds"], budget=duration(asked["budget"], "budget"), workers=asked["workers"],
        trials=asked["trials"], further=further,
    )  # fmt: skip


def _further(asked: dict[str, Any]) -> list[Elsewhere]:
    """The further tasks to confirm on, their names looked up."""
    own = {name: asked[name] for name in ("data", "device", "precision")}
    return [elsewhere(text, **own) for text in asked["confirm_on"]]


def _runner(asked: dict[str, Any]) -> Runner:
    named = ("metric", "better", "start", "test", "example", "data", "device", "precision", "options")
    return runner_of(asked["task"], asked["train"], **{name: asked[name] for name in named})


def _searched(runner: Runner, asked: dict[str, Any], began: float) -> SearchResult:
    """`search`, once it is known what trains.

    Args:
        runner: what trains.
        asked: the arguments of `search` by name, times in seconds.
        began: seconds of `time.time()`.
    """
    further = _further(asked)
    first = Candidate(resolve(runner.usual if asked["start"] is None else asked["start"]), "start", "the start")
    arms, same = _activations(first, asked["known"], asked["extra"])
    rates = runner.rates if asked["rates"] is None else tuple(sorted({float(rate) for rate in asked["rates"]}))
    constraints: Constraints = asked["constraints"]
    config = {
        **runner.config(), "start": first.formula.to_dict(), "known": [c.formula.to_dict() for c in arms],
        "seeds": asked["seeds"], "rates": list(rates), "trials": asked["trials"], "constraints": vars(constraints),
    }  # fmt: skip
    limit: float | None = asked["budget"]
    finishing = FINISHING if limit is None else min(FINISHING, limit / 7)
    with session(
        runner, folder_for("search", f"{runner.name}-{first.formula.name}", asked["out"]), config,
        resume=asked["resume"], workers=asked["workers"], timeout=asked["trial_timeout"],
        deadline=None if limit is None else began + limit - finishing, grace=finishing,
        progress=asked["progress"] or silent, storage=asked["storage"], ray=asked["ray"], request=request_of(asked),
    ) as run:  # fmt: skip
        _keep(asked, run.folder)
        stages = Stages(run, Asked(
            first=first, arms=arms, same=same, rates=rates, seeds=asked["seeds"], proposers=_proposers(asked),
            constraints=constraints, trials=asked["trials"], budget=limit, workers=max(asked["workers"], 1),
            resumed=asked["resume"], confirm_on=further,
        ))  # fmt: skip
        try:
            return stages.all()
        except KeyboardInterrupt as stop:
            stop.args = (f"interrupted; go on with `{stages.going_on[0]}`",)
            raise


def _proposers(asked: dict[str, Any]) -> tuple[Proposer, ...]:
    """Ours, and the user's."""
    if asked["trials"] == 0:
        return ()
    own = asked["propose"]
    if isinstance(own, str):
        own = named_object(own, "search: propose")
    return (*PROPOSERS, *([] if own is None else [Own(own)]))


def _check(asked: dict[str, Any]) -> None:
    rates: Sequence[float] | None = asked["rates"]
    if asked["seeds"] < 2:
        raise ActsmithError(
            f"search: seeds: got {asked['seeds']}; expected 2 or more, without which there is no interval"
        )
    if (asked["trials"] or 0) < 0 or asked["workers"] < (0 if asked["storage"] is not None else 1):
        raise ActsmithError(
            f"search: got trials={asked['trials']}, workers={asked['workers']}; expected 0 or more, and 1 or more (0 "
            "with a storage, where others train)"
        )
    if rates is not None and not (rates and all(0 < rate < math.inf for rate in rates)):
        raise ActsmithError(f"search: rates: got {list(rates)}; expected positive numbers")
    if asked["out"] is None and asked["resume"]:
        raise ActsmithError("search: resume needs out, the folder of the run to go on with")


def resume(
    folder: str | Path,
    *,
    budget: float | str | None = None,
    workers: int = 1,
    storage: str | Path | None = None,
    ray: str | None = None,
    trial_timeout: float | str | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Go on with a search as it was asked for; one that was given functions as objects is called again with
    `resume=True` and `out` instead.

    Args:
        folder: of the run.
        budget: for what is left; without one, as before. A run that was not decided gets more seeds with it.
        workers, storage, ray, progress: as `search` takes them.
        trial_timeout: as `search` takes it; without one, as before.

    Raises:
        ActsmithError: there is no such run, or only the script that began it can go on with it.
    """
    path = Path(folder).expanduser()
    if not (path / "config.json").is_file():
        raise ActsmithError(f"search: {str(path)!r} holds no run to go on with; expected the folder of one")
    if not (path / REQUEST).is_file():
        raise ActsmithError(
            f"search: {str(path)!r} was begun by a script with functions of its own; call that again with resume=True "
            f"and out={str(path)!r}"
        )
    asked: dict[str, Any] = read_json(path / REQUEST)
    formulas = {name: [Formula.from_dict(f) for f in asked.pop(name)] for name in ("known", "extra")}
    if asked["start"] is not None:
        asked["start"] = Formula.from_dict(asked["start"])
    if asked["test"] is not None:
        asked["test"] = named_object(asked["test"], "search: test")
    asked["constraints"] = Constraints(**asked["constraints"])
    given = {"budget": budget, "trial_timeout": trial_timeout}
    own = {
        "workers": workers,
        "storage": storage,
        "ray": ray,
        "progress": progress,
        **{n: v for n, v in given.items() if v is not None},
    }
    return search(**{**asked, **formulas, **own}, out=path, resume=True)


def _keep(arguments: dict[str, Any], folder: RunFolder) -> None:
    """Write the arguments of `search` as plain values, for `resume`; not where they hold what has none."""
    own = {k: v for k, v in arguments.items() if k not in ("out", "resume", "progress", "workers", "storage", "ray")}
    for name in ("test", "propose"):
        if callable(own[name]):
            own[name] = f"{own[name].__module__}:{own[name].__qualname__}"
    texts = isinstance(own["task"], str) and isinstance(own["train"], str | None) and own["example"] is None
    hidden = [n for n in ("test", "propose") if own[n] is not None and ("<" in own[n] or own[n].startswith("__main__"))]
    if not texts or hidden:
        return
    for name in ("known", "extra"):
        own[name] = [resolve(f).to_dict() for f in own[name]]
    own["constraints"] = vars(own["constraints"])
    own["start"] = None if own["start"] is None else resolve(own["start"]).to_dict()
    own["data"] = None if own["data"] is None else str(Path(own["data"]).expanduser().resolve())
    if (text := (own["options"] or {}).get("train_file")) is not None:
        own["options"] = {**own["options"], "train_file": str(Path(text).expanduser().resolve())}
    folder.write(REQUEST, own)


def _activations(
    first: Candidate, known: Sequence[FormulaLike], extra: Sequence[FormulaLike]
) -> tuple[list[Candidate], dict[str, list[Formula]]]:
    """The known functions and the user's, each function once, and name -> the same function under other names."""
    if is_one(known) or is_one(extra):
        raise ActsmithError(f"search: got {known if is_one(known) else extra!r}; expected a list of formulas")
    found: list[Candidate] = []
    same: dict[str, list[Formula]] = {}
    given = [Candidate(resolve(f), "known", "known") for f in known]
    given += [Candidate(resolve(f), "candidate", "given") for f in extra]
    for candidate in given:
        formula = candidate.formula
        twin = next((c.formula.name for c in (first, *found) if same_function(formula, c.formula)), None)
        if twin is not None:
            if formula.name != twin:
                same.setdefault(twin, []).append(formula)
            continue
        if any(formula.name == c.formula.name for c in (first, *found)):
            raise ActsmithError(f"search: two different formulas are named {formula.name!r}; rename one")
        found.append(candidate)
    return found, same
