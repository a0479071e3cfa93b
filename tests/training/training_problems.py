"""Small problems, and networks of every structure that the engine must train alike in every mode."""

import torch
from torch import nn
from torch.nn import functional

from actsmith.formula.catalogue import get_activation
from actsmith.nn.activation import Activation
from actsmith.tasks.perceptron import Mlp
from actsmith.training.problem import Classification, Metric, Problem, Regression
from actsmith.training.stack import with_autograd

CLASSES = 3


def blobs(shape=(6,), size=48, dtype=torch.float32):
    """Three classes around random centres."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES, *shape, generator=generator, dtype=torch.float64)

    def part(n):
        y = torch.randint(0, CLASSES, (n,), generator=generator)
        return (centres[y] + 0.7 * torch.randn(n, *shape, generator=generator, dtype=torch.float64)).to(dtype), y

    return Classification(part(size), part(size), part(size), outputs=CLASSES)


def product(size=128, dtype=torch.float32):
    """x_1 x_2 on the square [-1, 1]^2."""
    x = torch.rand(3, size, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    y = x.prod(-1, keepdim=True)
    return Regression(*((x[i].to(dtype), y[i].to(dtype)) for i in range(3)), outputs=1)


class Block(nn.Module):
    """A transformer block of one head on the rows of its input, then a readout of their mean."""

    def __init__(self, name="crrelu", size=4, outputs=CLASSES):
        super().__init__()
        self.first, self.second = nn.LayerNorm(size), nn.LayerNorm(size)
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.up, self.act, self.down = nn.Linear(size, 2 * size), Activation(name), nn.Linear(2 * size, size)
        self.readout = nn.Linear(size, outputs)

    def forward(self, x):
        q, k, v = self.qkv(self.first(x)).chunk(3, -1)
        x = x + self.out(functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0])
        x = x + self.down(self.act(self.up(self.second(x))))
        return self.readout(x.mean(1))


class Tied(nn.Module):
    """A weight in two places, a frozen one, a buffer that counts calls, and a parameter of no dimension."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(3, 2)
        self.frozen.requires_grad_(False)
        self.act = Activation("crrelu")
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.calls += 1
        return self.frozen(self.act(self.second(self.act(self.first(x)))))


def convolutional(name="crrelu"):
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), Activation(name),
        nn.Conv2d(4, 6, 3, stride=2, bias=False), nn.BatchNorm2d(6), Activation(name),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES),
    )  # fmt: skip


def perceptron(problem, seed, name="crrelu", **config):
    return Mlp(**{"width": 8, "depth": 3, **config}).build(get_activation(name), seed, problem)


KINDS = {
    "perceptron": ((6,), perceptron),
    "batch norm perceptron": ((6,), lambda p, s: perceptron(p, s, norm="batch", residual=True)),
    "layer norm perceptron": ((6,), lambda p, s: perceptron(p, s, "prelu", norm="layer")),
    "convolutional": ((2, 7, 7), lambda p, s: convolutional()),
    "attention": ((5, 4), lambda p, s: Block()),
}


def nets(kind, seeds, dtype=torch.float32):
    """A problem and one network a seed."""
    shape, make = KINDS[kind]
    problem, found = blobs(shape, dtype=dtype), []
    for seed in seeds:
        torch.manual_seed(seed)
        found.append(make(problem, seed).to(dtype))
    return problem, found


class Oscillator(Problem):
    """u'' = -u with u(0) = 1, u'(0) = 0: a loss with second derivatives in the inputs."""

    metric = Metric("error", "lower", log=True)
    size, inputs, outputs = 32, (1,), 1

    def __init__(self, dtype=torch.float32):
        self.x = torch.linspace(0, 2, self.size, dtype=dtype)[:, None]

    def batch(self, order, device):
        return self.x[order].to(device)

    def loss(self, model, batch):
        def derivatives(net, x):
            x = x.detach().requires_grad_()
            u = net(x)
            (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
            (bend,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
            return u, slope, bend

        u, _, bend = with_autograd(derivatives, model, batch)
        at_0, slope_0, _ = with_autograd(derivatives, model, torch.zeros_like(batch[:1]))
        return (bend + u).square().mean() + (at_0 - 1).square().mean() + slope_0.square().mean()

    def score(self, model, split):
        return {"error": (model(self.x) - self.x.cos()).square().mean().sqrt()}


class Penalised(Problem):
    """A user's own: a dict as a batch, and a penalty on what the network's weights are."""

    metric = Metric("loss", "lower")
    size, inputs, outputs = 40, (3,), 2

    def __init__(self, dtype=torch.float32):
        self.x = torch.randn(self.size, 3, generator=torch.Generator().manual_seed(0), dtype=dtype)

    def batch(self, order, device):
        x = self.x[order].to(device)
        return {"x": x, "targets": [x.sin()[:, :2], x.cos()[:, 1:]]}

    def loss(self, model, batch):
        out = model(batch["x"])
        penalty = sum(p.square().sum() for name, p in model.named_parameters() if name.endswith("weight"))
        return sum((out - y).square().mean() for y in batch["targets"]) + 1e-2 * penalty

    def score(self, model, split):
        return {"loss": self.loss(model, self.batch(torch.arange(self.size), self.x.device))}
