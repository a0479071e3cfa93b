"""The two figures of docs/criticality.md: kernels through depth, and the phase diagram of tanh.

python examples/kernel_figures.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np

import actsmith as acts
from actsmith.nn.simulate import kernel_against_depth
from actsmith.report.kernel_figure import plot_kernels, plot_phases

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
print(plot_kernels(kernel_against_depth(), folder / "kernels.svg"))
diagram = acts.phase_diagram("tanh", np.linspace(0.5, 3, 61), np.linspace(0, 0.3, 41))
print(plot_phases(diagram, folder / "phases.svg"))
