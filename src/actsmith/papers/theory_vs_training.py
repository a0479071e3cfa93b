"""Does the theory predict training? Activations in the order of their theory against their order after training.

The quantities are those of `papers.foreknowledge`. The theory prefers a low entropy, a start close to criticality
and, for what is learned of smooth functions, a smooth activation.

Perceptrons of one shape start at each activation's own critical point (`nn.start`), rates are tuned for each
activation on each task. One more experiment, apart from the others, starts them all alike (Kaiming): there the
distance from criticality is not tuned away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsmith.formula.catalogue import CATALOGUE, get_activation
from actsmith.formula.formula import Formula
from actsmith.papers.claims import Claim, Origin
from actsmith.papers.experiment import Experiment, Part, Results
from actsmith.papers.families import families
from actsmith.papers.findings import Curves, Findings, Series
from actsmith.papers.five_tasks import SMALL, Size, Start, five_tasks
from actsmith.papers.foreknowledge import Theory, quantities
from actsmith.papers.rank_correlation import Correlation, agreement, combined, correlated, correlations, split_half
from actsmith.papers.readers import outcomes, table
from actsmith.papers.reproduce import Preset, Reproduction
from actsmith.theory.eafo import correction, improve, worst_activation
from actsmith.trials.tables import Table

__all__ = ["REPRODUCTION", "activations", "merits"]

SAME_AS_ANOTHER = {
    "identity": "no activation",
    "telu": "tanhexp",
    "celu": "elu",
    "pelu": "elu",
    "relu_squared": "repu",
    "gelu_tanh": "gelu",
    "swish": "silu",
    "logsigmoid": "softplus, both signs turned",
}
"""Members of the catalogue that start as another one does: the theory cannot tell them apart."""
CORRECTED = (("relu", 0.3), ("gelu", 0.1), ("silu", 0.1), ("tanh", 0.3), ("mish", 0.1), ("sin", 0.1))
IMPROVED = ("relu", "gelu", "tanh")
SIGNS = {"smoothed": -1, "smoothed_at_start": -1, "scale_free": -1, "distance": -1, "smoothness": 1}
"""Quantity -> the sign of its correlation with merit where the theory is right."""
ENOUGH = 16
"""Activations that leave enough in each half for a combination to be fitted on one and tested on the other."""
PAPERS: Mapping[str, tuple[Origin, str]] = {
    "smoothed": ("paper", "its thesis that a lower output entropy is better"),
    "smoothed_at_start": ("paper", "its thesis, another entropy"),
    "scale_free": ("paper", "its thesis, another entropy"),
    "distance": ("paper", "criticality"),
    "distance_kaiming": ("paper", "criticality"),
}
COMBINED = ("smoothed", "scale_free", "distance", "smoothness")

Floats = NDArray[np.float64]


@cache
def activations() -> tuple[Formula, ...]:
    """The catalogue without doubles, then what the theory derives: corrections of both signs, descents that keep
    criticality, and the worst activation of two laws."""
    known = [get_activation(name) for name in CATALOGUE if name not in SAME_AS_ANOTHER]
    derived = [
        correction(base).formula(sign * eps, learn=False, name=f"{base}{sign * eps:+g}eafo")
        for base, eps in CORRECTED
        for sign in (1, -1)
    ]
    for base in IMPROVED:
        kept = improve(base, "normal", 0.1, keep="critical")
        derived.append(Formula(kept.expr, kept.params, f"{base}_kept_critical"))
    return (
        *known,
        *derived,
        *(Formula(worst_activation(law).expr, {}, f"worst_{law}") for law in ("normal", "laplace")),
    )


# ------------------------------------------------------------------------------------------------------- read


def merits(folder: Results, experiments: Sequence[Experiment], names: Sequence[str]) -> Floats:
    """Scores on the test splits, more is better, -inf where a net diverged: (experiments, activations, seeds)."""
    found = []
    for e in experiments:
        trained, metric = outcomes(folder, e.name), e.problem.metric
        found.append([[metric.merit([o.score(metric, "test")]) for o in trained[name]] for name in names])
    return np.array(found)


def _read(folder: Results, parts: tuple[Any, ...]) -> Findings:
    experiments = [p for p in parts if isinstance(p, Experiment)]
    theory = next((p for p in parts if isinstance(p, Theory)), None)
    tuned = [e for e in experiments if e.labels["start"] == "critical"]
    tables = tuple(_table(folder, e) for e in experiments)
    if theory is None or theory.left(folder) or not tuned:
        return Findings("Tables alone: what the theory predicts needs the part `theory` and a task.", tables)
    names = [f.name for f in theory.activations]
    known, merit = quantities(folder, names), merits(folder, tuned, names)
    critical = np.array([folder.results[f"theory/{n}"]["universality"] != "none" for n in names])
    kin = np.array(families(theory.activations))
    found = [_related(q, known[q], merit, tuned, kin) for q in SIGNS]
    if alike := [e for e in experiments if e not in tuned]:
        found.append(_related("distance_kaiming", known["distance_kaiming"], merits(folder, alike, names), alike, kin))
    several = len(tuned) > 1
    fits = [_fitted(known, merit, kin, new) for new in (False, True) if several and (not new or len(names) >= ENOUGH)]
    size = f"{len(tuned)} tasks; perceptrons, {len(tuned[0].most)} seeds"
    halves, between = split_half(merit), agreement(merit) if several else float("nan")
    return Findings(
        summary=_summary(names, found[: len(SIGNS)], fits, between, halves),
        tables=tables,
        curves=(_overview(found[: len(SIGNS)], tuned), *(_scatter(q, known[q], merit, tuned) for q in SIGNS)),
        claims=(*(_claim(r, size) for r in found), *(_combination_claim(f, size) for f in fits)),
        facts={
            "rank correlation with merit": {r.quantity: r.to_dict() for r in found},
            "the same among activations with a critical point": {
                q: _related(q, known[q][critical], merit[:, critical], tuned, kin[critical]).mean.to_dict()
                for q in SIGNS
            },
            "combination, where it was not fitted": {f"other {fit.where}": fit.found.to_dict() for fit in fits},
            "rank correlation of half of the seeds with the others": {
                e.name: round(h, 3) for e, h in zip(tuned, halves, strict=True)
            },
            "rank correlation between two tasks, mean": round(between, 3),
            "activations": len(names),
            "families, drawn together": len(set(kin)),
            "left out, as they start like another": SAME_AS_ANOTHER,
        },
    )


@dataclass(frozen=True)
class _Relation:
    """A quantity's rank correlation with merit, by task and on the mean of the tasks."""

    quantity: str
    tasks: Mapping[str, Correlation]
    mean: Correlation

    @property
    def sign(self) -> int:
        """Of the correlation that the theory expects."""
        return SIGNS.get(self.quantity, -1)

    def to_dict(self) -> dict[str, Any]:
        return {**{name: c.to_dict() for name, c in self.tasks.items()}, "mean": self.mean.to_dict()}


def _related(
    quantity: str, values: Floats, merit: Floats, experiments: Sequence[Experiment], kin: NDArray[Any]
) -> _Relation:
    known = ~np.isnan(values)
    each, mean = correlations(values[known], merit[:, known], kin[known])
    return _Relation(quantity, {e.name: c for e, c in zip(experiments, each, strict=True)}, mean)


@dataclass(frozen=True)
class _Fit:
    """How a combination of the quantities does where it was not fitted."""

    where: str
    found: Correlation
    weights: Floats


def _fitted(known: Mapping[str, Floats], merit: Floats, kin: NDArray[Any], new: bool) -> _Fit:
    features = np.array([known[q] for q in COMBINED])
    complete = ~np.isnan(features).any(0)
    found, weights = combined(features[:, complete], merit[:, complete], kin[complete], new_activations=new)
    return _Fit("tasks and activations" if new else "tasks", found, weights)


def _table(folder: Results, e: Experiment) -> Table:
    rates = ", ".join(f"{r:g}" for r in e.rates)
    note = f"{len(e.most)} seeds, rate tuned for each activation out of {rates}"
    return table(folder, e, e.problem.metric, title=f"{e.name}: test split", note=note)


WORDS = {
    "smoothed": "A lower smoothed entropy under N(0, 1) means better training",
    "smoothed_at_start": "A lower smoothed entropy under the law that the first layer meets means better training",
    "scale_free": "A lower scale-free entropy means better training",
    "distance": "A start closer to criticality means better training, each activation at its own best start",
    "smoothness": "A smoother activation trains better",
    "distance_kaiming": "A start closer to criticality means better training, all started alike (W ~ N(0, 2/fan_in))",
}
PANELS = {WORDS["smoothed"]: "crrelu", WORDS["distance_kaiming"]: "mrepu"}


def _claim(r: _Relation, size: str) -> Claim:
    details = "; ".join(f"{name} {c}" for name, c in r.tasks.items())
    expected = "positive" if r.sign > 0 else "negative"
    evidence = f"over {r.mean.count} activations, {expected} expected: {details}"
    origin, where = PAPERS.get(r.quantity, ("ours", ""))
    statement = WORDS[r.quantity]
    panel = PANELS.get(statement, "")
    return correlated(statement, r.mean, r.sign, evidence, size, origin=origin, where=where, panel=panel)


def _combination_claim(fit: _Fit, size: str) -> Claim:
    parts = ", ".join(f"{w:+.2f} {q}" for q, w in zip(COMBINED, fit.weights, strict=True))
    return correlated(
        f"A combination of the quantities, fitted on half of the tasks, predicts the order on other {fit.where}",
        fit.found, 1, f"mean weights of the ranks: {parts}; a fitted sign need not be that of the theory", size,
    )  # fmt: skip


def _overview(found: Sequence[_Relation], experiments: Sequence[Experiment]) -> Curves:
    """Every rank correlation with its interval, the tasks by number."""
    places = tuple(float(i) for i in range(1, len(experiments) + 1))
    panels = {
        r.quantity.replace("_", " "): (
            Series(
                "rank correlation, 95 % interval", places, tuple(c.rho for c in r.tasks.values()),
                low=tuple(c.low for c in r.tasks.values()), high=tuple(c.high for c in r.tasks.values()),
            ),
        )
        for r in found
    }  # fmt: skip
    tasks = ", ".join(f"{i} {e.name}" for i, e in enumerate(experiments, 1))
    title = "Rank correlation of each quantity with merit (more is better)"
    return Curves("rank-correlations", title, panels, tasks, "Spearman's rho", markers=True)


def _scatter(quantity: str, values: Floats, merit: Floats, experiments: Sequence[Experiment]) -> Curves:
    """Rank of merit against the quantity, a panel for each task; infinite values are not drawn."""
    shown = np.flatnonzero(np.isfinite(values))
    panels = {}
    for e, scored in zip(experiments, merit, strict=True):
        place = np.argsort(np.argsort(-scored.mean(-1))) + 1
        order = shown[np.argsort(values[shown], kind="stable")]
        line = Series("activations", tuple(values[order].tolist()), tuple(float(p) for p in place[order]))
        panels[e.name] = (line,)
    title = f"Place after training (1 is best) against {quantity.replace('_', ' ')}"
    return Curves(f"place-{quantity.replace('_', '-')}", title, panels, quantity.replace("_", " "), "place",
                  markers=True)  # fmt: skip


def _summary(
    names: Sequence[str], found: Sequence[_Relation], fits: Sequence[_Fit], between: float, halves: Sequence[float]
) -> str:
    best = max(found, key=lambda r: r.sign * r.mean.rho)
    worst_of = min(found, key=lambda r: r.sign * r.mean.rho)
    against = ""
    if worst_of.sign * worst_of.mean.rho < 0:
        against = (
            f" Against the theory's direction stands {worst_of.quantity.replace('_', ' ')}: {worst_of.mean}, where "
            f"{'positive' if worst_of.sign > 0 else 'negative'} was expected."
        )
    elsewhere = "; ".join(f"{fit.found} on other {fit.where}" for fit in fits) or "nothing: there is one task"
    return (
        f"{len(names)} activations, {len(found[0].tasks)} tasks. The quantity that predicts best in the direction of "
        f"the theory is {best.quantity.replace('_', ' ')}: mean rank correlation with merit {best.mean}, "
        f"{'positive' if best.sign > 0 else 'negative'} expected.{against} A combination fitted on half of the tasks "
        f"reaches, where it was not fitted, {elsewhere}. To compare: "
        f"one task's results order another's with {between:+.2f}, half of a task's seeds the other half with "
        f"{min(halves):+.2f} to {max(halves):+.2f}."
    )


# ---------------------------------------------------------------------------------------------------- presets


def _parts(formulas: tuple[Formula, ...], size: Size) -> tuple[Part, ...]:
    starts: tuple[Start, ...] = ("critical", "kaiming")
    return (Theory(formulas, size.depth), *(e for start in starts for e in five_tasks(formulas, size, start)))


def _all(formulas: tuple[Formula, ...]) -> tuple[Formula, ...]:
    by_name = {f.name: f for f in (*activations(), *formulas)}
    return tuple(by_name.values())


SMOKE = Size(600, 600, {"digits": 2, "polynomial": 2}, width=16, depth=3, rates=(3e-3,), seeds=(0, 1))
FULL = Size(
    None, 500_000, {"digits": 60, "fashion-mnist": 20, "cifar10": 30, "polynomial": 60, "austen": 10}, pool=1,
    width=256, tuning_share=0.2,
)  # fmt: skip

REPRODUCTION = Reproduction(
    name="theory-vs-training",
    title="Does the theory predict training?",
    source="asked by arXiv:2405.12954 (entropy) and arXiv:2408.02697 (criticality); an experiment of its own",
    claims="Activations of low entropy that keep signals critical train better.",
    activations=("relu", "gelu", "silu", "tanh", "crrelu", "mrepu"),
    presets={
        "smoke": Preset(
            lambda f: _parts(f, SMOKE),
            "10 seconds on one thread; the named activations on two tasks, 2 seeds: shows that it runs",
        ),
        "small": Preset(
            lambda f: _parts(_all(f), replace(SMALL, redrawn=True)),
            "20 minutes of CPU time on one thread, measured; needs --data with austen and cifar10; Fashion-MNIST from "
            "Debian's package, from --data or torchvision",
        ),
        "paper": Preset(
            lambda f: _parts(_all(f), FULL),
            "the same at full size (all images, width 256, 20 to 60 epochs): about a day on one GPU, not measured; no "
            "paper prescribes it",
        ),
    },
    read=_read,
)
