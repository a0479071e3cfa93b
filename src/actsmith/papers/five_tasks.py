"""Plain perceptrons on five unlike tasks: what activations are ranked on where nothing normalises.

Three image sets, a polynomial of six variables, and the next character of a text. Nets start at each activation's own
critical point, or all alike (Kaiming).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from actsmith.formula.formula import Formula
from actsmith.papers.experiment import Experiment
from actsmith.tasks.flat import FlatImages
from actsmith.tasks.functions import PolynomialConfig, sparse_polynomial
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.text import NextCharacter
from actsmith.training.recipe import Recipe

__all__ = ["SMALL", "Size", "Start", "five_tasks"]

POLYNOMIAL = sparse_polynomial("12 random terms", variables=6, degree=3, terms=12)
Start = Literal["critical", "kaiming"]


@dataclass(frozen=True)
class Size:
    """How large the tasks are.

    Attributes:
        images: of Fashion-MNIST and CIFAR-10, a sixth of them for validation; None for all.
        windows: positions of the text.
        epochs: of each task; one that is not named is left out.
        pool: pixels of CIFAR-10 that become one, along a side.
        width, depth: of the perceptron.
        rates, seeds, tuning_share: as an `Experiment` has them.
        redrawn: whether each seed draws its own training images and windows; images are then scored on whole test sets.
    """

    images: int | None
    windows: int
    epochs: Mapping[str, int]
    pool: int = 4
    width: int = 64
    depth: int = 6
    rates: tuple[float, ...] = (1e-3, 4e-3, 1.6e-2, 6.4e-2)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    tuning_share: float = 0.5
    redrawn: bool = False

    def flat(self, name: str, pool: int) -> FlatImages:
        """An image set, a sixth of its training images held out."""
        kept = {} if self.images is None else {"train": self.images * 5 // 6, "validation": self.images // 6}
        if self.redrawn:
            return FlatImages(name, validation=kept.get("validation"), pool=pool)
        return FlatImages(name, **kept, test=2000, pool=pool)

    def drawn(self, task: str) -> int | None:
        """Training examples that each seed draws for itself."""
        images = None if self.images is None else self.images * 5 // 6
        return {"fashion-mnist": images, "cifar10": images, "austen": self.windows}.get(task) if self.redrawn else None


SMALL = Size(
    4000, 6400, {"digits": 12, "fashion-mnist": 5, "cifar10": 5, "polynomial": 7, "austen": 4}, width=48, depth=5
)  # fmt: skip


def five_tasks(formulas: tuple[Formula, ...], size: Size, start: Start) -> list[Experiment]:
    """One experiment a task, called by its name, or NAME-kaiming."""
    problems: dict[str, tuple[Any, int]] = {
        "digits": (FlatImages("digits"), 32),
        "fashion-mnist": (size.flat("fashion-mnist", 2), 64),
        "cifar10": (size.flat("cifar10", size.pool), 64),
        "polynomial": (PolynomialConfig(POLYNOMIAL, size=3000, held_out=2000), 64),
        "austen": (NextCharacter(train=size.windows * (10 if size.redrawn else 1)), 64),
    }
    return [
        Experiment(
            name=name if start == "critical" else f"{name}-{start}",
            problem=problems[name][0],
            model=Mlp(size.width, size.depth, start),
            activations=formulas,
            rates=size.rates,
            recipe=Recipe(epochs=epochs, batch=problems[name][1], drawn=size.drawn(name)),
            seeds=size.seeds,
            tuning_share=size.tuning_share,
            labels={"task": name, "start": start},
        )
        for name, epochs in size.epochs.items()
    ]
