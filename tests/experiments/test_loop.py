"""The training loop: torch's own AdamW, nets that do not see each other, resumption bit for bit, two processes."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from harness_run import Product, experiment
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.experiments.checkpoint import Checkpoint
from actsmith.experiments.loop import Recipe, Runtime, fit
from actsmith.experiments.models import Mlp, Single
from actsmith.experiments.schedule import warm_cosine
from actsmith.formula.catalogue import get

SCRIPT = Path(__file__).with_name("harness_run.py")
PROBLEM = Product().load(None)


@pytest.fixture(scope="module")
def runtime():
    return Runtime.create("cpu")


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}


def program(folder, seconds, kind="stack"):
    command = [sys.executable, str(SCRIPT), str(folder), str(seconds), kind]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment())


def finished(folder):
    """Key -> record, without what a clock measured."""
    records = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return {r["key"]: {k: v for k, v in r.items() if k != "step_seconds"} for r in records}


def test_the_steps_are_torchs_adamw(runtime):
    """One net, whole batches, against torch's optimiser on the same formula of the schedule."""
    recipe = Recipe(epochs=5, batch=PROBLEM.size, weight_decay=0.1, warm_up=0.2)
    config = Mlp(width=8, depth=2)
    ours, plain = (config.build(get("gelu"), [3], PROBLEM) for _ in range(2))
    found = fit(PROBLEM, ours, seeds=[3], rate=1e-2, recipe=recipe, runtime=runtime)
    groups = [
        {"params": list(plain.weights), "weight_decay": 0.1},
        {"params": list(plain.biases), "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=1e-2)
    losses = []
    for step in range(1, 6):
        for group in adam.param_groups:
            group["lr"] = 1e-2 * warm_cosine(step, 5, 1)
        adam.zero_grad()
        loss = (plain(PROBLEM.train[0][None]) - PROBLEM.train[1]).square().mean()
        loss.backward()
        losses.append(loss.item())
        adam.step()
    assert found.loss[0] == pytest.approx(losses, rel=1e-4)
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_nets_side_by_side_are_nets_alone(runtime):
    recipe, config = Recipe(epochs=3, batch=64), Mlp(width=8, depth=2)
    together = fit(
        PROBLEM, config.build(get("crrelu"), [4, 5], PROBLEM), seeds=[4, 5], rate=1e-2, recipe=recipe, runtime=runtime
    )
    for i, seed in enumerate((4, 5)):
        model = config.build(get("crrelu"), [seed], PROBLEM)
        alone = fit(PROBLEM, model, seeds=[seed], rate=1e-2, recipe=recipe, runtime=runtime)
        assert together.loss[i] == pytest.approx(alone.loss[0], rel=1e-4)
        name = PROBLEM.metric.name
        assert together.validation[name][i] == pytest.approx(alone.validation[name][0], rel=1e-3)


def test_a_net_that_diverges_leaves_the_others_alone(runtime):
    config, recipe = Mlp(width=8, depth=2), Recipe(epochs=2, batch=64)
    model = config.build(get("relu"), [0, 1], PROBLEM)
    with torch.no_grad():
        model.weights[0][0] = float("nan")
    found = fit(PROBLEM, model, seeds=[0, 1], rate=1e-2, recipe=recipe, runtime=runtime, test=True)
    assert found.diverged == [True, False]
    record = found.to_dict()
    assert record["loss"][0] == [None, None]
    assert record["test"]["relative_rmse"][1] > 0
    json.dumps(record, allow_nan=False)


def test_learning_happens_and_is_recorded(runtime):
    recipe = Recipe(epochs=20, batch=32, score_every=10)
    model = Mlp(width=32, depth=3).build(get("crrelu"), [0, 1, 2], PROBLEM)
    found = fit(PROBLEM, model, seeds=[0, 1, 2], rate=1e-2, recipe=recipe, runtime=runtime, test=True)
    assert all(score < 0.5 for score in found.test["relative_rmse"])
    assert [epoch for epoch, _ in found.curve] == [10, 20]
    assert found.curve[-1][1] == found.validation
    assert found.step_seconds > 0
    own = 4 * sum(p.numel() * p.element_size() for p in model.parameters())
    assert found.peak_bytes > own
    assert len(found.parameters["activations.0.eps"]) == 3


def test_lbfgs_goes_below_adam_and_refuses_a_stack(runtime):
    config = Mlp(width=16, depth=2)
    recipe = Recipe(epochs=30, batch=256, lbfgs=5)
    found = fit(PROBLEM, config.build(get("tanh"), [0], PROBLEM), seeds=[0], rate=1e-2, recipe=recipe, runtime=runtime)
    assert found.loss[0][-1] < 0.5 * found.loss[0][29]
    with pytest.raises(ActsmithError, match="got 2 nets side by side"):
        fit(
            PROBLEM, config.build(get("tanh"), [0, 1], PROBLEM), seeds=[0, 1], rate=1e-2, recipe=recipe,
            runtime=runtime,
        )  # fmt: skip


def test_one_network_takes_one_seed():
    with pytest.raises(ActsmithError, match="got 2 seeds"):
        Single(nn.Identity(), [0, 1])


def test_a_checkpoint_belongs_to_its_training(tmp_path):
    Checkpoint.at(tmp_path, "a").save({"value": 1})
    assert Checkpoint.at(tmp_path, "a").load()["value"] == 1
    assert Checkpoint.at(tmp_path, "b").load() is None
    assert not list((tmp_path / "checkpoints").glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stack", "lbfgs"])
def test_killed_at_random_moments_and_resumed_it_is_the_same_bit_for_bit(tmp_path, kind):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    began = time.monotonic()
    assert program(whole, 1e9, kind).wait(300) == 0
    lasted = time.monotonic() - began
    moments, kills = random.Random(7), 0
    for _ in range(8):
        run = program(broken, 0.0, kind)
        try:
            run.wait(lasted * moments.uniform(0.5, 1.0))
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            kills += 1
        run.wait()
    last = program(broken, 0.0, kind)
    assert last.wait(300) == 0
    assert kills >= 2
    assert finished(broken) == finished(whole)


def test_a_training_stopped_in_mid_epoch_goes_on_as_if_it_had_not(tmp_path, runtime):
    class StopError(Exception):
        pass

    class Stopper:
        """Raises after some steps, once."""

        def __init__(self, at):
            self.at = at

        def before_step(self, step):
            if step == self.at:
                raise StopError

        def after_epoch(self, epoch):
            return {"seen": epoch}

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    run = experiment("lbfgs")
    every = Runtime(runtime.accelerator, checkpoint_seconds=0.0)

    def train(watcher, checkpoint):
        model = run.model.build(get("crrelu"), [0], PROBLEM)
        return fit(
            PROBLEM, model, seeds=[0], rate=1e-2, recipe=run.recipe, runtime=every, watcher=watcher,
            checkpoint=checkpoint, test=True,
        ).to_dict()  # fmt: skip

    whole = train(Stopper(-1), None)
    for at in (3, 8, 50):
        with pytest.raises(StopError):
            train(Stopper(at), Checkpoint.at(tmp_path, "k"))
    again = train(Stopper(-1), Checkpoint.at(tmp_path, "k"))
    for record in (whole, again):
        record.pop("step_seconds")
    assert again == whole


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    one = program(tmp_path / "one", 1e9)
    assert one.wait(300) == 0
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1",
        f"--master_port={port}", str(SCRIPT), str(tmp_path / "two"), "1e9",
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=300, env={**environment(), "ACCELERATE_USE_CPU": "1"})
    one, two = finished(tmp_path / "one"), finished(tmp_path / "two")
    assert one.keys() == two.keys()
    for key, record in one.items():
        for a, b in zip(record["loss"], two[key]["loss"], strict=True):
            assert a == pytest.approx(b, rel=1e-3)
        assert record["validation"]["relative_rmse"] == pytest.approx(two[key]["validation"]["relative_rmse"], rel=0.02)
