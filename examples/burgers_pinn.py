"""Burgers' equation by a physics-informed network, and its picture: `python examples/burgers_pinn.py [FILE.svg]`.

u_t + u u_x = nu u_xx,   u(x, 0) = -sin(pi x),   u(-1, t) = u(1, t) = 0,   nu = 0.01/pi
"""

import sys
from math import pi

import torch
from torch import nn

import actsmith as acts
from actsmith.report.figure import BLACK, ORANGE, drawing
from actsmith.tasks.pde import NU, burgers_solution


def network(generator, width=32, depth=5):
    layers = [nn.Linear(2, width), nn.Tanh()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), nn.Tanh()]
    net = nn.Sequential(*layers, nn.Linear(width, 1))
    print(acts.nn.critical_init_(net, domain=[(-1, 1), (0, 1)], generator=generator))
    return net


def points(generator, inside=3000, border=150):
    """(x, t) inside, and on the start and the two walls with the values there."""
    draw = torch.rand(inside + 3 * border, 2, generator=generator)
    draw[:, 0] = 2 * draw[:, 0] - 1
    interior, (start, left, right) = draw[:inside], draw[inside:].chunk(3)
    start[:, 1], left[:, 0], right[:, 0] = 0, -1, 1
    edge = torch.cat([start, left, right])
    return interior, edge, torch.where(edge[:, 1:] == 0, -torch.sin(pi * edge[:, :1]), 0)


def loss_of(net, interior, edge, given):
    u = acts.nn.derivatives(net, interior, [(2, 0), (0, 1)])  # all derivatives in one pass
    residual = u[0, 1] + u[0, 0] * u[1, 0] - NU * u[2, 0]
    return residual.square().mean() + (net(edge) - given).square().mean()


def train(net, data, adam=300, iterations=4000):
    first = torch.optim.Adam(net.parameters(), 5e-3)
    second = torch.optim.LBFGS(net.parameters(), max_iter=iterations, history_size=50, tolerance_change=0,
                               tolerance_grad=0, line_search_fn="strong_wolfe")  # fmt: skip
    for optimizer, steps in ((first, adam), (second, 1)):

        def closure(optimizer=optimizer):
            optimizer.zero_grad()
            loss = loss_of(net, *data)
            loss.backward()
            return loss

        for _ in range(steps):
            optimizer.step(closure)
        print(f"after {type(optimizer).__name__}: loss {closure():.2g}")


def picture(net, file):
    x = torch.linspace(-1, 1, 201)
    with drawing(file, 1, 4, (10, 2.6), sharey=True) as (_, axes), torch.no_grad():
        for axis, t in zip(axes[0], (0.0, 0.25, 0.5, 1.0), strict=True):
            axis.plot(x, burgers_solution(x.double().numpy(), t), color=BLACK, label="exact")
            axis.plot(x, net(torch.stack([x, torch.full_like(x, t)], -1))[:, 0], "--", color=ORANGE, label="network")
            axis.set(title=f"t = {t:g}", xlabel="x")
        axes[0, 0].legend()
        grid = torch.cartesian_prod(x, torch.linspace(0, 1, 101))
        exact = torch.from_numpy(burgers_solution(*grid.double().numpy().T))
        print(f"relative L2 error {((net(grid)[:, 0] - exact).norm() / exact.norm()).item():.2g}; {file}")


if __name__ == "__main__":
    drawn = torch.Generator().manual_seed(0)
    net = network(drawn)
    train(net, points(drawn))
    picture(net, sys.argv[1] if len(sys.argv) > 1 else "burgers.svg")
