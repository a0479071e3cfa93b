"""Entropy descent in the Hermite family, for any f and any law, with or without its criticality kept.

    f_eps = f + sum_k eps_k psi_k,   psi_k(x) = He_k(x) exp(-x^2/2),   k = 0 .. order

CRReLU is f = ReLU with k = 1 alone. For f -> f + h the smoothed entropy changes by dJ = -E[h~ (log q_tau)'(U + tau N)]
(`SmoothedOutput.variation`), which needs no inverse and no edge of the output density. In the family the gradient is
b_k = dJ/deps_k, and the steepest descent in L2(dx) is

    a = -G^-1 b,   G_kl = int psi_k psi_l dx

Kept critical: with the standard normal kernel K = 1, C_W = 1, C_b = 0 is critical when

    E f^2 = 1,   E f'^2 = 1,   E[x f f'] = 1,      x ~ N(0, 1)

and a is projected on the tangent space of these three conditions, in the metric G; after every step Newton's method
brings f back onto them along the same three directions, so they hold to 1e-10 however many steps follow.

| symbol | meaning                                | shape |
|--------|----------------------------------------|-------|
| psi    | basis at the nodes                     | (m,n) |
| b      | gradient of J in eps                   | (m,)  |
| G      | Gram matrix of the basis               | (m,m) |
| C      | gradients of the conditions in eps     | (3,m) |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from typing import Literal

import numpy as np
import sympy as sp

from actsmith.errors import ActsmithError, FormulaError, NumericsError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula, Param
from actsmith.formula.parse import X, parameter_symbol
from actsmith.theory.arguments import number, whole
from actsmith.theory.criticality import criticality
from actsmith.theory.entropy import DEFAULT_TAU, output_moments
from actsmith.theory.law import Array, Law
from actsmith.theory.laws import Normal, resolve_law
from actsmith.theory.quadrature import nodes
from actsmith.theory.smoothed import SmoothedOutput, smoothed_output
from actsmith.theory.tuning import critical_form

__all__ = ["Flow", "Keep", "Step", "entropy_flow", "hermite_psi", "projected_ascent"]

Keep = Literal["nothing", "critical"]
ORDER = 6
CONDITIONS_HOLD = 1e-10


def hermite_psi(k: int) -> sp.Expr:
    """psi_k = He_k(x) exp(-x^2/2), He_k the probabilists' Hermite polynomial.

    >>> hermite_psi(1)
    x*exp(-x**2/2)
    """
    polynomial = sp.hermite_prob_poly(k, X) if k else sp.S.One
    return sp.horner(polynomial, X) * sp.exp(-(X**2) / 2)


@dataclass(frozen=True)
class Step:
    """One point of a flow.

    Attributes:
        eps: eps_0 .. eps_order.
        entropy: the smoothed entropy there, in nats.
        universality: the class there.
        condition_error: the largest error of the three conditions; None where they are not kept.
    """

    eps: tuple[float, ...]
    entropy: float
    universality: str
    condition_error: float | None


@dataclass(frozen=True)
class Flow:
    """What entropy descent did.

    Attributes:
        base: the formula it started from (rescaled when `keep="critical"`, so that the conditions hold).
        formula: base + sum_k eps_k psi_k at the end, eps_k learnable.
        history: every accepted point with its entropy and class, the start first; the entropy falls at each.
        status: why it stopped, in words.
    """

    base: Formula
    formula: Formula
    history: tuple[Step, ...]
    status: str

    def short(self, terms: int = 2) -> tuple[Formula, float]:
        """The best base + few terms, and its residual: the L2(N(0, 1)) distance to `formula` over that to `base`."""
        return _shorten(self, terms)


def entropy_flow(
    f: FormulaLike,
    law: Law | str = "normal",
    *,
    steps: int = 20,
    step: float = 0.1,
    keep: Keep = "nothing",
    order: int = ORDER,
    tolerance: float = 1e-4,
) -> Flow:
    """Follow the steepest descent of the smoothed entropy in the Hermite family.

    Every step moves `step` in L2(N(0, 1)); one that would not lower the entropy is halved, at most ten times. It stops
    after `steps` steps, when the entropy falls by less than `tolerance` nats per step, or when no step lowers it.

    Args:
        f: any formula with finite variance under the law; it may fold or be flat in part.
        law: law of the pre-activation, symbolic or Empirical.
        keep: "critical" keeps K = 1, C_W = 1, C_b = 0 critical throughout (f is first rescaled to it).
        order: the highest k.

    Raises:
        ActsmithError: a bad argument, or f cannot be made critical at K = 1 by its scale and the family.

    >>> entropy_flow("relu", steps=3).history[-1].entropy < entropy_flow("relu", steps=0).history[0].entropy
    True
    """
    f, law = resolve(f), resolve_law(law)
    if keep not in ("nothing", "critical"):
        raise ActsmithError(f"entropy_flow: keep must be 'nothing' or 'critical', got {keep!r}")
    steps, order = whole("entropy_flow: steps", steps), whole("entropy_flow: order", order)
    step, tolerance = number("entropy_flow: step", step, positive=True), number("entropy_flow: tolerance", tolerance)
    if not 3 <= order <= 12:
        raise ActsmithError(
            f"entropy_flow: expected steps >= 0, step > 0, 3 <= order <= 12; got {steps}, {step}, {order}"
        )
    family = _Family(f, order)
    conditions = _Conditions(family) if keep == "critical" else None
    eps = np.zeros(order + 1)
    if conditions is not None:
        family, conditions, eps = _start_critical(f, order)
    history = [_point(family, eps, law, conditions)]
    status = f"all {steps} steps taken"
    for _ in range(steps):
        direction = _descent(family, eps, law, conditions)
        size = sqrt(direction @ family.metric @ direction)
        if size < 1e-12:
            status = "stationary: the entropy has no slope in the family"
            break
        move = direction * (step / size)
        found = _line_search(family, eps, move, law, conditions=conditions, level=history[-1].entropy)
        if found is None:
            status = "no step along the descent lowers the entropy further"
            break
        eps, point = found
        history.append(point)
        if history[-2].entropy - point.entropy < tolerance:
            status = f"converged: the entropy falls by less than {tolerance:g} nats per step"
            break
    return Flow(family.base, family.formula(eps, learn=True), tuple(history), status)


def projected_ascent(f: Formula, law: Law, order: int = 4) -> sp.Expr:
    """The direction in span(psi_0 .. psi_order) along which the smoothed entropy of f rises fastest in L2(dx), scaled
    so that its size in L2(N(0, 1)) is that of psi_1.

    Raises:
        FormulaError: the entropy has no slope in the family.
        NumericsError: f has no finite variance under the law.
    """
    family = _Family(f, order)
    up = -_descent(family, np.zeros(order + 1), law, None)
    size = sqrt(up @ family.metric @ up)
    if size < 1e-12:
        raise FormulaError(f"correction: the smoothed entropy of {f.name} is stationary in psi_0 .. psi_{order}")
    up *= sqrt(family.metric[1, 1]) / size
    return sp.Add(*(sp.Rational(f"{c:.12g}") * hermite_psi(k) for k, c in enumerate(up)))


class _Family:
    """base + sum_k eps_k psi_k, with its values on nodes for N(0, 1) and the metrics."""

    def __init__(self, base: Formula, order: int) -> None:
        self.base = base
        self.order = order
        self.psi = [Formula(hermite_psi(k)) for k in range(order + 1)]
        self.gram = _gram(order)
        rule = nodes((0.0, *base.kinks), cut=12.0, step=0.05)
        self.x, density = rule.x, Normal().pdf(rule.x)
        self.weight = rule.w * density
        self.value, self.slope = base.jet(self.x, 1)
        jets = np.array([p.jet(self.x, 1) for p in self.psi])
        self.psi_value, self.psi_slope = jets[:, 0], jets[:, 1]
        self.metric = (self.psi_value * self.weight) @ self.psi_value.T

    def output(self, eps: Array, law: Law) -> SmoothedOutput:
        """The smoothed output of the member, without building its Formula."""
        member = _Member(self, eps)
        moments = output_moments(member, law)
        if moments is None:
            raise NumericsError(f"entropy_flow: {self.base.name} has no finite variance under {law}")
        return smoothed_output(member, law, moments, DEFAULT_TAU)

    def formula(self, eps: Sequence[float] | Array, learn: bool = False) -> Formula:
        names = [f"eps{k}" for k in range(self.order + 1)]
        used = [k for k in range(self.order + 1) if eps[k] != 0]
        expression = self.base.expr + sp.Add(*(parameter_symbol(names[k]) * hermite_psi(k) for k in used))
        params = {**self.base.params, **{names[k]: Param(float(eps[k]), learn=learn) for k in used}}
        return Formula(expression, params, f"{self.base.name}+flow" if used else self.base.name)


@dataclass(frozen=True)
class _Member:
    """base + sum_k eps_k psi_k as a plain function."""

    family: _Family
    eps: Array

    @property
    def name(self) -> str:
        return self.family.base.name

    @property
    def kinks(self) -> tuple[float, ...]:
        return self.family.base.kinks

    def __call__(self, x: Array) -> Array:
        with np.errstate(over="ignore", under="ignore"):
            bump = np.polynomial.hermite_e.hermeval(np.clip(x, -40, 40), self.eps) * np.exp(-0.5 * np.square(x))
        value: Array = self.family.base(x) + bump
        return value


@lru_cache(maxsize=16)
def _gram(order: int) -> Array:
    """G_kl = int He_k He_l exp(-x^2) dx, exactly by Gauss-Hermite quadrature of degree 2 order."""
    x, w = np.polynomial.hermite.hermgauss(order + 1)
    basis = np.array([np.polynomial.hermite_e.hermeval(x, np.eye(order + 1)[k]) for k in range(order + 1)])
    gram: Array = (basis * w) @ basis.T
    return gram


class _Conditions:
    """E f^2 - 1, E f'^2 - 1 and E[x f f'] - 1 in the family, with their gradients in eps."""

    def __init__(self, family: _Family) -> None:
        self.family = family

    def __call__(self, eps: Array) -> tuple[Array, Array]:
        m = self.family
        f, slope = m.value + eps @ m.psi_value, m.slope + eps @ m.psi_slope
        values = np.array([m.weight @ f**2, m.weight @ slope**2, m.weight @ (m.x * f * slope)]) - 1.0
        mixed = m.x * (m.psi_value * slope + f * m.psi_slope)
        gradients = np.array([2 * m.psi_value @ (m.weight * f), 2 * m.psi_slope @ (m.weight * slope), mixed @ m.weight])
        return values, gradients

    def tangent(self, eps: Array, direction: Array) -> Array:
        """`direction` less its part across the conditions, in the metric G."""
        _, c = self(eps)
        across = np.linalg.solve(self.family.gram, c.T)
        return direction - across @ np.linalg.solve(c @ across, c @ direction)

    def restore(self, eps: Array) -> Array | None:
        """The nearest eps, along the three directions across the conditions, on which they hold; None without one."""
        for _ in range(30):
            values, c = self(eps)
            if np.abs(values).max() < CONDITIONS_HOLD:
                return eps
            across = np.linalg.solve(self.family.gram, c.T)
            change = across @ np.linalg.lstsq(c @ across, values, rcond=None)[0]
            if not np.isfinite(change).all() or np.abs(change).max() > 3:
                return None
            eps = eps - change
        return None


def _start_critical(f: Formula, order: int) -> tuple[_Family, _Conditions, Array]:
    """f over the root of E f'^2, moved onto the conditions inside the family; where that does not reach them, f tuned
    to them by a transform of its input and output."""
    rough = _Family(f, order)
    slope = float(rough.weight @ rough.slope**2)
    if not (np.isfinite(slope) and slope > 0):
        raise ActsmithError(
            f"entropy_flow: E f'^2 of {f.name} under N(0, 1) is {slope:.3g}; it cannot be made critical"
        )
    scale = sp.Rational(f"{1 / sqrt(slope):.15g}")
    for tuned in (False, True):
        base = critical_form(f) if tuned else Formula(scale * f.expr, f.params, f"{float(scale):.4g}*{f.name}")
        family = _Family(base, order)
        conditions = _Conditions(family)
        eps = conditions.restore(np.zeros(order + 1))
        if eps is not None:
            return family, conditions, eps
    raise ActsmithError(
        f"entropy_flow: no member of {f.name} + sum eps_k psi_k (k <= {order}) near it is critical at K = 1"
    )


def _descent(family: _Family, eps: Array, law: Law, conditions: _Conditions | None) -> Array:
    output = family.output(eps, law)
    gradient = np.array([output.variation(psi(output.x)) for psi in family.psi])
    direction: Array = -np.linalg.solve(family.gram, gradient)
    return direction if conditions is None else conditions.tangent(eps, direction)


def _line_search(
    family: _Family, eps: Array, move: Array, law: Law, *, conditions: _Conditions | None, level: float
) -> tuple[Array, Step] | None:
    for halving in range(10):
        trial: Array | None = eps + move / 2**halving
        if conditions is not None and trial is not None:
            trial = conditions.restore(trial)
        if trial is not None:
            point = _point(family, trial, law, conditions)
            if point.entropy < level:
                return trial, point
    return None


def _point(family: _Family, eps: Array, law: Law, conditions: _Conditions | None) -> Step:
    value = family.output(eps, law).entropy
    error = None if conditions is None else float(np.abs(conditions(eps)[0]).max())
    universality = criticality(family.formula(eps)).universality
    return Step(tuple(float(e) for e in eps), value, universality, error)


def _shorten(result: Flow, terms: int) -> tuple[Formula, float]:
    """Forward selection of psi_k by the residual it leaves in L2(N(0, 1))."""
    eps = np.array(result.history[-1].eps)
    family = _Family(result.base, len(eps) - 1)
    target = eps @ family.psi_value
    total = float(family.weight @ target**2)
    chosen: list[int] = []
    best = np.zeros(len(eps))
    for _ in range(min(terms, len(eps))):
        trials = []
        for k in set(range(len(eps))) - set(chosen):
            pick = [*chosen, k]
            basis = family.psi_value[pick]
            fit = np.linalg.solve((basis * family.weight) @ basis.T, basis @ (family.weight * target))
            left = float(family.weight @ (target - fit @ basis) ** 2)
            trials.append((left, pick, fit))
        _, chosen, fit = min(trials, key=lambda t: t[0])
        best = np.zeros(len(eps))
        best[chosen] = fit
    rest = float(family.weight @ (target - best @ family.psi_value) ** 2)
    return family.formula(best, learn=True), sqrt(rest / total) if total > 0 else 0.0
