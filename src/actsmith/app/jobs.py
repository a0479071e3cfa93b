"""What the worker processes can do, by name: two tables, since one process of each is kept.

A job takes `emit` first, which only a training uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["drawing", "learning"]


def drawing() -> Mapping[str, Callable[..., Any]]:
    """The theory: no torch is loaded, so that the process is there in a second."""
    from actsmith.app import atlas, depths, views
    from actsmith.app.inputs import samples_law

    views.function_view("gelu")  # what is computed once is computed before anybody waits

    def law(content: bytes) -> dict[str, Any]:
        found = samples_law(content)
        return {"law": found.to_dict(), "spec": str(found), "mean": found.mean, "std": found.std}

    return {
        "function": _silent(views.function_view),
        "verdict": _silent(views.verdict_view),
        "depth": _silent(depths.theory_view),
        "place": _silent(atlas.place_view),
        "map": _silent(atlas.map_view),
        "law": _silent(law),
    }


def learning() -> Mapping[str, Callable[..., Any]]:
    """What needs torch: simulations, files, trainings."""
    from actsmith.app import depths, exits, training

    return {
        "simulate": _silent(depths.simulation_view),
        "exits": _silent(exits.exits_view),
        "figure": _silent(exits.figure_view),
        "train": training.train,
    }


def _silent(view: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _emit, **arguments: view(**arguments)
