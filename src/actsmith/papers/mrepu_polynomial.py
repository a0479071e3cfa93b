"""`mrepu-polynomial`: regression of polynomials by networks of growing depth, with and without critical initialisation.

Not known of the published runs: the polynomials' domains, widths, depths, optimiser, rates and budgets. The paper
preset is therefore what its text says (polynomials, networks deep enough for RePU to fail) at a usual size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scipy.stats import binomtest

from actsmith.formula.formula import Formula
from actsmith.papers.claims import SPELLED, Question, judge
from actsmith.papers.experiment import Experiment, Results
from actsmith.papers.findings import Curves, Findings
from actsmith.papers.mrepu import ACTIVATIONS, DECADES, DRAWN_BELOW, MREPUS, PAPER, USELESS
from actsmith.papers.readers import against, best_counts, by_label, chosen, means, table
from actsmith.papers.reproduce import Preset, Reproduction
from actsmith.tasks.functions import OUTSIDE, VALUE, Polynomial, PolynomialConfig, random_polynomial
from actsmith.tasks.perceptron import Mlp
from actsmith.training.recipe import Recipe
from actsmith.trials.tables import Table

__all__ = ["REPRODUCTION"]

SQUARE = Polynomial("x^2", ((2,),), (1.0,))
CUBE = Polynomial("x^3", ((3,),), (1.0,))
PRODUCT = Polynomial("xy", ((1, 1),), (1.0,))
TRIPLE = Polynomial("xyz", ((1, 1, 1),), (1.0,))
RANDOM = tuple(
    random_polynomial(f"random {n} of {variables} variables", variables=variables, degree=degree, seed=n)
    for n, (variables, degree) in enumerate(
        [(2, 4), (3, 4), (1, 6), (2, 3), (3, 3), (2, 5), (4, 3), (1, 4), (3, 2), (2, 6)]
    )
)
TARGETS = (SQUARE, CUBE, PRODUCT, TRIPLE, *RANDOM)
"""The polynomials of one term that have names, and ten of all terms."""
FILES = {"x^2": "square", "x^3": "cube", "xy": "product", "xyz": "triple"} | {
    p.name: f"random-{n}" for n, p in enumerate(RANDOM)
}
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
DEPTH, DEEP = 6, 12

QUESTIONS = (
    *(
        Question(
            f"MRePU (p = {p}) learns polynomials better than {SPELLED[other]}: {len(TARGETS)} of them, {DEPTH} layers",
            f"mrepu_{p}", other, DECADES, f"*-critical-{DEPTH}", "paper", "experiments on polynomials", published=True,
            panel="mrepu" if p == 1 else "",
        )
        for p in (1, 2, 3) for other in ("relu", "gelu")
    ),
    *(
        Question(
            f"MRePU (p = 1) learns xyz better than {SPELLED[other]} at {depth} layers", "mrepu_1", other, DECADES,
            f"triple-critical-{depth}", "paper", "experiments on polynomials", published=True,
        )
        for depth in (2, DEPTH, DEEP) for other in ("relu", "gelu")
    ),
    *(
        Question(
            f"At {DEEP} layers RePU (p = {p}) cannot be trained and MRePU (p = {p}) can, {words}", f"mrepu_{p}",
            f"repu_{p}", DECADES, f"triple-{init}-{DEEP}", "paper", "its title", published=True,
            useless=USELESS, panel="mrepu" if (p, init) == (2, "critical") else "",
        )
        for p in (2, 3) for init, words in (("critical", "critical start"), ("kaiming", "He's start"))
    ),
    *(
        Question(
            f"MRePU (p = {p}) extrapolates xyz better than GELU, {DEEP} layers", f"mrepu_{p}", "gelu", DECADES,
            f"triple-critical-{DEEP}-outside", "paper", "experiments on polynomials", published=True,
        )
        for p in (1, 2)
    ),
)  # fmt: skip


def _parts(
    formulas: tuple[Formula, ...],
    critical: Mapping[Polynomial, Sequence[int]],
    kaiming: Mapping[Polynomial, Sequence[int]],
    *,
    width: int,
    epochs: int,
    rates: tuple[float, ...] = RATES,
    seeds: int = 5,
    size: int = 1024,
) -> tuple[Experiment, ...]:
    """One experiment for each polynomial and depth, under either initialisation."""
    recipe = Recipe(epochs=epochs, batch=128, weight_decay=0.0, clip=1.0)
    return tuple(
        Experiment(
            name=f"{FILES[target.name]}-{init}-{depth}",
            problem=PolynomialConfig(target, size=size),
            model=Mlp(width, depth, init),  # type: ignore[arg-type]
            activations=formulas,
            rates=rates,
            recipe=recipe,
            seeds=tuple(range(seeds)),
            tuning_share=0.3,
            labels={"target": target.name, "init": init, "depth": depth},
        )
        for init, grid in (("critical", critical), ("kaiming", kaiming))
        for target, depths in grid.items()
        for depth in depths
    )


def _smoke(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    return _parts(
        formulas, {SQUARE: (2,)}, {SQUARE: (2,)}, width=8, epochs=3, rates=(1e-2, 3e-2), seeds=2, size=256
    )  # fmt: skip


def _small(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    critical = dict.fromkeys(TARGETS, (DEPTH,)) | {TRIPLE: (2, DEPTH, DEEP)}
    return _parts(formulas, critical, {TRIPLE: (DEEP,)}, width=32, epochs=56, seeds=30)


def _paper(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    grid = dict.fromkeys(TARGETS, (2, 4, 6, 8, 10, 12))
    return _parts(formulas, grid, grid, width=64, epochs=1000, seeds=10, size=4096)


def read(folder: Results, parts: tuple[Experiment, ...]) -> Findings:
    """Tables of every experiment inside the domain and of the deepest outside, errors against depth, the claims."""
    inside = [_table(folder, part, "inside") for part in parts]
    outside = [_table(folder, part, "outside") for part in parts]
    deepest = max(part.labels["depth"] for part in parts)
    tables = (*inside, *chosen(outside, depth=deepest, init="critical"))
    wins = {f"{a} over {b}": _wins(inside, a, b) for a in MREPUS for b in ("relu", "gelu")}
    return Findings(
        summary=(
            f"{len(parts)} experiments of {len(parts[0].activations)} activations. Number of experiments in which an "
            f"activation has the smallest mean error inside the domain: {best_counts(inside)}. Polynomials on which "
            f"its mean error is the lower one, with {DEPTH} layers: "
            + "; ".join(f"{pair} {won} of {of} (p {p:.2g})" for pair, (won, of, p) in wins.items() if of)
            + "."
        ),
        tables=tables,
        curves=tuple(_curves([*inside, *outside])),
        claims=judge(QUESTIONS, tables, f"width {parts[0].model.width}, {parts[0].recipe.epochs} epochs"),  # type: ignore[attr-defined]
        facts={"outside": means(outside), "sign tests": {pair: list(found) for pair, found in wins.items()}},
    )  # fmt: skip


def _wins(tables: Sequence[Table], first: str, second: str) -> tuple[int, int, float]:
    """On how many targets the first has the lower mean error, of how many, and p of the sign test."""
    rows = [(t.row(first).mean, t.row(second).mean) for t in chosen(tables, depth=DEPTH, init="critical")]
    won = sum(a is not None and (b is None or a < b) for a, b in rows)
    return won, len(rows), float(binomtest(won, len(rows)).pvalue) if rows else 1.0


def _table(folder: Results, part: Experiment, points: str) -> Table:
    labels, note = part.labels, "A score of 1 is that of a constant."
    title = f"{labels['target']}, {labels['depth']} hidden layers, {labels['init']} initialisation: {points} the domain"
    if points == "inside":
        return table(folder, part, VALUE, title=title, note=note, points=points)
    note += (
        " In the shell between the cube and the cube stretched by half; nothing was tuned for it. A net counts as "
        "diverged where its error overflowed there."
    )
    return table(folder, part, OUTSIDE, title=title, note=note, name=f"{part.name}-outside", points=points)


def _curves(tables: Sequence[Table]) -> list[Curves]:
    """Error against depth, a panel for each polynomial that was met at several depths; gaps where it diverged."""
    figures = []
    for init, alike in by_label(tables, "init").items():
        for points, found in by_label(alike, "points").items():
            panels = {
                target: against(group, "depth", below=DRAWN_BELOW, band=False)
                for target, group in by_label(found, "target").items()
                if len(group) > 1
            }
            title = f"Mean error {points} the domain against depth, {init} initialisation (up to 10)"
            name = f"depth-{points}-{init}"
            if panels:
                figures.append(Curves(name, title, panels, "hidden layers", "relative error", log_y=True))
    return figures


REPRODUCTION = Reproduction(
    name="mrepu-polynomial",
    title="Regression of polynomials by RePU, MRePU and the usual activations",
    source=PAPER,
    claims="RePU networks fail with depth whatever the initialisation; MRePU trains, and approximates polynomials well",
    activations=ACTIVATIONS,
    presets={
        "smoke": Preset(_smoke, "seconds: two networks of two layers, enough to see that everything runs"),
        "small": Preset(_small, "about 15 minutes of one CPU thread, 30 seeds"),
        "paper": Preset(
            _paper,
            "an estimated 12 days on one CPU thread: 14 polynomials, depths 2 to 12, both initialisations, 10 seeds; "
            "the published widths, depths, rates and budgets are not known to us, these are usual ones",
        ),
    },
    read=read,
    questions=QUESTIONS,
)
