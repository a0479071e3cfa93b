"""A user's own training loop as a runner of trials.

    def model(): return MyNet(activation=nn.GELU())
    def train(net, trial): ...; return {"accuracy": ...}

    ScriptRunner(model, train, metric=Metric("accuracy", "higher"), start="gelu")

`model()` builds the network as ever; its activations are exchanged by `replace_`, with its proof, before `train` sees
it. `actsmith.trials.handle.Handle` is what `train` gets as `trial`.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.files import plain
from actsmith.formula.catalogue import CATALOGUE, FormulaLike, resolve
from actsmith.formula.formula import Formula
from actsmith.names import in_current_folder, named_object
from actsmith.nn.backend import backend
from actsmith.surgery.probe import probe
from actsmith.surgery.replace import replace_
from actsmith.surgery.running import example_for
from actsmith.surgery.signal import signal
from actsmith.surgery.sites import Site, sites
from actsmith.surgery.where import Where, choose
from actsmith.training.fit import Stopped, learned
from actsmith.training.problem import Metric, Split
from actsmith.trials.batch import first_batch, read_batch, write_batch
from actsmith.trials.functions import source_of, title_of, why_not_importable
from actsmith.trials.handle import Ended, Handle, generators, scores_of, seed_all, set_generators
from actsmith.trials.runner import Cost, Once, Place, Runner
from actsmith.trials.trial import Outcome, Trial, digest
from actsmith.trials.worker import failed

__all__ = ["ScriptRunner"]

Model = Callable[[], nn.Module]
Train = Callable[[nn.Module, Handle], Any]
Test = Callable[[nn.Module], Any]
RATES = (10**-0.5, 1.0, 10**0.5)
"""Factors on the script's own learning rate."""
GRID = np.linspace(-6, 6, 241)
EXAMPLE = "example.pt"
"""In the run folder: the first batch that the network was called with."""


class ScriptRunner:
    """Trains by a user's own function. A function that fails gives an outcome with its traceback kept.

    Outcomes: `validation` and `test` hold every number of the dictionary that the script gave; `step_seconds` and
    `seconds` are of the whole training; details["asked"] names what the script used of its trial ("rate", "epochs",
    "share"): what it does not use is not worth varying. What it prints is in scripts/KEY/output.txt of the run folder.

    Args:
        model: builds the network with its usual activation, `MODULE:OBJECT` or the function itself.
        train: (net, trial) -> a number, or a dictionary with the metric's; None, where the last `trial.report` counts.
        metric: by which trainings are compared.
        start: the activation that the network has; by default the one that most of its sites have.
        where: which sites are exchanged, as for `replace_`; by default those with the start's values.
        test: (net) -> a number or dictionary; called in trials with `test=True` alone.
        example: what the network takes, as for `replace_`; by default the first batch that it is trained on.
        name: of the task; by default that of the file.

    Raises:
        ActsmithError: `model` is a network instead of a function that builds one; no start was given and none is found.
    """

    rates: tuple[float, ...] = RATES
    descends = False
    folder: Path | None = None  # of the run, once `maker` was told

    def __init__(
        self,
        model: Model | str,
        train: Train | str,
        *,
        metric: Metric,
        start: FormulaLike | None = None,
        where: Where | None = None,
        test: Test | str | None = None,
        example: Any = None,
        name: str | None = None,
    ) -> None:
        self.model: Model = named_object(model, "model") if isinstance(model, str) else model
        self.train: Train = named_object(train, "train") if isinstance(train, str) else train
        self.test: Test | None = named_object(test, "test") if isinstance(test, str) else test
        given = {"model": self.model, "train": self.train, "test": self.test or print}
        for what, function in given.items():
            if isinstance(function, nn.Module) or not callable(function):
                raise ActsmithError(
                    f"{what}: got a {type(function).__name__}; expected a function"
                    + (" that builds a fresh network at each call" if what == "model" else "")
                )
        self.metric, self.example = metric, example
        self.judge: Split = "validation" if test is None else "test"
        self.formula = resolve(start) if start is not None else self._usual()
        self.usual = self.formula.name if self.formula.name in CATALOGUE else self.formula.text
        self.where: Where = where if where is not None else SameAs(self.formula)
        self.name = name or title_of(self.model)
        functions = [source_of(f) for f in (self.model, self.train, self.test)]
        sites_by = source_of(where) if callable(where) else repr(where)
        self.context = digest([functions, asdict(metric), self.formula.to_dict(), sites_by])

    def _usual(self) -> Formula:
        with _generators_kept():
            found = sites(self.model(), self.example)
        kinds = Counter(s.formula for s in found if s.formula is not None and s.ordinary)
        if not kinds:
            raise ActsmithError(
                f"start: no activation is found in the modules of {title_of(self.model)}'s network; name it, as in "
                "start='gelu', or give example= for one that is called as a function"
            )
        return kinds.most_common(1)[0][0]

    # ------------------------------------------------------------------------------------------------------ a runner

    @property
    def device(self) -> torch.device:
        """See `Runner`: a script does not say; one that finds an accelerator uses it, most likely."""
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

    def remember(self, once: Once) -> None:
        """See `Runner`; nothing is measured."""

    def groups(self, round_: Sequence[Trial]) -> list[list[Trial]]:
        """Each trial by itself."""
        return [[trial] for trial in round_]

    def config(self) -> dict[str, Any]:
        """See `Runner`. The functions' own source counts, not the data that they read."""
        return {"script": self.name, "start": self.formula.to_dict(), "metric": asdict(self.metric), "of": self.context}

    def cost(self) -> Cost | None:
        """See `Runner`: only a training tells."""
        return None

    def start(self, formula: Formula) -> str:
        """See `Runner`."""
        return "The network drew its own start, whatever the activation."

    def silent(self, formula: Formula) -> str | None:
        """See `Runner`. None too where no batch is known yet (the first training of stage "look" keeps one), or where
        the start itself carries none: then one batch says nothing about this network."""
        try:
            with _generators_kept(), in_current_folder():
                example = self._known_example(self.model(), self.folder)
                if example is None or self._signal(self.formula, example) is not None:
                    return None
                return self._signal(formula, example)
        except ActsmithError as error:
            return str(error)
        except Exception:  # the script's own: its trainings will say
            return None

    def _signal(self, formula: Formula, example: Any) -> str | None:
        seed_all(0)
        with backend("composite"):  # a kernel would be compiled for this one batch
            return signal(self.network(formula, example), example).reason

    def maker(self, folder: Path) -> Callable[[], Runner]:
        """See `Runner`."""
        self.folder = folder
        return partial(_itself, self)

    @property
    def why_here(self) -> str | None:
        """Why no worker process can run the functions; None where one can. In this process a hang cannot be ended."""
        functions = [f for f in (self.model, self.train, self.test) if f is not None]
        return next((why for f in functions if (why := why_not_importable(f)) is not None), None)

    @property
    def importable(self) -> bool:
        """Whether a worker process finds the functions by their names."""
        return self.why_here is None

    # ---------------------------------------------------------------------------------------------------- a training

    def network(self, formula: Formula, example: Any = None) -> nn.Module:
        """A fresh network with this activation; as the user wrote it where that is the start."""
        net = self.model()
        if not isinstance(net, nn.Module):
            raise ActsmithError(f"model: it returned a {type(net).__name__}; expected a torch.nn.Module")
        if formula != self.formula:
            replace_(net, formula, where=self.where, example=example)
        return net

    def run(self, group: Sequence[Trial], place: Place) -> list[Outcome]:
        """See `Runner`."""
        self.folder = place.folder or self.folder
        return [self._one(trial, place) for trial in group]

    def _one(self, trial: Trial, place: Place) -> Outcome:
        began = time.perf_counter()
        with _folder_of(trial, place) as folder, _generators_kept(), in_current_folder(), _output(folder, place):
            handle = Handle(trial, place, self.metric.name, folder)
            try:
                outcome = self._trained(trial, place, handle)
            except Ended:
                raise Stopped from None
            except (Exception, SystemExit) as error:
                if handle.stopped:
                    raise Stopped from None
                outcome = failed(trial, error, place, time.perf_counter() - began)
            handle.finish()
        return outcome

    def _trained(self, trial: Trial, place: Place, handle: Handle) -> Outcome:
        began, cuda, looks = time.perf_counter(), torch.cuda.is_available(), trial.stage == "look"
        example = None if trial.activation == self.formula else self._example(trial, place)
        seed_all(trial.seed)
        net = self.network(trial.activation, example)
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        seed_all(trial.seed)
        handle.began = time.perf_counter()
        with first_batch(net, wanted=looks) as seen:
            returned = self.train(net, handle)
        trained = handle.seconds
        if handle.stopped:
            raise Ended
        if returned is None and not handle.reports:
            raise ActsmithError("train: it returned nothing and never called trial.report(score); expected either")
        validation = handle.reports[-1] if returned is None else scores_of(returned, self.metric.name, "train")
        test = None
        if trial.test and self.test is not None:
            test = scores_of(self.test(net), self.metric.name, "test")
        details: dict[str, Any] = {
            "asked": sorted(handle.asked), "parameters": learned(net),
            "curve": [[i, scores] for i, scores in enumerate(handle.reports, 1)],
        }  # fmt: skip
        if looks:
            details["laws"] = self._laws(net, trial, self._looked(net, seen, place))
        return Outcome(
            trial, _finite(validation), None if test is None else _finite(test),
            diverged=not isfinite(validation[self.metric.name]), seconds=handle.before + time.perf_counter() - began,
            step_seconds=trained, peak_bytes=torch.cuda.max_memory_allocated() if cuda else 0, details=plain(details),
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------------- batches

    def _known_example(self, net: nn.Module, folder: Path | None) -> Any:
        """The one given, or the run's, or one that the model describes; None where there is none."""
        if self.example is not None:
            return self.example
        kept = None if folder is None else read_batch(folder / EXAMPLE)
        if kept is not None:
            return kept
        with contextlib.suppress(ActsmithError):
            return example_for(net, None)
        return None

    def _example(self, trial: Trial, place: Place) -> Any:
        """What the network is proven with; where none is known, the script runs until it calls the network."""
        seed_all(trial.seed)
        net = self.model()
        known = self._known_example(net, place.folder)
        if known is not None:
            return known
        with tempfile.TemporaryDirectory() as folder, first_batch(net, wanted=True, end=True) as seen:
            self.train(net, Handle(trial, Place(), self.metric.name, Path(folder)))
        if not seen:
            raise ActsmithError("train: it never called the network that it was given; give example= (its input)")
        self.example = seen[0]  # for this process; workers keep theirs
        return self.example

    def _looked(self, net: nn.Module, seen: list[Any], place: Place) -> Any:
        if seen and place.folder is not None:
            write_batch(place.folder / EXAMPLE, seen[0])
        return self.example if self.example is not None else seen[0] if seen else self._known_example(net, place.folder)

    def _laws(self, net: nn.Module, trial: Trial, example: Any) -> dict[str, Any]:
        """Path -> law of the pre-activations, of the sites that are exchanged; nothing where there is none.

        Raises:
            ActsmithError: the network has other activations than the start.
        """
        if example is None:
            return {}
        found = sites(net, example)
        where = self.where if trial.formula == self.formula else SameAs(trial.formula)
        chosen = {s.path for s in choose(net, found, where, gates=False, squashes=False)[0]}
        if found and not chosen:
            kinds = Counter(s.activation or s.class_name for s in found)
            raise ActsmithError(
                f"start: the network has {', '.join(f'{n} x {kind}' for kind, n in kinds.items())}; expected "
                f"{trial.formula.name}; name what it has with start="
            )
        try:
            return {p: law.to_dict() for p, law in probe(net, [example], strict=False).items() if p in chosen}
        except ActsmithError:  # diverged or dead
            return {}


def _itself(runner: ScriptRunner) -> ScriptRunner:
    return runner


class SameAs:
    """Holds for sites whose activation has the values of a formula, or its name."""

    def __init__(self, formula: Formula) -> None:
        self.formula = formula

    def __call__(self, site: Site) -> bool:
        if site.activation == self.formula.name:
            return True
        return site.formula is not None and np.allclose(site.formula(GRID), self.formula(GRID), rtol=1e-4, atol=1e-5)

    def __repr__(self) -> str:
        return f"start: {self.formula.name}"


def _finite(scores: dict[str, float]) -> dict[str, float | None]:
    return {name: value if isfinite(value) else None for name, value in scores.items()}


@contextlib.contextmanager
def _folder_of(trial: Trial, place: Place) -> Iterator[Path]:
    """A trial's own; where the run has none, for the time of the training."""
    if place.folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    folder = place.folder / "scripts" / trial.key
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    with contextlib.suppress(OSError):  # not empty
        folder.rmdir()


@contextlib.contextmanager
def _generators_kept() -> Iterator[None]:
    before = generators()
    try:
        yield
    finally:
        set_generators(before)


@contextlib.contextmanager
def _output(folder: Path, place: Place) -> Iterator[None]:
    """What is printed goes to a file of the trial's, where the run has a folder."""
    if place.folder is None:
        yield
        return
    path = folder / "output.txt"
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(path.open("a", encoding="utf-8", buffering=1))
            stack.enter_context(contextlib.redirect_stdout(file))
            stack.enter_context(contextlib.redirect_stderr(file))
            yield
    finally:
        if path.is_file() and not path.stat().st_size:
            path.unlink()
