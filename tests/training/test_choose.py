"""What is chosen is what is quicker; what cannot be stacked says why; the two seconds are kept."""

import dataclasses
import json
import time

import pytest
import torch
from torch import nn
from training_problems import blobs, convolutional, perceptron, product

from actsmith.training import choose as module
from actsmith.training.choose import Choice, choose
from actsmith.training.problem import Classification
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime

RECIPE = Recipe(2, 16)


@pytest.fixture(scope="module")
def runtime():
    return Runtime.create("cpu")


class Sleeps(nn.Module):
    """Takes as long as it is told, alone and for each net of a stack."""

    def __init__(self, alone, stacked, nets=None):
        super().__init__()
        self.alone, self.stacked, self.nets = alone, stacked, nets
        self.weight = nn.Parameter(torch.ones(*(() if nets is None else (nets,)), 3, 6))

    def forward(self, x):
        time.sleep(self.alone if self.nets is None else self.stacked * self.nets)
        return x @ self.weight.transpose(-1, -2)

    def batched(self, nets):
        return Sleeps(self.alone, self.stacked, nets)


@pytest.mark.parametrize(("stacked", "mode"), [(0.002, "own"), (0.02, "alone")])
def test_the_quicker_is_chosen(runtime, stacked, mode):
    problem = blobs()
    found = choose(problem, [Sleeps(0.02, stacked) for _ in range(3)], Recipe(1, 8, lbfgs=0), runtime)
    if mode == "own":
        assert found.mode in ("own", "vmap")  # by vmap three nets sleep once
    assert found.seconds["alone"] >= 0.02
    assert found.seconds["own"] >= stacked
    assert found.reasons == {}


def test_a_stack_that_gains_little_is_left():
    alone, own = [1.0, 2.0, 9.0], [0.95, 1.9, 8.0]
    assert module._quickest({("alone", 1): alone, ("own", 1): own}, {}).mode == "alone"
    alone, own = [1.0, 2.0, 1.0], [0.5, 0.5, 9.0]
    found = module._quickest({("alone", 1): alone, ("own", 1): own}, {"vmap": "why"})
    assert found == Choice("own", {"alone": 1.0, "own": 0.5}, {"alone": 1, "own": 1}, {"vmap": "why"})


def test_threads_are_taken_where_they_are_clearly_quicker():
    times = {("alone", 1): [1.0] * 3, ("alone", 4): [0.95] * 3, ("own", 1): [0.8] * 3, ("own", 4): [0.3] * 3}
    found = module._quickest(times, {})
    assert (found.mode, dict(found.threads)) == ("own", {"alone": 1, "own": 4})
    assert dict(found.seconds) == {"alone": 1.0, "own": 0.3}


def test_the_rounds_end_in_time(monkeypatch):
    class Slow:
        def step(self, threads):
            assert threads == 2
            time.sleep(0.01)
            return 0.01

    slow = {"alone": Slow(), "own": Slow()}
    monkeypatch.setattr(module, "SECONDS", 0.05)
    assert len(module._rounds(slow, 2)["own"]) in (3, 4)
    monkeypatch.setattr(module, "SECONDS", 9.0)
    assert len(module._rounds(slow, 2)["own"]) == module.MOST


def test_what_a_step_waits_for_a_core_is_not_its_own(runtime, monkeypatch):
    """Half of what sleeping takes is said to be waiting."""
    began = time.perf_counter()
    monkeypatch.setattr(module, "_waited", lambda: (time.perf_counter() - began) / 2)
    problem = blobs()
    steps = module._Steps(problem, [Sleeps(0.05, 0.0)], "alone", RECIPE, runtime)
    assert 0.02 < steps.step(1) < 0.9 * steps.step(2)


def test_waiting_is_read_where_the_system_counts_it(monkeypatch):
    first = module._waited()
    assert first <= module._waited()
    monkeypatch.setattr(module, "Path", lambda _: (_ for _ in ()).throw(OSError()))
    assert module._waited() == 0.0


def test_large_networks_are_compared_in_a_smaller_stack(runtime):
    class Counts(Sleeps):
        def batched(self, nets):
            counts.append(nets)
            return super().batched(nets)

    counts = []
    choose(blobs(), [Counts(0.052, 0.0) for _ in range(16)], RECIPE, runtime)
    assert counts == [4]


def test_small_perceptrons_are_stacked_and_nothing_is_trained(runtime):
    problem = product()
    models = [perceptron(problem, seed) for seed in range(16)]
    before = [p.detach().clone() for p in models[0].parameters()]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    found = choose(problem, models, RECIPE, runtime)
    assert found.mode in ("own", "vmap")
    assert found.seconds["own"] < 0.6 * found.seconds["alone"]
    assert found.threads["alone"] == 1
    assert all(torch.equal(a, b) for a, b in zip(before, models[0].parameters(), strict=True))
    assert all(p.grad is None for p in models[0].parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert Choice.from_dict(json.loads(json.dumps(found.to_dict()))) == found


class Forks(nn.Linear):
    """What a transform cannot follow."""

    def forward(self, x):
        out = super().forward(x)
        return out if out.sum() > 0 else -out


def reasons_of(models, runtime, recipe=RECIPE, problem=None):
    found = choose(problem or blobs(), models, recipe, runtime)
    assert found.mode == "alone"
    assert set(found.seconds) == {"alone"}
    return found.reasons


def test_reasons(runtime):
    problem = blobs()
    two = [perceptron(problem, s) for s in range(2)]
    assert set(reasons_of(two[:1], runtime).values()) == {"there is one net"}
    dropping = [perceptron(problem, s, dropout=0.1) for s in range(2)]
    assert all("draws random numbers" in reason for reason in reasons_of(dropping, runtime).values())
    assert all("line search" in r for r in reasons_of(two, runtime, dataclasses.replace(RECIPE, lbfgs=1)).values())
    forks = reasons_of([Forks(6, 3) for _ in range(2)], runtime)
    assert forks["own"] == "Forks has no form of its own"
    assert forks["vmap"].startswith("RuntimeError: vmap: It looks like you're attempting to use a Tensor")

    class Ahead(Classification):
        alone = True

    ahead = Ahead(problem.train, problem.splits["validation"], problem.splits["test"], 3)
    assert all("read ahead" in reason for reason in reasons_of(two, runtime, problem=ahead).values())
    other = [two[0], perceptron(problem, 1, width=9)]
    assert all("different structure" in reason for reason in reasons_of(other, runtime).values())


def test_a_network_without_a_form_of_its_own_is_stacked_by_vmap(runtime):
    found = choose(blobs((2, 7, 7)), [convolutional() for _ in range(4)], RECIPE, runtime)
    assert set(found.seconds) == {"alone", "vmap"}
    assert found.reasons == {"own": "Sequential has no form of its own"}
