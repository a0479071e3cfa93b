"""Are pre-activations Gaussian, as CRReLU's derivation assumes, and does it matter that they are not?

For every layer, epoch and seed, over the units and a batch of inputs, X the pre-activation of mean m and deviation s:

| symbol     | meaning                                                                 |
|------------|-------------------------------------------------------------------------|
| distance   | sup |F(x) - Phi((x - m)/s)|, Kolmogorov's, to the Gaussian nearest by   |
| negentropy | H(N(m, s^2)) - H(X) in nats = KL of Phi((x - m)/s) from the uniform law  |
| skewness, excess kurtosis | 0 for a Gaussian                                         |

Then the corrections of ReLU are trained against each other: for N(0, 1), which is CRReLU; for the normal law with the
measured mean and deviation; for the measured law itself, in both signs. The paper publishes no such table; the `paper`
preset makes one with its ViT-Tiny on CIFAR-10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from actsmith.files import plain
from actsmith.formula.formula import Formula
from actsmith.nn.hook import Hook
from actsmith.papers.claims import Claim, Question, judge, sampled
from actsmith.papers.crrelu import ACCURACY, HALF_A_POINT, SOURCE, crrelu
from actsmith.papers.crrelu_networks import few_digits, presets, published_network, small_networks
from actsmith.papers.experiment import Results
from actsmith.papers.findings import Curves, Findings
from actsmith.papers.gaussianity import QUANTITIES, gaussianity, pre_activations
from actsmith.papers.looking import Looking
from actsmith.papers.measured import Measured, Suggestion
from actsmith.papers.readers import line, outcomes, table
from actsmith.papers.reproduce import Reproduction
from actsmith.tasks.vision import Vit
from actsmith.training.problem import Problem
from actsmith.training.recipe import Recipe

SUGGESTED = (Suggestion("eafo_normal", "normal"), Suggestion("eafo"), Suggestion("eafo_minus", eps=-0.01))
GAUSSIAN = 0.02
"""A Kolmogorov distance up to which a law is called Gaussian here."""

QUESTIONS = tuple(
    Question(f"{statement}: {table}", first, second, HALF_A_POINT, table, "reviewers")
    for table in ("mlp-digits", "mlp-cifar10")
    for statement, first, second in (
        ("The correction for the measured law is better than the one for N(0, 1)", "eafo", "crrelu"),
        ("The measured law's shape makes a better correction than its mean and deviation alone", "eafo", "eafo_normal"),
        ("For the measured law, the published sign is better than the theory's", "eafo", "eafo_minus"),
    )
)


@dataclass(frozen=True)
class Laws:
    """Records the quantities above at the start and after some epochs.

    Attributes:
        epochs: after which; 0 is the start.
    """

    epochs: tuple[int, ...]
    stacks = True

    def build(self, model: nn.Module, problem: Problem) -> Hook:
        """The hook of one training."""

        def look() -> list[list[dict[str, float | None]]]:
            return [[gaussianity(own) for own in layer] for layer in pre_activations(model, problem)]

        return Looking(self.epochs, "laws", look)


def _smoke(formulas: tuple[Formula, ...]) -> tuple[Measured, ...]:
    chosen = tuple(f for f in formulas if f.name != "crrelu_minus")
    return (Measured.of(replace(few_digits(chosen), watch=Laws((0, 3))), SUGGESTED[1:2], 3e-3),)


def _small(formulas: tuple[Formula, ...]) -> tuple[Measured, ...]:
    """Corrections compared in the perceptrons; laws watched with ReLU in the others, whose corrections crrelu-vision
    compares, at the rates that were best there."""
    digits, mlp, resnet = small_networks(formulas)
    alone = replace(resnet, activations=formulas[:1], rates=(3e-2,))
    vit = replace(
        alone, name="vit-cifar10", model=Vit(), rates=(1e-3,), recipe=Recipe(5, 32, 0.05),
        labels={"model": "vit", "data": "cifar10"},
    )  # fmt: skip
    return (
        Measured.of(replace(digits, watch=Laws((0, 1, 3, 10, 20))), SUGGESTED, 3e-3),
        Measured.of(replace(mlp, watch=Laws((0, 1, 2, 4, 8))), SUGGESTED, 3e-3),
        Measured.of(replace(alone, watch=Laws((0, 1, 3, 10))), (), 3e-2),
        Measured.of(replace(vit, watch=Laws((0, 1, 2, 5))), (), 1e-3),
    )


def _paper(formulas: tuple[Formula, ...]) -> tuple[Measured, ...]:
    vit = replace(published_network(formulas), watch=Laws((0, 1, 3, 10, 30, 100)))
    return (Measured.of(vit, SUGGESTED, 1e-3),)


Path = Mapping[int, NDArray[np.float64]]
"""Epoch -> numbers (layers, quantities, seeds), NaN where there is no law."""
SHOWN = {
    "distance": "Kolmogorov distance from a Gaussian",
    "negentropy": "negentropy (nats)",
    "std": "standard deviation",
}


def read(folder: Results, parts: tuple[Measured, ...]) -> Findings:
    """The tables, how far from Gaussian each layer is and when, and whether the measured law corrects better."""
    compared = [part for part in parts if part.suggestions]
    note = (
        "crrelu: corrected for N(0, 1); eafo_normal: for the normal law of the measured mean and deviation; eafo and "
        "eafo_minus: for the measured law, eps from +0.01 and -0.01."
    )
    tables = tuple(table(folder, p, ACCURACY, title=f"{p.name}: accuracy by law", note=note) for p in compared)
    paths = {part.name: laws_of(folder, part.name, part.reference) for part in parts}
    return Findings(
        summary=" ".join(_sentence(name, path) for name, path in paths.items()),
        tables=tables,
        curves=tuple(_curve(paths, quantity, label) for quantity, label in SHOWN.items()),
        claims=(*(c for name, path in paths.items() for c in _assumption(name, path)), *judge(QUESTIONS, tables)),
        facts={
            "measured": {part.name: _measured(part.record(folder)) for part in compared},
            "layers at the end": {
                name: plain([dict(zip(QUANTITIES, m, strict=True)) for m in path[max(path)].mean(-1).round(5).tolist()])
                for name, path in paths.items()
            },
        },
    )


def laws_of(folder: Results, experiment: str, activation: str) -> Path:
    """What was watched."""
    nets = []
    for outcome in outcomes(folder, experiment)[activation]:
        watched = outcome.details["watched"]
        looks = {w["epoch"]: w["laws"] for w in watched if "laws" in w}
        if "start" in watched[0]:
            looks = {0: watched[0]["start"]} | looks
        nets.append({e: [[layer[q] for q in QUANTITIES] for layer in layers] for e, layers in looks.items()})
    return {e: np.array([net[e] for net in nets], dtype=np.float64).transpose(1, 2, 0) for e in nets[0]}


def _of(path: Path, epoch: int, quantity: str) -> NDArray[np.float64]:
    """One quantity, (layers, seeds)."""
    found: NDArray[np.float64] = path[epoch][:, QUANTITIES.index(quantity)]
    return found


def _sentence(name: str, path: Path) -> str:
    ends = [_of(path, epoch, "distance").mean(-1) for epoch in (min(path), max(path))]
    first, last = (f"{np.nanmin(e):.3f} to {np.nanmax(e):.3f}" for e in ends)
    return (
        f"{name}: with ReLU, the layers' Kolmogorov distances from a Gaussian are {first} after {min(path)} epochs and "
        f"{last} after {max(path)}."
    )


def _assumption(name: str, path: Path) -> list[Claim]:
    """Gaussian at the start, at the end; of deviation 1: the mean over the layers, seed by seed."""
    assumed = "After training, pre-activations have the variance 1 that the published correction assumes"
    asked = (
        ("Pre-activations are Gaussian at the start", GAUSSIAN - _of(path, min(path), "distance"),
         f"{GAUSSIAN:g} less the Kolmogorov distance"),
        ("Pre-activations are Gaussian after training", GAUSSIAN - _of(path, max(path), "distance"),
         f"{GAUSSIAN:g} less the Kolmogorov distance"),
        (assumed, log(2) / 2 - np.abs(np.log(_of(path, max(path), "std"))),
         "log(2)/2 less the size of the deviation's logarithm"),
    )  # fmt: skip
    return [
        sampled(
            Question(f"{statement}: {name}", name, "", 0.0, origin="paper", where="the derivation of CRReLU",
                     published=True), np.nanmean(values, 0).tolist(), unit,
        )
        for statement, values, unit in asked
    ]  # fmt: skip


def _curve(paths: Mapping[str, Path], quantity: str, label: str) -> Curves:
    """One panel a network, one line a layer, over the epochs."""
    panels = {}
    for name, path in paths.items():
        epochs = sorted(path)
        layers = np.stack([_of(path, epoch, quantity) for epoch in epochs], 1).tolist()
        panels[name] = tuple(line(f"layer {i + 1}", epochs, samples) for i, samples in enumerate(layers))
    return Curves(quantity, f"Pre-activations with ReLU: {label}", panels, "epoch", label)


def _measured(record: Mapping[str, Any]) -> dict[str, Any]:
    suggested = {s["name"]: s["formula"] for s in record["suggested"]}
    return {**record["laws"], "fit": record["distance_of_fit"], **suggested}


REPRODUCTION = Reproduction(
    name="crrelu-law",
    title="How Gaussian pre-activations are, and whether it matters",
    source=f"asked by reviewers of {SOURCE}",
    claims="The correction is derived for pre-activations that follow N(0, 1).",
    activations=("relu", crrelu(), crrelu("crrelu_minus", -0.01)),
    presets=presets(lambda experiment: experiment, "5 minutes", smoke=_smoke, small=_small, paper=_paper),
    read=read,
    questions=QUESTIONS,
)
