"""The stages of a search, one after another; what was done is read from the folder where it is there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from actsmith.errors import ActsmithError, JobError
from actsmith.files import write_atomically
from actsmith.formula.formula import Formula
from actsmith.search.candidates import Candidate, Dropped, derive, filter_candidates, laws_to_try
from actsmith.search.conclude import Conclusion, Confirmed, conclude, confirmed, front, rows
from actsmith.search.export import to_torch_source
from actsmith.search.plan import CONFIRMING, FEWEST, Plan, more_seeds, planned
from actsmith.search.result import SearchResult
from actsmith.search.trained_shape import shape_formula, shapes_of
from actsmith.theory.fit import fit_mixture
from actsmith.theory.laws import Empirical
from actsmith.trials.policy import TuneThenScore
from actsmith.trials.runner import Cost
from actsmith.trials.session import Session
from actsmith.trials.trial import Outcome, Trial

__all__ = ["REQUEST", "Stages"]

SLACK = 1.5
"""How much longer than measured the trainings of the confirmation may take."""
SHORT = 0.05
"""Of a budget: where a first training takes less than this share, a second one says what a training costs."""
REQUEST = "request.json"
"""In the run folder: what was asked for, where that can be said in plain values."""


class Stages:
    """One search as it goes.

    Args:
        session: what it works with.
        first: the start.
        arms: known functions and the user's own, each function once.
        same: name -> the same function under other names.
        rates: the grid.
        seeds: of the confirmation, as asked for.
        budget: seconds, None for as long as it takes.
        workers: trainings at the same time.
        resumed: whether a run goes on: one that did not decide gets more seeds then, as far as its budget goes.
    """

    def __init__(
        self,
        session: Session,
        *,
        first: Candidate,
        arms: Sequence[Candidate],
        same: dict[str, list[Formula]],
        rates: tuple[float, ...],
        seeds: int,
        budget: float | None,
        workers: int,
        resumed: bool = False,
    ) -> None:
        self.session, self.runner, self.folder, self.place = session, session.runner, session.folder, session.place
        self.first, self.arms, self.same = first, list(arms), same
        self.rates, self.budget, self.workers, self.resumed = rates, budget, workers, resumed
        self.seeds = self.folder.once("seeds", lambda: seeds)
        self.spent, self.trained = 0.0, 0  # seconds and trainings of this process

    def all(self, most: int) -> SearchResult:
        self.plan = self._planned()
        if not self.plan.rates:
            self.rates = (1.0,)
        start = self.first.formula
        self._train([self.policy.tuning(start)], "look", f"{start.name}: rates")
        self._require_a_training()
        arms, dropped = self._candidates(most)
        skipped = self._explore(arms)
        finalists, best_known = self._finalists([a for a in arms if a.formula.name not in skipped])
        if finalists:
            self._confirm([start, *finalists])
            if self._more([start, *finalists]):
                self._confirm([start, *finalists])
        return self._concluded(arms, dropped, skipped, finalists, best_known)

    @property
    def going_on(self) -> tuple[str, str]:
        """What to call to go on with this run, and how to say a budget there."""
        path = self.folder.path
        if self.folder.read(REQUEST) is None:
            return f"the same call with out={str(path)!r}, resume=True", " and a budget"
        return f"actsmith search --resume {path}", " --budget TIME"

    @property
    def policy(self) -> TuneThenScore:
        """The rules that every activation is tried by."""
        return TuneThenScore(
            self.runner.name, self.runner.context, self.runner.metric, self.rates, tuple(range(self.seeds)),
            self.plan.tuning_seeds, examples=self.plan.examples, look=self.first.formula.name, ranked=True,
            judge=self.runner.judge,
        )  # fmt: skip

    # --------------------------------------------------------------------------------------------------------- plan

    def _planned(self) -> Plan:
        """Decided once: of a task from a few measured steps, of a user's own loop from its first training."""

        def decide() -> Any:
            if self.budget is None:
                return planned(None, None, len(self.rates), self.seeds).to_dict()
            self.session.progress("look", 0, 1, "measuring what a training costs")
            cost, asked = self.runner.cost(), ["rate", "share"]
            if cost is None:
                cost, asked = self._first_trainings()
            rates = len(self.rates) if "rate" in asked else 1
            return replace(planned(self.budget, cost, rates, self.seeds, self.workers), rates="rate" in asked).to_dict()

        return Plan.from_dict(self.folder.once("plan", decide))

    def _first_trainings(self) -> tuple[Cost, list[str]]:
        """What the start's first training cost, at its own rate, or the second where they are short, since the first
        one warms up; and what the script asked of its trial."""
        self.plan = planned(None, None, len(self.rates), self.seeds)
        rate = min(self.rates, key=lambda r: abs(r - 1.0))
        trials = [t for t in self.policy.tuning(self.first.formula) if t.rate == rate]
        took: list[float] = []
        for trial in trials[:2]:
            self._train([(trial,)], "look", f"{trial.formula.name}: first training")
            outcome = self.session.history.get(trial.key)
            if outcome is None and not took:
                raise ActsmithError(
                    "search: the budget ended before the first training did; give more, or a shorter one"
                )
            if outcome is None:
                break
            self._require_a_training()
            asked = list(outcome.details.get("asked", []))
            took.append(outcome.step_seconds or outcome.seconds)
            if took[0] > SHORT * (self.budget or 0.0):
                break
        # A script that does not ask for its share trains on all examples, whatever it is offered.
        return (Cost(min(took), 0.0) if "share" in asked else Cost(0.0, min(took))), asked

    def _require_a_training(self) -> None:
        """
        Raises:
            JobError: every training of the start so far failed: so would all the others.
        """
        outcomes = self.session.history.of(stage="look")
        if not outcomes or any(o.reason is None for o in outcomes):
            return
        one = outcomes[0]
        kept = self.folder.path / str(one.details.get("traceback", ""))
        seen = f"; its traceback is in {kept}" if kept.is_file() else ""
        raise JobError(f"search: no training with {one.name} succeeded: {one.reason}{seen}")

    # ----------------------------------------------------------------------------------------------------- trainings

    def _train(
        self, rounds: Sequence[Sequence[Trial]], stage: str, message: str, deadline: float | None = None
    ) -> None:
        began, before = time.time(), len(self.session.history)
        self.session.train(rounds, stage, message, self._leader, deadline)
        if stage in ("explore", "confirm"):  # before that, workers start and whatever is first warms up
            self.spent += time.time() - began
            self.trained += len(self.session.history) - before

    def _late(self) -> bool:
        """Whether what is left is for the confirmation."""
        until = self._exploring_until()
        return until is not None and time.time() >= until

    def _seconds(self) -> float:
        """Of a training, as it turned out so far, what comes between two of them included."""
        spent = [o.seconds for o in self.session.history.values() if o.reason is None]
        own = median(spent) if spent else self.plan.cost or 0.0
        return max(own, self.spent * self.workers / self.trained) if self.trained else own

    def _exploring_until(self, seeds: int | None = None) -> float | None:
        """What is left after this is kept for the confirmation, with so many seeds or those of the plan; None where
        there is no budget."""
        if self.place.deadline is None or self.budget is None:
            return None
        wanted = SLACK * (seeds or len(self.plan.seeds)) * (self.plan.finalists + 2) * self._seconds() / self.workers
        return self.place.deadline - min(max(wanted, 0.05 * self.budget), CONFIRMING * self.budget)

    def _leader(self) -> str:
        """Who leads so far, by validation (of finalists by the seeds that all of them have), and the time left."""
        history, metric = self.session.history, self.policy.metric
        seen = {o.name: o.trial.formula for o in history.values() if o.trial.stage in ("look", "tune")}
        merits = {name: merit for name, f in seen.items() if (merit := self._merit(f)) is not None}
        scored: dict[str, dict[int, Outcome]] = {}
        for outcome in history.of(stage="score"):
            scored.setdefault(outcome.name, {})[outcome.trial.seed] = outcome
        common = set.intersection(*map(set, scored.values())) if len(scored) > 1 else set()
        if common:
            merits = {name: metric.merit([own[s].score(metric) for s in common]) for name, own in scored.items()}
        name = max(merits, key=lambda n: merits[n]) if merits else ""
        leads = f"; {name} leads" if name and merits[name] > -float("inf") else ""
        if self.place.deadline is None:
            return leads
        return f"{leads}; {max(self.place.deadline - time.time(), 0.0):.0f} s left"

    def _merit(self, formula: Formula) -> float | None:
        """Merit on the validation split at the tuned rate; None before that is known."""
        policy, history = self.policy, self.session.history
        rate = policy.rate(formula, history)
        if rate is None:
            return None
        own = [history[t.key] for t in policy.tuning(formula) if t.rate == rate]
        return policy.metric.merit([o.score(policy.metric) for o in own])

    # ---------------------------------------------------------------------------------------------------- candidates

    def _laws(self) -> dict[str, Empirical]:
        """Path -> law of the pre-activations in the start's network, at its best rate."""
        saved = self.folder.read("probe.json")
        if saved is None:
            policy, history = self.policy, self.session.history
            rate = policy.rate(self.first.formula, history)
            looks = [history[t.key] for t in policy.tuning(self.first.formula) if t.key in history and t.rate == rate]
            found = looks[0].details.get("laws", {}) if looks else {}
            laws = {path: Empirical.from_dict(law) for path, law in found.items()}
            layers = {path: {"law": law.to_dict(), "fit": _fit_dict(law)} for path, law in laws.items()}
            reason = None if laws else "no law could be measured: the network diverged, is dead, or was not reached"
            saved = {"activation": self.first.formula.name, "rate": rate, "reason": reason, "layers": layers}
            self.folder.write("probe.json", saved)
        return {path: Empirical.from_dict(entry["law"]) for path, entry in saved["layers"].items()}

    def _candidates(self, most: int) -> tuple[list[Candidate], list[Dropped]]:
        """All activations beside the start in the order in which they are tried, and what was left out."""
        saved = self.folder.read("candidates.json")
        if saved is None and self._late():
            return self.arms, []
        if saved is None:
            saved = self._derived(most)
            if not self._late():
                self.folder.write("candidates.json", saved)
        kept = [Candidate(Formula.from_dict(c), "candidate", c["origin"]) for c in saved["kept"]]
        left_out = [(Candidate(Formula.from_dict(c), "candidate", c["origin"]), c["reason"]) for c in saved["dropped"]]
        dropped = [Dropped(candidate, reason) for candidate, reason in left_out]
        return _in_turn(self.arms, kept), dropped

    def _derived(self, most: int) -> dict[str, Any]:
        start, known = self.first, [self.first, *self.arms]
        self.session.progress("derive", 0, 1, f"corrections of {start.formula.name}")
        laws = laws_to_try(self._laws()) if most else {}
        derived, notes = derive(start.formula, laws)
        kept, dropped = filter_candidates(derived, known, most)
        if most:
            shaped, notes_of_shape = self._shaped()
            more, refused = filter_candidates(shaped, [*known, *kept])
            kept, dropped, notes = kept + more, dropped + refused, notes + notes_of_shape
        carried = []
        for candidate in kept:
            reason = None if self._late() else self.runner.silent(candidate.formula)
            (carried.append(candidate) if reason is None else dropped.append(Dropped(candidate, reason)))
        self.session.progress("derive", 1, 1, f"{len(carried)} candidates, {len(dropped)} left out")
        return {
            "laws": {label: law.to_dict() for label, law in laws.items()},
            "kept": [{**c.formula.to_dict(), "origin": c.origin} for c in carried],
            "dropped": [
                {**d.candidate.formula.to_dict(), "origin": d.candidate.origin, "reason": d.reason} for d in dropped
            ],
            "notes": notes,
        }

    def _shaped(self) -> tuple[list[Candidate], list[str]]:
        """What training makes of the start activation, read back; trained once, at the start's own rate."""
        policy, start, history = self.policy, self.first.formula, self.session.history
        rate = policy.rate(start, history)
        scant = len(policy.tuning_seeds) < 2
        if rate is None or scant or not self.runner.descends:
            return [], ["trained shape: too dear for this budget"] * scant
        try:
            shape = shape_formula(start)
        except ActsmithError as error:  # it has parameters of the family's names
            return [], [f"trained shape: {error}"]
        trials = [
            Trial(policy.task, shape, "shape", rate, seed, 1.0, self.plan.examples, context=policy.context)
            for seed in policy.tuning_seeds
        ]
        message = f"the shape that training gives {start.name}"
        self._train([trials], "derive", message, self._exploring_until())
        trained = [history[t.key] for t in trials if t.key in self.session.history]
        return shapes_of(start, shape, trained)

    # ---------------------------------------------------------------------------------------- explore and confirm

    def _explore(self, arms: Sequence[Candidate]) -> set[str]:
        """Tune the activations in turn, while there is budget; names of those that are not tuned. The others than those
        of the plan while time remains for all the seeds; the first one in any case, for without one there is nothing to
        confirm."""
        policy, history = self.policy, self.session.history
        rounds = [policy.tuning(a.formula) for a in arms]
        chosen, message = self.plan.activations or len(arms), "known functions and candidates"
        self._train(rounds[:chosen], "explore", message, self._exploring_until())
        self._train(rounds, "explore", message, self._exploring_until(self.seeds))
        if all(policy.rate(a.formula, history) is None for a in arms):
            self._train(rounds[:1], "explore", message)
        return {a.formula.name for a in arms if policy.rate(a.formula, history) is None}

    def _finalists(self, arms: Sequence[Candidate]) -> tuple[list[Formula], str | None]:
        """The best by validation, and the best known function, which is among them; not the start."""
        merits = [(self._merit(a.formula), a) for a in arms]
        usable = [(merit, a) for merit, a in merits if merit is not None and merit > -float("inf")]
        ranked = [a for _, a in sorted(usable, key=lambda pair: (-pair[0], pair[1].formula.name))]
        best_known = next((a for a in ranked if a.kind == "known"), None)
        chosen = ranked[: self.plan.finalists]
        if best_known is not None and best_known not in chosen:
            chosen.append(best_known)
        return [a.formula for a in chosen], None if best_known is None else best_known.formula.name

    def _confirm(self, formulas: Sequence[Formula]) -> None:
        """Fresh seeds for all of them, a few seeds of each in turn, so that a stop leaves whole pairs."""
        rounds = [list(self.policy.scoring(f, self.session.history)) for f in formulas]
        one = all(len(group) == 1 for round_ in rounds for group in self.runner.groups(round_))
        size = 1 if one else FEWEST if self.budget is not None else self.seeds
        starts = range(0, self.seeds, size)
        rounds = [own[i : i + size] for i in starts for own in rounds]
        self._train(rounds, "confirm", f"{len(formulas)} activations, {self.seeds} seeds")

    def _more(self, formulas: Sequence[Formula]) -> bool:
        """Give a run that goes on since it was not decided more seeds, where there is time."""
        if not self.resumed or self.place.deadline is None:
            return False
        board, history = self.folder.read("leaderboard.json"), self.session.history
        done = all(t.key in history for f in formulas for t in self.policy.scoring(f, history))
        if board is None or board["kind"] != "not decided" or not done:
            return False
        left = self.place.deadline - time.time()
        more = more_seeds(left, self._seconds(), len(formulas), self.seeds, self.workers)
        if more < 1:
            return False
        self.seeds += more
        self.folder.note("seeds", self.seeds)
        return True

    # --------------------------------------------------------------------------------------------------------- end

    def _concluded(
        self,
        arms: Sequence[Candidate],
        dropped: Sequence[Dropped],
        skipped: set[str],
        finalists: Sequence[Formula],
        best_known: str | None,
    ) -> SearchResult:
        history, policy = self.session.history, self.policy
        start = self.first.formula
        found = confirmed(history, policy, start, finalists) if finalists else []
        looks = list((self.folder.read("leaderboard.json") or {}).get("looks", []))
        if found and len(found[0].seeds) not in looks:
            looks.append(len(found[0].seeds))
        if len(looks) > 1:
            found = confirmed(history, policy, start, finalists, len(looks)) if finalists else []
        command, more = self.going_on
        table = rows(history, policy, [self.first, *arms], found, self.same)
        conclusion = conclude(
            found, start.name, policy, len(history), go_on=f"`{command}{more}`", known=best_known, tried=len(table) > 1,
            lost=bool(table) and all(row["validation"] is None for row in table), skipped=len(skipped),
        )  # fmt: skip
        best = next(a.formula for a in (self.first, *arms) if a.formula.name == conclusion.recommended)
        metric = self.runner.metric
        quick = front(table, metric)
        board = {
            "task": self.runner.name, "start": start.name, "metric": metric.name, "better": metric.better,
            "log": metric.log, "judge": policy.judge, "rows": table, "conclusion": conclusion.sentence,
            "kind": conclusion.kind, "recommended": conclusion.recommended, "front": quick, "trainings": len(history),
            "plan": self.plan.to_dict(), "looks": looks, "skipped": sorted(skipped), "command": command,
        }  # fmt: skip
        self.folder.write("leaderboard.json", board)
        self._export(best, conclusion, next((c for c in found if c.name == best.name), None))
        return SearchResult(
            self.folder.path, self.runner.name, start.name, tuple(table), conclusion.sentence, best, tuple(quick),
            tuple(dropped), tuple(sorted(skipped)), policy.judge,
        )  # fmt: skip

    def _export(self, best: Formula, conclusion: Conclusion, one: Confirmed | None) -> None:
        metric = self.runner.metric
        comments = [conclusion.sentence]
        if one is not None and one.score is not None:
            comments.append(
                f"Task {self.runner.name}: {self.runner.judge} {metric.name} {one.score.mean:.4g}, 95 % interval "
                f"{one.score.low:.4g} to {one.score.high:.4g}, {one.score.count} seeds."
            )
        source = to_torch_source(best, "BestActivation", comments, start=self.runner.start(best))
        write_atomically(self.folder.path / "best.py", source)


def _in_turn(known: Sequence[Candidate], candidates: Sequence[Candidate]) -> list[Candidate]:
    """One of each in turn, so that a short budget has seen both."""
    found: list[Candidate] = []
    for i in range(max(len(known), len(candidates))):
        found += [*known[i : i + 1], *candidates[i : i + 1]]
    return found


def _fit_dict(law: Empirical) -> dict[str, Any]:
    fit = fit_mixture(law)
    return {"law": fit.law.to_dict(), "distance": fit.distance}
