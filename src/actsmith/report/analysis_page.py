"""An analysis as one page: at a glance what the formula does to information and to depth, then the details.

Every number is the theory's own; what is undefined says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import actsmith
from actsmith.errors import ActsmithError
from actsmith.files import to_json
from actsmith.formula.formula import Formula
from actsmith.report.analysis_figure import DEPTH, Setting, plot_correction, plot_depth, plot_laws, plot_shape, svg
from actsmith.report.html import inline_svg, render_page
from actsmith.report.mathml import mathml
from actsmith.report.section import Figure, Section, Table
from actsmith.report.show.theory import ALONE, shape
from actsmith.theory.analysis import Analysis
from actsmith.theory.critical_points import CriticalPoint
from actsmith.theory.eafo import Correction, Sign, correction
from actsmith.theory.entropy import entropy

__all__ = ["analysis_page"]

KERNELS = (0.01, 1.0, 100.0)
"""Inputs of which the safe depth is shown."""
DEEPEST = 10_000
LONGEST = 400
"""A derivative of more characters than this is no longer read as a formula."""

ENTROPIES = (
    ("differential", "H(Z)", "follows the scale of f"),
    ("mixed", "atoms and continuous part", "follows the scale of f"),
    ("scale_free", "H(Z) - log std Z", "the same for c f"),
    ("smoothed", "J: standardised, with noise of width tau", "the same for c f + d; alone it orders nothing"),
)
FORMS = {
    "closed": "in closed form",
    "tabulated": "as a spline, because the law has no closed density",
    "projected": "as the steepest descent of the smoothed entropy in the span of psi_0 .. psi_4, because f folds",
}
SIGNS: tuple[tuple[Sign, str], ...] = (("descend", "descend: the theory's"), ("published", "published: the paper's"))
CONSTANTS = (
    ("a1", "a1: K' = K + a1 K² + ... at small K"),
    ("b1", "b1: chi_perp = 1 + b1 K + ... at small K"),
    ("ratio", "chi_par/chi_perp, where it is the same at every K"),
)


def analysis_page(analysis: Analysis) -> str:
    """A whole HTML page, without scripts and without anything from elsewhere.

    Args:
        analysis: what `actsmith.analyze` returned.

    Raises:
        ActsmithError: matplotlib or jinja2 is missing.
    """
    f = analysis.formula
    change = _correction(analysis)
    glance = [("Information", _information(analysis)), ("Depth", analysis.criticality.verdict)]
    judgement = analysis.judgement
    if analysis.note:
        glance.append(("Note", analysis.note))
    slope = f.derivative(1) if _has_short_derivative(f) else None
    return render_page(
        "analysis.html",
        name=f.name,
        text=f.text,
        formula=mathml(f.expr),
        derivative=mathml(slope.expr) if slope else "",
        law=str(analysis.law),
        facts=_facts(analysis),
        parameters=_parameters(f),
        glance=glance,
        verdict=judgement.sentence,
        by_network=judgement.by_network,
        kin=judgement.kin,
        settle=judgement.settle,
        picture=_shape_figure(analysis),
        sections=[_entropy_section(analysis), change, _depth_section(analysis)],
        record=to_json(analysis.to_dict(), indent=1),
        version=actsmith.__version__,
    )


# ------------------------------------------------------------------------------------------------ at a glance


def _information(analysis: Analysis) -> str:
    e, law = analysis.entropy, analysis.law
    if e.smoothed is None:
        return f"The smoothed output entropy is undefined: {e.reasons['smoothed']}. {ALONE}"
    text = f"The smoothed, scale-free entropy of the output is {e.smoothed:+.4f} nats"
    line = entropy("identity", law, e.tau).smoothed
    if line is None:
        return f"{text}. {ALONE}"
    side = "below" if e.smoothed < line else "above"
    distance = abs(e.smoothed - line)
    if distance <= e.error + 1e-9:
        return f"{text}, that of the line f(x) = x. {ALONE}"
    return f"{text}, {distance:.4f} {side} that of the line f(x) = x ({line:+.4f}). {ALONE}"


def _facts(analysis: Analysis) -> list[tuple[str, str]]:
    e, c = analysis.entropy, analysis.criticality
    kinks = [f"{k:.6g}" for k in analysis.formula.kinks]
    listed = ", ".join(kinks[:8]) + (f" and {len(kinks) - 8} more" if len(kinks) > 8 else "")
    facts = [("Shape", shape(analysis)), ("Kinks", listed or "none"), ("Universality class", c.universality)]
    if e.mean is not None and e.std is not None:
        mean = e.mean if abs(e.mean) > max(e.error, 1e-12) * e.std else 0.0  # no digit of it is known otherwise
        facts.append(("Output", f"mean {mean:.6g}, standard deviation {e.std:.6g}"))
    if e.atom_mass > 0:
        facts.append(("Outputs on flat pieces", f"{e.atom_mass:.4%}"))
    return facts


def _parameters(f: Formula) -> Table | None:
    if not f.params:
        return None
    rows = [
        (n, f"{p.value:.9g}", "learned" if p.learn else "fixed", _range(p.low, p.high)) for n, p in f.params.items()
    ]
    return Table("Parameters", ("name", "value", "in training", "range"), rows)


def _range(low: float, high: float) -> str:
    return f"{low:g} to {high:g}" if (low, high) != (-inf, inf) else "any"


def _has_short_derivative(f: Formula) -> bool:
    try:
        return len(f.derivative(1).text) <= LONGEST
    except ActsmithError:  # too large to be formed
        return False


# ------------------------------------------------------------------------------------------------ the sections


def _shape_figure(analysis: Analysis) -> Figure:
    f = analysis.formula
    return _drawn(
        "shape",
        f"Two curves: {f.name} and its derivative over the pre-activation x; {shape(analysis)}.",
        "f and f' where the law has its mass." + (" Orange: kinks." if f.kinks else ""),
        plot_shape,
        analysis,
    )


def _entropy_section(analysis: Analysis) -> Section:
    e = analysis.entropy
    rows = [
        (name.replace("_", "-"), what, f"{value:+.9f}" if (value := getattr(e, name)) is not None else "undefined",
         note if value is not None else e.reasons[name])
        for name, what, note in ENTROPIES
    ]  # fmt: skip
    known = any(getattr(e, name) is not None for name, _, _ in ENTROPIES)
    caption = f"Entropies of Z = f(X), X ~ {analysis.law}, tau = {e.tau:g}"
    caption += f"; each within {e.error:.1g} nats" if known else ""
    figure = _drawn(
        "laws",
        f"The density of the pre-activation under {analysis.law}, and that of the output of {analysis.formula.name}"
        + (f"; single values carry {e.atom_mass:.4g} of its probability." if e.atom_mass else "."),
        "What goes in and what comes out."
        + (" Green: single values that carry probability, on the right-hand scale." if e.atom_mass else ""),
        plot_laws,
        analysis,
    )
    table = Table(caption, ("entropy", "what it is", "nats", "remark"), rows)
    return Section("entropy", "Information: entropy", tables=[table], figures=[figure])


def _correction(analysis: Analysis) -> Section:
    title = "A better shape: the entropy's correction"
    try:
        found = correction(analysis.formula, analysis.law)
    except ActsmithError as problem:
        return Section("correction", title, [f"There is none: {problem}."])
    rate, why = _rate(found)
    rates = [("H, entropy", rate, why), ("J, smoothed", *_smoothed_rate(found))]
    steps = [found.improved(sign=sign).params[found.symbol].value for sign, _ in SIGNS]
    rows = [
        (f"d{name[0]}/d{found.symbol} ({name[3:]})", *_changes(value, steps), reason) for name, value, reason in rates
    ]
    signs = (f"{label} ({found.symbol} = {eps:+g})" for (_, label), eps in zip(SIGNS, steps, strict=True))
    head = ("rate", f"nats per unit of {found.symbol}", *signs, "remark")
    paragraphs = [found.note] if found.form != "projected" else []
    paragraphs.append(f"EAFO changes f to f + {found.symbol} psi. Its shape psi(x), {FORMS[found.form]}:")
    figure = _drawn(
        "correction",
        f"The shape psi of the correction, and {analysis.formula.name} with it added in both signs.",
        f"The shape, and f with so much of it that it shows; {found.symbol} starts at 0.01 in size.",
        plot_correction,
        found,
    )
    table = Table("What the first step does to the entropies, to first order", head, rows)
    return Section("correction", title, paragraphs, mathml(found.psi), [figure], [table])


def _rate(found: Correction) -> tuple[float | None, str]:
    """dH/deps, or None with the reason."""
    if found.form == "projected":
        return None, "takes seconds where f folds: `actsmith derive` computes it"
    why = found.reasons.get("entropy_rate")
    return (None, why) if why else (found.entropy_rate.value, "on the part of the line where f is not flat")


def _smoothed_rate(found: Correction) -> tuple[float | None, str]:
    """dJ/deps, or None with the reason."""
    return found.smoothed_rate, found.reasons.get("smoothed_rate", "of the whole output")


def _changes(rate: float | None, steps: Sequence[float]) -> tuple[str, ...]:
    if rate is None:
        return "see remark", *("" for _ in steps)
    return f"{rate:+.6g}", *(f"{eps * rate:+.3g}" for eps in steps)


def _depth_section(analysis: Analysis) -> Section:
    c = analysis.criticality
    paragraphs = [
        c.verdict,
        *(f"{key.capitalize()}: {c.reasons[key]}." for key in ("points", "range") if key in c.reasons),
    ]
    rows = [(what, _nine(getattr(c, name)), c.reasons.get(name, "")) for name, what in CONSTANTS]
    s = c.settles
    remark = c.reasons["settles"] if s is None else f"chi_par = {s.chi_par:.6g}, chi_perp = {s.chi_perp:.6g}"
    rows.append(("K where deep networks settle beside the critical one", _nine(None if s is None else s.K), remark))
    tables = [Table(f"Universality class: {c.universality}", ("constant", "value", "remark"), rows)]
    if c.points:
        head = ("K", "C_W", "C_b", "stability", "relative error", *(f"safe depth from K0 = {k:g}" for k in KERNELS))
        tables.insert(0, Table("Critical points, the most usable first", head, [_point(analysis, p) for p in c.points]))
    text, figure = _depth_figure(analysis)
    drawn = [figure] if figure is not None else []
    return Section("depth", "Depth: criticality", [*paragraphs, text], figures=drawn, tables=tables)


def _point(analysis: Analysis, p: CriticalPoint) -> tuple[str, ...]:
    depths = (analysis.criticality.safe_depth(k, p.C_W, p.C_b, limit=DEEPEST) for k in KERNELS)
    K = "any" if p.kind == "scale_invariant" else f"{p.K:.9g}"
    shown = (f"{depth} layers" if depth < DEEPEST else f"at least {DEEPEST}" for depth in depths)
    return K, f"{p.C_W:.9g}", f"{p.C_b:.9g}", p.stability, f"{p.error:.1g}", *shown


def _depth_figure(analysis: Analysis) -> tuple[str, Figure | None]:
    """The pictures over depth and kernel with the sentence that says where they are drawn, or why they are not."""
    f, c = analysis.formula, analysis.criticality
    setting = Setting.of(c)
    if setting is None:
        return "No picture over the layers: there is no C_W at which gradients are kept.", None
    where = "The pictures are drawn at the first critical point"
    if not c.points:
        where = "Nothing is critical; the pictures are drawn where gradients are kept at K = 1"
    settings = f"C_W = {setting.C_W:.6g}, C_b = {setting.C_b:.6g}"
    figure = _drawn(
        "depth",
        f"Kernel over {DEPTH} layers from several inputs, both susceptibilities over K and their quotient, for "
        f"{f.name} at {settings}. {c.verdict}",
        "Left: the kernel over the layers. Middle and right: chi_par and chi_perp, and their quotient, over the "
        "kernel; dotted: critical points.",
        plot_depth,
        analysis,
        setting,
    )
    return f"{where}: {settings}. A kernel that leaves the picture has died or exploded.", figure


def _drawn(name: str, alt: str, caption: str, plot: Callable[..., None], *arguments: Any) -> Figure:
    return Figure(inline_svg(svg(plot, *arguments), name), alt, caption)


def _nine(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.9g}"
