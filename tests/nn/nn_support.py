"""What the tests of the modules share: the catalogue with every parameter learnable, random formulas, smooth points."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import torch

import actsmith as acts

NAMES = list(acts.CATALOGUE)
FUNCTIONS = ("tanh", "sigmoid", "softplus", "relu", "erf", "sin", "cos", "atan", "exp", "sech", "asinh", "normal_cdf")


def learnable(name: str) -> acts.Formula:
    """The catalogue's formula with every parameter learnable and off the ends of its range."""
    f = acts.get_activation(name)
    params = {}
    for n, p in f.params.items():
        margin = min(0.01, (p.high - p.low) / 10)
        inside = min(max(p.value, p.low + margin), p.high - margin)
        params[n] = replace(p, value=inside, learn=True)
    return acts.Formula(f.expr, params, f.name)


def random_formula(seed: int) -> acts.Formula:
    """Sums, products and compositions of functions of x, with a learnable parameter."""
    rng = random.Random(seed)

    def part(depth: int) -> str:
        if depth == 0:
            return rng.choice(["x", "x", "a*x", "0.5*x", "(x + 1)"])
        kind = rng.choice(["function", "function", "sum", "product"])
        if kind == "function":
            name = rng.choice(FUNCTIONS)
            return f"exp(-({part(depth - 1)})**2)" if name == "exp" else f"{name}({part(depth - 1)})"
        return f"({part(depth - 1)} {'+' if kind == 'sum' else '*'} {part(depth - 1)})"

    return acts.Formula(f"{part(3)} + a*x*sigmoid(x)", {"a": acts.Param(rng.uniform(0.3, 1.5), learn=True)})


def smooth_points(f: acts.Formula, count: int = 7, reach: float = 3.0) -> np.ndarray:
    """Points of [-reach, reach] at least 0.05 from any kink."""
    x = np.linspace(-reach, reach, count) + 0.0123
    for kink in f.kinks:
        x = np.where(np.abs(x - kink) < 0.05, kink + 0.07, x)
    return x[np.isfinite(f(x))]


def tensor(x: np.ndarray, dtype: torch.dtype = torch.float64, grad: bool = True) -> torch.Tensor:
    return torch.tensor(x, dtype=dtype, requires_grad=grad)
