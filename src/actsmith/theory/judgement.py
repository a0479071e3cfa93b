"""Is it any good? One verdict: what depth does to it, where it stands among what was measured, what would settle it.

Theory vetoes and training decides, so a verdict never ranks by entropy. Where nothing was measured it says so.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import CATALOGUE, FOUND
from actsmith.formula.formula import Formula
from actsmith.theory.criticality import Criticality
from actsmith.theory.law import Law
from actsmith.theory.measured import NODES, Place, measured
from actsmith.theory.nearest import SAME, distances, same

__all__ = ["Judgement", "Near", "judge"]

NAMED = {**CATALOGUE, **FOUND}
NEAR = 3
"""Relatives that are named."""
AGAINST = ("gelu", "relu")
"""What a formula is to beat: the first of these that it is not."""
TASK = "digits"
"""A task without a download, of minutes."""
LONGEST = 1000
"""Characters of a formula that a command line shows."""
DEEPEST = 1000

FAR = 0.5
"""A function that is no nearer than this is no relative."""

DEPTH: Mapping[str, str] = {
    "scale_invariant": "signals and gradients survive any depth of a plain network, from inputs of any size",
    "zero_stable": "signals and gradients survive any depth of a plain network, fading slowly, like a power of it",
    "half_stable": (
        "signals and gradients survive any depth of a plain network that starts right; from inputs that are too {lost} "
        "they drift away slowly"
    ),
    "none": "signals or gradients are lost in a deep plain network, whatever its start: stay shallow, or normalise",
}
LINE = "it is a straight line: a network of it alone is linear, whatever its depth, and learns nothing but lines"
OPEN = "a plain network is critical with it at one point, of a class that theory does not resolve"


@dataclass(frozen=True)
class Near:
    """A function of nearly this shape.

    Attributes:
        name: of the catalogue or of the table.
        distance: 0 is the same up to scales and shifts of input and output, 1 shares nothing (`theory.nearest`).
    """

    name: str
    distance: float


@dataclass(frozen=True)
class Judgement:
    """What to make of a formula.

    Attributes:
        depth: what theory says of a plain deep network, in a sentence.
        equal: the name in the catalogue whose values it has without having that name; None where there is none.
        relatives: nearest in shape under the law, the nearest first.
        unrelated: why there are none.
        place: among what was measured; None where this copy has no measurements, or f has no relatives.
        tasks: how many tasks the place is by; 0 where this copy has no measurements.
        settle: the command that would settle it.
    """

    depth: str
    equal: str | None
    relatives: tuple[Near, ...]
    unrelated: str
    place: Place | None
    tasks: int
    settle: str

    @property
    def sentence(self) -> str:
        """The verdict.

        >>> from actsmith.theory.analysis import analyze
        >>> "any depth" in analyze("relu").judgement.sentence
        True
        """
        return f"{self.depth[0].upper()}{self.depth[1:]}. {self.standing[0].upper()}{self.standing[1:]}."

    @property
    def standing(self) -> str:
        """Its place, or why there is none."""
        p = self.place
        if p is None and self.tasks:
            return "how well it trains is not measured: no relative of it was, either"
        if p is None:
            return "how well it trains is not measured: this copy of Actsmith holds no table of measurements"
        where = f"of {p.of} functions on {self.tasks} tasks"
        if not p.estimated:
            return f"measured, it has place {p.place:.0f} {where}, by the mean of its places"
        return (
            f"it was not measured; its nearest relatives have the places {p.low:.0f} to {p.high:.0f} {where}, which "
            f"puts it at about {p.place:.0f}"
        )

    @property
    def by_network(self) -> str:
        """Its places by kind of network, the best first; nothing where it has none.

        >>> from actsmith.theory.analysis import analyze
        >>> "friedman" in analyze("gelu").judgement.by_network
        True
        """
        if self.place is None:
            return ""
        p, shown = self.place, []
        for task, place in sorted(p.by_task.items(), key=lambda item: item[1] / p.of_task[item[0]]):
            fewer = f" of {p.of_task[task]}" if p.of_task[task] < p.of else ""
            shown.append(f"{task} {'about ' * p.estimated}{place:.0f}{fewer}")
        return ", ".join(shown)

    @property
    def kin(self) -> str:
        """What it is another text of, then the relatives in a line, nearest first."""
        equal = f"it is {self.equal}, to {SAME:.1%}; then " if self.equal else ""
        near = ", ".join(f"{near.name} {_digits(near.distance)}" for near in self.relatives if near.distance < FAR)
        return equal + near or self.unrelated or "nothing in the catalogue is like it"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "sentence": self.sentence,
            "depth": self.depth,
            "equal": self.equal,
            "relatives": [{"name": near.name, "distance": near.distance} for near in self.relatives],
            "measured": None if self.place is None else self.place.to_dict(),
            "by_network": self.by_network,
            "settle": self.settle,
        }


def judge(f: Formula, law: Law, found: Criticality) -> Judgement:
    """The verdict on f, whose pre-activations have the law and whose criticality was found.

    Example:
        >>> from actsmith.theory.analysis import analyze
        >>> analyze("tanh").judgement.relatives[0].name
        'sigmoid'
    """
    table = measured()
    place, tasks = None, 0 if table is None else len(table.common)
    with np.errstate(all="ignore"):
        values = np.asarray(f(NODES), np.float64)
    if _line(values):
        return Judgement(LINE, None, (), "a line has none", None, tasks, _settled_by(f))
    equal: str | None = None
    relatives: tuple[Near, ...] = ()
    unrelated = ""
    try:
        equal, relatives = _relatives(f, law)
        if table is not None:
            place = table.place(f, law)
    except ActsmithError as error:
        unrelated = str(error).removeprefix(f"{f.name}: ").removeprefix("relatives: ")
    return Judgement(_depth(found), equal, relatives, unrelated, place, tasks, _settled_by(f))


def _depth(found: Criticality) -> str:
    if found.universality == "zero_unstable":
        layers = found.safe_depth(1.0, limit=DEEPEST)
        many = f"after {layers} layer{'s' * (layers != 1)}" if layers < DEEPEST else f"after {DEEPEST} layers or more"
        return (
            f"in a plain network signals explode {many} from inputs of variance 1, later from smaller ones: scale them "
            "down, stay shallow, or normalise"
        )
    if found.universality == "none" and found.points:
        return OPEN
    lost = "small" if found.points and found.points[0].a < 0 else "large"
    return DEPTH[found.universality].format(lost=lost)


def _digits(distance: float) -> str:
    return "0" if distance < SAME else f"{distance:.1g}" if distance < 0.01 else f"{distance:.2f}"


def _line(values: NDArray[np.float64]) -> bool:
    """Whether the values at NODES lie on a straight line."""
    return bool(np.isfinite(values).all() and np.allclose(np.polyval(np.polyfit(NODES, values, 1), NODES), values))


def _relatives(f: Formula, law: Law) -> tuple[str | None, tuple[Near, ...]]:
    """Of the catalogue, whose names say something: the one that f is without having its name, and others near it.

    Raises:
        ActsmithError: f is constant, or not finite, where the law lies.
    """
    names, values = _catalogue()
    own = same(f, NODES, values)
    near = distances(f, law, NODES, values, NEAR + (own is not None))
    equal = None if own is None or f.name in NAMED else names[own]
    return equal, tuple(Near(names[i], d) for i, d in near.items() if i != own)[:NEAR]


@lru_cache(maxsize=1)
def _catalogue() -> tuple[Sequence[str], NDArray[np.float64]]:
    """Names, and values at NODES (n, nodes), of the activations that are finite there and neither constant nor a line;
    of equal ones the first."""
    names: list[str] = []
    rows: list[NDArray[np.float64]] = []
    for name, entry in NAMED.items():
        with np.errstate(all="ignore"):
            values = np.asarray(entry.formula()(NODES), np.float64)
        usable = np.isfinite(values).all() and not _line(values)
        if usable and not any(np.allclose(values, row) for row in rows):
            names.append(name)
            rows.append(values)
    return names, np.stack(rows)


def _settled_by(f: Formula) -> str:
    """A command line that compares f with a usual activation; a line of Python where f has no text that can be typed.

    >>> from actsmith.formula.catalogue import get_activation
    >>> _settled_by(get_activation("gelu"))
    'actsmith compare digits relu gelu'
    >>> _settled_by(Formula("x*sigmoid(b*x)", {"b": 1.5}))
    "actsmith compare digits gelu 'x*sigmoid(b*x)' --param b=1.5"
    """
    entry = NAMED.get(f.name)
    usual = CATALOGUE[AGAINST[0]].formula()
    against = AGAINST[f.expr == usual.expr]
    if entry is not None and entry.formula() == f:
        return f"actsmith compare {TASK} {against} {f.name}"
    if len(f.text) > LONGEST:
        return f'actsmith.compare("{TASK}", ["{against}", f])'
    words = ["actsmith", "compare", TASK, against, f.text]
    for name, parameter in f.params.items():
        words += ["--param", f"{name}={parameter.value:.12g}", *(["--learn", name] if parameter.learn else [])]
    return shlex.join(words)
