"""Random small modules: control flow, contexts, containers, helpers, side effects, activations in every form.

`source(seed)` is the text of a class `Module{seed}`; `write(path, seeds)` a file of them, for what rewrites source code
needs source code. Each takes a tensor of shape (batch, 4) and returns one or several of that shape.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

HEAD = """
import contextlib
import functools

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def helper(x, scale=1.0):
    return F.silu(x) * scale


def twice(f):
    @functools.wraps(f)
    def call(*args, **kwargs):
        return 2 * f(*args, **kwargs)

    return call


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.act, self.same = nn.GELU(), nn.ReLU()
        self.stored = F.elu
        self.partial = functools.partial(F.leaky_relu, negative_slope=0.2)
        self.acts = [F.relu, torch.tanh]
        self.loose = [nn.SiLU(), nn.Mish()]
        self.table = nn.ModuleDict({"x": nn.Softplus(), "y": nn.Tanh()})
        self.seen, self.last, self.count, self.scale = [], None, 0, 1.5
        self.register_buffer("steps", torch.zeros(()))

    def encode(self, x):
        return F.relu(self.a(x))

    @twice
    def decorated(self, x):
        return torch.tanh(self.b(x))

    @staticmethod
    def static(x):
        return F.mish(x)

    def body(self, x):
        return self.b(F.gelu(self.a(x)))

    def _private(self, x, *, gain=1.0):
        return gain * F.celu(self.c(x))

    def forward(self, x):
        return self.c(torch.relu(self.a(x)))
"""

STATEMENTS = (
    "x = F.relu(self.a(x))",
    "x = self.b(torch.tanh(x)) + x",
    "x = self.a(x).relu()",
    "x = self.c(x.sigmoid())",
    "x = F.relu(self.a(x), inplace=True)",
    "x = torch.relu_(self.a(x))",
    "x = self.a(F.leaky_relu(x, 0.1))",
    "x = self.a(F.gelu(x, approximate='tanh'))",
    "x = self.b(F.hardtanh(x, min_val=-2.0, max_val=2.0))",
    "x = self.b(x.clamp(min=0))",
    "x = self.act(self.b(x))",
    "x = self.stored(self.a(x))",
    "x = self.partial(self.a(x))",
    "x = self.table['x'](self.a(x)) - self.table['y'](x)",
    "x = self.same(self.a(self.same(x)))",
    "x = nn.ELU()(self.a(x))",
    "x = self.acts[0](self.a(x))",
    "x = self.loose[1](self.loose[0](self.c(x)))",
    "for act in self.acts:\n    x = act(self.a(x))",
    "for act in self.loose:\n    x = act(self.a(x))",
    "for _ in range(3):\n    x = F.softplus(self.a(x))",
    "while x.abs().max() > 2:\n    x = torch.tanh(x)",
    "x = torch.stack([F.relu(p) for p in (self.a(x), self.b(x))]).sum(0)",
    "x = sum((lambda t: F.silu(t))(p) for p in (self.a(x), self.b(x)))",
    "x = (lambda t: F.selu(self.b(t)))(x)",
    "def inner(t):\n    return F.relu(self.c(t)) + t\nx = inner(inner(x))",
    "parts = {k: F.relu(v) for k, v in (('p', self.a(x)), ('q', self.b(x)))}\nx = parts['p'] - parts['q']",
    "with torch.no_grad():\n    t = F.relu(self.b(x))\nx = self.a(x) + t",
    "with torch.autocast('cpu', enabled=False):\n    x = F.relu(self.a(x.float()))",
    "with contextlib.suppress(ValueError):\n    x = F.relu(self.a(x))\n    raise ValueError",
    "with torch.enable_grad():\n    x = torch.sigmoid(self.a(x)) * x",
    "try:\n    x = F.relu(self.b(x))\nfinally:\n    self.count += 1",
    "if self.training:\n    x = x + F.relu(self.c(x))",
    "if not self.training:\n    x = torch.tanh(self.c(x))",
    "if x.sum() > 0:\n    x = F.relu(self.a(x))\nelse:\n    x = F.relu(self.b(x))",
    "x = F.relu(self.a(x)) if self.scale > 1 else torch.tanh(self.a(x))",
    "h = F.relu(self.a(x))\nself.last = h.detach()\nx = self.b(h)",
    "self.seen.append(float(F.silu(self.a(x)).detach().sum()))",
    "self.steps += 1\nx = F.relu(self.a(x)) * self.scale",
    "self.count += 1\nx = self.act(x) / self.count",
    "x = self.encode(x)",
    "x = self.decorated(x)",
    "x = self.static(self.a(x))",
    "x = self._private(x, gain=0.5)",
    "x = helper(self.a(x))",
    "x = helper(self.a(x), scale=2.0) + helper(self.b(x))",
    "x = super().forward(x)",
    "x = checkpoint(self.body, x, use_reentrant=False)",
    "x = self.body(x)",
    "x = checkpoint(self.same, self.a(x), use_reentrant=False)",
    "x = self.a(x) * torch.sigmoid(self.b(x))",
    "x = (1 - torch.sigmoid(self.a(x))) * x",
    "x = torch.softmax(torch.tanh(self.a(x)), -1)",
    "x = x + 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.04 * x**3)))",
    "act = F.relu if self.scale > 1 else F.gelu\nx = act(self.a(x))",
    "x = getattr(F, 'elu')(self.a(x))",
    "y = x\nx = F.relu(self.a(y)); x = F.relu(self.b(x)) + y",
    "x = F.dropout(F.relu(self.a(x)), 0.3, self.training)",
    "x = F.relu(\n    self.a(x),\n    inplace=False,\n)",
    "assert x.ndim == 2, x.relu()\nx = F.relu(x)",
    "x, y = F.relu(self.a(x)), torch.tanh(self.b(x))\nx = x + y",
    "x = torch.relu(input=self.a(x))",
)


def source(seed: int) -> str:
    rng = random.Random(seed)
    lines = [line for _ in range(rng.randint(1, 5)) for line in rng.choice(STATEMENTS).splitlines()]
    end = rng.choice(("return x", "return self.c(x)", "return x, self.a(x)", "return {'x': x, 'y': F.relu(self.b(x))}"))
    body = "\n".join(f"        {line}" for line in [*lines, end])
    return f"\n\nclass Module{seed}(Base):\n    def forward(self, x):\n{body}\n"


def write(path: Path, seeds: Iterable[int]) -> None:
    path.write_text(HEAD + "".join(source(seed) for seed in seeds), encoding="utf-8")
