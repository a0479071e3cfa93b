"""How good the search is, on stored outcomes: trainings until a function as good as the catalogue's best is met.

    python -m actsmith.benchmarks.search FOLDER [--quick]

Everyone has seen the outcomes of the known functions, chooses among the same others, sees the same scores, and is done
when it meets one that fresh seeds find as good as the best known function. The tables of outcomes are measured once and
kept in FOLDER.

| who       | chooses                                                                                    |
|-----------|--------------------------------------------------------------------------------------------|
| random    | any                                                                                        |
| evolution | the function nearest to a child of regularised evolution (arXiv:1802.01548)                |
| tpe       | the one nearest to a proposal of Optuna's TPE in principal components of values and slopes |
| actsmith  | `next_round`, in rounds of sixteen, its proposers restricted to these functions            |
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actsmith.benchmarks.outcomes import ROUNDS, SETTLED, START, TASKS, Drawn, Outcomes, outcomes
from actsmith.benchmarks.renamed import alarms, scores
from actsmith.errors import require
from actsmith.files import to_json, write_atomically
from actsmith.formula.catalogue import resolve
from actsmith.search.draft import Draft, Grid
from actsmith.search.evidence import Evidence, Tried
from actsmith.search.proposers.evolution import Evolution
from actsmith.search.round import next_round
from actsmith.search.space import Space
from actsmith.search.surrogate import coordinates
from actsmith.theory.laws import Normal

__all__ = ["METHODS", "Efficiency", "Pool", "efficiency", "simulated", "trainings"]

Array = NDArray[np.float64]
Search = Generator[int]
"""Yields places in the pool, each once; it may read what was seen of those that it has yielded."""

ROUND = 16
PROMOTED = 4
"""One of so many goes on to be tuned."""
COMPONENTS = 8
REPETITIONS, RESAMPLED = 24, 4000


class Pool:
    """What is chosen among, as the searches see it.

    Args:
        found: what is chosen among.
    """

    def __init__(self, found: Drawn) -> None:
        self.found, self.grid, self.start = found, Grid.of(Normal()), resolve(START)
        self.drafts = [Draft.of(candidate, self.grid) for candidate in found.candidates]
        self.values = np.stack([draft.values for draft in self.drafts])
        self.slopes = np.stack([draft.slopes for draft in self.drafts])
        self.places = {candidate.formula.name: i for i, candidate in enumerate(found.candidates)}
        self.roots = np.sqrt(np.concatenate([self.grid.weights] * 2))
        self.points = np.stack([self.point(draft) for draft in self.drafts])
        kinds = np.array([candidate.kind for candidate in found.candidates])
        self.known, self.others = np.flatnonzero(kinds == "known"), np.flatnonzero(kinds != "known")
        self.proposers = tuple(_Stored(name, self.drafts) for name in dict.fromkeys(d.proposer for d in self.drafts))

    def point(self, draft: Draft) -> Array:
        """Values and slopes; distances are those of L2."""
        return np.asarray(self.roots * np.concatenate([draft.values, draft.slopes]))

    def evidence(self, tried: Sequence[int]) -> Evidence:
        """The history of a search; the best quarter is promoted."""
        seen = self.found.seen
        ahead = set(sorted(tried, key=lambda i: -seen[i])[: math.ceil(len(tried) / PROMOTED)])
        history = [Tried(self.found.candidates[i], float(seen[i]), i in ahead) for i in tried]
        return Evidence(self.start, self.grid, {"normal": Normal()}, tuple(history))


@dataclass(frozen=True)
class _Stored:
    """Proposes the functions of one origin that are left."""

    name: str
    drafts: Sequence[Draft]
    notes: tuple[str, ...] = ()

    def propose(self, evidence: Evidence, rng: np.random.Generator, n: int) -> list[Draft]:
        return [draft for draft in self.drafts if draft.proposer == self.name]


def _random(pool: Pool, seed: int) -> Search:
    yield from np.random.default_rng(seed).permutation(pool.others).tolist()


def _actsmith(pool: Pool, seed: int) -> Search:
    tried = pool.known.tolist()
    while len(tried) < len(pool.drafts):
        evidence = pool.evidence(tried)
        space = Space(pool.grid).remembering(evidence)
        made = next_round(evidence, pool.proposers, space, seed=[seed, len(tried)], n=ROUND)
        chosen = [pool.places[candidate.formula.name] for candidate in made.candidates]
        yield from chosen
        tried += chosen


def _evolution(pool: Pool, seed: int) -> Search:
    rng, tried = np.random.default_rng(seed), pool.known.tolist()
    rng.shuffle(tried)
    while len(tried) < len(pool.drafts):
        children = Evolution().propose(pool.evidence(tried), rng, 1)
        wanted = pool.point(children[0]) if children else pool.points[rng.choice(pool.others)]
        tried.append(_nearest(pool.points, wanted, tried))
        yield tried[-1]


def _tpe(pool: Pool, seed: int) -> Search:
    optuna = require("optuna", "search", "benchmark of the search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    points = coordinates(pool.values, pool.slopes, pool.grid)[:, :COMPONENTS]
    ends = zip(points.min(axis=0).tolist(), points.max(axis=0).tolist(), strict=True)
    space = {f"c{k}": optuna.distributions.FloatDistribution(low, high) for k, (low, high) in enumerate(ends)}
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), direction="maximize")
    finite = pool.found.seen[np.isfinite(pool.found.seen)]

    def tell(place: int) -> None:
        held = dict(zip(space, points[place].tolist(), strict=True))
        value = max(float(pool.found.seen[place]), float(finite.min()))
        study.add_trial(optuna.trial.create_trial(params=held, distributions=space, value=value))

    tried = pool.known.tolist()
    for place in tried:
        tell(place)
    while len(tried) < len(pool.drafts):
        trial = study.ask(space)
        tried.append(_nearest(points, np.array([trial.params[name] for name in space]), tried))
        yield tried[-1]
        # It learns of the function that was trained, not of the one that it asked for.
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        tell(tried[-1])


def _nearest(points: Array, wanted: Array, tried: Sequence[int]) -> int:
    """The place of the point that is nearest to what is wanted, and was not tried."""
    away = np.linalg.norm(points - wanted, axis=1)
    away[list(tried)] = np.inf
    return int(np.argmin(away))


METHODS: dict[str, Callable[[Pool, int], Search]] = {
    "random": _random, "evolution": _evolution, "tpe": _tpe, "actsmith": _actsmith,
}  # fmt: skip


def trainings(search: Search, good: NDArray[np.intp]) -> int:
    """How many a search needs until one is good; all of them where it never meets one."""
    wanted, count = set(good.tolist()), 0
    for place in search:
        count += 1
        if place in wanted:
            break
    return count


@dataclass(frozen=True)
class Efficiency:
    """One method on one task.

    Attributes:
        task, method: which.
        mean: of the trainings over the repetitions.
        ratio, low, high: of that mean to another's, with its 95 % interval by resampling the repetitions.
        against: the other.
    """

    task: str
    method: str
    mean: float
    ratio: float
    low: float
    high: float
    against: str


def efficiency(counts: dict[str, dict[str, Array]], against: str = "random") -> list[Efficiency]:
    """Ratios of mean trainings, for each task and over all of them (the geometric mean).

    Args:
        counts: task -> method -> trainings of each repetition.
        against: whose mean the others' are divided by.
    """
    rng, found = np.random.default_rng(0), []
    for method in next(iter(counts.values())):
        logs = []
        for task, own in counts.items():
            mine, others = own[method], own[against]
            some = rng.integers(
                len(mine), size=(RESAMPLED, len(mine))
            )  # of both: each repetition is one choice for all
            ratios = mine[some].mean(axis=1) / others[some].mean(axis=1)
            logs.append(np.log(np.concatenate([[mine.mean() / others.mean()], ratios])))
            found.append(_row(task, method, float(mine.mean()), logs[-1], against))
        mean = math.exp(np.mean([math.log(own[method].mean()) for own in counts.values()]))
        found.append(_row("all", method, mean, np.mean(logs, axis=0), against))
    return found


def _row(task: str, method: str, mean: float, logs: Array, against: str) -> Efficiency:
    low, high = np.exp(np.percentile(logs[1:], [2.5, 97.5]))
    return Efficiency(task, method, mean, math.exp(logs[0]), float(low), float(high), against)


def simulated(
    tables: Sequence[Outcomes], methods: Sequence[str] = tuple(METHODS), repetitions: int = REPETITIONS
) -> dict[str, dict[str, Array]]:
    """Task -> method -> trainings of each repetition."""
    found: dict[str, dict[str, Array]] = {
        table.task: {name: np.empty(repetitions) for name in methods} for table in tables
    }
    for table in tables:
        for seed in range(repetitions):
            pool = Pool(table.drawn(seed))
            for name in methods:
                found[table.task][name][seed] = trainings(METHODS[name](pool, seed), pool.found.good)
    return found


def main(arguments: Sequence[str]) -> int:
    """Measure what is not there yet, simulate, print the tables and keep the numbers."""
    if not 1 <= len(arguments) <= 2 or arguments[1:] not in ([], ["--quick"]):
        print("usage: python -m actsmith.benchmarks.search FOLDER [--quick]", file=sys.stderr)
        return 2
    folder, quick = Path(arguments[0]), len(arguments) == 2
    tables = outcomes(folder, list(TASKS)[1:3] if quick else list(TASKS), rounds=3 if quick else ROUNDS, say=_say)
    counts = simulated(tables, repetitions=5 if quick else REPETITIONS)
    lines = []
    for title, names in (("settled on", set(SETTLED)), ("reported", set(TASKS) - set(SETTLED))):
        own = {task: each for task, each in counts.items() if task in names}
        for against in ("random", "evolution", "tpe") if own else ():
            found = [row for row in efficiency(own, against) if against == "random" or row.method == "actsmith"]
            lines += [{"tasks": title, **asdict(row)} for row in found if row.method != against]
    announced = [asdict(alarms(scores(folder / f"{name}-renamed", name))) for name in list(counts)[-2:]]
    for line in (*lines, *announced):
        print("  ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in line.values()))
    kept = {task: {name: v.tolist() for name, v in each.items()} for task, each in counts.items()}
    write_atomically(folder / "efficiency.json", to_json({"trainings": kept, "ratios": lines, "alarms": announced}))
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
