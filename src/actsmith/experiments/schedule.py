"""How the learning rate goes through a training."""

from __future__ import annotations

from math import cos, pi

__all__ = ["warm_cosine"]


def warm_cosine(step: int, total: int, warm: int) -> float:
    """The factor at step 1, 2, ..., total: rises linearly over the first `warm`, falls as a cosine to zero.

    Example:
        >>> [round(warm_cosine(t, 5, 1), 3) for t in range(1, 6)]
        [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    rise = min(step / max(warm, 1), 1.0)
    progress = max(step - warm, 0) / max(total - warm, 1)
    return rise * 0.5 * (1 + cos(pi * progress))
