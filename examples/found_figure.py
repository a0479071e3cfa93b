"""A result in one picture: a found activation beside known ones, and how much better each of them is.

    actsmith compare cifar10/vit@loss FOUND gelu relu silu ... --out runs/c
    python examples/found_figure.py runs/c docs/found.svg

The first row of the comparison is the formula; every other row is a known activation. Nothing is computed here but the
shapes: the differences and their intervals are those of comparison.json.
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import actsmith as acts

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8c8c8c"
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "path",
         "svg.hashsalt": "actsmith"}  # fmt: skip
SHOWN = {"gelu": "--", "relu_squared": ":"}


def main(folder: str, file: str) -> None:
    """Draw the comparison in `folder` into `file`."""
    table = json.loads((Path(folder) / "comparison.json").read_text())["table"]
    found, rows = table["reference"], [r for r in table["rows"] if r["difference"] is not None]
    rows.sort(key=lambda r: r["difference"])
    x = np.linspace(-3, 3, 601)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 2.8), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
        left.plot(x, acts.resolve(found)(x), color=ORANGE, linewidth=2.2, label="found by a search")
        for name, style in SHOWN.items():
            left.plot(x, acts.get_activation(name)(x), color=BLUE, linestyle=style, label=name.replace("_", " "))
        left.set(xlabel="pre-activation x", ylabel="f(x)", xlim=(-3, 3), ylim=(-0.5, 3.5))
        left.legend(frameon=False)
        for place, row in enumerate(rows):
            ends = [row["difference_low"], row["difference_high"]]
            right.plot(ends, [place, place], color=BLUE, linewidth=2)
            right.plot([row["difference"]], [place], "o", color=BLUE)
        right.axvline(0, color=ORANGE, linewidth=1.5)
        right.set_yticks(range(len(rows)), [r["name"].replace("_", " ") for r in rows])
        right.set(xlabel=f"test loss above that of the found one, {len(rows[0]['values'])} paired seeds, 95 %")
        right.set_ylim(-0.6, len(rows) - 0.4)
        right.grid(axis="x", color="#e6e6e6")
        figure.suptitle("A vision transformer on CIFAR-10: what 55 minutes of search found", fontweight="bold")
        figure.savefig(file, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
