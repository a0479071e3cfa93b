"""`mrepu-polynomial`: regression of polynomials by networks of growing depth, with and without critical initialisation.

Not known of the published runs: the polynomials' domains, widths, depths, optimiser, rates and budgets. The paper
preset is therefore what its text says (polynomials, networks deep enough for RePU to fail) at a usual size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from actsmith.experiments.duels import duel, together
from actsmith.experiments.experiment import Experiment
from actsmith.experiments.findings import Claim, Curves, Findings, Series, Table, Verdict, comparison
from actsmith.experiments.folder import RunFolder
from actsmith.experiments.functions import OUTSIDE, VALUE, Polynomial, PolynomialConfig, random_polynomial
from actsmith.experiments.loop import Recipe
from actsmith.experiments.models import Mlp
from actsmith.experiments.reproduce import Preset, Reproduction
from actsmith.experiments.reproductions.mrepu import ACTIVATIONS, MREPU, PAPER, REPU, USELESS, error_lines, failed
from actsmith.formula.formula import Formula

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

RELU = ACTIVATIONS[0]
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


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


def read(folder: RunFolder, parts: tuple[Experiment, ...]) -> Findings:
    """Tables of every experiment inside the domain and of the deepest outside, errors against depth, the claims."""
    inside = {part.name: _table(folder, part, outside=False) for part in parts}
    outside = {part.name: _table(folder, part, outside=True) for part in parts}
    deepest = max(_net(p).depth for p in parts)
    deep = [p.name for p in parts if _net(p).depth == deepest]
    critical = [p.name for p in parts if _net(p).init == "critical"]
    both = [inside[n] for n in deep if n in critical], [inside[n] for n in deep if n not in critical]
    claims = (
        _repu_fails(*both, deepest),
        _mrepu_trains(*both, deepest),
        _better([inside[n] for n in critical], "relu", "inside the training domain"),
        _better([inside[n] for n in critical], "gelu", "inside the training domain"),
        _better([outside[n] for n in critical], "gelu", "outside it"),
    )
    tables = (*inside.values(), *(outside[n] for n in deep if n in critical))
    return Findings(
        summary=_summary(parts, inside),
        tables=tables,
        curves=_curves(parts, inside, outside),
        claims=claims,
        facts={"inside": _means(inside), "outside": _means(outside)},
    )


def _net(part: Experiment) -> Mlp:
    assert isinstance(part.model, Mlp)
    return part.model


def _target(part: Experiment) -> str:
    assert isinstance(part.problem, PolynomialConfig)
    return part.problem.target.name


def _title(part: Experiment) -> str:
    net = _net(part)
    return f"{_target(part)}, {net.depth} hidden layers, {net.init} initialisation"


def _table(folder: RunFolder, part: Experiment, *, outside: bool) -> Table:
    metric = OUTSIDE if outside else VALUE
    where = "outside the domain" if outside else "inside the domain"
    note = "A score of 1 is that of a constant." + (
        " In the shell between the cube and the cube stretched by half; nothing was tuned for it. A net counts as "
        "diverged where its error overflowed there."
        if outside
        else ""
    )
    found = comparison(
        folder, part.name, metric, reference=part.reference, rates=part.rates, title=f"{_title(part)}: {where}",
        note=note,
    )  # fmt: skip
    return replace(found, name=f"{part.name}-outside") if outside else found


def _share(tables: Sequence[Table], formulas: Sequence[Formula]) -> tuple[float, str]:
    """The share of the nets that failed, and the counts in words."""
    counts = {f.name: sum(failed(t, f.name) for t in tables) for f in formulas}
    nets = sum(len(t.row(formulas[0].name).values) for t in tables)
    listed = ", ".join(f"{name} {count} of {nets}" for name, count in counts.items())
    return sum(counts.values()) / max(nets * len(formulas), 1), listed


def _repu_fails(critical: Sequence[Table], others: Sequence[Table], depth: int) -> Claim:
    """All deep nets, or most of them, under either initialisation."""
    share, listed = _share([*critical, *others], REPU)
    verdict: Verdict = "reproduced" if share == 1 else "partly reproduced" if share >= 0.5 else "not reproduced"
    relu = _share([*critical, *others], [RELU])[1]
    return Claim(
        f"Deep RePU networks cannot be trained, however they are initialised ({depth} hidden layers)",
        verdict,
        f"Nets of that depth that diverged or ended with an error above {USELESS:g}: {listed}; {relu}.",
    )


def _mrepu_trains(critical: Sequence[Table], others: Sequence[Table], depth: int) -> Claim:
    """All deep nets under either initialisation, or most of those with the critical one."""
    share, listed = _share(critical, MREPU)
    other, also = _share(others, MREPU)
    verdict: Verdict = "partly reproduced" if share < 0.5 else "not reproduced"
    if share == other == 0:
        verdict = "reproduced"
    return Claim(
        f"MRePU networks train at a depth of {depth} hidden layers",
        verdict,
        f"Nets of that depth that diverged or ended with an error above {USELESS:g}: with critical initialisation "
        f"{listed}; with Kaiming's {also}.",
    )


def _better(tables: Sequence[Table], other: str, where: str) -> Claim:
    """All three MRePU against one other."""
    duels = [duel(tables, f.name, other) for f in MREPU]
    return Claim(
        f"MRePU approximates polynomials better than {other}, {where}",
        together(duels),
        "; ".join(map(str, duels)) + " (of the experiments with critical initialisation; Holm-corrected p < 0.05).",
    )


def _summary(parts: Sequence[Experiment], tables: Mapping[str, Table]) -> str:
    first = [table.rows[0].name for table in tables.values() if table.rows[0].mean is not None]
    counts = sorted({name: first.count(name) for name in first}.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{name} {count}" for name, count in counts)
    return (
        f"{len(parts)} experiments of {len(parts[0].activations)} activations and {len(parts[0].seeds)} seeds each. "
        f"Number of experiments in which an activation has the smallest mean error inside the domain: {listed}."
    )


def _means(tables: Mapping[str, Table]) -> dict[str, dict[str, list[float | None]]]:
    return {name: {r.name: [r.mean, r.low, r.high] for r in table.rows} for name, table in tables.items()}


def _curves(
    parts: Sequence[Experiment], inside: Mapping[str, Table], outside: Mapping[str, Table]
) -> tuple[Curves, ...]:
    """Error against depth, a panel for each polynomial that was met at several depths; gaps where it diverged."""
    figures = []
    for init in ("critical", "kaiming"):
        for label, tables in (("inside", inside), ("outside", outside)):
            panels: dict[str, tuple[Series, ...]] = {}
            mine = [p for p in parts if _net(p).init == init]
            for target in dict.fromkeys(map(_target, mine)):
                group = [p for p in mine if _target(p) == target]
                if len(group) > 1:
                    panels[target] = error_lines([(float(_net(p).depth), tables[p.name]) for p in group])
            if panels:
                title = f"Mean error {label} the domain against depth, {init} initialisation (up to 10)"
                figures.append(
                    Curves(f"depth-{label}-{init}", title, panels, "hidden layers", "relative error", log_y=True)
                )
    return tuple(figures)


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
