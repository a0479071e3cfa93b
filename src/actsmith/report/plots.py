"""The pictures of a search."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from textwrap import fill
from typing import Any

from actsmith.report.data import Density, Row, RunData
from actsmith.report.figure import BLACK, BLUE, CYCLE, DASHES, GREY, ORANGE, drawing

__all__ = ["plot_laws", "plot_scores", "plot_shapes"]

WIDTH = 7.6
"""Inches: narrow enough that its words can still be read where a picture is fitted to a telephone."""
LONG, TITLE = 24, 68
"""Characters of a name, and of a line of a title."""
KINDS = {"known": (BLUE, "o"), "candidate": (ORANGE, "D")}


def plot_scores(data: RunData, path: Path) -> Path:
    """The validation score of every activation; of those that were confirmed the paired difference to the start."""
    rows, focus = [r for r in data.rows if not r.same_as], data.focus
    labels = [_label(r, data) for r in rows]
    with drawing(path, 1, 2, (WIDTH, 2.0 + 0.3 * len(rows)), sharey=True) as (figure, axes):
        left, right = axes[0]
        for place, r in enumerate(rows):
            colour, marker = (BLACK, "s") if r.name == data.start else KINDS[r.kind]
            look = {"color": colour, "marker": marker, "markersize": 6, "linewidth": 1.6}
            if r in focus:
                left.plot([r.validation], [place], **look)
            else:
                text = "diverged" if r.validation is None else f"{r.validation:.3g}"
                _beyond(left, place, text, colour)
            if r.difference is not None:
                right.plot([r.difference_low, r.difference_high], [place, place], color=colour, linewidth=1.6)
                right.plot([r.difference], [place], **look)
        if focus:
            values = [r.validation for r in focus if r.validation is not None]
            _limits(left, values, values)
        right.axvline(0.0, color=BLACK, linewidth=1)
        left.set_yticks(range(len(rows)), labels)
        left.set_ylim(len(rows) - 0.4, -0.6)
        left.set_xlabel(f"validation {data.metric}\n{data.better} is better, at the tuned rate")
        seeds = max((r.seeds for r in rows), default=0)
        unit = "decades" if data.log else data.metric
        right.set_xlabel(f"{data.judge}: gain over {_short(data.start)} ({unit})\n{seeds} paired seeds, 95 %")
        for axis in (left, right):
            axis.locator_params(axis="x", nbins=4)
        right.tick_params(axis="y", length=0)
        _title(figure, f"{data.task}: which activation is best?")
        _legend(figure, data)
    return path


def _label(row: Row, data: RunData) -> str:
    twins = [r.name for r in data.rows if row.name in r.same_as]
    return _short(f"{row.name} = {', '.join(twins)}" if twins else row.name)


def _short(name: str) -> str:
    """A name as far as there is room for it; the leaderboard has it all."""
    return name if len(name) <= LONG else f"{name[: LONG - 1]}\u2026"


def _title(figure: Any, text: str) -> None:
    """In as many lines as it takes."""
    figure.suptitle(fill(text, TITLE), fontweight="bold")


def _limits(axis: Any, lows: list[float], highs: list[float]) -> None:
    low, high = min(lows), max(highs)
    margin = 0.05 * (high - low) or 0.01
    axis.set_xlim(low - margin, high + margin)


def _beyond(axis: Any, place: int, text: str, colour: str) -> None:
    """A value below the scale, written at its end."""
    axis.text(
        0.02, place, f"\u25c0 {text}, off the scale", color=colour, va="center", fontsize=9,
        transform=axis.get_yaxis_transform(),
    )  # fmt: skip


def _legend(figure: Any, data: RunData) -> None:
    from matplotlib.lines import Line2D

    entries = [(f"{_short(data.start)} (start)", BLACK, "s"), *((kind, *look) for kind, look in KINDS.items())]
    handles = [Line2D([], [], color=c, marker=m, linestyle="-", label=label) for label, c, m in entries]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)


def plot_shapes(data: RunData, path: Path) -> Path:
    """The start and the best other activations, with their derivatives."""
    with drawing(path, 1, 2, (WIDTH, 4.2)) as (figure, axes):
        value, slope = axes[0]
        for i, curve in enumerate(data.curves):
            start = curve.name == data.start
            colour = BLACK if start else CYCLE[(i - 1) % len(CYCLE)]
            style = "-" if start else DASHES[i % len(DASHES)]
            look = {"color": colour, "linestyle": style, "linewidth": 1.2 if start else 1.8}
            label = f"{_short(curve.name)}{' (start)' if start else ''}"
            value.plot(curve.x, curve.value, label=label, **look)
            slope.plot(curve.x, curve.slope, **look)
        value.set_xlim(-4, 3)
        low = min(float(c.value[c.x >= -4].min()) for c in data.curves)
        value.set_ylim(min(1.1 * low, -0.1), 3)
        slope.set_xlim(-4, 4)
        value.set_xlabel("pre-activation x")
        value.set_ylabel("f(x)")
        slope.set_xlabel("pre-activation x")
        slope.set_ylabel("f'(x)")
        for axis in (value, slope):
            axis.axhline(0, color=GREY, linewidth=0.8)
            axis.axvline(0, color=GREY, linewidth=0.8)
        figure.legend(loc="outside lower center", ncols=3 if len(data.curves) > 4 else 2, frameon=False, fontsize=9)
        _title(figure, f"{data.task}: the best activations, parameters as learned on average")
    return path


def plot_laws(data: RunData, path: Path) -> Path:
    """The measured density of each layer's pre-activations, and the mixture that stands for it."""
    columns = min(3, len(data.densities))
    rows = ceil(len(data.densities) / columns)
    width = WIDTH / 3 * max(columns, 2)
    with drawing(path, rows, columns, (width, 1.3 + 1.9 * rows)) as (figure, axes):
        flat = axes.reshape(-1)
        for number, (axis, density) in enumerate(zip(flat, data.densities, strict=False), 1):
            _law(axis, number, density)
        for axis in flat[len(data.densities) :]:
            axis.set_visible(False)
        for axis in axes[-1]:
            axis.set_xlabel("pre-activation x")
        for axis in axes[:, 0]:
            axis.set_ylabel("density")
        handles, labels = flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
        drawn = len(data.densities)
        only = f", the first {drawn} of its {data.layers} activations" if data.layers > drawn else ""
        _title(figure, f"{data.task}: what {_short(data.start)} sees in a trained network{only}")
    return path


def _law(axis: Any, number: int, density: Density) -> None:
    axis.fill_between(density.x, density.measured, color=BLUE, alpha=0.25, linewidth=0, label="measured")
    axis.plot(density.x, density.fitted, color=ORANGE, linewidth=1.5, label="mixture of normals, fitted")
    axis.set_ylim(bottom=0)
    axis.set_title(f"layer {number}: mean {density.mean:.2f}, std {density.std:.2f}", fontsize=9)
