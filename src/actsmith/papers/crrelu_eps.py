"""CRReLU's eps: starts from -0.3 to 0.3, its path in every layer through training, and how much the start matters.

The paper starts eps at 0.01; its reviewers asked why. It publishes no such table; the `paper` preset makes one with
its ViT-Tiny on CIFAR-10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from actsmith.formula.formula import Formula
from actsmith.nn.activation import Activation
from actsmith.nn.hook import Hook
from actsmith.papers.claims import Claim, Question, judge, sampled
from actsmith.papers.crrelu import ACCURACY, HALF_A_POINT, SOURCE, crrelu
from actsmith.papers.crrelu_networks import few_digits, presets
from actsmith.papers.experiment import Experiment, Results
from actsmith.papers.findings import Curves, Findings, Series
from actsmith.papers.readers import outcomes, table
from actsmith.papers.reproduce import Reproduction
from actsmith.training.problem import Problem
from actsmith.trials.tables import Table

STARTS = (-0.3, -0.1, -0.01, 0.0, 0.01, 0.1, 0.3)
PUBLISHED = 0.01


def name_of(start: float) -> str:
    """crrelu_minus_0.3 and the like."""
    sign = "minus_" if start < 0 else "plus_" if start > 0 else ""
    return f"crrelu_{sign}{abs(start):g}"


STARTED = {start: crrelu(name_of(start), start) for start in STARTS}
NAMES = {start: f.name for start, f in STARTED.items()}
OTHERS = tuple(name for start, name in NAMES.items() if start != PUBLISHED)

QUESTIONS = tuple(
    Question(f"The published start of eps, 0.01, is better than {start:g}: {table}", NAMES[PUBLISHED], NAMES[start],
             HALF_A_POINT, table, "reviewers")
    for table in ("mlp-digits", "mlp-cifar10", "resnet-cifar10") for start in (-0.3, -0.01, 0.3)
)  # fmt: skip


@dataclass(frozen=True)
class EpsPath:
    """Records eps of every layer after each epoch."""

    stacks = True

    def build(self, model: nn.Module, problem: Problem) -> Hook:
        """The hook of one training."""
        return _EpsPath(model)


class _EpsPath(Hook):
    stacks = True

    def __init__(self, model: nn.Module) -> None:
        activations = [m for m in model.modules() if isinstance(m, Activation)]
        self.values = [p for m in activations for name, p in m.named_parameters() if name == "eps"]

    def after_epoch(self, epoch: int) -> dict[str, Any] | None:
        """eps: layer -> a number for each net; None for an activation without eps."""
        rows = [[round(v, 6) for v in eps.detach().double().flatten().tolist()] for eps in self.values]
        return {"eps": rows} if rows else None

    def of_net(self, record: dict[str, Any], i: int) -> dict[str, Any]:
        return {**record, "eps": [row[i] for row in record["eps"]]}


def _watched(experiment: Experiment) -> Experiment:
    return replace(experiment, watch=EpsPath())


def _smoke(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    left_out = {name for start, name in NAMES.items() if abs(start) != 0.1 and start != PUBLISHED}
    return (_watched(few_digits(tuple(f for f in formulas if f.name not in left_out))),)


Paths = Mapping[float, NDArray[np.float64]]
"""Start -> eps (epochs, the start among them; layers; seeds)."""


def read(folder: Results, parts: tuple[Experiment, ...]) -> Findings:
    """Accuracy by start, the paths of eps, and what may be said of the published start."""
    tables = tuple(table(folder, part, ACCURACY, title=f"{part.name}: accuracy by start of eps") for part in parts)
    paths = {part.name: _paths(folder, part.name) for part in parts}
    moves = [claim for name, found in paths.items() for claim in (_rises(name, found), _forgets(name, found))]
    return Findings(
        summary=" ".join(_sentence(t, paths[t.name]) for t in tables),
        tables=tables,
        curves=(_sensitivity(tables), *(_path_curves(name, found) for name, found in paths.items())),
        claims=(*judge(QUESTIONS, tables), *moves),
        facts={
            "eps at the end": {
                name: {f"{start:g}": path[-1].mean(-1).round(5).tolist() for start, path in found.items()}
                for name, found in paths.items()
            }
        },
    )


def _paths(folder: Results, experiment: str) -> Paths:
    trained = outcomes(folder, experiment)
    found = {}
    for start, name in NAMES.items():
        if name in trained:
            watched = np.array([[w["eps"] for w in o.details["watched"]] for o in trained[name]]).transpose(1, 2, 0)
            found[start] = np.concatenate([np.full_like(watched[:1], start), watched])
    return found


def _sentence(found: Table, paths: Paths) -> str:
    means = [row.mean for row in found.rows if row.mean is not None and row.name in NAMES.values()]
    far = max(float(np.abs(path[-1].mean(-1) - start).max()) for start, path in paths.items())
    return (
        f"{found.name}: over the starts {min(paths):g} to {max(paths):g} mean accuracy lies between {min(means):.4f} "
        f"and {max(means):.4f} (ReLU {found.row('relu').mean:.4f}); training moves a layer's eps by at most {far:.3f} "
        "on the mean over seeds."
    )


def _rises(name: str, paths: Paths) -> Claim:
    """Does training, from the published start, move eps up (the published sign) or down (the theory's)?"""
    last = paths[PUBLISHED][-1]
    question = Question(f"From 0.01, training raises eps, the published sign: {name}", name, "", 0.0)
    below = f"below the start in {int((last < PUBLISHED).sum())} of {last.size} layers"
    return sampled(question, (last - PUBLISHED).mean(0).tolist(), "rise of eps", below)


def _forgets(name: str, paths: Paths) -> Claim:
    """Does eps end where it ends, wherever it started? By the spread of the ends over that of the starts."""
    low, high = min(paths), max(paths)
    kept = (paths[high][-1] - paths[low][-1]) / (high - low)
    question = Question(f"Learning halves what the start of eps decides: {name}", name, "", 0.0)
    unit = f"one half less the share of the difference between {low:g} and {high:g} that is left"
    return sampled(question, (0.5 - kept).mean(0).tolist(), unit)


def _sensitivity(tables: Sequence[Table]) -> Curves:
    """Accuracy against the start, one panel a network."""
    panels = {}
    for found in tables:
        there = {row.name for row in found.rows}
        x = [start for start, name in NAMES.items() if name in there]
        rows = [found.row(NAMES[start]) for start in x]
        ends = [tuple(getattr(r, end) for r in rows) for end in ("mean", "low", "high")]
        relu = found.row("relu").mean
        panels[found.name] = (Series("crrelu", tuple(x), *ends), Series("relu", (x[0], x[-1]), (relu, relu)))
    return Curves("start", "Accuracy by the start of eps", panels, "eps at the start", "accuracy on the test images")


def _path_curves(name: str, paths: Paths) -> Curves:
    """eps against the epoch, one panel a start, one line a layer: the mean over seeds."""
    panels = {
        f"from {start:g}": tuple(
            Series(f"layer {i + 1}", tuple(range(len(path))), tuple(layer))
            for i, layer in enumerate(path.mean(-1).T.tolist())
        )
        for start, path in paths.items()
    }
    return Curves(f"{name}-path", f"{name}: eps through training", panels, "epoch", "eps")


REPRODUCTION = Reproduction(
    name="crrelu-eps",
    title="Where CRReLU's eps starts, and where it goes",
    source=f"asked by reviewers of {SOURCE}",
    claims="eps is learnable and starts at 0.01.",
    activations=("relu", *STARTED.values()),
    presets=presets(_watched, "9 minutes", smoke=_smoke),
    read=read,
    questions=QUESTIONS,
)
