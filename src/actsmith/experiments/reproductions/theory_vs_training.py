"""Does the theory predict training? Activations in the order of their theory against their order after training.

| quantity             | what it is                                                                      | better  |
|----------------------|---------------------------------------------------------------------------------|---------|
| smoothed             | J_0.1 under N(0, 1)                                                             | lower   |
| smoothed_at_start    | J_0.1 under N(0, K0), the law that the first layer meets                        | lower   |
| scale_free           | J under N(0, 1); minus infinity where the output has an atom                    | lower   |
| distance             | mean over the layers of max(abs log abs chi_par, abs log chi_perp) at the start | lower   |
| smoothness           | the k of C^k: -1 for a jump, infinite for smooth                                | higher  |

Perceptrons of one shape start at each activation's own critical point (`experiments.initial`), rates are tuned for each
activation on each task. One more experiment, apart from the others, starts them all alike (Kaiming): there the
distance from criticality is not tuned away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from actsmith.errors import ActsmithError
from actsmith.experiments.experiment import Experiment, Report, describe
from actsmith.experiments.files import cifar10_arrays, fashion_mnist_arrays
from actsmith.experiments.findings import Claim, Curves, Findings, Series, comparison, scores
from actsmith.experiments.folder import RunFolder, finite_or_none
from actsmith.experiments.initial import Initialisation, initialisation
from actsmith.experiments.language import NextCharacter
from actsmith.experiments.loop import Recipe, Runtime
from actsmith.experiments.models import KAIMING, Mlp
from actsmith.experiments.problem import Classification, Problem, Regression
from actsmith.experiments.rank_correlation import (
    Correlation,
    agreement,
    combined,
    correlations,
    split_half,
)
from actsmith.experiments.reproduce import Part, Preset, Reproduction
from actsmith.experiments.tasks import Task, load_task, task_from_arrays
from actsmith.formula.catalogue import CATALOGUE, get
from actsmith.formula.formula import Formula
from actsmith.theory.analysis import analyze
from actsmith.theory.eafo import correction, improve, worst
from actsmith.theory.entropy import entropy
from actsmith.theory.kernel import kernel_flow, moments
from actsmith.theory.laws import Normal

__all__ = ["REPRODUCTION", "Images", "Polynomial", "Theory", "activations", "distance"]

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
USEFUL = 0.3
"""A rank correlation below this, either way, accounts for less than a tenth of the variance of the ranks."""
RESOLVED = 6
"""Decimals to which quantities are told apart; what differs by less is a tie."""
SIGNS = {"smoothed": -1, "smoothed_at_start": -1, "scale_free": -1, "distance": -1, "smoothness": 1}
"""Quantity -> the sign of its correlation with merit where the theory is right."""
COMBINED = ("smoothed", "scale_free", "distance", "smoothness")

Floats = NDArray[np.float64]
Start = Literal["critical", "kaiming"]


def activations() -> tuple[Formula, ...]:
    """The catalogue without doubles, then what the theory derives: corrections of both signs, descents that keep
    criticality, and the worst activation of two laws."""
    known = [get(name) for name in CATALOGUE if name not in SAME_AS_ANOTHER]
    derived = [
        correction(base).formula(sign * eps, learn=False, name=f"{base}{sign * eps:+g}eafo")
        for base, eps in CORRECTED
        for sign in (1, -1)
    ]
    for base in IMPROVED:
        kept = improve(base, "normal", 0.1, keep="critical")
        derived.append(Formula(kept.expr, kept.params, f"{base}_kept_critical"))
    for law in ("normal", "laplace"):
        derived.append(Formula(worst(law).expr, {}, f"worst_{law}"))
    return (*known, *derived)


# ------------------------------------------------------------------------------------------------------ tasks


@dataclass(frozen=True)
class Images:
    """A part of an image set, flattened and standardised.

    Attributes:
        name: "digits" (all of it), "fashion-mnist" or "cifar10".
        train, test: images, the first of a fixed permutation; a sixth of the training images are for validation.
        pool: squares of this side are averaged.
    """

    name: str
    train: int = 4000
    test: int = 2000
    pool: int = 2
    metric = Classification.metric

    def load(self, data: Path | None) -> Problem:
        """Inputs (n, features) and labels."""
        task = load_task("digits") if self.name == "digits" else self._task(data)
        train, validation, test = (
            (torch.from_numpy(s.x), torch.from_numpy(s.y)) for s in (task.train, task.validation, task.test)
        )
        return Classification(train, validation, test, outputs=task.classes)

    def _task(self, data: Path | None) -> Task:
        read = {"fashion-mnist": fashion_mnist_arrays, "cifar10": cifar10_arrays}[self.name]
        own = data / self.name if data is not None else None
        if own is not None and not own.is_dir():
            own = data if self.name != "fashion-mnist" or any(data.glob("train-images*")) else None  # type: ignore[union-attr]
        x, y, test_x, test_y = read(own)
        rng = np.random.Generator(np.random.PCG64(0))
        chosen, tested = rng.permutation(len(x))[: self.train], rng.permutation(len(test_x))[: self.test]
        test = (_pooled(test_x[tested], self.pool), test_y[tested])
        return task_from_arrays(self.name, _pooled(x[chosen], self.pool), y[chosen], test, validation_share=1 / 6)


def _pooled(images: NDArray[np.uint8], side: int) -> Floats:
    """(n, height, width, ...) averaged over squares of `side`."""
    n, height, width = images.shape[:3]
    blocks = images.reshape(n, height // side, side, width // side, side, -1)
    means: Floats = blocks.mean((2, 4), dtype=np.float64)
    return means


@dataclass(frozen=True)
class Polynomial:
    """y = sum_j a_j product of `degree` random coordinates, x uniform in [-1, 1]^variables, y standardised.

    Attributes:
        variables, degree, terms: of the polynomial; drawn once, from seed 0.
        train, evaluated: examples of the training split, of each of the other two.
    """

    variables: int = 6
    degree: int = 3
    terms: int = 12
    train: int = 3000
    evaluated: int = 2000
    metric = Regression.metric

    def load(self, data: Path | None) -> Problem:
        """Inputs (n, variables) and targets (n, 1)."""
        rng = np.random.Generator(np.random.PCG64(0))
        factors = rng.integers(self.variables, size=(self.terms, self.degree))
        weights = rng.standard_normal(self.terms)
        splits, moments_of_train = [], (0.0, 1.0)
        for i, size in enumerate((self.train, self.evaluated, self.evaluated)):
            x = rng.uniform(-1, 1, (size, self.variables))
            y = x[:, factors].prod(-1) @ weights
            if i == 0:
                moments_of_train = (float(y.mean()), float(y.std()))
            y = (y - moments_of_train[0]) / moments_of_train[1]
            splits.append((torch.from_numpy(x).float(), torch.from_numpy(y[:, None]).float()))
        return Regression(*splits, outputs=1)


# ----------------------------------------------------------------------------------------------------- theory


def distance(formula: Formula, start: Initialisation, depth: int) -> float:
    """Mean over the hidden layers of max(|log |chi_par||, |log chi_perp|), 0 where every layer is critical.

    Infinite where f jumps or a kernel blows up.
    """
    K = kernel_flow(formula, start.K0, depth - 1, start.C_W, start.C_b)
    if not np.isfinite(K).all():
        return math.inf
    at = moments(formula, K)
    with np.errstate(divide="ignore", invalid="ignore"):
        off = [np.abs(np.log(np.abs(start.C_W * chi))) for chi in (at.dg, at.perp)]
    found = float(np.maximum(*off).mean())
    return found if math.isfinite(found) else math.inf


@dataclass(frozen=True)
class Theory:
    """What is known before training: one record for each activation."""

    activations: tuple[Formula, ...]
    depth: int
    name: str = "theory"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return describe(self)  # type: ignore[no-any-return]

    def run(self, folder: RunFolder, runtime: Runtime, data: Path | None, report: Report) -> None:
        """Compute what the folder does not hold yet."""
        for number, formula in enumerate(self.activations):
            key = f"theory/{formula.name}"
            report(self.name, number, len(self.activations), formula.name)
            if key not in folder.results and runtime.main:
                folder.append(key, {"theory": formula.name, **finite_or_none(self.record(formula))})
        report(self.name, len(self.activations), len(self.activations), "done")

    def record(self, formula: Formula) -> dict[str, Any]:
        """Quantity -> value; an infinite distance, an undefined entropy are not finite or None."""
        found, start = analyze(formula), initialisation(formula, self.depth)
        return {
            "smoothed": found.entropy.smoothed,
            "smoothed_at_start": entropy(formula, Normal(0.0, math.sqrt(start.K0))).smoothed,
            "scale_free": found.entropy.scale_free,
            "atom_mass": found.entropy.atom_mass,
            "smoothness": found.smoothness,
            "universality": found.criticality.universality,
            "distance": distance(formula, start, self.depth),
            "distance_kaiming": distance(formula, KAIMING, self.depth),
        }


def quantities(folder: RunFolder, names: Sequence[str]) -> dict[str, Floats]:
    """Quantity -> value of each activation, (activations,); NaN where it is not known."""
    records = [folder.results[f"theory/{name}"] for name in names]
    found = {q: [_number(r, q) for r in records] for q in (*SIGNS, "distance_kaiming")}
    return {q: np.array(values, np.float64).round(RESOLVED) for q, values in found.items()}


def _number(record: Mapping[str, Any], quantity: str) -> float:
    value = record[quantity]
    if value is not None:
        return float(value)
    if quantity == "scale_free":
        return -math.inf if record["atom_mass"] > 0 else math.nan
    return math.nan if quantity.startswith("smoothed") else math.inf


# ------------------------------------------------------------------------------------------------------- read


def merits(folder: RunFolder, experiments: Sequence[Experiment], names: Sequence[str]) -> Floats:
    """Scores on the test splits, more is better, -inf where a net diverged: (experiments, activations, seeds)."""
    return np.array(
        [
            [
                [e.problem.metric.merit([by_name[name][seed]]) for seed in e.seeds]  # type: ignore[attr-defined]
                for name in names
            ]
            for e in experiments
            for by_name in [scores(folder, e.name, e.problem.metric.name)]  # type: ignore[attr-defined]
        ]
    )


def _read(folder: RunFolder, parts: tuple[Any, ...]) -> Findings:
    theory = next(p for p in parts if isinstance(p, Theory))
    experiments = [p for p in parts if isinstance(p, Experiment)]
    tuned = [e for e in experiments if isinstance(e.model, Mlp) and e.model.init == "critical"]
    alike = [e for e in experiments if e not in tuned]
    names = [f.name for f in theory.activations]
    known, merit = quantities(folder, names), merits(folder, tuned, names)
    rows: dict[str, dict[str, Any]] = {}
    claims, figures = [], []
    for quantity, sign in SIGNS.items():
        inside = ~np.isnan(known[quantity])
        each, mean = correlations(known[quantity][inside], merit[:, inside])
        rows[quantity] = _row(tuned, each, mean)
        claims.append(_claim(quantity, sign, each, mean, tuned))
        figures.append(_scatter(quantity, known[quantity], merit, tuned))
    if alike:
        started = merits(folder, alike, names)
        each, mean = correlations(known["distance_kaiming"], started)
        rows["distance_kaiming"] = _row(alike, each, mean)
        claims.append(_claim("distance_kaiming", -1, each, mean, alike))
    with_all = ~np.isnan(np.array([known[q] for q in COMBINED])).any(0)
    features = np.array([known[q] for q in COMBINED])[:, with_all]
    for label, new in (("combination, other tasks", False), ("combination, other tasks and activations", True)):
        found, weights = combined(features, merit[:, with_all], new_activations=new)
        rows[label] = {"mean": found.to_dict()}
        claims.append(_combination_claim(label, found, weights))
    halves, between = split_half(merit), agreement(merit)
    ceiling = {e.name: round(h, 3) for e, h in zip(tuned, halves, strict=True)}
    return Findings(
        summary=_summary(names, tuned, rows, between, halves),
        tables=tuple(_table(folder, e) for e in experiments),
        curves=tuple(figures),
        claims=tuple(claims),
        facts={
            "rank correlation with merit": rows,
            "rank correlation of half of the seeds with the others": ceiling,
            "rank correlation between two tasks, mean": round(between, 3),
            "activations": len(names),
            "left out as doubles": SAME_AS_ANOTHER,
        },
    )


def _table(folder: RunFolder, e: Experiment) -> Any:
    return comparison(
        folder, e.name, e.problem.metric, reference=e.reference, rates=e.rates, title=f"{e.name}: test split",  # type: ignore[attr-defined]
        note=f"{len(e.seeds)} seeds, rate tuned for each activation out of {', '.join(f'{r:g}' for r in e.rates)}",
    )  # fmt: skip


def _row(experiments: Sequence[Experiment], each: Sequence[Correlation], mean: Correlation) -> dict[str, Any]:
    by_task = {e.name: c.to_dict() for e, c in zip(experiments, each, strict=True)}
    return by_task | ({"mean": mean.to_dict()} if len(by_task) > 1 else {})


WORDS = {
    "smoothed": "A lower smoothed entropy under N(0, 1) means better training",
    "smoothed_at_start": "A lower smoothed entropy under the law that the first layer meets means better training",
    "scale_free": "A lower scale-free entropy means better training",
    "distance": "A start closer to criticality means better training, each activation at its own best start",
    "smoothness": "A smoother activation trains better",
    "distance_kaiming": "A start closer to criticality means better training, all started alike (W ~ N(0, 2/fan_in))",
}


def _claim(
    quantity: str, sign: int, each: Sequence[Correlation], mean: Correlation, experiments: Sequence[Experiment]
) -> Claim:
    details = "; ".join(f"{e.name} {c}" for e, c in zip(experiments, each, strict=True))
    expected = "positive" if sign > 0 else "negative"
    evidence = f"mean rank correlation with merit {mean} over {mean.count} activations, {expected} expected: {details}"
    return Claim(WORDS[quantity], verdict(mean, sign), evidence)


def verdict(found: Correlation, sign: int) -> Any:
    """By the interval: all of it on the expected side; on the other, or too small to be of use; or neither."""
    low, high = (found.low, found.high) if sign > 0 else (-found.high, -found.low)
    if low > 0:
        return "reproduced" if sign * found.rho >= USEFUL else "partly reproduced"
    return "not reproduced" if high < USEFUL else "not resolved"


def _combination_claim(label: str, found: Correlation, weights: Floats) -> Claim:
    parts = ", ".join(f"{w:+.2f} {q}" for q, w in zip(COMBINED, weights, strict=True))
    return Claim(
        f"A combination of the quantities predicts the order on tasks it was not fitted on ({label})",
        verdict(found, 1),
        f"mean rank correlation {found} over {found.count} activations; mean weights of the ranks: {parts}",
    )


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
    names: Sequence[str], tuned: Sequence[Experiment], rows: Mapping[str, Any], between: float, halves: Sequence[float]
) -> str:
    means = {q: rows[q].get("mean") or next(iter(rows[q].values())) for q in (*SIGNS, "combination, other tasks")}
    strongest = max(SIGNS, key=lambda q: SIGNS[q] * means[q]["rho"])
    both, new = means["combination, other tasks"], rows["combination, other tasks and activations"]["mean"]
    return (
        f"{len(names)} activations, {len(tuned)} tasks, {len(tuned[0].seeds)} seeds. The quantity that predicts best "
        f"in the direction of the theory is {strongest.replace('_', ' ')}: mean rank correlation with merit "
        f"{means[strongest]['rho']:+.2f} [{means[strongest]['low']:+.2f}, {means[strongest]['high']:+.2f}]. A "
        f"combination fitted on half of the tasks reaches {both['rho']:+.2f} [{both['low']:+.2f}, {both['high']:+.2f}] "
        f"on the others, {new['rho']:+.2f} [{new['low']:+.2f}, {new['high']:+.2f}] with activations it has not seen "
        f"either. To compare: one task's results order another's with {between:+.2f}, half of a task's seeds the other "
        f"half with {min(halves):+.2f} to {max(halves):+.2f}."
    )


# ---------------------------------------------------------------------------------------------------- presets

RATES = (1e-3, 4e-3, 1.6e-2)


@dataclass(frozen=True)
class _Size:
    images: int
    windows: int
    epochs: Mapping[str, int]
    pool: int = 4
    width: int = 64
    depth: int = 6
    rates: tuple[float, ...] = RATES
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    tuning_share: float = 0.5


def _parts(formulas: tuple[Formula, ...], size: _Size) -> tuple[Part, ...]:
    problems: dict[str, Any] = {
        "digits": (Images("digits"), 32),
        "fashion-mnist": (Images("fashion-mnist", train=size.images), 64),
        "cifar10": (Images("cifar10", train=size.images, pool=size.pool), 64),
        "polynomial": (Polynomial(), 64),
        "austen": (NextCharacter(train=size.windows), 64),
    }
    experiments = [
        Experiment(
            name if start == "critical" else f"{name}-{start}", *problems[name][:1],
            Mlp(size.width, size.depth, start), formulas, size.rates,
            Recipe(epochs=size.epochs[name], batch=problems[name][1]), seeds=size.seeds, tuning_share=size.tuning_share,
        )
        for start in ("critical", "kaiming") for name in size.epochs
        if start == "critical" or name == "digits"
    ]  # fmt: skip
    return (Theory(formulas, size.depth), *experiments)


def _all(formulas: tuple[Formula, ...]) -> tuple[Formula, ...]:
    by_name = {f.name: f for f in (*activations(), *formulas)}
    return tuple(by_name.values())


SMOKE = _Size(600, 600, {"digits": 2, "polynomial": 2}, width=16, depth=3, rates=(3e-3,), seeds=(0, 1))
SMALL = _Size(
    4000, 6400, {"digits": 12, "fashion-mnist": 5, "cifar10": 5, "polynomial": 7, "austen": 4}, width=48, depth=5
)  # fmt: skip
FULL = _Size(
    60000, 500_000, {"digits": 60, "fashion-mnist": 20, "cifar10": 30, "polynomial": 60, "austen": 10}, pool=1,
    width=256, tuning_share=0.2,
)  # fmt: skip

REPRODUCTION = Reproduction(
    name="theory-vs-training",
    title="Does the theory predict training?",
    source="asked by arXiv:2405.12954 (entropy) and arXiv:2408.02697 (criticality); an experiment of its own",
    claims="Activations of low entropy that keep signals critical train better.",
    activations=("relu", "gelu", "silu", "tanh", "crrelu", "mrepu"),
    presets={
        "smoke": Preset(lambda f: _parts(f, SMOKE), "seconds on one core; the named activations on two tasks"),
        "small": Preset(lambda f: _parts(_all(f), SMALL), "COST"),
        "paper": Preset(
            lambda f: _parts(_all(f), FULL),
            "the same at full size (all images, width 256, 20 to 60 epochs): about a day on one GPU, not measured; no "
            "paper prescribes it",
        ),
    },
    read=_read,
)
