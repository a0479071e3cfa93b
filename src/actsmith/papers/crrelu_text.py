"""CRReLU in a small GPT-2 that learns a text from its beginning, with a ReLU arm.

The paper fine-tunes GPT-2 (see `crrelu-dpo`) and compares CRReLU with GELU, the activation that the model came with. A
win over GELU belongs to CRReLU only if plain ReLU does not have it: so ReLU is here, and the question that counts is
CRReLU against ReLU.
"""

from __future__ import annotations

from actsmith.formula.formula import Formula
from actsmith.papers.claims import Question, judge
from actsmith.papers.crrelu import SOURCE, crrelu, fast
from actsmith.papers.experiment import Experiment, Results
from actsmith.papers.findings import Findings
from actsmith.papers.readers import budget_of, losses, order_of, table
from actsmith.papers.reproduce import Preset, Reproduction
from actsmith.tasks.text import NextToken, SmallGpt2
from actsmith.training.recipe import Recipe
from actsmith.trials.sequential import Sequential

__all__ = ["REPRODUCTION"]

MARGIN = 0.03
"""Nats per token that are too small to matter: a half percent of the loss."""
TEXT = "gpt2-austen"
MODEL = "in a small GPT-2 that learns a text"
QUESTIONS = (
    Question(f"CRReLU has a lower loss than GELU {MODEL}", "crrelu", "gelu", MARGIN, TEXT, "paper",
             "experiment on language models", panel="crrelu"),
    Question(f"CRReLU has a lower loss than ReLU {MODEL}", "crrelu", "relu", MARGIN, TEXT, "paper",
             "experiment on language models", panel="crrelu"),
    Question(f"ReLU has a lower loss than GELU {MODEL}", "relu", "gelu", MARGIN, TEXT),
    Question("An eps that learns ten times as fast has a lower loss there", "crrelu_fast", "crrelu", MARGIN, TEXT),
)  # fmt: skip


def _small(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    return (
        Experiment(
            TEXT, NextToken(), SmallGpt2(), formulas, rates=(2e-3, 4e-3, 8e-3), recipe=Recipe(2, 8, clip=1.0),
            reference="gelu", seeds=Sequential(most=30, least=8, step=2), tuning_seeds=(1000,), questions=QUESTIONS,
        ),
    )  # fmt: skip


def _smoke(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    text, model = NextToken(length=32, vocabulary=384), SmallGpt2(width=16, depth=2, heads=2, positions=32)
    return (
        Experiment(TEXT, text, model, formulas, (3e-3,), Recipe(1, 2048), reference="gelu", seeds=(0, 1),
                   tuning_seeds=(1000,)),
    )  # fmt: skip


def _paper(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    return (
        Experiment(
            TEXT, NextToken(length=1024, vocabulary=16_384), SmallGpt2(768, 12, 12, 1024), formulas,
            rates=(3e-4, 6e-4, 1.2e-3), recipe=Recipe(20, 32, 0.1, clip=1.0), reference="gelu",
            seeds=Sequential(most=30, least=8), tuning_seeds=(1000,), questions=QUESTIONS,
        ),
    )  # fmt: skip


def read(folder: Results, parts: tuple[Experiment, ...]) -> Findings:
    """The table, the training losses, the claims."""
    (part,) = parts
    found = table(folder, part, part.problem.metric, title="Loss on the test text, nats per token")
    return Findings(
        order_of(found), (found,), (losses(folder, part.name, "Training"),), judge(QUESTIONS, [found], budget_of(part))
    )


REPRODUCTION = Reproduction(
    name="crrelu-text",
    title="CRReLU in a small language model, with a ReLU arm",
    source=f"after {SOURCE}, the experiment on language models",
    claims="CRReLU does better than GELU in a language model.",
    activations=("gelu", "relu", crrelu(), fast()),
    presets={
        "smoke": Preset(_smoke, "seconds on one thread; a tiny GPT-2; needs --data with austen"),
        "small": Preset(_small, "an hour at most on one thread, 30 seeds at most; needs --data with austen"),
        "paper": Preset(_paper, "GPT-2's own size on the same text, not run by us: days on a GPU"),
    },
    read=read,
    questions=QUESTIONS,
)
