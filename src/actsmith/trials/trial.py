"""One training that is asked for, and what became of it. Both are plain values."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from sympy import Float

from actsmith.files import plain
from actsmith.formula.formula import Formula
from actsmith.training.problem import Metric, Split

__all__ = ["History", "Outcome", "Trial", "digest", "scaled"]

DIGITS = 16
SCALE_DIGITS = 6


def digest(value: Any) -> str:
    """16 hexadecimal digits of plain JSON values, whatever the order of their keys."""
    text = json.dumps(plain(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


@dataclass(frozen=True)
class Trial:
    """One network to train.

    Attributes:
        task: the name of what is trained.
        formula: its activation.
        stage: why: "look" (the start's own trainings), "tune" (choose a rate), "score", ...
        rate: the learning rate; of a script the factor on its own.
        seed: decides the initial draws and the order of the data.
        length: the share of the epochs.
        examples: the share of the training examples.
        test: whether the test split is read.
        context: a digest of everything else that decides the outcome: the task's values, the data.
        scale: what the activation's output is multiplied with; a setting like the rate.
    """

    task: str
    formula: Formula
    stage: str
    rate: float
    seed: int
    length: float = 1.0
    examples: float = 1.0
    test: bool = False
    context: str = ""
    scale: float = 1.0

    def __post_init__(self) -> None:
        # 1 and 1.0 are one rate, and have one key.
        numbers = {"rate": float, "seed": int, "length": float, "examples": float, "scale": float}
        for name, kind in numbers.items():
            object.__setattr__(self, name, kind(getattr(self, name)))

    @cached_property
    def key(self) -> str:
        """A digest of the content: equal trials have equal keys, on any machine."""
        return digest(self.to_dict())

    @property
    def activation(self) -> Formula:
        """What the network is built with: the formula at its scale."""
        return scaled(self.formula, self.scale)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; a scale of 1 is left out, so that keys of runs from before there were scales hold."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if self.scale == 1:
            del values["scale"]
        return {**values, "formula": self.formula.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Trial:
        """The inverse of `to_dict`; other entries are left aside."""
        own = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**{**own, "formula": _formula(json.dumps(own["formula"]))})


def scaled(formula: Formula, scale: float) -> Formula:
    """scale f(x), under the name of f; f itself where the scale is 1."""
    return formula if scale == 1 else _scaled(formula, formula.name, scale)


@lru_cache(maxsize=1024)
def _scaled(formula: Formula, name: str, scale: float) -> Formula:
    """Cached on the name as well: equal formulas may have two."""
    return Formula(Float(scale, SCALE_DIGITS) * formula.expr, dict(formula.params), name)


@lru_cache(maxsize=1024)
def _formula(text: str) -> Formula:
    """From JSON; a folder names each formula hundreds of times, and parsing takes milliseconds."""
    return Formula.from_dict(json.loads(text))


@dataclass(frozen=True)
class Outcome:
    """What became of a trial. A score that is not finite is None: the worst there is.

    Attributes:
        trial: what was asked for.
        validation, test: name -> score; test is None where it was not read.
        diverged: whether the loss was not finite at some step.
        seconds: of wall clock, all in all; of nets that trained together, each one's share.
        step_seconds, peak_bytes: of a step.
        reason: why there is no score; None where it was trained to the end.
        details: loss, curve, parameters, records of a hook, laws: plain JSON values.
    """

    trial: Trial
    validation: Mapping[str, float | None] = field(default_factory=dict)
    test: Mapping[str, float | None] | None = None
    diverged: bool = False
    seconds: float = 0.0
    step_seconds: float = 0.0
    peak_bytes: int = 0
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the activation."""
        return self.trial.formula.name

    def score(self, metric: Metric | str, split: Split = "validation") -> float | None:
        """The score on a split; None where the net diverged, failed, or has none that is finite."""
        scores = self.validation if split == "validation" else self.test
        value = (scores or {}).get(metric if isinstance(metric, str) else metric.name)
        lost = self.diverged or self.reason is not None or value is None or not math.isfinite(value)
        return None if lost else value

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: the trial's, the outcome's and its key side by side."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "trial"}
        values: dict[str, Any] = plain(
            {"key": self.trial.key, **self.trial.to_dict(), **own, "tested": self.trial.test}
        )
        return values | {"test": plain(self.test)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Outcome:
        """The inverse of `to_dict`."""
        own = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(trial=Trial.from_dict({**values, "test": values["tested"]}), **own)


class History(Mapping[str, Outcome]):
    """Outcomes by key, in the order in which they came."""

    def __init__(self, outcomes: Iterable[Outcome] = ()) -> None:
        self._outcomes = {outcome.trial.key: outcome for outcome in outcomes}

    def __getitem__(self, key: str) -> Outcome:
        return self._outcomes[key]

    def __iter__(self) -> Any:
        return iter(self._outcomes)

    def __len__(self) -> int:
        return len(self._outcomes)

    def add(self, outcome: Outcome) -> None:
        """Take one in; a later one of the same key replaces it."""
        self._outcomes[outcome.trial.key] = outcome

    def of(self, task: str | None = None, name: str | None = None, stage: str | None = None) -> list[Outcome]:
        """Those of a task, of an activation, of a stage."""
        return [
            o
            for o in self._outcomes.values()
            if task in (None, o.trial.task) and name in (None, o.name) and stage in (None, o.trial.stage)
        ]
