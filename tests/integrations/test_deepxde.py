"""DeepXDE (PyTorch backend): its networks with our activations, start and jets."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

import actsmith as acts
from actsmith.nn import Activation, critical_init_, derivatives
from actsmith.tasks.pde import NU

os.environ.setdefault("DDE_BACKEND", "pytorch")
dde = pytest.importorskip("deepxde")
if dde.backend.backend_name != "pytorch":
    pytest.skip(f"DeepXDE uses {dde.backend.backend_name}", allow_module_level=True)

DOMAIN = [(-1, 1), (0, 1)]


def network(activation: str) -> torch.nn.Module:
    """An FNN of DeepXDE; one module for all layers, since it does not register those of a list."""
    dde.config.set_random_seed(0)
    net = dde.nn.FNN([2, 20, 20, 20, 1], Activation(activation), "Glorot normal")
    report = critical_init_(net, domain=DOMAIN, generator=torch.Generator().manual_seed(0))
    assert report.found_by == "traced"
    assert [r.path for r in report] == [f"linears.{i}" for i in range(4)]
    assert len(report.scales) == 2
    return net


def burgers(residual: object) -> object:
    domain = dde.geometry.GeometryXTime(dde.geometry.Interval(*DOMAIN[0]), dde.geometry.TimeDomain(*DOMAIN[1]))
    walls = dde.icbc.DirichletBC(domain, lambda x: 0, lambda _, on_boundary: on_boundary)
    start = dde.icbc.IC(domain, lambda x: -np.sin(np.pi * x[:, 0:1]), lambda _, on_initial: on_initial)
    return dde.data.TimePDE(domain, residual, [walls, start], num_domain=200, num_boundary=20, num_initial=40)


def by_deepxde(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    u_x, u_t = (dde.grad.jacobian(u, x, i=0, j=j) for j in (0, 1))
    return u_t + u * u_x - NU * dde.grad.hessian(u, x, i=0, j=0)


def by_jets(net: torch.nn.Module) -> object:
    def residual(x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        u = derivatives(net, x, [(2, 0), (0, 1)])
        return u[0, 1] + u[0, 0] * u[1, 0] - NU * u[2, 0]

    return residual


@pytest.mark.parametrize("activation", ["tanh", "crrelu"])
def test_derivatives_are_those_of_deepxde(activation):
    net = network(activation)
    x = (2 * torch.rand(50, 2, generator=torch.Generator().manual_seed(1)) - 1).requires_grad_()
    theirs = by_deepxde(x, net(x))
    dde.grad.clear()
    ours = by_jets(net)(x, None)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    parameters = list(net.parameters())
    for a, b in zip(*(torch.autograd.grad(r.square().mean(), parameters) for r in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_burgers_is_learned_the_same_with_jets(capsys):
    """300 steps: the loss falls to a tenth, and the first steps are the same with either way to the derivatives."""
    losses = {}
    for way in ("deepxde", "jets"):
        net = network("tanh")
        dde.config.set_random_seed(0)
        model = dde.Model(burgers(by_jets(net) if way == "jets" else by_deepxde), net)
        model.compile("adam", lr=5e-3)
        history, _ = model.train(iterations=300, display_every=10)
        losses[way] = np.array(history.loss_train).sum(1)
        assert losses[way][-1] < 0.1 * losses[way][0]
    np.testing.assert_allclose(losses["jets"][:5], losses["deepxde"][:5], rtol=1e-2)


def test_a_learnable_activation_is_trained():
    net = network("crrelu")
    model = dde.Model(burgers(by_jets(net)), net)
    model.compile("adam", lr=1e-2)
    model.train(iterations=20, display_every=20)
    assert net.activation.formula.params["eps"].value != acts.get_activation("crrelu").params["eps"].value
