"""`mrepu-polynomial`: regression of polynomials by networks of growing depth, with and without critical initialisation.

Not known of the published runs: the polynomials' domains, widths, depths, optimiser, rates and budgets. The paper
preset is therefore what its text says (polynomials, networks deep enough for RePU to fail) at a usual size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actsmith.formula.formula import Formula
from actsmith.papers.claims import Better, claims_of, shown, versus
from actsmith.papers.experiment import Experiment, Results
from actsmith.papers.findings import Claim, Curves, Findings
from actsmith.papers.mrepu import ACTIVATIONS, DRAWN_BELOW, MREPUS, PAPER, REPU, USELESS
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
RANDOM_2 = random_polynomial("random of 2 variables", variables=2, degree=4, seed=0)
RANDOM_3 = random_polynomial("random of 3 variables", variables=3, degree=4, seed=1)
FILES = {
    "x^2": "square", "x^3": "cube", "xy": "product", "xyz": "triple", RANDOM_2.name: "random-2",
    RANDOM_3.name: "random-3",
}  # fmt: skip

REPUS = tuple(f.name for f in REPU)
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)

CLAIMS = tuple(
    Better(
        f"MRePU approximates polynomials better than {other}, {where} (critical initialisation)",
        versus(MREPUS, other), where={"init": "critical", "points": points},
    )
    for other, where, points in (
        ("relu", "inside the training domain", "inside"),
        ("gelu", "inside the training domain", "inside"),
        ("gelu", "outside it", "outside"),
    )
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
    recipe = Recipe(epochs=epochs, batch=128, weight_decay=0.0)
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
    deep = (2, 6, 12)
    critical = {SQUARE: (2, 12), CUBE: deep, PRODUCT: (2, 12), TRIPLE: deep, RANDOM_2: deep, RANDOM_3: (6,)}
    return _parts(formulas, critical, {CUBE: deep, RANDOM_2: deep}, width=32, epochs=56)


def _paper(formulas: tuple[Formula, ...]) -> tuple[Experiment, ...]:
    grid = dict.fromkeys((SQUARE, CUBE, PRODUCT, TRIPLE, RANDOM_2, RANDOM_3), (2, 4, 6, 8, 10, 12))
    return _parts(formulas, grid, grid, width=64, epochs=1000, seeds=10, size=4096)


def read(folder: Results, parts: tuple[Experiment, ...]) -> Findings:
    """Tables of every experiment inside the domain and of the deepest outside, errors against depth, the claims."""
    inside = [_table(folder, part, "inside") for part in parts]
    outside = [_table(folder, part, "outside") for part in parts]
    deepest = max(part.labels["depth"] for part in parts)
    return Findings(
        summary=(
            f"{len(parts)} experiments of {len(parts[0].activations)} activations and {len(parts[0].seeds)} seeds "
            "each. Number of experiments in which an activation has the smallest mean error inside the domain: "
            f"{best_counts(inside)}."
        ),
        tables=(*inside, *chosen(outside, depth=deepest, init="critical")),
        curves=tuple(_curves([*inside, *outside])),
        claims=(*_deep(chosen(inside, depth=deepest), deepest), *claims_of(CLAIMS, [*inside, *outside])),
        facts={"inside": means(inside), "outside": means(outside)},
    )


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


def _failed(tables: Sequence[Table], names: Sequence[str]) -> dict[str, list[bool]]:
    """Activation -> whether each of its nets diverged, or ended with an error above `USELESS`."""
    return {name: [v is None or v > USELESS for t in tables for v in t.row(name).values] for name in names}


def _deep(tables: Sequence[Table], depth: int) -> tuple[Claim, Claim]:
    """Of the deep nets under either initialisation."""
    repu, mrepu = _failed(tables, REPUS), _failed(tables, MREPUS)
    what = f"Nets of that depth that diverged or ended with an error above {USELESS:g}: "
    by_init = "; with ".join(
        f"{init}'s start {_counted(_failed(group, MREPUS))}" for init, group in by_label(tables, "init").items()
    )
    return (
        Claim(
            f"Deep RePU networks cannot be trained, however they are initialised ({depth} hidden layers).",
            shown(failed for nets in repu.values() for failed in nets),
            f"{what}{_counted(repu)}; {_counted(_failed(tables, ['relu']))}.",
        ),
        Claim(
            f"MRePU networks train at a depth of {depth} hidden layers.",
            shown(not failed for nets in mrepu.values() for failed in nets),
            f"{what}with {by_init}.",
        ),
    )


def _counted(failed: Mapping[str, Sequence[bool]]) -> str:
    return ", ".join(f"{name} {sum(nets)} of {len(nets)}" for name, nets in failed.items())


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
        "small": Preset(_small, "8 minutes of one CPU thread"),
        "paper": Preset(
            _paper,
            "an estimated 5 days on one CPU thread: six polynomials, depths 2 to 12, both initialisations, 10 seeds; "
            "the published widths, depths, rates and budgets are not known to us, these are usual ones",
        ),
    },
    read=read,
)
