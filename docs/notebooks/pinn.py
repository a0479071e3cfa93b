# %% [markdown]
# # A differential equation: u'' = -u, u(0) = 0, u'(0) = 1

# %%
import math

import torch
from torch import nn

import actsmith as acts


def solved(name: str, steps: int = 400) -> tuple[nn.Module, float]:
    """A trained network and its largest error against sin(t) on [0, 3]."""
    torch.manual_seed(0)
    act = [acts.nn.Activation(name) for _ in range(2)]
    net = nn.Sequential(nn.Linear(1, 32), act[0], nn.Linear(32, 32), act[1], nn.Linear(32, 1))
    acts.nn.critical_init_(net, domain=[(0, 3)])
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(steps):
        t = 3 * torch.rand(200, 1)
        u = acts.nn.derivatives(net, t, 2)
        at = acts.nn.derivatives(net, torch.zeros(1, 1), 1)
        loss = (u[2,] + u[0,]).square().mean() + at[0,].square().mean() + (at[1,] - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    t = torch.linspace(0, 3, 100)[:, None]
    with torch.no_grad():
        return net, float((net(t) - torch.sin(t)).abs().max())


# %% [markdown]
# Two activations, one seed each: a look, no comparison. `actsmith compare burgers tanh silu` makes one, with tuned
# rates and paired seeds.

# %%
for name in ("tanh", "silu"):
    _, error = solved(name)
    print(f"{name}: largest error {error:.4f}")
    assert math.isfinite(error)

# %% [markdown]
# ReLU has no second derivative, so the equation says nothing to it:

# %%
print({name: acts.analyze(name).smoothness for name in ("relu", "mrepu:3", "tanh")})
