"""An experiment: activations against each other on one problem and one model, under one set of rules.

    tune    each activation, the baselines too: every learning rate of the grid with the tuning seeds, scored on the
            validation split
            (a grid whose best rate is an end of it grows beyond that end)
    score   at its best rate, with the scoring seeds (others than those that tuned), the same for every activation,
            scored on the test split; a `Sequential` adds seeds, each with all activations, until its questions are
            decided

Every finished training is one line of the folder's results.jsonl; those in flight have a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.papers.claims import SEQUENTIAL, Question, decided
from actsmith.tasks.task import ModelConfig, ProblemConfig, Task, WatchConfig, describe
from actsmith.training.problem import Problem
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime
from actsmith.trials import tables
from actsmith.trials.folder import RunFolder
from actsmith.trials.measured import measured
from actsmith.trials.policy import TuneThenScore
from actsmith.trials.runner import FitRunner, Place
from actsmith.trials.sequential import Sequential
from actsmith.trials.tables import Table
from actsmith.trials.trial import History, Outcome, Trial, digest

__all__ = ["Experiment", "Part", "Report", "Results", "Run", "Saved", "grown", "settle", "unfinished"]

Report = Callable[[str, int, int, str], None]


class Results(Protocol):
    """What a reproduction is read from: a `RunFolder`, or a finished run of the old format.

    Attributes:
        results: key -> record, of the work that is no training.
    """

    @property
    def results(self) -> dict[str, dict[str, Any]]: ...

    def all(self) -> History:
        """The trainings."""


@dataclass(frozen=True)
class Saved:
    """Results that are read alone.

    Attributes:
        results, history: as a `RunFolder` has them.
    """

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: History = field(default_factory=History)

    def all(self) -> History:
        """The trainings."""
        return self.history


@dataclass(frozen=True)
class Run:
    """What a part of a reproduction runs in.

    Attributes:
        folder: of the run, open.
        runtime: the devices.
        data: the folder of `--data`.
        report: called with (stage, done, total, message).
    """

    folder: RunFolder
    runtime: Runtime
    data: Path | None
    report: Report = lambda *_: None
    _last: dict[str, Problem] = field(default_factory=dict)

    def problem(self, config: ProblemConfig) -> Problem:
        """The problem, loaded; the last one is kept.

        Raises:
            ActsmithError: its data are not those that this folder's run began with, or are not there.
        """
        name = digest(describe(config))
        if name not in self._last:
            self._last.clear()
            self._last[name] = config.load(self.data)
            self.check(config, self._last[name].fingerprint)
        return self._last[name]

    def check(self, what: Any, fingerprint: str) -> None:
        """Whether the data of a problem (or of anything else with plain values) are those that the run began with.

        Raises:
            ActsmithError: they are others.
        """
        there = self.folder.once(_recorded(what), lambda: fingerprint)
        if there != fingerprint:
            raise ActsmithError(
                f"reproduce: the data of {type(what).__name__} in {self.data or 'no folder'} are not those that "
                f"{str(self.folder.path)!r} began with (fingerprint {fingerprint}, there {there}); give the same "
                "--data, or another --out"
            )

    def began_with(self, config: ProblemConfig) -> bool:
        """Whether the run has loaded this problem."""
        return _recorded(config) in measured(self.folder.path)

    def append(self, key: str, record: dict[str, Any]) -> None:
        """A finished piece of work that is no training, written by the first process."""
        if self.runtime.main:
            self.folder.append(key, record)
        else:
            self.folder.results[key] = record


def _recorded(what: Any) -> str:
    return f"data of {digest(describe(what))}"


class Part(Protocol):
    """One piece of work of a reproduction: an `Experiment`, or anything that fills a folder and can go on."""

    @property
    def name(self) -> str: ...

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that say all there is to say; they decide whether a folder is the same run."""

    def left(self, folder: Results) -> int:
        """How many trainings, or other pieces of work, the folder does not hold yet."""

    def run(self, run: Run) -> None:
        """Do what the folder does not hold yet."""


@dataclass(frozen=True)
class Experiment:
    """One table: a score for each activation.

    Attributes:
        name: of the table, unique in its folder; letters, digits, `-`, `_` and `.`.
        problem, model: what is learned, and by what.
        activations: what is compared; names are unique.
        reference: name of the one that differences are taken to.
        rates: the learning-rate grid; a single rate is not tuned.
        recipe: the training budget.
        seeds: of the scored trainings, 2 or more for an interval, or as many as the questions need.
        tuning_seeds: of the trainings that choose the rate.
        tuning_share: the share of the epochs (and of the L-BFGS steps) that a tuning run trains for.
        watch: what looks on at the scored trainings; one that acts, at those that tune as well.
        labels: what tells this table from the others of its reproduction, for those that read them: {"depth": 6}.
        questions: what a `Sequential` goes on for.
        climbs: whether rate and scale of the output are tuned on from the best of the grid, see `trials.policy`.
    """

    name: str
    problem: ProblemConfig
    model: ModelConfig
    activations: tuple[Formula, ...]
    rates: tuple[float, ...]
    recipe: Recipe
    reference: str = "relu"
    seeds: tuple[int, ...] | Sequential = (0, 1, 2, 3, 4)
    tuning_seeds: tuple[int, ...] = (1000, 1001)
    tuning_share: float = 1.0
    watch: WatchConfig | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    questions: tuple[Question, ...] = field(default=(), repr=False)
    climbs: bool = field(default=False, metadata={"added": True})

    def __post_init__(self) -> None:
        names = [f.name for f in self.activations]
        where = f"experiment {self.name}"
        if len(set(names)) != len(names):
            raise ActsmithError(f"{where}: activations: got {', '.join(names)}; expected different names")
        if self.reference not in names:
            raise ActsmithError(f"{where}: reference: got {self.reference!r}; expected one of {', '.join(names)}")
        if isinstance(self.seeds, tuple) and len(self.seeds) < 2:
            raise ActsmithError(f"{where}: seeds: got {self.seeds}; expected two or more")
        self.policy("", self.most)  # checks rates and seeds

    @property
    def task(self) -> Task:
        """What is trained."""
        return Task(self.name, self.problem, self.model, self.recipe, self.rates)

    @property
    def most(self) -> tuple[int, ...]:
        """The scoring seeds, of a `Sequential` all that there may be."""
        return self.seeds if isinstance(self.seeds, tuple) else self.seeds.blocks()[-1]

    def due(self, folder: Results) -> tuple[int, ...]:
        """The scoring seeds that are to be trained, done or not: of a `Sequential` those of the first look that is not
        finished, or at which all is decided."""
        if isinstance(self.seeds, tuple):
            return self.seeds
        scored = {f.name: folder.all().of(self.name, f.name, stage="score") for f in self.activations}
        there = set.intersection(*({o.trial.seed for o in own} for own in scored.values()))

        def settled(seeds: tuple[int, ...]) -> bool:
            if not there >= {*seeds}:
                return True
            seen = {name: [o for o in own if o.trial.seed in seeds] for name, own in scored.items()}
            return decided(self.questions, [self.table(seen)])

        return self.seeds.until(settled)

    def table(self, scored: Mapping[str, Sequence[Outcome]]) -> Table:
        """Of these trainings, by activation."""
        made = tables.table(
            {name: sorted(own, key=lambda o: o.trial.seed) for name, own in scored.items()},
            self.problem.metric, reference=self.reference, rates=self.rates, name=self.name, title=self.name,
        )  # fmt: skip
        return replace(made, labels={**self.labels, **grown(self)})

    def policy(self, context: str, seeds: tuple[int, ...]) -> TuneThenScore:
        """The rules above, for these scoring seeds."""
        return TuneThenScore(
            self.name, context, self.problem.metric, self.rates, seeds, self.tuning_seeds, self.tuning_share,
            grows=True, climbs=self.climbs,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that say all there is to say."""
        return describe(self)  # type: ignore[no-any-return]

    def left(self, folder: Results) -> int:
        """Trainings that the folder does not hold yet."""
        seeds = self.due(folder)
        return sum(unfinished(folder, self, formula.name, seeds) for formula in self.activations)

    def run(self, run: Run) -> None:
        """Train what the folder does not hold yet."""
        count = len(self.activations)
        runner: FitRunner | None = None
        while Experiment.left(self, run.folder):  # whatever a subclass leaves out
            seeds = self.due(run.folder)
            new = seeds if isinstance(self.seeds, tuple) else self.seeds.added(seeds)
            left = [f for f in self.activations if unfinished(run.folder, self, f.name, new)]
            runner = runner or self.runner(run)
            context = digest([runner.context, describe(self.watch)])
            for number, formula in enumerate(left, count - len(left)):
                run.report(self.name, number, count, f"{formula.name}, {len(seeds)} seeds")
                settle(run, runner, self.policy(context, new), formula)
        run.report(self.name, count, count, "done")

    def runner(self, run: Run) -> FitRunner:
        """Trains this experiment's networks."""
        return FitRunner(self.task, run.problem(self.problem), run.runtime, run.folder.once, self.watch)


def grown(part: Any) -> dict[str, bool]:
    """The label of tables whose seeds were added until all was decided; none of others'."""
    return {SEQUENTIAL: True} if isinstance(getattr(part, "seeds", None), Sequential) else {}


class Tried(Protocol):
    """What is tuned, then scored: an `Experiment`, or a part that goes by the same rules."""

    @property
    def name(self) -> str: ...
    @property
    def rates(self) -> tuple[float, ...]: ...
    @property
    def tuning_seeds(self) -> tuple[int, ...]: ...


def unfinished(folder: Results, part: Tried, activation: str, seeds: Sequence[int]) -> int:
    """Trainings of one activation that the folder does not hold yet, with these scoring seeds."""
    there = folder.all().of(part.name, activation)
    left = len(set(seeds) - {o.trial.seed for o in there if o.trial.stage == "score"})
    rounds = len(part.rates) * len(part.tuning_seeds) if len(part.rates) > 1 else 0
    tuned = {(o.trial.rate, o.trial.seed) for o in there if o.trial.stage == "tune"}
    return left + max(rounds - len(tuned), 0) if left else 0


class Trains(Protocol):
    """What of a `Runner` the rounds of a policy need."""

    def groups(self, round_: Sequence[Trial]) -> list[list[Trial]]: ...
    def run(self, group: Sequence[Trial], place: Place) -> list[Outcome]: ...


def settle(run: Run, runner: Trains, policy: TuneThenScore, formula: Formula) -> None:
    """Run the rounds of one activation until the policy asks for no more."""
    folder = run.folder
    while trials := policy.next(formula, folder.all()):
        for group in runner.groups(trials):
            if any(trial.key not in folder.all() for trial in group):
                folder.put(runner.run(group, Place(folder.path)))
