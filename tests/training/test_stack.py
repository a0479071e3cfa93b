"""Nets side by side are nets alone: losses, gradients, buffers, whole trainings, in both forms, for every structure."""

import copy

import pytest
import torch
from torch import nn
from training_problems import KINDS, Oscillator, Penalised, Tied, blobs, nets, perceptron

from actsmith.errors import ActsmithError
from actsmith.training.fit import fit
from actsmith.training.problem import Regression
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime
from actsmith.training.stack import Stack, can_batch, joined, split, with_autograd

SEEDS, RATES = [3, 4, 3], [1e-2, 1e-2, 3e-3]
CASES = [(kind, form) for kind in KINDS for form in ("own", "vmap") if form == "vmap" or "perceptron" in kind]


@pytest.fixture(scope="module")
def runtime():
    return Runtime.create("cpu")


def trained(problem, models, runtime, mode, recipe, **options):
    models = [copy.deepcopy(model) for model in models]
    found = fit(problem, models, seeds=SEEDS, rates=RATES, recipe=recipe, runtime=runtime, mode=mode, **options)
    return found, models


@pytest.mark.parametrize(("kind", "form"), CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-3)])
def test_a_training_is_the_same_alone_and_stacked(runtime, kind, form, dtype, tolerance):
    recipe = Recipe(epochs=3, batch=16, weight_decay=0.1, clip=0.5, score_every=2)
    problem, models = nets(kind, SEEDS, dtype)
    alone, alone_models = trained(problem, models, runtime, "alone", recipe, test=True)
    stacked, stacked_models = trained(problem, models, runtime, form, recipe, test=True)
    for a, b in zip(alone, stacked, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=tolerance)
        assert a.validation["loss"] == pytest.approx(b.validation["loss"], rel=tolerance)
        assert a.test["loss"] == pytest.approx(b.test["loss"], rel=tolerance)
        assert a.curve[0][1]["loss"] == pytest.approx(b.curve[0][1]["loss"], rel=tolerance)
        assert (a.seed, a.rate, a.parameters.keys()) == (b.seed, b.rate, b.parameters.keys())
        for name, values in a.parameters.items():
            assert values == pytest.approx(b.parameters[name], rel=10 * tolerance, abs=tolerance)
    for a, b in zip(alone_models, stacked_models, strict=True):
        assert a.state_dict().keys() == b.state_dict().keys()
        for name, value in a.state_dict().items():
            # Before a batch norm the gradient of a bias is rounding alone, and the mean follows the bias.
            if dtype == torch.float64 or name.rpartition(".")[2] not in ("bias", "running_mean"):
                torch.testing.assert_close(value, b.state_dict()[name], rtol=10 * tolerance, atol=tolerance)
    assert alone[0].loss != alone[1].loss != alone[2].loss  # three different nets


@pytest.mark.parametrize(("kind", "form"), CASES)
def test_losses_and_gradients_are_those_of_each_net(kind, form):
    problem, models = nets(kind, SEEDS, torch.float64)
    orders = [torch.arange(i, i + 8) for i in range(3)]
    batches = [problem.batch(order, torch.device("cpu")) for order in orders]
    stack = Stack(models, form)
    for _ in range(2):  # the first losses decide whether outputs are computed ahead
        losses = stack.losses(problem, joined(batches))
        stack.zero_grad()
        losses.sum().backward()
        for i, (model, batch) in enumerate(zip(models, batches, strict=True)):
            model.zero_grad()
            loss = problem.loss(model, batch)
            loss.backward()
            assert losses[i].item() == pytest.approx(loss.item(), rel=1e-12)
            held = dict(stack.module.named_parameters())
            for name, p in model.named_parameters():
                torch.testing.assert_close(held[name].grad[i].view_as(p), p.grad, rtol=1e-9, atol=1e-12)
            for name, b in model.named_buffers():
                torch.testing.assert_close(dict(stack.module.named_buffers())[name][i], b)


@pytest.mark.parametrize("form", ["own", "vmap"])
@pytest.mark.parametrize("make", [Oscillator, Penalised])
def test_a_users_problem_is_the_same_in_every_form(runtime, form, make):
    """Second derivatives in the inputs; a dict as a batch with a penalty on `model.named_parameters()`."""
    problem = make(torch.float64)
    models = [perceptron(problem, seed, "gelu").double() for seed in SEEDS]
    recipe = Recipe(epochs=4, batch=8)
    alone, alone_models = trained(problem, models, runtime, "alone", recipe)
    stacked, stacked_models = trained(problem, models, runtime, form, recipe)
    for a, b in zip(alone, stacked, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-9)
        assert a.validation == pytest.approx(b.validation, rel=1e-7)
    for a, b in zip(alone_models, stacked_models, strict=True):
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-8, atol=1e-10)
    assert alone[0].loss[-1] < alone[0].loss[0]


class Twice(Regression):
    """Calls the network on other inputs than the batch's, and twice."""

    def loss(self, model, batch):
        x, y = batch
        return (model(x) - y).square().mean() + (model(x + 0.1) - model(x)).square().mean()


class Reads(Regression):
    """Reads what the network is."""

    def loss(self, model, batch):
        assert model.training
        assert isinstance(model.layers[0], nn.Linear)
        return super().loss(model, batch) + model.layers[-1].bias.square().sum()


@pytest.mark.parametrize("make", [Twice, Reads])
@pytest.mark.parametrize("form", ["own", "vmap"])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_loss_may_ask_its_network_for_anything(make, form, norm):
    x = torch.randn(12, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    problem = make((x, x[:, :1]), (x, x), (x, x), 1)
    models = [perceptron(problem, seed, norm=norm).double() for seed in SEEDS]
    stack = Stack(models, form)
    batch = problem.batch(torch.arange(8), torch.device("cpu"))
    for _ in range(2):
        losses = stack.losses(problem, joined([batch] * 3))
        assert losses.tolist() == pytest.approx([problem.loss(m, batch).item() for m in models], rel=1e-10)
    for i, model in enumerate(models):
        for name, b in model.named_buffers():
            torch.testing.assert_close(dict(stack.module.named_buffers())[name][i], b)
    assert "forward" not in vars(stack.one)


def test_outputs_are_computed_ahead_where_a_loss_asks_for_nothing_else():
    problem = blobs()
    models = [perceptron(problem, seed) for seed in SEEDS]
    batch = joined([problem.batch(torch.arange(8), torch.device("cpu"))] * 3)
    stack = Stack(models, "own")
    stack.losses(problem, batch)
    assert stack._ahead is True
    other = Penalised()
    stack = Stack([perceptron(other, seed) for seed in SEEDS], "own")
    stack.losses(other, joined([other.batch(torch.arange(8), torch.device("cpu"))] * 3))
    assert stack._ahead is False


def test_tied_and_frozen_parameters_and_buffers(runtime):
    problem = Penalised(torch.float64)
    models = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        models.append(Tied().double())
    recipe = Recipe(epochs=3, batch=10, weight_decay=0.1)
    alone, alone_models = trained(problem, models, runtime, "alone", recipe)
    stacked, stacked_models = trained(problem, models, runtime, "vmap", recipe)
    for a, b, fresh in zip(alone_models, stacked_models, models, strict=True):
        assert b.first.weight is b.second.weight
        assert (a.calls.item(), b.calls.item()) == (12, 12)
        torch.testing.assert_close(b.frozen.weight, fresh.frozen.weight, rtol=0, atol=0)
        torch.testing.assert_close(a.first.weight, b.first.weight, rtol=1e-9, atol=1e-11)
        assert not torch.equal(b.first.weight, fresh.first.weight)
    assert [f.loss for f in alone] == [pytest.approx(f.loss, rel=1e-10) for f in stacked]


def test_models_of_different_structure_are_refused():
    problem = blobs()
    with pytest.raises(ActsmithError, match="2 models of different structure"):
        Stack([perceptron(problem, 0), perceptron(problem, 0, width=9)])
    with pytest.raises(ActsmithError, match="different structure or activations"):
        Stack([perceptron(problem, 0, "relu"), perceptron(problem, 1, "gelu")])
    with pytest.raises(ActsmithError, match="no form of its own"):
        Stack([nn.Linear(2, 1)], "own")
    assert can_batch(perceptron(problem, 0))
    assert not can_batch(nn.Linear(2, 1))


def test_batches_are_trees():
    x = torch.arange(12.0).view(6, 2)
    tree = {"a": x, "b": (x, [x[:, 0]])}
    both = joined([tree, tree])
    assert (both["b"][1][0].shape, type(both["b"])) == ((2, 6), tuple)
    assert torch.equal(split(tree, 3)["b"][0][1], x[2:4])


def test_with_autograd_of_an_ordinary_network_is_a_call():
    x = torch.linspace(-1, 1, 5)
    (slope,) = with_autograd(lambda net, z: torch.autograd.grad(net(z := z.requires_grad_()).sum(), z), nn.Tanh(), x)
    torch.testing.assert_close(slope, 1 - x.detach().tanh().square())
