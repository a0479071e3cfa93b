"""Who runs trials: the engine on a task (`FitRunner`), or a user's own loop (`actsmith.trials.script`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.files import plain
from actsmith.formula.catalogue import resolve
from actsmith.formula.formula import Formula
from actsmith.nn.activation import Activation
from actsmith.nn.backend import backend
from actsmith.nn.lookup import LookupActivation
from actsmith.nn.start import Start
from actsmith.surgery.probe import probe
from actsmith.surgery.signal import signal
from actsmith.tasks.adaptive import EntropyWatch
from actsmith.tasks.task import Task, WatchConfig, start_of_model
from actsmith.training.checkpoint import Checkpoint
from actsmith.training.choose import Choice, choose
from actsmith.training.fit import Fit, fit
from actsmith.training.problem import Metric, Problem, Split
from actsmith.training.runtime import Device, Precision, Runtime, generators_kept
from actsmith.trials.measured import measured_there
from actsmith.trials.trial import Outcome, Trial, digest

__all__ = ["Cost", "FitRunner", "Once", "Place", "Runner"]

Once = Callable[[str, Callable[[], Any]], Any]
"""Takes a name and a measurement; the first one holds for the whole run (`RunFolder.once`)."""
WEIGHT, SAMPLES = 1e-2, 1024
"""Of the entropy descent that finds a shape beside the task's loss."""
LBFGS = 25
"""Evaluations in one step of L-BFGS, about."""
TOGETHER = 16
"""Nets in a stack, at most: more gain nothing."""
MEASURED = 4
"""Nets with which it is measured whether stacks are quicker."""
LISTENED = 32
"""Training examples with which it is seen whether a network carries a signal."""
PROBED = 2048
"""Training examples that a look reads."""


@dataclass(frozen=True)
class Place:
    """Where a trial runs.

    Attributes:
        folder: of the run, for checkpoints and tracebacks; None keeps none.
        deadline: seconds of `time.time()` at which a training stops, its state kept.
    """

    folder: Path | None = None
    deadline: float | None = None

    def passed(self) -> bool:
        """Whether the deadline is over."""
        return self.deadline is not None and time.time() >= self.deadline


@dataclass(frozen=True)
class Cost:
    """Seconds of one training on all examples, and of scoring one network."""

    training: float
    scoring: float

    def of(self, examples: float) -> float:
        """Of a training on a share of the examples, scored once."""
        return self.training * examples + self.scoring


class Runner(Protocol):
    """Runs trials of one task.

    Attributes:
        name, metric: of the task.
        context: a digest of all that decides outcomes beside a trial's own content.
        rates: the grid of learning rates, unless others are asked for.
        usual: name or text of the activation that the network has without us.
        judge: the split by which claims are made; "validation" where a user's own loop has no test.
        descends: whether trials of stage "shape" move their activation by entropy descent, too.
        device: where networks train, as far as that is known here.
    """

    name: str
    metric: Metric
    context: str
    rates: tuple[float, ...]
    usual: str
    judge: Split
    descends: bool

    @property
    def device(self) -> torch.device: ...

    def remember(self, once: Once) -> None:
        """Keep what is measured there from now on."""

    def groups(self, round_: Sequence[Trial]) -> list[list[Trial]]:
        """A round of trials as the groups that are trained together; a function of the whole round alone."""

    def run(self, group: Sequence[Trial], place: Place) -> list[Outcome]:
        """Train one group. A training that fails is an outcome with its reason.

        Raises:
            actsmith.training.fit.Stopped: the place's deadline passed; what was done is kept for the next call.
        """

    def config(self) -> dict[str, Any]:
        """Plain JSON values that say what is trained."""

    def cost(self) -> Cost | None:
        """Of one training, whole, as far as can be told without one."""

    def silent(self, formula: Formula) -> str | None:
        """Why the network carries no signal with this activation, by one batch through it; None where it does."""

    def start(self, formula: Formula) -> Start | str:
        """Where training starts with this activation, or a sentence on it."""

    def maker(self, folder: Path) -> Callable[[], Runner]:
        """Makes another such runner, in another process; `folder` is the run's, where what was measured is read."""


def _measured_now(name: str, measure: Callable[[], Any]) -> Any:
    """Keeps nothing."""
    return measure()


class FitRunner:
    """Trains a task's networks with `fit`, stacked where that was found to be quicker.

    Args:
        task: what is trained.
        problem: its data, loaded.
        runtime: the devices.
        once: keeps what is measured to choose.
        watch: what looks on at the trainings that are scored; one that acts, at all.
    """

    def __init__(
        self,
        task: Task,
        problem: Problem,
        runtime: Runtime,
        once: Once = _measured_now,
        watch: WatchConfig | None = None,
    ) -> None:
        self.task, self.problem, self.runtime, self.once, self.watch = task, problem, runtime, once, watch
        self.name, self.metric, self.rates, self.usual = task.name, task.metric, task.rates, task.start
        precision = str(runtime.accelerator.mixed_precision)
        self.context = digest([task.to_dict(), problem.fingerprint, *([precision] if precision != "no" else [])])
        self.data: Path | None = None
        self._choice: Choice | None = None

    judge: Split = "test"
    descends = True

    @property
    def device(self) -> torch.device:
        """See `Runner`."""
        return self.runtime.device

    def remember(self, once: Once) -> None:
        """See `Runner`."""
        self.once, self._choice = once, None

    def groups(self, round_: Sequence[Trial]) -> list[list[Trial]]:
        """Stacks of trials that differ in rate and seed alone, or each trial by itself. Of stage "explore", trials of
        different formulas too: each net reads its own from a table, near enough to choose by (`nn.lookup`)."""
        alike: dict[str, list[Trial]] = {}
        for trial in round_:
            content = {**trial.to_dict(), "rate": None, "seed": None}
            if trial.stage == "explore" and has_table(trial.formula):
                content["formula"] = None
            alike.setdefault(digest(content), []).append(trial)
        groups = []
        for trials in alike.values():
            size = TOGETHER if self.mode(trials) != "alone" else 1
            groups += [trials[i : i + size] for i in range(0, len(trials), size)]
        return groups

    @property
    def choice(self) -> Choice:
        """How several nets are trained: measured once with a few that have the task's usual activation."""

        def measure() -> Any:
            models = self.models(resolve(self.usual), range(MEASURED))
            return choose(self.problem, models, self.task.recipe, self.runtime).to_dict()

        if self._choice is None:
            self._choice = Choice.from_dict(self.once(f"{self.name}: side by side", measure))
        return self._choice

    def mode(self, trials: Sequence[Trial]) -> Any:
        """Of `fit`, for one group of trials."""
        if len(trials) < 2:
            return "alone"
        mode = self.choice.mode
        watched = self.watching(trials[0])
        return "alone" if watched is not None and (not getattr(watched, "stacks", False) or mode == "vmap") else mode

    def models(self, formula: Formula, seeds: Sequence[int]) -> list[nn.Module]:
        """Untrained networks; the global generator is as before."""
        models = []
        with generators_kept(self.runtime.device):
            for seed in seeds:
                torch.manual_seed(seed)
                models.append(self.task.model.build(formula, seed, self.problem))
        return models

    def watching(self, trial: Trial) -> WatchConfig | None:
        """What looks on at a trial."""
        if trial.stage == "explore":
            return None
        if trial.stage == "shape":
            return EntropyWatch(weight=WEIGHT, samples=SAMPLES)
        return self.watch if trial.test or getattr(self.watch, "acts", False) else None

    def run(self, group: Sequence[Trial], place: Place) -> list[Outcome]:
        """See `Runner`."""
        mode = self.mode(group)
        if mode == "alone" and len(group) > 1:
            return [outcome for trial in group for outcome in self.run([trial], place)]
        first, began = group[0], time.perf_counter()
        checkpoint = None
        if place.folder is not None:
            checkpoint = Checkpoint.at(place.folder, digest([trial.key for trial in group]))
        try:
            models = [m for t in group for m in self.models(t.activation, [t.seed])]
            if first.stage == "explore" and all(has_table(t.formula) for t in group):
                for model in models:
                    read_from_tables_(model)
        except ActsmithError as error:  # no start keeps this activation's scale, for one
            return [Outcome(trial, reason=str(error)) for trial in group]
        watch = self.watching(first)
        fits = fit(
            self.problem, models, seeds=[t.seed for t in group], rates=[t.rate for t in group],
            recipe=self.task.recipe.shortened(first.length), runtime=self.runtime, mode=mode, examples=first.examples,
            threads=self.choice.threads[mode],
            test=first.test, hook=None if watch is None else lambda model: watch.build(model, self.problem),
            checkpoint=checkpoint, stop=place.passed if place.deadline is not None else None,
        )  # fmt: skip
        seconds = (time.perf_counter() - began) / len(group)
        outcomes = [_outcome(t, f, seconds, mode) for t, f in zip(group, fits, strict=True)]
        if first.stage == "look":
            outcomes = [_with_laws(o, self.laws(model)) for o, model in zip(outcomes, models, strict=True)]
        if checkpoint is not None:
            checkpoint.remove()
        return outcomes

    def laws(self, model: nn.Module) -> dict[str, Any]:
        """Path -> law of the pre-activations there on training examples; nothing where there is none."""
        inputs = self.problem.inputs_of(self.problem.example(PROBED, self.runtime.device))
        try:
            found = probe(model.eval(), torch.split(inputs, 256), strict=False)
        except ActsmithError:  # diverged or dead
            return {}
        return {path: law.to_dict() for path, law in found.items()}

    def config(self) -> dict[str, Any]:
        """See `Runner`."""
        return {
            "task": self.task.to_dict(), "data": self.problem.fingerprint, "device": self.runtime.device.type,
            "precision": str(self.runtime.accelerator.mixed_precision),
        }  # fmt: skip

    def cost(self) -> Cost:
        """See `Runner`: the steps and the scoring, measured once."""

        def measure() -> Any:
            recipe, problem = self.task.recipe, self.problem
            model = self.models(resolve(self.usual), [0])[0].to(self.runtime.device).eval()
            began = time.perf_counter()
            with torch.no_grad():
                problem.score(model, "validation")
            scoring = time.perf_counter() - began
            size = recipe.drawn or problem.size
            steps = recipe.epochs * max(size // min(recipe.batch, size), 1) + LBFGS * recipe.lbfgs
            return [min(self.choice.seconds.values()) * steps, scoring]

        return Cost(*self.once(f"{self.name}: cost", measure))

    def silent(self, formula: Formula) -> str | None:
        """See `Runner`."""
        batch = self.problem.example(LISTENED, torch.device("cpu"))

        def reason(f: Formula) -> str | None:
            with backend("composite"):  # a kernel would be compiled for this one batch
                return signal(self.models(f, [0])[0], batch, self.problem.loss).reason

        try:
            found = reason(formula)
            # Where the usual activation carries none either, one batch cannot tell.
            return None if found is not None and reason(resolve(self.usual)) is not None else found
        except ActsmithError as error:  # no start keeps its scale
            return str(error)
        except Exception:  # whatever else this activation does to the network, its trainings will say
            return None

    def start(self, formula: Formula) -> Start | str:
        """See `Runner`."""
        return start_of_model(self.task.model, formula) or "The network drew its own start, whatever the activation."

    def maker(self, folder: Path) -> Callable[[], FitRunner]:
        """See `Runner`."""
        kind: Device = "cpu" if self.runtime.device.type == "cpu" else "auto"
        precision: Precision = self.runtime.accelerator.mixed_precision
        return partial(_made, self.task, self.data, kind, precision, folder=folder, watch=self.watch)

    @classmethod
    def opened(
        cls, task: Task, data: Path | None = None, runtime: Runtime | None = None, once: Once = _measured_now
    ) -> FitRunner:
        """One whose data are loaded now."""
        found = cls(task, task.problem.load(data), runtime or Runtime.create(), once)
        found.data = data
        return found


def read_from_tables_(model: nn.Module) -> None:
    """Exchange every `Activation` for its formula's table; what it had learned is held."""
    for path, module in list(model.named_modules()):
        if isinstance(module, Activation):
            owner, _, name = path.rpartition(".")
            setattr(model.get_submodule(owner), name, LookupActivation(module.formula))


@lru_cache(maxsize=4096)
def has_table(formula: Formula) -> bool:
    """Whether a formula can be read from a table."""
    try:
        LookupActivation(formula)
    except ActsmithError:
        return False
    return True


def _made(
    task: Task, data: Path | None, device: Device, precision: Precision, *, folder: Path, watch: WatchConfig | None
) -> FitRunner:
    """A runner of a worker process, which measures nothing that was measured already."""

    found = FitRunner.opened(task, data, Runtime.create(device, precision), measured_there(folder))
    found.watch = watch
    return found


def _outcome(trial: Trial, found: Fit, seconds: float, mode: str) -> Outcome:
    values = plain(found.to_dict())
    own = {name: values.pop(name) for name in ("validation", "test", "diverged", "step_seconds", "peak_bytes")}
    details = {name: value for name, value in values.items() if name not in ("seed", "rate")}
    return Outcome(trial, seconds=seconds, details={**details, "mode": mode}, **own)


def _with_laws(outcome: Outcome, laws: dict[str, Any]) -> Outcome:
    return replace(outcome, details={**outcome.details, "laws": laws})
