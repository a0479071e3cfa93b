"""A table of outcomes: hundreds of functions, each trained with a few seeds on small tasks, to try searches on.

    found = outcomes(folder)        # measured once, minutes; goes on where it was stopped

The functions are the catalogue's and what the search's own proposers make of it before anything is known: the leaders
that they start from are drawn at random. All train at one rate, to their end, side by side in stacks of tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actsmith.errors import ActsmithError
from actsmith.files import read_json, to_json, write_atomically
from actsmith.formula.catalogue import resolve
from actsmith.formula.formula import Formula
from actsmith.search.candidates import Candidate
from actsmith.search.draft import Grid
from actsmith.search.evidence import Evidence, Tried
from actsmith.search.proposers import PROPOSERS
from actsmith.search.proposers.known import Known
from actsmith.search.space import Space
from actsmith.tasks.flat import FlatImages
from actsmith.tasks.friedman import Friedman
from actsmith.tasks.functions import PolynomialConfig, sparse_polynomial
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.task import Task
from actsmith.tasks.text import NextCharacter
from actsmith.theory.laws import Normal
from actsmith.training.problem import Metric
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime
from actsmith.trials.runner import FitRunner, has_table
from actsmith.trials.session import session
from actsmith.trials.trial import Trial

__all__ = ["ROUNDS", "SETTLED", "START", "TASKS", "Drawn", "Outcomes", "functions", "outcomes"]

Array = NDArray[np.float64]

START = "gelu"
SEEDS = (0, 1, 2, 3)
"""In each repetition a search sees half of them, and the other half judges what it found."""
ROUNDS, EACH = 12, {"correction": 2, "affine": 10, "family": 24, "evolution": 12}
"""Of the functions beside the catalogue: rounds of proposals, and how many of whom in each."""
LOSS = Metric("loss", "lower", log=True)


def _task(name: str, problem: object, model: object, recipe: Recipe) -> Task:
    return Task(name, problem, model, recipe, rates=(1e-2,), start=START)  # type: ignore[arg-type]


_POLYNOMIAL = sparse_polynomial("12 random terms", variables=6, degree=3, terms=12)
TASKS: dict[str, Task] = {
    "digits": _task("digits", FlatImages(), Mlp(32, 4), Recipe(8, 32)),
    "polynomial": _task("polynomial", PolynomialConfig(_POLYNOMIAL, held_out=1024), Mlp(32, 3), Recipe(12, 64)),
    "friedman": _task("friedman", Friedman(1024, 1024), Mlp(32, 3), Recipe(12, 64)),
    "english": _task(
        "english", NextCharacter(8, 8, 31, 2048, 2048, file="python-manual"), Mlp(32, 3), Recipe(4, 64)
    ),
}  # fmt: skip
SETTLED = ("digits", "polynomial")
"""On these the search's constants were chosen; what is said of it is measured on the others."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What was measured on one task.

    Attributes:
        task: its name.
        candidates: the functions; the start is none of them.
        gains: the difference to the start in merit, paired by seed, -inf where a training diverged, (n, seeds).
    """

    task: str
    candidates: tuple[Candidate, ...]
    gains: Array

    def drawn(self, seed: int) -> Drawn:
        """A search to be simulated: half of the proposals and of the seeds, drawn until something good is there."""
        rng = np.random.default_rng(seed)
        known = np.array([c.kind == "known" for c in self.candidates])
        while True:
            others = np.flatnonzero(~known)
            kept = np.sort(np.concatenate([np.flatnonzero(known), rng.permutation(others)[: len(others) // 2]]))
            order = rng.permutation(self.gains.shape[1])
            half = len(order) // 2
            seen, judged = (self.gains[kept][:, part].mean(axis=1) for part in (order[:half], order[half:]))
            good = np.flatnonzero(~known[kept] & (judged >= judged[known[kept]].max()))
            if good.size:
                return Drawn(tuple(self.candidates[i] for i in kept), seen, good)


@dataclass(frozen=True, eq=False)
class Drawn:
    """What the simulated searches of one repetition choose among.

    Attributes:
        candidates: known functions and others.
        seen: their mean gains on the seeds that a search sees, (n,).
        good: places of those that are as good as the best known one on the other seeds; none is known.
    """

    candidates: tuple[Candidate, ...]
    seen: Array
    good: NDArray[np.intp]


def functions(rounds: int = ROUNDS) -> list[Candidate]:
    """The catalogue, then proposals; each function and each name once, the start's not among them."""
    grid, start = Grid.of(Normal()), resolve(START)
    space, names = Space(grid), {start.name}
    space.remember(start)
    found: list[Candidate] = []

    def take(tried: Sequence[Tried], counts: dict[str, int], seed: int) -> Iterator[Candidate]:
        evidence = Evidence(start, grid, {"normal": Normal()}, tuple(tried))
        for proposer, rng in zip(PROPOSERS, np.random.default_rng(seed).spawn(len(PROPOSERS)), strict=True):
            for draft in proposer.propose(evidence, rng, counts[proposer.name]) if proposer.name in counts else ():
                if space.admit(draft) is not None:
                    continue
                try:
                    candidate = draft.make()
                except ActsmithError:
                    continue
                formula = candidate.formula
                if formula.name not in names and space.admit(candidate) is None and has_table(formula):
                    names.add(formula.name)
                    yield candidate

    known = list(take((), {Known.name: 1000}, 0))
    found += known
    for number in range(rounds):
        merits = np.random.default_rng([1, number]).random(len(known))
        tried = [Tried(c, float(m)) for c, m in zip(known, merits, strict=True)] if number % 3 else []
        found += take(tried, EACH, number)
    return found


def outcomes(
    folder: Path,
    names: Sequence[str] = tuple(TASKS),
    rounds: int = ROUNDS,
    seeds: Sequence[int] = SEEDS,
    say: Callable[[str], None] = print,
) -> list[Outcomes]:
    """The tables of these tasks; what is not there yet is measured.

    Args:
        folder: of the run; a folder for each task is made in it.
        names: of TASKS.
        rounds: of the proposals.
        seeds: of the trainings, an even number.
        say: takes a line now and then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "functions.json"
    if not kept.is_file():
        made = functions(rounds)
        plain = [{**c.formula.to_dict(), "kind": c.kind, "proposer": c.proposer} for c in made]
        write_atomically(kept, to_json(plain))
    candidates = tuple(Candidate(Formula.from_dict(v), v["kind"], "", v["proposer"]) for v in read_json(kept))
    return [_measured(folder / name, TASKS[name], candidates, seeds, say) for name in names]


def _measured(
    folder: Path, task: Task, candidates: tuple[Candidate, ...], seeds: Sequence[int], say: Callable[[str], None]
) -> Outcomes:
    def progress(stage: str, done: int, total: int, message: str) -> None:
        if done % 20 == 0:
            say(f"{task.name}: {done} of {total} groups of trainings")

    runner = FitRunner.opened(task, runtime=Runtime.create("cpu"))
    formulas = [resolve(START), *(c.formula for c in candidates)]
    begun = (folder / "config.json").is_file()
    with session(runner, folder, {**runner.config(), "seeds": list(seeds)}, resume=begun, progress=progress) as run:
        rate, context = task.rates[0], runner.context
        trials = [Trial(task.name, f, "explore", rate, seed, context=context) for f in formulas for seed in seeds]
        run.train([trials], "explore", "outcomes")
        history = run.history
    # Accuracy on some hundred digits is too coarse to compare by.
    metric = LOSS if task.metric.name == "accuracy" else task.metric
    merits = np.array([metric.merit([history[t.key].score(metric)]) for t in trials]).reshape(len(formulas), len(seeds))
    if not math.isfinite(float(merits[0].sum())):
        raise ActsmithError(f"outcomes: {task.name}: a training with {START} diverged; nothing can be compared with it")
    return Outcomes(task.name, candidates, merits[1:] - merits[:1])
