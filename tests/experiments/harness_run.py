"""A small experiment as a program, to be killed, resumed and run by several processes.

python harness_run.py FOLDER CHECKPOINT_SECONDS [lbfgs]
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from actsmith.experiments.experiment import Experiment
from actsmith.experiments.folder import RunFolder
from actsmith.experiments.loop import Recipe, Runtime
from actsmith.experiments.models import Mlp, Single
from actsmith.experiments.problem import Regression
from actsmith.formula.catalogue import get


@dataclass(frozen=True)
class Product:
    """x_1 x_2 on the square [-1, 1]^2."""

    size: int = 256

    def load(self, data):
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(3, self.size, 2, generator=generator) * 2 - 1
        y = x.prod(-1, keepdim=True)
        return Regression(*((x[i], y[i]) for i in range(3)), outputs=1)


class Dropping(nn.Module):
    """A perceptron with dropout, whose draws a resumed training has to repeat."""

    def __init__(self, formula, seed):
        super().__init__()
        inner = Mlp(width=16, depth=2).build(formula, [seed], Product().load(None))
        self.inner, self.dropout = inner, nn.Dropout(0.1)

    def forward(self, x):
        return self.inner(self.dropout(x)[None])[0]


@dataclass(frozen=True)
class Dropped:
    """`Dropping`, one seed at a time."""

    stacked = False

    def build(self, formula, seeds, problem):
        return Single(Dropping(formula, seeds[0]), seeds)


def experiment(kind="stack"):
    """Two activations, three rates, so that a random moment is rarely the same."""
    model = Dropped() if kind == "lbfgs" else Mlp(width=16, depth=3)
    recipe = Recipe(epochs=12, batch=32, clip=1.0, lbfgs=6 * (kind == "lbfgs"), score_every=4)
    formulas = (get("relu"), get("crrelu"))
    return Experiment(
        "product", Product(), model, formulas, rates=(1e-3, 1e-2), recipe=recipe, seeds=(0, 1), tuning_seeds=(9,)
    )


def main(folder, seconds, kind="stack"):
    runtime = Runtime(Runtime.create("cpu").accelerator, checkpoint_seconds=float(seconds))
    asked = experiment(kind)
    if not runtime.main:
        runtime.accelerator.wait_for_everyone()
    run = RunFolder(Path(folder), {"asked": asked.to_dict()}, resume=True)
    if runtime.main:
        runtime.accelerator.wait_for_everyone()
    asked.run(run, runtime, None, lambda *_: None)
    runtime.accelerator.end_training()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
