"""The Hermite family on a base: the shapes that entropy descent moves in, as formulas and as a module.

    f(x) = base(x) + sum_k eps_k psi_k(x),   psi_k(x) = He_k(x) exp(-x^2/2)

He_k is the probabilists' Hermite polynomial. CRReLU (arXiv:2405.12954) is the base ReLU with k = 1 alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula, Param
from actsmith.formula.parse import parameter_symbol
from actsmith.nn.activation import Activation, Share
from actsmith.theory.descent import hermite_psi

__all__ = ["HIGHEST", "HermiteActivation", "degrees", "hermite_formula"]

HIGHEST = 12
"""The highest degree: beyond it He_k spans five orders of magnitude where exp(-x^2/2) still counts."""


def HermiteActivation(
    base: FormulaLike,
    order: int | Sequence[int] = 4,
    share: Share = "layer",
    channels: int | None = None,
    channel_dim: int = 1,
) -> Activation:
    """base + sum_k eps_k psi_k with eps_k learnable, from eps = 0: exactly the base at the start.

    It is an ordinary `Activation` of one formula, so base and terms are one fused kernel. At the start its values equal
    the base's bit for bit wherever the base's own kernel computes the same operations; a compiler may order them
    otherwise, by which they differ by one rounding at most. In float32 the terms are finite for |x| < 1e9 up to k = 4,
    < 1e6 up to k = 6, < 1e4 up to k = 12.

    Args:
        base: a Formula, a catalogue name, or formula text; its own learnable parameters stay learnable.
        order: the terms k = 1 .. order, or the degrees themselves, as in (0, 1, 3). psi_0, which is even and does not
            vanish at 0, is there only when it is named.
        share, channels, channel_dim: as for `Activation`.

    Raises:
        ActsmithError: no degrees, or degrees outside 0 .. 12; a parameter of the base named like an eps_k.

    Example:
        >>> HermiteActivation("relu", order=1).formula
        Formula('eps1*x*exp(-x**2/2) + relu(x)', params={'eps1': 0.0}, name='relu+hermite')
    """
    return Activation(hermite_formula(base, order), share, channels, channel_dim)


def hermite_formula(base: FormulaLike, order: int | Sequence[int] = 4) -> Formula:
    """The family's member eps = 0 as a formula with learnable parameters eps<k>.

    Raises:
        ActsmithError: as for `HermiteActivation`.
    """
    base, terms = resolve(base), degrees(order)
    names = {k: f"eps{k}" for k in terms}
    if taken := sorted(set(names.values()) & set(base.params)):
        raise ActsmithError(f"Hermite family: {base.name} has a parameter {taken[0]!r} already; rename it")
    expression = base.expr + sp.Add(*(parameter_symbol(names[k]) * hermite_psi(k) for k in terms))
    params = {**base.params, **{name: Param(0.0, learn=True) for name in names.values()}}
    return Formula(expression, params, f"{base.name}+hermite")


def degrees(order: int | Sequence[int]) -> tuple[int, ...]:
    """1 .. order for a number, else the degrees as given.

    Raises:
        ActsmithError: none, one twice, or one outside 0 .. 12.

    >>> degrees(3), degrees((0, 2))
    ((1, 2, 3), (0, 2))
    """
    terms = (
        tuple(order) if isinstance(order, Sequence) else tuple(range(1, order + 1)) if isinstance(order, int) else ()
    )
    if not terms or len(set(terms)) < len(terms) or not all(isinstance(k, int) and 0 <= k <= HIGHEST for k in terms):
        raise ActsmithError(
            f"Hermite family: order: got {order!r}; expected a number from 1 to {HIGHEST}, or different degrees from 0"
        )
    return terms
