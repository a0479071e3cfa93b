"""The traceback of a training that failed, between machines: text on the way, a file in the run folder at home."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from actsmith.files import write_atomically
from actsmith.trials.trial import Outcome

__all__ = ["kept_traceback", "told_traceback"]


def told_traceback(outcome: Outcome, folder: Path) -> Outcome:
    """With the text inside, where a worker's folder holds it as a file."""
    path = folder / str(outcome.details.get("traceback", ""))
    if outcome.reason is None or not path.is_file():
        return outcome
    return replace(outcome, details={**outcome.details, "traceback": path.read_text(encoding="utf-8")})


def kept_traceback(outcome: Outcome, folder: Path | None) -> Outcome:
    """With the text as a file of the run folder, as the trainings of this machine have theirs."""
    text = outcome.details.get("traceback")
    if folder is None or outcome.reason is None or not text or "\n" not in text:
        return outcome
    path = folder / "failures" / f"{outcome.trial.key}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)
    return replace(outcome, details={**outcome.details, "traceback": f"{path.parent.name}/{path.name}"})
