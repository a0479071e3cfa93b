"""What a training loop calls: the base does nothing, and each of ours does its part when it is called as one."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from actsmith.nn import Activation, EntropyDescent
from actsmith.nn.hook import Hook
from actsmith.surgery.blend import Blend
from actsmith.surgery.probe import ProbeEvery

X = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), Activation("crrelu"), nn.Linear(8, 1))


def trained(net: nn.Sequential, hook: Hook, first: int, last: int) -> None:
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    for step in range(first, last):
        optimizer.zero_grad()
        net(X).square().mean().backward()
        hook.before_step(step)
        optimizer.step()


def test_the_base_does_nothing() -> None:
    net, watched = model(), model()
    trained(watched, Hook(), 0, 3)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    for _ in range(3):
        optimizer.zero_grad()
        net(X).square().mean().backward()
        optimizer.step()
    for ours, theirs in zip(net.parameters(), watched.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    hook = Hook()
    hook.load_state_dict(hook.state_dict())
    hook.close()
    assert hook.after_epoch(0) is None
    assert hook.state_dict() == {}


def test_a_probe_sees_the_model_before_the_step_and_goes_on() -> None:
    net = model()
    untrained = copy.deepcopy(net)
    watch = ProbeEvery(net, X, every=2, keep=lambda found: found.records["1"].std)
    trained(net, watch, 0, 3)
    assert [step for step, _ in watch.history] == [0, 2]
    first = ProbeEvery(untrained, X, keep=lambda found: found.records["1"].std)
    first()
    assert watch.history[0] == first.history[0]
    resumed = ProbeEvery(net, X, every=2, keep=lambda found: found.records["1"].std)
    resumed.load_state_dict(watch.state_dict())
    trained(net, resumed, 3, 5)
    assert [step for step, _ in resumed.history] == [0, 2, 4]
    assert len(watch.history) == 2


def test_a_blend_takes_a_step_with_the_optimiser() -> None:
    blend = Blend(4)
    trained(model(), blend, 0, 3)
    assert blend.weight == 0.75
    blend.close()  # the model stays what was trained
    assert blend.weight == 0.75


def test_the_descent_acts_as_it_does_when_stepped() -> None:
    def gradient(step: str) -> Any:
        net = model()
        with EntropyDescent(net, weight=0.1, samples=200) as descent:
            net(X).square().mean().backward()
            descent.before_step(0) if step == "hook" else descent.step()
            assert descent.steps == 1
            return net[1].eps.grad.item()

    assert gradient("hook") == gradient("call")


def test_each_is_a_hook() -> None:
    assert all(issubclass(kind, Hook) for kind in (ProbeEvery, Blend, EntropyDescent))
