"""CRReLU's eps: starts from -0.3 to 0.3, its path in every layer through training, and how much the start matters.

The paper starts eps at 0.01; its reviewers asked why. It publishes no such table; the `paper` preset makes one with
its ViT-Tiny on CIFAR-10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from actsmith.experiments.experiment import Experiment
from actsmith.experiments.findings import Claim, Curves, Findings, Series, Table, comparison, records
from actsmith.experiments.folder import RunFolder
from actsmith.experiments.problem import Problem
from actsmith.experiments.reproduce import Preset, Reproduction
from actsmith.experiments.reproductions.crrelu import ACCURACY, SOURCE, contest, counted, crrelu
from actsmith.experiments.reproductions.crrelu_networks import (
    PAPER_COST,
    SHORT_COST,
    SMALL_NETWORKS,
    few_digits,
    published_network,
    small_networks,
)
from actsmith.experiments.statistics import interval
from actsmith.formula.formula import Formula
from actsmith.nn.activation import Activation

STARTS = (-0.3, -0.1, -0.01, 0.0, 0.01, 0.1, 0.3)
PUBLISHED = 0.01
SMALL_COST = f"CIFAR-10 (--data); 9 minutes of CPU time on one thread, measured. {SMALL_NETWORKS}"


def name_of(start: float) -> str:
    """crrelu_minus_0.3 and the like."""
    sign = "minus_" if start < 0 else "plus_" if start > 0 else ""
    return f"crrelu_{sign}{abs(start):g}"


STARTED = tuple(crrelu(name_of(start), start) for start in STARTS)


@dataclass(frozen=True)
class EpsPath:
    """Records eps of every layer, for every net, after each epoch."""

    def build(self, model: nn.Module, problem: Problem) -> _EpsWatcher:
        return _EpsWatcher(model)


class _EpsWatcher:
    def __init__(self, model: nn.Module) -> None:
        activations = [m for m in model.modules() if isinstance(m, Activation)]
        self.values = [p for m in activations for name, p in m.named_parameters() if name == "eps"]

    def before_step(self, step: int) -> None: ...

    def after_epoch(self, epoch: int) -> dict[str, Any] | None:
        """eps: layer -> a number for each net; None for an activation without eps."""
        rows = [[round(v, 6) for v in eps.detach().double().flatten().tolist()] for eps in self.values]
        return {"eps": rows} if rows else None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def _watched(experiment: Experiment) -> Experiment:
    return replace(experiment, watch=EpsPath())


def _smoke(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    left_out = {name_of(start) for start in STARTS if abs(start) != 0.1 and start != PUBLISHED}
    return (_watched(few_digits(tuple(f for f in formulas if f.name not in left_out))),)


def read(folder: RunFolder, parts: tuple[Experiment, ...]) -> Findings:
    """Accuracy by start, the paths of eps, and what may be said of the published start."""
    tables = [_table(folder, part) for part in parts]
    paths = {part.name: _paths(folder, part.name) for part in parts}
    return Findings(
        summary=" ".join(_sentence(table, paths[table.name]) for table in tables),
        tables=tuple(tables),
        curves=(_sensitivity(tables), *(_path_curves(name, found) for name, found in paths.items())),
        claims=tuple(claim for table in tables for claim in _claims(table, paths[table.name])),
        facts={"eps at the end": {name: _ends(found) for name, found in paths.items()}},
    )


def _table(folder: RunFolder, part: Experiment) -> Table:
    return comparison(
        folder, part.name, ACCURACY, reference=part.reference, rates=part.rates,
        title=f"{part.name}: accuracy by start of eps",
    )  # fmt: skip


Paths = dict[float, list[list[list[float]]]]
"""Start -> for each epoch, the start among them -> layer -> eps of each seed."""


def _paths(folder: RunFolder, experiment: str) -> Paths:
    trained = records(folder, experiment)
    found: Paths = {}
    for start in STARTS:
        runs = trained.get(name_of(start), [])
        if runs:
            epochs = zip(*(run["watched"] for run in runs), strict=True)
            watched = [_joined([record["eps"] for record in epoch]) for epoch in epochs]
            found[start] = [[[start] * len(seeds) for seeds in watched[0]], *watched]
    return found


def _joined(rows: Sequence[list[list[float]]]) -> list[list[float]]:
    """The layers of several runs, the seeds of all in one list."""
    return [[value for run in layer for value in run] for layer in zip(*rows, strict=True)]


def _moved(path: list[list[list[float]]], start: float) -> list[float]:
    """For each layer, the mean over seeds of the last eps less the start."""
    return [sum(layer) / len(layer) - start for layer in path[-1]]


def _ends(paths: Paths) -> dict[str, list[float]]:
    return {f"{start:g}": [round(start + d, 5) for d in _moved(path, start)] for start, path in paths.items()}


def _sentence(table: Table, paths: Paths) -> str:
    rows = [table.row(name_of(start)) for start in paths]
    means = [row.mean for row in rows if row.mean is not None]
    far = max(abs(d) for start, path in paths.items() for d in _moved(path, start))
    return (
        f"{table.name}: over the starts {min(paths):g} to {max(paths):g} mean accuracy lies between {min(means):.4f} "
        f"and {max(means):.4f} (ReLU {table.row('relu').mean:.4f}); training moves a layer's eps by at most {far:.3f} "
        "on the mean over seeds."
    )


def _claims(table: Table, paths: Paths) -> list[Claim]:
    others = [name_of(start) for start in paths if start != PUBLISHED]
    duels = contest(table, name_of(PUBLISHED), others)
    lost, won = [d.other for d in duels if d.lost], [d.other for d in duels if d.won]
    evidence = "; ".join(map(str, duels))
    return [
        Claim(
            f"No start of eps is better than the published 0.01: {table.name}.",
            "not reproduced" if lost else "reproduced" if len(won) == len(duels) else "not resolved",
            f"Worse than from {', '.join(lost) or 'none'}, better than from {', '.join(won) or 'none'}, with 95 % "
            f"after Holm. Differences to 0.01: {evidence}.",
        ),
        _rises(table.name, paths),
        _forgets(table.name, paths),
    ]


def _rises(name: str, paths: Paths) -> Claim:
    """Does training, from the published start, move eps up (the published sign) or down (the theory's)?"""
    last = paths[PUBLISHED][-1]
    found = [interval([value - PUBLISHED for value in layer]) for layer in last]
    up, down = sum(i.low > 0 for i in found), sum(i.high < 0 for i in found)
    steps = ", ".join(f"{i.mean:+.4f} [{i.low:+.4f}, {i.high:+.4f}]" for i in found)
    return Claim(
        f"From 0.01, training raises eps, the published sign: {name}.",
        counted(up, down, len(found)),
        f"It rises in {up} and falls in {down} of {len(found)} layers (95 % interval over seeds). By layer: {steps}.",
    )


def _forgets(name: str, paths: Paths) -> Claim:
    """Does eps end where it ends, wherever it started? By the spread of the ends over that of the starts."""
    low, high = min(paths), max(paths)
    layers = range(len(paths[low][-1]))
    kept = [
        interval([(b - a) / (high - low) for a, b in zip(paths[low][-1][i], paths[high][-1][i], strict=True)])
        for i in layers
    ]
    forgotten, remembered = sum(k.high < 0.5 for k in kept), sum(k.low > 0.5 for k in kept)
    shares = ", ".join(f"{k.mean:.2f} [{k.low:.2f}, {k.high:.2f}]" for k in kept)
    return Claim(
        f"Learning makes the start of eps unimportant: its differences shrink to less than half: {name}.",
        counted(forgotten, remembered, len(kept)),
        f"It shrinks so in {forgotten} and does not in {remembered} of {len(kept)} layers (95 % interval over seeds). "
        f"Of the difference between the starts {low:g} and {high:g} there is left at the end, by layer: {shares}.",
    )


def _sensitivity(tables: Sequence[Table]) -> Curves:
    """Accuracy against the start, one panel a network."""
    panels = {}
    for table in tables:
        there = [s for s in STARTS if name_of(s) in {row.name for row in table.rows}]
        rows = [table.row(name_of(s)) for s in there]
        line = Series(
            "crrelu", tuple(there), tuple(r.mean for r in rows), tuple(r.low for r in rows), tuple(r.high for r in rows)
        )
        relu = table.row("relu").mean
        panels[table.name] = (line, Series("relu", (there[0], there[-1]), (relu, relu)))
    return Curves("start", "Accuracy by the start of eps", panels, "eps at the start", "accuracy on the test images")


def _path_curves(name: str, paths: Paths) -> Curves:
    """eps against the epoch, one panel a start, one line a layer: the mean over seeds."""
    panels = {}
    for start, path in paths.items():
        lines = []
        for layer in range(len(path[0])):
            means = tuple(sum(epoch[layer]) / len(epoch[layer]) for epoch in path)
            lines.append(Series(f"layer {layer + 1}", tuple(range(len(path))), means))
        panels[f"from {start:g}"] = tuple(lines)
    return Curves(f"{name}-path", f"{name}: eps through training", panels, "epoch", "eps")


REPRODUCTION = Reproduction(
    name="crrelu-eps",
    title="Where CRReLU's eps starts, and where it goes",
    source=f"asked by reviewers of {SOURCE}",
    claims="eps is learnable and starts at 0.01.",
    activations=("relu", *STARTED),
    presets={
        "smoke": Preset(_smoke, SHORT_COST),
        "small": Preset(lambda formulas: tuple(map(_watched, small_networks(formulas))), SMALL_COST),
        "paper": Preset(lambda formulas: (_watched(published_network(formulas)),), PAPER_COST),
    },
    read=read,
)
