"""What rides on the kernel recursion: the neural tangent kernel and the four-point vertex of one input.

    Theta' = lambda_b + lambda_W g(K) + C_W E[s'^2] Theta
    V'     = chi_par^2 V + C_W^2 (E[s^4] - g^2)

("The Principles of Deep Learning Theory", Roberts, Yaida, Hanin 2022: the vertex in chapter 4, the tangent kernel in
chapter 8.) At width n the metric, which the weights of a layer see, has the variance V/n across networks to leading
order; the mean of z^2 over n neurons, each Gaussian given the metric, has (V + 2 K^2)/n.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actsmith.formula.catalogue import FormulaLike
from actsmith.theory.arguments import number, whole
from actsmith.theory.kernel import Moments, kernel_flow, moments

__all__ = ["ntk_flow", "vertex_flow"]

Array = NDArray[np.float64]

RATES = ("lambda_W", "lambda_b", "theta0")


def ntk_flow(
    f: FormulaLike,
    K0: float,
    depth: int,
    C_W: float,
    C_b: float = 0.0,
    *,
    lambda_W: float = 1.0,
    lambda_b: float = 0.0,
    theta0: float = 0.0,
) -> Array:
    """Theta^(0) = theta0, ..., Theta^(depth) of one input at infinite width, (depth + 1,); inf after a blow-up.

    Args:
        lambda_W, lambda_b: learning rates of weights (times the fan-in) and biases, relative to the global one.

    >>> ntk_flow("relu", 1.0, 3, 2.0).round(9).tolist()
    [0.0, 0.5, 1.0, 1.5]
    """
    K0, depth = number("K0", K0, low=0.0, infinite=True), whole("depth", depth)
    lambda_W, lambda_b, theta0 = (number(n, v) for n, v in zip(RATES, (lambda_W, lambda_b, theta0), strict=True))
    flow = kernel_flow(f, K0, depth, C_W, C_b)
    m = _along(f, flow)
    theta = np.full(depth + 1, np.inf)
    theta[0] = theta0
    with np.errstate(over="ignore"):
        for layer in range(m.g.size):
            theta[layer + 1] = lambda_b + lambda_W * m.g[layer] + C_W * m.perp[layer] * theta[layer]
    return theta


def vertex_flow(f: FormulaLike, K0: float, depth: int, C_W: float, C_b: float = 0.0) -> Array:
    """V^(0) = 0, ..., V^(depth) of one input, (depth + 1,); V/(n K^2) is the metric's relative variance at width n.

    The input of layer 0 is given and the first pre-activation exactly Gaussian: K^(0) = K0 is that of the first
    pre-activation.

    >>> vertex_flow("relu", 1.0, 3, 2.0).round(9).tolist()
    [0.0, 5.0, 10.0, 15.0]
    """
    K0, depth = number("K0", K0, low=0.0, infinite=True), whole("depth", depth)
    flow = kernel_flow(f, K0, depth, C_W, C_b)
    m = _along(f, flow)
    vertex = np.full(depth + 1, np.inf)
    vertex[0] = 0.0
    with np.errstate(over="ignore"):
        for layer in range(m.g.size):
            source = m.fourth[layer] - m.g[layer] ** 2 if np.isfinite(m.fourth[layer]) else np.inf
            vertex[layer + 1] = (C_W * m.dg[layer]) ** 2 * vertex[layer] + C_W**2 * source
    return vertex


def _along(f: FormulaLike, flow: Array) -> Moments:
    """The moments at K^(0) .. K^(depth - 1), as far as those are finite."""
    before = flow[:-1]
    finite = np.isfinite(before)
    known = before if finite.all() else before[: int(np.argmin(finite))]
    return moments(f, known) if known.size else Moments(*[np.zeros(0)] * 11)
