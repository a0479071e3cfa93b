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
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from actsmith.experiments.adaptive import EntropyWatch, Kan, VariedMlp
from actsmith.experiments.duels import duel, together
from actsmith.experiments.experiment import Experiment, ModelConfig, ProblemConfig
from actsmith.experiments.findings import Claim, Curves, Findings, Series, Table, Verdict, comparison, records
from actsmith.experiments.folder import RunFolder
from actsmith.experiments.functions import VALUE, Polynomial, PolynomialConfig
from actsmith.experiments.images import Images
from actsmith.experiments.loop import Recipe
from actsmith.experiments.pde import ERROR, Pinn
from actsmith.experiments.problem import Classification, Problem
from actsmith.experiments.reproduce import Preset, Reproduction
from actsmith.experiments.statistics import interval
from actsmith.experiments.tasks import load_task
from actsmith.experiments.vision import Vit
from actsmith.formula.catalogue import get
from actsmith.formula.formula import Formula, Param
from actsmith.nn.hermite import hermite_formula

__all__ = ["CONDITIONS", "REPRODUCTION", "Condition", "Digits"]

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
DYNAMIC = tuple(c.name for c in CONDITIONS if c.learned)
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
EXTREMES = "extremes"
STEP, NATS = "training step", "smoothed entropy, nats"
PRODUCT = Polynomial("xy", ((1, 1),), (1.0,))

LOOKS = 10
STARTS = (0.1, 1.0, 10.0, 100.0)
WEIGHTS = (-100.0, -1.0, 0.0, 1.0, 100.0)
BROKEN = 0.5
"""Of the static base's accuracy: what scores less does not train."""


@dataclass(frozen=True)
class Digits:
    """The 8x8 digits, flattened and standardised: 719 to train, 359 to validate, 719 to test."""

    def load(self, data: Path | None) -> Problem:
        """Needs no data."""
        task = load_task("digits")
        train, validation, test = (
            (torch.from_numpy(s.x), torch.from_numpy(s.y)) for s in (task.train, task.validation, task.test)
        )
        return Classification(train, validation, test, outputs=task.classes)


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

    def budget(self, epochs: int, examples: int = 719, weight_decay: float = 0.01) -> _Budget:
        """About ten looks in all; the number of examples only spreads them."""
        recipe = Recipe(epochs, batch=64, weight_decay=weight_decay)
        return _Budget(recipe, tuple(range(self.seeds)), max(epochs * (examples // recipe.batch) // LOOKS, 1))


def _parts(bases: tuple[Formula, ...], size: _Size) -> tuple[Experiment, ...]:
    """Experiments of one condition each; those of one name are one table."""
    return tuple(part for base in bases for part in _networks(base, size)) + tuple(_special(bases, size))


def _networks(base: Formula, size: _Size) -> Iterator[Experiment]:
    """Perceptrons: with what may stand around an activation, and deep ones with nothing."""
    for name in size.variants:
        net = VariedMlp(size.width, **VARIANTS[name])
        yield from _table(f"digits-{name}-{base.name}", Digits(), net, base, size.budget(size.epochs), rates=size.rates)
    for depth in size.depths:
        net, budget = VariedMlp(size.deep_width, depth), size.budget(size.deep_epochs)
        yield from _table(f"deep-{depth}-{base.name}", Digits(), net, base, budget, rates=size.deep_rates)


def _special(bases: tuple[Formula, ...], size: _Size) -> Iterator[Experiment]:
    """A regression, KAN, PINN and ViT, the last two with smooth activations; then the extremes."""
    smooth = [f for f in bases if f.smoothness is None or f.smoothness >= 1]
    product = PolynomialConfig(PRODUCT)
    for base in bases if size.product else ():
        budget, net = size.budget(size.product, 1024, 0.0), VariedMlp(size.deep_width, 4)
        yield from _table(f"product-{base.name}", product, net, base, budget, rates=size.rates)
    if size.kan:
        budget, edges = size.budget(size.kan, 1024, 0.0), Kan(order=ORDER)
        yield from _table("kan-silu", product, edges, get("silu"), budget, rates=size.rates, conditions=ON_EDGES)
    for base in smooth if size.burgers else ():
        budget = size.budget(size.burgers, 1000, 0.0)
        yield from _table(f"burgers-{base.name}", Pinn(), VariedMlp(20, 4), base, budget, rates=size.rates)
    if size.vit and smooth:
        vit, train, epochs = size.vit
        images, budget = Images("cifar10", train=train, validation=1000, test=2000), size.budget(epochs, train)
        yield from _table(f"vit-{smooth[0].name}", images, vit, smooth[0], budget, rates=size.rates, tuning=3)
    yield from _extremes(bases[0], size)


@dataclass(frozen=True)
class _Budget:
    """What all conditions of a table get."""

    recipe: Recipe
    seeds: tuple[int, ...]
    look: int


def _table(
    name: str,
    problem: ProblemConfig,
    model: ModelConfig,
    base: Formula,
    budget: _Budget,
    *,
    rates: tuple[float, ...],
    conditions: Sequence[Condition] = CONDITIONS,
    tuning: int = 2,
) -> Iterator[Experiment]:
    for condition in conditions:
        yield Experiment(
            name, problem, model, (condition.formula(base),), rates, budget.recipe, reference=condition.name,
            seeds=budget.seeds, tuning_seeds=tuple(range(1000, 1000 + tuning)), tuning_share=0.5,
            watch=condition.watch(budget.look),
        )  # fmt: skip


def _extremes(base: Formula, size: _Size) -> Iterator[Experiment]:
    """Every eps_k from a start far off, every weight, one rate, He's initialisation, which does not know the start."""
    rate, budget = size.rates[len(size.rates) // 2], size.budget(max(size.epochs // 2, 1))
    for weight in size.weights:
        for start in (0.0, *(sign * s for s in size.starts for sign in (1, -1))):
            condition = Condition(_extreme(start, weight), weight=weight)
            net = VariedMlp(size.width, init="kaiming", shift=start)
            yield from _table(EXTREMES, Digits(), net, base, budget, rates=(rate,), conditions=[condition])


def _extreme(start: float, weight: float) -> str:
    return f"start {start:g} weight {weight:g}"


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


def read(folder: RunFolder, parts: tuple[Experiment, ...]) -> Findings:
    """A table for each network, accuracy against depth, entropy through training, the extremes, the claims."""
    named = {part.name: part for part in parts}
    tables = {name: _compared(folder, part) for name, part in named.items() if name != EXTREMES}
    deep = {name: t for name, t in tables.items() if name.startswith("deep-")}
    limits = _Limits.of(folder, parts)
    return Findings(
        summary=_summary(tables, limits),
        tables=tuple(tables.values()),
        curves=(
            *_depths(deep),
            *_entropies(folder, tables),
            *_pictures(folder, tables),
            _extreme_scores(folder, parts),
        ),
        claims=tuple(_claims(tables, deep, limits)),
        facts={"extremes": limits.to_dict()},
    )


def _split(name: str) -> tuple[str, str, str]:
    """Kind of network, variant or depth (may be empty), base: the parts of a table's name."""
    kind, rest = name.split("-", 1)
    middle, base = rest.split("-", 1) if kind in ("digits", "deep") else ("", rest)
    return kind, middle, base


def _compared(folder: RunFolder, part: Experiment) -> Table:
    kind, middle, base = _split(part.name)
    metric = ERROR if kind == "burgers" else VALUE if kind in ("product", "kan") else Classification.metric
    reference = "task" if kind == "kan" else "static"
    title = f"{TITLES[kind].format(middle)}, from {base}"
    return comparison(folder, part.name, metric, reference=reference, rates=part.rates, title=title)


@dataclass(frozen=True)
class _Limits:
    """Where trainings diverge, or do not train.

    Attributes:
        trained: nets, over all tables, at tuned rates.
        diverged: of them, by table and condition.
        tuning: nets that diverged at a rate that was tried and not chosen, of how many.
        swept: of the extremes, size of the start -> (nets that diverged, nets at less than half the accuracy of the
            usual start and no weight, all nets), over all weights.
        broken: the extremes in which one did, name -> the first two counts.
    """

    trained: int
    diverged: Mapping[str, int]
    tuning: tuple[int, int]
    swept: Mapping[float, tuple[int, int, int]]
    broken: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, folder: RunFolder, parts: tuple[Experiment, ...]) -> _Limits:
        dynamic = [r for r in folder.results.values() if r["activation"] != "static"]
        scored = [r for r in dynamic if r["stage"] == "score" and r["experiment"] != EXTREMES]
        tuned = [r["diverged"] for r in dynamic if r["stage"] == "tune"]
        diverged: dict[str, int] = {}
        for r in scored:
            if any(r["diverged"]):
                key = f"{r['experiment']}, {r['activation']}"
                diverged[key] = diverged.get(key, 0) + sum(r["diverged"])
        extremes = {name: found[0] for name, found in records(folder, EXTREMES).items()}
        usual = extremes[_extreme(0.0, 0.0)]["test"]["accuracy"]
        least = BROKEN * sum(usual) / len(usual)
        counts = {
            name: (sum(r["diverged"]), sum(a is None or a < least for a in r["test"]["accuracy"]), len(r["seeds"]))
            for name, r in extremes.items()
        }
        sizes = sorted({abs(_read_extreme(name)[0]) for name in counts})
        alike = {s: [c for name, c in counts.items() if abs(_read_extreme(name)[0]) == s] for s in sizes}
        return cls(
            trained=sum(len(r["seeds"]) for r in scored),
            diverged=diverged,
            tuning=(sum(map(sum, tuned)), sum(map(len, tuned))),
            swept={s: (sum(c[0] for c in f), sum(c[1] for c in f), sum(c[2] for c in f)) for s, f in alike.items()},
            broken={name: (lost, untrained) for name, (lost, untrained, _) in counts.items() if lost or untrained},
        )

    @property
    def verdict(self) -> Verdict:
        """Of "no divergence": nowhere, only where extremes were asked for, or at tuned rates."""
        if self.diverged:
            return "not reproduced"
        return "reproduced" if not (self.tuning[0] or self.broken) else "partly reproduced"

    def __str__(self) -> str:
        tuned = ", ".join(f"{name} ({count})" for name, count in self.diverged.items()) or "none"
        swept = "; ".join(f"start {size:g}: {d} and {u} of {n}" for size, (d, u, n) in self.swept.items())
        return (
            f"Of {self.trained} nets at tuned rates diverged: {tuned}. While rates were tuned, {self.tuning[0]} of "
            f"{self.tuning[1]} diverged. Over all weights, by the size of the start, nets that diverged and nets that "
            f"scored less than half of what the usual start does: {swept}."
        )

    def to_dict(self) -> dict[str, Any]:
        return {"broken": {name: list(counts) for name, counts in self.broken.items()}, "diverged": dict(self.diverged)}


def _claims(tables: Mapping[str, Table], deep: Mapping[str, Table], limits: _Limits) -> Iterator[Claim]:
    helps = "Optimising the activation's entropy while the network learns helps"
    entropic = ("both", "both-strong", "both-critical")
    yield _claim(f"{helps}: loss and entropy against the static base", tables, [(c, "static") for c in entropic])
    yield _claim(f"{helps}: loss and entropy against the loss alone", tables, [(c, "task") for c in entropic[:2]])
    yield _claim("The entropy alone finds a better activation than the static base", tables, [("entropy", "static")])
    yield _claim("A learnable activation is better than its static base", tables, [("task", "static")])
    yield _claim("Lowering the entropy is better than raising it", tables, [("both", "both-raised")])
    if deep:
        kept = [("both-critical", "both"), ("task-critical", "task")]
        yield _claim("In deep plain networks, keeping criticality helps what is learned", deep, kept)
    yield _claim("Where criticality is kept, the entropy helps the loss", tables, [("both-critical", "task-critical")])
    yield Claim("No network diverges, whatever eps starts from and the entropy weighs", limits.verdict, f"{limits}")


def _claim(statement: str, tables: Mapping[str, Table], pairs: Sequence[tuple[str, str]]) -> Claim:
    """Counted over the tables that hold both."""
    duels = []
    for pair in pairs:
        held = [t for t in tables.values() if set(pair) <= {row.name for row in t.rows}]
        duels.append(duel(held, *pair))
    return Claim(statement, together(duels), "; ".join(map(str, duels)) + " (tables; Holm-corrected p < 0.05).")


def _summary(tables: Mapping[str, Table], limits: _Limits) -> str:
    against = [t for t in tables.values() if t.reference == "static"]
    first = [t.rows[0].name for t in against if t.rows[0].mean is not None]
    counts = sorted({n: first.count(n) for n in first}.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{name} {count}" for name, count in counts)
    gains = []
    for name in DYNAMIC:
        found = duel(against, name, "static")
        gains.append(f"{name} {found.wins} better, {found.losses} worse, {found.ties} open")
    return (
        f"{len(tables)} networks, {limits.trained} nets with learned activations. Best mean, number of networks: "
        f"{listed}. Against the static base: {'; '.join(gains)}."
    )


def _depths(deep: Mapping[str, Table]) -> list[Curves]:
    """Accuracy against depth, a panel for each base."""
    if not deep:
        return []
    panels: dict[str, tuple[Series, ...]] = {}
    for base in dict.fromkeys(_split(name)[2] for name in deep):
        group = {float(_split(name)[1]): table for name, table in deep.items() if _split(name)[2] == base}
        lines = []
        for condition in CONDITIONS:
            rows = [table.row(condition.name) for table in group.values()]
            ends = [tuple(getattr(r, end) for r in rows) for end in ("mean", "low", "high")]
            lines.append(Series(condition.name, tuple(group), *ends))
        panels[base] = tuple(lines)
    return [Curves("depth", "Accuracy of deep plain networks against depth", panels, "hidden layers", "test accuracy")]


@dataclass(frozen=True)
class _Seen:
    """The looks of all nets of one condition: steps (looks,), J_0.1 (looks, layers, nets), NaN where there is none."""

    steps: tuple[float, ...]
    entropy: NDArray[np.float64]

    @classmethod
    def of(cls, found: Sequence[Mapping[str, Any]]) -> _Seen:
        nets = [[look for watched in r["watched"] for look in watched["looks"]] for r in found]
        count = min(map(len, nets))
        parts = [[list(look["entropy"].values()) for look in looks[:count]] for looks in nets]
        steps = tuple(float(look["step"]) for look in nets[0][:count])
        return cls(steps, np.concatenate([np.array(p, dtype=np.float64) for p in parts], -1))

    def line(self, label: str, layers: int | slice = slice(None)) -> Series:
        """The mean over some layers with its interval over the nets; gaps where a net has no entropy."""
        chosen = self.entropy[:, [layers] if isinstance(layers, int) else layers].mean(1)
        found = [interval(row.tolist()) if np.isfinite(row).all() else None for row in chosen]
        mean, low, high = (tuple(getattr(f, e) if f else None for f in found) for e in ("mean", "low", "high"))
        return Series(label, self.steps, mean, low, high)


def _entropies(folder: RunFolder, tables: Mapping[str, Table]) -> Iterator[Curves]:
    """The mean over the layers, a panel for each network from one base, a line for each condition."""
    for base in dict.fromkeys(_split(name)[2] for name in tables if not name.startswith("kan")):
        panels = {}
        for name in (n for n in tables if _split(n)[2] == base and not n.startswith("kan")):
            kind, middle, _ = _split(name)
            found = records(folder, name)
            panels[f"{kind} {middle}".strip()] = tuple(_Seen.of(r).line(c) for c, r in found.items())
        yield Curves(
            f"entropy-{base}", f"Entropy through training, from {base}: mean over the layers", panels, STEP, NATS
        )


def _pictures(folder: RunFolder, tables: Mapping[str, Table]) -> Iterator[Curves]:
    """Layer by layer: the plain network, the deepest, PINN and ViT; a panel for each condition."""
    deepest = max((int(_split(n)[1]) for n in tables if n.startswith("deep-")), default=0)
    for name in tables:
        if not name.startswith((f"deep-{deepest}-", "digits-plain-", "burgers", "vit")):
            continue
        panels = {}
        for condition, found in records(folder, name).items():
            seen = _Seen.of(found)
            last = seen.entropy.shape[1] - 1
            places = dict.fromkeys((0, last // 2, last))
            panels[condition] = tuple(seen.line(f"layer {place + 1}", place) for place in places)
        yield Curves(f"layers-{name}", f"Entropy of single layers: {tables[name].title}", panels, STEP, NATS)


def _extreme_scores(folder: RunFolder, parts: tuple[Experiment, ...]) -> Curves:
    """Accuracy against the size of the start, a panel for each weight; gaps where a net diverged."""
    found = {name: r[0] for name, r in records(folder, EXTREMES).items()}
    asked = [_read_extreme(p.activations[0].name) for p in parts if p.name == EXTREMES]
    panels = {}
    for weight in dict.fromkeys(w for _, w in asked):
        lines = []
        for sign, label in ((1, "eps starts positive"), (-1, "eps starts negative")):
            starts = [s for s, w in asked if w == weight and s * sign > 0]
            rows = [found[_extreme(s, weight)] for s in starts]
            ends = [interval(r["test"]["accuracy"]) if not any(r["diverged"]) else None for r in rows]
            mean, low, high = (tuple(getattr(f, e) if f else None for f in ends) for e in ("mean", "low", "high"))
            lines.append(Series(label, tuple(abs(s) for s in starts), mean, low, high))
        panels[f"weight {weight:g}"] = tuple(lines)
    title = "Digits from extreme starts of every eps, under extreme weights of the entropy"
    return Curves(EXTREMES, title, panels, "size of every eps at the start", "test accuracy", log_x=True)


def _read_extreme(name: str) -> tuple[float, float]:
    """Start and weight: the inverse of `_extreme`."""
    _, start, _, weight = name.split()
    return float(start), float(weight)


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
)
