"""The stages of a search, one after another; what was done is read from the folder where it is there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from actsmith.errors import ActsmithError, JobError
from actsmith.files import write_atomically
from actsmith.formula.formula import Formula
from actsmith.search.candidates import Candidate, laws_to_try
from actsmith.search.conclude import Conclusion, Confirmed, conclude, confirmed, front, rows
from actsmith.search.elsewhere import Elsewhere, confirm_elsewhere
from actsmith.search.explore import ROUND, Exploration, Explorer
from actsmith.search.export import to_torch_source
from actsmith.search.plan import (
    CONFIRMING,
    ELSEWHERE,
    FEWEST,
    KNOWN_TUNED,
    LEAST_CONFIRMING,
    TUNING,
    Plan,
    enough,
    kept_for_confirming,
    more_seeds,
    planned,
)
from actsmith.search.proposers import Proposer
from actsmith.search.race import Race
from actsmith.search.result import SearchResult
from actsmith.search.space import Constraints
from actsmith.search.trained_shape import shape_formula, shapes_of
from actsmith.theory.fit import fit_mixture
from actsmith.theory.laws import Empirical
from actsmith.trials.policy import TuneThenScore
from actsmith.trials.runner import Cost
from actsmith.trials.session import Session, climb
from actsmith.trials.trial import Trial, scaled

__all__ = ["REQUEST", "Asked", "Stages"]

SLACK = 1.5
"""How much longer than measured the trainings of the confirmation may take."""
SHORT = 0.05
"""Of a budget: where a first training takes less than this share, a second one says what a training costs."""
REQUEST = "request.json"
"""In the run folder: what was asked for, where that can be said in plain values."""
HURRIED = 0.3
"""Of a budget: where known functions took more than this, trainings are slower than planned; proposals come next."""
FITTED = 0.2
"""Of a budget: after this share of it no more mixtures are fitted to layers' laws, which are for a reader alone."""
FIRST_KNOWN = 3
"""Known functions that a scant budget tries before its first proposals."""
EXPLORED = 64
"""Proposals of a search without a budget, unless another number is asked for."""


@dataclass(frozen=True)
class Asked:
    """What a search is asked for.

    Attributes:
        first: the start.
        arms: known functions and the user's own, each function once.
        same: name -> the same function under other names.
        rates: the grid.
        seeds: of the confirmation.
        proposers: where candidates come from; none: known functions and the user's own alone.
        constraints: on what may be tried.
        trials: proposals to try; None for as many as the budget has time for, or `EXPLORED` without one.
        budget: seconds, None for as long as it takes.
        workers: trainings at the same time.
        confirm_on: further tasks for the finalists.
        resumed: whether a run goes on: one that did not decide gets more seeds then, as far as its budget goes.
    """

    first: Candidate
    arms: Sequence[Candidate]
    same: dict[str, list[Formula]]
    rates: tuple[float, ...]
    seeds: int
    proposers: Sequence[Proposer]
    constraints: Constraints = field(default_factory=Constraints)
    trials: int | None = None
    budget: float | None = None
    workers: int = 1
    confirm_on: Sequence[Elsewhere] = ()
    resumed: bool = False


class Stages:
    """One search as it goes."""

    def __init__(self, session: Session, asked: Asked) -> None:
        self.session, self.runner, self.folder, self.place = session, session.runner, session.folder, session.place
        self.asked, self.start, self.budget, self.workers = asked, asked.first.formula, asked.budget, asked.workers
        self.rates = asked.rates
        self.seeds: int = self.folder.once("seeds", lambda: asked.seeds)
        self.explorer: Explorer | None = None
        self.spent, self.trained = 0.0, 0  # seconds and trainings of this process
        self.before, self.looked = 0.0, 0.0  # seconds until the start was trained, and of that
        self.settled = {n: tuple(s) for n, s in (self.folder.read("finalists.json") or {}).get("settings", {}).items()}

    def all(self) -> SearchResult:
        """Every stage that is not done."""
        self.plan = self._planned()
        if not self.plan.rates:
            self.rates = (1.0,)
        began, self.before = time.time(), self._used() * (self.budget or 0.0)
        self._train([self.policy.tuning(self.start)], "look", f"{self.start.name}: rates")
        self.looked = time.time() - began
        self._require_a_training()
        explorer = self.explorer = self._explorer()
        if not self._decided():
            self._explore(explorer)
            self._choose(explorer.found)
        finalists, known = self._finalists(explorer.found)
        if finalists:
            self._confirm([self.start, *finalists])
            if self._more([self.start, *finalists]):
                self._confirm([self.start, *finalists])
        further = [
            self._elsewhere(task, i, finalists, known) for i, task in enumerate(self.asked.confirm_on) if finalists
        ]
        return self._concluded(explorer, finalists, known, further)

    @property
    def going_on(self) -> tuple[str, str]:
        """What to call to go on with this run, and how to say a budget there."""
        path = self.folder.path
        if self.folder.read(REQUEST) is None:
            return f"the same call with out={str(path)!r}, resume=True", " and a budget"
        return f"actsmith search --resume {path}", " --budget TIME"

    @property
    def policy(self) -> TuneThenScore:
        """The rules that every activation is tuned and scored by."""
        return TuneThenScore(
            self.runner.name, self.runner.context, self.runner.metric, self.rates, tuple(range(self.seeds)),
            self.plan.tuning_seeds, examples=self.plan.examples, look=self.start.name, ranked=True,
            judge=self.runner.judge, climbs=self.plan.climbs and self.plan.rates, settled=self.settled,
        )  # fmt: skip

    @property
    def _grid(self) -> TuneThenScore:
        """The same before anything was climbed: what the start is explored and probed at."""
        return replace(self.policy, climbs=False, settled={})

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
            further = len(self.asked.confirm_on)
            plan = planned(self.budget, cost, rates, self.seeds, self.workers, further=further)
            return replace(plan, rates="rate" in asked).to_dict()

        return Plan.from_dict(self.folder.once("plan", decide))

    def _first_trainings(self) -> tuple[Cost, list[str]]:
        """What the start's first training cost, at its own rate, or the second where they are short, since the first
        one warms up; and what the script asked of its trial."""
        self.plan = planned(None, None, len(self.rates), self.seeds)
        rate = min(self.rates, key=lambda r: abs(r - 1.0))
        trials = [t for t in self.policy.tuning(self.start) if t.rate == rate]
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
        if stage in ("tune", "confirm"):  # before that, workers start, whatever is first warms up, and stacks are mixed
            self.spent += time.time() - began
            self.trained += len(self.session.history) - before

    def _seconds(self) -> float:
        """Of a training, as it turned out so far, what comes between two of them included."""
        whole = [o for o in self.session.history.values() if o.trial.stage != "explore" and o.reason is None]
        own = median(o.seconds for o in whole) if whole else self.plan.cost or 0.0
        return max(own, self.spent * self.workers / self.trained) if self.trained else own

    def _enough(self) -> float | None:
        """Seconds of a budget with which the search would come to a conclusion, about, by what its trainings took:
        where none has ended, they take longer than the first ones were trained. None without a budget."""
        if self.budget is None:
            return None
        each = max(self._seconds(), self.plan.cost or 0.0)
        if not any(o.reason is None for o in self.session.history.values()):
            groups = self.runner.groups(self.policy.tuning(self.start))[: self.workers]
            each = max(each, self.looked * self.workers / max(sum(map(len, groups)), 1))
        return max(self.before + enough(each, len(self.rates), self.workers), 2 * self.budget)

    def _until(self, *, tuning: bool = True) -> float | None:
        """What is left after this is kept for the confirmation and, of exploring, for tuning before it; None where
        there is no budget."""
        if self.place.deadline is None or self.budget is None:
            return None
        each, more = SLACK * self._seconds() / self.workers, len(self.asked.confirm_on)
        kept = max(each * self.plan.confirming, LEAST_CONFIRMING * self.budget)
        kept = kept_for_confirming(kept, self.budget, more)
        if tuning:
            again = len(self.rates) * len(self.plan.tuning_seeds)  # the start's own are done
            kept += min(each * max(self.plan.tuning(len(self.rates)) - again, 0), TUNING * self.budget)
        return self.place.deadline - kept

    def _exploring_until(self) -> float | None:
        """What comes after it gets what is kept for it; while the first proposals are tried, at most what the shares of
        the budget say, however slow trainings turned out."""
        until = self._until()
        if until is None or self.place.deadline is None or self.budget is None:
            return None
        first = self.explorer is None or self.explorer.rounds < 2
        return max(until, self.place.deadline - (CONFIRMING + TUNING / 2) * self.budget) if first else until

    def _used(self) -> float:
        """Share of the budget that is over; 0 where there is none."""
        if self.place.deadline is None or self.budget is None:
            return 0.0
        return 1 - (self.place.deadline - time.time()) / self.budget

    def _late(self, ahead: float = 0.0) -> bool:
        """Whether what is left, or will be after so many seconds, is for tuning and the confirmation."""
        until = self._exploring_until()
        return until is not None and time.time() + ahead >= until

    def _leader(self) -> str:
        """Who leads so far, by validation, and the time left."""
        history = self.session.history
        tuned = {o.name: o.trial.formula for o in history.of(stage="tune")}
        merits = {name: merit for name, f in tuned.items() if (merit := self._merit(f)) is not None}
        if not merits:
            seen = {o.name: o.trial.formula for o in history.of(stage="explore")}
            ranked = self.race.ranked([f for f in seen.values() if f != self.start], history)
            merits = {ranked[0].name: 0.0} if ranked else {}
        name = max(merits, key=lambda n: merits[n]) if merits else ""
        leads = f"; {name} leads" if name and merits[name] > -float("inf") else ""
        if self.place.deadline is None:
            return leads
        return f"{leads}; {max(self.place.deadline - time.time(), 0.0):.0f} s left"

    def _merit(self, formula: Formula) -> float | None:
        """Merit on the validation split at the tuned setting; None before that is known."""
        policy, history = self.policy, self.session.history
        if policy.setting(formula, history) is None:
            return None
        return policy.metric.merit([o.score(policy.metric) for o in policy.tuned(formula, history)])

    # ------------------------------------------------------------------------------------------------------- explore

    @property
    def race(self) -> Race:
        """The rules of exploring, at the start's rate; at the lowest, where the budget ended before that was known."""
        if self.explorer is not None:
            return self.explorer.race
        rate = self._grid.rate(self.start, self.session.history) or self.rates[0]
        plan, runner = self.plan, self.runner
        seeds = (plan.exploring_seeds, plan.racing_seeds)
        return Race(runner.name, runner.context, runner.metric, self.start, rate, seeds, (plan.examples, plan.examples))

    def _explorer(self) -> Explorer:
        laws = laws_to_try(self._laws())
        return Explorer(
            self.session, self.race, arms=self.asked.arms, laws=laws, proposers=self.asked.proposers,
            constraints=self.asked.constraints, late=self._late, workers=self.workers,
            train=lambda rounds, message: self._train(rounds, "explore", message, self._exploring_until()),
        )  # fmt: skip

    def _explore(self, explorer: Explorer) -> None:
        """Known functions, then rounds of proposals while there is time, or as many as were asked for. A scant budget
        sees proposals before it has seen all known functions."""
        limit = self.asked.trials or (EXPLORED if self.budget is None else None)
        plenty = self.plan.explored is None or self.plan.explored >= 2 * len(self.asked.arms) + ROUND
        if not self.asked.proposers:
            return explorer.known()
        if plenty:
            explorer.known()
        hurried = plenty and self._used() > HURRIED
        if plenty and not hurried:
            explorer.choose_share(self.plan.explored)
        first = [] if hurried else self._shaped(explorer)
        if not plenty and not explorer.rounds:
            explorer.known(FIRST_KNOWN)
            if not self._late():
                explorer.round(first, max((self.plan.explored or 0) // 3, 2))
        explorer.known()
        while not self._late(explorer.choosing):
            left = None if limit is None else limit - (len(explorer.found.arms) - len(self.asked.arms))
            if (left is not None and left <= 0) or not explorer.round([] if explorer.rounds else first, left):
                break
        return None

    def _laws(self) -> dict[str, Empirical]:
        """Path -> law of the pre-activations in the start's network, at its best rate."""
        saved = self.folder.read("probe.json")
        if saved is None:
            policy = self._grid
            rate, looks = policy.rate(self.start, self.session.history), policy.tuned(self.start, self.session.history)
            found = looks[0].details.get("laws", {}) if looks else {}
            laws = {path: Empirical.from_dict(law) for path, law in found.items()}
            layers = {
                p: {"law": law.to_dict(), "fit": _fit_dict(law, self._used() > FITTED)} for p, law in laws.items()
            }
            reason = None if laws else "no law could be measured: the network diverged, is dead, or was not reached"
            saved = {"activation": self.start.name, "rate": rate, "reason": reason, "layers": layers}
            if rate is not None:  # else the budget ended before: a run that goes on measures them
                self.folder.write("probe.json", saved)
        return {path: Empirical.from_dict(entry["law"]) for path, entry in saved["layers"].items()}

    def _shaped(self, explorer: Explorer) -> list[Candidate]:
        """What training makes of the start activation, read back; trained once, at the start's own rate. It is a
        proposal of the first round."""
        scant = len(self.plan.tuning_seeds) < 2
        if explorer.rounds or scant or not self.runner.descends:
            return []
        try:
            shape = shape_formula(self.start)
        except ActsmithError as error:  # it has parameters of the family's names
            explorer.found.notes.append({"trained shape": str(error)})
            return []
        trials = [
            Trial(
                self.runner.name, shape, "shape", explorer.race.rate, seed, 1.0, self.plan.examples,
                context=self.runner.context,
            )
            for seed in self.plan.tuning_seeds
        ]  # fmt: skip
        self._train([trials], "explore", f"the shape that training gives {self.start.name}", self._until())
        history = self.session.history
        found, notes = shapes_of(self.start, shape, [history[t.key] for t in trials if t.key in history])
        explorer.found.notes += [{"trained shape": note} for note in notes]
        return found

    # ---------------------------------------------------------------------------------------------- tune and confirm

    def _choose(self, found: Exploration) -> None:
        """Tune the rates of the best explored and the best known, then rate and scale of those that lead, the start
        and the best known among them: all under the same rules."""
        history, until = self.session.history, self._until(tuning=False)
        ranked = self.race.ranked([arm.formula for arm in found.arms], history) or [arm.formula for arm in found.arms]
        kinds = {arm.formula.name: arm.kind for arm in found.arms}
        known = [f for f in ranked if kinds[f.name] == "known"][: KNOWN_TUNED if self.plan.climbs else 1]
        chosen = list(dict.fromkeys(f for pair in _in_turn(ranked[: self.plan.promoted], known) for f in pair))
        policy = self.policy
        self._train([policy.tuning(f) for f in chosen], "tune", "rates of those that lead", until)
        if chosen and all(policy.setting(f, history) is None for f in chosen):  # one in any case
            self._train([policy.tuning(chosen[0])], "tune", "rates of the one that leads")
        leading, _ = self._leaders(found.arms)
        message = "rate and scale of those that lead"
        climb(policy, [self.start, *leading], history, lambda rounds: self._train(rounds, "tune", message, until))
        finalists, best_known = self._leaders(found.arms)
        settings = {f.name: policy.setting(f, history) for f in (self.start, *finalists)}
        self.settled = {name: setting for name, setting in settings.items() if setting is not None} | self.settled
        if names := [f.name for f in finalists]:
            self.folder.write("finalists.json", {"names": names, "known": best_known, "settings": self.settled})

    def _leaders(self, arms: Sequence[Candidate]) -> tuple[list[Formula], str | None]:
        """The best by validation at their settings, and the best known function, which is among them; not the start."""
        merits = [(self._merit(a.formula), a) for a in arms]
        usable = [(merit, a) for merit, a in merits if merit is not None and merit > -float("inf")]
        ranked = [a for _, a in sorted(usable, key=lambda pair: (-pair[0], pair[1].formula.name))]
        best_known = next((a for a in ranked if a.kind == "known"), None)
        chosen = ranked[: self.plan.finalists]
        if best_known is not None and best_known not in chosen:
            chosen.append(best_known)
        return [a.formula for a in chosen], None if best_known is None else best_known.formula.name

    def _decided(self) -> bool:
        """Whether finalists stand: a run that was killed in its confirmation, or did not decide, goes on with them."""
        if self.folder.read("finalists.json") is None:
            return False
        board = self.folder.read("leaderboard.json")
        return board is None or not self.asked.resumed or board["kind"] == "not decided" or self.budget is None

    def _finalists(self, found: Exploration) -> tuple[list[Formula], str | None]:
        """As they were chosen."""
        saved = self.folder.read("finalists.json") or {"names": [], "known": None}
        formulas = {arm.formula.name: arm.formula for arm in found.arms}
        return [formulas[name] for name in saved["names"]], saved["known"]

    def _confirm(self, formulas: Sequence[Formula]) -> None:
        """Fresh seeds for all of them, a few seeds of each in turn, so that a stop leaves whole pairs."""
        rounds = [list(self.policy.scoring(f, self.session.history)) for f in formulas]
        one = all(len(group) == 1 for round_ in rounds for group in self.runner.groups(round_))
        size = 1 if one else FEWEST if self.budget is not None else self.seeds
        starts = range(0, self.seeds, size)
        rounds = [own[i : i + size] for i in starts for own in rounds]
        more, until = len(self.asked.confirm_on), self.place.deadline
        if more and until is not None and self.budget is not None:  # what is kept of it for further tasks
            until -= (until - time.time()) * ELSEWHERE * more / (1 + ELSEWHERE * more)
        self._train(rounds, "confirm", f"{len(formulas)} activations, {self.seeds} seeds", until)

    def _elsewhere(
        self, task: Elsewhere, number: int, finalists: Sequence[Formula], known: str | None
    ) -> dict[str, Any]:
        """On one of the further tasks, with a fair share of what time is left."""
        deadline, left = self.place.deadline, len(self.asked.confirm_on) - number
        if deadline is not None:
            deadline = time.time() + max(deadline - time.time(), 0.0) / left
        return confirm_elsewhere(
            task, self.folder.path, [self.start, *finalists], known, self.plan, seeds=self.seeds,
            workers=self.workers, deadline=deadline, progress=self.session.progress,
        )  # fmt: skip

    def _more(self, formulas: Sequence[Formula]) -> bool:
        """Give a run that goes on since it was not decided more seeds, where there is time."""
        if not self.asked.resumed or self.place.deadline is None:
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
        self, explorer: Explorer, finalists: Sequence[Formula], known: str | None, further: Sequence[dict[str, Any]]
    ) -> SearchResult:
        history, policy, start = self.session.history, self.policy, self.start
        arms, explored = explorer.found.arms, explorer.table()
        looks = list((self.folder.read("leaderboard.json") or {}).get("looks", []))
        found = confirmed(history, policy, start, finalists, known=known) if finalists else []
        look = [len(found[0].seeds), *(f.name for f in finalists)] if found else []
        if look and look not in looks:
            looks.append(look)
        if len(looks) > 1 and found:
            found = confirmed(history, policy, start, finalists, known=known, looks=len(looks))
        skipped = sorted(row["name"] for row in explored if row["gain"] is None and row["kind"] != "candidate")
        command, more = self.going_on
        table = rows(history, policy, [self.asked.first, *arms], found, self.asked.same)
        conclusion = conclude(
            found, start.name, policy, len(history), go_on=f"`{command}{more}`", known=known, tried=len(table) > 1,
            lost=bool(table) and all(row["validation"] is None for row in table), skipped=len(skipped),
            untrained=policy.setting(start, history) is None, enough=self._enough(),
        )  # fmt: skip
        conclusion = replace(
            conclusion, sentence=" ".join([conclusion.sentence, *(one["sentence"] for one in further)])
        )
        chosen = next(a.formula for a in (self.asked.first, *arms) if a.formula.name == conclusion.recommended)
        setting = policy.setting(chosen, history)
        best = scaled(chosen, 1.0 if setting is None else setting[1])
        if chosen != start and chosen.text != chosen.name:
            conclusion = replace(conclusion, sentence=f"{conclusion.sentence} {chosen.name} is f(x) = {best.text}.")
        metric = self.runner.metric
        board = {
            "task": self.runner.name, "start": start.name, "metric": metric.name, "better": metric.better,
            "log": metric.log, "judge": policy.judge, "rows": table, "conclusion": conclusion.sentence,
            "kind": conclusion.kind, "recommended": conclusion.recommended, "front": front(table, metric),
            "trainings": len(history), "plan": self.plan.to_dict(), "looks": looks, "skipped": skipped,
            "explored": len(explored), "elsewhere": list(further), "command": command,
        }  # fmt: skip
        self.folder.write("explored.json", explorer.to_dict())
        self.folder.write("leaderboard.json", board)
        self.folder.write("formula.json", best.to_dict())
        self._export(best, conclusion, next((c for c in found if c.name == best.name), None))
        return SearchResult(
            self.folder.path, self.runner.name, start.name, tuple(table), conclusion.sentence, best,
            tuple(front(table, metric)), tuple(explorer.found.dropped), tuple(skipped), policy.judge,
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


def _in_turn(first: Sequence[Formula], second: Sequence[Formula]) -> list[tuple[Formula, ...]]:
    """One of each in turn, so that a short budget has seen both."""
    return [(*first[i : i + 1], *second[i : i + 1]) for i in range(max(len(first), len(second)))]


def _fit_dict(law: Empirical, hurried: bool) -> dict[str, Any]:
    fit = fit_mixture(law, most=1) if hurried else fit_mixture(law)
    return {"law": fit.law.to_dict(), "distance": fit.distance}
