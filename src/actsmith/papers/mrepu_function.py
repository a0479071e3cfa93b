"""`mrepu-function`: regression of differentiable functions; errors of the value and of its first two derivatives.

Not known of the published runs: the functions, widths, depths, optimiser, rates and budgets. The paper preset is a
usual size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from actsmith.experiments.duels import duel, together
from actsmith.experiments.experiment import Experiment
from actsmith.experiments.findings import Claim, Curves, Findings, Series, Table, comparison, records
from actsmith.experiments.folder import RunFolder
from actsmith.experiments.functions import FIRST, SECOND, VALUE, FunctionConfig, Pictures
from actsmith.experiments.loop import Recipe
from actsmith.experiments.models import Mlp
from actsmith.experiments.problem import Metric
from actsmith.experiments.reproduce import Preset, Reproduction
from actsmith.experiments.reproductions.mrepu import ACTIVATIONS, MREPU, PAPER, error_lines
from actsmith.formula.formula import Formula

__all__ = ["REPRODUCTION"]

FUNCTIONS = {"sine": "sin(2*pi*x)", "runge": "1/(1 + 25*x**2)", "wave": "exp(x)*cos(4*x)"}
"""Name in files -> formula, on [-1, 1]: an entire function, one with poles at +-i/5, and a growing oscillation."""

METRICS = {"value": VALUE, "first derivative": FIRST, "second derivative": SECOND}
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
            recipe=Recipe(epochs=epochs, batch=64, weight_decay=0.0),
            seeds=tuple(range(seeds)),
            tuning_share=0.3,
            watch=Pictures(after=epochs),
        )
        for init, depth in nets
        for function in functions
    )


def _smoke(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    return _parts(formulas, ["sine"], [("critical", 2)], width=8, epochs=4, rates=(1e-2, 3e-2), seeds=2)


def _small(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    nets = [("critical", 2), ("critical", 6), ("kaiming", 6)]
    return _parts(formulas, list(FUNCTIONS), nets, width=32, epochs=200)


def _paper(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    nets = [(init, depth) for init in ("critical", "kaiming") for depth in (2, 4, 6, 8, 10, 12)]
    return _parts(formulas, list(FUNCTIONS), nets, width=64, epochs=5000, seeds=10, size=1024)


def read(folder: RunFolder, parts: tuple[Experiment, ...]) -> Findings:
    """Tables of the deepest critical networks, errors against depth, pictures of one seed, the claims."""
    tables = {m: {p.name: _table(folder, p, m) for p in parts} for m in METRICS}
    critical = [p for p in parts if _net(p).init == "critical"]
    deepest = max(_net(p).depth for p in critical)
    deep = [p for p in critical if _net(p).depth == deepest]
    others = [p for p in parts if _net(p).init != "critical" and _net(p).depth == deepest]
    better = [
        _better([tables[quantity][p.name] for p in critical], quantity, other)
        for quantity in METRICS for other in ("relu", "gelu")
    ]  # fmt: skip
    shown = [tables[m][p.name] for p in deep for m in METRICS] + [tables["value"][p.name] for p in others]
    pictures = [c for c in (_picture(folder, p) for p in deep) if c is not None]
    return Findings(
        summary=_summary(parts, tables),
        tables=tuple(shown),
        curves=(*pictures, *_depths(critical, tables)),
        claims=(_smooth(tables, critical), *better),
        facts={
            quantity: {name: {r.name: [r.mean, r.low, r.high] for r in t.rows} for name, t in found.items()}
            for quantity, found in tables.items()
        },
    )


def _net(part: Experiment) -> Mlp:
    assert isinstance(part.model, Mlp)
    return part.model


def _function(part: Experiment) -> str:
    assert isinstance(part.problem, FunctionConfig)
    return part.problem.function


def _table(folder: RunFolder, part: Experiment, quantity: str) -> Table:
    net, metric = _net(part), METRICS[quantity]
    notes: dict[Metric, str] = {
        VALUE: "A score of 1 is that of a constant.",
        FIRST: "A score of 1 is that of a constant. Rates are tuned for the value.",
        SECOND: "A score of 1 is that of a straight line, hence of every piecewise linear network. Rates are tuned for "
        "the value.",
    }
    title = f"{_function(part)}, {net.depth} hidden layers, {net.init} initialisation: error of the {quantity}"
    found = comparison(
        folder, part.name, metric, reference=part.reference, rates=part.rates, title=title, note=notes[metric]
    )
    return replace(found, name=f"{part.name}-{quantity.replace(' ', '-')}")


def _smooth(tables: Mapping[str, Mapping[str, Table]], critical: Sequence[Experiment]) -> Claim:
    """Every once differentiable activation against ReLU, in the second derivative."""
    names = [f.name for f in critical[0].activations if f.smoothness is None or f.smoothness >= 1]
    second = [tables["second derivative"][p.name] for p in critical]
    duels = [duel(second, name, "relu") for name in names]
    return Claim(
        "Differentiable activations approximate derivatives that ReLU cannot (here the second)",
        together(duels),
        "; ".join(map(str, duels)) + ".",
    )


def _better(tables: Sequence[Table], quantity: str, other: str) -> Claim:
    """All three MRePU against one other."""
    duels = [duel(tables, f.name, other) for f in MREPU]
    return Claim(
        f"MRePU approximates the {quantity} of differentiable functions better than {other}",
        together(duels),
        "; ".join(map(str, duels)) + " (critical initialisation; Holm-corrected p < 0.05).",
    )


def _summary(parts: Sequence[Experiment], tables: Mapping[str, Mapping[str, Table]]) -> str:
    sentences = [f"{len(parts)} experiments of {len(parts[0].activations)} activations, {len(parts[0].seeds)} seeds."]
    for quantity, found in tables.items():
        first = [t.rows[0].name for t in found.values() if t.rows[0].mean is not None]
        counts = sorted({n: first.count(n) for n in first}.items(), key=lambda item: (-item[1], item[0]))
        listed = ", ".join(f"{name} {count}" for name, count in counts)
        sentences.append(f"Smallest mean error of the {quantity}, number of experiments: {listed}.")
    return " ".join(sentences)


def _depths(critical: Sequence[Experiment], tables: Mapping[str, Mapping[str, Table]]) -> list[Curves]:
    """One figure a quantity, one panel a function; gaps where a net diverged."""
    depths = sorted({_net(p).depth for p in critical})
    figures = []
    for quantity, found in tables.items() if len(depths) > 1 else ():
        panels = {}
        for function in dict.fromkeys(_function(p) for p in critical):
            group = [p for p in critical if _function(p) == function]
            panels[function] = error_lines([(float(_net(p).depth), found[p.name]) for p in group])
        title = f"Mean error of the {quantity} against depth, critical initialisation (up to 10)"
        name = f"depth-{quantity.replace(' ', '-')}"
        figures.append(Curves(name, title, panels, "hidden layers", "relative error", log_y=True))
    return figures


def _picture(folder: RunFolder, part: Experiment) -> Curves | None:
    """The first seed's fit with its derivatives beside the exact ones; None where every net had diverged."""
    known = {f.name for f in ACTIVATIONS}
    drawn = {
        name: found[0]["watched"][-1]
        for name, found in records(folder, part.name).items()
        if found[0]["watched"] and (name in DRAWN or name not in known)
    }
    if not drawn:
        return None
    x = next(iter(drawn.values()))["x"]
    exact = Formula(_function(part)).jet(np.asarray(x), 2)
    panels = {}
    for line, (quantity, key) in zip(exact, zip(METRICS, ("value", "first", "second"), strict=True), strict=True):
        middle, reach = float(line.max() + line.min()) / 2, CUT * float(np.ptp(line))
        fits = [
            Series(name, tuple(x), tuple(v if v is not None and abs(v - middle) < reach else None for v in lines[key]))
            for name, lines in drawn.items()
        ]
        panels[quantity] = (Series("exact", tuple(x), tuple(line.tolist())), *fits)
    title = f"{_function(part)} and its derivatives, {_net(part).depth} hidden layers, one seed"
    return Curves(f"{part.name}-fit", title, panels, "x", "")


REPRODUCTION = Reproduction(
    name="mrepu-function",
    title="Regression of differentiable functions: the value and its derivatives",
    source=PAPER,
    claims="MRePU keeps the differentiability of RePU, and approximates differentiable functions well at depth",
    activations=ACTIVATIONS,
    presets={
        "smoke": Preset(_smoke, "seconds: one function, enough to see that everything runs"),
        "small": Preset(_small, "5 minutes of one CPU thread"),
        "paper": Preset(
            _paper,
            "an estimated 5 days on one CPU thread: three functions, depths 2 to 12, both initialisations, 10 seeds; "
            "the published functions, widths, depths, rates and budgets are not known to us, these are usual ones",
        ),
    },
    read=read,
)
