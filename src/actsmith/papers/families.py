"""Which activations are too much alike to count as two: a bootstrap draws a family, not each of its members.

Two activations are of one family where their shapes are within `ALIKE` of each other under N(0, 1), up to affine
changes of input and output (`theory.nearest`), or a chain of such pairs lies between them; and a correction is of the
family of what it corrects.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.theory.laws import Normal
from actsmith.theory.measured import NODES
from actsmith.theory.nearest import distances

__all__ = ["families"]

ALIKE = 0.02


def families(formulas: Sequence[Formula]) -> list[str]:
    """The family of each, called after its first member.

    >>> from actsmith.formula.catalogue import get_activation as get
    >>> families([get("tanh"), get("relu"), get("sigmoid"), get("relu").renamed("relu+0.3eafo")])
    ['tanh', 'relu', 'tanh', 'relu']
    """
    names = [f.name for f in formulas]
    head = {name: name for name in names}

    def join(a: str, b: str) -> None:
        first, second = sorted((head[a], head[b]), key=names.index)
        for name, own in head.items():
            head[name] = first if own == second else own

    with np.errstate(all="ignore"):
        values = np.stack([np.asarray(f(NODES), np.float64) for f in formulas])
    for f in formulas:
        if (base := _base(f.name)) in head:
            join(f.name, base)
        try:
            near = distances(f, Normal(), NODES, values, len(names))
        except ActsmithError:  # a constant is like nothing
            continue
        for row, distance in near.items():
            if distance < ALIKE:
                join(f.name, names[row])
    return [head[name] for name in names]


def _base(name: str) -> str:
    """What a correction corrects, from its name."""
    return name.removesuffix("_kept_critical").removesuffix("eafo").rstrip("+-.0123456789")
