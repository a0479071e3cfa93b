"""What a run folder says, as the numbers that the reports show. Everything is computed here; what draws only draws."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.theory.laws import Empirical, law_from_dict

__all__ = ["Curve", "Density", "Row", "RunData", "read_run"]

Array = NDArray[np.float64]

LAYERS = 12
"""Layers of which the pre-activations are drawn."""
SHAPES = 5
"""Activations of which the shapes are drawn, the start apart."""


@dataclass(frozen=True)
class Row:
    """A line of the leaderboard; the attributes are those of leaderboard.json."""

    name: str
    formula: Formula
    kind: str
    validation: float | None
    score: float | None
    low: float | None
    high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p: float | None
    verdict: str | None
    seeds: int
    learning_rate: float
    step_seconds: float
    entropy: float | None
    universality: str
    origin: str = ""
    learned: tuple[tuple[str, float], ...] = ()
    same_as: tuple[str, ...] = ()
    diverged: int = 0
    learning_rate_at_edge: bool = False
    confirmed: float | None = None


@dataclass(frozen=True)
class Curve:
    """An activation and its derivative on a grid."""

    name: str
    kind: str
    x: Array
    value: Array
    slope: Array


@dataclass(frozen=True)
class Density:
    """The measured density of one layer's pre-activations and that of its fit, on a grid."""

    layer: str
    mean: float
    std: float
    fit: str
    distance: float
    x: Array
    measured: Array
    fitted: Array


@dataclass(frozen=True)
class RunData:
    """A finished search.

    Attributes:
        task, start, metric, conclusion, recommended: as leaderboard.json has them.
        better: "higher" or "lower".
        judge: the split whose scores confirm: "test", or "validation" for a user's own loop without a test.
        rows: best first; the confirmed ones have a score on that split.
        config, plan: what was asked for, what the budget bought.
        looks: numbers of seeds at which scores were judged.
        dropped: (name, origin, reason) of candidates that were not trained.
        curves: of the start and the best others.
        densities: of the pre-activations, of the first layers.
        layers: how many there are.
    """

    task: str
    start: str
    metric: str
    better: str
    log: bool
    judge: str
    conclusion: str
    recommended: str
    rows: tuple[Row, ...]
    front: tuple[str, ...]
    trainings: int
    config: dict[str, Any]
    plan: dict[str, Any]
    command: str
    dropped: tuple[tuple[str, str, str], ...]
    curves: tuple[Curve, ...]
    densities: tuple[Density, ...]
    looks: tuple[int, ...] = ()
    layers: int = 0

    @property
    def focus(self) -> tuple[Row, ...]:
        """The rows that a common scale can show: those within six interquartile ranges of the median validation."""
        usable = [r for r in self.rows if r.validation is not None]
        if not usable:
            return ()
        lower, middle, upper = np.quantile([_validation(r) for r in usable], [0.25, 0.5, 0.75])
        reach = max(6 * (upper - lower), 1e-3 * abs(middle), 1e-9)
        return tuple(r for r in usable if abs(_validation(r) - middle) <= reach)

    @property
    def confirmed(self) -> tuple[Row, ...]:
        """The rows that were scored on the split that judges, each function once."""
        return tuple(r for r in self.rows if r.seeds and not r.same_as)


def _validation(row: Row) -> float:
    assert row.validation is not None
    return row.validation


def read_run(folder: str | Path) -> RunData:
    """The numbers of a run folder.

    Raises:
        ActsmithError: the folder holds no finished search.
    """
    path = Path(folder)
    board = _json(path, "leaderboard.json")
    if "conclusion" not in board:
        raise ActsmithError(f"report: {str(folder)!r} was written by version 0.1; its leaderboard.md was, too")
    rows = tuple(_row(entry) for entry in board["rows"])
    # A search whose budget ended early has none; one of before there were rounds of proposals has candidates.json.
    names = [name for name in ("explored.json", "candidates.json") if (path / name).is_file()]
    explored = _json(path, names[0]) if names else {"dropped": []}
    probe = _json(path, "probe.json") if (path / "probe.json").is_file() else {"layers": {}}
    drawn = {"rows", "front", "looks"}
    own = {n: value for n, value in board.items() if n in RunData.__dataclass_fields__ and n not in drawn}
    return RunData(
        **{"judge": "test", **own},
        looks=tuple(look[0] if isinstance(look, list) else look for look in board.get("looks", ())),
        rows=rows,
        front=tuple(board["front"]),
        config=_json(path, "config.json"),
        dropped=tuple((c["name"], c["origin"], c["reason"]) for c in explored["dropped"]),
        curves=_curves(rows, board["start"]),
        densities=tuple(_density(layer, entry) for layer, entry in list(probe["layers"].items())[:LAYERS]),
        layers=len(probe["layers"]),
    )


def _json(folder: Path, name: str) -> Any:
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ActsmithError(
            f"report: {str(folder)!r} has no {name}; expected the folder of a finished search; resume one that is not"
        ) from None
    except ValueError:
        raise ActsmithError(f"report: {folder / name} is not JSON; expected a file as the search writes it") from None


def _row(entry: dict[str, Any]) -> Row:
    known = {k: v for k, v in entry.items() if k in Row.__dataclass_fields__}
    known["formula"] = Formula.from_dict(
        {"name": entry["name"], "formula": entry["formula"], "params": entry["parameters"]}
    )
    known["learned"] = tuple(entry.get("learned", {}).items())
    known["same_as"] = tuple(entry.get("same_as", ()))
    return Row(**known)


def _curves(rows: Sequence[Row], start: str) -> tuple[Curve, ...]:
    """The start, then the best others, with their parameters at the values that training gave them on average."""
    chosen = [*(r for r in rows if r.name == start), *[r for r in rows if r.name != start][:SHAPES]]
    x = np.linspace(-5.0, 5.0, 801)
    curves = []
    for row in chosen:
        inside = {n: min(max(v, row.formula.params[n].low), row.formula.params[n].high) for n, v in row.learned}
        value, slope = row.formula.at(**inside).jet(x, 1)
        curves.append(Curve(row.name, row.kind, x, value, slope))
    return tuple(curves)


def _density(layer: str, entry: dict[str, Any]) -> Density:
    law, fitted = Empirical.from_dict(entry["law"]), law_from_dict(entry["fit"]["law"])
    low, high = law.quantile(np.array([1e-3, 1 - 1e-3]))
    x = np.linspace(low, high, 401)
    return Density(
        layer=layer,
        mean=law.mean,
        std=law.std,
        fit=fitted.spec,
        distance=entry["fit"]["distance"],
        x=x,
        measured=np.asarray(law.pdf(x)),
        fitted=np.asarray(fitted.pdf(x)),
    )
