"""arXiv:2405.12954, its language-model experiment: GPT-2 fine-tuned by DPO with CRReLU in GELU's place.

What could not be checked here, and is therefore chosen: the values of beta, the learning rate, the number of epochs and
the batch; whether the policy's reference p_0 holds CRReLU too (here it does, but for the blend); whether the model was
fine-tuned on the chosen answers beforehand (here it was not). The paper gives no seeds and no intervals.

`small` needs no internet: a GPT-2 of 0.22 M parameters that learns Pride and Prejudice first, with GELU, with ReLU and
with CRReLU, each of the arms its own; a win over GELU belongs to CRReLU only if ReLU does not have it. Swapping the
activation of trained weights is in the `paper` preset, as published.

Margin, accuracy and loss are relative to the model before DPO. A swap that ruins the model moves them too: a blended
arm is compared with the intact model, and falls short of it on the rejected answers as well as on the chosen ones. The
log probability of the chosen answers says what became of the model itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula
from actsmith.papers.claims import Origin, Question, judge
from actsmith.papers.experiment import Part, Results
from actsmith.papers.findings import Findings
from actsmith.papers.language_models import LOSS, PRETRAINING, HubModel, Trained
from actsmith.papers.preference import ACCURACY, LIKELIHOOD, MARGIN, Arm, Preference
from actsmith.papers.preference_pairs import HubPairs, LocalPairs
from actsmith.papers.readers import outcomes, table
from actsmith.papers.reproduce import Preset, Reproduction
from actsmith.tasks.text import NextToken, SmallGpt2
from actsmith.training.problem import Metric
from actsmith.training.recipe import Recipe
from actsmith.trials import tables
from actsmith.trials.tables import Table

__all__ = ["REPRODUCTION"]

BETAS = (0.1, 0.5)
PAPER: Origin = "paper"
OURS: Origin = "ours"
SCORES: Mapping[str, Metric] = {
    "margin": MARGIN,
    "accuracy": ACCURACY,
    "loss": LOSS,
    "chosen_log_probability": LIKELIHOOD,
}
QUESTIONS = tuple(
    Question(f"Under DPO {statement}: {what}", first, second, margin, f"gpt2-beta0.1-{score}", origin,
             "experiment on DPO")
    for statement, first, second, origin in (
        ("CRReLU does better than GELU", "crrelu own", "gelu", PAPER),
        ("CRReLU does better than ReLU", "crrelu own", "relu own", PAPER),
        ("ReLU does better than GELU", "relu own", "gelu", OURS),
    )
    for score, what, margin in (("margin", "margin", 0.02), ("loss", "loss", 0.01))
)  # fmt: skip
WORDS = {
    "margin": "evaluation margin: beta times the chosen answer's gain in log probability over the rejected one's",
    "accuracy": "evaluation accuracy: the share of test pairs with a positive margin",
    "loss": "evaluation loss",
    "chosen_log_probability": "log probability of the chosen test answers after training, nats per answer",
}


def _arms(formulas: Sequence[Formula], kept: str, kinds: Sequence[Any]) -> tuple[Arm, ...]:
    """The model's own activation, then every other formula in each kind."""
    others = [f for f in formulas if f.name != kept]
    return (Arm("kept", get_activation(kept)), *(Arm(kind, f) for f in others for kind in kinds))


def _gpt2(formulas: tuple[Formula, ...], trained: Trained, betas: Sequence[float], **sizes: Any) -> list[Preference]:
    arms = _arms(formulas, "gelu", ("own", "swapped", "blended"))
    return [Preference(f"gpt2-beta{b:g}", trained, LocalPairs(), arms, beta=b, **sizes) for b in betas]


def _smoke(formulas: tuple[Formula, ...]) -> tuple[Part, ...]:
    trained = Trained(
        NextToken(length=32, vocabulary=384), SmallGpt2(width=16, depth=2, heads=2, positions=32),
        rates=(3e-3,), recipe=Recipe(epochs=1, batch=2048),
    )  # fmt: skip
    sizes: dict[str, Any] = {"train": 4, "evaluated": 4, "batch": 2, "longest": 32, "seeds": (0, 1)}
    return tuple(_gpt2(formulas, trained, (0.1,), rates=(1e-3,), **sizes))


def _small(formulas: tuple[Formula, ...]) -> tuple[Part, ...]:
    arms = (Arm("kept", get_activation("gelu")), *(Arm("own", f) for f in formulas if f.name != "gelu"))
    return (
        Preference(
            "gpt2-beta0.1", Trained(), LocalPairs(), arms, (1e-4, 5e-4), beta=0.1, train=220, evaluated=80,
            seeds=tuple(range(12)), tuning_seeds=(1000,),
        ),
    )  # fmt: skip


def _paper(formulas: tuple[Formula, ...]) -> tuple[Part, ...]:
    sets = {"shp": HubPairs("stanfordnlp/SHP"), "hh": HubPairs("Anthropic/hh-rlhf")}
    return tuple(
        Preference(
            f"gpt2-{name}-beta{beta:g}", HubModel(), pairs, _arms(formulas, "gelu", ("swapped", "blended")),
            (1e-6, 5e-6, 2e-5), beta=beta, train=100_000, evaluated=2048, batch=32, longest=512,
        )
        for name, pairs in sets.items() for beta in BETAS
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------- read


def _read(folder: Results, parts: tuple[Preference, ...]) -> Findings:
    """Four tables for each model and beta, whether an arm is better than the model's own activation."""
    found: list[Table] = []
    if pretrained := outcomes(folder, PRETRAINING):
        trained = next(p.model for p in parts if isinstance(p.model, Trained))
        found.append(
            tables.table(
                pretrained, LOSS, reference=trained.activation.name, rates=trained.rates, name=PRETRAINING,
                title="GPT-2 before DPO: loss on the Austen test text",
                note="nats per token, rate tuned for each activation",
            )
        )  # fmt: skip
    for part in parts:
        mine = [_table(folder, part, score) for score in SCORES]
        found += mine
    before = {part.name: _before(folder, part) for part in parts}
    return Findings(
        summary=_summary(parts, before),
        tables=tuple(found),
        claims=judge(QUESTIONS, found, f"{parts[0].train} pairs"),
        facts={"log probability of the chosen test answers before training, nats per answer": before},
    )


def _table(folder: Results, part: Preference, score: str) -> Table:
    return table(
        folder, part, SCORES[score], title=f"{part.name}: {WORDS[score]}",
        note=f"{len(part.seeds)} seeds, rate tuned for each arm", name=f"{part.name}-{score.replace('_', '-')}",
    )  # fmt: skip


def _before(folder: Results, part: Preference) -> dict[str, float]:
    """Arm -> the mean over the seeds, of the model that training starts from."""
    found = outcomes(folder, part.name)
    each = {name: [o.details["before"][LIKELIHOOD.name] for o in own] for name, own in found.items()}
    return {name: round(sum(v) / len(v), 2) for name, v in each.items()}


def _summary(parts: Sequence[Preference], before: Mapping[str, Mapping[str, float]]) -> str:
    costs = [
        f"{before[part.name][arm.name] - before[part.name][part.reference]:+.1f} nats per chosen answer "
        f"({part.name}, {arm.name})"
        for part in parts for arm in part.arms if arm.name in before[part.name] and arm.kind != "kept"
    ]  # fmt: skip
    return f"Before DPO, against the model's own activation: {', '.join(costs)}."


REPRODUCTION = Reproduction(
    name="crrelu-dpo",
    title="CRReLU in a language model under direct preference optimisation",
    source="arXiv:2405.12954, the experiment on fine-tuning a large language model",
    claims="GPT-2 with CRReLU has a higher evaluation margin and accuracy and a lower loss under DPO than with GELU.",
    activations=("gelu", "relu", "crrelu"),
    presets={
        "smoke": Preset(
            _smoke, "25 seconds on one thread; a tiny GPT-2 and four pairs; needs --data with austen and dpo"
        ),
        "small": Preset(
            _small, "about 20 minutes of CPU time on one thread, 12 seeds; needs --data with austen and dpo"
        ),
        "paper": Preset(
            _paper,
            "GPT-2, SHP and HH from the Hub, 100,000 pairs each: about a week on one GPU, not measured; the paper's "
            "values of beta, rate, epochs and batch could not be checked and are chosen here",
        ),
    },
    read=_read,
    questions=QUESTIONS,
)
