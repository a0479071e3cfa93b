"""CRReLU in only the first, middle or last third of the layers, ReLU in the others.

A reviewer of arXiv:2405.12954 asked whether the last layers alone should have it. The paper itself has it everywhere.
The paper publishes no such table; the `paper` preset makes one with its ViT-Tiny on CIFAR-10.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula
from actsmith.nn.activation import Activation
from actsmith.papers.claims import Question, judge
from actsmith.papers.crrelu import ACCURACY, HALF_A_POINT, SOURCE, crrelu
from actsmith.papers.crrelu_networks import presets
from actsmith.papers.experiment import Experiment, Results
from actsmith.papers.findings import Findings
from actsmith.papers.readers import order_of, table
from actsmith.papers.reproduce import Reproduction
from actsmith.tasks.task import ModelConfig
from actsmith.training.problem import Problem

Third = Literal["first", "middle", "last"]
THIRDS: tuple[Third, ...] = ("first", "middle", "last")
PLACED = tuple(crrelu(f"crrelu_{third}") for third in THIRDS)
NAMES = tuple(f.name for f in PLACED)

QUESTIONS = tuple(
    question
    for table in ("mlp-digits", "mlp-cifar10", "resnet-cifar10")
    for question in (
        Question(f"CRReLU in the last third alone is better than everywhere: {table}", NAMES[-1], "crrelu",
                 HALF_A_POINT, table, "reviewers"),
        Question(f"CRReLU everywhere is better than in one third: {table}", "crrelu", NAMES, HALF_A_POINT, table),
        Question(f"CRReLU everywhere is better than ReLU: {table}", "crrelu", "relu", HALF_A_POINT, table, "paper"),
    )
)  # fmt: skip


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

    def build(self, formula: Formula, seed: int, problem: Problem) -> nn.Module:
        """The model's own, with `elsewhere` outside of the third.

        Raises:
            ActsmithError: fewer than three activations.
        """
        model = self.model.build(formula, seed, problem)
        third = dict(self.thirds).get(formula.name)
        if third is None:
            return model
        paths = [path for path, module in model.named_modules() if isinstance(module, Activation)]
        if len(paths) < len(THIRDS):
            raise ActsmithError(f"placement: the model has {len(paths)} activations; expected three or more")
        for number, path in enumerate(paths):
            if THIRDS[number * len(THIRDS) // len(paths)] != third:
                owner, _, name = path.rpartition(".")
                model.get_submodule(owner).add_module(name, Activation(get_activation(self.elsewhere)))
        return model


def read(folder: Results, parts: tuple[Experiment, ...]) -> Findings:
    """One table for each network, and whether a place is better than everywhere."""
    note = "crrelu acts everywhere, relu nowhere."
    tables = tuple(table(folder, p, ACCURACY, title=f"{p.name}: accuracy by place", note=note) for p in parts)
    return Findings(" ".join(map(order_of, tables)), tables, claims=judge(QUESTIONS, tables))


REPRODUCTION = Reproduction(
    name="crrelu-layers",
    title="CRReLU in a third of the layers",
    source=f"asked by a reviewer of {SOURCE}",
    claims="The paper replaces every activation; a reviewer asks whether the last layers would do.",
    activations=("relu", crrelu(), *PLACED),
    presets=presets(lambda experiment: replace(experiment, model=Placed(experiment.model)), "6 minutes"),
    read=read,
    questions=QUESTIONS,
)
