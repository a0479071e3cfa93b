"""`found`: do the best functions of the measured table hold elsewhere?

The table (docs/table.md) chose on small tasks that need no download. Its formulas were frozen, and are trained here
once on other data and larger networks, against a panel of known functions, every rate tuned alike:

    by kind      at most three functions for each kind of network, against GELU, SiLU, ReLU and CRReLU
    generalist   the two with the best mean place over all of the table's tasks, against GELU over all kinds together

Where a longer search of its own had found one for that kind of network (docs/search.md), it is among the three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log10

from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula
from actsmith.papers.claims import SPELLED, Claim, Question, judge, over_a_page
from actsmith.papers.crrelu import ONE_PERCENT
from actsmith.papers.experiment import Experiment, Results
from actsmith.papers.findings import Findings
from actsmith.papers.five_tasks import POLYNOMIAL
from actsmith.papers.readers import budget_of, order_of, table
from actsmith.papers.reproduce import Preset, Reproduction
from actsmith.tasks.flat import FlatImages
from actsmith.tasks.functions import PolynomialConfig
from actsmith.tasks.images import Images
from actsmith.tasks.judged import Judged
from actsmith.tasks.pde import Pinn
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.residual import ResidualMlp
from actsmith.tasks.task import ModelConfig, ProblemConfig
from actsmith.tasks.text import NextCharacter
from actsmith.tasks.vision import Cnn, ResNet, Vit
from actsmith.training.problem import Metric
from actsmith.training.recipe import Recipe
from actsmith.trials.statistics import paired_difference
from actsmith.trials.tables import Table

__all__ = ["FINALISTS", "GENERALISTS", "REPRODUCTION"]

PANEL = ("gelu", "silu", "relu", "crrelu", "tanh", "sin", "mish", "hardswish", "relu_squared", "snake")
BEATEN = ("gelu", "silu", "relu", "crrelu")
"""What a finalist is to be better than."""
STRICT = 0.01
"""The p, after Holm's correction, that a find needs."""
FIVE_PERCENT = 0.0212
"""In decades: of an error of a regression."""
SEEDS = tuple(range(15))
_FAST, _SLOW = (3e-3, 1e-2, 3e-2), (1e-3, 3e-3, 1e-2)


def _formulas(**texts: str) -> tuple[Formula, ...]:
    return tuple(Formula(text, {}, name) for name, text in texts.items())


GENERALISTS = _formulas(min_sin="min(x, sin(x))", xatlu_0178="x*(1.356*atan(x)/pi + 1/2)")
"""The best two of the table by their mean place over its tasks, among those that diverged nowhere."""
FINALISTS: Mapping[str, tuple[Formula, ...]] = {
    "deep": _formulas(
        tanh_logistic="0.3954*((tanh(x/2) - 2*tanh(x))*sech(x/2)**2) + tanh(x)",
        narrow_atan="atan(0.387*x)",
    ),
    "conv": _formulas(
        silu_step="1.08*(x*sigmoid(0.583*x)) + 0.168*x + 0.645*tanh(1.96*x + 0.675)",
        elu_minus="where(x, x, expm1(x)) - 0.3*where(x, 0.6065*x*exp(-x**2/2), 0.6065*(x + 1)*exp(-x**2/2))",
    ),
    "batch-norm": _formulas(
        isrlu_073="where(x, x, x/sqrt(0.726*x**2 + 1))",
        silu_atan="x*sigmoid(atan(x))",
    ),
    "layer-norm": (*_formulas(late_relu6="min(6, relu(0.827*x - 0.218))"), get_activation("found_vit")),
    "text": (
        *_formulas(early_relu2="0.913*relu(0.861*x + 0.458)**2", steep_softplus="softplus(1.68*x)"),
        get_activation("found_text"),
    ),
    "smooth": _formulas(
        wave_softplus="(x + sin(x))*softplus(x)",
        bent_cube="x*relu(x + 1)**2 + 0.138*x*exp(-0.51*x**2) - 0.127*(1.03*x**3 - 3.03*x)*exp(-0.51*x**2)",
    ),
    "pinn": _formulas(
        gelu_wave="0.655*(x*normal_cdf(0.396*x)) - 0.733*x + 1.21*sin(1.21*x)",
        sine_less_tanh="1.88*sin(0.792*x - 0.114) - 0.417*tanh(0.629*x)",
    ),
}
"""Kind of network -> what was frozen before any of these trainings: of the functions that are not known the two that
scored best there over ten seeds (of affine copies one), and what a search had found for it."""
BEST_KNOWN: Mapping[str, Formula] = {
    **{kind: get_activation(name) for kind, name in (("deep", "selu"), ("conv", "selu"), ("batch-norm", "logish"),
                                                     ("layer-norm", "tanhshrink"), ("smooth", "serf"))},
    **{kind: Formula(text, {}, name) for kind, name, text in (("text", "leaky_relu_squared", "where(x, x, x/2)**2"),
                                                              ("pinn", "cos_less_x", "cos(x) - x"))},
}  # fmt: skip
"""Kind of network -> the known function that scored best there; it joins the panel."""


@dataclass(frozen=True)
class Kind:
    """A kind of network, at another task and larger than in the table.

    Attributes:
        what: in words.
        problem, model, recipe, rates: of the experiment.
        score: that is compared, by its logarithm.
        margin: in decades.
    """

    what: str
    problem: ProblemConfig
    model: ModelConfig
    recipe: Recipe
    rates: tuple[float, ...]
    score: str = "loss"
    margin: float = ONE_PERCENT

    @property
    def metric(self) -> Metric:
        """Of the score."""
        return Metric(self.score, "lower", log=True)


_CIFAR = Images("cifar10", validation=1000, size=16)
KINDS: Mapping[str, Kind] = {
    "deep": Kind(
        "Fashion-MNIST by a plain perceptron of 12 layers of 64, critical start",
        FlatImages("fashion-mnist", validation=1000, pool=2), Mlp(64, 12, "critical"), Recipe(5, 64, drawn=5000), _SLOW,
    ),
    "conv": Kind(
        "CIFAR-10 by 6 plain convolutions of 8 channels and more, He's start",
        _CIFAR, Cnn(8, 6, init="kaiming"), Recipe(4, 64, drawn=3000), _FAST,
    ),
    "batch-norm": Kind(
        "CIFAR-10 by a pre-activation residual network of 8 channels and more, batch normalisation",
        _CIFAR, ResNet(8), Recipe(4, 64, drawn=3000), (1e-2, 3e-2, 9e-2),
    ),
    "layer-norm": Kind(
        "CIFAR-10 by a vision transformer of 4 blocks of width 32",
        _CIFAR, Vit(32, 4, 2, 4), Recipe(3, 64, 0.05, drawn=4000), _SLOW,
    ),
    "text": Kind(
        "the next character of a novel by a residual perceptron of 4 branches of 64, layer normalisation",
        NextCharacter(train=64_000), ResidualMlp(64, 4), Recipe(4, 64, drawn=8192), _FAST, "bits_per_character",
    ),
    "smooth": Kind(
        "a polynomial of six variables by a perceptron of 5 layers of 64, critical start",
        PolynomialConfig(POLYNOMIAL, size=3000, held_out=2000), Mlp(64, 5), Recipe(20, 64), _FAST, "relative_rmse",
        FIVE_PERCENT,
    ),
    "pinn": Kind(
        "Burgers' equation by a physics-informed perceptron of 5 layers of 24, critical start, new points every step",
        Pinn("burgers", 500, 25, fresh=True), Mlp(24, 5), Recipe(400, 500, 0.0, clip=1.0), _FAST, "relative_l2",
        FIVE_PERCENT,
    ),
}  # fmt: skip


def _questions() -> tuple[Question, ...]:
    found = [
        Question(f"{f.name} is better than {SPELLED.get(other, 'CRReLU')}: {kind}", f.name, other, KINDS[kind].margin,
                 kind)
        for kind, own in FINALISTS.items() for f in own for other in BEATEN
    ]  # fmt: skip
    for f in GENERALISTS:
        found.append(Question(f"{f.name} is better than GELU over all kinds of network together", f.name, "gelu", 0.0))
        found += [Question(f"{f.name} is better than GELU: {kind}", f.name, "gelu", KINDS[kind].margin, kind)
                  for kind in KINDS]  # fmt: skip
    return tuple(found)


QUESTIONS = _questions()


def _asked_of(tables: str) -> list[Question]:
    return [question for question in QUESTIONS if question.tables == tables]


def _part(kind: str, formulas: Sequence[Formula], **changes: object) -> Experiment:
    k = KINDS[kind]
    problem = k.problem if k.problem.metric.name == k.score or kind == "pinn" else Judged(k.problem, k.score)
    arms = {f.name: f for f in (*formulas, BEST_KNOWN[kind], *FINALISTS[kind], *GENERALISTS)}
    made = Experiment(
        kind, problem, k.model, tuple(arms.values()), k.rates, k.recipe, reference="gelu", seeds=SEEDS,
        tuning_seeds=(1000,), tuning_share=0.5, labels={"kind": kind},
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def _small(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    return tuple(_part(kind, formulas) for kind in KINDS)


def _smoke(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    few = [f for f in formulas if f.name not in PANEL[2:]]
    return (_part("smooth", few, recipe=Recipe(1, 256), rates=(3e-3,), seeds=(0, 1)),)


def read(folder: Results, parts: tuple[Experiment, ...]) -> Findings:
    """A table for each kind of network, the claims, and how each finalist stands to the best of the panel."""
    tables = [
        table(folder, part, KINDS[part.name].metric, title=f"{part.name}: {KINDS[part.name].what}") for part in parts
    ]
    sizes = {**{part.name: budget_of(part) for part in parts}, "*": f"{len(parts)} kinds of network"}
    claims = over_a_page([c for where, size in sizes.items() for c in judge(_asked_of(where), tables, size)])
    return Findings(
        summary=" ".join([_conclusion(claims, tables), *map(_sentence, tables)]),
        tables=tuple(tables),
        claims=claims,
        facts={"frozen": {kind: {f.name: f.text for f in own} for kind, own in FINALISTS.items()},
               "generalists": {f.name: f.text for f in GENERALISTS}},
    )  # fmt: skip


def _conclusion(claims: Sequence[Claim], tables: Sequence[Table]) -> str:
    """Which finalists beat all four, and how they stand to the best of the panel; which generalist beats GELU."""
    sure = {c.contrast for c in claims if c.verdict == "holds" and c.p is not None and c.p < STRICT}
    won = {
        t.name: [f.name for f in FINALISTS[t.name] if sure >= {f"{f.name} - {other} in {t.name}" for other in BEATEN}]
        for t in tables
    }
    found = [f"{name} for {t.name} ({_against_panel(t, name)})" for t in tables for name in won[t.name]]
    general = [f.name for f in GENERALISTS if f"{f.name} - {BEATEN[0]} in *" in sure]
    return (
        f"On other data and in larger networks {sum(map(bool, won.values()))} of {len(tables)} kinds of network have a "
        f"frozen function that is better than GELU, SiLU, ReLU and CRReLU (each p < {STRICT}): "
        f"{', '.join(found) or 'none'}. Better than GELU over all kinds together: "
        f"{', '.join(general) or 'no generalist'}."
    )


def _against_panel(found: Table, name: str) -> str:
    """By how much of its error, and whether that is more than its noise."""
    best = found.row(_best_known(found))
    pairs = [(a, b) for a, b in zip(found.row(name).values, best.values, strict=True) if a and b]
    d = paired_difference([log10(a) for a, _ in pairs], [log10(b) for _, b in pairs])
    word = "ahead of" if d.high < 0 else "behind" if d.low > 0 else "not told apart from"
    low, high = sorted(1 - 10**v for v in (d.low, d.high))
    return f"{word} {best.name}, the best known: {1 - 10**d.mean:+.1%} [{low:+.1%}, {high:+.1%}] of its error saved"


def _best_known(found: Table) -> str:
    return next(row.name for row in found.rows if row.name in (*PANEL, BEST_KNOWN[found.name].name))


def _sentence(found: Table) -> str:
    """Where the finalists stand among the known ones."""
    places = {row.name: place for place, row in enumerate(found.rows, 1)}
    own = ", ".join(f"{f.name} {places[f.name]}" for f in (*FINALISTS[found.name], *GENERALISTS) if f.name in places)
    best = _best_known(found)
    return f"{order_of(found, 3)} Best of the panel: {best}; places of the found ones among {len(places)}: {own}."


REPRODUCTION = Reproduction(
    name="found",
    title="Do the table's best functions hold elsewhere?",
    source="an experiment of its own, after arXiv:2405.12954's question for better activations",
    claims="A function that was best for a kind of network on small tasks is better than GELU, SiLU, ReLU and CRReLU "
    "on other data and in larger networks of that kind.",
    activations=tuple(get_activation(name) for name in PANEL),
    presets={
        "smoke": Preset(_smoke, "seconds: two known functions and the generalists on a polynomial, 2 seeds"),
        "small": Preset(
            _small, "about 35 minutes of CPU time on one thread, measured; 15 seeds; needs --data with austen, cifar10 "
            "and fashion-mnist",
        ),
        "paper": Preset(_small, "no paper has such a table; the small size"),
    },
    read=read,
    questions=QUESTIONS,
)  # fmt: skip
