"""Ensembles of real networks, to hold against the theory of infinite width and its first correction.

    z^(0)_i = (W^(0) x)_i + b_i,   z^(l+1)_i = sum_j W_ij s(z^(l)_j) + b_i,   W_ij ~ N(0, C_W/n), b_i ~ N(0, C_b)

Networks are computed together, layer by layer, in float64 (one batched matrix product each). The gradient goes back
through their weights, which are kept until then: as many networks at a time as `AT_ONCE` numbers hold, one at least.

| symbol | meaning                                                                          | shape                |
|--------|----------------------------------------------------------------------------------|----------------------|
| z      | pre-activations of the inputs in every network                                   | (nets, inputs, n)    |
| G      | metric: C_b + C_W mean_j s(z_j) s(z'_j), the covariance that the weights of the  | (nets, inputs,       |
|        | next layer see; its mean is K and its variance V/n to leading order              | inputs)              |
| J      | dz^(L)/dz^(l) for the first input, of which a random row is followed backwards   | (nets, n)            |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike, get_activation, resolve
from actsmith.formula.formula import Formula
from actsmith.theory.criticality import criticality
from actsmith.theory.kernel import kernel_flow

__all__ = ["KernelCurve", "Simulation", "kernel_against_depth", "simulate"]

Array = NDArray[np.float64]

# Numbers that the weights of the networks that are computed together, of all layers, may take: 1 GiB of float64.
AT_ONCE = 2**27


@dataclass(frozen=True, eq=False)
class Simulation:
    """What an ensemble of random networks did, layer by layer; index 0 is the first pre-activation.

    Attributes:
        formula, width, depth, C_W, C_b, nets, seed: what was simulated.
        kernel: mean of the metric over the networks, of the first input, (depth + 1,); exactly K0 at index 0.
        kernel_error: its standard error.
        covariance, covariance_error: the same of the metric between the two inputs.
        correlation, correlation_error: of the two inputs: covariance over the root of the two kernels, per network.
        fluctuation: variance over the networks of the metric, relative to the mean's square: V/(n K^2) at large width.
        fluctuation_error: its standard error.
        gradient: mean of |dL/dz^(l)|^2 over |dL/dz^(depth)|^2, for a random linear loss L of the last layer of which
            the first input is the argument, (depth + 1,): the product of the chi_perp from l to depth.
        gradient_error: its standard error.
    """

    formula: Formula
    width: int
    depth: int
    C_W: float
    C_b: float
    nets: int
    seed: int
    kernel: Array
    kernel_error: Array
    covariance: Array
    covariance_error: Array
    correlation: Array
    correlation_error: Array
    fluctuation: Array
    fluctuation_error: Array
    gradient: Array
    gradient_error: Array


@torch.no_grad()
def simulate(  # noqa: PLR0917
    f: FormulaLike,
    width: int,
    depth: int,
    C_W: float,
    C_b: float = 0.0,
    nets: int = 100,
    seed: int = 0,
    *,
    K0: float = 1.0,
    rho0: float = 0.5,
) -> Simulation:
    """Kernels, correlations, gradients and fluctuations of `nets` random networks of one width, on the CPU.

    The first pre-activations are drawn as what a first layer makes of two given inputs: Gaussian with variance K0 and
    correlation rho0, independent over the neurons.

    Args:
        depth: number of layers after the first.
        K0, rho0: kernel of the first pre-activation of both inputs, and their correlation.

    Raises:
        ActsmithError: a count is not positive, a variance negative, or |rho0| > 1.

    >>> simulate("relu", width=64, depth=3, C_W=2.0, nets=200).kernel.shape
    (4,)
    """
    formula = resolve(f)
    if min(width, depth, nets - 1) < 1:
        raise ActsmithError(f"simulate: got width={width}, depth={depth}, nets={nets}; expected 1, 1 and 2 or more")
    if not (K0 > 0 and C_W > 0 and C_b >= 0 and abs(rho0) <= 1 and math.isfinite(K0 * C_W + C_b)):
        raise ActsmithError(
            f"simulate: got K0={K0}, C_W={C_W}, C_b={C_b}, rho0={rho0}; expected variances, |rho0| <= 1"
        )
    generator = torch.Generator("cpu").manual_seed(seed)
    group = max(1, min(nets, AT_ONCE // (depth * width * width)))
    parts = []
    for start in range(0, nets, group):
        count = min(group, nets - start)
        parts.append(_ensemble(formula, count, (width, depth, C_W, C_b, K0, rho0), generator))
    metric, gradient = (torch.cat([p[i] for p in parts], dim=1).numpy() for i in (0, 1))
    return Simulation(formula, width, depth, C_W, C_b, nets, seed, *_statistics(metric, gradient))


def _ensemble(
    formula: Formula, nets: int, size: tuple[int, int, float, float, float, float], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The metric's three entries (depth + 1, nets, 3) and the squared gradient (depth + 1, nets) of some networks."""
    width, depth, C_W, C_b, K0, rho0 = size
    kind: Any = {"dtype": torch.float64, "device": "cpu"}  # whatever the user's defaults are

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, **kind, generator=generator)

    derivative = formula.derivative()
    mix = torch.tensor([[1.0, 0.0], [rho0, math.sqrt(1 - rho0 * rho0)]], **kind)
    z = math.sqrt(K0) * (mix @ normal(nets, 2, width))
    metric = torch.empty(depth + 1, nets, 3, **kind)
    metric[0] = torch.tensor([K0, rho0 * K0, K0], **kind)
    slopes = torch.empty(depth, nets, width, **kind)
    weights = []
    for layer in range(depth):
        s = formula(z)
        slopes[layer] = derivative(z[:, 0])
        g = C_b + C_W * (s @ s.mT) / width
        metric[layer + 1] = torch.stack([g[:, 0, 0], g[:, 0, 1], g[:, 1, 1]], dim=1)
        weight = normal(nets, width, width).mul_(math.sqrt(C_W / width))
        z = s @ weight.mT
        if C_b > 0:
            z += math.sqrt(C_b) * normal(nets, 1, width)
        weights.append(weight)
    gradient = torch.empty(depth + 1, nets, **kind)
    row = normal(nets, 1, width)
    gradient[depth] = 1.0
    size_at_end = row.square().sum((1, 2))
    for layer in reversed(range(depth)):
        row = (row @ weights.pop()) * slopes[layer].unsqueeze(1)
        gradient[layer] = row.square().sum((1, 2)) / size_at_end
    return metric, gradient


def _statistics(metric: Array, gradient: Array) -> tuple[Array, ...]:
    """The arrays of `Simulation` in their order from the metric (layers, nets, 3) and the gradient (layers, nets)."""
    nets = metric.shape[1]

    def mean(values: Array) -> tuple[Array, Array]:
        return values.mean(axis=1), values.std(axis=1, ddof=1) / math.sqrt(nets)

    with np.errstate(all="ignore"):
        first, cross, second = np.moveaxis(metric, 2, 0)
        correlation = cross / np.sqrt(first * second)
        kernel, kernel_error = mean(first)
        # Standard errors of a ratio of moments by the delta method: r = m2/m1^2 - 1, dr = d(m2)/m1^2 - 2 m2 d(m1)/m1^3.
        relative = first / kernel[:, None]
        moment = (relative**2).mean(axis=1)
        influence = relative**2 - 2 * moment[:, None] * relative
        fluctuation = (moment - 1) * nets / (nets - 1)
        fluctuation_error = influence.std(axis=1, ddof=1) / math.sqrt(nets)
        return (
            kernel, kernel_error, *mean(cross), *mean(correlation), fluctuation, fluctuation_error, *mean(gradient),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class KernelCurve:
    """The kernel of one activation against depth: theory at infinite width, and real networks.

    Attributes:
        label: what a reader should call it.
        C_W, C_b, K0: where it was run.
        theory: K^(0) .. K^(depth), (depth + 1,); inf after a blow-up.
        simulation: of which `kernel` and `kernel_error` are the points.
    """

    label: str
    C_W: float
    C_b: float
    K0: float
    theory: Array
    simulation: Simulation


RUNS: tuple[tuple[str, dict[str, float], float, float | None], ...] = (
    ("relu", {}, 1.0, None),
    ("gelu", {}, 3.5615528128088303, None),
    ("crrelu", {}, 1.0, None),
    ("mrepu", {"p": 2}, 0.01, None),
    ("repu", {"p": 2}, 1.0, 0.5),
    ("repu", {"p": 2}, 1.8, 0.5),
)
"""Activation, parameters, K0 and C_W of the curves that show what criticality means. RePU has no critical C_W: at 0.5
its fixed point K = 4/3 repels, so that a kernel below it dies and one above it explodes. Its fluctuations grow as fast:
a few networks decide the mean, and at any width it leaves the line of infinite width after some layers."""


def kernel_against_depth(*, width: int = 512, depth: int = 20, nets: int = 20, seed: int = 0) -> list[KernelCurve]:
    """K against depth for `RUNS`, each at its most usable critical point where it has one."""
    curves = []
    for name, params, K0, fixed in RUNS:
        formula = get_activation(name, **params)
        point = criticality(formula).points[0] if fixed is None else None
        C_W, C_b = (fixed or 1.0, 0.0) if point is None else (point.C_W, point.C_b)
        simulation = simulate(formula, width, depth, C_W, C_b, nets, seed, K0=K0)
        given = ", ".join(f"{k} = {v:g}" for k, v in params.items())
        label = f"{name}{f' ({given})' if given else ''}: C_W = {C_W:.4g}, C_b = {C_b:.3g}, K0 = {K0:.4g}"
        curves.append(KernelCurve(label, C_W, C_b, K0, kernel_flow(formula, K0, depth, C_W, C_b), simulation))
    return curves
