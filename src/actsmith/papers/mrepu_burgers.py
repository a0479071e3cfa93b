"""`mrepu-burgers`: physics-informed networks of 7 hidden layers for Burgers' equation, and for a heat equation.

Adam, then L-BFGS. Learning rates are tuned by the loss at held-out collocation points; the exact solutions are seen by
the last table alone. A network of ReLUs has u_xx = 0 wherever that exists: its loss holds no viscosity and no
conduction at all.

Not known of the published runs beyond the 7 hidden layers: width, points, optimiser, rates, budgets and seeds. The
paper preset takes those of Raissi et al. (20 units, 10,000 points inside, 100 at the border) and a usual budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median

import numpy as np

from actsmith.experiments.duels import duel, together
from actsmith.experiments.experiment import Experiment
from actsmith.experiments.findings import Claim, Curves, Findings, Series, Table, Verdict, comparison, records
from actsmith.experiments.folder import RunFolder
from actsmith.experiments.loop import LBFGS_ITERATIONS, Recipe
from actsmith.experiments.pde import ERROR, TIMES, Pinn, PinnMlp
from actsmith.experiments.problem import Metric
from actsmith.experiments.reproduce import Preset, Reproduction
from actsmith.experiments.reproductions.mrepu import ACTIVATIONS, MREPU, PAPER, fails
from actsmith.formula.formula import Formula

__all__ = ["REPRODUCTION"]

DEPTH = 7
RATES = (2e-3, 6e-3, 2e-2)
STARTS = ("critical", "kaiming")
WIDE = 10.0
"""A loss so many times larger at held-out points than at those of training is worth a sentence."""
SMOOTH = ("gelu", "silu", "tanh", "mrepu_2", "mrepu_3")
"""Those of the paper's comparison that have a continuous first derivative and survive 7 layers in theory."""


def _experiment(formulas: tuple[Formula, ...], problem: Pinn, init: str, **changes: object) -> Experiment:
    plan = Experiment(
        name=f"{problem.equation}-{init}",
        problem=problem,
        model=PinnMlp(20, DEPTH, init),  # type: ignore[arg-type]
        activations=formulas,
        rates=RATES,
        recipe=Recipe(epochs=150, batch=500, weight_decay=0.0, lbfgs=15),
        tuning_seeds=(1000,),
        tuning_share=0.3,
    )
    return replace(plan, **changes)  # type: ignore[arg-type]


def _smoke(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    recipe = Recipe(epochs=3, batch=50, weight_decay=0.0, lbfgs=1)
    changes = {"recipe": recipe, "rates": (6e-3, 2e-2), "seeds": (0, 1), "model": PinnMlp(8, DEPTH)}
    return (_experiment(formulas, Pinn("burgers", 100, 10), "critical", **changes),)


def _small(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    conduction = Recipe(epochs=150, batch=300, weight_decay=0.0, lbfgs=10)
    return (
        *(_experiment(formulas, Pinn("burgers", 1000, 50), init) for init in STARTS),
        *(_experiment(formulas, Pinn("heat", 300, 30), init, recipe=conduction) for init in STARTS),
    )


def _paper(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    recipe = Recipe(epochs=10_000, batch=10_000, weight_decay=0.0, lbfgs=500)
    changes = {"recipe": recipe, "rates": (5e-4, 1e-3, 2e-3, 5e-3), "seeds": tuple(range(10))}
    equations = (Pinn("burgers", 10_000, 34), Pinn("heat", 10_000, 34))
    return tuple(_experiment(formulas, problem, init, **changes) for problem in equations for init in STARTS)


def read(folder: RunFolder, parts: tuple[Experiment, ...]) -> Findings:
    """A table of errors for each experiment, the error and the loss as they go, the claims."""
    tables = {part.name: _table(folder, part, ERROR) for part in parts}
    gaps = {part.name: _overfitting(folder, part) for part in parts}
    burgers = [table for name, table in tables.items() if name.startswith("burgers")]
    claims = [
        _ranking(burgers),
        *(_survives(list(tables.values()), p) for p in (2, 3)),
        _viscosity(folder, parts, tables),
    ]
    if len(tables) > 1:
        claims.append(_initialisation(tables))
    return Findings(
        summary=_summary(parts, tables, gaps),
        tables=tuple(tables.values()),
        curves=tuple(f for part in parts for f in (_over_time(folder, part), _losses(folder, part))),
        claims=tuple(claims),
        facts={
            "curvature": {part.name: _curvature(folder, part) for part in parts},
            "held-out over training loss": gaps,
        },
    )


def _table(folder: RunFolder, part: Experiment, metric: Metric) -> Table:
    assert isinstance(part.problem, Pinn)
    assert isinstance(part.model, PinnMlp)
    equation, net = part.problem.equation, part.model
    title = f"{equation}, {net.depth} hidden layers of {net.width}, {net.init} initialisation"
    note = (
        f"Relative L2 distance to the exact solution; u = 0 scores 1. {part.recipe.epochs} epochs of Adam over "
        f"{part.problem.interior} points, then {LBFGS_ITERATIONS * part.recipe.lbfgs} iterations of L-BFGS. Rates are "
        "tuned by the loss at held-out points, never by this error."
    )
    return comparison(folder, part.name, metric, reference=part.reference, rates=part.rates, title=title, note=note)


def _ranking(burgers: Sequence[Table]) -> Claim:
    """An outside summary's order, pair by pair."""
    duels = [duel(burgers, "gelu", m.name) for m in MREPU] + [duel(burgers, m.name, "relu") for m in MREPU]
    orders = "; ".join(f"{t.title}: {' > '.join(r.name for r in t.rows if r.mean is not None)}" for t in burgers)
    return Claim(
        "On Burgers' equation GELU is better than MRePU, and MRePU better than ReLU (an outside summary of an earlier "
        "version of the paper)",
        together(duels),
        f"{'; '.join(map(str, duels))} (Holm-corrected p < 0.05). By mean error, {orders}.",
    )


def _survives(tables: Sequence[Table], p: int) -> Claim:
    """RePU against MRePU of one power."""
    old = [t.title for t in tables if fails(t, f"repu_{p}")]
    new = [t.title for t in tables if fails(t, f"mrepu_{p}")]
    contest = duel(tables, f"mrepu_{p}", f"repu_{p}")
    verdict: Verdict = "not reproduced"
    if len(old) > len(new):
        verdict = "reproduced" if len(old) == len(tables) and not new else "partly reproduced"
    return Claim(
        f"At {DEPTH} hidden layers RePU with p = {p} cannot be trained, MRePU with p = {p} can",
        verdict,
        f"Diverged on a seed, or no better than u = 0: RePU in {len(old)} of {len(tables)} experiments, MRePU in "
        f"{len(new)}. {contest}.",
    )


def _viscosity(folder: RunFolder, parts: Sequence[Experiment], tables: Mapping[str, Table]) -> Claim:
    """ReLU's u_xx, and what it costs."""
    flat = all(c == 0 for part in parts for c in _curvature(folder, part)["relu"] if c is not None)
    duels = [duel(list(tables.values()), name, "relu") for name in SMOOTH]
    return Claim(
        "A second-order equation needs a differentiable activation: ReLU's second derivative is zero almost everywhere",
        together(duels) if flat else "not reproduced",
        f"u_xx of the trained ReLU networks is {'exactly' if flat else 'not'} zero at every held-out point"
        f"{': their loss holds no second-order term' if flat else ''}. {'; '.join(map(str, duels))}.",
    )


def _curvature(folder: RunFolder, part: Experiment) -> dict[str, list[float | None]]:
    """Activation -> root mean square of u_xx of each trained net."""
    found = records(folder, part.name)
    return {name: [v for r in trained for v in r["test"]["curvature"]] for name, trained in found.items()}


def _overfitting(folder: RunFolder, part: Experiment) -> dict[str, float | None]:
    """Activation -> median over the nets of the loss at held-out points over that at the training points."""
    found: dict[str, float | None] = {}
    for name, trained in records(folder, part.name).items():
        pairs = [(r["test"]["loss"][0], r["loss"][0][-1]) for r in trained]
        ratios = [held_out / seen for held_out, seen in pairs if held_out is not None and seen]
        found[name] = median(ratios) if ratios else None
    return found


def _initialisation(tables: Mapping[str, Table]) -> Claim:
    """Each activation from both starts, over the equations."""
    equations = dict.fromkeys(name.rsplit("-", 1)[0] for name in tables)
    names = [r.name for r in next(iter(tables.values())).rows]
    duels = {}
    for name in sorted(names):
        pairs = [
            replace(
                tables[f"{e}-critical"],
                rows=tuple(replace(tables[f"{e}-{start}"].row(name), name=start) for start in STARTS),
            )
            for e in equations
        ]
        duels[name] = duel(pairs, *STARTS)
    ours = [duels[m.name] for m in MREPU]
    listed = "; ".join(
        f"{name}: better in {d.wins}, worse in {d.losses}, open in {d.ties}" for name, d in duels.items()
    )
    return Claim(
        "MRePU trains better from its critical initialisation than from He's",
        together(ours),
        f"Critical against He's (kaiming), by experiment: {listed}.",
    )


def _over_time(folder: RunFolder, part: Experiment) -> Curves:
    """The error at each of `TIMES`."""
    tables = [_table(folder, part, Metric(f"relative_l2_at_{t:g}", "lower", log=True)) for t in TIMES]
    lines = []
    for formula in part.activations:
        rows = [t.row(formula.name) for t in tables]
        if any(r.mean is not None for r in rows):
            lines.append(
                Series(
                    formula.name, TIMES, tuple(r.mean for r in rows), tuple(r.low for r in rows),
                    tuple(r.high for r in rows),
                )
            )  # fmt: skip
    return Curves(
        f"{part.name}-time", f"{tables[0].title}: error at time t", {"": tuple(lines)}, "t", "relative L2 error",
        log_y=True,
    )  # fmt: skip


def _losses(folder: RunFolder, part: Experiment) -> Curves:
    """The training loss, geometric mean over the nets that did not diverge."""
    found = records(folder, part.name)
    lines = []
    for name, trained in found.items():
        kept = [r["loss"][0] for r in trained if not r["diverged"][0]]
        if kept:
            y = tuple(float(np.exp(fmean(np.log(max(v, 1e-30)) for v in step))) for step in zip(*kept, strict=True))
            lines.append(Series(name, tuple(float(i + 1) for i in range(len(y))), y))
    title = f"{_table(folder, part, ERROR).title}: training loss"
    return Curves(
        f"{part.name}-loss", title, {"": tuple(lines)}, "epochs of Adam, then steps of L-BFGS", "loss", log_y=True
    )


def _summary(
    parts: Sequence[Experiment], tables: Mapping[str, Table], gaps: Mapping[str, Mapping[str, float | None]]
) -> str:
    sentences = [f"{len(parts)} experiments of {len(parts[0].activations)} activations, {len(parts[0].seeds)} seeds."]
    for name, table in tables.items():
        order = " < ".join(f"{r.name} {r.mean:.2g}" for r in table.rows if r.mean is not None)
        sentences.append(f"{table.title}, relative L2 error: {order or 'none trained'}.")
        if failed := [r.name for r in table.rows if fails(table, r.name)]:
            sentences.append(f"Failed: {', '.join(failed)}.")
        if wide := [f"{n} {gap:.0f}" for n, gap in gaps[name].items() if gap is not None and gap > WIDE]:
            sentences.append(f"Held-out over training loss, which says that more points would help: {', '.join(wide)}.")
    return " ".join(sentences)


REPRODUCTION = Reproduction(
    name="mrepu-burgers",
    title="Physics-informed networks: Burgers' equation and a heat equation",
    source=PAPER,
    claims="MRePU, differentiable and trainable at depth, suits physics-informed networks, where RePU fails and ReLU "
    "has no second derivative",
    activations=ACTIVATIONS,
    presets={
        "smoke": Preset(_smoke, "seconds: Burgers' equation, enough to see that everything runs"),
        "small": Preset(_small, "about 11 minutes on one CPU thread"),
        "paper": Preset(
            _paper,
            "by estimate 9 days on one CPU thread: 10,000 points, 10,000 steps of Adam and 10,000 iterations of "
            "L-BFGS, 10 seeds; beyond the 7 hidden layers the published settings are not known to us, these are "
            "usual ones",
        ),
    },
    read=read,
)
