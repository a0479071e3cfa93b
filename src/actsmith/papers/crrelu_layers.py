"""CRReLU in only the first, middle or last third of the layers, ReLU in the others.

A reviewer of arXiv:2405.12954 asked whether the last layers alone should have it. The paper itself has it everywhere.
The paper publishes no such table; the `paper` preset makes one with its ViT-Tiny on CIFAR-10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from actsmith.errors import ActsmithError
from actsmith.experiments.experiment import Experiment, ModelConfig
from actsmith.experiments.findings import Claim, Findings, Table, comparison
from actsmith.experiments.folder import RunFolder
from actsmith.experiments.problem import Problem
from actsmith.experiments.reproduce import Preset, Reproduction
from actsmith.experiments.reproductions.crrelu import ACCURACY, SOURCE, contest, crrelu, verdict
from actsmith.experiments.reproductions.crrelu_networks import (
    PAPER_COST,
    SHORT_COST,
    SMALL_NETWORKS,
    few_digits,
    published_network,
    small_networks,
)
from actsmith.formula.catalogue import get
from actsmith.formula.formula import Formula
from actsmith.nn.activation import Activation

Third = Literal["first", "middle", "last"]
THIRDS: tuple[Third, ...] = ("first", "middle", "last")
SMALL_COST = f"CIFAR-10 (--data); 6 minutes of CPU time on one thread, measured. {SMALL_NETWORKS}"
PLACED = tuple(crrelu(f"crrelu_{third}") for third in THIRDS)


@dataclass(frozen=True)
class Placed:
    """A model in which some activations act in a third of the layers alone, in the order of construction.

    Attributes:
        model: the model, of any activation everywhere.
        thirds: (name of an activation, its third); others act everywhere.
        elsewhere: what acts in the other layers.
    """

    model: ModelConfig
    thirds: tuple[tuple[str, Third], ...] = tuple((f.name, third) for f, third in zip(PLACED, THIRDS, strict=True))
    elsewhere: str = "relu"

    @property
    def stacked(self) -> bool:
        return self.model.stacked

    def build(self, formula: Formula, seeds: Sequence[int], problem: Problem) -> nn.Module:
        """The model's own, with `elsewhere` outside of the third.

        Raises:
            ActsmithError: fewer than three activations.
        """
        model = self.model.build(formula, seeds, problem)
        third = dict(self.thirds).get(formula.name)
        if third is None:
            return model
        paths = [path for path, module in model.named_modules() if isinstance(module, Activation)]
        if len(paths) < len(THIRDS):
            raise ActsmithError(f"placement: the model has {len(paths)} activations; expected three or more")
        for number, path in enumerate(paths):
            if THIRDS[number * len(THIRDS) // len(paths)] != third:
                owner, _, name = path.rpartition(".")
                model.get_submodule(owner).add_module(name, Activation(get(self.elsewhere)))
        return model


def _placed(experiment: Experiment) -> Experiment:
    return replace(experiment, model=Placed(experiment.model))


def read(folder: RunFolder, parts: tuple[Experiment, ...]) -> Findings:
    """One table for each network, and whether a place is better than everywhere."""
    tables = [_table(folder, part) for part in parts]
    return Findings(
        summary=" ".join(_sentence(table) for table in tables),
        tables=tuple(tables),
        claims=tuple(claim for table in tables for claim in _claims(table)),
    )


def _table(folder: RunFolder, part: Experiment) -> Table:
    return comparison(
        folder, part.name, ACCURACY, reference=part.reference, rates=part.rates,
        title=f"{part.name}: accuracy by place", note="crrelu acts everywhere, relu nowhere.",
    )  # fmt: skip


def _sentence(table: Table) -> str:
    order = ", ".join(f"{row.name} {row.mean:.4f}" for row in table.rows if row.mean is not None)
    return f"{table.name}: {order}."


def _claims(table: Table) -> list[Claim]:
    last, others = PLACED[-1].name, ["crrelu", *(f.name for f in PLACED[:-1])]
    return [
        verdict(f"CRReLU belongs into the last layers alone (a reviewer's conjecture): {table.name}.",
                contest(table, last, others), table.name),
        verdict(f"CRReLU everywhere is better than in any one third: {table.name}.",
                contest(table, "crrelu", [f.name for f in PLACED]), table.name),
        verdict(f"CRReLU everywhere is better than ReLU: {table.name}.", contest(table, "crrelu", ["relu"]),
                table.name),
    ]  # fmt: skip


REPRODUCTION = Reproduction(
    name="crrelu-layers",
    title="CRReLU in a third of the layers",
    source=f"asked by a reviewer of {SOURCE}",
    claims="The paper replaces every activation; a reviewer asks whether the last layers would do.",
    activations=("relu", crrelu(), *PLACED),
    presets={
        "smoke": Preset(lambda formulas: (_placed(few_digits(formulas)),), SHORT_COST),
        "small": Preset(lambda formulas: tuple(map(_placed, small_networks(formulas))), SMALL_COST),
        "paper": Preset(lambda formulas: (_placed(published_network(formulas)),), PAPER_COST),
    },
    read=read,
)
