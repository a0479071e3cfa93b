"""The pictures of signal propagation: the kernel against depth, and the phase diagram."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actsmith.report.figure import BLACK, CYCLE, DASHES, drawing

if TYPE_CHECKING:
    from actsmith.nn.simulate import KernelCurve
    from actsmith.theory.phase import PhaseDiagram

__all__ = ["plot_kernels", "plot_phases"]

LOW, HIGH = 1e-6, 1e6
MARKERS = "osD^vPX*"
PHASE_COLOURS = {
    "ordered": "#9ecae1", "chaotic": "#fdae6b", "critical": "#fff3b0", "diverging": "#d9d9d9", "unsettled": "#ffffff",
}  # fmt: skip


def plot_kernels(curves: Sequence[KernelCurve], path: Path) -> Path:
    """Kernel against depth, as SVG: theory as lines, simulation as points with error bars of one standard error."""
    with drawing(path, 1, 1, (9.0, 5.2)) as (figure, axes):
        axis = axes[0, 0]
        for i, curve in enumerate(curves):
            colour = CYCLE[i % len(CYCLE)]
            layers = np.arange(curve.theory.size)
            seen = (curve.theory > LOW / 10) & (curve.theory < HIGH * 10)
            axis.plot(
                layers[seen], curve.theory[seen], color=colour, linestyle=DASHES[i % len(DASHES)], label=curve.label
            )
            mean, error = curve.simulation.kernel, curve.simulation.kernel_error
            inside = (mean > LOW) & (mean < HIGH)
            # A bar that would reach 0 on the logarithmic axis ends at a thousandth of its point.
            bars = np.stack([np.minimum(error, 0.999 * mean), error])[:, inside]
            axis.errorbar(
                layers[inside], mean[inside], yerr=bars, color=colour, marker=MARKERS[i % len(MARKERS)], markersize=4.5,
                linestyle="none", elinewidth=1.2, capsize=2,
            )  # fmt: skip
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_ylim(LOW, HIGH)
        axis.set_xlabel("layer")
        axis.set_ylabel("kernel K")
        first = curves[0].simulation
        axis.set_title(
            f"Lines: infinite width. Points: mean of {first.nets} networks of width {first.width}, with standard error",
            fontsize=9,
        )
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)
        figure.suptitle("What depth does to the kernel", fontweight="bold")
    return path


def plot_phases(diagram: PhaseDiagram, path: Path) -> Path:
    """The phase of every cell by colour, and the exact critical line, as SVG."""
    from matplotlib.colors import ListedColormap
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    names = list(PHASE_COLOURS)
    codes = np.array([names.index(str(label)) for label in diagram.label.reshape(-1)]).reshape(diagram.label.shape)
    with drawing(path, 1, 1, (7.0, 5.2)) as (figure, axes):
        axis = axes[0, 0]
        axis.grid(visible=False)
        colours = ListedColormap(list(PHASE_COLOURS.values()))
        axis.pcolormesh(
            diagram.C_W, diagram.C_b, codes, cmap=colours, vmin=-0.5, vmax=len(names) - 0.5, rasterized=True
        )
        handles: list[Any] = [
            Patch(facecolor=PHASE_COLOURS[n], edgecolor="#666666", label=n) for n in names if (diagram.label == n).any()
        ]
        line = diagram.line
        if line.size:
            axis.plot(line[:, 1], line[:, 2], color=BLACK, linewidth=2, clip_on=True)
            if np.ptp(line[:, 1]) + np.ptp(line[:, 2]) < 1e-9:
                axis.plot(line[:1, 1], line[:1, 2], color=BLACK, marker="o", markersize=8, clip_on=False)
            handles.append(Line2D([], [], color=BLACK, linewidth=2, label="chi_perp = 1, exactly"))
        axis.set_xlim(diagram.C_W.min(), diagram.C_W.max())
        axis.set_ylim(diagram.C_b.min(), diagram.C_b.max())
        axis.set_xlabel("C_W = fan-in times the variance of a weight")
        axis.set_ylabel("C_b = variance of a bias")
        figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
        figure.suptitle(f"Phases of {diagram.formula.name}, kernels from K0 = {diagram.K0:g}", fontweight="bold")
    return path
