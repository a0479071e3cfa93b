"""Killed at any moment and resumed it is the same bit for bit; two processes find what one finds."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_problems import nets, perceptron, product
from training_run import KINDS

from actsmith.nn.hook import Hook
from actsmith.training.checkpoint import Checkpoint
from actsmith.training.fit import Stopped, fit
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime

SCRIPT = Path(__file__).with_name("training_run.py")


@pytest.fixture(scope="module")
def every_step():
    """A runtime that writes a checkpoint after every step."""
    return Runtime(Runtime.create("cpu").accelerator, checkpoint_seconds=0.0)


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}


def program(folder, seconds, kind):
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(SCRIPT), str(folder), str(seconds), kind]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment())


def run_whole(folder, seconds, kind):
    with program(folder, seconds, kind) as run:
        assert run.wait(300) == 0


def finished(folder):
    """The results, without what a clock measured."""
    record = json.loads((folder / "fits.json").read_text())
    for found in record["fits"]:
        del found["step_seconds"]
    return record


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_random_moments_and_resumed_it_is_the_same_bit_for_bit(tmp_path, kind):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run_whole(whole, 1e9, kind)
    moments, kills = random.Random(7), 0
    for _ in range(4):
        with program(broken, 0.0, kind) as run:
            assert run.stdout.readline() == b"begun\n"
            try:
                run.wait(moments.uniform(0.05, 0.4))
            except subprocess.TimeoutExpired:
                run.send_signal(signal.SIGKILL)
                kills += 1
    run_whole(broken, 0.0, kind)
    assert kills >= 2
    assert finished(broken) == finished(whole)


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    one, two = tmp_path / "one", tmp_path / "two"
    two.mkdir()
    run_whole(one, 1e9, "alone")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1",
        f"--master_port={port}", str(SCRIPT), str(two), "1e9", "alone",
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=300, env={**environment(), "ACCELERATE_USE_CPU": "1"})
    a, b = finished(one)["fits"][0], finished(two)["fits"][0]
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-2)
    assert a["validation"]["relative_rmse"] == pytest.approx(b["validation"]["relative_rmse"], rel=0.02)


class Counting(Hook):
    """Records what it saw, and keeps it in checkpoints."""

    stacks = True

    def __init__(self, model):
        self.steps = 0

    def before_step(self, step):
        self.steps += 1

    def after_epoch(self, epoch):
        return {"steps": self.steps}

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


class After:
    """Says stop at the n-th time that it is asked, and ever after."""

    def __init__(self, asked):
        self.asked = asked

    def __call__(self):
        self.asked -= 1
        return self.asked < 0


def started(kind, runtime, folder=None, stop=None):
    recipe = Recipe(epochs=4, batch=16, lbfgs=4 * (kind == "lbfgs"), score_every=2)
    if kind == "vmap":
        problem, models = nets("convolutional", [5, 6])
    else:
        problem = product(size=64)
        models = [perceptron(problem, seed, dropout=0.2 * (kind == "dropout")) for seed in (5, 6)]
    mode = kind if kind in ("own", "vmap") else "alone"
    count = len(models) if mode != "alone" else 1
    found = fit(
        problem, models[:count], seeds=[5, 6][:count], rates=[1e-2, 3e-3][:count], recipe=recipe, runtime=runtime,
        mode=mode, test=True, hook=Counting, checkpoint=folder and Checkpoint.at(folder, "k"), stop=stop,
    )  # fmt: skip
    records = [f.to_dict() for f in found]
    for record in records:
        del record["step_seconds"]
    return records, [p.detach().clone() for model in models[:count] for p in model.parameters()]


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_after_any_number_of_steps_it_goes_on_as_if_it_had_not(tmp_path, every_step, kind):
    whole, weights = started(kind, every_step)
    stops = 0
    for asked in (0, 2, 0, 0, 3, 4, 1):
        try:
            started(kind, every_step, tmp_path, After(asked))
        except Stopped:
            stops += 1
    again, others = started(kind, every_step, tmp_path)
    assert stops >= 5
    assert again == whole
    for a, b in zip(weights, others, strict=True):
        assert torch.equal(a, b)


def test_a_stop_says_so_and_keeps_the_state(tmp_path, every_step):
    seldom = Runtime(every_step.accelerator, checkpoint_seconds=1e9)
    with pytest.raises(Stopped):
        started("alone", seldom, tmp_path, After(5))
    assert Checkpoint.at(tmp_path, "k").load()["state"]["step"] == 6


def test_a_checkpoint_belongs_to_its_training(tmp_path, every_step):
    Checkpoint.at(tmp_path, "a").save({"value": 1})
    assert Checkpoint.at(tmp_path, "a").load()["value"] == 1
    assert Checkpoint.at(tmp_path, "b").load() is None
    (tmp_path / "checkpoints").joinpath(Checkpoint.at(tmp_path, "b").path.name).write_bytes(
        Checkpoint.at(tmp_path, "a").path.read_bytes()
    )
    assert Checkpoint.at(tmp_path, "b").load() is None
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_a_checkpoint_of_another_recipe_is_not_gone_on_from(tmp_path, every_step):
    problem = product(size=64)

    def trained(epochs, rate, stop=None, folder=tmp_path):
        return fit(
            problem, [perceptron(problem, 0)], seeds=[0], rates=[rate], recipe=Recipe(epochs, 16), runtime=every_step,
            checkpoint=folder and Checkpoint.at(folder, "k"), stop=stop,
        )[0].loss  # fmt: skip

    for epochs, rate in ((4, 1e-2), (3, 1e-3)):
        with pytest.raises(Stopped):
            trained(3, 1e-2, After(5))
        assert trained(epochs, rate) == trained(epochs, rate, folder=None)
        Checkpoint.at(tmp_path, "k").remove()
