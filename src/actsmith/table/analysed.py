"""What the shipped table says of itself: the analyses, and how it was measured in a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from actsmith.errors import ActsmithError
from actsmith.table.methods import REPETITIONS, Replayed, replay
from actsmith.table.predicts import Predicts, predicts
from actsmith.table.which import Kind, everywhere, kinds
from actsmith.theory.measured import MeasuredTable, measured

__all__ = ["Analysed", "analysed", "how_measured"]


@dataclass(frozen=True)
class Analysed:
    """All answers.

    Attributes:
        predicts, replayed, kinds, everywhere: see there.
        measured: how the table was measured.
    """

    predicts: Predicts
    replayed: Replayed
    kinds: list[Kind]
    everywhere: Kind
    measured: str


def analysed(table: MeasuredTable | None = None, repetitions: int = REPETITIONS) -> Analysed:
    """Analyse a table, the shipped one by default; takes minutes.

    Raises:
        ActsmithError: this copy has no table.
    """
    table = measured() if table is None else table
    if table is None:
        raise ActsmithError("table: this copy has no table; build one (actsmith table build) and publish it")
    return Analysed(predicts(table), replay(table, repetitions), kinds(table), everywhere(table), how_measured(table))


def how_measured(table: MeasuredTable) -> str:
    """In a sentence or two."""
    about, everyone = table.about, [task.name for task in table.common]
    others = [task.name for task in table.tasks if task.name not in everyone]
    more = f", {about['everywhere']} of them on {', '.join(others)}, too" if others else ""
    return (
        f"The table: {about['functions']} functions on {', '.join(everyone)}{more}: {about['trainings']} trainings of "
        f"{about['seconds'] / about['trainings']:.2f} s, {table.rates.shape[1]} rates and {about['seeds']} seeds each, "
        f"{about['seeds_closely']} seeds for {about['closely']} of them; measured {about['measured']}. Such small "
        "tasks say little of large networks."
    )
