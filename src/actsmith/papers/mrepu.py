"""What the reproductions of arXiv:2408.02697 share: the activations, and what counts as learned."""

from __future__ import annotations

from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula

__all__ = ["ACTIVATIONS", "DECADES", "DRAWN_BELOW", "MREPU", "MREPUS", "PAPER", "REPU", "USELESS"]

PAPER = "Kim, Kang, arXiv:2408.02697, Why Rectified Power Unit Networks Fail and How to Improve It"

REPU: tuple[Formula, ...] = tuple(get_activation("repu", p=p).renamed(f"repu_{p}") for p in (2, 3))
MREPU: tuple[Formula, ...] = tuple(get_activation("mrepu", p=p).renamed(f"mrepu_{p}") for p in (1, 2, 3))
MREPUS = tuple(f.name for f in MREPU)
ACTIVATIONS: tuple[Formula, ...] = (
    *(get_activation(name) for name in ("relu", "gelu", "silu", "tanh")), *REPU, *MREPU
)  # fmt: skip

USELESS = 0.9
"""A relative error above this is hardly better than that of a constant, 1: such a net has failed."""
DECADES = 0.05
"""A difference of errors, in decades, that is too small to matter: 12 %."""
DRAWN_BELOW = 10.0
"""Figures leave out larger relative errors, beside which the others could not be told apart."""
