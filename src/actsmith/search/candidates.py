"""What is worth training: corrections of the start activation under the laws that its pre-activations have.

    f_new = f + eps psi,   psi the EAFO correction's shape under a law       (THEORY 1.4; arXiv:2405.12954)

eps > 0 is the sign that the paper publishes, eps < 0 the one that lowers the entropy; both are tried, training decides.
A constant changes no entropy: where only psi - psi(0) leaves a critical point, it is tried in place of psi.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula, Param
from actsmith.formula.parse import X, parameter_symbol
from actsmith.search.shape import readable_shape
from actsmith.theory.criticality import criticality
from actsmith.theory.eafo import correction
from actsmith.theory.fit import fit_mixture
from actsmith.theory.laws import Empirical, Law, Normal

__all__ = ["Candidate", "Dropped", "Step", "derive", "laws_to_try", "same_function"]

SAME = 1e-6
"""Two formulas are one where they differ by less than this share of their size on each grid."""
FAR = np.concatenate([-np.geomspace(1e3, 1e-4, 400), [0.0], np.geomspace(1e-4, 1e3, 400)])
BULK = np.linspace(-6, 6, 601)
COMPONENTS = 2
"""Normals in a fitted law. A third would lengthen every formula that follows for a few thousandths of fit."""
MOVED = 0.05
"""Laws whose distribution functions differ by less than this everywhere give one set of candidates."""


@dataclass(frozen=True)
class Step:
    """How far to go: the size of eps, and whether training may change it."""

    eps: float
    learn: bool


STEPS = (Step(0.1, True), Step(0.3, False))
"""A start from which training decides, and a correction large enough to be seen, held fixed."""


@dataclass(frozen=True)
class Candidate:
    """An activation to train.

    Attributes:
        formula: what it is.
        kind: "start", "known" or "candidate".
        origin: where it comes from, one line.
        proposer: the name of the proposer that it comes from; empty where a person gave it.
        parents: names of the formulas that it was made from.
    """

    formula: Formula
    kind: str
    origin: str
    proposer: str = ""
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dropped:
    """A candidate that is not trained, and why."""

    candidate: Candidate
    reason: str


def laws_to_try(measured: Mapping[str, Empirical]) -> dict[str, Law]:
    """Label -> law with a closed form: the standard normal, the pooled law, then each layer's that differs from those.

    Args:
        measured: path -> the law of each layer's pre-activations.
    """
    laws: dict[str, Law] = {"normal": Normal()}
    if not measured:
        return laws
    for label, law in {
        "pooled": _pooled(list(measured.values())),
        **{f"layer {i}": law for i, law in enumerate(measured.values(), 1)},
    }.items():
        if _new(law, laws) and _new(fitted := fit_mixture(law, most=COMPONENTS).law, laws):
            laws[label] = fitted
    return laws


def _new(law: Law, laws: Mapping[str, Law]) -> bool:
    """Whether its distribution function is `MOVED` from that of each of the others."""
    x = np.asarray(law.quantile(np.linspace(0.01, 0.99, 99)))
    return all(float(np.max(np.abs(law.cdf(x) - other.cdf(x)))) >= MOVED for other in laws.values())


def _pooled(laws: Sequence[Empirical]) -> Empirical:
    """The law of all their samples together, by way of a common histogram."""
    if len(laws) == 1:
        return laws[0]
    ends = np.concatenate([law.quantile(np.array([1e-6, 1 - 1e-6])) for law in laws])
    inside = np.concatenate([law.quantile(np.linspace(0.001, 0.999, 999)) for law in laws])
    edges = np.unique(np.concatenate([ends, inside]))
    counts = np.sum([law.count * np.diff(law.cdf(edges)) for law in laws], axis=0)
    return Empirical.from_histogram(edges, counts)


def derive(start: Formula, laws: Mapping[str, Law], steps: Sequence[Step] = STEPS) -> tuple[list[Candidate], list[str]]:
    """Candidates for every law, step and sign, and a line for each that cannot be had.

    The order is that in which they are trained: laws as given, a further step standing back by two laws.
    """
    shapes: dict[str, Any] = {}
    notes: list[str] = []
    for label, law in laws.items():
        try:
            shapes[label] = readable_shape(correction(start, law).psi, law)
        except ActsmithError as error:
            notes.append(f"{label}: {error}")
    ordered = [(i + 2 * j, j, label, step) for j, step in enumerate(steps) for i, label in enumerate(shapes)]
    candidates = []
    for _, _, label, step in sorted(ordered, key=lambda entry: (entry[0], -entry[1])):
        for sign in (1.0, -1.0):
            step_of_sign = Step(sign * step.eps, step.learn)
            try:
                candidates.append(_candidate(start, shapes[label], label, laws[label], step_of_sign))
            except ActsmithError as error:  # a pole, for one
                notes.append(f"{label}, eps = {step_of_sign.eps:+g}: {error}")
    return candidates, notes


def _candidate(start: Formula, psi: Any, label: str, law: Law, step: Step) -> Candidate:
    """The correction; shifted so that psi(0) = 0 where only that leaves a critical point."""
    sign = "the published sign, raises the entropy" if step.eps > 0 else "descent, lowers the entropy"
    kept = "learned" if step.learn else "fixed"
    origin = f"EAFO correction of {start.name} under {law}; eps = {step.eps:+g}, {kept}; {sign}"
    name = f"{start.name}{step.eps:+g}[{label}{'' if step.learn else ', fixed'}]"
    formula = _corrected(start, psi, step, name)
    if (constant := psi.subs(X, 0)) != 0 and criticality(formula).universality == "none":
        shifted = _corrected(start, psi - constant, step, name)
        if criticality(shifted).universality != "none":
            return Candidate(shifted, "candidate", f"{origin}; shifted so that psi(0) = 0")
    return Candidate(formula, "candidate", origin)


def _corrected(start: Formula, psi: Any, step: Step, name: str) -> Formula:
    names = itertools.chain(["eps"], (f"eps{i}" for i in itertools.count(1)))
    symbol = next(name for name in names if name not in start.params)
    params = {**start.params, symbol: Param(step.eps, learn=step.learn)}
    return Formula(start.expr + parameter_symbol(symbol) * psi, params, name)


def same_function(a: Formula, b: Formula) -> bool:
    """Whether a and b are one activation: the same canonically, or the same on grids near and far, at the values that
    their parameters start from and, where some are learned, at others."""
    if a == b:
        return True
    learned = [[name for name, p in f.params.items() if p.learn] for f in (a, b)]
    if len(learned[0]) != len(learned[1]) or not all(_agree(a, b, x) for x in (BULK, FAR)):
        return False
    pairs = list(zip(*learned, strict=True))
    steps = [_step(a.params[first], b.params[second], 0.25 + 0.1 * i) for i, (first, second) in enumerate(pairs)]
    if not any(steps):
        return True
    moved = [
        f.at(**{n: f.params[n].value + step for n, step in zip(names, steps, strict=True)})
        for f, names in ((a, learned[0]), (b, learned[1]))
    ]
    return _agree(moved[0], moved[1], BULK)


def _step(first: Param, second: Param, size: float) -> float:
    """How far both parameters may go from where they start; 0 where one of them may not."""
    for step in (size, -size, size / 10, -size / 10):
        if all(p.low <= p.value + step <= p.high for p in (first, second)):
            return step
    return 0.0


def _agree(a: Formula, b: Formula, x: NDArray[np.float64]) -> bool:
    first, second = np.asarray(a(x)), np.asarray(b(x))
    finite = np.isfinite(first)
    if not np.array_equal(finite, np.isfinite(second)):
        return False
    scale = max(float(np.max(np.abs(v[finite]), initial=0.0)) for v in (first, second))
    return bool(np.max(np.abs(first - second)[finite], initial=0.0) <= SAME * scale)
