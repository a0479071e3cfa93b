"""The pictures of an analysis, as SVG text: every number from the theory, here only what is in view and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from math import floor, inf, log10
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.report.figure import BLACK, BLUE, CYCLE, DASHES, GREY, ORANGE, drawing, logarithmic
from actsmith.report.output_density import OutputDensity, window
from actsmith.theory.analysis import Analysis
from actsmith.theory.critical_points import GRID, Scan
from actsmith.theory.criticality import Criticality
from actsmith.theory.eafo import Correction
from actsmith.theory.kernel import kernel_flow, moments, susceptibilities
from actsmith.theory.law import Law
from actsmith.theory.output import OutputLaw, output_law

__all__ = [
    "DEPTH",
    "Setting",
    "draw_correction",
    "draw_kernels",
    "draw_laws",
    "draw_output",
    "draw_quotient",
    "draw_shape",
    "draw_susceptibilities",
    "plot_correction",
    "plot_depth",
    "plot_laws",
    "plot_shape",
    "svg",
]

Array = NDArray[np.float64]

DEPTH = 100
"""Layers that the kernel is followed through."""
STARTS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Where it starts, in units of K* (of 1 where K* is 0)."""
SEEN = (1e-7, 1e7)
"""Kernels in view."""
SUSCEPTIBLE = GRID[(GRID >= 1e-5) & (GRID <= 1e5)]
GREEN = CYCLE[2]


@dataclass(frozen=True)
class Setting:
    """Where the pictures of depth are drawn: a kernel with its weight and bias variances, and the formula's scan."""

    K: float
    C_W: float
    C_b: float
    scan: Scan

    @classmethod
    def of(cls, found: Criticality) -> Setting | None:
        """The first critical point; without one, where gradients are kept at K = 1; None where they never are."""
        scan = Scan.of(found.formula)
        if found.points:
            return cls(found.points[0].K, found.points[0].C_W, found.points[0].C_b, scan)
        kept = susceptibilities(found.formula, 1.0, 1.0).chi_perp
        return cls(1.0, 1 / kept, 0.0, scan) if scan.usable.any() and 0 < kept < inf else None


def svg(plot: Callable[..., None], *arguments: Any) -> str:
    """What `plot(*arguments, file)` writes."""
    buffer = StringIO()
    plot(*arguments, buffer)
    return buffer.getvalue()


def plot_shape(analysis: Analysis, file: Path | IO[str]) -> None:
    """f and f' where the law has its mass, kinks marked."""
    with drawing(file, 1, 2, (10.5, 3.5)) as (_, axes):
        draw_shape(axes[0], analysis.formula, analysis.law)


def draw_shape(axes: Sequence[Any], f: Formula, law: Law) -> None:
    """f on the first of the axes and f' on the second."""
    low, high = window(law)
    for order, (axis, name) in enumerate(zip(axes, ("f(x)", "f'(x)"), strict=True)):
        x, y = _curve(f, f.kinks, low, high, order)
        axis.plot(x, y, color=BLUE, linewidth=1.8)
        kinks = [k for k in f.kinks if low < k < high]
        for k in kinks:
            axis.axvline(k, color=ORANGE, linewidth=1, linestyle=":", zorder=1.5)
        beside = np.array([np.nextafter(k, side) for k in kinks for side in (-np.inf, np.inf)])
        if kinks:
            axis.plot(beside, f.jet(beside, order)[order], "o", color=ORANGE, markersize=4.5)
        _zero_lines(axis)
        _limit(axis, x, y, law)
        axis.set(xlim=(low, high), xlabel="pre-activation x", ylabel=name)


def plot_laws(analysis: Analysis, file: Path | IO[str]) -> None:
    """The density of X, and that of f(X) with its atoms; the reason where that is not known."""
    with drawing(file, 1, 2, (10.5, 3.3)) as (_, axes):
        draw_laws(axes[0], analysis.formula, analysis.law)


def draw_laws(axes: Sequence[Any], f: Formula, law: Law) -> None:
    """What goes in on the first of the axes, what comes out on the second."""
    left, right = axes
    low, high = window(law)
    ends = [np.nextafter(end, side) for end in law.support if np.isfinite(end) for side in (-np.inf, np.inf)]
    x = np.unique(np.concatenate([np.linspace(low, high, 401), ends]))
    _filled(left, x, law.pdf(x), BLUE)
    left.set(xlim=(low, high), ylim=(0, None), xlabel="pre-activation x", ylabel="density")
    left.set_title(f"in: X ~ {str(law)[:60]}", fontsize="medium")
    draw_output(right, f, law)


def draw_output(axis: Any, f: Formula, law: Law) -> None:
    """The density of f(X)."""
    axis.set_title("out: f(X)", fontsize="medium")
    try:
        _output(axis, output_law(f, law))
    except ActsmithError as problem:
        axis.set_axis_off()
        axis.text(0.5, 0.5, str(problem), ha="center", va="center", wrap=True, transform=axis.transAxes)


def _output(axis: Any, output: OutputLaw) -> None:
    drawn = OutputDensity.of(output)
    axis.set_xlim(*drawn.window)
    axis.set(xlabel="activation f(x)", ylabel="density")
    if drawn.scale is not None:
        if drawn.logarithmic:
            logarithmic(axis, "y")
        axis.set_ylim(*drawn.scale)
    for z, q in drawn.stretches:
        _filled(axis, z, q, ORANGE)
    if drawn.atoms:
        beside = axis.twinx() if output.branches else axis
        beside.grid(visible=False)
        beside.spines["left"].set_visible(not output.branches)
        beside.spines["right"].set_visible(bool(output.branches))
        for value, total in drawn.atoms:
            beside.plot([value, value], [0, total], color=GREEN, linewidth=3, solid_capstyle="butt")
            beside.plot([value], [total], "D", color=GREEN, markersize=6)
        beside.set(ylim=(0, 1), ylabel="probability of\na single value")


def plot_correction(found: Correction, file: Path | IO[str]) -> None:
    """The shape psi, and f with so much of it, in both signs, that the difference shows."""
    with drawing(file, 1, 2, (10.5, 3.5)) as (_, axes):
        draw_correction(axes[0], found)


def draw_correction(axes: Sequence[Any], found: Correction) -> None:
    """psi on the first of the axes, f with it on the second."""
    left, right = axes
    low, high = window(found.law)
    kinks = (*found.f.kinks, *found.law.breakpoints)  # those of f and of the law's density are all that psi has
    psi, base = (_curve(f, kinks, low, high) for f in (Formula(found.psi), found.f))
    height, span = np.nanquantile(np.abs(psi[1]), 0.95), np.ptp(base[1][np.isfinite(base[1])])  # psi may have a pole
    eps = _one_digit(0.15 * span / height) if height > 0 and span > 0 else 0.01
    left.plot(*psi, color=GREEN, linewidth=1.8)
    _limit(left, *psi, found.law)
    left.set(ylabel="psi(x)", title="the correction's shape")
    right.plot(*base, color=BLACK, linewidth=1.2, label="f")
    shown = [base]
    for sign, colour, style, side in (("theory", ORANGE, "--", -1), ("published", BLUE, "-.", 1)):
        shown.append(_curve(found.formula(side * eps), kinks, low, high))
        label = f"{found.symbol} = {side * eps:+g} (sign: {sign})"
        right.plot(*shown[-1], color=colour, linestyle=style, linewidth=1.6, label=label)
    x, y = np.concatenate(shown, axis=1)
    _limit(right, x, y, found.law)
    right.set(ylabel=f"f + {found.symbol} psi", title="exaggerated")
    right.legend(frameon=False, fontsize="small")
    for axis in (left, right):
        axis.title.set_fontsize("medium")
        _zero_lines(axis)
        axis.set(xlim=(low, high), xlabel="pre-activation x")


def plot_depth(analysis: Analysis, setting: Setting, file: Path | IO[str]) -> None:
    """Three panels: the kernel over the layers, chi_par and chi_perp over K at this C_W, and their quotient."""
    with drawing(file, 1, 3, (12.0, 4.0)) as (figure, axes):
        kernel, both, quotient = axes[0]
        draw_kernels(kernel, analysis.formula, setting)
        figure.legend(loc="outside lower center", ncols=len(STARTS), frameon=False, fontsize="small")
        draw_susceptibilities(both, analysis.criticality, setting)
        draw_quotient(quotient, analysis.criticality, setting)


def draw_kernels(axis: Any, f: Formula, setting: Setting) -> None:
    """The kernel over the layers from several inputs."""
    starts = [s * (setting.K or 1.0) for s in STARTS]
    flow = kernel_flow(f, starts, DEPTH, setting.C_W, setting.C_b)
    for i, start in enumerate(starts):
        k = np.where((flow[:, i] > SEEN[0]) & (flow[:, i] < SEEN[1]), flow[:, i], np.nan)
        look = {"color": CYCLE[i % len(CYCLE)], "linestyle": DASHES[i % len(DASHES)]}
        axis.plot(np.arange(DEPTH + 1), k, linewidth=1.6, label=f"K0 = {start:.3g}", **look)
    logarithmic(axis, "y")
    axis.set(xlabel="layer", ylabel="kernel K")


def draw_susceptibilities(axis: Any, found: Criticality, setting: Setting) -> None:
    """chi_par and chi_perp over the kernel."""
    at = moments(found.formula, SUSCEPTIBLE)
    known = setting.scan.usable[np.isin(GRID, SUSCEPTIBLE)]
    for y, name, colour, style in ((at.dg, "chi_par", BLUE, "-"), (at.perp, "chi_perp", ORANGE, "--")):
        axis.plot(SUSCEPTIBLE, np.where(known, setting.C_W * y, np.nan), style, color=colour, linewidth=1.6, label=name)
    axis.legend(frameon=False, fontsize="small")
    _over_kernels(axis, found, "susceptibilities")


def draw_quotient(axis: Any, found: Criticality, setting: Setting) -> None:
    """chi_par/chi_perp over the kernel: 1 where both can be 1."""
    ratio = np.where(setting.scan.usable, setting.scan.ratio, np.nan)[np.isin(GRID, SUSCEPTIBLE)]
    axis.plot(SUSCEPTIBLE, ratio, color=GREEN, linewidth=1.8)
    _over_kernels(axis, found, "chi_par / chi_perp")


def _over_kernels(axis: Any, found: Criticality, name: str) -> None:
    drawn = np.concatenate([line.get_ydata() for line in axis.lines])
    axis.axhline(1, color=GREY, linewidth=0.8)
    for point in found.points:
        axis.axvline(point.K, color=GREY, linewidth=0.8, linestyle=":")
    logarithmic(axis, "x")
    axis.set(xlim=SUSCEPTIBLE[[0, -1]], xlabel="kernel K", ylabel=name)
    _calm(axis, drawn)


def _curve(f: Formula, kinks: Sequence[float], low: float, high: float, order: int = 0) -> tuple[Array, Array]:
    """x and the derivative of that order, interrupted at kinks, where it may jump, and where it is not finite."""
    inside = [k for k in kinks if low < k < high]
    beside = [np.nextafter(k, side) for k in inside for side in (-np.inf, np.inf)]
    x = np.unique(np.concatenate([np.linspace(low, high, 601), inside, beside]))
    with np.errstate(all="ignore"):
        y = f.jet(x, order)[order]
    return x, np.where(np.isfinite(y) & ~np.isin(x, inside), y, np.nan)


def _zero_lines(axis: Any) -> None:
    axis.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    axis.axvline(0, color=GREY, linewidth=0.8, zorder=1)


def _limit(axis: Any, x: Array, y: Array, law: Law) -> None:
    """Show all values, or where they run away those within two spans of most in the law's middle."""
    if not np.isfinite(y).any():
        return
    first, last = law.quantile([0.05, 0.95])
    middle = y[(x >= first) & (x <= last) & np.isfinite(y)]
    low, high = np.nanmin(y), np.nanmax(y)
    if middle.size:
        least, most = np.quantile(middle, (0.02, 0.98))
        span = most - least or np.ptp(middle) or 1.0
        low, high = max(low, least - 2 * span), min(high, most + 2 * span)
    axis.set_ylim(low - 0.06 * (high - low or 1.0), high + 0.06 * (high - low or 1.0))


def _calm(axis: Any, y: Array) -> None:
    """A scale that holds 1 and all but the outermost twentieths of y, within 4 of 0."""
    values = y[np.isfinite(y)]
    low, high = np.quantile(values, (0.05, 0.95)) if values.size else (1.0, 1.0)
    low, high = max(min(low, 0.5), -4.0), min(max(high, 1.5), 4.0)
    axis.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def _filled(axis: Any, x: Array, y: Array, colour: str) -> None:
    axis.fill_between(x, y, color=colour, alpha=0.2, linewidth=0)
    axis.plot(x, y, color=colour, linewidth=1.6)


def _one_digit(value: float) -> float:
    return float(f"{value:.0e}") if value > 0 and abs(floor(log10(value))) < 300 else value
