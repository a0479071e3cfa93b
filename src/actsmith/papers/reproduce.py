"""A paper's experiment by name, at a preset's cost, into a folder that a killed run goes on from."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula
from actsmith.names import did_you_mean
from actsmith.papers import old_runs
from actsmith.papers.claims import Claim, Question, over_a_page
from actsmith.papers.experiment import Part, Report, Results, Run, Saved
from actsmith.papers.findings import Findings
from actsmith.tasks.task import describe
from actsmith.training.runtime import Device, Precision, Runtime
from actsmith.trials.folder import RunFolder
from actsmith.trials.trial import digest

__all__ = [
    "Parts", "Plan", "Preset", "PresetName", "Reproduction", "Result", "planned", "reproduce", "reproduction",
    "reproduction_names",
]  # fmt: skip

FORMAT = 2
DECIDES = ("first", "second", "margin", "tables", "useless")
"""Of a question, what its answer depends on."""
PresetName = Literal["smoke", "small", "paper"]

_HOME = {
    name: name.replace("-", "_")
    for name in (
        "mrepu-kernel", "mrepu-polynomial", "mrepu-function", "mrepu-burgers", "mrepu-vision", "crrelu-vision",
        "crrelu-worst", "crrelu-text", "crrelu-eps", "crrelu-dose", "crrelu-layers", "crrelu-law", "crrelu-dpo",
        "crrelu-mechanism", "theory-vs-training", "dynamic-eafo", "found", "searched",
    )
}  # fmt: skip
"""Name -> module of this folder, each with a `REPRODUCTION`."""


Parts = Callable[[tuple[Formula, ...]], tuple[Part, ...]]
"""From the activations to the work."""


@dataclass(frozen=True)
class Preset:
    """How much of a reproduction.

    Attributes:
        parts: the work.
        cost: what to expect, in words: time, machine, data.
    """

    parts: Parts
    cost: str


@dataclass(frozen=True)
class Reproduction:
    """A published experiment.

    Attributes:
        name, title: on the command line, for readers.
        source: paper and section.
        claims: what the paper says, in a sentence.
        activations: compared when the user names none.
        presets: "smoke" (seconds), "small" (minutes on two cores), "paper" (the published size).
        read: from the folder and the parts, all of them or some, to what was found.
        questions: that its tables are to answer, recorded when a run begins.
    """

    name: str
    title: str
    source: str
    claims: str
    activations: tuple[FormulaLike, ...]
    presets: Mapping[PresetName, Preset]
    read: Callable[[Results, tuple[Any, ...]], Findings]
    questions: tuple[Question, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What a reproduction is going to do.

    Attributes:
        reproduction, preset: what is asked for.
        folder: where its files are, or will be.
        parts: the work, all of it.
        chosen: the parts that are run and read.
        left: table -> trainings that the folder does not hold yet.
        command: the line that runs the same again, DIR for the folder of the data.
    """

    reproduction: Reproduction
    preset: PresetName
    folder: Path
    parts: tuple[Part, ...]
    chosen: tuple[Part, ...]
    left: Mapping[str, int]
    command: str

    @property
    def config(self) -> dict[str, Any]:
        """What decides whether a folder is the same run."""
        parts = [part.to_dict() for part in self.parts]
        return {"format": FORMAT, "reproduction": self.reproduction.name, "preset": self.preset, "parts": parts}

    @property
    def cost(self) -> str:
        """Of the preset, in words."""
        return self.reproduction.presets[self.preset].cost


@dataclass(frozen=True)
class Result(Plan):
    """A finished reproduction: the plan, and what came out."""

    findings: Findings


def reproduction_names() -> list[str]:
    """The reproductions that there are."""
    return list(_HOME)


def reproduction(name: str) -> Reproduction:
    """One by name.

    Raises:
        ActsmithError: no such name; lists near matches.
    """
    if name not in _HOME:
        hint = did_you_mean(name, _HOME) or f"expected {', '.join(_HOME)}"
        raise ActsmithError(f"no reproduction named {name!r}; {hint}")
    found: Reproduction = importlib.import_module(f"actsmith.papers.{_HOME[name]}").REPRODUCTION
    return found


def reproduce(
    name: str,
    preset: PresetName = "small",
    out: str | Path | None = None,
    *,
    data: str | Path | None = None,
    activations: Sequence[FormulaLike] = (),
    only: Sequence[str] = (),
    seeds: int | None = None,
    device: Device = "auto",
    precision: Precision = "no",
    report: Report | None = None,
    runtime: Runtime | None = None,
) -> Result:
    """Run a published experiment, or go on with it where it was interrupted.

    A finished run of an older release is read, and its page made again, without any training.

    Args:
        name: one of `reproduction_names()`.
        preset: "smoke", "small" or "paper"; each states its cost in `reproduction(name).presets`.
        out: the folder; runs/NAME-PRESET by default. One that holds the same run is gone on with.
        data: the folder of the data sets.
        activations: compared beside the reproduction's own.
        only: names of tables, to run and read these alone; the others may follow into the same folder.
        seeds: how many scored trainings each activation gets, in place of the preset's.
        device, precision: where, and in what (mixed precision through Accelerate).
        report: called with (stage, done, total, message).
        runtime: in place of device and precision.

    Raises:
        ActsmithError: no such name, preset or table; the folder holds another run, or one that began with other data;
            data are missing.
    """
    plan = planned(name, preset, out, activations=activations, only=only, seeds=seeds, data=data is not None)
    folder_of_data = Path(data).expanduser() if data is not None else None
    if folder_of_data is not None and not folder_of_data.is_dir():
        raise ActsmithError(f"reproduce {name}: data: no folder {str(data)!r}; give the folder of the data sets")
    if old_runs.is_old(plan.folder):
        found = plan.reproduction.read(_old(plan), plan.chosen)
        return Result(**vars(plan), findings=found)
    here = runtime or Runtime.create(device, precision)
    if not here.main:  # the first process makes the folder, the others read it
        here.accelerator.wait_for_everyone()
    with RunFolder(plan.folder, plan.config, resume=True, lock=here.main) as folder, _undisturbed():
        if here.main:
            here.accelerator.wait_for_everyone()
        asked = folder.once("questions", lambda: [] if folder.all() else describe(plan.reproduction.questions))
        run = Run(folder, here, folder_of_data, report or (lambda *_: None))
        if any(part.left(folder) for part in plan.chosen):
            _same_data(run, plan.parts)
        for part in plan.chosen:
            part.run(run)
        # The other processes hold the trainings alone, and show nothing.
        found = plan.reproduction.read(folder, plan.chosen) if here.main else Findings("")
        late = _late(plan.reproduction.questions, asked)
        found = replace(found, claims=over_a_page([_marked(claim, late) for claim in found.claims]))
    return Result(**vars(plan), findings=found)


def planned(
    name: str,
    preset: PresetName = "small",
    out: str | Path | None = None,
    *,
    activations: Sequence[FormulaLike] = (),
    only: Sequence[str] = (),
    seeds: int | None = None,
    data: bool = False,
) -> Plan:
    """What `reproduce` would do; nothing is trained, and no folder made.

    Args:
        name, preset, out, activations, only, seeds: as `reproduce` takes them.
        data: whether a folder of data is given.

    Raises:
        ActsmithError: no such name, preset or table, or the folder holds another run.
    """
    found = reproduction(name)
    if preset not in found.presets:
        raise ActsmithError(f"reproduce {name}: preset: got {preset!r}; expected {', '.join(found.presets)}")
    formulas = {f.name: f for f in map(resolve, (*found.activations, *activations))}
    parts = found.presets[preset].parts(tuple(formulas.values()))
    path = Path(out).expanduser() if out is not None else Path("runs") / f"{name}-{preset}"
    command = f"actsmith reproduce {name} --preset {preset}" + " --data DIR" * data
    command += "".join(f" --activation {resolve(f).name}" for f in activations)
    if seeds is not None:
        parts = tuple(_seeded(part, seeds) for part in parts)
        path = path if out is not None else path.with_name(f"{path.name}-{seeds}-seeds")
        command += f" --seeds {seeds}"
    chosen = _only(parts, only, name)
    command += "".join(f" --only {table}" for table in only)
    plan = Plan(found, preset, path, parts, chosen, {}, command)
    there = _there(plan)
    left: dict[str, int] = {}
    for part in chosen:  # of one name may be several
        left[part.name] = left.get(part.name, 0) + part.left(there)
    return replace(plan, left=left)


def _late(questions: Sequence[Question], asked: Sequence[Mapping[str, Any]]) -> set[str]:
    """Statements that were not among the questions at the run's beginning, or were decided by something else then."""
    known = [{name: q.get(name) for name in DECIDES} for q in asked]
    return {
        q.statement for q in questions
        if {name: value for name, value in describe(q).items() if name in DECIDES} not in known
    }  # fmt: skip


def _marked(claim: Claim, late: set[str]) -> Claim:
    if claim.effect is None or claim.statement not in late:
        return claim
    return replace(claim, evidence=f"{claim.evidence}; asked after the run began")


def _there(plan: Plan) -> Results:
    """What the plan's folder holds; nothing where there is none."""
    if old_runs.is_old(plan.folder):
        return _old(plan)
    if not (plan.folder / "config.json").is_file():
        return Saved()
    with RunFolder(plan.folder, plan.config, resume=True, lock=False) as folder:
        return folder


def _old(plan: Plan) -> Saved:
    return old_runs.read(plan.folder, plan.reproduction.name, plan.preset, plan.parts)


def _only(parts: tuple[Part, ...], only: Sequence[str], name: str) -> tuple[Part, ...]:
    names = list(dict.fromkeys(part.name for part in parts))
    for table in only:
        if table not in names:
            hint = did_you_mean(table, names) or f"expected one of {', '.join(names)}"
            raise ActsmithError(f"reproduce {name}: only: no table named {table!r}; {hint}")
    return tuple(part for part in parts if not only or part.name in only)


def _seeded(part: Any, count: int) -> Any:
    """The same with so many scoring seeds, where it has any."""
    return replace(part, seeds=tuple(range(count))) if hasattr(part, "seeds") else part


def _same_data(run: Run, parts: Sequence[Any]) -> None:
    """What was trained before and what is still to be trained must be of the same data: one page shows both."""
    asked = {digest(describe(part.problem)): part.problem for part in parts if hasattr(part, "problem")}
    for problem in asked.values():
        if run.began_with(problem):
            run.problem(problem)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """The global generators of torch, NumPy and Python are as before, whatever seeds them inside."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002  (the caller's, whichever it is)
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
