"""`mrepu-function`: regression of differentiable functions; errors of the value and of its first two derivatives.

Not known of the published runs: the functions, widths, depths, optimiser, rates and budgets. The paper preset is a
usual size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from actsmith.formula.formula import Formula
from actsmith.papers.claims import SPELLED, Question, judge
from actsmith.papers.experiment import Experiment, Results
from actsmith.papers.findings import Curves, Findings, Series
from actsmith.papers.mrepu import ACTIVATIONS, DECADES, DRAWN_BELOW, PAPER
from actsmith.papers.readers import against, best_counts, by_label, chosen, means, outcomes, table
from actsmith.papers.reproduce import Preset, Reproduction
from actsmith.tasks.functions import FIRST, SECOND, VALUE, FunctionConfig, Pictures
from actsmith.tasks.perceptron import Mlp
from actsmith.training.recipe import Recipe
from actsmith.trials.tables import Table

__all__ = ["REPRODUCTION"]

FUNCTIONS = {"sine": "sin(2*pi*x)", "runge": "1/(1 + 25*x**2)", "wave": "exp(x)*cos(4*x)"}
"""Name in files -> formula, on [-1, 1]: an entire function, one with poles at +-i/5, and a growing oscillation."""

METRICS = {"value": VALUE, "first derivative": FIRST, "second derivative": SECOND}
NOTES = {
    "value": "A score of 1 is that of a constant.",
    "first derivative": "A score of 1 is that of a constant. Rates are tuned for the value.",
    "second derivative": "A score of 1 is that of a straight line, hence of every piecewise linear network. Rates are "
    "tuned for the value.",
}
SAYS = "The paper itself has ReLU with the lower L2 loss and MRePU with the smoother derivatives."
QUESTIONS = (
    Question("ReLU learns the values of differentiable functions better than MRePU (p = 2), 6 layers", "relu",
             "mrepu_2", DECADES, "*-critical-6-value", "paper", "experiments on differentiable functions", SAYS,
             published=True, panel="mrepu"),
    *(
        Question(
            f"MRePU (p = {p}) learns the {quantity} better than {SPELLED[other]}, 6 layers", f"mrepu_{p}", other,
            DECADES, f"*-critical-6-{quantity.replace(' ', '-')}", "paper" if other == "relu" else "ours",
            "experiments on differentiable functions", SAYS if other == "relu" else "", published=other == "relu",
            panel="mrepu" if (other, p, quantity) == ("relu", 2, "first derivative") else "",
        )
        for quantity in ("first derivative", "second derivative") for p in (2, 3) for other in ("relu", "gelu")
    ),
    Question("MRePU (p = 2) learns the values better than GELU, 6 layers", "mrepu_2", "gelu", DECADES,
             "*-critical-6-value"),
)  # fmt: skip

RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
DRAWN = ("relu", "gelu", "tanh", "repu_2", "mrepu_2", "mrepu_3")
"""What the pictures show beside the user's own activations: all of them in one panel would hide each other."""
CUT = 2.0
"""Pictures leave out what is further from the exact line's middle than so many times its range."""


def _parts(
    formulas: tuple[Formula, ...],
    functions: Sequence[str],
    nets: Sequence[tuple[str, int]],
    *,
    width: int,
    epochs: int,
    rates: tuple[float, ...] = RATES,
    seeds: int = 5,
    size: int = 256,
) -> tuple[Experiment, ...]:
    """One experiment for each initialisation and depth, and each function."""
    return tuple(
        Experiment(
            name=f"{function}-{init}-{depth}",
            problem=FunctionConfig(FUNCTIONS[function], size=size),
            model=Mlp(width, depth, init),  # type: ignore[arg-type]
            activations=formulas,
            rates=rates,
            recipe=Recipe(epochs=epochs, batch=64, weight_decay=0.0, clip=1.0),
            seeds=tuple(range(seeds)),
            tuning_share=0.3,
            watch=Pictures(after=epochs),
            labels={"function": function, "init": init, "depth": depth},
        )
        for init, depth in nets
        for function in functions
    )


def _smoke(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    return _parts(formulas, ["sine"], [("critical", 2)], width=8, epochs=4, rates=(1e-2, 3e-2), seeds=2)


def _small(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    nets = [("critical", 2), ("critical", 6)]
    return _parts(formulas, list(FUNCTIONS), nets, width=32, epochs=200, seeds=20)


def _paper(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    nets = [(init, depth) for init in ("critical", "kaiming") for depth in (2, 4, 6, 8, 10, 12)]
    return _parts(formulas, list(FUNCTIONS), nets, width=64, epochs=5000, seeds=10, size=1024)


def read(folder: Results, parts: tuple[Experiment, ...]) -> Findings:
    """Tables of the deepest critical networks, errors against depth, pictures of one seed, the claims."""
    tables = [_table(folder, part, quantity) for part in parts for quantity in METRICS]
    depth = max(part.labels["depth"] for part in parts)
    deep = [part for part in parts if part.labels["init"] == "critical" and part.labels["depth"] == depth]
    shown = chosen(tables, init="critical", depth=depth)
    shown += [t for t in chosen(tables, depth=depth, quantity="value") if t not in shown]
    smallest = " ".join(
        f"Smallest mean error of the {quantity}, number of experiments: {best_counts(found)}."
        for quantity, found in by_label(tables, "quantity").items()
    )
    return Findings(
        summary=f"{len(parts)} experiments of {len(parts[0].activations)} activations, {len(parts[0].most)} seeds. "
        f"{smallest}",
        tables=tuple(shown),
        curves=(*(c for part in deep for c in _pictures(folder, part)), *_depths(chosen(tables, init="critical"))),
        claims=judge(QUESTIONS, tables, f"width {parts[0].model.width}, {parts[0].recipe.epochs} epochs"),  # type: ignore[attr-defined]
        facts=means(tables),
    )


def _table(folder: Results, part: Experiment, quantity: str) -> Table:
    labels = part.labels
    title = (
        f"{FUNCTIONS[labels['function']]}, {labels['depth']} hidden layers, {labels['init']} initialisation: error of "
        f"the {quantity}"
    )
    return table(
        folder, part, METRICS[quantity], title=title, note=NOTES[quantity],
        name=f"{part.name}-{quantity.replace(' ', '-')}", quantity=quantity,
    )  # fmt: skip


def _depths(tables: Sequence[Table]) -> list[Curves]:
    """One figure a quantity, one panel a function; gaps where a net diverged."""
    figures = []
    for quantity, found in by_label(tables, "quantity").items():
        panels = {
            FUNCTIONS[function]: against(group, "depth", below=DRAWN_BELOW, band=False)
            for function, group in by_label(found, "function").items()
            if len(group) > 1
        }
        title = f"Mean error of the {quantity} against depth, critical initialisation (up to 10)"
        name = f"depth-{quantity.replace(' ', '-')}"
        if panels:
            figures.append(Curves(name, title, panels, "hidden layers", "relative error", log_y=True))
    return figures


def _pictures(folder: Results, part: Experiment) -> list[Curves]:
    """The first seed's fit with its derivatives beside the exact ones; none where every net had diverged."""
    known = {f.name for f in ACTIVATIONS}
    drawn = {
        name: trained[0].details["watched"][-1]
        for name, trained in outcomes(folder, part.name).items()
        if trained[0].details["watched"] and (name in DRAWN or name not in known)
    }
    if not drawn:
        return []
    function, x = FUNCTIONS[part.labels["function"]], next(iter(drawn.values()))["x"]
    exact = Formula(function).jet(np.asarray(x), 2)
    panels = {}
    for line, (quantity, key) in zip(exact, zip(METRICS, ("value", "first", "second"), strict=True), strict=True):
        middle, reach = float(line.max() + line.min()) / 2, CUT * float(np.ptp(line))
        fits = [
            Series(name, tuple(x), tuple(v if v is not None and abs(v - middle) < reach else None for v in lines[key]))
            for name, lines in drawn.items()
        ]
        panels[quantity] = (Series("exact", tuple(x), tuple(line.tolist())), *fits)
    title = f"{function} and its derivatives, {part.labels['depth']} hidden layers, one seed"
    return [Curves(f"{part.name}-fit", title, panels, "x", "")]


REPRODUCTION = Reproduction(
    name="mrepu-function",
    title="Regression of differentiable functions: the value and its derivatives",
    source=PAPER,
    claims="MRePU keeps the differentiability of RePU, and approximates differentiable functions well at depth",
    activations=ACTIVATIONS,
    presets={
        "smoke": Preset(_smoke, "seconds: one function, enough to see that everything runs"),
        "small": Preset(_small, "about 8 minutes of one CPU thread, 20 seeds"),
        "paper": Preset(
            _paper,
            "an estimated 5 days on one CPU thread: three functions, depths 2 to 12, both initialisations, 10 seeds; "
            "the published functions, widths, depths, rates and budgets are not known to us, these are usual ones",
        ),
    },
    read=read,
    questions=QUESTIONS,
)
