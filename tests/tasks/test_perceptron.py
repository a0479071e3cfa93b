"""Perceptrons: critical starts, paired draws, their batched form, and that they learn."""

from typing import get_args

import pytest
import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula, Param
from actsmith.nn.activation import Activation
from actsmith.nn.start import start_of
from actsmith.tasks.flat import FlatImages
from actsmith.tasks.perceptron import Mlp, Norm
from actsmith.training.fit import fit
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime
from actsmith.training.stack import Stack


@pytest.fixture(scope="module")
def digits():
    return FlatImages("digits").load(None)


@pytest.mark.parametrize("name", ["relu", "gelu", "silu", "crrelu", "mish"])
def test_the_first_pre_activations_have_the_kernel_that_was_asked_for(digits, name):
    formula, first, logits = get_activation(name), [], []
    for seed in range(20):
        network = Mlp(64, 6).build(formula, seed, digits)
        network.layers[0].register_forward_hook(lambda module, args, out: first.append(out))
        with torch.no_grad():
            logits.append(network(digits.train[0]))
    assert float(torch.stack(first).var()) == pytest.approx(start_of(formula, 6).K0, rel=0.15)
    assert 0.3 < float(torch.stack(logits).var()) < 3


def test_one_seed_means_one_draw_for_every_activation(digits):
    relu, gelu = (Mlp(8, 2).build(get_activation(name), 7, digits) for name in ("relu", "gelu"))
    for a, b in zip(relu.layers, gelu.layers, strict=True):
        ratio = a.weight / b.weight
        torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-5, atol=0)
    other = Mlp(8, 2).build(get_activation("relu"), 8, digits)
    assert not torch.equal(relu.layers[0].weight, other.layers[0].weight)


def test_the_start_that_is_not_critical(digits):
    network = Mlp(8, 2, init="kaiming").build(get_activation("gelu"), 0, digits)
    assert network.start.C_W == 2
    assert not any(layer.bias.any() for layer in network.layers)


@pytest.mark.parametrize("norm", get_args(Norm))
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_batched_form_is_the_networks_one_by_one(digits, norm, residual, training):
    networks = [Mlp(8, 3, norm=norm, residual=residual).build(get_activation("prelu"), s, digits) for s in range(3)]
    x = digits.train[0][:30].view(3, 10, -1)
    stack = Stack(networks, "own").train(training)
    for i, network in enumerate(networks):
        torch.testing.assert_close(stack.module(x)[i], network.train(training)(x[i]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(64,), (8, 8), (1, 8, 8)])
def test_inputs_are_flattened(digits, shape):
    network = Mlp(8, 2).build(get_activation("relu"), 0, digits)
    x = digits.train[0][:5]
    assert torch.equal(network(x.view(5, *shape)), network(x))


def test_the_shift_moves_every_learned_parameter(digits):
    plain, moved = (Mlp(8, 2, shift=shift).build(get_activation("crrelu"), 0, digits) for shift in (0.0, 0.5))
    for a, b in zip(plain.activations.parameters(), moved.activations.parameters(), strict=True):
        torch.testing.assert_close(b, a + 0.5)


def test_it_learns(digits):
    networks = [Mlp(32, 3).build(get_activation("relu"), seed, digits) for seed in range(2)]
    found = fit(
        digits, networks, seeds=[0, 1], rates=[1e-2, 1e-2], recipe=Recipe(10, 32), runtime=Runtime.create("cpu"),
        mode="own", test=True,
    )  # fmt: skip
    assert min(f.test["accuracy"] for f in found) > 0.92


@pytest.mark.parametrize("change", [{"width": 0}, {"depth": 0}, {"norm": "group"}, {"dropout": 1.0}])
def test_wrong_requests(change):
    with pytest.raises(ActsmithError, match="Mlp: got"):
        Mlp(**change)


def test_it_is_an_ordinary_module(digits):
    network = Mlp(8, 2).build(get_activation("relu"), 0, digits)
    assert [type(layer) for layer in network.layers] == [nn.Linear] * 3
    assert {name for name, _ in Stack([network], "own").module.named_parameters()} == {
        name for name, _ in network.named_parameters()
    }


def test_the_batched_form_has_the_activations_that_were_put_in(digits):
    def network(value, seed):
        made = Mlp(8, 2).build(get_activation("crrelu"), seed, digits)
        for i in range(2):
            made.activations[i] = Activation(Formula("relu(x) + eps*x", {"eps": Param(value)}, "leak"))
        return made

    networks = [network(0.3, seed) for seed in range(2)]
    x = digits.train[0][:8].view(2, 4, -1)
    both = Stack(networks, "own").module(x)
    for i, one in enumerate(networks):
        torch.testing.assert_close(both[i], one(x[i]), rtol=1e-5, atol=1e-5)
    with pytest.raises(ActsmithError, match="different structure or activations"):
        Stack([network(0.3, 0), network(0.4, 0)], "own")
