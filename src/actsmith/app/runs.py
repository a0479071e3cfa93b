"""A run folder as it grows: what leads, with intervals, what was finished last. It is read, never opened for writing.

A search and a reproduction both add a line to results.jsonl for each finished training; only new lines are read.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actsmith.app.views import short
from actsmith.errors import ActsmithError
from actsmith.files import read_json
from actsmith.trials.statistics import interval, share_interval

__all__ = ["LATEST", "LIVE", "Trained", "Watched", "brief", "table", "trained"]

MOST_ROWS = 30
LATEST = 8
LIVE = 60.0
"""A folder that nothing was written into for so many seconds counts as still."""
STAGES = {"tune": 1, "score": 2}
"""How far a training is on the way to a confirmation; the others explore."""
LOWER = ("loss", "error", "rmse", "l2", "perplexity", "derivative")


@dataclass(frozen=True)
class Trained:
    """A training that was finished.

    Attributes:
        task, name, formula, values: what was trained: the activation by its name, its text and its parameters.
        stage: why.
        setting: share of the examples, of the epochs; rate, scale.
        scores: on the test split where that was read.
    """

    task: str
    name: str
    formula: str
    values: Mapping[str, float]
    stage: str
    setting: tuple[float, float, float, float]
    scores: Mapping[str, float | None]


@dataclass
class Watched:
    """One folder that the command line named.

    Attributes:
        path: of the folder.
    """

    path: Path
    _offset: int = 0
    _trainings: list[Trained] = field(default_factory=list)
    _other: int = 0

    def __post_init__(self) -> None:
        if not self.path.is_dir():
            raise ActsmithError(
                f"--runs: no folder {str(self.path)!r}; give the folder of a search or a reproduction, or a storage"
            )

    @property
    def name(self) -> str:
        """As the page shows it."""
        return self.path.name

    def views(self) -> list[dict[str, Any]]:
        """What is shown, a section each: one."""
        return [self.view()]

    def view(self) -> dict[str, Any]:
        """The state now, plain values."""
        self._read()
        board = self._json("leaderboard.json")
        changed = self._changed()
        return {
            "name": self.name,
            "kind": self._kind(),
            "trainings": len(self._trainings),
            "other": self._other,
            "seconds_since": None if changed is None else round(time.time() - changed, 1),
            "state": self._state(board, changed),
            "conclusion": board.get("conclusion"),
            "tables": [_finished(board)] if board.get("rows") else self._tables(),
            "latest": [brief(t) for t in self._trainings[: -LATEST - 1 : -1]],
        }

    def _read(self) -> None:
        """The lines that are whole and new; all of them where the file was begun again."""
        file = self.path / "results.jsonl"
        if not file.is_file():
            return
        if file.stat().st_size < self._offset:
            self._offset, self._other = 0, 0
            self._trainings.clear()
        with file.open("rb") as opened:
            opened.seek(self._offset)
            new = opened.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            training = _line(line)
            if training is None:
                self._other += 1
            else:
                self._trainings.append(training)

    def _json(self, name: str) -> dict[str, Any]:
        """The object of a file; {} where there is none, or while it is written."""
        try:
            found = read_json(self.path / name)
        except (OSError, ActsmithError):
            return {}
        return found if isinstance(found, dict) else {}

    def _kind(self) -> str:
        config = self._json("config.json")
        if name := config.get("reproduction"):
            return f"reproduction {name}"
        task = config.get("task")
        named = task.get("name") if isinstance(task, dict) else task
        return f"search on {named}" if named else "run"

    def _changed(self) -> float | None:
        """When something was last written here."""
        times = [f.stat().st_mtime for f in self.path.iterdir() if f.is_file()]
        inside = self.path / "checkpoints"
        times += [f.stat().st_mtime for f in inside.iterdir()] if inside.is_dir() else []
        return max(times, default=None)

    def _state(self, board: Mapping[str, Any], changed: float | None) -> str:
        if board.get("conclusion"):
            return "finished"
        live = changed is not None and time.time() - changed < LIVE
        if not live:
            return "nothing was written for a while: interrupted, finished, or in a long training"
        last = self._trainings[-1] if self._trainings else None
        return f"running: {last.stage} {last.name}" if last else "running"

    def _tables(self) -> list[dict[str, Any]]:
        better = self._json("request.json").get("better")
        tasks: dict[str, list[Trained]] = defaultdict(list)
        for training in self._trainings:
            tasks[training.task].append(training)
        return [table(task, own, better) for task, own in tasks.items()]


def _line(line: bytes) -> Trained | None:
    try:
        return trained(json.loads(line))
    except ValueError:
        return None


def trained(record: Any) -> Trained | None:
    """The training of an outcome's plain values; None for other work."""
    try:
        formula = record["formula"]
        scores = record.get("test") or record["validation"]
        values = {name: p["value"] for name, p in formula["params"].items()}
        setting = tuple(float(record.get(n, 1.0)) for n in ("examples", "length", "rate", "scale"))
        return Trained(record["task"], formula["name"], formula["formula"], values, record["stage"], setting, scores)  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def brief(t: Trained) -> dict[str, Any]:
    """A training in a line."""
    score = next(iter(t.scores.values()), None)
    return {"name": t.name, "stage": t.stage, "task": t.task, "rate": short(t.setting[2]), "score": short(score)}


def table(title: str, trainings: Sequence[Trained], better: Any, metric: str | None = None) -> dict[str, Any]:
    """The activations of a task, best first, each at the best setting of the latest stage that it reached.

    Args:
        title: of the task.
        trainings: of the task.
        better: "higher" or "lower", as a search says; else the name of the score says it.
        metric: the score; the first of a training by default.
    """
    metric = metric or next((name for t in trainings for name in t.scores), "score")
    lower = better == "lower" or (better != "higher" and any(word in metric for word in LOWER))
    names: dict[str, dict[Any, list[Trained]]] = defaultdict(lambda: defaultdict(list))
    for t in trainings:
        names[t.name][(STAGES.get(t.stage, 0), *t.setting[:2]), t.setting].append(t)
    best = []
    for settings in names.values():
        reached = max(stage for stage, _ in settings)
        candidates = [own for (stage, _), own in settings.items() if stage == reached]
        best.append(min(candidates, key=lambda own: _worth(own, metric, lower)))
    best.sort(key=lambda own: (-STAGES.get(own[0].stage, 0), _worth(own, metric, lower)))
    return {"title": title, "metric": metric, "rows": [_row(own, metric) for own in best[:MOST_ROWS]]}


def _worth(own: Sequence[Trained], metric: str, lower: bool) -> float:
    """The mean, signed so that less is better; infinity where a training has no score."""
    values = _values(own, metric)
    if values is None:
        return math.inf
    return (1 if lower else -1) * sum(values) / len(values)


def _row(own: Sequence[Trained], metric: str) -> dict[str, Any]:
    first = own[0]
    named = {"name": first.name, "formula": first.formula, "values": dict(first.values), "stage": first.stage}
    return {**named, "seeds": len(own), "rate": short(first.setting[2]), **_interval(own, metric)}


def _values(own: Iterable[Trained], metric: str) -> list[float] | None:
    """None where a training has no finite score."""
    found = [t.scores.get(metric) for t in own]
    numbers = [v for v in found if v is not None and math.isfinite(v)]
    return numbers if len(numbers) == len(found) and numbers else None


def _interval(own: Iterable[Trained], metric: str) -> dict[str, Any]:
    values = _values(own, metric)
    if values is None:
        return {"mean": None, "low": None, "high": None}
    if len(values) == 1:
        return {"mean": short(values[0]), "low": None, "high": None}
    share = "accuracy" in metric and min(values) >= 0 and max(values) <= 1
    found = (share_interval if share else interval)(values)
    return {"mean": short(found.mean), "low": short(found.low), "high": short(found.high)}


def _finished(board: Mapping[str, Any]) -> dict[str, Any]:
    """The rows of a finished search, as its own leaderboard has them."""
    rows = []
    for row in board["rows"][:MOST_ROWS]:
        confirmed = row.get("score") is not None
        score = row["score"] if confirmed else row.get("validation")
        rows.append({
            "name": row["name"], "formula": row["formula"],
            "values": {n: p["value"] for n, p in (row.get("parameters") or {}).items()},
            "stage": "confirmed" if confirmed else "validation", "seeds": row.get("seeds") or 0,
            "rate": short(row.get("learning_rate")), "mean": short(score),
            "low": short(row.get("low")), "high": short(row.get("high")), "verdict": row.get("verdict"),
        })  # fmt: skip
    title = f"{board.get('task')}, from {board.get('start')}"
    return {"title": title, "metric": board.get("metric", "score"), "rows": rows}
