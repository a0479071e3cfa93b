"""The training loop: torch's own AdamW, divergence, L-BFGS, hooks, what the caller keeps, what is refused."""

import copy
import gc
import json
import random
import weakref
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn
from training_problems import Penalised, blobs, nets, perceptron, product

from actsmith.errors import ActsmithError
from actsmith.nn.hook import Hook
from actsmith.training import fit as fit_module
from actsmith.training import runtime as runtime_module
from actsmith.training.fit import fit
from actsmith.training.nets import SCALE, Alone, _Scaled
from actsmith.training.problem import Classification
from actsmith.training.recipe import Recipe, warm_cosine
from actsmith.training.runtime import Runtime

MODES = ("alone", "own", "vmap")


@pytest.fixture(scope="module")
def runtime():
    return Runtime.create("cpu")


def trained(runtime, models, problem, mode="alone", rates=1e-2, **options):
    asked = {"seeds": range(len(models)), "recipe": Recipe(2, 16), **options}
    rates = [rates] * len(models) if isinstance(rates, float) else rates
    return fit(problem, models, rates=rates, runtime=runtime, mode=mode, **asked)


def test_the_steps_are_torchs_adamw(runtime):
    """Whole batches, against torch's optimiser on the same formula of the schedule."""
    problem = product()
    recipe = Recipe(epochs=5, batch=problem.size, weight_decay=0.1, warm_up=0.2)
    ours, plain = (perceptron(problem, 3, "gelu") for _ in range(2))
    (found,) = trained(runtime, [ours], problem, recipe=recipe)
    groups = [
        {"params": [p for p in plain.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in plain.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=1e-2)
    losses = []
    for step in range(1, 6):
        for group in adam.param_groups:
            group["lr"] = 1e-2 * warm_cosine(step, 5, 1)
        adam.zero_grad()
        loss = (plain(problem.train[0]) - problem.train[1]).square().mean()
        loss.backward()
        losses.append(loss.item())
        adam.step()
    assert found.loss == pytest.approx(losses, rel=1e-4)
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_learning_happens_and_is_recorded(runtime, mode):
    problem = product(size=256)
    models = [perceptron(problem, seed, width=32) for seed in range(3)]
    found = trained(runtime, models, problem, mode, recipe=Recipe(20, 32, score_every=10), test=True)
    own = 4 * sum(p.numel() * p.element_size() for p in models[0].parameters())
    for one in found:
        assert one.test["relative_rmse"] < 0.5
        assert [epoch for epoch, _ in one.curve] == [10, 20]
        assert one.curve[-1][1] == one.validation
        assert one.step_seconds > 0
        assert own < one.peak_bytes < 100 * own
        assert len(one.parameters["activations.0.eps"]) == 1
        json.dumps(one.to_dict(), allow_nan=False)


def test_the_test_split_is_not_looked_at_unasked(runtime):
    class Sealed(Classification):
        def score(self, model, split):
            assert split == "validation"
            return super().score(model, split)

    problem = blobs()
    sealed = Sealed(problem.train, problem.splits["validation"], problem.splits["test"], 3)
    assert trained(runtime, [perceptron(sealed, 0)], sealed)[0].test is None


@pytest.mark.parametrize("mode", MODES)
def test_the_models_have_their_values_back_and_go_on(runtime, mode):
    problem = blobs()
    models = [perceptron(problem, seed) for seed in range(2)]
    first = trained(runtime, models, problem, mode, recipe=Recipe(8, 16))
    for model, found in zip(models, first, strict=True):
        assert not model.training
        assert all(p.grad is None and p.requires_grad for p in model.parameters())
        assert "forward" not in vars(model)
        with torch.no_grad():
            again = problem.score(model, "validation")
        assert {name: float(v) for name, v in again.items()} == pytest.approx(found.validation, rel=1e-6)
    second = trained(runtime, models, problem, mode, recipe=Recipe(8, 16))
    assert all(b.loss[-1] < a.loss[-1] for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("mode", MODES)
def test_a_net_that_diverges_leaves_the_others_alone(runtime, mode):
    problem = product()
    rates = [1e-2, 1e30, 1e-2]
    found = trained(runtime, [perceptron(problem, s, "mrepu") for s in range(3)], problem, mode, rates, test=True)
    assert [f.diverged for f in found] == [False, True, False]
    record = json.loads(json.dumps(found[1].to_dict(), allow_nan=False))
    assert record["loss"][-1] is None
    alone = trained(runtime, [perceptron(problem, 2, "mrepu")], problem, seeds=[2])
    assert found[2].loss == pytest.approx(alone[0].loss, rel=1e-3)
    assert found[2].test["relative_rmse"] > 0


def test_a_loss_that_explodes_has_diverged_though_it_is_finite(runtime):
    for loss, expected in (
        ([1.0, 0.5, 0.1], False), ([1.0, 0.01, 9.0], False), ([1.0, 0.01, 11.0], True), ([0.0, 1e-9, 0.9], False),
        ([1.0, 1e9, 0.5], False), ([1.0, float("nan"), 0.5], True),
    ):  # fmt: skip
        assert fit_module._exploded(torch.tensor(loss)) is expected
    problem = product()
    model = perceptron(problem, 0, "relu")

    class Blow(Hook):
        def after_epoch(self, epoch):
            for p in model.parameters() if epoch == 2 else ():
                p.data.mul_(100)

    (found,) = trained(runtime, [model], problem, recipe=Recipe(4, 16), hook=lambda _: Blow())
    assert np.isfinite(found.loss).all()
    assert found.loss[-1] > 1e3 * min(found.loss)
    assert found.diverged


def test_where_all_diverge_it_ends_early(runtime):
    problem = product()
    (found,) = trained(runtime, [perceptron(problem, 0, "mrepu")], problem, rates=1e30, recipe=Recipe(9, 16, lbfgs=3))
    assert found.diverged
    assert len(found.loss) < 9


def test_lbfgs_goes_below_adam(runtime):
    problem = product()
    (found,) = trained(
        runtime, [perceptron(problem, 0, "tanh", width=16)], problem, recipe=Recipe(30, problem.size, lbfgs=5)
    )
    assert len(found.loss) == 35
    assert found.loss[-1] < 0.5 * found.loss[29]


@pytest.mark.parametrize("mode", MODES)
def test_a_share_of_the_examples(runtime, mode):
    class Seen(Classification):
        def batch(self, order, device):
            seen.append(set(order.tolist()))
            return super().batch(order, device)

    seen, problem = [], blobs()
    few = Seen(problem.train, problem.splits["validation"], problem.splits["test"], 3)
    trained(runtime, [perceptron(few, s) for s in range(2)], few, mode, recipe=Recipe(3, 5), examples=0.25)
    assert len(set.union(*seen)) == round(0.25 * few.size)
    again, seen = seen, []
    trained(runtime, [perceptron(few, s) for s in range(2)], few, mode, recipe=Recipe(3, 5), examples=0.25)
    assert seen == again


@pytest.mark.parametrize("mode", MODES)
def test_each_seed_draws_its_own_examples(runtime, mode):
    class Seen(Classification):
        def batch(self, order, device):
            parts = order.reshape(-1, 5) if mode != "alone" else order[None]
            for net, part in enumerate(parts, 0 if mode != "alone" else calls.pop(0)):
                seen[net].update(part.tolist())
            return super().batch(order, device)

    problem, seen, calls = blobs(), [set(), set()], [0] * 12 + [1] * 12
    own = Seen(problem.train, problem.splits["validation"], problem.splits["test"], 3)
    models = [perceptron(own, s) for s in range(2)]
    trained(runtime, models, own, mode, recipe=Recipe(3, 5, drawn=20))
    assert [len(s) for s in seen] == [20, 20]
    assert seen[0] != seen[1]
    with pytest.raises(ActsmithError, match="drawn: got 10000; expected at most"):
        trained(runtime, models, own, mode, recipe=Recipe(3, 5, drawn=10_000))


class Watching(Hook):
    """Writes down how it is called."""

    stacks = True

    def __init__(self, model, calls):
        self.model, self.calls = model, calls

    def before_step(self, step):
        assert all(p.grad is not None for p in self.model.parameters())
        self.calls.append(step)

    def after_epoch(self, epoch):
        weight = next(self.model.parameters())
        return {"epoch": "mine", "sums": weight.flatten(1).sum(1).tolist()} if epoch else None

    def of_net(self, record, i):
        return {**record, "sums": record["sums"][i]}

    def close(self):
        self.calls.append("closed")


@pytest.mark.parametrize("mode", ["own", "vmap"])
def test_hooks_look_on_and_are_closed(runtime, mode):
    problem, calls = blobs(), []
    models = [perceptron(problem, seed) for seed in range(2)]
    found = trained(runtime, models, problem, mode, recipe=Recipe(3, 16), hook=lambda model: Watching(model, calls))
    assert calls == [*range(9), "closed"]
    assert [len(f.watched) for f in found] == [2, 2]
    assert all(isinstance(record["sums"], float) for f in found for record in f.watched)
    assert found[0].watched[1]["sums"] == pytest.approx(models[0].layers[0].weight.sum().item(), abs=1e-5)


def test_a_hook_may_change_gradients_and_is_closed_after_an_error(runtime):
    class Stiff(Hook):
        def __init__(self, model):
            self.model = model

        def before_step(self, step):
            for p in self.model.parameters():
                p.grad = torch.zeros_like(p)

        def close(self):
            closed.append(True)

    closed, problem = [], blobs()
    model = perceptron(problem, 0)
    before = [p.detach().clone() for p in model.parameters()]
    trained(runtime, [model], problem, recipe=Recipe(2, 16, weight_decay=0.0), hook=Stiff)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))

    class Fails(Stiff):
        def before_step(self, step):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        trained(runtime, [model], problem, hook=Fails)
    assert closed == [True, True]


def test_generators_and_threads_are_as_they_were(runtime):
    problem = blobs()
    dropping, small = perceptron(problem, 0, dropout=0.3), perceptron(problem, 0)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002  (the user's own)
    random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        trained(runtime, [dropping], problem)

        class Fails(Classification):
            def loss(self, model, batch):
                assert torch.get_num_threads() == 1  # the perceptron is small
                raise KeyError("mine")

        failing = Fails(problem.train, problem.splits["validation"], problem.splits["test"], 3)
        with pytest.raises(KeyError, match="mine"):
            trained(runtime, [small], failing)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_draws_follow_the_seed(runtime):
    problem = blobs()

    def loss(seed, init):
        return trained(runtime, [perceptron(problem, init, dropout=0.3)], problem, seeds=[seed])[0].loss

    torch.manual_seed(5)
    first = loss(0, 0)
    torch.manual_seed(6)
    assert loss(0, 0) == first
    assert loss(1, 0) != first


class FakeGpu:
    """What a device's module of torch is asked for."""

    def __init__(self):
        self.calls, self.held = [], 0

    def reset_peak_memory_stats(self, device):
        self.calls.append("reset")
        self.held = 0

    def max_memory_allocated(self, device):
        return self.held

    def get_rng_state(self, device):
        return torch.tensor([7])

    def set_rng_state(self, state, device):
        self.calls.append(("state", state.item()))

    def manual_seed(self, seed):
        self.calls.append("seed")


def test_a_gpus_peak_memory_is_forgotten_between_trainings_and_its_generator_restored(monkeypatch):
    gpu, device = FakeGpu(), torch.device("cuda", 0)
    monkeypatch.setattr(torch, "get_device_module", lambda _: gpu)
    gpu.held = 9
    assert runtime_module.peak_bytes(device) == 9
    assert runtime_module.peak_bytes(torch.device("cpu")) is None
    runtime_module.reset_peak(torch.device("cpu"))
    assert gpu.calls == []
    runtime_module.reset_peak(device)
    assert (gpu.calls, gpu.held) == (["reset"], 0)
    with runtime_module.generators_kept(device):
        runtime_module.seed_step(device, 1, 2)
    assert gpu.calls == ["reset", "seed", ("state", 7)]


def test_every_training_forgets_the_peak_of_the_one_before(runtime, monkeypatch):
    resets = []
    monkeypatch.setattr("actsmith.training.fit.reset_peak", resets.append)
    monkeypatch.setattr("actsmith.training.fit.peak_bytes", lambda device: 10**9 + len(resets))
    problem = blobs()
    found = trained(runtime, [perceptron(problem, seed) for seed in range(2)], problem)
    assert len(resets) == 2
    assert [f.peak_bytes for f in found] == [10**9 + 1, 10**9 + 2]


@contextmanager
def precision(kind):
    yield Runtime.create("cpu", kind)
    Runtime.create("cpu")


@pytest.mark.parametrize("mode", MODES)
def test_bfloat16(mode):
    with precision("bf16") as mixed:
        problem = blobs()
        models = [perceptron(problem, seed) for seed in range(2)]
        found = trained(mixed, models, problem, mode, recipe=Recipe(6, 16))
    assert all(f.loss[-1] < f.loss[0] and not f.diverged for f in found)
    assert all(p.dtype == torch.float32 for p in models[0].parameters())
    assert "forward" not in vars(models[0])


def test_float16_trains_one_net_at_a_time():
    with precision("fp16") as scaled:
        problem = blobs()
        assert scaled.scales
        with pytest.raises(ActsmithError, match="float16 train one net at a time"):
            trained(scaled, [perceptron(problem, s) for s in range(2)], problem, "own")


def test_a_runtime_of_another_precision_takes_the_place_of_the_last():
    with precision("bf16") as mixed:
        assert str(mixed.accelerator.mixed_precision) == "bf16"
    assert str(Runtime.create("cpu").accelerator.mixed_precision) == "no"


@pytest.mark.parametrize("mode", ["alone", "vmap"])
def test_batches_may_be_dictionaries(runtime, mode):
    problem = Penalised()
    found = trained(runtime, [nn.Linear(3, 2) for _ in range(2)], problem, mode, recipe=Recipe(4, 8))
    assert all(f.loss[-1] < f.loss[0] for f in found)


def test_a_batch_larger_than_the_data(runtime):
    problem = blobs(size=20)
    assert len(trained(runtime, [perceptron(problem, 0)], problem, recipe=Recipe(3, 1000))[0].loss) == 3


@pytest.mark.parametrize("kind", ["perceptron", "convolutional"])
def test_it_repeats_exactly(runtime, kind):
    def loss(mode):
        problem, models = nets(kind, [3, 4])
        return [f.loss for f in trained(runtime, models, problem, mode)]

    assert loss("alone") == loss("alone")
    assert loss("vmap") == loss("vmap")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rates": [1e-2]}, "got 2 models, seeds"),
        ({"rates": [1e-2, -1.0]}, "one positive rate a model"),
        ({"models": [], "seeds": [], "rates": []}, "got 0 models"),
        ({"examples": 0.0}, "above 0 to 1"),
        ({"mode": "own", "recipe": Recipe(1, 8, lbfgs=1)}, "L-BFGS, several processes"),
        ({"checkpoint": object()}, "one checkpoint for 2 models"),
    ],
)
def test_wrong_requests(runtime, change, message):
    problem = blobs()
    asked = {
        "models": [perceptron(problem, s) for s in range(2)], "seeds": [0, 1], "rates": [1e-2, 1e-2],
        "recipe": Recipe(1, 8), "runtime": runtime, **change,
    }  # fmt: skip
    with pytest.raises(ActsmithError, match=message):
        fit(problem, asked.pop("models"), **asked)


@pytest.mark.parametrize("change", [{"epochs": 0}, {"batch": 0}, {"warm_up": 2.0}, {"clip": 0.0}, {"lbfgs": -1}])
def test_budgets_that_train_nothing(change):
    with pytest.raises(ActsmithError, match="recipe: got"):
        Recipe(**{"epochs": 1, "batch": 1, **change})


def test_a_shorter_recipe_keeps_one_epoch():
    assert Recipe(10, 8, lbfgs=4).shortened(0.25) == Recipe(2, 8, lbfgs=1)
    assert Recipe(10, 8).shortened(0.01).epochs == 1


def test_nothing_that_was_trained_is_held(runtime):
    problem = blobs()
    model = perceptron(problem, 0)
    trained(runtime, [model], problem)
    held = weakref.ref(model)
    del model
    gc.collect()
    assert held() is None


@pytest.mark.parametrize("mode", ["alone", "vmap"])
def test_scores_are_computed_in_the_precision_of_the_training(mode):
    class Watching(nn.Linear):
        def forward(self, x):
            if not self.training:
                seen.add(torch.is_autocast_enabled("cpu"))
            return super().forward(x)

    seen = set()
    with precision("bf16") as mixed:
        problem = blobs()
        trained(mixed, [Watching(6, problem.outputs) for _ in range(2)], problem, mode)
    assert seen == {True}


def test_the_scale_of_gradients_begins_anew_with_every_training_and_is_saved():
    def steps(scaled, count):
        for _ in range(count):
            weight.grad = None
            scaled.scaler.scale((3.0 * weight).sum()).backward()
            scaled.scaler.step(scaled.adam)
            scaled.scaler.update()
        return scaled.scaler.get_scale(), weight.item()

    scaler, weight = torch.amp.GradScaler("cpu", growth_interval=2), nn.Parameter(torch.zeros(1))
    adam = torch.optim.AdamW([weight], lr=0.1)
    _Scaled(adam, scaler)
    assert steps(_Scaled(adam, scaler), 3)[0] == 2 * SCALE
    again = _Scaled(adam, scaler)
    assert scaler.get_scale() == SCALE
    saved, held = copy.deepcopy(again.state_dict()), weight.detach().clone()
    whole = steps(again, 5)
    weight.data.copy_(held)
    again.load_state_dict(saved)
    assert steps(again, 5) == whole
    assert whole[0] == 4 * SCALE


def test_float16_trains_without_a_scale_on_the_cpu():
    problem = blobs()
    with precision("fp16") as scaled:
        (found,) = trained(scaled, [perceptron(problem, 0)], problem, recipe=Recipe(3, 16, clip=1.0))
        state = Alone(perceptron(problem, 0), 1e-2, Recipe(1, 16), scaled).optimiser.state_dict()
    assert found.loss[-1] < found.loss[0]
    assert state["scaler"] is None


@pytest.mark.parametrize("asked", [{"device": "gpu"}, {"precision": "float16"}])
def test_a_runtime_that_there_is_not(asked):
    with pytest.raises(ActsmithError, match="expected 'auto' or 'cpu', and 'no' or 'bf16' or 'fp16'"):
        Runtime.create(**asked)
