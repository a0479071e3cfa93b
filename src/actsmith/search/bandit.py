"""How a round is shared among proposers: by the promotions that they earned.

    share_i = floor/k + (1 - floor) r_i/sum r,   r_i = (promoted_i + PRIOR r)/(tried_i + PRIOR)

k proposers, r the rate of all of them together: who has tried little is taken for an average one, and everyone keeps a
small share, since what earns nothing at first may later, and the other way round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from actsmith.search.evidence import Tried

__all__ = ["quotas", "shares"]

PRIOR = 8.0
"""Trials that the rate of all counts for."""
FLOOR = 0.15
"""Of a round, shared equally."""


def shares(tried: Sequence[Tried], names: Sequence[str]) -> dict[str, float]:
    """Proposer -> its share of a round; they sum to 1.

    Args:
        tried: the history.
        names: of the proposers, each once.

    Example:
        >>> shares([], ["family", "evolution"])
        {'family': 0.5, 'evolution': 0.5}
    """
    count = Counter(t.candidate.proposer for t in tried)
    promoted = Counter(t.candidate.proposer for t in tried if t.promoted)
    everyone = (1 + sum(promoted[name] for name in names)) / (2 + sum(count[name] for name in names))
    rates = [(promoted[name] + PRIOR * everyone) / (count[name] + PRIOR) for name in names]
    return {name: FLOOR / len(names) + (1 - FLOOR) * rate / sum(rates) for name, rate in zip(names, rates, strict=True)}


def quotas(parts: Mapping[str, float], n: int, rng: np.random.Generator) -> dict[str, int]:
    """Proposer -> how many of n places it gets: its share rounded down or up by chance, so that the mean is the share.

    Args:
        parts: as `shares` gives them.
        n: places.
        rng: decides what is rounded up.

    Example:
        >>> quotas({"family": 0.75, "evolution": 0.25}, 8, np.random.default_rng(0))
        {'family': 6, 'evolution': 2}
    """
    ends = np.floor(np.cumsum([0.0, *parts.values()]) * n + rng.random() - 1e-9)
    ends[-1] = ends[0] + n  # sums of shares are rounded, too
    return {name: int(count) for name, count in zip(parts, np.diff(ends), strict=True)}
