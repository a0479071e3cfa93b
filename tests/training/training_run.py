"""A training as a program, to be killed, resumed and run by several processes.

python training_run.py FOLDER CHECKPOINT_SECONDS KIND      writes FOLDER/fits.json
"""

import json
import sys
from pathlib import Path

import torch
from torch import nn
from training_problems import nets, perceptron, product

from actsmith.files import write_atomically
from actsmith.training.checkpoint import Checkpoint
from actsmith.training.fit import fit
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime

SEEDS, RATES = [3, 4, 5, 3], [1e-2, 1e-3, 3e-3, 3e-3]
KINDS = ("alone", "dropout", "lbfgs", "own", "vmap")


def dropped(problem, seed):
    """A perceptron whose draws a resumed training has to repeat."""
    return nn.Sequential(nn.Dropout(0.1), perceptron(problem, seed, dropout=0.2))


def main(folder, seconds, kind):
    runtime = Runtime(Runtime.create("cpu").accelerator, checkpoint_seconds=float(seconds))
    lbfgs = kind == "lbfgs"
    recipe = Recipe(epochs=60, batch=16, clip=1.0, lbfgs=12 * lbfgs, score_every=20)
    if kind == "vmap":
        problem, models = nets("convolutional", SEEDS)
    else:
        problem = product()
        make = dropped if kind == "dropout" else perceptron
        models = [make(problem, seed) for seed in SEEDS]
    mode = kind if kind in ("own", "vmap") else "alone"
    print("begun", flush=True)
    count = len(SEEDS) if mode != "alone" else 1
    found = fit(
        problem, models[:count], seeds=SEEDS[:count], rates=RATES[:count], recipe=recipe, runtime=runtime, mode=mode,
        test=True, checkpoint=Checkpoint.at(Path(folder), kind),
    )  # fmt: skip
    if runtime.main:
        weights = [float(p.detach().double().sum()) for model in models for p in model.parameters()]
        record = {"fits": [f.to_dict() for f in found], "weights": weights}
        write_atomically(Path(folder) / "fits.json", json.dumps(record))
    runtime.accelerator.end_training()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
