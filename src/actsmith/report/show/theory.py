"""What theory finds: entropies with the densities behind them, criticality with the kernel over the layers, a
correction with its shape, and all of a formula together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from actsmith.errors import ActsmithError
from actsmith.report.analysis_figure import (
    Setting,
    draw_correction,
    draw_kernels,
    draw_laws,
    draw_output,
    draw_quotient,
    draw_shape,
    draw_susceptibilities,
)
from actsmith.report.figure import column
from actsmith.report.show.card import Card, decimals, significant
from actsmith.report.show.formula import brief, parameters, short, title
from actsmith.theory.analysis import Analysis
from actsmith.theory.critical_points import CriticalPoint
from actsmith.theory.criticality import Criticality
from actsmith.theory.eafo import Correction
from actsmith.theory.entropy import Entropy
from actsmith.theory.judgement import Judgement

__all__ = ["ALONE", "SHOWN", "shape"]

ALONE = "Entropy alone orders nothing: what depth does to f vetoes, and training decides."
"""RePU has the lowest entropy of all and cannot be trained at depth."""
ENTROPIES = ("differential", "mixed", "scale_free", "smoothed")
FORMS = {"closed": "closed", "tabulated": "a spline", "projected": "in the span of psi_0 .. psi_4, because f folds"}
ROW = 1.45
"""Inches: the height of a row of pictures."""


def shape(analysis: Analysis) -> str:
    """Bounds, monotony and smoothness in a few words.

    >>> from actsmith.theory.analysis import analyze
    >>> shape(analyze("gelu"))
    'bounded below, not monotone, smooth'
    """
    bounded = {(True, True): "bounded", (True, False): "bounded below", (False, True): "bounded above"}
    words = [bounded.get(analysis.bounded, "unbounded"), "monotone" if analysis.monotone else "not monotone"]
    words.append("smooth" if analysis.smoothness is None else f"C^{analysis.smoothness}")
    return ", ".join(words)


def _analysis(a: Analysis) -> Card:
    kinks = ", ".join(f"{k:g}" for k in a.formula.kinks)
    facts = [*parameters(a.formula), ("shape", shape(a)), ("kinks", kinks or "none")]
    parts = [
        replace(_entropy(a.entropy), title=f"Entropy of f(X) in nats, X ~ {a.law}"),
        replace(_criticality(a.criticality), title=f"Criticality: {a.criticality.universality}"),
    ]
    notes = [Card(a.note)] if a.note else []
    return Card(title(a.formula), a.formula.expr, facts, below=[*parts, *notes, _judgement(a.judgement)])


def _judgement(j: Judgement) -> Card:
    places = [("its place by network", j.by_network)] if j.by_network else []
    facts = [*places, ("nearest in shape, 0 the same", j.kin), ("to settle it", j.settle)]
    return Card(f"Verdict: {j.sentence}", None, facts)


def _draw_analysis(a: Analysis, width: float) -> Any:
    with column(2, 2, (width, 2 * ROW + 0.2)) as (figure, axes):
        draw_shape(axes[0], a.formula, a.law)
        draw_output(axes[1, 0], a.formula, a.law)
        setting = Setting.of(a.criticality)
        if setting is None:
            axes[1, 1].set_axis_off()
        else:
            draw_quotient(axes[1, 1], a.criticality, setting)
            axes[1, 1].set_xticks([1e-3, 1, 1e3])
        figure.suptitle(short(a.formula.name))
        return figure


def _entropy(e: Entropy) -> Card:
    facts = []
    for name in ENTROPIES:
        value = getattr(e, name)
        known = value is not None and f"{decimals(value, e.error)} \u00b1 {e.error:.0e}"
        facts.append((name, known or f"undefined: {e.reasons[name]}"))
    return Card(f"Entropy of f(X) in nats, f = {short(e.formula.name)}, X ~ {e.law}", None, facts, notes=[ALONE])


def _draw_entropy(e: Entropy, width: float) -> Any:
    with column(1, 2, (width, ROW + 0.2)) as (figure, axes):
        draw_laws(axes[0], e.formula, e.law)
        figure.suptitle(short(e.formula.name))
        return figure


def _criticality(c: Criticality) -> Card:
    return Card(f"Criticality of {short(c.formula.name)}: {c.universality}", notes=[*map(_point, c.points), c.verdict])


def _point(p: CriticalPoint) -> str:
    K, C_W, C_b = (significant(v, p.error) for v in (p.K, p.C_W, p.C_b))
    return f"K = {K}, C_W = {C_W}, C_b = {C_b} (\u00b1 {p.error:.0e} of each): {p.stability}"


def _draw_criticality(c: Criticality, width: float) -> Any:
    setting = Setting.of(c)
    if setting is None:
        raise ActsmithError(
            f"plot: {c.formula.name} keeps no gradients at any C_W; there is nothing to draw over layers"
        )
    with column(2, 1, (width, 2 * ROW + 0.4)) as (figure, axes):
        kernel, both = axes[:, 0]
        draw_kernels(kernel, c.formula, setting)
        kernel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize="small")
        draw_susceptibilities(both, c, setting)
        figure.suptitle(f"{short(c.formula.name)} at C_W = {setting.C_W:.4g}, C_b = {setting.C_b:.4g}")
        return figure


def _correction(found: Correction) -> Card:
    steps = [found.improved(sign=sign).params[found.symbol].value for sign in ("descend", "published")]
    facts = [
        ("psi(x)", brief(found.psi)),
        ("form", FORMS[found.form]),
        (found.symbol, f"{steps[0]:+g} by the theory's sign, {steps[1]:+g} as published"),
    ]
    notes = [found.note] if found.form != "projected" else []  # there the rate takes seconds
    return Card(f"Correction of {title(found.f)}, under {found.law}", found.psi, facts, notes=notes)


def _draw_correction(found: Correction, width: float) -> Any:
    with column(1, 2, (width, ROW + 0.4)) as (figure, axes):
        draw_correction(axes[0], found)
        axes[0, 1].get_legend().remove()
        figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize="small")
        figure.suptitle(f"{short(found.f.name)} under {short(str(found.law), 24)}")
        return figure


SHOWN = {
    "Analysis": (_analysis, _draw_analysis),
    "Entropy": (_entropy, _draw_entropy),
    "Criticality": (_criticality, _draw_criticality),
    "Correction": (_correction, _draw_correction),
}
