"""`analyze(f, law)`: the one record of a formula that every report shows, and `rank`, which orders formulas by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsmith.display import Shown
from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike, get_activation, is_one, resolve
from actsmith.formula.formula import Formula
from actsmith.theory.criticality import Criticality, criticality
from actsmith.theory.entropy import DEFAULT_TAU, Entropy, entropy
from actsmith.theory.judgement import Judgement, judge
from actsmith.theory.law import Law
from actsmith.theory.laws import resolve_law

__all__ = ["Analysis", "analyze", "rank"]

_GRID = np.sinh(np.linspace(-10, 10, 2002))


@dataclass(frozen=True, repr=False)
class Analysis(Shown):
    """What a formula does to information and to depth.

    Attributes:
        formula: the activation.
        law: the law of its pre-activations that the entropies are taken under.
        entropy: see `actsmith.entropy`.
        criticality: see `actsmith.criticality`.
        smoothness: the largest k with f in C^k, -1 where f jumps, None where infinitely differentiable.
        bounded: whether f is bounded below, above.
        monotone: whether f never turns.
    """

    formula: Formula
    law: Law
    entropy: Entropy
    criticality: Criticality
    smoothness: int | None
    bounded: tuple[bool, bool]
    monotone: bool

    @property
    def note(self) -> str | None:
        """What a reader must know of this formula: the sign of CRReLU's start, the reason of RePU's failure."""
        return _note(self.formula)

    @cached_property
    def judgement(self) -> Judgement:
        """The verdict, computed when it is first asked for: depth, place, relatives, and what would settle it."""
        return judge(self.formula, self.law, self.criticality)

    @property
    def error(self) -> float:
        """A bound on the error of the entropies and of the critical points."""
        return max(self.entropy.error, self.criticality.error)

    def to_dict(self) -> dict[str, Any]:
        """The object that `actsmith analyze --json` prints."""
        return {
            "formula": self.formula.text,
            "name": self.formula.name,
            "parameters": {name: p.value for name, p in self.formula.params.items()},
            "law": str(self.law),
            "kinks": list(self.formula.kinks),
            "entropy": self.entropy.to_dict(),
            "criticality": self.criticality.to_dict(),
            "smoothness": self.smoothness,
            "smoothness_reason": "infinitely differentiable" if self.smoothness is None else None,
            "bounded": list(self.bounded),
            "monotone": self.monotone,
            "error": self.error,
            "note": self.note,
            "judgement": self.judgement.to_dict(),
        }


def _note(f: Formula) -> str | None:
    if f.expr == get_activation("crrelu").expr:
        return (
            "The published start eps = +0.01 raises the output entropy under N(0, 1), by dH/deps = 2^(-3/2) = 0.353553 "
            "nats per unit of eps (given x > 0); the derivation of arXiv:2405.12954 descends, which is eps < 0."
        )
    if f.expr == get_activation("repu").expr and (p := f.params["p"].value) > 1:
        return (
            f"RePU: g(K) grows like K^p, so chi_par/chi_perp = (2p - 1)/p = {(2 * p - 1) / p:.6g} at every K and under "
            "every C_W and C_b: with gradients kept (chi_perp = 1) the kernel explodes or dies doubly exponentially, "
            "with the kernel kept (chi_par = 1) gradients vanish. No initialisation helps (arXiv:2408.02697)."
        )
    return None


def analyze(f: FormulaLike, law: Law | str = "normal", tau: float = DEFAULT_TAU) -> Analysis:
    """Entropy under `law`, criticality, smoothness and shape of f.

    Raises:
        ActsmithError: f or law cannot be used; the message says why.

    >>> analyze("relu").criticality.universality
    'scale_invariant'
    """
    f, law = resolve(f), resolve_law(law)
    bounded, monotone = _shape(f)
    return Analysis(f, law, entropy(f, law, tau), criticality(f), f.smoothness, bounded, monotone)


@lru_cache(maxsize=1024)
def _shape(f: Formula) -> tuple[tuple[bool, bool], bool]:
    """((bounded below, bounded above), monotone) from values on a grid, at the kinks and far out."""
    far = np.array([1e8, 1e30, 1e60, 1e120])
    beside = [k + side * size for k in f.kinks for side in (-1, 1) for size in (1e-3, 1e-6, 1e-9, 1e-12)]
    near = np.unique(np.concatenate([_GRID, beside]))
    with np.errstate(all="ignore"):
        values, slopes = f.jet(near, 1)
        tails = [_last(np.asarray(f(side * far), np.float64)) for side in (-1, 1)]
    low, high = np.nanmin(values), np.nanmax(values)
    size = 1 + max(abs(low), abs(high)) if np.isfinite([low, high]).all() else np.inf
    grows = [tail > 3 * size for tail in tails]  # log(1e120) is 30 times log(1e4)
    falls = [tail < -3 * size for tail in tails]
    poles = np.abs(values) > 1e6 * (1 + np.abs(near)) ** 2
    bounded = (not (any(falls) or np.any(values[poles] < 0)), not (any(grows) or np.any(values[poles] > 0)))
    with np.errstate(all="ignore"):  # what overflows keeps its sign; inf - inf is not compared
        certain = np.abs(slopes * near) > 1e-13 * np.abs(values)
        rises = np.diff(values)
    signs = np.sign(slopes[certain])
    steps = np.sign(rises[np.abs(rises) > 1e-12 * size])
    return bounded, bool(np.all(signs >= 0) or np.all(signs <= 0)) and bool(np.all(steps >= 0) or np.all(steps <= 0))


def _last(values: NDArray[np.float64]) -> float:
    """The last of the values that is a number: x^4 exp(-x^2) is none at 1e120, where x^4 overflows; 0 without any."""
    known = values[~np.isnan(values)]
    return float(known[-1]) if known.size else 0.0


def rank(formulas: Sequence[FormulaLike], law: Law | str = "normal", tau: float = DEFAULT_TAU) -> list[Analysis]:
    """Analyses in the order of the smoothed, scale-free entropy, the lowest first: an order of entropies, not of merit.

    Entropy alone would put RePU first, which criticality vetoes, and what trains well is decided by training
    (`actsmith.compare`); so read the class beside it. Entropies closer than their errors are a tie, broken by the
    universality class (the most usable first) and then by name; formulas without a smoothed entropy come last.

    Raises:
        ActsmithError: no formulas; or what `analyze` raises.

    >>> [a.formula.name for a in rank(["sigmoid", "gelu", "relu"])]
    ['relu', 'gelu', 'sigmoid']
    """
    if is_one(formulas):
        raise ActsmithError("rank: got one formula; expected a sequence of them, as in rank(['relu', 'gelu'])")
    if not formulas:
        raise ActsmithError("rank: expected at least one formula, got none")
    analyses = [analyze(f, law, tau) for f in formulas]

    def key(a: Analysis) -> tuple[float, int, str]:
        value = a.entropy.smoothed
        usable = ("scale_invariant", "zero_stable", "half_stable", "zero_unstable", "none")
        level = np.inf if value is None else round(value, 9)
        return float(level), usable.index(a.criticality.universality), a.formula.name

    return sorted(analyses, key=key)
