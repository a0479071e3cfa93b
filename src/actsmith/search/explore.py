"""The exploration: rounds of proposals, each tried in two rungs. What was proposed is kept before it is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from actsmith.formula.formula import Formula
from actsmith.search.candidates import Candidate, Dropped
from actsmith.search.draft import Grid
from actsmith.search.evidence import Evidence, Tried
from actsmith.search.proposers import Proposer
from actsmith.search.race import AGREES, CHEAP, Race
from actsmith.search.round import next_round
from actsmith.search.space import Constraints, Space
from actsmith.theory.laws import Law, Normal
from actsmith.trials.session import Session
from actsmith.trials.trial import Trial

__all__ = ["Exploration", "Explorer"]

ROUND = 16
"""Proposals in a round, for each worker: two stacks of sixteen nets with two seeds."""
SHARE = "exploring share"
"""Where it is kept what share of the examples was chosen."""
TRIED_BEFORE = 10
"""Cheap trainings that are affordable for each known function, from which on it is tried whether they rank."""


@dataclass
class Exploration:
    """What was explored so far.

    Attributes:
        arms: in the order in which they were tried; known functions first.
        dropped: what was not trained, and why.
        notes: of proposers and of the surrogate, for a reader.
    """

    arms: list[Candidate]
    dropped: list[Dropped] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)


class Explorer:
    """Explores with one session.

    Args:
        session: what it works with.
        race: the rules; its share of the examples is chosen by `choose_share`.
        arms: known functions and the user's own.
        laws: label -> law of the pre-activations, the pooled one among them where it was measured.
        proposers: where candidates come from.
        constraints: on what may be tried.
        train: trains rounds of trials until it is late.
        late: whether what is left is for the rest of the search.
        workers: trainings at the same time.
    """

    def __init__(
        self,
        session: Session,
        race: Race,
        *,
        arms: Sequence[Candidate],
        laws: dict[str, Law],
        proposers: Sequence[Proposer],
        constraints: Constraints,
        train: Callable[[Sequence[Sequence[Trial]], str], None],
        late: Callable[[], bool],
        workers: int = 1,
    ) -> None:
        self.session, self.laws, self.proposers = session, laws, tuple(proposers)
        self.whole = race.examples[1]
        self.race = race.at(session.folder.measured(SHARE, [1.0])[0] * self.whole)
        self.train, self.late, self.workers = train, late, workers
        self.constraints, self.costs = constraints, dict[str, float](session.folder.read("costs.json") or {})
        self.grid = Grid.of(laws.get("pooled", Normal()))
        self.arms, self.found = list(arms), Exploration(list(arms))
        self._kept: list[list[Candidate]] = []  # of each round
        self.choosing = 0.0  # seconds that it took in the last round
        self._describe(self.arms)
        while (record := session.folder.results.get(_key(len(self._kept)))) is not None:
            self._take(record)

    # ------------------------------------------------------------------------------------------------------ rounds

    def known(self, first: int | None = None) -> None:
        """The known functions, so that every search has them to compare with; then what earlier rounds left undone.

        Args:
            first: only so many of them, where the budget has seen proposals, too, before it sees them all.
        """
        self._rungs("known functions", self.arms[:first], begins=True)
        for number, kept in enumerate(self._kept, 1):
            self._rungs(f"round {number}", kept)

    def choose_share(self, affordable: int | None) -> None:
        """A share of the examples that ranks the known functions as the whole task does, where that saves something.

        Args:
            affordable: how many activations the budget can explore; None for one without end, where nothing is saved.
        """
        known = [arm.formula for arm in self.arms]
        if affordable is None or affordable < TRIED_BEFORE * len(known) or len(known) < 4:
            return

        def measure() -> Any:
            for share in CHEAP:
                cheap = self.race.at(share * self.whole)
                rounds = [[t for f in (self.race.start, *known) for t in cheap.trials(f)]]
                self.train(rounds, f"known functions, {share:.0%} of the examples")
                agreement = self.race.agreement(known, self.session.history, cheap.examples[0])
                if self.late() or agreement >= AGREES:
                    return [share if agreement >= AGREES else 1.0, agreement]
            return [1.0, agreement]

        share, agreement = self.session.folder.once(SHARE, measure)
        self.race = self.race.at(share * self.whole)
        self.found.notes.append({"share": share, "agreement": agreement})

    def round(self, first: Sequence[Candidate] = (), limit: int | None = None) -> bool:
        """One round of proposals; False where nothing was proposed. It is cut short where it gets late meanwhile.

        Args:
            first: candidates that are tried before all others.
            limit: how many may be proposed at most.
        """
        n = ROUND * self.workers if limit is None else min(limit, ROUND * self.workers)
        number = len(self._kept)
        began = time.monotonic()
        space = Space(self.grid, self.constraints, self.costs, self.session.runner.device)
        seen = [*self.arms, *self.found.arms, *(d.candidate for d in self.found.dropped)]
        for formula in (self.race.start, *(one.formula for one in seen)):
            space.remember(formula)
        chosen, dropped = _admitted(space, first)
        self.session.progress("explore", 0, 1, f"round {number + 1}: choosing {n} proposals")
        places = max(n - len(chosen), 0)
        made = next_round(self.evidence(), self.proposers, space, seed=number, n=places, late=self.late)
        kept = []
        for candidate in (*chosen, *made.candidates):
            if self.late():
                break
            reason = self.session.runner.silent(candidate.formula)
            (kept.append(candidate) if reason is None else dropped.append(Dropped(candidate, reason)))
        self.choosing = time.monotonic() - began
        if self.late() and not kept:  # a run that goes on chooses anew
            return False
        record = {
            "round": number, "kept": [_plain(c) for c in kept], "notes": made.notes,
            "dropped": [{**_plain(d.candidate), "reason": d.reason} for d in dropped],
        }  # fmt: skip
        self.session.folder.append(_key(number), record)
        self.session.folder.write("costs.json", self.costs)
        self._take(record)
        how = "by chance" if not made.screened else f"by a surrogate (rank correlation {made.correlation:.2f} so far)"
        self.session.progress("explore", 1, 1, f"round {number + 1}: {len(kept)} proposals, chosen {how}")
        self._rungs(f"round {number + 1}", kept)
        return bool(kept)

    def _rungs(self, name: str, arms: Sequence[Candidate], *, begins: bool = False) -> None:
        """Both rungs of one round; what was done is there already. Who is in the second is decided once."""
        race, history = self.race, self.session.history
        first = [race.start] * begins + [arm.formula for arm in arms]
        self.train([[trial for f in first for trial in race.trials(f)]], name)
        if self.late() or any(race.gain(f, history) is None for f in first):
            return

        def decide() -> Any:
            ahead = race.promoted([arm.formula for arm in self.found.arms], history)
            return [f.name for f in (race.start, *ahead) if race.gain(f, history, 1) is None]

        names = self.session.folder.once(f"raced: {len(arms)} of {name}", decide)
        formulas = {f.name: f for f in (race.start, *(arm.formula for arm in self.found.arms))}
        self.train([[t for name in names for t in race.trials(formulas[name], 1)]], f"{name}, the best quarter again")

    # ----------------------------------------------------------------------------------------------------- evidence

    @property
    def rounds(self) -> int:
        """Of proposals, so far."""
        return len(self._kept)

    def evidence(self) -> Evidence:
        """What proposers are told."""
        history = self.session.history
        ahead = {f.name for f in self.race.promoted([arm.formula for arm in self.found.arms], history)}
        tried = []
        for arm in self.found.arms:
            gain = self.race.gain(arm.formula, history)
            if gain is not None:
                seconds = max((history[t.key].step_seconds for t in self.race.trials(arm.formula)), default=0.0)
                tried.append(Tried(arm, gain, arm.formula.name in ahead, seconds))
        return Evidence(self.race.start, self.grid, self.laws, tuple(tried))

    def table(self) -> list[dict[str, Any]]:
        """All that was explored, best first, with where it comes from: the tree of origins."""
        history, race = self.session.history, self.race
        arms = {arm.formula.name: arm for arm in self.found.arms}
        order = [f.name for f in race.ranked([arm.formula for arm in self.found.arms], history)]
        order += [name for name in arms if name not in order]
        return [
            {
                **_plain(arms[name]), "gain": race.gain(arms[name].formula, history),
                "raced": race.gain(arms[name].formula, history, 1),
            }
            for name in order
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: what was explored, what was left out and why, the notes of every round."""
        dropped = [{**_plain(d.candidate), "reason": d.reason} for d in self.found.dropped]
        return {"activations": self.table(), "dropped": dropped, "notes": self.found.notes}

    # ------------------------------------------------------------------------------------------------------- records

    def _describe(self, candidates: Sequence[Candidate]) -> None:
        """What a dashboard shows beside their scores, where the pool has one."""
        describe: Callable[..., None] | None = getattr(self.session.pool, "describe", None)
        if describe is not None:
            for c in candidates:
                own = {
                    "formula": c.formula.text,
                    "origin": c.origin,
                    "proposer": c.proposer,
                    "parents": list(c.parents),
                }
                describe(c.formula.name, **own)

    def _take(self, record: dict[str, Any]) -> None:
        self._kept.append([_candidate(values) for values in record["kept"]])
        self.found.arms += self._kept[-1]
        self._describe(self._kept[-1])
        self.found.dropped += [Dropped(_candidate(values), values["reason"]) for values in record["dropped"]]
        self.found.notes.append(record["notes"])


def _admitted(space: Space, candidates: Sequence[Candidate]) -> tuple[list[Candidate], list[Dropped]]:
    kept, dropped = [], []
    for candidate in candidates:
        reason = space.admit(candidate)
        (kept.append(candidate) if reason is None else dropped.append(Dropped(candidate, reason)))
    return kept, dropped


def _key(number: int) -> str:
    return f"round {number}"


def _plain(candidate: Candidate) -> dict[str, Any]:
    return {
        **candidate.formula.to_dict(), "kind": candidate.kind, "origin": candidate.origin,
        "proposer": candidate.proposer, "parents": list(candidate.parents),
    }  # fmt: skip


def _candidate(values: dict[str, Any]) -> Candidate:
    return Candidate(
        Formula.from_dict(values), values["kind"], values["origin"], values["proposer"], tuple(values["parents"])
    )
