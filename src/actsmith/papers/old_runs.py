"""Finished runs of earlier releases, whose folders have no `format`: read, so that their pages can be made again.

There a record held a whole stack: `seeds`, and for each of them an entry of `diverged`, of `loss`, of every score, of
every parameter, and of everything that was watched. It named the activation without its formula.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from actsmith.errors import ActsmithError
from actsmith.files import read_json
from actsmith.formula.formula import Formula
from actsmith.papers.experiment import Part, Saved
from actsmith.trials.trial import History, Outcome, Trial

__all__ = ["is_old", "outcomes_of", "read"]


def is_old(path: Path) -> bool:
    """Whether the folder holds a run of an earlier release."""
    config = path / "config.json"
    return config.is_file() and "format" not in read_json(config)


def read(path: Path, name: str, preset: str, parts: Sequence[Part]) -> Saved:
    """The run's records, its trainings as outcomes.

    Args:
        path: the folder.
        name, preset: of the reproduction that it must be of.
        parts: what that reproduction asks for now.

    Raises:
        ActsmithError: it is of another reproduction, it is not finished, or a line is no record.
    """
    config = read_json(path / "config.json")
    there = f"{config.get('reproduction', 'no reproduction')}, preset {config.get('preset')}"
    if there != f"{name}, preset {preset}":
        raise ActsmithError(f"reproduce {name}: {str(path)!r} holds a run of {there}; give another folder")
    records = {record["key"]: record for record in _lines(path / "results.jsonl")}
    formulas = _formulas(parts, records)
    history = History(
        outcome
        for record in records.values()
        if "seeds" in record and (record["experiment"], record["activation"]) in formulas
        for outcome in outcomes_of(record, formulas[record["experiment"], record["activation"]])
    )
    found = Saved(records, history)
    if (left := sum(part.left(found) for part in parts)) > 0:
        raise ActsmithError(
            f"reproduce {name}: {str(path)!r} holds a run of an earlier release that is not finished ({left} trainings "
            "are left, or activations differ); finish it with that release, or give another folder"
        )
    return found


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines() if path.is_file() else (), 1):
        try:
            record = json.loads(text)
            record["key"]
        except (ValueError, TypeError, KeyError):
            raise ActsmithError(f"{path}: line {number} is no record; remove it if it is the last, torn one") from None
        yield record


def _formulas(parts: Sequence[Any], records: Mapping[str, dict[str, Any]]) -> dict[tuple[str, str], Formula]:
    """(table, activation) -> formula: those that are declared, and those that a measurement suggested."""
    found = {(part.name, f.name): f for part in parts for f in getattr(part, "activations", ())}
    found |= {("pretrain", f.name): f for part in parts for f in getattr(part, "pretrained", ())}
    for part in parts:
        measured = records.get(f"{part.name}/measured", {}).get("suggested", ())
        found |= {(part.name, f.name): f for f in map(Formula.from_dict, measured)}
    return found


def outcomes_of(record: Mapping[str, Any], formula: Formula) -> list[Outcome]:
    """One outcome a seed."""
    nets = len(record["seeds"])
    outcomes = []
    for i, seed in enumerate(record["seeds"]):
        validation, test = (
            {name: values[i] for name, values in (record.get(split) or {}).items()} for split in ("validation", "test")
        )
        tested = record["stage"] == "score"
        trial = Trial(record["experiment"], formula, record["stage"], record["rate"], seed, test=tested)
        own = {name: _own(record[name], nets, i) for name in ("watched", "before") if name in record}
        learned = {name: v if len(v) != nets else [v[i]] for name, v in (record.get("parameters") or {}).items()}
        loss = record["loss"][i] if "loss" in record else []
        outcomes.append(
            Outcome(
                trial, validation, test if tested else None, diverged=record["diverged"][i],
                step_seconds=record["step_seconds"] / nets, peak_bytes=int(record["peak_bytes"]) // nets,
                details={"loss": loss, "parameters": learned, **own},
            )
        )  # fmt: skip
    return outcomes


def _own(value: Any, nets: int, i: int) -> Any:
    """What of nested values belongs to net i: its entry of every list of one number a net."""
    if isinstance(value, dict):
        return {key: _own(item, nets, i) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) == nets and all(v is None or isinstance(v, int | float) for v in value):
        return value[i]
    return [_own(item, nets, i) for item in value]
