"""Searches whose answer is known: what any search must find again, reject, or not announce (`search --preset sanity`).

Each is a task, a start, a budget, and a claim on the run folder that a program can check.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import log10
from pathlib import Path
from typing import Any

from sympy import cos, sin

from actsmith.errors import ActsmithError
from actsmith.files import read_json, to_json, write_atomically
from actsmith.formula.catalogue import resolve
from actsmith.names import did_you_mean
from actsmith.search.run import resume, search
from actsmith.tasks.flat import FlatImages
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.task import Task
from actsmith.training.problem import Metric
from actsmith.training.recipe import Recipe
from actsmith.trials.folder import RunFolder
from actsmith.trials.session import Progress, silent
from actsmith.trials.setup import duration
from actsmith.trials.trial import History

__all__ = ["CASES", "Case", "Checked", "Found", "sanity"]

HEAT, POINTS, BITS, POLYNOMIAL = 0.1, 0.04, 0.15, 0.6
"""Relative error over ReLU's; accuracy over ReLU's; bits below ReLU's; error over GELU's."""
SEEDS = 10
LONG = 100
"""Characters of a formula that a cell of the table has no room for; sanity.json has it."""
CHEAPLY = 0.1
"""Share of a search's training time that each function which must be rejected may take."""

DECIDED = ("better", "nothing better")
"""Conclusions with which a search is over."""


@dataclass(frozen=True)
class Found:
    """A finished search, as its folder tells it.

    Attributes:
        board: leaderboard.json.
        history: every training.
    """

    board: Mapping[str, Any]
    history: History

    @classmethod
    def read(cls, folder: Path) -> Found:
        """Of a run folder that holds a leaderboard."""
        with RunFolder(folder, read_json(folder / "config.json"), resume=True, lock=False) as run:
            return cls(run.read("leaderboard.json"), run.history)

    @property
    def best(self) -> Mapping[str, Any]:
        """The row of what the search recommends: the start's, where nothing better was found; empty where the budget
        ended before it had one."""
        return next((row for row in self.board["rows"] if row["name"] == self.board["recommended"]), {})

    @property
    def gain(self) -> float:
        """Of the best over the start, on fresh seeds, in units of the metric (decades for a logarithm)."""
        return float(self.best["difference"] or 0.0)

    def score(self, name: str, metric: Metric) -> float | None:
        """Mean of a score of the test split over the seeds that confirmed; geometric for a logarithm."""
        own = self.history.of(name=name, stage="score")
        values = metric.transformed([o.score(metric, "test") for o in own])
        mean = sum(values) / len(values) if values else None
        return 10.0**mean if mean is not None and metric.log else mean


Claim = Callable[[Found], tuple[bool, str]]
"""Whether a search holds what was asked, and in what numbers."""


@dataclass(frozen=True)
class Case:
    """One search with a known answer.

    Attributes:
        name: of its folder.
        task: a name, or a Task.
        start: the activation that it starts from.
        budget: minutes of one core that is not shared.
        must: what must hold, in words.
        claim: checks it.
        extra: formulas that are tried beside the known ones.
    """

    name: str
    task: str | Task
    start: str
    budget: float
    must: str
    claim: Claim
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """What became of one.

    Attributes:
        name, task, start, must: of the case.
        found: name of what the search recommends, and its formula.
        held: whether the claim holds; None where the search could not be run, with the reason in `says`.
        says: the numbers.
        conclusion: the search's own sentence.
        trainings: that it did.
        minutes: of wall clock that it took.
    """

    name: str
    task: str
    start: str
    must: str
    found: str = ""
    formula: str = ""
    held: bool | None = None
    says: str = ""
    conclusion: str = ""
    trainings: int = 0
    minutes: float = 0.0
    kind: str = field(default="", repr=False)


def sanity(
    out: str | Path,
    *,
    data: str | Path | None = None,
    only: Sequence[str] = (),
    scale: float = 1.0,
    workers: int = 1,
    progress: Progress = silent,
) -> list[Checked]:
    """Run the searches one after another; what is decided is not done again, what is not goes on with another budget.

    Args:
        out: a folder for each of them, and sanity.json and sanity.md.
        data: the folder of the tasks' files; those whose files cannot be had are left out, with the reason.
        only: names of cases; all where there is none.
        scale: budgets are multiplied by it.
        workers: trainings at the same time, of each.
        progress: as `search` takes it.

    Raises:
        ActsmithError: no such case.
    """
    unknown = [name for name in only if name not in {case.name for case in CASES}]
    if unknown:
        names = [case.name for case in CASES]
        raise ActsmithError(
            f"sanity: no case named {unknown[0]!r}; {did_you_mean(unknown[0], names) or 'expected ' + ', '.join(names)}"
        )
    path = Path(out).expanduser()
    table = path / "sanity.json"
    rows = {row["name"]: Checked(**row) for row in (read_json(table) if table.is_file() else [])}
    for case in CASES:
        done = case.name in rows and (rows[case.name].held or rows[case.name].kind in DECIDED)
        if done or (only and case.name not in only):
            continue
        began, before = time.time(), rows[case.name].minutes if case.name in rows else 0.0
        seconds = duration(60 * case.budget * scale, "budget") or 0.0
        try:
            _search(case, path / case.name, seconds=seconds, data=data, workers=workers, progress=progress)
        except ActsmithError as error:
            rows[case.name] = _row(case, says=str(error))
        else:
            rows[case.name] = _judged(case, path / case.name, before + (time.time() - began) / 60)
        ordered = [rows[c.name] for c in CASES if c.name in rows]
        write_atomically(table, to_json([asdict(row) for row in ordered], indent=1))
        write_atomically(path / "sanity.md", markdown(ordered))
    return [rows[c.name] for c in CASES if c.name in rows]


def _search(
    case: Case, folder: Path, *, seconds: float, data: str | Path | None, workers: int, progress: Progress
) -> None:
    board = folder / "leaderboard.json"
    if board.is_file() and read_json(board)["kind"] in DECIDED:
        return
    if (folder / "request.json").is_file():
        resume(folder, budget=seconds, workers=workers, progress=progress)
        return
    search(
        case.task, start=case.start, extra=case.extra, seeds=SEEDS, budget=seconds, workers=workers, data=data,
        out=folder, resume=folder.is_dir(), device="cpu", progress=progress,
    )  # fmt: skip


def _row(case: Case, **values: Any) -> Checked:
    task = case.task if isinstance(case.task, str) else case.task.name
    return Checked(case.name, task, case.start, case.must, **values)


def _judged(case: Case, folder: Path, minutes: float) -> Checked:
    found = Found.read(folder)
    board, best = found.board, found.best
    held, says = case.claim(found) if best else (False, "the budget ended before the first trainings did")
    return _row(
        case, found=board["recommended"], formula=best.get("formula", ""), held=held, says=says, kind=board["kind"],
        conclusion=board["conclusion"], trainings=len(found.history), minutes=round(minutes, 2),
    )  # fmt: skip


def markdown(rows: Sequence[Checked]) -> str:
    """The table for a reader."""
    lines = ["| search | must | found | measured | holds | trainings | minutes |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        held = {True: "yes", False: "**no**", None: "not run"}[row.held]
        long = len(row.formula) > LONG or row.formula in ("", row.found)
        formula = row.found if long else f"{row.found}: `{row.formula}`"
        cells = (
            f"{row.task} from {row.start}", row.must, formula, row.says, held, row.trainings, f"{row.minutes:.1f}",
        )  # fmt: skip
        lines.append("| " + " | ".join(str(cell).replace("|", r"\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------------------------ claims


def _error_over_start(metric: Metric, most: float) -> Claim:
    def claim(found: Found) -> tuple[bool, str]:
        mine, start = found.score(found.best["name"], metric), found.score(found.board["start"], metric)
        if mine is None or start is None:
            return mine is not None, f"{metric.name} {mine}, the start {'diverged' if start is None else start}"
        return mine <= most * start, f"{metric.name} {mine:.3g}, {found.board['start']} {start:.3g}: {mine / start:.2f}"

    return claim


def _gains(least: float, unit: str) -> Claim:
    def claim(found: Found) -> tuple[bool, str]:
        low, high = found.best["difference_low"], found.best["difference_high"]
        interval = "" if low is None else f" [{low:+.3g}, {high:+.3g}]"
        return found.gain >= least, f"{found.gain:+.3g}{interval} {unit}"

    return claim


def _within_error(most: float) -> Claim:
    """For a metric that is compared by its logarithm."""

    def claim(found: Found) -> tuple[bool, str]:
        return found.gain >= -log10(most), f"{10.0**-found.gain:.2f} of {found.board['start']}'s error"

    return claim


def _periodic(found: Found) -> tuple[bool, str]:
    formula = next(o.trial.formula for o in found.history.values() if o.name == found.best["name"])
    holds = bool(formula.expr.has(sin, cos))
    return holds and found.gain > 0, f"{10.0**-found.gain:.2f} of {found.board['start']}'s error outside"


def _not_worse_than_known(found: Found) -> tuple[bool, str]:
    over, p = found.best["over_known"], found.best["p_over_known"]
    if over is None or p is None:  # the best known function itself, or the start, than which nothing is better
        return found.board["kind"] in DECIDED, str(found.board["kind"])
    return over >= 0 or p >= 0.05, f"{over:+.3g} over the best known, p = {p:.2g}"


def _rejected(names: Sequence[str]) -> Claim:
    """All of them are tried, none is confirmed, and each takes a small share of the time."""

    def claim(found: Found) -> tuple[bool, str]:
        whole = sum(o.seconds for o in found.history.values())
        said, held = [], True
        for name in names:
            own = found.history.of(name=resolve(name).name)
            share = sum(o.seconds for o in own) / max(whole, 1e-9)
            stages = sorted({o.trial.stage for o in own})
            held &= bool(own) and "score" not in stages and share <= CHEAPLY
            said.append(f"{name}: {', '.join(stages) or 'not trained'}, {share:.1%} of the time")
        return held, "; ".join(said)

    return claim


def _announces_what_it_shows(found: Found) -> tuple[bool, str]:
    kind, best = found.board["kind"], found.best
    if kind != "better":
        return found.board["recommended"] == found.board["start"], kind
    low, p = best["difference_low"], best["p"]
    return low > 0 and p < 0.05, f"better by {found.gain:+.3g}, at least {low:+.3g}, p = {p:.2g}"


DEEP = Task("digits/deep", FlatImages("digits"), Mlp(64, 16, "kaiming"), Recipe(8, 32))
"""A plain deep perceptron, all activations started alike."""
RELATIVE = Metric("relative_l2", "lower", log=True)

POWERS = ("relu_squared", "star_relu", "relu(x)**3")

CASES: tuple[Case, ...] = (
    Case("heat", "heat", "relu", 10, "relative error at most 0.1 of ReLU's", _error_over_start(RELATIVE, HEAT)),
    Case("cifar10", "cifar10", "relu", 8, "at least 4 points over ReLU", _gains(POINTS, "accuracy")),
    Case("text", "austen/mlp", "relu", 5, "at least 0.15 bits below ReLU", _gains(BITS, "bits per character")),
    Case("polynomial", "polynomial", "gelu", 5, "at most 0.6 of GELU's error", _within_error(POLYNOMIAL)),
    Case("periodic", "periodic", "relu", 5, "a periodic shape", _periodic),
    Case("transformer", "python-manual", "gelu", 10, "not worse than the best known", _not_worse_than_known),
    Case(
        "deep", DEEP, "relu", 4, "powers of ReLU rejected, at most 10 % of the time each", _rejected(POWERS), POWERS,
    ),
    Case("digits", "digits", "relu", 4, "nothing announced that its interval does not carry", _announces_what_it_shows),
)  # fmt: skip
