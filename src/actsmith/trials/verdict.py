"""What an interval says: one rule, with a margin, for every table and every search.

| verdict  | the interval of the difference (positive is better) ...             |
|----------|---------------------------------------------------------------------|
| better   | lies above the margin, and the corrected p is below the level       |
| worse    | lies below minus the margin, likewise                               |
| same     | lies between minus the margin and the margin: no difference matters |
| open     | none of these                                                       |
"""

from __future__ import annotations

from typing import Literal

from actsmith.errors import ActsmithError
from actsmith.trials.statistics import Interval

__all__ = ["LEVEL", "Verdict", "verdict"]

Verdict = Literal["better", "worse", "same", "open"]
LEVEL = 0.05


def verdict(difference: Interval | None, margin: float = 0.0, p: float | None = None, level: float = LEVEL) -> Verdict:
    """Of one difference.

    Args:
        difference: with its interval, positive where the first is better; None where there is none to compare.
        margin: what is too small to matter, in the same units.
        p: corrected for the number of comparisons, where there are several; None leaves it to the interval.
        level: which p must stay below.

    Example:
        >>> verdict(Interval(0.02, 0.01, 0.03, 10), margin=0.005)
        'better'
        >>> verdict(Interval(0.001, -0.002, 0.004, 10), margin=0.005)
        'same'
        >>> verdict(Interval(0.02, 0.01, 0.03, 10), p=0.2)
        'open'
    """
    if margin < 0:
        raise ActsmithError(f"verdict: margin: got {margin}; expected 0 or more")
    if difference is None:
        return "open"
    if p is None or p < level:
        if difference.low > margin:
            return "better"
        if difference.high < -margin:
            return "worse"
    return "same" if -margin < difference.low and difference.high < margin else "open"
