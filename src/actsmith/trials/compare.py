"""Activations against each other, without a search: a table with paired seeds and intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from actsmith.display import Shown
from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike, is_one, resolve
from actsmith.formula.formula import Formula
from actsmith.tasks.task import Task
from actsmith.training.problem import Metric
from actsmith.trials.folder import folder_for
from actsmith.trials.policy import TuneThenScore
from actsmith.trials.session import Progress, Session, climb, session, silent
from actsmith.trials.setup import duration, runner_of
from actsmith.trials.tables import Table, contest, table
from actsmith.trials.trial import History

__all__ = ["Comparison", "compare"]

TUNING_SEEDS = (1000, 1001, 1002, 1003)


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """A finished comparison.

    Attributes:
        folder: the run folder.
        table: the rows, best first by the test split, with intervals and differences to the first formula.
        conclusion: one sentence.
    """

    folder: Path
    table: Table
    conclusion: str

    def text(self) -> str:
        """The table as text, the conclusion below it."""
        reference = self.table.reference
        lines = [f"{'activation':24}  {self.table.metric.name:>12}  95 % interval           minus {reference} (paired)"]
        for r in self.table.rows:
            if r.mean is None:
                lines.append(f"{r.name:24}  {'diverged':>12}  ({r.diverged} of {len(r.values)})")
                continue
            line = f"{r.name:24}  {r.mean:12.5g}  [{r.low:.5g}, {r.high:.5g}]"
            if r.difference is not None:
                line += f"    {r.difference:+.4g} [{r.difference_low:+.4g}, {r.difference_high:+.4g}], p {r.p:.2g}"
            lines.append(line)
        return "\n".join([*lines, "", self.conclusion])


def compare(
    task: str | Task | Callable[[], Any],
    formulas: Sequence[FormulaLike],
    train: Callable[..., Any] | str | None = None,
    *,
    seeds: int = 15,
    tuning_seeds: int = 4,
    fine: bool = False,
    rates: Sequence[float] | None = None,
    metric: str | None = None,
    better: Literal["higher", "lower"] = "higher",
    test: Callable[[Any], Any] | None = None,
    example: Any = None,
    start: FormulaLike | None = None,
    workers: int = 1,
    trial_timeout: float | str | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    device: Literal["auto", "cpu"] = "auto",
    precision: Literal["no", "bf16", "fp16"] = "no",
    progress: Progress | None = None,
    options: dict[str, Any] | None = None,
) -> Comparison:
    """Train every formula under the same rules: its rate tuned on the validation split, then paired seeds on the test
    split (on the validation split where your own loop has no `test`). Differences are to the first one.

    Args:
        task, train, metric, better, test, example, start, workers, trial_timeout, data, device, precision: as
            `actsmith.search` takes them.
        formulas: two or more.
        seeds, tuning_seeds: for the scores, and to choose each formula's rate.
        fine: tune on from the best of the grid, rate and output scale by steps of sqrt 2, each formula alike.
        rates: the grid; of your own loop, factors on its own rate.
        out, resume: the run folder, and whether to go on with what is there; runs/compare-<task>-<number> by default.
        progress: called with (stage, done, total, message).
        options: of `timm:` and `hf:` tasks, see `actsmith.tasks.named.find_task`.

    Raises:
        ActsmithError: a request that cannot be met; says what, got, expected.
    """
    activations = _resolved(formulas)
    if len(activations) < 2 or len({f.name for f in activations}) != len(activations):
        raise ActsmithError(
            f"compare: got {[f.name for f in activations]}; expected two formulas or more, of different names"
        )
    if seeds < 2 or not 1 <= tuning_seeds <= len(TUNING_SEEDS):
        raise ActsmithError(f"compare: got seeds={seeds}, tuning_seeds={tuning_seeds}; expected 2 or more, and 1 to 4")
    timeout = duration(trial_timeout, "trial_timeout")
    runner = runner_of(
        task, train, metric=metric, better=better, start=start, test=test, example=example, data=data, device=device,
        precision=precision, options=options,
    )  # fmt: skip
    policy = TuneThenScore(
        runner.name, runner.context, runner.metric, tuple(map(float, rates)) if rates is not None else runner.rates,
        tuple(range(seeds)), TUNING_SEEDS[:tuning_seeds], judge=runner.judge, climbs=fine, ranked=fine,
    )  # fmt: skip
    config = {
        "kind": "compare", **runner.config(), "formulas": [f.to_dict() for f in activations], "seeds": seeds,
        "tuning_seeds": tuning_seeds, "rates": list(policy.rates), **({"fine": True} if fine else {}),
    }  # fmt: skip
    path = folder_for("compare", runner.name, out)
    asked: dict[str, Any] = {"resume": resume, "workers": workers, "timeout": timeout, "progress": progress or silent}
    with session(runner, path, config, **asked) as run:
        _tune(run, policy, activations)
        run.train([policy.scoring(f, run.history) for f in activations], "score", f"{seeds} seeds each")
        found = _table(run.history, policy, [f.name for f in activations])
        result = Comparison(path, found, _conclusion(found, runner.metric))
        run.folder.write("comparison.json", {"table": _plain(found), "conclusion": result.conclusion})
        return result


def _resolved(formulas: Any) -> list[Formula]:
    return [resolve(f) for f in ([formulas] if is_one(formulas) else formulas)]


def _tune(run: Session, policy: TuneThenScore, activations: Sequence[Formula]) -> None:
    run.train([policy.tuning(f) for f in activations], "tune", f"{len(policy.rates)} rates each")
    climb(policy, activations, run.history, lambda rounds: run.train(rounds, "tune", "rate and scale"))


def _table(history: History, policy: TuneThenScore, names: Sequence[str]) -> Table:
    outcomes = {name: history.of(policy.task, name, "score") for name in names}
    return table(
        outcomes, policy.metric, reference=names[0], rates=policy.rates, name=policy.task,
        title=f"{policy.task}: {', '.join(names)}", split=policy.judge,
    )  # fmt: skip


def _plain(found: Table) -> dict[str, Any]:
    return {**vars(found), "metric": vars(found.metric), "rows": [vars(row) for row in found.rows]}


def _conclusion(found: Table, metric: Metric) -> str:
    reference = found.reference
    duels = contest([(found, row.name, reference) for row in found.rows if row.name != reference])
    count = len(found.rows[0].values)
    said = []
    for verdict, words in (("better", "better than"), ("worse", "worse than"), ("open", "not told apart from")):
        names = [duel.name for duel in duels if duel.verdict == verdict]
        if names:
            said.append(f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {words} {reference}")
    failed = [row.name for row in found.rows if row.failed]
    also = f" Trainings of {', '.join(failed)} failed." if failed else ""
    way = f"{metric.name}, {metric.better} is better"
    return f"{'; '.join(said)} ({way}, {count} paired seeds, Holm-corrected p < 0.05).{also}"
