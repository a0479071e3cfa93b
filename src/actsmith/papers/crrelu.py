"""What the reproductions of arXiv:2405.12954 share: CRReLU's variants, corrections from measured laws, and verdicts.

| name         | what it is                                                                                    |
|--------------|-----------------------------------------------------------------------------------------------|
| crrelu       | relu(x) + eps x exp(-x^2/2), eps learnable from +0.01: as published                             |
| crrelu_minus | the same from -0.01: the sign in which the output entropy falls at first                        |
| crrelu_fixed | the same at +0.01, not learnable                                                              |
| eafo...      | relu(x) + eps psi(x), psi ReLU's correction under a law measured in a network; for a law of     |
|              | deviation s, max |psi| = s exp(-1/2), so that under N(0, s^2) psi = x exp(-x^2/(2 s^2))         |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp
from pathlib import Path
from typing import Any, Literal

import numpy as np
import sympy as sp
import torch
from torch import Tensor, nn

from actsmith.experiments.checkpoint import Checkpoint
from actsmith.experiments.experiment import Experiment, Report, describe
from actsmith.experiments.findings import Claim, Table, Verdict
from actsmith.experiments.folder import RunFolder
from actsmith.experiments.loop import Runtime, fit
from actsmith.experiments.problem import Metric, Problem
from actsmith.experiments.statistics import Interval, holm, paired_difference, paired_p
from actsmith.formula.catalogue import get
from actsmith.formula.formula import Formula, Param
from actsmith.formula.parse import parameter_symbol
from actsmith.surgery.probe import Probe, probe
from actsmith.theory.eafo import correction
from actsmith.theory.empirical import Empirical
from actsmith.theory.fit import fit_mixture
from actsmith.theory.law import Law
from actsmith.theory.laws import Normal

__all__ = [
    "ACCURACY", "CORRECTIONS_OF_RELU", "SOURCE", "Duel", "Measured", "Suggestion", "contest", "counted", "crrelu",
    "measured_laws", "out_of_reach", "probed_inputs", "verdict",
]  # fmt: skip

SOURCE = "Sun et al., A Method on Searching Better Activation Functions, ICLR 2025, arXiv:2405.12954"
CORRECTIONS_OF_RELU = ("prelu", "elu", "celu", "gelu", "silu", "mish")
"""What the paper compares CRReLU to."""
ACCURACY = Metric("accuracy", "higher")
PROBED = 512
"""Training examples on which pre-activations are measured."""
QUANTILES = 2001
HEIGHT = exp(-0.5)
"""max |x exp(-x^2/2)|."""


def crrelu(name: str = "crrelu", eps: float = 0.01, learn: bool = True) -> Formula:
    """CRReLU under another name, from another start."""
    return get("crrelu", eps=Param(eps, learn=learn)).renamed(name)


# ------------------------------------------------------------------------------------- what a measured law suggests


@dataclass(frozen=True)
class Suggestion:
    """ReLU's correction under the law that was measured.

    Attributes:
        name: of the activation.
        law: the measured one as a "mixture" of normals, or the "normal" one with its mean and deviation.
        eps: the start of the learnable step; positive is the published sign.
    """

    name: str
    law: Literal["mixture", "normal"] = "mixture"
    eps: float = 0.01


@dataclass(frozen=True)
class Measured:
    """An experiment that begins with a measurement: its reference network is trained once, its pre-activations on
    training inputs are pooled over the layers, and the corrections that their law suggests join the comparison.

    Attributes:
        experiment: what is then run, its activations and the suggested ones.
        suggestions: what to derive; none, and nothing is measured.
        rate, seed: of the network that is measured; the seed is neither a tuning nor a scoring one.
    """

    experiment: Experiment
    suggestions: tuple[Suggestion, ...]
    rate: float
    seed: int = 2000

    @property
    def name(self) -> str:
        return self.experiment.name

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that say all there is to say."""
        return describe(self)  # type: ignore[no-any-return]

    def record(self, folder: RunFolder) -> dict[str, Any]:
        """What a finished run measured: `laws`, name -> text, and the formulas `suggested`."""
        return folder.results[f"{self.name}/measured"]

    def run(self, folder: RunFolder, runtime: Runtime, data: Path | None, report: Report) -> None:
        """Measure, derive, then train what the folder does not hold yet."""
        e = self.experiment
        derived = [Formula.from_dict(d) for d in self._measured(folder, runtime, data, report)["suggested"]]
        replace(e, activations=(*e.activations, *derived)).run(folder, runtime, data, report)

    def _measured(self, folder: RunFolder, runtime: Runtime, data: Path | None, report: Report) -> dict[str, Any]:
        """The record of the measurement, from the folder or made now."""
        key = f"{self.name}/measured"
        if not self.suggestions:
            return {"suggested": []}
        if key not in folder.results:
            report(self.name, 0, 1, "measuring the pre-activations")
            record = self._measure(folder, runtime, data)
            if runtime.main:
                folder.append(key, record)
            else:
                folder.results[key] = record
        return folder.results[key]

    def _measure(self, folder: RunFolder, runtime: Runtime, data: Path | None) -> dict[str, Any]:
        e = self.experiment
        problem = e.problem.load(data)
        reference = next(f for f in e.activations if f.name == e.reference)
        torch.manual_seed(self.seed)
        model = e.model.build(reference, (self.seed,), problem)
        checkpoint = Checkpoint.at(folder.path, f"{e.name}/measured")
        fit(problem, model, seeds=(self.seed,), rate=self.rate, recipe=e.recipe, runtime=runtime, checkpoint=checkpoint)
        checkpoint.remove()
        law = _pooled(list(measured_laws(model, problem).values()))
        mixture = fit_mixture(law)
        laws: dict[str, Law] = {
            "mixture": mixture.law,
            "normal": Normal(*(float(f"{v:.4g}") for v in (law.mean, law.std))),
        }
        suggested = [_corrected(s, reference, laws[s.law]) for s in self.suggestions]
        return {
            "stage": "measured",
            "laws": {name: str(each) for name, each in laws.items()},
            "distance_of_fit": mixture.distance,
            "suggested": [formula.to_dict() for formula in suggested],
        }


def probed_inputs(model: nn.Module, problem: Problem) -> Tensor:
    """The first training examples, the same for all nets side by side, as one batch: (nets, n, ...)."""
    order = torch.arange(min(PROBED, problem.size)).expand(getattr(model, "nets", 1), -1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inputs: Tensor = problem.batch(order, torch.device("cpu"))[0]
    return inputs


def measured_laws(model: nn.Module, problem: Problem) -> Probe:
    """The laws of the pre-activations of every layer."""
    training = model.training
    try:
        return probe(model, [probed_inputs(model, problem)], strict=False)
    finally:
        model.train(training)


def _pooled(laws: Sequence[Law]) -> Empirical:
    """One law of all, each with the same weight."""
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    return Empirical(np.concatenate([law.quantile(levels) for law in laws]))


def _corrected(suggestion: Suggestion, base: Formula, law: Law) -> Formula:
    """base + eps psi, psi as high as CRReLU's for pre-activations of that deviation."""
    found = correction(base, law)
    places = law.quantile(np.linspace(1e-4, 1 - 1e-4, 4001))
    height = float(np.max(np.abs(Formula(found.psi)(places))))
    psi = sp.Float(f"{law.std * HEIGHT / height:.6g}") * found.psi
    eps = found.symbol
    expression = base.expr + parameter_symbol(eps) * psi
    return Formula(expression, {**base.params, eps: Param(suggestion.eps, learn=True)}, suggestion.name)


# ------------------------------------------------------------------------------------------------------------- verdicts


@dataclass(frozen=True)
class Duel:
    """One activation against another on the same seeds; positive differences are the first one's gain.

    Attributes:
        name, other: who against whom.
        difference: mean and 95 % interval of the paired differences; None where a net of either diverged.
        p: of the paired t-test, Holm-corrected over the contest.
    """

    name: str
    other: str
    difference: Interval | None
    p: float

    @property
    def won(self) -> bool:
        return self.difference is not None and self.difference.low > 0 and self.p < 0.05

    @property
    def lost(self) -> bool:
        return self.difference is not None and self.difference.high < 0 and self.p < 0.05

    def __str__(self) -> str:
        if self.difference is None:
            return f"{self.other}: a net diverged"
        d = self.difference
        return f"{self.other} {d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}], p {self.p:.2g}"


def contest(table: Table, name: str, others: Sequence[str]) -> tuple[Duel, ...]:
    """One activation of a table against several, paired by seed."""
    sign = 1.0 if table.metric.better == "higher" else -1.0
    mine = table.metric.transformed(table.row(name).values)
    differences: list[Interval | None] = []
    p: list[float] = []
    for other in others:
        theirs = table.metric.transformed(table.row(other).values)
        if mine is None or theirs is None:
            differences.append(None)
            p.append(1.0)
            continue
        a, b = [sign * v for v in mine], [sign * v for v in theirs]
        differences.append(paired_difference(a, b))
        p.append(paired_p(a, b))
    corrected = holm(p)
    return tuple(Duel(name, *each) for each in zip(others, differences, corrected, strict=True))


def verdict(statement: str, duels: Sequence[Duel], where: str) -> Claim:
    """Is the first one better than all others? `counted` from the duels it won and lost."""
    won, lost = [d for d in duels if d.won], [d for d in duels if d.lost]
    found = counted(len(won), len(lost), len(duels))
    counts = f"{len(won)} won, {len(lost)} lost, {len(duels) - len(won) - len(lost)} undecided at 95 % after Holm"
    differences = "; ".join(str(d) for d in duels)
    return Claim(statement, found, f"{where}: {duels[0].name} against each, {counts}. Differences: {differences}.")


def counted(holds: int, fails: int, count: int) -> Verdict:
    """On a statement about `count` cases, of which so many were shown to hold and so many to fail."""
    if holds == count:
        return "reproduced"
    if holds:
        return "partly reproduced"
    return "not reproduced" if fails else "not resolved"


def out_of_reach(statement: str, why: str) -> Claim:
    """A claim that the run says nothing about."""
    return Claim(statement, "out of reach here", why)
