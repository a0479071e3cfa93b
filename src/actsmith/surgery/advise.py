"""What to try in a real model: probe, entropy, criticality and the EAFO correction, joined per site.

law of the site  ->  fitted mixture of normals  ->  f + eps psi with the sign that lowers J, and by how much
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import sympy as sp
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula, Param
from actsmith.formula.parse import parameter_symbol
from actsmith.formula.text import shortened, to_text
from actsmith.surgery.blocks import mark_blocks
from actsmith.surgery.probe import probe
from actsmith.surgery.record import DEAD, Record
from actsmith.surgery.running import as_batches
from actsmith.theory.eafo import correction
from actsmith.theory.entropy import entropy
from actsmith.theory.fit import MixtureFit, fit_mixture

__all__ = ["Advice", "advise"]

SHOWN = 4
"""Digits of a suggestion's numbers in a sentence; `Advice.suggested` has all."""
SHARE = 0.01
"""The correction's size: eps is this share of the output's standard deviation."""
DIGITS = 3
"""Significant digits of the fitted law: sites of nearly one law share one correction."""


@dataclass(frozen=True)
class Advice:
    """What one site does and what to try there.

    Attributes:
        record: what was measured.
        fit: the mixture of normals that stands for the measured law; None where there is no law.
        suggested: the activation with its EAFO correction, eps learnable; None where there is none, `reason` says why.
        predicted: the change of J_0.1, the smoothed scale-free output entropy under the measured law, from the present
            activation to the suggested one, computed for both.
        reason: why nothing is suggested.
        text: all of it in a few sentences.
    """

    record: Record
    fit: MixtureFit | None
    suggested: Formula | None
    predicted: float | None
    reason: str | None
    text: str

    @property
    def path(self) -> str:
        """The site's."""
        return self.record.site.path

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "path": self.path,
            "activation": self.record.site.activation,
            "K": self.record.K,
            "K_star": self.record.K_star,
            "far_from_critical": self.record.far_from_critical,
            "law": None if self.fit is None else str(self.fit.law),
            "distance": None if self.fit is None else self.fit.distance,
            "suggested": None if self.suggested is None else self.suggested.to_dict(),
            "predicted": self.predicted,
            "reason": self.reason,
            "text": self.text,
        }


def advise(
    model: nn.Module, batches: Iterable[Any], sites: Sequence[str] | None = None, components: int = 1
) -> list[Advice]:
    """Per site, in the order of execution: what the activation does there, and which correction its law suggests.

    The prediction is about entropy alone; only training tells whether it helps.

    Args:
        model, batches, sites: as for `probe`.
        components: at most so many normals stand for a measured law; with more than one the corrections of some
            activations (tanh) take very long to put in closed form.

    Raises:
        ActsmithError: as `probe`.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> import torch
        >>> [a.path for a in advise(model, torch.randn(100, 4))]
        ['1']
    """
    waiting = iter(as_batches(batches))
    first = list(islice(waiting, 1))
    measured = probe(model, chain(first, waiting), sites, strict=False)
    measured = mark_blocks(measured, model, first[0])
    return [_advice(record, components) for record in measured.records.values()]


def _advice(record: Record, components: int) -> Advice:
    if record.law is None or record.site.formula is None:
        reason = record.reason or "the activation's formula is not known"
        return Advice(record, None, None, None, reason, _text(record, None, None, reason))
    fit = fit_mixture(record.law, most=components, digits=DIGITS)
    try:
        suggested, predicted = _corrected(record, fit)
    except ActsmithError as error:
        reason = str(error)
        return Advice(record, fit, None, None, reason, _text(record, None, None, reason))
    return Advice(record, fit, suggested, predicted, None, _text(record, suggested, predicted, None))


def _corrected(record: Record, fit: MixtureFit) -> tuple[Formula, float]:
    """f + eps psi/max|psi| of a share of the output's deviation, in the direction that lowers J, and the change of J.

    Raises:
        ActsmithError: there is no correction in closed form, or neither sign lowers J.
    """
    f, law = record.site.formula, record.law
    assert f is not None
    assert law is not None
    found = correction(f, fit.law)
    x = law.quantile([k / 400 for k in range(1, 400)])
    height = float(abs(Formula(found.psi)(x)).max())
    if not (height > 0 and record.out_std > 0):
        raise ActsmithError("the correction vanishes where the inputs are")
    shape = found.psi * sp.Rational(f"{1 / height:.6g}")  # of height 1 there, so that eps can be learned
    eps = float(f"{SHARE * record.out_std:.2g}")
    now = entropy(f, law).smoothed
    best: tuple[float, Formula] | None = None
    for signed in (-eps, eps):
        params = {**f.params, found.symbol: Param(signed, learn=True)}
        tried = Formula(f.expr + parameter_symbol(found.symbol) * shape, params, f"{f.name}+eafo")
        value = entropy(tried, law).smoothed
        if value is not None and now is not None and (best is None or value - now < best[0]):
            best = value - now, tried
    if best is None or best[0] >= 0:
        raise ActsmithError("neither sign of the correction lowers the smoothed entropy under the measured law")
    return best[1], best[0]


def _text(r: Record, suggested: Formula | None, predicted: float | None, reason: str | None) -> str:
    name = r.site.activation or r.site.class_name
    parts = [f"{r.site.path}: {name} sees mean {r.mean:.3g}, std {r.std:.3g} (K = {r.K:.3g})."]
    c = r.criticality
    if c is None:
        parts.append("Its formula is not known, so theory says nothing of it.")
    elif r.in_normalised_block:
        parts.append("Inside a residual block with normalisation, which sets K anew: nothing there has to be critical.")
    elif c.universality == "scale_invariant":
        parts.append("Every K is critical for it, with the right variance of the weights.")
    elif c.universality == "none":
        parts.append("It has no critical point: no initialisation carries signals through many such layers.")
    elif r.off_critical is None:
        parts.append(f"Its critical point is K* = 0 ({c.universality}): K is to fall slowly with depth.")
    else:
        ratio = math.exp(abs(r.off_critical))
        side = "above" if r.off_critical > 0 else "below"
        far = "Far from critical: " if r.far_from_critical else ""
        parts.append(f"{far}K is a factor {ratio:.3g} {side} K* = {r.K_star:.3g} ({c.universality}).")
    if r.dead > DEAD:
        parts.append(f"{r.dead:.0%} of its {r.units} units never change.")
    if suggested is not None and predicted is not None and r.site.formula is not None:
        eps = next(n for n in suggested.params if n not in r.site.formula.params)
        better = to_text(shortened(suggested.expr, SHOWN))
        parts.append(
            f"Its law suggests {better} with {eps} starting at {suggested.params[eps].value:g}: the smoothed "
            f"output entropy changes by {predicted:+.4g} nats."
        )
    elif reason is not None:
        parts.append(f"No correction: {reason}.")
    return " ".join(parts)
