"""The batched training: each net as if alone, paired seeds, critical starts, divergence, and that it learns."""

import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.experiments.initial import initialisation
from actsmith.experiments.network import Stack
from actsmith.experiments.tasks import load_task, task_from_arrays
from actsmith.experiments.training import Net, Optimiser, train
from actsmith.formula.catalogue import get
from actsmith.formula.formula import Formula, Param

DIGITS = load_task("digits")
SMALL = DIGITS.with_budget(width=12, depth=3, epochs=2, batch=64)
NETS = [Net(0, 1e-2), Net(1, 1e-3), Net(0, 3e-3)]


@pytest.mark.parametrize("name", ["crrelu", "gelu", "prelu"])
def test_a_net_of_a_batch_equals_that_net_alone(name):
    formula = get(name)
    together = train(SMALL, formula, NETS, look_at_test=True, dtype=torch.float64)
    for i, net in enumerate(NETS):
        alone = train(SMALL, formula, [net], look_at_test=True, dtype=torch.float64)
        np.testing.assert_allclose(alone.nets[0].loss, together.nets[i].loss, rtol=1e-9)
        assert alone.nets[0].validation == together.nets[i].validation
        assert alone.nets[0].test_last == together.nets[i].test_last
        for one, other in zip(alone.network.parameters, together.network.parameters, strict=True):
            torch.testing.assert_close(one[0], other[i], rtol=1e-8, atol=1e-10)


def test_the_update_is_torchs_adamw():
    """One net against torch.optim.AdamW on its own torch module, with the same batches."""
    task, net = SMALL.with_budget(epochs=1), Net(3, 1e-2)
    formula = get("crrelu")
    outcome = train(task, formula, [net], optimiser=Optimiser(weight_decay=0.1, warm_up=0.0), dtype=torch.float64)
    start = initialisation(formula, task.depth)
    square = float(np.mean(np.square(task.train.x, dtype=np.float64)))
    network = Stack(
        formula, [3], features=64, width=12, depth=3, outputs=10, start=start, square=square, dtype=torch.float64
    )
    weights = [p for p in network.parameters() if any(p is w for w in network.weights)]
    others = [p for p in network.parameters() if not any(p is w for w in network.weights)]
    groups = [{"params": weights, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=1e-2)
    x, y = torch.from_numpy(task.train.x).double(), torch.from_numpy(task.train.y)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(2**32 + 3))
    steps = len(y) // task.batch
    for step in range(steps):
        # The first of the steps counts as the rise, the cosine falls over the others.
        rate = 1e-2 * 0.5 * (1 + math.cos(math.pi * step / (steps - 1)))
        for group in adam.param_groups:
            group["lr"] = rate
        batch = order[step * task.batch : (step + 1) * task.batch]
        adam.zero_grad()
        functional.cross_entropy(network(x[batch][None])[0], y[batch]).backward()
        adam.step()
    for one, other in zip(network.parameters(), outcome.network.parameters, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_one_seed_means_one_draw_for_every_activation():
    shape = {"features": 5, "width": 4, "depth": 2, "outputs": 3}
    relu, gelu = (
        Stack(get(n), [7, 8], start=initialisation(get(n), 2), **shape) for n in ("relu", "gelu")
    )  # fmt: skip
    for a, b in zip(relu.weights, gelu.weights, strict=True):
        ratio = a / b
        torch.testing.assert_close(ratio, ratio[0, 0, 0].expand_as(ratio), rtol=1e-5, atol=0)


def test_the_gradients_stay_in_the_buffer():
    outcome = train(SMALL.with_budget(epochs=1), get("crrelu"), NETS)
    network = outcome.network
    begin = network.gradients.data_ptr()
    end = begin + network.gradients.numel() * network.gradients.element_size()
    assert all(p.grad is not None and begin <= p.grad.data_ptr() < end for p in network.parameters)


@pytest.mark.parametrize("name", ["relu", "gelu", "silu", "crrelu", "mish"])
def test_the_first_pre_activations_have_the_kernel_that_was_asked_for(name):
    formula = get(name)
    start = initialisation(formula, 6)
    square = float(np.mean(np.square(DIGITS.train.x, dtype=np.float64)))
    network = Stack(formula, range(20), features=64, width=64, depth=6, outputs=10, start=start, square=square)
    x = torch.from_numpy(DIGITS.train.x) * network.scale
    with torch.no_grad():
        first = torch.baddbmm(network.biases[0], x.expand(20, -1, -1), network.weights[0])
        logits = network.scaled(x.expand(20, -1, -1))
    assert float(first.var()) == pytest.approx(start.K0, rel=0.15)
    assert 0.3 < float(logits.var()) < 3


def test_the_classes_start_as_stated():
    assert pytest.approx(2) == initialisation(get("relu"), 6).C_W
    gelu = initialisation(get("gelu"), 6)
    assert pytest.approx((1.983058257437547, (3 + math.sqrt(17)) / 2)) == (gelu.C_W, gelu.K0)
    assert pytest.approx(1) == initialisation(get("tanh"), 6).C_W
    assert initialisation(get("mrepu"), 6).K0 < initialisation(get("mrepu"), 2).K0 < 1
    none = initialisation(get("sigmoid"), 6)
    assert (none.universality, none.K0, none.C_b) == ("none", 1.0, 0.0)


def test_no_scale_keeps_a_function_without_second_moment():
    with pytest.raises(ActsmithError, match="finite positive"):
        initialisation(Formula("exp(x**2)"), 3)


def test_a_diverged_net_leaves_the_others_alone():
    nets = [Net(0, 1e-3), Net(1, 1e30), Net(2, 1e-3)]
    outcome = train(SMALL, get("mrepu"), nets, look_at_test=True)
    assert [net.diverged for net in outcome.nets] == [False, True, False]
    assert outcome.nets[1].test_last == 0
    assert outcome.nets[0].test_last is not None
    alone = train(SMALL, get("mrepu"), nets[:1])
    np.testing.assert_allclose(alone.nets[0].loss, outcome.nets[0].loss, rtol=1e-3)
    text = json.dumps([net.to_dict() for net in outcome.nets], allow_nan=False)
    assert json.loads(text)[1]["loss"][-1] is None


def test_learned_parameters_are_each_nets_own_and_do_not_decay():
    formula = Formula("relu(x) + a*x", {"a": Param(0.3, learn=True)})
    outcome = train(SMALL, formula, NETS)
    values = [net.parameters["a"] for net in outcome.nets]
    assert len({v for layers in values for v in layers}) == len(NETS) * SMALL.depth
    spread = outcome.network.spread(torch.ones(3), outcome.network.weights)
    assert float(spread.sum()) == sum(w.numel() for w in outcome.network.weights)


def test_the_test_split_is_not_looked_at_unasked():
    outcome = train(SMALL.with_budget(epochs=1), get("relu"), NETS)
    assert {(net.test_last, net.test_best) for net in outcome.nets} == {(None, None)}


def test_a_net_as_a_torch_module_computes_the_same():
    outcome = train(SMALL, get("prelu"), NETS)
    x = torch.from_numpy(SMALL.test.x)
    with torch.no_grad():
        stacked = outcome.network((x * outcome.network.scale).expand(3, -1, -1))
        for i in range(3):
            torch.testing.assert_close(outcome.network.module(i)(x), stacked[i], rtol=1e-4, atol=1e-4)


def test_it_learns_and_repeats_exactly():
    task = DIGITS.with_budget(width=32, depth=3, epochs=10, batch=32)
    first, second = (train(task, get("relu"), [Net(0, 1e-2), Net(1, 1e-2)], look_at_test=True) for _ in range(2))
    assert first.nets == second.nets
    assert min(net.test_last or 0 for net in first.nets) > 0.92


def test_wrong_requests():
    with pytest.raises(ActsmithError, match="positive learning rates"):
        train(SMALL, get("relu"), [Net(0, -1.0)])
    with pytest.raises(ActsmithError, match="one net or more"):
        train(SMALL, get("relu"), [])


def test_a_batch_larger_than_the_data():
    rng = np.random.default_rng(0)
    tiny = task_from_arrays("tiny", rng.normal(size=(40, 3)), np.arange(40) % 2, batch=1000, epochs=2, width=4, depth=1)
    assert not train(tiny, get("relu"), [Net(0, 1e-2)]).nets[0].diverged
