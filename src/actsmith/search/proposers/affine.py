"""Affine forms a f(b x + c) + d x of what was good so far, the critical one among them."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import sympy as sp

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.formula.parse import X
from actsmith.search.candidates import Candidate
from actsmith.search.draft import Draft, build, rounded
from actsmith.search.evidence import Evidence
from actsmith.theory.tuning import tuning

__all__ = ["Affine"]

LEADERS = 6
CRITICAL = 3
"""Leaders whose critical form is worked out: some tenths of a second each, once."""
SPREAD = 0.3
"""Of log a and log b, of c in the law's scale, and of d."""
LONGEST = 200
"""Characters of a formula that is transformed."""

Coefficients = tuple[float, float, float, float, float]
"""a, b, c, d, e of a f(b x + c) + d x + e; e is that of the critical form, else 0."""


class Affine:
    """a f(b x + c) + d x with f the start or a leader; its learned parameters stand at the values they start from."""

    name = "affine"
    notes: tuple[str, ...] = ()

    def propose(self, evidence: Evidence, rng: np.random.Generator, n: int) -> list[Draft]:
        """The critical forms, then random ones: each of a, b, c, d is changed in half of them."""
        leaders = [evidence.start, *(t.candidate.formula for t in evidence.best(LEADERS))]
        bases = list(dict.fromkeys(f for f in leaders if len(f.text) <= LONGEST))
        critical = [(base, found) for base in bases[:CRITICAL] if (found := _critical(base)) is not None]
        plans = [(base, "critical form", [found]) for base, found in critical]
        left = max(n - len(plans), 0)
        for i, base in enumerate(bases):
            count = left // len(bases) + (i < left % len(bases))
            plans.append((base, "affine form", _random(rng, count, evidence.grid.scale)))
        return [draft for plan in plans for draft in _drafts(*plan, evidence)][:n]


def _random(rng: np.random.Generator, count: int, scale: float) -> list[Coefficients]:
    """Coefficients, those that change drawn, the others 1, 1, 0, 0, 0."""
    drawn = rng.normal(0, SPREAD, (count, 4))
    drawn[rng.random((count, 4)) < 0.5] = 0.0
    drawn[:, :2] = np.exp(drawn[:, :2])
    drawn[:, 2] *= scale
    return [(rounded(a), rounded(b), rounded(c), rounded(d), 0.0) for a, b, c, d in drawn]


def _drafts(base: Formula, what: str, coefficients: list[Coefficients], evidence: Evidence) -> list[Draft]:
    if not coefficients:
        return []
    a, b, c, d, e = (np.array(column)[:, None] for column in zip(*coefficients, strict=True))
    x = evidence.grid.x
    with np.errstate(all="ignore"):
        f, slope = base.jet(b * x + c, 1)
        values, slopes = a * f + d * x + e, a * b * slope + d
    origin = f"{what} of {base.name}: a f(b x + c) + d x"
    return [
        Draft(values[i], slopes[i], Affine.name, origin, (base.name,), partial(_make, base, row, origin))
        for i, row in enumerate(coefficients)
    ]


def _make(base: Formula, coefficients: Coefficients, origin: str) -> Candidate:
    a, b, c, d, e = (sp.Rational(repr(value)) for value in coefficients)
    return build(a * base.bound.subs(X, b * X + c) + d * X + e, Affine.name, origin, (base.name,), short=True)


@lru_cache(maxsize=256)
def _critical(base: Formula) -> Coefficients | None:
    """c (f(a x + b) + d) of `tuning` as coefficients of ours; None where there is none."""
    try:
        found = tuning(base)
    except ActsmithError:
        return None
    return rounded(found.c), rounded(found.a), rounded(found.b), 0.0, rounded(found.c * found.d)
