"""EAFO, entropy-based activation function optimisation (arXiv:2405.12954), and the worst activation.

On a monotone branch with inverse y, s = sgn(y') and q(z) = p(y(z)) |y'(z)| the output's density, the entropy falls
fastest along

    eta(z) = -q'(z)/y'(z) = -s [ p'(y) y' + p(y) y''/y' ]         the correction of the inverse
    d(x)   = f'(x) eta(f(x)) = s [ -p'(x) + p(x) f''(x)/f'(x) ]   what it does to f: f_new = f - step d, to first order

The paper's form has no s, which is right where f rises; where it falls the sign turns, so that the correction of f(-x)
is the mirror image of f's.

d needs no inverse. Where f folds, no branch has an edge-free density, and the correction is the steepest descent of the
smoothed entropy in span(psi_0 .. psi_4) instead (`actsmith.theory.descent`). Under a law without a closed density
(Empirical) d is tabulated as a spline. d is written d = scale * psi with a plain shape psi: for ReLU under N(0, 1),
psi = x exp(-x^2/2) and scale = 1/sqrt(2 pi). A flat piece has no inverse; there d continues that of its neighbour, as
the paper does.

The sign. The derivation descends: f - step d. The paper publishes CRReLU with the other sign, max(0, x) + eps psi with
eps started at +0.01, and that start raises the output entropy, by dH/deps = 2^(-3/2) nats. Both are computed here, as
`sign="descend"` and `sign="published"`.

| symbol | meaning                                  |
|--------|------------------------------------------|
| p      | density of the pre-activation X          |
| y      | inverse of f on a branch                 |
| psi    | shape of the correction                  |
| eps    | its coefficient in f + eps psi           |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import floor, inf, isfinite, log10, nan
from typing import Any, Literal

import numpy as np
import sympy as sp

from actsmith.display import Shown
from actsmith.errors import ActsmithError, FormulaError, LawError, NumericsError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula, Param
from actsmith.formula.inverse import solve_inverse
from actsmith.formula.lower import lower
from actsmith.formula.parse import X, parameter_symbol
from actsmith.formula.pieces import Piece, sample_point
from actsmith.formula.primitives import sigmoid, where
from actsmith.formula.stable import standardise
from actsmith.formula.text import shortened
from actsmith.formula.tidy import tidy
from actsmith.theory import numeric
from actsmith.theory.arguments import number
from actsmith.theory.descent import Keep, entropy_flow, projected_ascent
from actsmith.theory.distribution import cdf_expression
from actsmith.theory.distribution import exact as exact_rational
from actsmith.theory.entropy import DEFAULT_TAU, entropy, output_moments
from actsmith.theory.law import Law
from actsmith.theory.laws import resolve_law
from actsmith.theory.output import branches_of
from actsmith.theory.quadrature import Estimate
from actsmith.theory.rate import EntropyRates, entropy_rates, moved_entropy, variance_fault
from actsmith.theory.smoothed import smoothed_output

__all__ = ["Correction", "Sign", "correction", "improve", "worst_activation"]

Sign = Literal["descend", "published"]
Z = sp.Symbol("z", real=True)
LONGEST = 60  # characters of psi that a sentence repeats
SIMPLIFIED = 60  # operations: SymPy simplifies a formula of this size in a fraction of a second, a mixture's in minutes


def worst_activation(law: Law | str = "normal", low: float = -1.0, high: float = 1.0) -> Formula:
    """WAFBC: low + (high - low) P(X <= x), whose output entropy is the largest between the bounds, log(high - low).

    Raises:
        ActsmithError: the bounds are not finite and increasing.
        NumericsError: a law without a closed distribution function has a feature too narrow for a table.

    >>> worst_activation("logistic", 0, 1)
    Formula('sigmoid(x)', name='worst(logistic(0,1))')
    """
    law = resolve_law(law)
    low, high = number("worst_activation: low", low), number("worst_activation: high", high)
    if not low < high:
        raise ActsmithError(f"worst_activation: expected finite bounds low < high, got low={low}, high={high}")
    a, b = exact_rational(low), exact_rational(high)
    try:
        closed = None if law.density(X) is None else cdf_expression(law, X)
    except LawError:  # as Student's with a fractional df
        closed = None
    expression = numeric.cdf_spline(law, low, high) if closed is None else a + (b - a) * closed
    return Formula(expression, name=f"worst({law})")


@dataclass(frozen=True)
class BranchCorrection:
    """The correction on one smooth piece of f.

    Attributes:
        low, high: the piece.
        eta: the correction of the inverse as an expression in z; None on a flat piece (no inverse) or where the
            inverse has no closed form.
        direction: d(x) = f'(x) eta(f(x)) as an expression in x; None on a flat piece.
    """

    low: float
    high: float
    eta: sp.Expr | None
    direction: sp.Expr | None


@dataclass(frozen=True, repr=False)
class Correction(Shown):
    """The EAFO correction of f under a law: d = scale * psi, and what it does to the entropy.

    Attributes:
        f, law: what was corrected, for which pre-activations.
        pieces: the correction on every smooth piece of f.
        psi: its shape, as an expression in x on the whole line.
        scale: d = scale * psi, > 0.
        form: "closed" (symbolic), "tabulated" (a spline, for a law without a closed density) or "projected" (f folds:
            the smoothed entropy's ascent in span(psi_0 .. psi_4)).
    """

    f: Formula
    law: Law
    pieces: tuple[BranchCorrection, ...]
    psi: sp.Expr
    scale: sp.Expr
    form: Literal["closed", "tabulated", "projected"] = "closed"

    @property
    def symbol(self) -> str:
        """The name of the new parameter: eps, or eps1, ... where f has one of that name."""
        return next(s for s in ("eps", *(f"eps{k}" for k in range(1, 100))) if s not in self.f.params)

    def formula(self, eps: float = 0.01, learn: bool = True, name: str | None = None) -> Formula:
        """f + eps psi. eps > 0 is the published sign (the entropy rises at first), eps < 0 the theory's descent."""
        expression = self.f.expr + parameter_symbol(self.symbol) * self.psi
        params = {**self.f.params, self.symbol: Param(eps, learn=learn)}
        return Formula(expression, params, name or f"{self.f.name}{eps:+g}*eafo({self.law})")

    @cached_property
    def entropy_rates(self) -> EntropyRates | None:
        """dH/deps for f + eps psi from below and from above eps = 0, in nats, on the part of the line where f is not
        flat; None where it does not exist or is not resolved, with the reason in `reasons`."""
        return self._entropy_rates[0]

    @property
    def entropy_rate(self) -> Estimate:
        """dH/deps at eps = 0, the same from both sides; nan ± inf where there is no such number, with the reason in
        `reasons`."""
        rates = self.entropy_rates
        return Estimate(nan, inf) if rates is None or rates.jumps else rates.above

    @property
    def smoothed_rate(self) -> float | None:
        """dJ_0.1/deps at eps = 0: the change of the scale-free, smoothed entropy of the whole output; None without a
        finite variance or where it is not resolved, with the reason in `reasons`."""
        return self._smoothed_rate[0]

    @cached_property
    def reasons(self) -> Mapping[str, str]:
        """Why `entropy_rate` or `smoothed_rate` is undefined, under its name."""
        found = {"entropy_rate": self._entropy_rates[1], "smoothed_rate": self._smoothed_rate[1]}
        if (rates := self.entropy_rates) is not None and rates.jumps:
            found["entropy_rate"] = (
                f"psi jumps at x = {', '.join(f'{k:.6g}' for k in rates.jumps)}, so the two signs differ: "
                f"{_shown(rates.above)} nats for each unit of eps > 0, {_shown(rates.below)} of eps < 0"
            )
        return {name: why for name, why in found.items() if why}

    @cached_property
    def _entropy_rates(self) -> tuple[EntropyRates | None, str]:
        try:
            return entropy_rates(self.f, Formula(self.psi), self.law), ""
        except NumericsError as problem:
            return None, str(problem)

    @cached_property
    def _smoothed_rate(self) -> tuple[float | None, str]:
        moments = output_moments(self.f, self.law)
        if moments is None:
            return None, "the output has no finite variance under this law"
        try:
            output = smoothed_output(self.f, self.law, moments, DEFAULT_TAU)
        except NumericsError as problem:
            return None, str(problem)
        psi = Formula(self.psi)
        if fault := variance_fault(self.f, psi, self.law):
            return None, fault
        return output.variation(psi(output.x)), ""

    def latex(self) -> str:
        """eta on every branch, in LaTeX."""
        lines = []
        for piece in self.pieces:
            body = rf"\text{{{_reason(self, piece)}}}" if piece.direction is None else (
                rf"\eta(z) = {sp.latex(piece.eta)}" if piece.eta is not None
                else rf"f'(x)\,\eta(f(x)) = {sp.latex(piece.direction)}"
            )  # fmt: skip
            lines.append(rf"{body}, \quad {_bound(piece.low)} < x < {_bound(piece.high)}")
        return r" \\ ".join(lines)

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle \psi(x) = {sp.latex(shortened(self.psi))}$"

    def improved(self, step: float | None = None, sign: Sign = "descend") -> Formula:
        """f - step d (`descend`) or f + step d (`published`); without a step, |eps| = 0.01.

        Raises:
            ActsmithError: an unknown sign, or a step that is not finite and positive.
        """
        if sign not in ("descend", "published"):
            raise ActsmithError(f"improve: sign must be 'descend' or 'published', got {sign!r}")
        step = None if step is None else number("improve: step", step, positive=True)
        eps = 0.01 if step is None else float(f"{step * float(self.scale):.15g}")
        return self.formula(eps if sign == "published" else -eps)

    def to_dict(self, step: float | None = None) -> dict[str, Any]:
        """The object that `actsmith derive --json` prints; a number that is undefined is nan or None, with its reason
        under its name in `reasons`."""
        rate, smooth, rates = self.entropy_rate, self.smoothed_rate, self.entropy_rates
        names = {"entropy_rate": "dH_deps", "smoothed_rate": "dJ_deps"}
        signs = {}
        for sign in ("descend", "published"):
            formula = self.improved(step, sign)
            eps = formula.params[self.symbol].value
            side = rate if rates is None else rates.above if eps > 0 else rates.below
            signs[sign] = {
                "formula": formula.to_dict(),
                "eps": eps,
                "entropy_change": eps * side.value,
                "smoothed_entropy_change": None if smooth is None else eps * smooth,
                **_true_changes(self, formula, eps),
            }
        return {
            "formula": self.f.text,
            "name": self.f.name,
            "law": str(self.law),
            "correction": Formula(self.psi).text,
            "scale": float(self.scale),
            "form": self.form,
            "eta": [_eta_dict(self, piece) for piece in self.pieces],
            "latex": self.latex(),
            "dH_deps": rate.value,
            "dJ_deps": smooth,
            "error": rate.error,
            "reasons": {names[name]: why for name, why in self.reasons.items()},
            "signs": signs,
            "note": self.note,
        }

    @property
    def note(self) -> str:
        """What the two signs do to the output entropy, with the numbers or why there are none."""
        psi, rates = Formula(self.psi).text, self.entropy_rates
        change = f"In f + eps*({psi})" if len(psi) <= LONGEST else "In f + eps*psi"
        if rates is None:
            return f"{change} the output entropy has no rate in eps at 0: {self.reasons['entropy_rate']}."
        up, down = _effect(rates.above, 1), _effect(rates.below, -1)
        sizes = f"{_shown(rates.above)} nats per unit of eps"
        if rates.jumps:
            sizes = f"{_shown(rates.above)} nats per unit of eps > 0 and {_shown(rates.below)} per unit of eps < 0"
        verdict = f"a positive eps (the sign that arXiv:2405.12954 publishes) {up} it, a negative one {down} it"
        which = ", which is the direction of the theory" if down == "lowers" else ""
        return f"{change} the output entropy changes by {sizes}: {verdict}{which}. Eps is learnable: training decides."


def _true_changes(found: Correction, changed: Formula, eps: float) -> dict[str, float | None]:
    """What the finite step does, beside the first-order changes: of the entropy where f is not flat, given that part,
    and of the smoothed entropy; None where it is not resolved."""
    f, law = found.f, found.law
    exact: dict[str, float | None] = {"entropy_change_true": None, "smoothed_entropy_change_true": None}
    try:
        after, before = moved_entropy(f, Formula(found.psi), law, eps), moved_entropy(f, Formula(found.psi), law, 0.0)
        exact["entropy_change_true"] = after.value - before.value
    except ActsmithError:
        pass
    try:
        levels = entropy(f, law).smoothed, entropy(changed, law).smoothed
        if levels[0] is not None and levels[1] is not None:
            exact["smoothed_entropy_change_true"] = levels[1] - levels[0]
    except ActsmithError:
        pass
    return exact


def _effect(rate: Estimate, sign: int) -> str:
    if abs(rate.value) <= rate.error:
        return "leaves"
    return "raises" if sign * rate.value > 0 else "lowers"


def _shown(rate: Estimate) -> str:
    """The rate to as many decimals as its error leaves, at most six."""
    decimals = min(6, max(0, floor(-log10(rate.error)))) if rate.error > 0 else 6
    return f"{rate.value:+.{decimals}f}"


def _bound(x: float) -> str:
    return (r"\infty" if x > 0 else r"-\infty") if not isfinite(x) else f"{x:g}"


def _reason(found: Correction, piece: BranchCorrection) -> str | None:
    if found.form == "projected":
        return "f folds: projected on psi_0 .. psi_4"
    if found.form == "tabulated":
        return "the law has no closed density: tabulated"
    if piece.direction is None:
        return "flat: no inverse"
    return None if piece.eta is not None else "the inverse has no closed form"


def _eta_dict(found: Correction, piece: BranchCorrection) -> dict[str, Any]:
    return {
        "low": piece.low if isfinite(piece.low) else None,
        "high": piece.high if isfinite(piece.high) else None,
        "eta": None if piece.eta is None else str(piece.eta),
        "reason": _reason(found, piece),
    }


def correction(f: FormulaLike, law: Law | str = "normal") -> Correction:
    """The EAFO correction of f under a law: in closed form, tabulated, or projected (see `Correction.form`).

    Raises:
        FormulaError: f is flat everywhere, or its entropy is stationary under the law.

    >>> c = correction("relu", "normal")
    >>> c.psi, c.scale
    (x*exp(-x**2/2), sqrt(2)/(2*sqrt(pi)))
    """
    f, law = resolve(f), resolve_law(law)
    if all(piece.is_constant for piece in f.pieces):
        raise FormulaError(f"correction: {f.name} is flat everywhere; it has no inverse to correct")
    if branches_of(f, law).folds:
        psi = projected_ascent(f, law)
        pieces = tuple(BranchCorrection(*piece.bounds, None, None) for piece in f.pieces)
        return Correction(f, law, pieces, psi, sp.S.One, "projected")
    density = law.density(X)
    if density is None:
        bends = [None if piece.is_constant else (_bend(piece), _slope_sign(piece, law)) for piece in f.pieces]
        psi = numeric.direction_spline(f, law, bends)
        pieces = tuple(BranchCorrection(*piece.bounds, None, None) for piece in f.pieces)
        return Correction(f, law, pieces, psi, sp.S.One, "tabulated")
    pieces = tuple(_piece_correction(piece, standardise(density), law) for piece in f.pieces)
    psi, scale = _shape(f, _join(pieces), law)
    return Correction(f, law, pieces, psi, scale)


def _slope_sign(piece: Piece, law: Law) -> int:
    """1 on a rising piece, -1 on a falling one: by its values at two points where the law has its mass."""
    low, high = piece.bounds
    x = law.quantile(np.linspace(0.001, 0.999, 999))
    inside = x[(low < x) & (x < high)]
    if inside.size < 2:
        middle = float(sample_point(piece))
        inside = middle + 1e-3 * min(1.0, max(high - middle, 1e-300), max(middle - low, 1e-300)) * np.array([-1.0, 1.0])
    values = lower([piece.expr], [X], {}).numpy(inside)[0]
    return -1 if values[-1] < values[0] else 1


def _piece_correction(piece: Piece, density: sp.Expr, law: Law) -> BranchCorrection:
    low, high = piece.bounds
    if piece.is_constant:
        return BranchCorrection(low, high, None, None)
    bend = _bend(piece)
    side = _slope_sign(piece, law)
    direction = side * (-density.diff(X) + density * bend)
    inverse = solve_inverse(piece, Z)
    eta = None
    if inverse is not None:
        slope = inverse.diff(Z)
        at = density.subs(X, inverse)
        eta = -side * (density.diff(X).subs(X, inverse) * slope + at * slope.diff(Z) / slope)
        if eta.count_ops() < SIMPLIFIED:
            eta = sp.simplify(eta)
    return BranchCorrection(low, high, eta, direction)


def _bend(piece: Piece) -> sp.Expr:
    """f''/f' on a piece that is not flat, without the cancellations that the chain rule leaves in f'."""
    return _log_derivative(tidy(piece.expr.diff(X)))


def _log_derivative(e: sp.Expr) -> sp.Expr:
    """e'/e, factor by factor, so that what cancels never appears."""
    if X not in e.free_symbols:
        return sp.S.Zero
    if isinstance(e, sp.Mul):
        return sp.Add(*(_log_derivative(factor) for factor in e.args))
    if isinstance(e, sp.Pow) and X not in e.exp.free_symbols:
        return e.exp * _log_derivative(e.base)
    if isinstance(e, sp.exp):
        return e.args[0].diff(X)
    if isinstance(e, sigmoid):  # sigmoid' = sech(u/2)^2/4 over sigmoid is 0/0 once both have underflowed
        return e.args[0].diff(X) * sigmoid(-e.args[0])
    return e.diff(X) / e


def _join(pieces: Sequence[BranchCorrection]) -> sp.Expr:
    """One expression on the whole line; flat pieces continue their neighbour (the right one first)."""
    directions = [p.direction for p in pieces]
    known = [i for i, d in enumerate(directions) if d is not None]
    filled = [directions[min(known, key=lambda j: (abs(j - i), -j))] for i in range(len(pieces))]
    result = filled[-1]
    for piece, direction in zip(reversed(pieces[:-1]), reversed(filled[:-1]), strict=True):
        if direction != result:
            result = where(X - sp.nsimplify(piece.high, rational=True), result, direction)
    return result


def _shape(f: Formula, direction: sp.Expr, law: Law) -> tuple[sp.Expr, sp.Expr]:
    """direction = scale * psi, scale its constant factor, > 0.

    Raises:
        FormulaError: the direction vanishes: f is the law's own distribution function, or has the same output density.
    """
    x = law.quantile(np.linspace(1e-3, 1 - 1e-3, 401))
    slope = np.nanmax(np.abs(law.pdf(x) * law.score(x)))
    height = np.nanmax(np.abs(lower([standardise(direction)], [X], {}).numpy(x)[0])) if direction != 0 else 0.0
    if height <= 1e-12 * max(slope, np.max(law.pdf(x))):
        raise FormulaError(
            f"correction: the entropy of {f.name} under {law} is stationary (its output density is flat: the worst "
            "activation, or a line under a uniform law), so there is nothing to correct"
        )
    coefficient, psi = _constant_factor(direction)
    return (-psi, -coefficient) if coefficient.is_negative else (psi, coefficient)


def _constant_factor(direction: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """(c, rest) with direction = c * rest, through the branches of `where` when they share c up to its sign."""
    if isinstance(direction, where):
        condition, *branches = direction.args
        (c, first), (d, second) = (_constant_factor(branch) for branch in branches)
        if c not in (d, -d):
            return sp.S.One, direction
        return c, where(condition, first, second if c == d else -second)
    coefficient, rest = sp.factor_terms(direction).as_independent(X, as_Add=False)
    return coefficient, rest


def improve(
    f: FormulaLike,
    law: Law | str = "normal",
    step: float | None = None,
    keep: Keep = "nothing",
    sign: Sign = "descend",
    *,
    exact: bool = False,
) -> Formula:
    """One step of EAFO, as a Formula.

    To first order (the default) f - step d (`descend`) or f + step d (`published`), the coefficient eps = step * scale
    of the shape learnable; without a step eps is 0.01 in size. With `exact`, the corrected inverse y + step eta is
    itself inverted, and the result is a spline on every monotone piece. With `keep="critical"`, one step of
    `entropy_flow` (which descends), on whose result K = 1, C_W = 1, C_b = 0 is critical.

    Raises:
        ActsmithError: an unknown sign or keep, a step that is not finite and positive, a step that breaks monotonicity
            (exact; the message says where and how far one may go); and what `correction` and `entropy_flow` raise.

    >>> improve("relu", "normal", sign="published").params["eps"].value
    0.01
    """
    f, law = resolve(f), resolve_law(law)
    if keep != "nothing":
        if sign != "descend" or exact:
            raise ActsmithError("improve: keep='critical' descends to first order; it takes neither a sign nor exact")
        return entropy_flow(f, law, steps=1, step=step or 0.1, keep=keep).formula
    found = correction(f, law)
    first_order = found.improved(step, sign)
    if not exact:
        return first_order
    size = first_order.params[found.symbol].value
    stepped = numeric.exact_step(f, law, Formula(found.psi), size)
    return Formula(stepped, name=f"{f.name}{size:+g}*exact({law})")
