"""Keeping a table: two Parquet files with everything, and the small form that the package reads with NumPy alone.

    activations.npz       the small form, see `actsmith.theory.measured`
    functions.parquet     a row a function: what it is, what theory says, its places
    trainings.parquet     a row a training: task, function, rate, seed, scores, and how it went

docs/table.md explains the columns.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actsmith import __version__
from actsmith.errors import require
from actsmith.files import plain, to_json, write_atomically
from actsmith.table.gather import Gathered, gathered, table_of
from actsmith.table.tasks import SHARES
from actsmith.theory.measured import MeasuredTable

__all__ = ["SMALL", "Published", "publish", "small_form"]

SMALL = "activations.npz"
_MATRICES = ("outcome", "seeds", "by_rate", "early", "diverged", "step_seconds", "values")
_HALF = ("fisher",)
"""Shares, in float16: a thousandth of one is enough."""
_EXACT = ("rate", "rates", "shares")
"""Small, and compared with numbers that are written in decimals."""


@dataclass(frozen=True)
class Published:
    """What was written.

    Attributes:
        table: the table.
        files: paths.
        notes: what could not be written, and why.
    """

    table: MeasuredTable
    files: tuple[Path, ...]
    notes: tuple[str, ...]

    @property
    def conclusion(self) -> str:
        """In a sentence."""
        about, best = self.table.about, self.table.names[int(np.argmin(self.table.rank()))]
        return (
            f"{about['functions']} functions, {about['everywhere']} of them on all {len(self.table.tasks)} tasks, from "
            f"{about['trainings']} trainings, {about['seeds']} seeds each at {self.table.rates.shape[1]} rates and "
            f"{about['seeds_closely']} for {about['closely']}; the best by the mean of its places is {best}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "files": [str(file) for file in self.files], "notes": list(self.notes), "about": dict(self.table.about),
            "conclusion": self.conclusion,
        }  # fmt: skip


def publish(folder: str | Path, out: str | Path) -> Published:
    """Write the files of a build, finished or not: the functions that were measured on the tasks asked of all.

    Args:
        folder: of the build.
        out: where the files go; made where there is none.

    Raises:
        ActsmithError: no such build, nothing is whole yet.
    """
    found = gathered(folder)
    table = table_of(found)
    target = Path(out).expanduser()
    target.mkdir(parents=True, exist_ok=True)
    content, table = small_form(table)
    write_atomically(target / SMALL, content)
    files, notes = [target / SMALL], []
    try:
        arrow, parquet = (require(name, "table", "table") for name in ("pyarrow", "pyarrow.parquet"))
    except ValueError as error:
        notes.append(str(error))
    else:
        about = {"actsmith": to_json(dict(table.about))}
        for name, rows in (("functions", _functions(table)), ("trainings", _trainings(found))):
            made = arrow.Table.from_pylist(rows).replace_schema_metadata(about)
            parquet.write_table(made, target / f"{name}.parquet", compression="zstd")
            files.append(target / f"{name}.parquet")
    return Published(table, tuple(files), tuple(notes))


def small_form(table: MeasuredTable) -> tuple[bytes, MeasuredTable]:
    """The content of activations.npz, and the table with the checksum that it holds: measurements in float32."""
    arrays: dict[str, Any] = {
        name: np.array(getattr(table, name)) for name in ("names", "formulas", "families", "origins")
    }
    with np.errstate(over="ignore"):
        arrays |= {name: np.asarray(getattr(table, name), np.float32) for name in _MATRICES}
        for group in ("start", "theory"):
            own: Mapping[str, Any] = getattr(table, group)
            arrays |= {f"{group}:{name}": np.asarray(values, np.float32) for name, values in own.items()}
    arrays |= {name: np.asarray(getattr(table, name), np.float16) for name in _HALF}
    arrays |= {name: np.asarray(getattr(table, name), np.float64) for name in _EXACT}
    about = {**table.about, "actsmith": __version__, "checksum": _checksum(arrays)}
    arrays["about"] = np.array(to_json(about))
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    shown = {name: value for name, value in about.items() if name != "tasks"}
    return file.getvalue(), MeasuredTable(**{**vars_of(table), "about": shown})


def vars_of(table: MeasuredTable) -> dict[str, Any]:
    """The fields of a table."""
    return {name: getattr(table, name) for name in table.__dataclass_fields__}


def _checksum(arrays: Mapping[str, Any]) -> str:
    """SHA-256 of names, shapes and bytes, in alphabetical order."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _functions(table: MeasuredTable) -> list[dict[str, Any]]:
    rows = []
    for row in table.to_dict()["rows"]:
        own = {name: row[name] for name in ("name", "formula", "family", "origin", "place")}
        own |= {f"place:{task}": place for task, place in row["places"].items()}
        own |= {f"{what}:{task}": v for what in ("outcome", "diverged") for task, v in row[what].items()}
        rows.append(own | {f"theory:{name}": value for name, value in row["theory"].items()})
    return rows


def _trainings(found: Gathered) -> list[dict[str, Any]]:
    names = {member.formula.name for member in found.members}
    specs = {spec.name: spec for spec in found.specs}
    rows = []
    for outcome in found.history.values():
        if outcome.name not in names:
            continue
        spec, trial = specs[outcome.trial.task], outcome.trial
        metric, epochs = spec.task.metric.name, spec.task.recipe.epochs
        curve = dict(outcome.details.get("curve", ()))
        marks = {f"validation_{share:.0%}": max(round(share * epochs), 1) for share in SHARES[:-1]}
        rows.append(
            {
                "key": trial.key, "task": trial.task, "name": outcome.name, "rate": trial.rate, "seed": trial.seed,
                **{name: curve.get(epoch, {}).get(metric) for name, epoch in marks.items()},
                "validation_100%": outcome.score(metric), "test": outcome.score(spec.score, "test"),
                "diverged": outcome.score(metric) is None, "reason": outcome.reason,
                "step_seconds": outcome.step_seconds, "seconds": outcome.seconds,
                "scores": to_json(plain({"validation": outcome.validation, "test": outcome.test})),
                **{f"start_{name}": value for name, value in outcome.details.get("start", {}).items()},
            }
        )  # fmt: skip
    return rows
