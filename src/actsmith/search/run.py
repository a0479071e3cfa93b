"""The main job: from a task and a start activation to a table in which every claim has its interval.

    probe    train the task's network with the start activation and measure the laws of its pre-activations
    derive   the EAFO corrections under those laws and the standard normal one, both signs, several steps; and the shape
             that training with entropy descent gives the start activation, read back as a short formula
    filter   drop what is not finite, not critical, or there already
    train    every activation: the learning rate tuned on the validation split, then paired seeds on the test split
    report   leaderboard.json and best.py in the run folder

A network's accuracy is that after the last epoch (the learning rate has fallen to zero); one that diverged counts with
what it classifies then, usually nothing. Intervals are 95 % t-intervals over the seeds, differences paired by seed.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actsmith.errors import ActsmithError
from actsmith.experiments.folder import RunFolder, next_folder, write_atomically
from actsmith.experiments.statistics import interval, paired_difference
from actsmith.experiments.tasks import Task, load_task
from actsmith.experiments.training import Net, Outcome, train
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula
from actsmith.search.candidates import Candidate, Dropped, derive, filter_candidates, laws_to_try, same_function
from actsmith.search.export import to_torch_source
from actsmith.search.trained_shape import train_shape, trained_candidates
from actsmith.surgery.probe import probe
from actsmith.theory.criticality import criticality
from actsmith.theory.entropy import entropy
from actsmith.theory.fit import fit_mixture
from actsmith.theory.laws import Empirical

__all__ = ["BASELINES", "LEARNING_RATES", "SearchResult", "search"]

BASELINES = ("relu", "leaky_relu", "prelu", "elu", "celu", "gelu", "silu", "mish", "crrelu", "mrepu")
LEARNING_RATES = (1e-3, 3e-3, 1e-2, 3e-2)
TUNING_SEEDS = (1000, 1001, 1002, 1003)
"""Other seeds than the scored ones, 0, 1, ...: what tunes does not judge."""
CANDIDATES = 8
"""Derived corrections that are trained, beside the shape from training; the others stay in candidates.json."""
PROBED = 200_000
"""Training inputs that the probe reads at most."""
FORMAT = 2

Progress = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        folder: the run folder.
        task, start: names.
        rows: the leaderboard, best first, as in leaderboard.json.
        best: the formula of the first row.
        dropped: candidates that were not trained, with the reason.
        skipped: names of activations that the budget left out; resume trains them.
    """

    folder: Path
    task: str
    start: str
    rows: tuple[dict[str, Any], ...]
    best: Formula
    dropped: tuple[Dropped, ...]
    skipped: tuple[str, ...]

    def table(self) -> str:
        """The leaderboard as text."""
        lines = [f"{'activation':32}  accuracy  95 % interval     minus {self.start} (paired)     rate"]
        for r in self.rows:
            difference = f"{r['difference']:+.4f} [{r['difference_low']:+.4f}, {r['difference_high']:+.4f}]"
            lines.append(
                f"{r['name']:32}  {r['accuracy']:.4f}    [{r['low']:.4f}, {r['high']:.4f}]  {difference}  "
                f"{r['learning_rate']:g}"
            )
        return "\n".join(lines)


def search(
    task: str | Task = "digits",
    start: FormulaLike = "relu",
    *,
    baselines: Sequence[FormulaLike] = BASELINES,
    seeds: int = 10,
    learning_rates: Sequence[float] = LEARNING_RATES,
    budget: float | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    candidates: int = CANDIDATES,
) -> SearchResult:
    """Look for an activation better than `start` on a task; everything is kept in the run folder.

    Args:
        task: a task's name, `module:object`, or a Task.
        start: the activation to improve; also the reference of every difference.
        baselines: known activations, trained under the same rules.
        seeds: paired seeds for the scored runs, 2 or more.
        learning_rates: the grid, tuned for every activation.
        budget: seconds after which no further activation is begun; the start activation always is.
        data: the folder of the task's files.
        out: the run folder; runs/<task>-<start>-<number> by default.
        resume: go on with the run in `out`.
        progress: called with (stage, done, total, message).
        candidates: derived corrections to train at most; with 0, no shape is learned either.

    Raises:
        ActsmithError: a request that cannot be met; says what, got, expected.
    """
    began = time.monotonic()
    loaded = load_task(task, data)
    first, known, same = _activations(start, baselines)
    rates = _checked(seeds, learning_rates, budget, candidates)
    if out is None and resume:
        raise ActsmithError("search: resume needs out (--out), the folder of the run to go on with")
    slug = "".join(c if c.isalnum() or c in "-_" else "-" for c in f"{loaded.name}-{first.formula.name}")[:60]
    path = Path(out).expanduser() if out is not None else next_folder(Path("runs"), slug)
    config = {
        "format": FORMAT,
        "task": loaded.name,
        "data": loaded.fingerprint,
        "start": first.formula.to_dict(),
        "baselines": [c.formula.to_dict() for c in known],
        "seeds": seeds,
        "learning_rates": list(rates),
        "tuning_seeds": list(TUNING_SEEDS),
        "candidates": candidates,
        "shape": {name: getattr(loaded, name) for name in ("width", "depth", "epochs", "batch")},
    }
    folder = RunFolder(path, config, resume=resume)
    with folder.locked():
        deadline = math.inf if budget is None else began + budget
        run = _Run(
            task=loaded, folder=folder, seeds=seeds, rates=rates, deadline=deadline,
            progress=progress or (lambda *_: None), same=same,
        )  # fmt: skip
        return run.all(first, known, candidates)


def _activations(
    start: FormulaLike, baselines: Sequence[FormulaLike]
) -> tuple[Candidate, list[Candidate], dict[str, list[Formula]]]:
    """The start, then it and the baselines, each function once, and name -> the same function under other names."""
    if isinstance(baselines, str):
        raise ActsmithError(
            f"search: baselines: got {baselines!r}; expected a list of formulas, as in ['gelu', 'silu']"
        )
    first = Candidate(resolve(start), "baseline", "the start")
    known = [first]
    same: dict[str, list[Formula]] = {}
    for baseline in baselines:
        formula = resolve(baseline)
        twin = next((c.formula.name for c in known if same_function(formula, c.formula)), None)
        if twin is not None:
            if formula.name != twin:
                same.setdefault(twin, []).append(formula)
            continue
        if any(formula.name == c.formula.name for c in known):
            raise ActsmithError(f"search: baselines: two different formulas are named {formula.name!r}; rename one")
        known.append(Candidate(formula, "baseline", "known"))
    return first, known, same


def _checked(seeds: int, rates: Sequence[float], budget: float | None, candidates: int) -> tuple[float, ...]:
    if seeds < 2:
        raise ActsmithError(f"search: seeds: got {seeds}; expected 2 or more, without which there is no interval")
    if not rates or not all(math.isfinite(rate) and rate > 0 for rate in rates):
        raise ActsmithError(f"search: learning_rates: got {list(rates)}; expected positive numbers")
    if budget is not None and not budget > 0:
        raise ActsmithError(f"search: budget: got {budget}; expected a positive number of seconds")
    if candidates < 0:
        raise ActsmithError(f"search: candidates: got {candidates}; expected 0 or more")
    return tuple(sorted({float(rate) for rate in rates}))


class _Run:
    """One search as it goes: what is trained is read from the folder where it is there."""

    def __init__(
        self,
        *,
        task: Task,
        folder: RunFolder,
        seeds: int,
        rates: tuple[float, ...],
        deadline: float,
        progress: Progress,
        same: dict[str, list[Formula]],
    ) -> None:
        self.task = task
        self.same = same
        self.folder = folder
        self.seeds = seeds
        self.rates = rates
        self.deadline = deadline
        self.progress = progress

    def all(self, first: Candidate, known: list[Candidate], most: int) -> SearchResult:
        laws = self._laws(first)
        self.progress("derive", 0, 1, f"corrections of {first.formula.name}")
        kept, dropped = self._candidates(first, known, laws, most)
        self.progress("derive", 1, 1, f"{len(kept)} candidates, {len(dropped)} dropped")
        everything, skipped = [*known, *kept], []
        trained: list[tuple[Candidate, dict[str, Any], dict[str, Any]]] = []
        for i, candidate in enumerate(everything):
            name = candidate.formula.name
            if i and time.monotonic() > self.deadline and not self._is_trained(candidate):
                skipped.append(name)
                continue
            self.progress("train", i, len(everything), f"{name}: learning rate")
            tuning = self._tune(candidate)
            self.progress("train", i, len(everything), f"{name}: {self.seeds} seeds")
            trained.append((candidate, tuning, self._score(candidate, self._best_rate(tuning))))
        self.progress("train", len(everything), len(everything), "done")
        rows = self._rows(trained, first)
        best = next(c for c, _, _ in trained if c.formula.name == rows[0]["name"])
        self.folder.write("leaderboard.json", {"task": self.task.name, "start": first.formula.name, "rows": rows})
        self._export(best, rows[0], first)
        return SearchResult(
            folder=self.folder.path,
            task=self.task.name,
            start=first.formula.name,
            rows=tuple(rows),
            best=best.formula,
            dropped=tuple(dropped),
            skipped=tuple(skipped),
        )

    # ------------------------------------------------------------------------------------------------ the laws

    def _laws(self, first: Candidate) -> dict[str, Empirical]:
        """Path -> law of every layer of the start's network, measured once."""
        saved = self.folder.read("probe.json")
        if saved is not None:
            return {path: Empirical.from_dict(entry["law"]) for path, entry in saved["layers"].items()}
        self.progress("probe", 0, 2, f"training with {first.formula.name}")
        tuning, outcome = self._tuned(first)
        rate = self._best_rate(tuning)
        chosen = next(i for i, net in enumerate(self._tuning_nets()) if net.learning_rate == rate)
        self.progress("probe", 1, 2, "measuring the pre-activations")
        x = torch.from_numpy(self.task.train.x[:PROBED])
        laws: dict[str, Empirical] = {}
        reason = None
        try:
            laws = dict(probe(outcome.network.module(chosen), torch.split(x, 1024)))
        except ActsmithError as error:  # diverged or dead: the standard normal law remains
            reason = str(error)
        self.folder.write(
            "probe.json",
            {
                "activation": first.formula.name,
                "learning_rate": rate,
                "seed": TUNING_SEEDS[0],
                "split": "train",
                "reason": reason,
                "layers": {path: {"law": law.to_dict(), "fit": _fit_dict(law)} for path, law in laws.items()},
            },
        )
        self.progress("probe", 2, 2, f"{len(laws)} layers")
        return laws

    def _candidates(
        self, first: Candidate, known: list[Candidate], measured: dict[str, Empirical], most: int
    ) -> tuple[list[Candidate], list[Dropped]]:
        laws = laws_to_try(measured)
        derived, notes = derive(first.formula, laws)
        kept, dropped = filter_candidates(derived, known, most)
        shaped, refused = self._trained_shape(first, [*known, *kept], notes) if most else ([], [])
        kept, dropped = kept + shaped, dropped + refused
        self.folder.write(
            "candidates.json",
            {
                "laws": {label: law.to_dict() for label, law in laws.items()},
                "kept": [{**c.formula.to_dict(), "origin": c.origin} for c in kept],
                "dropped": [
                    {**d.candidate.formula.to_dict(), "origin": d.candidate.origin, "reason": d.reason} for d in dropped
                ],
                "notes": notes,
            },
        )
        return kept, dropped

    def _trained_shape(
        self, first: Candidate, known: list[Candidate], notes: list[str]
    ) -> tuple[list[Candidate], list[Dropped]]:
        """What training makes of the start activation, read back; trained once, at the start's own rate."""
        saved = self.folder.read("shape.json")
        if saved is None:
            self.progress("derive", 0, 1, f"the shape that training gives {first.formula.name}")
            try:
                shape = train_shape(self.task, first.formula, TUNING_SEEDS, self._best_rate(self._tune(first)))
                saved = {"formula": shape.to_dict(), "reason": None}
            except ActsmithError as error:  # diverged, or a base that has no such family
                saved = {"formula": None, "reason": str(error)}
            self.folder.write("shape.json", saved)
        if saved["formula"] is None:
            notes.append(f"trained shape: {saved['reason']}")
            return [], []
        shape = Formula.from_dict(saved["formula"])
        return filter_candidates(trained_candidates(first.formula, shape), known)

    # ------------------------------------------------------------------------------------------------ training

    def _tuning_nets(self) -> list[Net]:
        return [Net(seed, rate) for rate in self.rates for seed in TUNING_SEEDS]

    def _scoring_nets(self, rate: float) -> list[Net]:
        return [Net(seed, rate) for seed in range(self.seeds)]

    def _is_trained(self, candidate: Candidate) -> bool:
        tuning = self.folder.results.get(_key("tune", candidate.formula, self._tuning_nets()))
        if tuning is None:
            return False
        return _key("score", candidate.formula, self._scoring_nets(self._best_rate(tuning))) in self.folder.results

    def _tune(self, candidate: Candidate) -> dict[str, Any]:
        key = _key("tune", candidate.formula, self._tuning_nets())
        return self.folder.results[key] if key in self.folder.results else self._tuned(candidate)[0]

    def _tuned(self, candidate: Candidate) -> tuple[dict[str, Any], Outcome]:
        """Train every learning rate with every tuning seed, without a look at the test split."""
        nets = self._tuning_nets()
        outcome = train(self.task, candidate.formula, nets)
        return self._keep("tune", candidate, nets, outcome), outcome

    def _score(self, candidate: Candidate, rate: float) -> dict[str, Any]:
        """Train the paired seeds at the tuned rate and score them on the test split."""
        nets = self._scoring_nets(rate)
        key = _key("score", candidate.formula, nets)
        if key in self.folder.results:
            return self.folder.results[key]
        return self._keep("score", candidate, nets, train(self.task, candidate.formula, nets, look_at_test=True))

    def _keep(self, stage: str, candidate: Candidate, nets: Sequence[Net], outcome: Outcome) -> dict[str, Any]:
        key = _key(stage, candidate.formula, nets)
        if key not in self.folder.results:
            record = {
                "stage": stage,
                **candidate.formula.to_dict(),
                "initialisation": vars(outcome.start),
                "step_seconds": outcome.step_seconds,
                "nets": [net.to_dict() for net in outcome.nets],
            }
            self.folder.append(key, record)
        return self.folder.results[key]

    def _best_rate(self, tuning: dict[str, Any]) -> float:
        """The highest mean validation accuracy; of equal ones the lower validation loss, then the lower rate."""

        def merit(rate: float) -> tuple[float, float, float]:
            nets = [net for net in tuning["nets"] if net["learning_rate"] == rate]
            accuracy = float(np.mean([net["validation"][-1] for net in nets]))
            losses = [net["validation_loss"] for net in nets]
            loss = math.inf if None in losses else float(np.mean(losses))
            return (accuracy, -loss, -rate)

        return max(self.rates, key=merit)

    # ------------------------------------------------------------------------------------------------ the table

    def _rows(
        self, trained: Sequence[tuple[Candidate, dict[str, Any], dict[str, Any]]], first: Candidate
    ) -> list[dict[str, Any]]:
        reference = next(score for c, _, score in trained if c.formula.name == first.formula.name)
        rows = []
        for candidate, _, score in trained:
            row = self._row(candidate, score, reference)
            name = candidate.formula.name
            rows.append(row)
            for twin in self.same.get(name, []):  # trained once, listed under every name
                own = {"name": twin.name, "formula": twin.text, "parameters": twin.to_dict()["params"]}
                rows.append(row | own | {"kind": "baseline", "origin": "known", "same_as": [name]})
        return sorted(rows, key=lambda r: (-r["accuracy"], r["name"]))

    def _row(self, candidate: Candidate, score: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
        accuracies, others = ([net["test_last"] for net in record["nets"]] for record in (score, reference))
        accuracy, difference = interval(accuracies), paired_difference(accuracies, others)
        rate = score["nets"][0]["learning_rate"]
        return {
            "name": candidate.formula.name,
            "formula": candidate.formula.text,
            "kind": candidate.kind,
            "accuracy": accuracy.mean,
            "low": accuracy.low,
            "high": accuracy.high,
            "difference": difference.mean,
            "difference_low": difference.low,
            "difference_high": difference.high,
            "seeds": self.seeds,
            "learning_rate": rate,
            "step_seconds": score["step_seconds"],
            "entropy": _smoothed_entropy(candidate.formula),
            "universality": str(criticality(candidate.formula).universality),
            "origin": candidate.origin,
            "parameters": candidate.formula.to_dict()["params"],
            "same_as": [],
            "learned": _mean_parameters(score),
            "diverged": sum(net["diverged"] for net in score["nets"]),
            "learning_rate_at_edge": len(self.rates) > 1 and rate in (self.rates[0], self.rates[-1]),
        }

    def _export(self, best: Candidate, row: dict[str, Any], first: Candidate) -> None:
        comments = [
            f"Origin: {best.origin}.",
            f"Task {self.task.name}: test accuracy {row['accuracy']:.4f}, 95 % interval {row['low']:.4f} to "
            f"{row['high']:.4f}, {self.seeds} seeds.",
            f"Minus {first.formula.name}, paired: {row['difference']:+.4f}, 95 % interval "
            f"{row['difference_low']:+.4f} to {row['difference_high']:+.4f}.",
        ]
        source = to_torch_source(best.formula, "BestActivation", comments)
        write_atomically(self.folder.path / "best.py", source)


def _key(stage: str, formula: Formula, nets: Sequence[Net]) -> str:
    content = json.dumps([formula.to_dict(), [[net.seed, net.learning_rate] for net in nets]], sort_keys=True)
    return f"{stage}:{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _fit_dict(law: Empirical) -> dict[str, Any]:
    fit = fit_mixture(law)
    return {"law": fit.law.to_dict(), "distance": fit.distance}


def _smoothed_entropy(formula: Formula) -> float | None:
    """J_0.1 under N(0, 1); None where it has none."""
    try:
        value = entropy(formula).smoothed
    except ActsmithError:
        return None
    return None if value is None or not math.isfinite(value) else float(value)


def _mean_parameters(score: dict[str, Any]) -> dict[str, float]:
    """The learned values after training, the mean over seeds and layers."""
    names = score["nets"][0]["parameters"]
    means = {}
    for name in names:
        values = [v for net in score["nets"] for v in net["parameters"][name] if v is not None]
        if values:
            means[name] = float(np.mean(values))
    return means
