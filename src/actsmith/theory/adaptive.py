"""Integrals of what oscillates or turns sharply where no panel ends: Gauss-Kronrod panels, halved where they must be.

The rule of `actsmith.theory.quadrature` crowds its nodes at known points and is sparse elsewhere. Where it does not
settle, this one looks for the trouble: 15 nodes a panel, the error of each its difference from the 7 Gauss nodes among
them, and the worst panels halved until their sum is small beside the integral of |v|, or the nodes run out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["integrate"]

Array = NDArray[np.float64]

ROUNDS = 120
MOST_NODES = 1_500_000
RELATIVE = 1e-12

# Kronrod's 15 nodes and weights, and the weights of the 7 Gauss nodes among them (Piessens et al., QUADPACK, 1983)
_X = [
    0.991455371120812639206854697526329, 0.949107912342758524526189684047851, 0.864864423359769072789712788640926,
    0.741531185599394439863864773280788, 0.586087235467691130294144691693, 0.405845151377397166906606412076961,
    0.207784955007898467600689403773245, 0.0,
]  # fmt: skip
_W = [
    0.022935322010529224963732008058970, 0.063092092629978553290700663189204, 0.104790010322250183839876322541518,
    0.140653259715525918745189590510238, 0.169004726639267902826583426598550, 0.190350578064785409913256402421014,
    0.204432940075298892414161999234649, 0.209482141084727828012999174891714,
]  # fmt: skip
_G = [
    0.129484966168869693270611432679082, 0.279705391489276667901467771423780, 0.381830050505118944950369775488975,
    0.417959183673469387755102040816327,
]  # fmt: skip


@lru_cache(maxsize=1)
def _rule() -> tuple[Array, Array, Array]:
    x = np.array([-v for v in _X[:-1]] + _X[::-1])
    w = np.array(_W[:-1] + _W[::-1])
    g = np.zeros(15)
    g[1::2] = _G[:-1] + _G[::-1]
    return x, w, g


def integrate(
    function: Callable[[Array], Array], ends: Iterable[float], *, most: int = MOST_NODES, relative: float = RELATIVE
) -> tuple[Array, Array, Array]:
    """int v dx over consecutive panels, halved where that is needed.

    Args:
        function: float64 (n,) -> (m, n): the integrands at n points; finite.
        ends: of the panels, ascending.
        most: how many points may be evaluated.
        relative: the error to reach, beside int |v|.

    Returns:
        The values, their errors, and int |v|, each (m,). Where the points ran out the errors are large.
    """
    marks = np.array(list(ends))
    a, b = marks[:-1], marks[1:]
    value, error, size = _panels(function, a, b)
    used = 15 * a.size
    settled: list[tuple[Array, Array, Array]] = []
    for _ in range(ROUNDS):
        total = size.sum(axis=1) + sum((s[2] for s in settled), np.zeros(value.shape[0]))
        floor = 50 * np.finfo(np.float64).eps * size
        count = max(a.size, 1)
        keen = (error > np.maximum(floor, relative * total[:, None] / (4 * count))).any(axis=0)
        keen &= b - a > 8 * np.spacing(np.maximum(np.abs(a), np.abs(b)))
        if (error.sum(axis=1) <= relative * total).all() or not keen.any():
            break
        if used + 30 * int(keen.sum()) > most:
            break
        settled.append((value[:, ~keen].sum(axis=1), error[:, ~keen].sum(axis=1), size[:, ~keen].sum(axis=1)))
        middle = 0.5 * (a[keen] + b[keen])
        a, b = np.concatenate([a[keen], middle]), np.concatenate([middle, b[keen]])
        used += 15 * a.size
        value, error, size = _panels(function, a, b)
    parts = [(value.sum(axis=1), error.sum(axis=1), size.sum(axis=1)), *settled]
    v, e, s = (np.sum([part[i] for part in parts], axis=0) for i in range(3))
    return v, e + 16 * np.finfo(np.float64).eps * s, s


def _panels(function: Callable[[Array], Array], a: Array, b: Array) -> tuple[Array, Array, Array]:
    """Values, errors and int |v| of every panel, each (m, panels)."""
    x, w, g = _rule()
    half = 0.5 * (b - a)
    points = (0.5 * (a + b))[:, None] + half[:, None] * x
    v = function(points.ravel())
    v = v.reshape(v.shape[0], a.size, 15)
    fine, coarse = (v @ w) * half, (v @ g) * half
    return fine, np.abs(fine - coarse), (np.abs(v) @ w) * half
