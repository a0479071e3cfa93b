"""Checks of arguments that are numbers: what was got, what is expected."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsmith.errors import ActsmithError

__all__ = ["number", "numbers", "whole"]


def number(name: str, value: Any, *, positive: bool = False, low: float | None = None, infinite: bool = False) -> float:
    """A real number as a float: finite unless `infinite`, above 0 or at least `low` where that is asked for.

    Raises:
        ActsmithError: it is none.
    """
    bounds = " above 0" if positive else f" of at least {low:g}" if low is not None else ""
    expected = f"{name}: got {str(value)[:40]!r}; expected a {'' if infinite else 'finite '}number{bounds}"
    if isinstance(value, str | bytes | bool):
        raise ActsmithError(expected)
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ActsmithError(expected) from None
    if math.isnan(result) or (math.isinf(result) and not infinite):
        raise ActsmithError(expected)
    if (positive and not result > 0) or (low is not None and not result >= low):
        raise ActsmithError(expected)
    return result


def whole(name: str, value: Any, *, least: int = 0) -> int:
    """A whole number of at least `least`.

    Raises:
        ActsmithError: it is none.
    """
    if isinstance(value, bool | str | bytes) or not isinstance(value, int | float | np.integer | np.floating):
        raise ActsmithError(f"{name}: got {str(value)[:40]!r}; expected a whole number of at least {least}")
    if not math.isfinite(value) or value != int(value) or value < least:
        raise ActsmithError(f"{name}: got {value}; expected a whole number of at least {least}")
    return int(value)


def numbers(
    name: str, values: Any, *, low: float | None = None, infinite: bool = False, empty: bool = False
) -> NDArray[np.float64]:
    """An array of real numbers, float64 of any shape: finite unless `infinite`, not empty unless `empty`, none below
    `low`.

    Raises:
        ActsmithError: it is none.
    """
    bounds = f" of at least {low:g}" if low is not None else ""
    expected = f"expected {'' if infinite else 'finite '}numbers{bounds}, one or more"
    try:
        given = np.asarray(values)
        if given.dtype.kind not in "iuf":
            raise TypeError
        result = given.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ActsmithError(f"{name}: got {str(values)[:40]!r}; {expected}") from None
    bad = np.isnan(result) | (np.isinf(result) & (not infinite))
    if low is not None:
        bad |= result < low
    if (result.size == 0 and not empty) or bad.any():
        got = "none" if result.size == 0 else f"{result[bad].reshape(-1)[0]}"
        raise ActsmithError(f"{name}: got {got}; {expected}")
    return result
