"""`mrepu-burgers`: physics-informed networks of 7 hidden layers for Burgers' equation, and for a heat equation.

Adam with clipped gradients on points that are drawn anew for every step, so that no net learns some by heart; the paper
preset takes fixed ones, and L-BFGS after Adam. Learning rates are tuned by the loss at held-out collocation points; the
exact solutions are seen by the last table alone. A network of ReLUs has u_xx = 0 wherever that exists: its loss holds
no viscosity and no conduction at all.

Not known of the published runs beyond the 7 hidden layers: width, points, optimiser, rates, budgets and seeds. The
paper preset takes those of Raissi et al. (20 units, 10,000 points inside, 100 at the border) and a usual budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from actsmith.formula.formula import Formula
from actsmith.papers.claims import Question, judge
from actsmith.papers.experiment import Experiment, Results
from actsmith.papers.findings import Curves, Findings
from actsmith.papers.mrepu import ACTIVATIONS, DECADES, PAPER
from actsmith.papers.readers import against, budget_of, losses, order_of, outcomes, table
from actsmith.papers.reproduce import Preset, Reproduction
from actsmith.tasks.pde import ERROR, TIMES, Pinn
from actsmith.tasks.perceptron import Mlp
from actsmith.training.fit import LBFGS_ITERATIONS
from actsmith.training.problem import Metric
from actsmith.training.recipe import Recipe
from actsmith.trials.tables import Table

__all__ = ["REPRODUCTION"]

DEPTH = 7
RATES = (2e-3, 6e-3, 2e-2)
STARTS = ("critical", "kaiming")
WIDE = 10.0
"""A loss so many times larger at held-out points than at those of training is worth a sentence."""
USELESS = 0.9
"""A relative error above this is hardly better than that of u = 0: such a net has failed."""

QUESTIONS = (
    *(
        Question(f"On Burgers' equation {statement}", first, second, DECADES, "burgers-critical", "paper",
                 "experiments on PINNs", "The paper's order is GELU, MRePU, ReLU.", published=True, useless=USELESS,
                 panel="mrepu" if second == "relu" else "")
        for statement, first, second in (
            ("GELU is better than MRePU (p = 2)", "gelu", "mrepu_2"),
            ("MRePU (p = 2) is better than ReLU", "mrepu_2", "relu"),
        )
    ),
    *(
        Question(f"At {DEPTH} layers RePU (p = {p}) cannot be trained and MRePU (p = {p}) can: {equation}",
                 f"mrepu_{p}", f"repu_{p}", DECADES, f"{equation}-critical", "paper", "its title",
                 published=True, useless=USELESS)
        for p in (2, 3) for equation in ("burgers", "heat")
    ),
    Question("On the heat equation MRePU (p = 2) is better than ReLU, whose second derivative is zero", "mrepu_2",
             "relu", DECADES, "heat-critical", "paper", "experiments on PINNs", useless=USELESS),
    *(
        Question(f"On {equation} tanh is better than MRePU (p = 2)", "tanh", "mrepu_2", DECADES, f"{equation}-critical",
                 useless=USELESS)
        for equation in ("burgers", "heat")
    ),
)  # fmt: skip


def _experiment(formulas: tuple[Formula, ...], problem: Pinn, init: str, **changes: object) -> Experiment:
    plan = Experiment(
        name=f"{problem.equation}-{init}",
        problem=problem,
        model=Mlp(20, DEPTH, init),  # type: ignore[arg-type]
        activations=formulas,
        rates=RATES,
        recipe=Recipe(epochs=1200, batch=500, weight_decay=0.0, clip=1.0),
        tuning_seeds=(1000,),
        tuning_share=0.3,
        labels={"equation": problem.equation, "init": init},
    )
    return replace(plan, **changes)  # type: ignore[arg-type]


def _smoke(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    recipe = Recipe(epochs=3, batch=50, weight_decay=0.0, lbfgs=1)
    changes = {"recipe": recipe, "rates": (6e-3, 2e-2), "seeds": (0, 1), "model": Mlp(8, DEPTH)}
    return (_experiment(formulas, Pinn("burgers", 100, 10), "critical", **changes),)


def _small(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    equations = (Pinn("burgers", 1000, 50, fresh=True), Pinn("heat", 1000, 50, fresh=True))
    return tuple(_experiment(formulas, problem, "critical", seeds=tuple(range(12))) for problem in equations)


def _paper(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    recipe = Recipe(epochs=10_000, batch=10_000, weight_decay=0.0, clip=1.0, lbfgs=500)
    changes = {"recipe": recipe, "rates": (5e-4, 1e-3, 2e-3, 5e-3), "seeds": tuple(range(10))}
    equations = (Pinn("burgers", 10_000, 34), Pinn("heat", 10_000, 34))
    return tuple(_experiment(formulas, problem, init, **changes) for problem in equations for init in STARTS)


def read(folder: Results, parts: tuple[Experiment, ...]) -> Findings:
    """A table of errors for each experiment, the error and the loss as they go, the claims."""
    tables = [_table(folder, part, ERROR) for part in parts]
    gaps = {part.name: _overfitting(folder, part) for part in parts}
    curved = {part.name: _curvature(folder, part) for part in parts}
    return Findings(
        summary=_summary(tables, gaps),
        tables=tuple(tables),
        curves=tuple(
            figure for part, t in zip(parts, tables, strict=True)
            for figure in (
                _over_time(folder, part, t.title),
                losses(folder, part.name, t.title, "epochs of Adam, then steps of L-BFGS", log=True),
            )
        ),
        claims=judge(QUESTIONS, tables, "; ".join(map(budget_of, parts))),
        facts={"curvature": curved, "held-out over training loss": gaps},
    )  # fmt: skip


def _table(folder: Results, part: Experiment, metric: Metric) -> Table:
    assert isinstance(part.problem, Pinn)
    assert isinstance(part.model, Mlp)
    equation, net = part.problem.equation, part.model
    title = f"{equation}, {net.depth} hidden layers of {net.width}, {net.init} initialisation"
    points = f"{part.problem.interior} points" + ", new ones every step" * part.problem.fresh
    refined = f", then {LBFGS_ITERATIONS * part.recipe.lbfgs} iterations of L-BFGS" * (part.recipe.lbfgs > 0)
    note = (
        f"Relative L2 distance to the exact solution; u = 0 scores 1. {part.recipe.epochs} epochs of Adam over "
        f"{points}{refined}. Rates are tuned by the loss at held-out points, never by this error."
    )
    return table(folder, part, metric, title=title, note=note)


def _curvature(folder: Results, part: Experiment) -> dict[str, list[float | None]]:
    """Activation -> root mean square of u_xx of each trained net."""
    found = outcomes(folder, part.name)
    return {name: [(o.test or {}).get("curvature") for o in trained] for name, trained in found.items()}


def _overfitting(folder: Results, part: Experiment) -> dict[str, float | None]:
    """Activation -> median over the nets of the loss at held-out points over that at the training points."""
    found: dict[str, float | None] = {}
    for name, trained in outcomes(folder, part.name).items():
        pairs = [((o.test or {}).get("loss"), o.details["loss"][-1]) for o in trained]
        ratios = [held_out / seen for held_out, seen in pairs if held_out is not None and seen]
        found[name] = median(ratios) if ratios else None
    return found


def _over_time(folder: Results, part: Experiment, title: str) -> Curves:
    """The error at each of `TIMES`."""
    tables = [
        replace(_table(folder, part, Metric(f"relative_l2_at_{t:g}", "lower", log=True)), labels={"t": t})
        for t in TIMES
    ]  # fmt: skip
    lines = tuple(line for line in against(tables, "t") if any(v is not None for v in line.y))
    return Curves(f"{part.name}-time", f"{title}: error at time t", {"": lines}, "t", "relative L2 error", log_y=True)


def _summary(tables: Sequence[Table], gaps: Mapping[str, Mapping[str, float | None]]) -> str:
    sentences = []
    for found in tables:
        sentences.append(f"Relative L2 error, {order_of(found, digits=2)}")
        if wide := [f"{n} {gap:.0f}" for n, gap in gaps[found.name].items() if gap is not None and gap > WIDE]:
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
        "small": Preset(_small, "about 20 minutes of CPU time on one thread, 12 seeds"),
        "paper": Preset(
            _paper,
            "by estimate 9 days on one CPU thread: 10,000 points, 10,000 steps of Adam and 10,000 iterations of "
            "L-BFGS, 10 seeds; beyond the 7 hidden layers the published settings are not known to us, these are "
            "usual ones",
        ),
    },
    read=read,
    questions=QUESTIONS,
)
