"""AdamW on flat buffers: torch's own update, a rate for each net, weights alone decay."""

import pytest
import torch
from torch import nn
from training_problems import Block, Tied, blobs, convolutional, perceptron

from actsmith.errors import ActsmithError
from actsmith.nn.activation import Activation
from actsmith.training.adamw import AdamW, decaying
from actsmith.training.stack import Stack


def test_what_decays():
    assert decaying(Block()) == {f"{name}.weight" for name in ("qkv", "out", "up", "down", "readout")}
    assert decaying(convolutional()) == {"0.weight", "3.weight", "8.weight"}
    assert decaying(nn.Sequential(nn.Linear(2, 2), nn.PReLU(2), Activation("crrelu"))) == {"0.weight"}
    assert decaying(Tied()) == {"first.weight"}


@pytest.mark.parametrize("make", [Block, convolutional, Tied])
def test_a_step_is_torchs(make):
    torch.manual_seed(0)
    ours = make()
    theirs = make()
    theirs.load_state_dict(ours.state_dict())
    decays = decaying(ours)
    named = [(name, p) for name, p in theirs.named_parameters() if p.requires_grad]
    adam = torch.optim.AdamW(
        [
            {"params": [p for name, p in named if (name in decays) == decay], "weight_decay": 0.3 * decay}
            for decay in (True, False)
        ]
    )
    optimiser = AdamW(ours, [2e-3], 0.3, decays)
    for t in range(5):
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            if p.requires_grad:
                g = torch.randn_like(p)
                p.grad.copy_(g)
                q.grad = g.clone()
        for group in adam.param_groups:
            group["lr"] = 2e-3 * (1 - 0.1 * t)
        adam.step()
        optimiser.step(1 - 0.1 * t)
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)
            assert not p.requires_grad or not p.grad.any()


def test_each_net_has_its_rate_and_its_clipped_gradient():
    problem, rates = blobs(), [1e-2, 3e-3, 3e-3, 1e-3]
    models = [perceptron(problem, seed) for seed in range(4)]
    stack = Stack(models)
    together = AdamW(stack.module, rates, 0.1, decaying(stack.one))
    single = [AdamW(model, [rate], 0.1, decaying(model)) for model, rate in zip(models, rates, strict=True)]
    for _ in range(3):
        gradients = {name: torch.randn_like(p) for name, p in stack.module.named_parameters()}
        for name, p in stack.module.named_parameters():
            p.grad.copy_(gradients[name])
        for i, model in enumerate(models):
            for name, p in model.named_parameters():
                p.grad.copy_(gradients[name][i])
            norm = torch.nn.utils.clip_grad_norm_(list(model.parameters()), 0.5)
            assert norm > 0.5
        together.clip(0.5)
        for i, model in enumerate(models):
            for name, p in model.named_parameters():
                torch.testing.assert_close(dict(stack.module.named_parameters())[name].grad[i], p.grad)
        together.step(0.5)
        for optimiser in single:
            optimiser.step(0.5)
    stack.write(copies := [perceptron(problem, 9) for _ in range(4)])
    for model, found in zip(models, copies, strict=True):
        for p, q in zip(model.parameters(), found.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)


def test_a_clip_below_the_norm_changes_nothing():
    model = nn.Linear(3, 2)
    optimiser = AdamW(model, [1e-3], 0.0, decaying(model))
    model.weight.grad.fill_(0.1)
    optimiser.clip(1.0)
    torch.testing.assert_close(model.weight.grad, torch.full((2, 3), 0.1))


def test_a_gradient_that_somebody_replaced_counts():
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    other.load_state_dict(one.state_dict())
    a, b = (AdamW(model, [1e-2], 0.0, set()) for model in (one, other))
    one.weight.grad.fill_(0.3)
    other.weight.grad = torch.full((2, 3), 0.3)
    other.bias.grad = None
    a.step(1.0)
    b.step(1.0)
    torch.testing.assert_close(one.weight, other.weight, rtol=0, atol=0)
    torch.testing.assert_close(one.bias, other.bias, rtol=0, atol=0)


def test_parameters_of_two_dtypes():
    model = nn.ModuleList([nn.Linear(2, 2).double(), nn.Linear(2, 2)])
    optimiser = AdamW(model, [1e-2], 0.0, set())
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad.fill_(1.0)
    optimiser.clip(10.0)
    optimiser.step(1.0)
    for p, start in zip(model.parameters(), before, strict=True):
        assert p.dtype == start.dtype
        torch.testing.assert_close(p, start - 1e-2)


def test_the_state_is_taken_up_and_the_parameters_are_given_back():
    def trained(model, optimiser, steps):
        for _ in range(steps):
            model(torch.ones(4, 3)).square().sum().backward()
            optimiser.step(1.0)

    torch.manual_seed(0)
    whole, broken = nn.Linear(3, 2), nn.Linear(3, 2)
    broken.load_state_dict(whole.state_dict())
    trained(whole, AdamW(whole, [1e-2], 0.1, {"weight"}), 6)
    first = AdamW(broken, [1e-2], 0.1, {"weight"})
    trained(broken, first, 3)
    state = {"flat": [{k: v.clone() for k, v in flat.items()} for flat in first.state_dict()["flat"]]}
    again = nn.Linear(3, 2)
    again.load_state_dict(broken.state_dict())
    second = AdamW(again, [1e-2], 0.1, {"weight"})
    second.load_state_dict(state)
    trained(again, second, 3)
    torch.testing.assert_close(again.weight, whole.weight, rtol=0, atol=0)
    second.release()
    assert again.weight.grad is None
    assert again.weight.untyped_storage().nbytes() == 4 * again.weight.numel()
    torch.testing.assert_close(again.weight, whole.weight, rtol=0, atol=0)


def test_nothing_to_train_is_said():
    model = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ActsmithError, match="Linear has no parameter that requires a gradient"):
        AdamW(model, [1e-3], 0.0, set())
