"""Proposition 2 of arXiv:2405.12954: how well CRReLU's approximate inverse inverts it.

f(x) = x + eps x exp(-x^2/2),   g(x) = x - eps x exp(-x^2/2)
sup |g(f(x)) - x| = C eps^2 + O(eps^3),   C = sup |x (1 - x^2) exp(-x^2)|,  at x^2 = (5 - sqrt(17))/4
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, sqrt

import numpy as np
from scipy import optimize

from actsmith.theory.arguments import number
from actsmith.theory.law import Array

__all__ = ["InverseError", "inverse_error"]

_SQUARE = (5 - sqrt(17)) / 4
LEADING = sqrt(_SQUARE) * (1 - _SQUARE) * exp(-_SQUARE)
"""C = 0.2936..., the coefficient of eps^2."""


@dataclass(frozen=True)
class InverseError:
    """The error of the approximate inverse.

    Attributes:
        eps: the coefficient.
        sup: sup over x of |g(f(x)) - x|.
        at: where it is attained, x > 0.
        leading: C; sup = C eps^2 + O(eps^3).
    """

    eps: float
    sup: float
    at: float
    leading: float = LEADING


def inverse_error(eps: float) -> InverseError:
    """sup |g(f(x)) - x| for CRReLU's positive branch.

    Raises:
        ActsmithError: eps is not a finite number.

    >>> round(inverse_error(0.01).sup / 0.01**2, 3)
    0.293
    """
    eps = number("inverse_error: eps", eps)

    def gap(x: Array) -> Array:
        # g(f(x)) - x = eps (x e(x) - f e(f)), e(x) = exp(-x^2/2), without the cancellation of f - x
        f = x + eps * x * np.exp(-0.5 * x * x)
        value: Array = np.abs(eps * (x * np.exp(-0.5 * x * x) - f * np.exp(-0.5 * f * f)))
        return value

    grid = np.linspace(0, 12, 24_001)
    near = float(grid[np.argmax(gap(grid))])
    bounds = (max(near - 1e-3, 0.0), near + 1e-3)
    found = optimize.minimize_scalar(lambda x: -gap(np.asarray(x)), bounds=bounds, method="bounded")
    return InverseError(eps, float(-found.fun), float(found.x))
