"""What optuna-dashboard shows of a search: one Optuna trial for each activation, in the study NAME.

Its user attributes are name, formula, origin, proposer, and the reason of a training that failed. Its intermediate
values are those of the rungs that it went through, which the study's attribute "rungs" names: the validation score at
the best rate, averaged over the seeds. Values are finite: a failure is as bad as the worst of its rung. The study is
made of the jobs alone, anew by each leader.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from statistics import fmean
from typing import Any

from actsmith.trials.ledger import Ledger, study_of
from actsmith.trials.trial import Outcome

__all__ = ["Display"]

EVERY = 10.0
"""Seconds between two updates, at least."""
LONGEST = (0.5, 3.0)
"""Seconds that an update may take, and the last one: a search waits for it. The rest is for the next."""


class Display:
    """The study that is shown.

    Args:
        ledger: of the search.
        metric: name of the score.
        better: "higher" or "lower".
    """

    def __init__(self, ledger: Ledger, metric: str, better: str) -> None:
        self.ledger, self.metric, self.higher = ledger, metric, better == "higher"
        self.rungs: list[str] = []
        self.scores: dict[str, dict[int, dict[Any, list[float | None]]]] = {}  # by name, rung, setting
        self.attributes: dict[str, dict[str, Any]] = defaultdict(dict)
        self.trials: dict[str, tuple[int, dict[int, float], dict[str, Any]]] = {}  # as they were written
        self.changed: set[str] = set()
        self.last = time.monotonic()
        with suppress(KeyError):
            ledger.do("delete_study", ledger.do("get_study_id_from_name", ledger.name))
        self.study = study_of(ledger, ledger.name, "maximize" if self.higher else "minimize")
        for job in ledger.jobs("COMPLETE"):
            self.add(job.outcomes)

    def describe(self, name: str, **attributes: Any) -> None:
        """Attributes of an activation; plain values."""
        self.attributes[name] |= attributes
        self.changed.add(name)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Take outcomes in."""
        for outcome in outcomes:
            trial, name = outcome.trial, outcome.name
            label = f"{trial.stage}, {trial.length:g} of the length, {trial.examples:g} of the examples"
            if label not in self.rungs:
                self.rungs.append(label)
            rung = self.scores.setdefault(name, {}).setdefault(self.rungs.index(label), {})
            setting = (trial.rate, getattr(trial, "scale", 1.0))
            rung.setdefault(setting, []).append(outcome.score(self.metric))
            self.attributes[name] |= {"name": name, "formula": trial.formula.text}
            if outcome.reason is not None:
                self.attributes[name] |= {"reason": outcome.reason}
            self.changed.add(name)

    def show(self, *, now: bool = True, end: bool = False) -> None:
        """Write what changed.

        Args:
            now: False where it may wait for a later call.
            end: whether nothing more will come.
        """
        if not now and time.monotonic() - self.last < EVERY:
            return
        until = time.monotonic() + LONGEST[end]
        if self.changed:
            self.ledger.do("set_study_user_attr", self.study, "rungs", self.rungs)
        for name in [name for name in self.scores if name in self.changed]:
            if time.monotonic() < until:
                self._write(name)
                self.changed.discard(name)
        for number, values, _ in self.trials.values() if end else ():
            if time.monotonic() < until:
                last = [values[max(values)]]
                self.ledger.do("set_trial_state_values", number, self.ledger.states.COMPLETE, last)
        self.last = time.monotonic()

    def _write(self, name: str) -> None:
        values, attributes = self._values(name), dict(self.attributes[name])
        if not values:  # nothing in its rungs was finite so far
            return
        if name not in self.trials:
            trial = self.ledger.optuna.trial.create_trial(
                state=self.ledger.states.RUNNING, user_attrs=attributes, intermediate_values=values
            )
            self.trials[name] = self.ledger.do("create_new_trial", self.study, trial), values, attributes
            return
        number, before, told = self.trials[name]
        for step, value in values.items():
            if before.get(step) != value:
                self.ledger.do("set_trial_intermediate_value", number, step, value)
        for key, value in attributes.items():
            if told.get(key) != value:
                self.ledger.do("set_trial_user_attr", number, key, value)
        self.trials[name] = number, values, attributes

    def _values(self, name: str) -> dict[int, float]:
        found = {}
        for rung, settings in sorted(self.scores[name].items()):
            value = self._best(settings)
            value = self._worst(rung) if value is None else value
            if value is not None:
                found[rung] = value
        return found

    def _best(self, settings: dict[Any, list[float | None]]) -> float | None:
        """The mean at the best setting; None where some seed failed at each."""
        means = [fmean(whole) for scores in settings.values() if (whole := _whole(scores))]
        return (max if self.higher else min)(means, default=None)

    def _worst(self, rung: int) -> float | None:
        every = [own[rung] for own in self.scores.values() if rung in own]
        finite = [s for settings in every for scores in settings.values() for s in scores if s is not None]
        return (min if self.higher else max)(finite, default=None)


def _whole(scores: list[float | None]) -> list[float]:
    finite = [score for score in scores if score is not None]
    return finite if len(finite) == len(scores) else []
