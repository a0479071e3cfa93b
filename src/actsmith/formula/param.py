"""`Param`: a parameter of a formula."""

from __future__ import annotations

import math
from dataclasses import dataclass

from actsmith.errors import FormulaError

__all__ = ["Param"]


@dataclass(frozen=True)
class Param:
    """A parameter of a formula: its value, whether training may change it, and the closed range it must stay in.

    >>> Param(0.01, learn=True)
    Param(value=0.01, learn=True, low=-inf, high=inf)
    """

    value: float
    learn: bool = False
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "value", float(self.value))
        except (TypeError, ValueError, OverflowError):
            raise FormulaError(f"parameter: expected a number, got {str(self.value)[:60]!r}") from None
        if not self.low <= self.value <= self.high or not math.isfinite(self.value):
            raise FormulaError(f"parameter: value {self.value} is outside its range [{self.low}, {self.high}]")
