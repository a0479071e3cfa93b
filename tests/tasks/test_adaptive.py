"""Activations that change during training: what moves eps, what is written down, resumption."""

import dataclasses

import pytest
import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import resolve
from actsmith.nn.activation import Activation
from actsmith.nn.hermite import hermite_formula
from actsmith.nn.kan import KANLinear
from actsmith.tasks.adaptive import EntropyWatch, Kan
from actsmith.tasks.functions import Polynomial, PolynomialConfig
from actsmith.tasks.perceptron import Mlp
from actsmith.theory.entropy import entropy
from actsmith.theory.laws import Normal
from actsmith.training.checkpoint import Checkpoint
from actsmith.training.fit import Stopped, fit
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime
from actsmith.training.stack import Stack

PROBLEM = PolynomialConfig(Polynomial("xy", ((1, 1),), (1.0,)), size=256, held_out=64).load(None)
FAMILY = hermite_formula("relu", 5)
RECIPE = Recipe(epochs=4, batch=32)


@pytest.fixture(scope="module")
def runtime():
    return Runtime.create("cpu")


def trained(runtime, watch, formula=FAMILY, *, config=None, mode="own", checkpoint=None, stop=None):
    """Both nets' results as plain values."""
    models = [(config or Mlp(width=16, depth=3)).build(formula, seed, PROBLEM) for seed in (0, 1)]
    found = fit(
        PROBLEM, models, seeds=[0, 1], rates=[3e-3, 3e-3], recipe=RECIPE, runtime=runtime, mode=mode, test=True,
        hook=lambda module: watch.build(module, PROBLEM), checkpoint=checkpoint, stop=stop,
    )  # fmt: skip
    return [{k: v for k, v in one.to_dict().items() if k != "step_seconds"} for one in found]


def looks_of(found):
    return [look for record in found["watched"] for look in record["looks"]]


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh"])
def test_a_look_finds_the_entropy_of_theory(name):
    network = nn.Sequential(Activation(name))
    hook = EntropyWatch(look=5).build(network, PROBLEM)
    network(torch.randn(256, 256, generator=torch.Generator().manual_seed(0)))
    hook.before_step(0)
    (look,) = hook.of_net(hook.after_epoch(0), 0)["looks"]
    assert look["step"] == 0
    assert look["entropy"]["0"] == pytest.approx(entropy(name, Normal()).smoothed, abs=0.01)
    assert hook.after_epoch(1) is None
    hook.close()
    assert not network[0]._forward_hooks


@pytest.mark.parametrize("mode", ["own", "alone"])
def test_looks_come_at_their_steps_for_every_layer(runtime, mode):
    for found in trained(runtime, EntropyWatch(look=10), resolve("gelu"), mode=mode):
        looks = looks_of(found)
        assert [look["step"] for look in looks] == [0, 10, 20, 30]
        assert {tuple(look["entropy"]) for look in looks} == {("activations.0", "activations.1", "activations.2")}
        assert all(isinstance(j, float) for look in looks for j in look["entropy"].values())


def test_a_stack_is_watched_net_by_net(runtime):
    watch = EntropyWatch(0.1, look=10, samples=10**6)
    stacked, alone = (trained(runtime, watch, mode=mode) for mode in ("own", "alone"))
    for one, other in zip(stacked, alone, strict=True):
        for a, b in zip(looks_of(one), looks_of(other), strict=True):
            assert a["entropy"] == pytest.approx(b["entropy"], abs=2e-3)
        for name, values in one["parameters"].items():
            assert values == pytest.approx(other["parameters"][name], rel=1e-2, abs=1e-3)
    assert looks_of(stacked[0])[0] != looks_of(stacked[1])[0]


def test_a_stack_whose_modules_do_not_run_cannot_be_watched(runtime):
    with pytest.raises(ActsmithError, match="no activation of the module ran: a stack by vmap"):
        trained(runtime, EntropyWatch(look=5), resolve("gelu"), mode="vmap")


def gradients(watch, task):
    """The gradient of every eps after a step of the hook, where the task's is `task`."""
    stack = Stack([Mlp(16, 2).build(FAMILY, seed, PROBLEM) for seed in (0, 1)], "own")
    hook = watch.build(stack.module, PROBLEM)
    stack.module(PROBLEM.train[0].expand(2, -1, -1))
    for p in stack.parameters():
        p.grad = torch.full_like(p, task)
    hook.before_step(0)
    assert all((p.grad == task).all() for p in stack.module.layers.parameters())
    return torch.stack([p.grad for p in stack.module.activations.parameters()])


def test_eps_gets_what_the_condition_says():
    nothing = gradients(EntropyWatch(), 3.0)
    alone, both = (gradients(EntropyWatch(0.1, task=task), 3.0) for task in (False, True))
    raised = gradients(EntropyWatch(-0.1, task=False), 3.0)
    assert (nothing == 3).all()
    assert alone.abs().max() > 1e-3
    torch.testing.assert_close(both, alone + 3)
    torch.testing.assert_close(raised, -alone)
    torch.testing.assert_close(gradients(EntropyWatch(0.1, task=False), 0.0), alone)


@pytest.mark.parametrize("weight", [1.0, -1.0])
def test_the_weights_sign_decides_where_the_entropy_goes(weight):
    """Of one activation on N(0, 1), by gradient descent."""
    network = nn.Sequential(Activation(hermite_formula("gelu", 3)))
    hook = EntropyWatch(weight, task=False, every=1, look=20).build(network, PROBLEM)
    descent = torch.optim.SGD(network.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(0)
    for step in range(21):
        network(torch.randn(128, 32, generator=generator))
        hook.before_step(step)
        descent.step()
        descent.zero_grad()
    first, last = (look["entropy"]["0"] for look in hook.of_net(hook.after_epoch(0), 0)["looks"])
    assert weight * (first - last) > 0.03


def test_criticality_is_kept(runtime):
    """E f^2 under N(0, 1), by the trapezoidal rule, of what training made of the first layer."""
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    density = torch.exp(-x.square() / 2) / (2 * torch.pi) ** 0.5
    squares = {}
    for keep in ("nothing", "critical"):
        learned = trained(runtime, EntropyWatch(0.1, keep=keep))[0]["parameters"]
        eps = [learned[f"activations.0.eps{k}"][0] for k in range(1, 6)]
        assert max(map(abs, eps)) > 1e-3
        f = torch.relu(x)
        he = [torch.ones_like(x), x]
        for k in range(1, 6):
            f = f + eps[k - 1] * he[k] * torch.exp(-x.square() / 2)
            he.append(x * he[k] - k * he[k - 1])
        squares[keep] = float(torch.trapezoid(f.square() * density, x))
    assert squares["critical"] == pytest.approx(0.5, abs=2e-3)
    assert abs(squares["nothing"] - 0.5) > 1e-2


@pytest.mark.parametrize("last", [5, 8, 19])
@pytest.mark.parametrize("keep", ["nothing", "critical"])
def test_an_interrupted_training_goes_on_bit_for_bit(runtime, tmp_path, last, keep):
    """In the middle of an epoch, at its end, between a look and the record that holds it."""
    watch = EntropyWatch(0.1, keep=keep, every=3, samples=200, look=7)
    config = Mlp(width=8, depth=2, norm="batch", dropout=0.1)
    eager = dataclasses.replace(runtime, checkpoint_seconds=0.0)
    whole = trained(runtime, watch, config=config)
    steps = iter(range(last))

    with pytest.raises(Stopped):
        trained(
            eager, watch, config=config, checkpoint=Checkpoint.at(tmp_path, "k"), stop=lambda: next(steps, None) is None
        )
    assert Checkpoint.at(tmp_path, "k").load()["state"]["step"] == last + 1
    assert trained(eager, watch, config=config, checkpoint=Checkpoint.at(tmp_path, "k")) == whole


def test_a_net_that_is_lost_does_not_move_its_neighbour(runtime):
    """Net 0 is not finite from the start; net 1 trains as beside a healthy one."""
    learned = []
    for lost in (False, True):
        models = [Mlp(16, 2).build(FAMILY, seed, PROBLEM) for seed in (0, 1)]
        if lost:
            nn.init.constant_(models[0].layers[0].weight, torch.nan)
        found = fit(
            PROBLEM, models, seeds=[0, 1], rates=[3e-3] * 2, recipe=RECIPE, runtime=runtime, mode="own",
            hook=lambda module: EntropyWatch(0.1, look=9).build(module, PROBLEM),
        )  # fmt: skip
        assert [one.diverged for one in found] == [lost, False]
        learned.append(found[1].parameters)
    assert learned[0] == learned[1]
    values = [[list(look["entropy"].values()) for r in one.watched for look in r["looks"]] for one in found]
    assert all(v is None for look in values[0] for v in look)
    assert all(v is not None for look in values[1] for v in look)


def test_a_watch_that_moves_nothing_is_refused():
    with pytest.raises(ActsmithError, match="expected one that moves"):
        EntropyWatch(task=False).build(nn.Sequential(Activation(FAMILY)), PROBLEM)
    with pytest.raises(ActsmithError, match="no activation with learnable parameters"):
        EntropyWatch(0.1).build(nn.Sequential(nn.ReLU()), PROBLEM)


def test_a_kan_learns_its_edges_by_both(runtime):
    torch.manual_seed(0)
    model = Kan(width=4).build(resolve("silu"), 0, PROBLEM)
    assert [(m.in_features, m.out_features) for m in model.modules() if isinstance(m, KANLinear)] == [(2, 4), (4, 1)]
    (found,) = fit(
        PROBLEM, [model], seeds=[0], rates=[1e-2], recipe=Recipe(20, 32), runtime=runtime,
        hook=lambda module: EntropyWatch(0.01, look=4).build(module, PROBLEM),
    )  # fmt: skip
    assert found.watched == []
    assert found.validation["relative_rmse"] < 0.5
