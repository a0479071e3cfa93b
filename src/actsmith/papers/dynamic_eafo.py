"""`dynamic-eafo`: activations that go on changing while the network learns, against the same activation held fixed.

    f = base + sum_{k=1..5} eps_k psi_k, from eps = 0        psi_k = He_k(x) exp(-x^2/2)

| condition     | eps follows                                                                     |
|---------------|---------------------------------------------------------------------------------|
| static        | nothing: the base                                                               |
| task          | the task's loss                                                                 |
| entropy       | the entropy of the layers' outputs alone, downwards                             |
| both          | the loss + 0.01 nat for nat, downwards                                          |
| both-strong   | the same with 0.1                                                               |
| both-critical | as both, kept where E f^2, E f'^2 and E[x f f'] under N(0, 1) stay as they were |
| task-critical | the task's loss, kept there too                                                 |
| both-raised   | the loss - 0.01: upwards, the sign that the paper published                     |

The paper names the optimisation of an activation during training as future work and tries none, so there are no
published sizes: the paper preset is the small one at usual sizes. Under AdamW, which divides by a gradient's own size,
a weight says how the entropy counts against the loss; where it counts alone, only its sign matters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula, Param
from actsmith.nn.hermite import hermite_formula
from actsmith.papers.claims import Claim, Question, certain, judge
from actsmith.papers.experiment import Experiment, Results
from actsmith.papers.findings import Curves, Findings, Series
from actsmith.papers.readers import against, best_counts, by_label, chosen, line, outcomes, table
from actsmith.papers.reproduce import Preset, Reproduction
from actsmith.tasks.adaptive import EntropyWatch, Kan
from actsmith.tasks.flat import FlatImages
from actsmith.tasks.functions import VALUE, Polynomial, PolynomialConfig
from actsmith.tasks.images import Images
from actsmith.tasks.pde import ERROR, Pinn
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.vision import Vit
from actsmith.training.problem import Classification
from actsmith.training.recipe import Recipe
from actsmith.trials.tables import Table
from actsmith.trials.trial import Outcome

__all__ = ["CONDITIONS", "REPRODUCTION", "Condition"]

ORDER = 5
"""Two more than the conditions of criticality, so that what keeps it can still move."""
WEIGHT, STRONG = 0.01, 0.1


@dataclass(frozen=True)
class Condition:
    """What moves an activation's eps.

    Attributes:
        name: in tables.
        learned: whether there are any.
        weight, task, keep: as in `EntropyWatch`.
    """

    name: str
    learned: bool = True
    weight: float = 0.0
    task: bool = True
    keep: Literal["nothing", "critical"] = "nothing"

    def formula(self, base: Formula) -> Formula:
        """The base, its own parameters fixed, with or without eps; named like the condition."""
        fixed = {name: Param(p.value, low=p.low, high=p.high) for name, p in base.params.items()}
        held = Formula(base.expr, fixed, base.name)
        return (hermite_formula(held, ORDER) if self.learned else held).renamed(self.name)

    def watch(self, look: int) -> EntropyWatch:
        return EntropyWatch(self.weight, self.task, self.keep, look=look)


CONDITIONS = (
    Condition("static", learned=False),
    Condition("task"),
    Condition("entropy", weight=STRONG, task=False),
    Condition("both", weight=WEIGHT),
    Condition("both-strong", weight=STRONG),
    Condition("both-critical", weight=WEIGHT, keep="critical"),
    Condition("task-critical", keep="critical"),
    Condition("both-raised", weight=-WEIGHT),
)
ON_EDGES = tuple(replace(c, learned=False) for c in CONDITIONS if c.task and c.keep == "nothing" and c.learned)
"""The edges of a KAN learn in any case; they are its weights, so that there is no entropy alone."""

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "batchnorm": {"norm": "batch"},
    "layernorm": {"norm": "layer"},
    "residual": {"residual": True},
    "dropout": {"dropout": 0.1},
}
TITLES = {
    "digits": "Digits, perceptron of 6 layers, {}",
    "deep": "Digits, plain perceptron of {} layers",
    "product": "Regression of x y, perceptron of 4 layers",
    "kan": "Regression of x y, KAN",
    "burgers": "Burgers' equation, PINN of 4 layers",
    "vit": "CIFAR-10, vision transformer",
}
"""Kind of table -> what it is; the braces take the variant or the depth."""
METRICS = {"burgers": ERROR, "product": VALUE, "kan": VALUE}
"""Kind of table -> what it is scored by; the others by their accuracy."""
EXTREMES = "extremes"
STEP, NATS = "training step", "smoothed entropy, nats"
DIGITS = FlatImages("digits")
PRODUCT = Polynomial("xy", ((1, 1),), (1.0,))

LOOKS = 10
STARTS = (0.1, 1.0, 10.0, 100.0)
WEIGHTS = (-100.0, -1.0, 0.0, 1.0, 100.0)
BROKEN = 0.5
"""Of the static base's accuracy: what scores less does not train."""

KINDS = {
    "digits-*": "digits",
    "deep-*": "deep plain networks",
    "vit-*": "a vision transformer",
    "product-*": "a regression",
    "burgers-*": "Burgers' equation",
    "kan-*": "a KAN",
}
MARGINS = dict.fromkeys(KINDS, 0.005) | dict.fromkeys(("product-*", "burgers-*", "kan-*"), 0.05)
ASKED = (
    ("Optimising loss and entropy of the activation beats the static base", "both", "static", tuple(KINDS)[:5]),
    ("Optimising loss and entropy beats the loss alone", "both", "task", tuple(KINDS)),
    ("The entropy alone finds a better activation than the static base", "entropy", "static", ("digits-*", "deep-*")),
    ("A learnable activation beats its static base", "task", "static", tuple(KINDS)[:5]),
    ("Lowering the entropy is better than raising it", "both", "both-raised", tuple(KINDS)),
    ("Keeping criticality helps", "both-critical", "both", ("deep-*",)),
    ("Where criticality is kept, the entropy helps the loss", "both-critical", "task-critical", ("deep-*",)),
)
QUESTIONS = tuple(
    Question(f"{statement}: {KINDS[tables]}", first, second, MARGINS[tables], tables, "ours", "open in the paper")
    for statement, first, second, where in ASKED for tables in where
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------- parts


@dataclass(frozen=True)
class _Size:
    """How much of everything; 0 epochs leave a table out.

    Attributes:
        seeds, rates: of every table but the deep networks', which have rates of their own.
        variants, width, epochs: the perceptrons of 6 layers.
        depths, deep_width, deep_epochs, deep_rates: the deep plain ones.
        product, burgers, kan: epochs.
        vit: the network, training images and epochs.
        starts, weights: the extremes.
    """

    seeds: int
    rates: tuple[float, ...]
    variants: tuple[str, ...]
    width: int
    epochs: int
    starts: tuple[float, ...]
    weights: tuple[float, ...]
    depths: tuple[int, ...] = ()
    deep_width: int = 32
    deep_epochs: int = 0
    deep_rates: tuple[float, ...] = ()
    product: int = 0
    burgers: int = 0
    kan: int = 0
    vit: tuple[Vit, int, int] | None = None

    def table(
        self,
        name: str,
        base: Formula,
        epochs: int,
        conditions: Sequence[Condition] = CONDITIONS,
        *,
        decay: float = 0.0,
        examples: int = 1000,
        labels: Mapping[str, Any],
        **options: Any,
    ) -> Iterator[Experiment]:
        """One experiment a condition; together they are one table. About ten looks in all, which the number of examples
        only spreads."""
        for condition in conditions:
            changed = {
                "activations": (condition.formula(base),), "rates": self.rates, "seeds": tuple(range(self.seeds)),
                "recipe": Recipe(epochs, batch=64, weight_decay=decay), "tuning_seeds": (1000, 1001),
                "watch": condition.watch(max(epochs * (examples // 64) // LOOKS, 1)), **options,
            }  # fmt: skip
            yield Experiment(
                name, reference=condition.name, tuning_share=0.5, labels={**labels, "base": base.name}, **changed
            )

    def perceptron(self, name: str, base: Formula, epochs: int, model: Mlp, **options: Any) -> Iterator[Experiment]:
        """The same of a perceptron on digits."""
        return self.table(name, base, epochs, decay=0.01, examples=719, problem=DIGITS, model=model, **options)


def _parts(bases: tuple[Formula, ...], size: _Size) -> tuple[Experiment, ...]:
    networks = tuple(part for base in bases for part in _networks(base, size))
    return (*networks, *_special(bases, size), *_extremes(bases[0], size))


def _networks(base: Formula, size: _Size) -> Iterator[Experiment]:
    """Perceptrons: with what may stand around an activation, and deep ones with nothing."""
    for variant in size.variants:
        net, name = Mlp(size.width, **VARIANTS[variant]), f"digits-{variant}-{base.name}"
        yield from size.perceptron(name, base, size.epochs, net, labels={"kind": "digits", "variant": variant})
    for depth in size.depths:
        net, name, labels = Mlp(size.deep_width, depth), f"deep-{depth}-{base.name}", {"kind": "deep", "depth": depth}
        yield from size.perceptron(name, base, size.deep_epochs, net, labels=labels, rates=size.deep_rates)


def _special(bases: tuple[Formula, ...], size: _Size) -> Iterator[Experiment]:
    """A regression, KAN, PINN and ViT, the last two with smooth activations."""
    smooth = [f for f in bases if f.smoothness is None or f.smoothness >= 1]
    product: dict[str, Any] = {"problem": PolynomialConfig(PRODUCT), "examples": 1024}
    for base in bases if size.product else ():
        net, labels = Mlp(size.deep_width, 4), {"kind": "product"}
        yield from size.table(f"product-{base.name}", base, size.product, model=net, labels=labels, **product)
    if size.kan:
        product |= {"model": Kan(order=ORDER), "labels": {"kind": "kan"}}
        yield from size.table("kan-silu", get_activation("silu"), size.kan, ON_EDGES, **product)
    for base in smooth if size.burgers else ():
        net, labels = Mlp(20, 4), {"kind": "burgers"}
        yield from size.table(f"burgers-{base.name}", base, size.burgers, problem=Pinn(), model=net, labels=labels)
    if size.vit and smooth:
        vit, train, epochs = size.vit
        yield from size.table(
            f"vit-{smooth[0].name}", smooth[0], epochs, model=vit, decay=0.01, examples=train, labels={"kind": "vit"},
            problem=Images(dataset="cifar10", train=train, validation=1000, test=2000), tuning_seeds=(1000, 1001, 1002),
        )  # fmt: skip


def _extremes(base: Formula, size: _Size) -> Iterator[Experiment]:
    """Every eps_k from a start far off, every weight, one rate, He's initialisation, which does not know the start."""
    for weight in size.weights:
        for start in (0.0, *(sign * s for s in size.starts for sign in (1, -1))):
            labels = {"kind": EXTREMES, "start": start, "weight": weight}
            yield from size.perceptron(
                EXTREMES, base, max(size.epochs // 2, 1), Mlp(size.width, init="kaiming", shift=start), labels=labels,
                conditions=[Condition(f"start {start:g} weight {weight:g}", weight=weight)],
                rates=(size.rates[len(size.rates) // 2],),
            )  # fmt: skip


SMOKE = _Size(
    seeds=2, rates=(3e-3, 1e-2), variants=("plain",), width=8, epochs=2, starts=(10.0,), weights=(0.0, 0.1),
)  # fmt: skip
SMALL = _Size(
    seeds=10, rates=(1e-3, 3e-3, 1e-2, 3e-2), variants=tuple(VARIANTS), width=64, epochs=30, depths=(10, 25, 50),
    deep_width=32, deep_epochs=30, deep_rates=(3e-4, 1e-3, 3e-3, 1e-2), product=40, burgers=60, kan=40,
    vit=(Vit(32, 4, 2, 8), 2000, 8), starts=STARTS, weights=WEIGHTS,
)  # fmt: skip
PAPER = _Size(
    seeds=10, rates=(3e-4, 1e-3, 3e-3, 1e-2), variants=tuple(VARIANTS), width=256, epochs=100,
    depths=(10, 20, 30, 40, 50), deep_width=128, deep_epochs=50, deep_rates=(1e-4, 3e-4, 1e-3, 3e-3), product=1000,
    burgers=5000, kan=1000, vit=(Vit(192, 12, 3, 4), 45000, 100), starts=STARTS, weights=WEIGHTS,
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------- findings


def read(folder: Results, parts: tuple[Experiment, ...]) -> Findings:
    """A table for each network, accuracy against depth, entropy through training, the extremes, the claims."""
    named = {part.name: part for part in parts if part.name != EXTREMES}
    tables = [_compared(folder, part) for part in named.values()]
    limits = _Limits.of(folder, parts)
    return Findings(
        summary=_summary(tables, limits),
        tables=tuple(tables),
        curves=(*_depths(tables), *_entropies(folder, tables), *_pictures(folder, tables), *limits.curves()),
        claims=(*judge(QUESTIONS, tables), limits.claim()),
        facts={"extremes": {"broken": limits.broken, "diverged": limits.diverged}},
    )


def _compared(folder: Results, part: Experiment) -> Table:
    kind = part.labels["kind"]
    what = TITLES[kind].format(part.labels.get("variant", part.labels.get("depth")))
    return table(
        folder, part, METRICS.get(kind, Classification.metric), title=f"{what}, from {part.labels['base']}",
        reference="task" if kind == "kan" else "static",
    )  # fmt: skip


@dataclass(frozen=True)
class _Limits:
    """Where trainings diverge, or do not train.

    Attributes:
        scored, tuned: the learned activations of all tables but the extremes, at tuned rates and while rates were
            tuned.
        extremes: (start, weight) -> the trainings from there.
    """

    scored: Sequence[Outcome]
    tuned: Sequence[Outcome]
    extremes: Mapping[tuple[float, float], Sequence[Outcome]]

    @classmethod
    def of(cls, folder: Results, parts: tuple[Experiment, ...]) -> _Limits:
        names = {part.name for part in parts}
        dynamic = [o for o in folder.all().values() if o.trial.task in names - {EXTREMES} and o.name != "static"]
        trained = outcomes(folder, EXTREMES)
        return cls(
            [o for o in dynamic if o.trial.stage == "score"],
            [o for o in dynamic if o.trial.stage == "tune"],
            {
                (part.labels["start"], part.labels["weight"]): trained[part.activations[0].name]
                for part in parts
                if part.name == EXTREMES
            },
        )

    @property
    def diverged(self) -> dict[str, int]:
        """Nets that did at tuned rates, by table and condition."""
        places = [f"{o.trial.task}, {o.name}" for o in self.scored if o.diverged]
        return {place: places.count(place) for place in dict.fromkeys(places)}

    def lost(self, found: Sequence[Outcome]) -> tuple[int, int]:
        """Of the extremes' nets, those that diverged, and those below half the accuracy of the usual start."""
        usual = [o.score("accuracy", "test") or 0.0 for o in self.extremes[0.0, 0.0]]
        least = BROKEN * sum(usual) / len(usual)
        return sum(o.diverged for o in found), sum((o.score("accuracy", "test") or 0.0) < least for o in found)

    @property
    def broken(self) -> dict[str, list[int]]:
        """The extremes in which a net was lost, by both counts."""
        counts = {found[0].name: list(self.lost(found)) for found in self.extremes.values()}
        return {name: both for name, both in counts.items() if any(both)}

    def claim(self) -> Claim:
        """Of no divergence, over the conditions of every table and the extremes."""
        everything = (*self.scored, *self.tuned)
        lost = {(o.trial.task, o.name) for o in everything if o.diverged}
        cases = [case not in lost for case in {(o.trial.task, o.name) for o in everything}]
        tuned = ", ".join(f"{name} ({count})" for name, count in self.diverged.items()) or "none"
        swept = []
        for size in sorted({abs(start) for start, _ in self.extremes}):
            found = [o for (start, _), own in self.extremes.items() if abs(start) == size for o in own]
            swept.append("start {:g}: {} and {} of {}".format(size, *self.lost(found), len(found)))
        return certain(
            "No network diverges, whatever eps starts from and the entropy weighs.",
            [*cases, *(not any(self.lost(found)) for found in self.extremes.values())],
            f"Of {len(self.scored)} nets at tuned rates diverged: {tuned}. While rates were tuned, "
            f"{sum(o.diverged for o in self.tuned)} of {len(self.tuned)} diverged. Over all weights, by the size of "
            "the start, nets that diverged and nets that scored less than half of what the usual start does: "
            f"{'; '.join(swept)}.", origin="ours",
        )  # fmt: skip

    def curves(self) -> list[Curves]:
        """Accuracy against the size of the start, a panel for each weight; gaps where a net diverged."""
        panels: dict[str, tuple[Series, ...]] = {}
        for weight in dict.fromkeys(w for _, w in self.extremes):
            for sign, label in ((1, "eps starts positive"), (-1, "eps starts negative")):
                mine = {s: found for (s, w), found in self.extremes.items() if w == weight and s * sign > 0}
                samples = [[o.score("accuracy", "test") for o in found] for found in mine.values()]
                drawn = line(label, [abs(start) for start in mine], samples)
                panels[f"weight {weight:g}"] = (*panels.get(f"weight {weight:g}", ()), drawn)
        title = "Digits from extreme starts of every eps, under extreme weights of the entropy"
        x = "size of every eps at the start"
        return [Curves(EXTREMES, title, panels, x, "test accuracy", log_x=True)] if panels else []


def _summary(tables: Sequence[Table], limits: _Limits) -> str:
    against_static = [t for t in tables if t.reference == "static"]
    return (
        f"{len(tables)} networks, {len(limits.scored)} nets with learned activations. Best mean, number of networks: "
        f"{best_counts(against_static)}."
    )


def _depths(tables: Sequence[Table]) -> list[Curves]:
    """Accuracy against depth, a panel for each base."""
    deep = chosen(tables, kind="deep")
    panels = {base: against(group, "depth") for base, group in by_label(deep, "base").items()}
    title = "Accuracy of deep plain networks against depth"
    return [Curves("depth", title, panels, "hidden layers", "test accuracy")] if panels else []


def _seen(found: Sequence[Outcome]) -> tuple[list[float], NDArray[np.float64]]:
    """The looks of all nets of one condition: steps (looks,), J_0.1 (looks, layers, nets), NaN where there is none."""
    nets = [[look for watched in o.details["watched"] for look in watched["looks"]] for o in found]
    count = min(map(len, nets))
    values = [[list(look["entropy"].values()) for look in looks[:count]] for looks in nets]
    return [look["step"] for look in nets[0][:count]], np.moveaxis(np.array(values, dtype=np.float64), 0, -1)


def _entropies(folder: Results, tables: Sequence[Table]) -> Iterator[Curves]:
    """The mean over the layers, a panel for each network from one base, a line for each condition."""
    for base, group in by_label([t for t in tables if t.labels["kind"] != "kan"], "base").items():
        panels = {}
        for found in group:
            labels, lines = found.labels, []
            for condition, own in outcomes(folder, found.name).items():
                steps, entropy = _seen(own)
                lines.append(line(condition, steps, entropy.mean(1).tolist()))
            panels[f"{labels['kind']} {labels.get('variant', labels.get('depth', ''))}".strip()] = tuple(lines)
        title = f"Entropy through training, from {base}: mean over the layers"
        yield Curves(f"entropy-{base}", title, panels, STEP, NATS)


def _pictures(folder: Results, tables: Sequence[Table]) -> Iterator[Curves]:
    """Layer by layer: the plain network, the deepest, PINN and ViT; a panel for each condition."""
    deepest = max((t.labels["depth"] for t in chosen(tables, kind="deep")), default=0)
    asked = ({"kind": "digits", "variant": "plain"}, {"kind": "deep", "depth": deepest})
    for found in (t for where in (*asked, {"kind": "burgers"}, {"kind": "vit"}) for t in chosen(tables, **where)):
        panels = {}
        for condition, own in outcomes(folder, found.name).items():
            steps, entropy = _seen(own)
            last = entropy.shape[1] - 1
            places = dict.fromkeys((0, last // 2, last))
            panels[condition] = tuple(line(f"layer {i + 1}", steps, entropy[:, i].tolist()) for i in places)
        yield Curves(f"layers-{found.name}", f"Entropy of single layers: {found.title}", panels, STEP, NATS)


REPRODUCTION = Reproduction(
    name="dynamic-eafo",
    title="EAFO during training: activations that go on changing while the network learns",
    source="Sun et al., arXiv:2405.12954, A Method on Searching Better Activation Functions; dynamic optimisation and "
    "KANs are its open questions",
    claims="optimising the activation while the network is trained is left to future work; no experiment is published",
    activations=("relu", "gelu", "tanh"),
    presets={
        "smoke": Preset(lambda bases: _parts(bases[:1], SMOKE), "seconds: one small perceptron and four extremes"),
        "small": Preset(lambda bases: _parts(bases, SMALL), "about 100 minutes on one CPU thread; CIFAR-10 (--data)"),
        "paper": Preset(
            lambda bases: _parts(bases, PAPER),
            "weeks on one CPU thread, a GPU's work; CIFAR-10 (--data). The paper publishes no such experiment, these "
            "are usual sizes",
        ),
    },
    read=read,
    questions=QUESTIONS,
)
