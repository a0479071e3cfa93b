"""Sign and dose of CRReLU's correction: eps fixed from -0.3 to 0.3, and the slope of the loss.

The paper adds +0.01 x exp(-x^2/2) to ReLU and lets it learn; to first order the output entropy falls for a negative
sign. What training says of sign and dose is the slope of the test loss over fixed doses, network by network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from actsmith.formula.formula import Formula
from actsmith.papers.claims import Claim, Question, sampled
from actsmith.papers.crrelu import LOSS, ONE_PERCENT, SOURCE, crrelu
from actsmith.papers.crrelu_eps import STARTS, name_of
from actsmith.papers.crrelu_networks import few_digits, small_networks
from actsmith.papers.experiment import Experiment, Results
from actsmith.papers.findings import Curves, Findings
from actsmith.papers.five_tasks import SMALL, five_tasks
from actsmith.papers.readers import budget_of, line, table
from actsmith.papers.reproduce import Preset, Reproduction
from actsmith.training.problem import Metric
from actsmith.trials.tables import Table

__all__ = ["REPRODUCTION"]

DOSES = {eps: crrelu(name_of(eps), eps, learn=False) for eps in STARTS if eps != 0.0}
REACH = 0.3
LARGER = "A larger eps, the published sign, lowers the test loss"
BITS = Metric("bits_per_character", "lower", log=True)


def _small(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    digits, cifar, resnet = small_networks(formulas)
    text = five_tasks(formulas, replace(SMALL, seeds=tuple(range(20))), "kaiming")[-1]
    return (
        replace(digits, seeds=tuple(range(20))), replace(cifar, seeds=tuple(range(20))),
        replace(text, name="mlp-austen"), replace(resnet, seeds=tuple(range(10))),
    )  # fmt: skip


def read(folder: Results, parts: tuple[Experiment, ...]) -> Findings:
    """The losses by dose, their slopes, the claims."""
    tables = [table(folder, part, _loss(part), title=f"{part.name}: test loss by dose") for part in parts]
    return Findings(
        summary=" ".join(_sentence(t) for t in tables),
        tables=tuple(tables),
        curves=(_curves(tables),),
        claims=tuple(_claim(t, budget_of(part)) for part, t in zip(parts, tables, strict=True)),
        facts={"slopes, decades per unit of eps": {t.name: [float(f"{s:.4g}") for s in _slopes(t)] for t in tables}},
    )


def _loss(part: Experiment) -> Metric:
    """Compared by ratio; bits per character are the loss of a text."""
    return BITS if part.problem.metric.name == BITS.name else LOSS


def _by_dose(found: Table) -> dict[float, tuple[float | None, ...]]:
    """Dose -> the losses by seed; a dose of nothing is ReLU."""
    there = {row.name: row.values for row in found.rows}
    doses = {0.0: there["relu"], **{eps: there[f.name] for eps, f in DOSES.items() if f.name in there}}
    return dict(sorted(doses.items()))


def _slopes(found: Table) -> list[float]:
    """Of log10 of the loss over eps, by least squares, seed by seed; a seed on which a net diverged is left out."""
    doses = _by_dose(found)
    losses = np.array([[np.nan if v is None else np.log10(v) for v in values] for values in doses.values()])
    whole = np.isfinite(losses).all(0)
    slopes = np.polyfit(list(doses), losses[:, whole], 1)[0]
    return [float(s) for s in slopes]


def _claim(found: Table, size: str) -> Claim:
    """Of the published sign; a negative slope is the other one's, in which the entropy falls first."""
    gains = [-REACH * slope for slope in _slopes(found)]
    where = "section 4, the derivation of CRReLU"
    question = Question(f"{LARGER}: {found.name}", "", "", ONE_PERCENT, origin="paper", where=where)
    return sampled(question, gains, f"decades of loss for {REACH:+g}, by the slope", size=size)


def _sentence(found: Table) -> str:
    rows = {eps: [v for v in values if v is not None] for eps, values in _by_dose(found).items()}
    best = min(rows, key=lambda eps: np.median(rows[eps]) if rows[eps] else np.inf)
    return f"{found.name}: the dose with the lowest median loss is {best:+g}."


def _curves(tables: Sequence[Table]) -> Curves:
    panels = {}
    for found in tables:
        doses = _by_dose(found)
        panels[found.name] = (line("fixed eps", list(doses), list(doses.values())),)
    return Curves("dose", "Test loss by the fixed dose eps; 0 is ReLU", panels, "eps", "loss")


REPRODUCTION = Reproduction(
    name="crrelu-dose",
    title="Sign and dose of CRReLU's correction",
    source=f"after {SOURCE}, section 4",
    claims="eps starts at +0.01; the sign in which the entropy falls first is the other one.",
    activations=("relu", *DOSES.values()),
    presets={
        "smoke": Preset(lambda f: (few_digits(f),), "10 seconds on one thread; digits, 2 seeds"),
        "small": Preset(
            _small, "about 20 minutes on one thread; four networks, 20 seeds, the residual one 10; needs --data with "
            "cifar10 and austen",
        ),
        "paper": Preset(_small, "the paper has no such table; the small size"),
    },
    read=read,
)  # fmt: skip
