"""The entropy of an activation's output, Z = f(X), in nats.

    differential   H(Z) = -int q log q dz                          undefined where Z has atoms
    mixed          -sum m_i log m_i - int q log q dz               relative to Lebesgue measure plus the atoms
    scale_free     J[f] = H(Z) - log std(Z)                        the same for c f
    smoothed       J_tau[f] = H((Z - E Z)/std(Z) + tau N)          the same for c f + d, finite also with atoms

Only the last two compare activations: the first two follow the scale. None of them says which activation is better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from math import isfinite, log, sqrt
from typing import Any

import numpy as np

from actsmith.display import Shown
from actsmith.errors import FormulaError, NumericsError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula
from actsmith.theory import adaptive, smoothed
from actsmith.theory.arguments import number
from actsmith.theory.law import Array, Law
from actsmith.theory.laws import resolve_law
from actsmith.theory.output import OutputLaw, branches_of, inverse, output_law, reach
from actsmith.theory.quadrature import SLOWEST, Estimate, expectation, nodes
from actsmith.theory.smoothed import Moments

__all__ = ["DEFAULT_TAU", "Entropy", "entropy", "mixed_entropy", "output_moments"]

DEFAULT_TAU = 0.1
TOLERANCE = 1e-10
CONVERGED = 1e-4
RELIED = 1e-3  # what is known less well is no number to rank by
LONG, LONG_TOLERANCE = 1_500_000, 1e-6  # nodes times branches from which a finer step takes seconds
HALVINGS = 3
UNSETTLED = 1e-8
DIVERGES = "-int q log q does not converge"


@dataclass(frozen=True, repr=False)
class Entropy(Shown):
    """Entropies of f(X) in nats; None where undefined, with the reason under the field's name in `reasons`.

    Attributes:
        formula, law: of f and X.
        differential: H(Z).
        atom_mass: P(Z on a flat piece of f).
        mixed: entropy of the atoms and of the continuous part together.
        scale_free: H(Z) - log std Z.
        smoothed: J_tau.
        tau: width of the smoothing, in standard deviations of Z.
        mean, std: of Z.
        error: a bound on the error of every field above.
        reasons: why a field is None.
    """

    formula: Formula
    law: Law
    differential: float | None
    atom_mass: float
    mixed: float | None
    scale_free: float | None
    smoothed: float | None
    tau: float
    mean: float | None
    std: float | None
    error: float
    reasons: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The `entropy` object of `actsmith analyze --json`."""
        names = ("differential", "atom_mass", "mixed", "scale_free", "smoothed", "tau", "mean", "std", "error")
        return {name: getattr(self, name) for name in names} | {"reasons": dict(self.reasons)}


def entropy(f: FormulaLike, law: Law | str = "normal", tau: float = DEFAULT_TAU) -> Entropy:
    """The entropies of f(X) for X ~ law.

    Args:
        f: a Formula, a catalogue name or formula text.
        law: a Law or its text, as in `normal:0,2`.
        tau: width of the smoothing in standard deviations of the output, > 0.

    Raises:
        FormulaError: f is constant under the law, or not finite on a part of its support.
        NumericsError: tau is not a positive number.

    A quantity that cannot be resolved (f folds more than 64 times on the support) is None, with the reason.

    >>> round(entropy("identity", "normal").differential, 6)
    1.418939
    >>> entropy("relu", "normal").reasons["differential"]
    'the output has an atom of mass 0.5 at 0, so H(Z) is minus infinity'
    """
    return _entropy(resolve(f), resolve_law(law), number("tau", tau, positive=True))


@lru_cache(maxsize=1024)
def _entropy(f: Formula, law: Law, tau: float) -> Entropy:
    reasons: dict[str, str] = {}
    _require_information(f, law)
    moments = output_moments(f, law)
    mixed, atom_mass, error = _mixed_or_reason(f, law, reasons)
    differential = None if atom_mass > 0 else mixed
    if differential is None:
        reasons.setdefault("differential", reasons.get("mixed", ""))
    scale_free, smooth = None, None
    if moments is None:
        reasons["scale_free"] = reasons["smoothed"] = _no_moments(f, law)
    else:
        if differential is None:
            reasons["scale_free"] = reasons["differential"]
        else:
            scale_free = differential - log(moments.std)
            error += moments.error
        smooth = _smoothed_or_reason(f, law, moments, tau, reasons)
        error = max(error, smooth.error if smooth else 0.0)
    return Entropy(
        f, law, differential, atom_mass, mixed, scale_free, smooth.value if smooth else None, tau,
        moments.mean if moments else None, moments.std if moments else None, float(error), reasons,
    )  # fmt: skip


def _require_information(f: Formula, law: Law) -> None:
    """Raise FormulaError where f takes one value only under the law."""
    low, high = reach(law)
    seen = [piece for piece in f.pieces if piece.bounds[0] < high and piece.bounds[1] > low]
    if all(piece.is_constant for piece in seen) and len({piece.expr for piece in seen}) < 2:
        value = float(seen[0].expr)
        raise FormulaError(f"{f.name} is constant ({value:.6g}) under {law}; its output carries no information")


def _atoms(f: Formula, law: Law) -> dict[float, float]:
    """Value -> mass of the flat pieces of f."""
    masses: dict[float, float] = {}
    for piece in f.pieces:
        if piece.is_constant:
            low, high = piece.bounds
            below = float(law.cdf(high) - law.cdf(low))
            mass = below if high < law.mean else float(law.survival(low) - law.survival(high))
            if mass > 0:
                value = float(piece.expr)
                masses[value] = masses.get(value, 0.0) + mass
    return masses


def _mixed_or_reason(f: Formula, law: Law, reasons: dict[str, str]) -> tuple[float | None, float, float]:
    """The mixed entropy, the atoms' mass, and the error; reasons for `mixed` and `differential` are put in."""
    try:
        output = output_law(f, law)
    except NumericsError as problem:
        reasons["mixed"] = reasons["differential"] = str(problem)
        return None, sum(_atoms(f, law).values()), 0.0
    masses = _masses(output)
    if masses:
        value = max(masses, key=lambda v: masses[v])
        reasons["differential"] = (
            f"the output has an atom of mass {masses[value]:.6g} at {value:.6g}, so H(Z) is minus infinity"
        )
    try:
        continuous = _continuous_entropy(f, law, output)
    except NumericsError as problem:
        reasons["mixed"] = str(problem)
        return None, output.atom_mass, 0.0
    mixed = _or_reason(_mixed(output, continuous), "mixed", DIVERGES, reasons)
    return mixed, output.atom_mass, continuous.error if mixed is not None else 0.0


def _smoothed_or_reason(f: Formula, law: Law, moments: Moments, tau: float, reasons: dict[str, str]) -> Estimate | None:
    try:
        found = _smoothed(f, law, moments, tau)
    except NumericsError as unresolved:
        reasons["smoothed"] = str(unresolved)
        return None
    if not found.error <= RELIED:
        reasons["smoothed"] = (
            f"the smoothed entropy is not resolved: {found.value:.4g} with an error of {found.error:.1e}"
        )
        return None
    return found


def mixed_entropy(f: Formula, law: Law) -> Estimate:
    """The entropy of f(X) relative to Lebesgue measure plus its atoms, with its error.

    Raises:
        NumericsError: it diverges or is not resolved.
    """
    output = output_law(f, law)
    found, reasons = _mixed(output, _continuous_entropy(f, law, output)), dict[str, str]()
    if _or_reason(found, "mixed", DIVERGES, reasons) is None:
        raise NumericsError(f"entropy of {f.name[:60]} under {law}: {reasons['mixed']}")
    return found


def _or_reason(estimate: Estimate, name: str, why: str, reasons: dict[str, str]) -> float | None:
    if estimate.error > CONVERGED:
        reasons[name] = f"{why} (error {estimate.error:.1e})"
        return None
    return estimate.value


def _continuous_entropy(f: Formula, law: Law, output: OutputLaw) -> Estimate:
    """-int q_c log q_c dz over the continuous part, refined until the tolerance is met."""
    best = Estimate(0.0, np.inf)
    for level in range(HALVINGS):
        try:
            current = output if level == 0 else output_law(f, law, step=0.1 / 2**level)
        except NumericsError:  # too many preimages at a finer step
            break
        surprise = np.where(current.flat, 0.0, -current.log_q)
        estimate = current.rule.expect(surprise, current.p)
        doubt = float((current.doubt * current.p) @ current.rule.w)
        estimate = Estimate(estimate.value, estimate.error + doubt)
        if estimate.error < best.error:
            best = estimate
        # What preimages leave in doubt no finer step mends, and many of them take seconds.
        enough = LONG_TOLERANCE if current.rule.x.size * len(current.branches) > LONG else TOLERANCE
        if best.error <= max(enough * max(1.0, abs(best.value)), 3 * doubt):
            break
    # Two rules that have not settled yet may agree better than they should.
    rough = 4.0 if best.error > UNSETTLED else 1.0
    return Estimate(best.value, rough * best.error + _left_in_the_tails(f, law))


def _left_in_the_tails(f: Formula, law: Law) -> float:
    """About E|log|f'|| between the ends of the quadrature and the law's own cut: large where the entropy diverges."""
    total = 0.0
    for end, side in zip(reach(law), (-1, 1), strict=True):
        if np.isfinite(law.support[(side + 1) // 2]):
            continue
        x = end + side * law.cut * np.exp(np.linspace(-6, 0, 61))
        with np.errstate(all="ignore"):
            term = law.pdf(x) * np.abs(f.log_abs_derivative(x)) * np.abs(x - end)
        total += 0.1 * float(np.nansum(np.where(np.isfinite(term), term, 0.0)))
    return total


def _mixed(output: OutputLaw, continuous: Estimate) -> Estimate:
    discrete = -sum(m * log(m) for m in _masses(output).values() if m > 0)
    return Estimate(continuous.value + discrete, continuous.error)


def _masses(output: OutputLaw) -> dict[float, float]:
    """Value -> mass of the atoms: several flat pieces may share a value."""
    masses: dict[float, float] = {}
    for atom in output.atoms:
        if atom.mass > 0:
            masses[atom.value] = masses.get(atom.value, 0.0) + atom.mass
    return masses


def output_moments(f: smoothed.Function, law: Law) -> Moments | None:
    """Mean and standard deviation of f(X); None where the variance is not finite or not resolved.

    Integrated to the law's own cut, whose remainder is in the error: a divergent moment shows. In units of f's typical
    size, whose square may be beyond float64. What oscillates or turns sharply between the nodes is integrated on halved
    panels.
    """
    size = float(np.abs(f(law.quantile(np.linspace(0.01, 0.99, 99)))).max()) or 1.0
    if not isfinite(size):
        return None
    try:
        mean = _expected(lambda x: f(x) / size, f, law, 1e-11)
        if mean.error > 1e-3 * (1 + abs(mean.value)):
            return None
        centred = _expected(lambda x: (f(x) / size - mean.value) ** 2, f, law)
    except NumericsError:
        return None
    if not (isfinite(centred.value) and centred.value > 0) or centred.error > 1e-3 * centred.value:
        return None
    std = sqrt(centred.value)
    if not isfinite(size * std) or size * std == 0:
        return None
    return Moments(size * mean.value, size * std, mean.error / std + centred.error / centred.value)


def _expected(function: Callable[[Array], Array], f: smoothed.Function, law: Law, floor: float = 0.0) -> Estimate:
    """E function(X), by the rule that crowds at the kinks or, where that does not settle, on halved panels."""
    first = expectation(function, law, f.kinks, strict=False)
    if first.error <= max(1e-9 * abs(first.value), floor):
        return first
    low, high = reach(law)
    marks = sorted({low, high, *(p for p in (*f.kinks, *law.breakpoints, 0.0) if low < p < high)})
    ends = np.unique(np.concatenate([smoothed.graded(a, b, law) for a, b in pairwise(marks)]))

    def density(x: Array) -> Array:
        with np.errstate(all="ignore"):
            v = function(x) * law.pdf(x)
        return np.where(np.isfinite(v), v, 0.0)[None]

    # What lies beyond the reach is left to the first rule, whose error says whether it counts.
    outside = nodes((*f.kinks, *law.breakpoints), low=law.support[0], high=law.support[1], cut=law.cut)
    far = (outside.x < low) | (outside.x > high)
    rest = outside.expect(np.where(far, function(outside.x), 0.0), law.pdf(outside.x)) if far.any() else Estimate(0, 0)
    value, error, _ = adaptive.integrate(density, ends, most=400_000)
    # What falls like d^(1/SLOWEST - 1) or faster beyond the end is at most this many last terms.
    tails = [abs(float(density(np.array([x]))[0, 0]) * x) for x in (low, high) if x not in law.support]
    second = Estimate(float(value[0]) + rest.value, float(error[0]) + rest.error + SLOWEST * sum(tails))
    # Both see part of the line only: where each trusts itself they must agree.
    gap = abs(second.value - first.value)
    if gap > first.error + second.error:
        return Estimate(first.value, max(first.error, second.error, gap))
    return second if second.error < first.error else first


def _no_moments(f: Formula, law: Law) -> str:
    """Why there is no standard deviation: it is infinite, or it is not resolved."""
    with np.errstate(all="ignore"):
        x = law.quantile(np.array([1e-12, 1e-6, 0.01, 0.5, 0.99, 1 - 1e-6, 1 - 1e-12]))
        values = f(x)
    if np.isfinite(values).all() and np.ptp(values) <= 1e-12 * np.abs(values).max():
        return (
            "f is constant to rounding where this law has its mass: its output has no deviation that could be resolved"
        )
    return "the output has no finite variance under this law, or it is not resolved"


def _smoothed(f: Formula, law: Law, moments: Moments, tau: float) -> Estimate:
    value, outside = smoothed.estimate(f, law, moments, tau)
    if outside < 1e-16:
        return value
    far = _far_entropy(f, law, moments)
    return Estimate(value.value + far.value, value.error + far.error + 100 * outside * (tau / smoothed.LIMIT) ** 2)


def _far_entropy(f: Formula, law: Law, moments: Moments) -> Estimate:
    """-int q log q of the standardised output beyond the smoothing grid, where smoothing changes nothing."""
    edges = [moments.mean + sign * smoothed.LIMIT * moments.std for sign in (-1, 1)]
    splits = [float(x) for edge in edges for x in _crossings(f, law, edge)]
    output = output_law(f, law, extra=tuple(splits))
    beyond = ~output.flat & (np.abs(output.z - moments.mean) > smoothed.LIMIT * moments.std)
    surprise = np.where(beyond, -(output.log_q + log(moments.std)), 0.0)
    return output.rule.expect(surprise, output.p)


def _crossings(f: Formula, law: Law, level: float) -> list[float]:
    found: list[float] = []
    for branch in branches_of(f, law).branches:
        z = np.array([level])
        if branch.covers(z)[0]:
            found += inverse(f, branch, z)[0].tolist()
    return found
