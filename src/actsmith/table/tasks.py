"""What every function of the table is trained on: small unlike tasks, each some tenths of a second on one core.

The data need no download: scikit-learn's digits, the language reference that comes with Python, and formulas. Four of
them let each activation start at its own critical point (`deep`, `friedman`, `heat`, `extrapolation`); the others draw
the same start for all, as most networks do. `corrupted` is judged on images unlike those that it learned, and its rate
is chosen on clean ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from actsmith.errors import ActsmithError
from actsmith.names import did_you_mean
from actsmith.tasks.corrupted import Corrupted
from actsmith.tasks.decoder import Decoder
from actsmith.tasks.flat import FlatImages
from actsmith.tasks.friedman import Friedman
from actsmith.tasks.images import Images
from actsmith.tasks.judged import judged_by
from actsmith.tasks.pde import Pinn
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.periodic import Periodic
from actsmith.tasks.residual import ResidualMlp
from actsmith.tasks.task import Task
from actsmith.tasks.text import BYTES, NextCharacter, NextToken
from actsmith.tasks.vision import Cnn, ResNet, Vit
from actsmith.theory.measured import TableTask
from actsmith.training.recipe import Recipe

__all__ = ["SHARES", "SPECS", "WIDE", "Spec", "specs_of", "wide"]

SHARES = (0.1, 0.25, 0.5, 1.0)
"""Of a training, after which there is a validation score."""
TEXT = "python-manual"


@dataclass(frozen=True)
class Spec:
    """A task, and what of it stands in the table.

    Attributes:
        task: what is trained; its metric chooses the rate, on the validation split.
        score: of the test split, that is the outcome.
        unit: of the score, in words.
        what: what is learned by which network, in a sentence.
    """

    task: Task
    score: str
    unit: str
    what: str

    @property
    def name(self) -> str:
        """Of the task."""
        return self.task.name

    def described(self) -> TableTask:
        """As the published table says it."""
        return TableTask(self.name, self.score, "lower", self.unit, True, self.what)


def _spec(task: Task, rates: tuple[float, ...], unit: str, what: str, *, score: str = "loss") -> Spec:
    """Judged by its loss where that is the outcome: a share of 360 images tells few functions apart."""
    found = judged_by(task, "loss") if score == "loss" else task
    recipe = replace(task.recipe, score_at=SHARES[:-1])
    return Spec(replace(found, name=task.name, recipe=recipe, rates=rates), score, unit, what)


def _digits(train: int) -> Images:
    return Images("digits", train=train)


NATS = "cross-entropy on test images, nats"
_SLOW, _FAST, _FASTER, _FASTEST = (3e-3, 6e-3, 1.2e-2), (3e-3, 1e-2, 3e-2), (1e-2, 3e-2, 1e-1), (2e-2, 6e-2, 2e-1)

SPECS: dict[str, Spec] = {
    spec.name: spec
    for spec in (
        _spec(Task("deep", FlatImages("digits"), Mlp(32, 8), Recipe(10, 32)), _FAST, NATS,
              "digits by a plain perceptron of 8 layers of 32 units, each activation at its own critical point"),
        _spec(Task("conv", _digits(448), Cnn(8, 4, 2, init="kaiming"), Recipe(6, 64)), _FASTER, NATS,
              "digits by 4 plain convolutions, He's start for all"),
        _spec(Task("conv-norm", _digits(448), Cnn(8, 4, 2, norm=True, init="kaiming"), Recipe(5, 64)), _FASTEST, NATS,
              "digits by 4 convolutions with batch normalisation, He's start for all"),
        _spec(Task("residual", _digits(384), ResNet(4), Recipe(6, 64)), _FASTEST, NATS,
              "digits by a pre-activation residual network with batch normalisation, 3 stages"),
        _spec(Task("vision-transformer", _digits(384), Vit(16, 2, 2, 4), Recipe(6, 48)), _FAST, NATS,
              "digits by a vision transformer with layer normalisation, 2 blocks of width 16"),
        _spec(Task("text-residual", NextCharacter(train=2048, evaluated=1024, file=TEXT), ResidualMlp(32, 2),
                   Recipe(5, 64)), _FASTER, "cross-entropy of the next character of a test text, bits",
              "the next of Python's language reference by a residual perceptron with layer normalisation, 2 branches",
              score="bits_per_character"),
        _spec(Task("text-transformer", NextToken(8, BYTES, file=TEXT, train=1024, evaluated=192), Decoder(24, 1, 2),
                   Recipe(5, 24)), _SLOW, "cross-entropy of the next byte of a test text, nats",
              "the next of Python's language reference by a decoder-only transformer with layer normalisation, a block "
              "of width 24 that sees 8 bytes"),
        _spec(Task("friedman", Friedman(512, 512), Mlp(32, 3), Recipe(40, 64)), _FASTER,
              "root mean square error over the deviation of the targets",
              "Friedman's smooth function of ten variables by a perceptron of 3 layers at its critical point",
              score="relative_rmse"),
        _spec(Task("heat", Pinn("heat", 128, 16), Mlp(16, 3), Recipe(120, 128, 0.0)), _FASTER,
              "distance to the exact solution over its size",
              "the heat equation by a physics-informed perceptron of 3 layers at its critical point",
              score="relative_l2"),
        _spec(Task("extrapolation", Periodic(size=256, held_out=256), Mlp(32, 2), Recipe(100, 64, 0.1)), _FASTER,
              "root mean square error outside of the training piece, over the deviation of the targets",
              "a sine beyond the piece that it was learned on, by a perceptron of 2 layers at its critical point",
              score="outside_rmse"),
        _spec(Task("corrupted", Corrupted(_digits(448)), Mlp(64, 3, init="kaiming"), Recipe(12, 32)), _FAST,
              "cross-entropy on test images, nats",
              "digits with noise, moved or faded, by a perceptron of 3 layers that learned clean ones, He's start"),
    )
}  # fmt: skip
"""Name -> Spec, in the order in which they are trained."""
WIDE = ("deep", "conv", "vision-transformer", "text-residual", "friedman", "extrapolation")
"""Unlike each other and cheap: every function is trained on these, see `actsmith.table.build`."""


def specs_of(names: Sequence[str] | None = None) -> list[Spec]:
    """Those of these names, in the table's order; all without names.

    Raises:
        ActsmithError: no such task.
    """
    for name in names or ():
        if name not in SPECS:
            hint = did_you_mean(name, SPECS) or f"expected {', '.join(SPECS)}"
            raise ActsmithError(f"table: no task named {name!r}; {hint}")
    return [spec for name, spec in SPECS.items() if not names or name in names]


def wide(specs: Sequence[Spec]) -> list[Spec]:
    """Those that every function is trained on: of a selection of tasks that lacks one of `WIDE` all of it."""
    found = [spec for spec in specs if spec.name in WIDE]
    return found if len(found) == len(WIDE) else list(specs)
