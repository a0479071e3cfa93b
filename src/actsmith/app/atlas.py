"""The map: every activation of the catalogue by quantities of theory, and where it stands among what was measured."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from actsmith.app.inputs import formula_of
from actsmith.app.views import short
from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import CATALOGUE
from actsmith.formula.formula import Formula
from actsmith.theory.criticality import criticality
from actsmith.theory.entropy import entropy
from actsmith.theory.kernel import moments
from actsmith.theory.measured import measured

__all__ = ["QUANTITIES", "map_view", "place_view"]

QUANTITIES = {
    "smoothed": "smoothed entropy J, nats",
    "scale_free": "scale-free entropy H - log std, nats",
    "mixed": "entropy with atoms, nats",
    "atom_mass": "share of outputs on flat pieces",
    "mean": "mean of the output",
    "std": "deviation of the output",
    "ratio": "chi_par / chi_perp at K = 1",
    "gain": "C_W that keeps gradients at K = 1",
    "K": "critical kernel K*",
    "C_W": "critical C_W",
    "C_b": "critical C_b",
    "safe": "layers through which K0 = 1 stays within 1000 (2000: that many or more)",
    "place": "place among the measured, 1 the best",
}
"""What the axes of the map may be, under N(0, 1)."""
DEEPEST = 2000


def map_view() -> dict[str, Any]:
    """All of the catalogue; computed once in a process. A quantity that does not exist is None."""
    points = [_point(name, entry.formula()) for name, entry in CATALOGUE.items() if name != "identity"]
    return {"quantities": QUANTITIES, "points": points, "measured": _measured()}


def place_view(formula: Any, values: Any = None) -> dict[str, Any]:
    """The point of one formula.

    Raises:
        ActsmithError: no such formula.
    """
    f = formula_of(formula, values)
    return _point(f.name if len(f.name) <= 24 else "mine", f)


def _measured() -> dict[str, Any] | None:
    """What the table is of; None where this copy has none."""
    table = measured()
    return None if table is None else {"of": len(table), "tasks": [task.name for task in table.common]}


def _point(name: str, f: Formula) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "text": f.text, **dict.fromkeys(QUANTITIES)}
    c = criticality(f)
    found["universality"] = c.universality
    try:
        e = entropy(f)
        found |= {n: short(getattr(e, n)) for n in ("smoothed", "scale_free", "mixed", "atom_mass", "mean", "std")}
    except ActsmithError as error:
        found["reason"] = str(error)
    at = moments(f, 1.0)
    with np.errstate(all="ignore"):
        found |= {"ratio": short(float(at.dg / at.perp)), "gain": short(float(1 / at.perp)) or None}
    if c.points:
        first = c.points[0]
        found |= {"K": short(first.K), "C_W": short(first.C_W), "C_b": short(first.C_b), "safe": _safe(f)}
    return found | _place(f)


def _safe(f: Formula) -> int | None:
    try:
        return criticality(f).safe_depth(1.0, limit=DEEPEST)
    except ActsmithError:
        return None


@lru_cache(maxsize=256)
def _place(f: Formula) -> dict[str, Any]:
    """Its place, and whether it was measured itself; an estimate from its relatives says so."""
    table = measured()
    if table is None:
        return {"place": None, "estimated": None}
    try:
        found = table.place(f)
    except ActsmithError:
        return {"place": None, "estimated": None}
    return {"place": short(found.place), "estimated": found.estimated}
