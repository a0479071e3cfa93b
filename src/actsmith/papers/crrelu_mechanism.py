"""The mechanism of arXiv:2405.12954, link by link, in perceptrons that are trained.

The paper's story: an activation f of lower output entropy orders the features, so that the classes' densities overlap
less, so that the Bayes error of a classification by the layer's outputs is smaller, so that training ends better.

In every layer, before and after training, on examples that were not trained on, the pre-activations z and the outputs
a = f(z) are measured (`separation`). What f itself does is the change from z to a; the links are rank correlations,
over the activations, of these changes with each other and with the loss that training reaches.

Activations are drawn by the families of `papers.families`. The run was first read with families made by hand, 13 of
them: the last link after training was then open, [+0.18, +0.70] with 0.2 too small to matter; no other answer differs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula
from actsmith.nn.hook import Hook
from actsmith.papers.claims import Claim
from actsmith.papers.crrelu import LOSS, SOURCE, crrelu
from actsmith.papers.experiment import Experiment, Results, Run
from actsmith.papers.families import families
from actsmith.papers.findings import Curves, Findings, Series
from actsmith.papers.five_tasks import SMALL, Size, five_tasks
from actsmith.papers.looking import Looking, at_activations
from actsmith.papers.rank_correlation import WEAK, Correlation, between, correlated
from actsmith.papers.readers import budget_of, line, outcomes, table
from actsmith.papers.reproduce import Preset, Reproduction
from actsmith.papers.separation import QUANTITIES, separation
from actsmith.papers.theory_vs_training import CORRECTED
from actsmith.tasks.task import describe
from actsmith.theory.eafo import correction, worst_activation
from actsmith.training.problem import Classification, Problem

__all__ = ["LINKS", "REPRODUCTION", "Link", "Registered", "Separations", "activations", "layers_of"]

KNOWN = (
    "relu", "leaky_relu", "crrelu", "crrelu_minus", "gelu", "silu", "hardswish", "mish", "elu", "selu", "softplus",
    "tanh", "hardtanh", "arctan", "softsign", "worst_normal", "sigmoid", "sin", "snake", "gaussian", "lisht", "mrepu",
    "symlog", "bent_identity",
)  # fmt: skip
"""Of the catalogue, and two of the theory; their corrections come after them."""
SHOWN = ("relu", "crrelu", "gelu", "tanh", "sin", "worst_normal")
"""Whose layers are drawn."""
RESOLVED = 4
"""Decimals to which measurements are told apart."""
RISING = np.linspace(-5.0, 5.0, 4001)
"""Where it is seen whether an activation increases."""

Time = Literal["start", "end"]
Floats = NDArray[np.float64]
TIMES: Mapping[Time, str] = {"start": "before training", "end": "after training"}


@dataclass(frozen=True)
class Link:
    """One step of the story: where the cause is smaller, so is the effect.

    Attributes:
        name: "cause-effect", of the quantities of `separation` or the "loss" that training reaches.
        statement: in words.
    """

    name: str
    statement: str

    @property
    def ends(self) -> tuple[str, str]:
        """Cause and effect."""
        cause, _, effect = self.name.partition("-")
        return cause, effect


LINKS = (
    Link("entropy-overlap", "An activation that lowers the entropy more makes the classes' densities overlap less"),
    Link("overlap-probe", "An activation that makes densities overlap less makes a linear probe's error smaller"),
    Link("probe-loss", "An activation that makes a linear probe's error smaller ends with a lower test loss"),
    Link("entropy-loss", "An activation that lowers the entropy more ends with a lower test loss"),
)
WITHIN = Link("within-overlap", "The same of the entropy within classes")


# ----------------------------------------------------------------------------------------------------- measure


@dataclass(frozen=True)
class Registered:
    """Writes down, before anything is trained, which links are to be judged and by what margin.

    Attributes:
        links: in the order of the story.
        margin: a rank correlation that is too weak to choose by.
    """

    links: tuple[Link, ...] = LINKS
    margin: float = WEAK
    name: ClassVar[str] = "links"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that say all there is to say."""
        return {**describe(self), "name": self.name}

    def left(self, folder: Results) -> int:
        """1 where it is not written down yet."""
        return int(self.name not in folder.results)

    def run(self, run: Run) -> None:
        """Write it down."""
        if self.left(run.folder):
            run.append(self.name, self.to_dict())


@dataclass(frozen=True)
class Separations:
    """Measures z and a of every layer of a perceptron, before training and after its last epoch, on the validation and
    the test examples.

    Attributes:
        epochs: of the training.
        units: of each layer, whose densities are measured one by one.
        examples: at most so many, evenly spaced.
    """

    epochs: int
    units: int = 16
    examples: int = 3000
    stacks = True

    def build(self, model: nn.Module, problem: Problem) -> Hook:
        """The hook of one training."""
        assert isinstance(problem, Classification)
        x, y = (torch.cat([problem.splits[s][i] for s in ("validation", "test")]) for i in (0, 1))
        every = -(-len(x) // self.examples)
        x, classes = x[::every], y[::every].numpy()

        def look() -> list[list[dict[str, Any]]]:
            return [
                [
                    {"z": separation(z, classes, self.units), "a": separation(a, classes, self.units)}
                    for z, a in zip(*layer, strict=True)
                ]
                for layer in layers_of(model, x)
            ]

        return Looking((0, self.epochs), "end", look)


def layers_of(model: nn.Module, x: Tensor) -> list[tuple[Floats, Floats]]:
    """Pre-activations and outputs of every layer of a perceptron or of a stack of them, each (nets, n, units).

    Args:
        model: as the engine trains it.
        x: inputs of one network, (n, ...).
    """

    def both(z: Tensor, a: Tensor, nets: int | None) -> tuple[Floats, Floats]:
        # A stack has its units before the examples.
        first, second = (v[None] if nets is None else v.transpose(1, 2) for v in (z.double().cpu(), a.double().cpu()))
        return first.numpy(), second.numpy()

    return at_activations(model, x, both)


# -------------------------------------------------------------------------------------------------------- read


@dataclass(frozen=True)
class Measurements:
    """What was measured, and what training reached.

    Attributes:
        names: of the activations that trained and could be measured everywhere.
        layers: time -> side, "z" or "a" -> quantity -> (tasks, activations, seeds, layers).
        loss: on the test split, (tasks, activations, seeds).
    """

    names: tuple[str, ...]
    layers: Mapping[Time, Mapping[str, Mapping[str, Floats]]]
    loss: Floats

    def of(self, time: Time, quantity: str, *, change: bool) -> Floats:
        """The mean over the layers of a quantity of a, or of its change from z; the loss. (tasks, activations,
        seeds)."""
        if quantity == "loss":
            return self.loss
        found = self.by_layer(time, quantity) if change else self.layers[time]["a"][quantity]
        means: Floats = found.mean(-1)
        return means

    def by_layer(self, time: Time, quantity: str) -> Floats:
        """The change from z to a, (tasks, activations, seeds, layers)."""
        at = self.layers[time]
        return at["a"][quantity] - at["z"][quantity]


def measurements(folder: Results, experiments: Sequence[Experiment]) -> Measurements:
    """Of finished experiments with the same activations; an activation of which a net diverged is left out."""
    trained = [outcomes(folder, e.name) for e in experiments]
    names = [f.name for f in experiments[0].activations]
    loss = np.array([[[_number(o.score(LOSS, "test")) for o in own[n]] for n in names] for own in trained])

    def looked(time: Time, side: str, quantity: str) -> Floats:
        nets = [[[_look(o.details["watched"], time) for o in own[n]] for n in names] for own in trained]
        return np.array([[[[_number(layer[side][quantity]) for layer in net] for net in row] for row in task]
                         for task in nets])  # fmt: skip

    layers = {t: {s: {q: looked(t, s, q) for q in QUANTITIES} for s in ("z", "a")} for t in TIMES}
    known = np.isfinite(loss).all((0, 2))
    for values in (v for at in layers.values() for side in at.values() for v in side.values()):
        known &= np.isfinite(values).all((0, 2, 3))
    return Measurements(
        tuple(np.array(names)[known].tolist()),
        {t: {s: {q: v[:, known] for q, v in side.items()} for s, side in at.items()} for t, at in layers.items()},
        loss[:, known],
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _look(watched: Sequence[Mapping[str, Any]], time: Time) -> list[dict[str, Any]]:
    """The layers at one time; nothing known of any where training ended before it."""
    found: list[list[dict[str, Any]]] = [record[time] for record in watched if time in record]
    nothing = {side: dict.fromkeys(QUANTITIES) for side in ("z", "a")}
    return found[-1] if found else [nothing for _ in watched[0]["start"]]


@dataclass(frozen=True)
class _Found:
    """A link's rank correlations, by task and on the mean of the tasks."""

    link: Link
    time: Time
    tasks: Mapping[str, Correlation]
    mean: Correlation

    def to_dict(self) -> dict[str, Any]:
        return {**{name: c.to_dict() for name, c in self.tasks.items()}, "mean": self.mean.to_dict()}


def _found(
    link: Link, time: Time, m: Measurements, tasks: Sequence[str], kin: Sequence[str], *, change: bool
) -> _Found:
    cause, effect = (m.of(time, q, change=change) for q in link.ends)
    each, mean = between(_resolved(cause), _resolved(effect), kin)
    return _Found(link, time, dict(zip(tasks, each, strict=True)), mean)


def _resolved(values: Floats) -> Floats:
    """What differs by less is a tie: float32's saturation moves an increasing f's overlap by 1e-6."""
    rounded: Floats = values.round(RESOLVED)
    return rounded


def rises(formula: Formula) -> bool:
    """Whether f increases everywhere that pre-activations are found."""
    return bool((np.diff(formula(RISING)) > 0).all())


def _read(folder: Results, parts: tuple[Any, ...]) -> Findings:
    experiments = [p for p in parts if isinstance(p, Experiment)]
    tables = tuple(
        table(folder, e, LOSS, title=f"{e.name}: test loss", note=f"{len(e.most)} seeds, rate tuned for each")
        for e in experiments
    )
    if not experiments:
        return Findings("The links need a task.", tables)
    tasks, m = [e.name for e in experiments], measurements(folder, experiments)
    there = {f.name: f for f in experiments[0].activations}
    kin = families([there[name] for name in m.names])
    changes = [_found(link, t, m, tasks, kin, change=True) for t in TIMES for link in (*LINKS, WITHIN)]
    levels = [_found(link, t, m, tasks, kin, change=False) for t in TIMES for link in (*LINKS, WITHIN)]
    rising = {f.name for f in experiments[0].activations if rises(f)}
    lost = sorted({f.name for f in experiments[0].activations} - {*m.names})
    size = f"{len(experiments[0].most)} seeds; perceptrons; " + "; ".join(map(budget_of, experiments))
    return Findings(
        summary=_summary(m, tasks, changes, rising, lost),
        tables=tables,
        curves=(
            _overview(changes, levels),
            *(_scatter(link, m, tasks, rising) for link in LINKS),
            *(_through_layers(q, m, tasks) for q in ("overlap", "probe") if {*SHOWN} & {*m.names}),
        ),
        claims=tuple(_claim(f, size) for f in changes if f.link in LINKS),
        facts={
            "rank correlations of what f changes": _by_time(changes),
            "rank correlations of what the outputs are": _by_time(levels),
            "measured, mean over layers and seeds": {
                TIMES[t]: {task: _rows(m, t, i) for i, task in enumerate(tasks)} for t in TIMES
            },
            "increasing": sorted(rising & {*m.names}),
            "left out, as a net diverged": lost,
            "families, drawn together": len(set(kin)),
        },
    )


def _by_time(found: Sequence[_Found]) -> dict[str, Any]:
    return {words: {f.link.name: f.to_dict() for f in found if f.time == t} for t, words in TIMES.items()}


def _rows(m: Measurements, time: Time, task: int) -> dict[str, dict[str, list[float]]]:
    """Activation -> quantity -> its values of z and of a."""
    sides = m.layers[time]
    return {
        name: {
            q: [float(f"{sides[s][q][task, i].mean():.7g}") for s in ("z", "a")] for q in QUANTITIES
        }
        for i, name in enumerate(m.names)
    }  # fmt: skip


def _claim(found: _Found, size: str) -> Claim:
    """By the interval of the mean over the tasks; a positive correlation is as claimed."""
    details = "; ".join(f"{name} {each}" for name, each in found.tasks.items())
    return correlated(
        f"{found.link.statement}: changes from z to f(z) {TIMES[found.time]}", found.mean, 1,
        f"over {found.mean.count} activations: {details}", size, origin="paper", where="its mechanism",
        panel="crrelu" if found.link is LINKS[0] and found.time == "start" else "",
    )  # fmt: skip


def _overview(changes: Sequence[_Found], levels: Sequence[_Found]) -> Curves:
    """Every link, before and after training."""
    panels = {
        " and ".join(link.ends): tuple(
            Series(
                label, (1.0, 2.0), tuple(c.rho for c in both), tuple(c.low for c in both), tuple(c.high for c in both)
            )
            for label, found in (("what f changes", changes), ("the outputs f(z) themselves", levels))
            for both in [[f.mean for f in found if f.link == link]]
        )
        for link in (*LINKS, WITHIN)
    }
    title = "Each link of the story, with 95 % intervals; positive as told"
    return Curves("links", title, panels, "1 before, 2 after training", "Spearman's rho")


def _scatter(link: Link, m: Measurements, tasks: Sequence[str], rising: set[str]) -> Curves:
    """An activation a point, after training, a panel for each task."""
    cause, effect = (m.of("end", q, change=True).mean(-1) for q in link.ends)
    up = np.array([name in rising for name in m.names])
    panels = {
        task: tuple(
            Series(label, tuple(x[chosen].tolist()), tuple(y[chosen].tolist()))
            for label, chosen in (("increasing", up), ("flat or falling somewhere", ~up))
            if chosen.any()
        )
        for task, x, y in zip(tasks, cause, effect, strict=True)
    }
    words = [WORDS[q] for q in link.ends]
    title = f"After training: {words[1]} against {words[0]}"
    return Curves(link.name, title, panels, words[0], words[1], markers=True, log_y=link.ends[1] == "loss")


WORDS = {
    "entropy": "change of entropy (nats)",
    "overlap": "change of overlap",
    "probe": "change of the probe's error",
    "loss": "test loss",
}


def _through_layers(quantity: str, m: Measurements, tasks: Sequence[str]) -> Curves:
    """What some activations change, layer by layer, after training."""
    found = m.by_layer("end", quantity)
    panels = {
        task: tuple(
            line(name, range(1, found.shape[-1] + 1), found[i, m.names.index(name)].T.tolist())
            for name in SHOWN if name in m.names
        )
        for i, task in enumerate(tasks)
    }  # fmt: skip
    return Curves(
        f"layers-{quantity}", f"After training, by layer: {WORDS[quantity]}", panels, "layer", WORDS[quantity]
    )


def _summary(
    m: Measurements, tasks: Sequence[str], changes: Sequence[_Found], rising: set[str], lost: Sequence[str]
) -> str:
    up = np.array([name in rising for name in m.names])
    moved = np.concatenate([m.of(t, "overlap", change=True) for t in TIMES])
    still = f"by {np.abs(moved[:, up]).max():.4f} at most with the {up.sum()} increasing ones" if up.any() else ""
    others = f"the others change it by {moved[:, ~up].mean():+.4f} in the mean" if (~up).any() else ""
    probes = [m.of(t, "probe", change=True).mean() for t in TIMES]
    gone = f"; left out, as a net diverged: {', '.join(lost)}" if lost else ""
    links = "; ".join(
        f"{' to '.join(link.ends)} " + ", ".join(f"{f.mean} {TIMES[f.time]}" for f in changes if f.link == link)
        for link in LINKS
    )
    seen = " and ".join(p for p in (still, others) if p)
    return (
        f"{len(m.names)} activations on {', '.join(tasks)}{gone}. No activation can make the densities of a unit's "
        "classes overlap less, nor lower the Bayes error: what f(z) tells of the class, z tells too (data processing), "
        f"and an increasing f changes neither. Measured, the overlap moves {seen}. A "
        f"linear probe can gain: from z to f(z) its error moves by {probes[0]:+.4f} before and {probes[1]:+.4f} after "
        f"training, in the mean. Rank correlations of what f changes, positive as told: {links}."
    )


# ----------------------------------------------------------------------------------------------------- presets


def activations() -> tuple[Formula, ...]:
    """Known ones, the worst of the normal law, and corrections of both signs."""
    own = {
        f.name: f for f in (crrelu("crrelu_minus", -0.01), Formula(worst_activation("normal").expr, {}, "worst_normal"))
    }
    known = (own[n] if n in own else get_activation(n) for n in KNOWN)
    corrected = (
        correction(base).formula(sign * eps, learn=False, name=f"{base}{sign * eps:+g}eafo")
        for base, eps in CORRECTED
        for sign in (1, -1)
    )
    return (*known, *corrected)


def _parts(formulas: tuple[Formula, ...], size: Size) -> tuple[Registered | Experiment, ...]:
    watched = [
        replace(e, watch=Separations(e.recipe.epochs)) for e in five_tasks(formulas, size, "critical")
    ]  # fmt: skip
    return (Registered(), *watched)


def _all(formulas: tuple[Formula, ...]) -> tuple[Formula, ...]:
    return tuple({f.name: f for f in (*activations(), *formulas)}.values())


TASKS = ("digits", "fashion-mnist", "cifar10")
TEN = replace(SMALL, epochs={t: SMALL.epochs[t] for t in TASKS}, seeds=tuple(range(10)), redrawn=True)
SMOKE = Size(600, 600, {"digits": 2}, width=16, depth=2, rates=(3e-3,), seeds=(0, 1))
FULL = Size(
    None, 0, {"digits": 60, "fashion-mnist": 20, "cifar10": 30}, pool=1, width=256, tuning_share=0.2
)  # fmt: skip

REPRODUCTION = Reproduction(
    name="crrelu-mechanism",
    title="Entropy, overlap, Bayes error, training: the paper's mechanism, link by link",
    source=f"{SOURCE}; an experiment of its own",
    claims="A lower output entropy means less overlap of the classes, so a lower Bayes error, so better training.",
    activations=("relu", "gelu", "tanh", "sin", "mrepu"),
    presets={
        "smoke": Preset(
            lambda f: _parts(f, SMOKE), "5 seconds on one thread; the named activations on digits, 2 seeds"
        ),
        "small": Preset(
            lambda f: _parts(_all(f), TEN),
            "5 minutes of CPU time on one thread, measured; needs --data with cifar10; Fashion-MNIST from Debian's "
            "package, from --data or torchvision",
        ),
        "paper": Preset(
            lambda f: _parts(_all(f), FULL),
            "the same at full size (all images, width 256, 20 to 60 epochs): some hours on one GPU, not measured; no "
            "paper prescribes it",
        ),
    },
    read=_read,
)  # fmt: skip
