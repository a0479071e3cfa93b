"""Corrections that a network's own pre-activations suggest: it is trained once, measured, and what their law suggests
joins the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp
from typing import Any, Literal

import numpy as np
import sympy as sp
import torch
from torch import Tensor, nn

from actsmith.formula.formula import Formula, Param
from actsmith.formula.parse import parameter_symbol
from actsmith.papers.experiment import Experiment, Results, Run
from actsmith.surgery.probe import Probe, probe
from actsmith.theory.eafo import correction, worst_activation
from actsmith.theory.empirical import Empirical
from actsmith.theory.fit import fit_mixture
from actsmith.theory.law import Law
from actsmith.theory.laws import Normal
from actsmith.training.problem import Problem
from actsmith.trials.runner import FitRunner, Place
from actsmith.trials.trial import Trial

__all__ = ["Keeping", "Measured", "Suggestion", "corrected", "measured_laws", "probed_inputs"]

PROBED = 512
"""Training examples on which pre-activations are measured."""
QUANTILES = 2001
HEIGHT = exp(-0.5)
"""max |x exp(-x^2/2)|."""


class Keeping(FitRunner):
    """A runner whose last trained network can be looked at; trains one after another."""

    def models(self, formula: Formula, seeds: Sequence[int]) -> list[nn.Module]:
        """See `FitRunner`."""
        self.made = super().models(formula, seeds)
        return self.made

    def groups(self, round_: Sequence[Trial]) -> list[list[Trial]]:
        """See `Runner`."""
        return [[trial] for trial in round_]

    @property
    def model(self) -> nn.Module:
        """The network that was trained last."""
        return self.made[0]


@dataclass(frozen=True)
class Suggestion:
    """What the law that was measured suggests.

    Attributes:
        name: of the activation.
        kind: ReLU's "correction" under that law, or the "worst" activation of it, 2F - 1.
        law: the measured one as a "mixture" of normals, or the "normal" one with its mean and deviation.
        eps: the start of the learnable step; positive is the published sign.
    """

    name: str
    law: Literal["mixture", "normal"] = "mixture"
    eps: float = 0.01
    kind: Literal["correction", "worst"] = "correction"


@dataclass(frozen=True)
class Measured(Experiment):
    """An experiment that begins with a measurement: its reference network is trained once, its pre-activations on
    training inputs are pooled over the layers, and the corrections that their law suggests join the comparison.

    Attributes:
        suggestions: what to derive; none, and nothing is measured.
        measured_rate, measured_seed: of the network that is measured; the seed is neither a tuning nor a scoring one.
    """

    suggestions: tuple[Suggestion, ...] = ()
    measured_rate: float = 1e-3
    measured_seed: int = 2000

    @classmethod
    def of(cls, experiment: Experiment, suggestions: tuple[Suggestion, ...], rate: float) -> Measured:
        """The experiment with a measurement before it."""
        return cls(**vars(experiment), suggestions=suggestions, measured_rate=rate)

    def record(self, folder: Results) -> dict[str, Any]:
        """What was measured: `laws`, name -> text, `distance_of_fit`, and the formulas `suggested`; else nothing."""
        return folder.results.get(f"{self.name}/measured", {})

    def with_suggested(self, folder: Results) -> Measured:
        """The same with the derived activations."""
        derived = [Formula.from_dict(d) for d in self.record(folder).get("suggested", ())]
        return replace(self, activations=(*self.activations, *derived), suggestions=())

    def left(self, folder: Results) -> int:
        """Trainings that the folder does not hold yet."""
        if not self.suggestions:
            return super().left(folder)
        if self.record(folder):
            return self.with_suggested(folder).left(folder)
        each = len(self.due(folder)) + len(self.rates) * len(self.tuning_seeds) * (len(self.rates) > 1)
        return super().left(folder) + 1 + each * len(self.suggestions)

    def run(self, run: Run) -> None:
        """Measure, derive, then train what the folder does not hold yet."""
        if self.suggestions and not self.record(run.folder):
            run.report(self.name, 0, 1, "measuring the pre-activations")
            run.append(f"{self.name}/measured", self._measure(run))
        Experiment.run(self.with_suggested(run.folder) if self.suggestions else self, run)

    def _measure(self, run: Run) -> dict[str, Any]:
        problem = run.problem(self.problem)
        runner = Keeping(self.task, problem, run.runtime, run.folder.once)
        reference = next(f for f in self.activations if f.name == self.reference)
        trial = Trial(self.name, reference, "measured", self.measured_rate, self.measured_seed, context=runner.context)
        run.folder.put(runner.run([trial], Place(run.folder.path)))
        law = _pooled(list(measured_laws(runner.model, problem).values()))
        mixture = fit_mixture(law)
        laws: dict[str, Law] = {
            "mixture": mixture.law,
            "normal": Normal(*(float(f"{v:.4g}") for v in (law.mean, law.std))),
        }
        return {
            "laws": {name: str(each) for name, each in laws.items()},
            "distance_of_fit": mixture.distance,
            "suggested": [corrected(s, reference, laws[s.law]).to_dict() for s in self.suggestions],
        }


def probed_inputs(problem: Problem) -> Tensor:
    """The first training examples, (n, ...)."""
    inputs: Tensor = problem.inputs_of(problem.example(PROBED, torch.device("cpu")))
    return inputs


def measured_laws(model: nn.Module, problem: Problem) -> Probe:
    """The laws of the pre-activations of every layer of one network."""
    return probe(model, [probed_inputs(problem)], strict=False)


def _pooled(laws: Sequence[Law]) -> Empirical:
    """One law of all, each with the same weight."""
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    return Empirical(np.concatenate([law.quantile(levels) for law in laws]))


def corrected(suggestion: Suggestion, base: Formula, law: Law) -> Formula:
    """base + eps psi, psi as high as CRReLU's for pre-activations of that deviation; or the worst of that law."""
    if suggestion.kind == "worst":
        return Formula(worst_activation(law).expr, {}, suggestion.name)
    found = correction(base, law)
    places = law.quantile(np.linspace(1e-4, 1 - 1e-4, 4001))
    height = float(np.max(np.abs(Formula(found.psi)(places))))
    psi = sp.Float(f"{law.std * HEIGHT / height:.6g}") * found.psi
    eps = found.symbol
    expression = base.expr + parameter_symbol(eps) * psi
    return Formula(expression, {**base.params, eps: Param(suggestion.eps, learn=True)}, suggestion.name)
