"""The entropy of an activation's output, Z = f(X), in nats.

    differential   H(Z) = -int q log q dz                          undefined where Z has atoms
    mixed          -sum m_i log m_i - int q log q dz               relative to Lebesgue measure plus the atoms
    scale_free     J[f] = H(Z) - log std(Z)                        the same for c f
    smoothed       J_tau[f] = H((Z - E Z)/std(Z) + tau N)          the same for c f + d, finite also with atoms

Only the last two may rank activations: the first two follow the scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import isfinite, log, sqrt
from typing import Any

import numpy as np

from actsmith.errors import FormulaError, NumericsError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula
from actsmith.theory import smoothed
from actsmith.theory.arguments import number
from actsmith.theory.law import Law
from actsmith.theory.laws import resolve_law
from actsmith.theory.output import OutputLaw, branches_of, inverse, output_law, reach
from actsmith.theory.quadrature import Estimate, expectation
from actsmith.theory.smoothed import Moments

__all__ = ["DEFAULT_TAU", "Entropy", "entropy", "mixed_entropy", "output_moments"]

DEFAULT_TAU = 0.1
TOLERANCE = 1e-10
CONVERGED = 1e-6
HALVINGS = 3
DIVERGES = "-int q log q does not converge"


@dataclass(frozen=True)
class Entropy:
    """Entropies of f(X) in nats; None where undefined, with the reason under the field's name in `reasons`.

    Attributes:
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
    try:
        output = output_law(f, law)
    except NumericsError as problem:
        names = ("differential", "mixed", "scale_free", "smoothed")
        return Entropy(None, 0.0, None, None, None, tau, None, None, 0.0, dict.fromkeys(names, str(problem)))
    if not output.branches:
        value = output.atoms[0].value
        distinct = {a.value for a in output.atoms if a.mass > 0}
        if len(distinct) < 2:
            raise FormulaError(f"{f.name} is constant ({value:.6g}) under {law}; its output carries no information")
    continuous = _continuous_entropy(f, law, output)
    moments = output_moments(f, law)
    mixed = _or_reason(_mixed(output, continuous), "mixed", DIVERGES, reasons)
    differential = None if output.atom_mass > 0 else mixed
    if output.atom_mass > 0:
        heaviest = max(output.atoms, key=lambda a: a.mass)
        reasons["differential"] = (
            f"the output has an atom of mass {heaviest.mass:.6g} at {heaviest.value:.6g}, so H(Z) is minus infinity"
        )
    elif mixed is None:
        reasons["differential"] = reasons["mixed"]
    scale_free = None
    if moments is None:
        reasons["scale_free"] = reasons["smoothed"] = "the output has no finite variance under this law"
    elif differential is None:
        reasons["scale_free"] = reasons["differential"]
    else:
        scale_free = differential - log(moments.std)
    error = continuous.error if mixed is not None else 0.0
    smooth: Estimate | None = None
    if moments is not None:
        try:
            smooth = _smoothed(f, law, moments, tau)
        except NumericsError as unresolved:
            reasons["smoothed"] = str(unresolved)
        error = max(error + moments.error, smooth.error if smooth else 0.0)
    return Entropy(
        differential, output.atom_mass, mixed, scale_free, smooth.value if smooth else None, tau,
        moments.mean if moments else None, moments.std if moments else None, float(error), reasons,
    )  # fmt: skip


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
        current = output if level == 0 else output_law(f, law, step=0.1 / 2**level)
        surprise = np.where(current.flat, 0.0, -current.log_q)
        estimate = current.rule.expect(surprise, current.p)
        if estimate.error < best.error:
            best = estimate
        if best.error <= TOLERANCE * max(1.0, abs(best.value)):
            break
    return Estimate(best.value, best.error + _left_in_the_tails(f, law))


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
    masses: dict[float, float] = {}
    for atom in output.atoms:
        masses[atom.value] = masses.get(atom.value, 0.0) + atom.mass
    discrete = -sum(m * log(m) for m in masses.values() if m > 0)
    return Estimate(continuous.value + discrete, continuous.error)


def output_moments(f: smoothed.Function, law: Law) -> Moments | None:
    """Mean and standard deviation of f(X); None where the variance is not finite.

    Integrated to the law's own cut, whose remainder is in the error: a divergent moment shows. In units of f's typical
    size, whose square may be beyond float64.
    """
    size = float(np.abs(f(law.quantile(np.linspace(0.01, 0.99, 99)))).max()) or 1.0
    try:
        mean = expectation(lambda x: f(x) / size, law, f.kinks, strict=False)
        if mean.error > 1e-3 * (1 + abs(mean.value)):
            return None
        centred = expectation(lambda x: (f(x) / size - mean.value) ** 2, law, f.kinks, strict=False)
    except NumericsError:
        return None
    if not (isfinite(centred.value) and centred.value > 0) or centred.error > 1e-3 * centred.value:
        return None
    std = sqrt(centred.value)
    return Moments(size * mean.value, size * std, mean.error / std + centred.error / centred.value)


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
            found += list(inverse(f, branch, z))
    return found
