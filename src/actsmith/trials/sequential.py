"""As many seeds as a question needs: differences may be looked at after every seed, and the claim stays valid.

Differences d_1, d_2, ... of pairs, normal with unknown mean and deviation. Against the mean m stands the mixture of all
means m + delta sigma with delta from N(0, 1), sigma under its right Haar measure. With n pairs,
t = sqrt(n) (mean d - m)/s and nu = n - 1, the evidence is

    e(m) = (1 + n)^(-1/2) ((1 + t^2/((1 + n) nu)) / (1 + t^2/nu))^(-n/2)

(Gonen et al., The American Statistician 59, 2005). Under m it is a martingale from 1 in what the scale leaves, so that
it ever reaches 1/alpha with probability alpha at most, whenever one stops (Ville; Wang and Ramdas, arXiv:2310.03722).
The means that it has not excluded are the confidence sequence: t^2 < nu (1 - q)/(q - 1/(1 + n)) with
q = (sqrt(1 + n)/alpha)^(-2/n), and no bound where q <= 1/(1 + n).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt

import numpy as np
from scipy import special

from actsmith.errors import ActsmithError
from actsmith.trials.statistics import Interval

__all__ = ["Sequential", "confidence_sequence", "log_evidence", "log_evidence_of_signs"]


def log_evidence(differences: Sequence[float], mean: float = 0.0) -> float:
    """log e against this mean: the differences' mean is another one. 0 for fewer than two differences.

    Example:
        >>> log_evidence([1.0, 1.2, 0.8, 1.1, 0.9, 1.0]) > log(20)
        True
    """
    d = np.asarray(differences, dtype=np.float64)
    n = d.size
    if n < 2:
        return 0.0
    spread = float(d.std(ddof=1))
    if spread == 0:
        return inf if float(d.mean()) != mean else -0.5 * log(1 + n)
    ratio = n * ((float(d.mean()) - mean) / spread) ** 2 / (n - 1)
    return 0.5 * n * (float(np.log1p(ratio)) - float(np.log1p(ratio / (1 + n)))) - 0.5 * log(1 + n)


def confidence_sequence(differences: Sequence[float], level: float = 0.05) -> Interval:
    """The mean with an interval that holds, with probability 1 - level, at every number of differences at once.

    Raises:
        ActsmithError: fewer than two differences, or one that is not finite.

    Example:
        >>> found = confidence_sequence([1.0, 1.2, 0.8, 1.1, 0.9, 1.0])
        >>> 0 < found.low < 1 < found.high
        True
    """
    d = np.asarray(differences, dtype=np.float64)
    n = int(d.size)
    if n < 2 or not np.isfinite(d).all():
        raise ActsmithError(f"confidence sequence: got {d.tolist()[:5]}; expected two or more finite differences")
    q = exp(-2 / n * (0.5 * log(1 + n) - log(level)))
    left, middle, spread = q - 1 / (1 + n), float(d.mean()), float(d.std(ddof=1))
    if left <= 0:
        return Interval(middle, -inf, inf, n)
    half = sqrt((n - 1) * (1 - q) / left / n) * spread
    return Interval(middle, middle - half, middle + half, n)


def log_evidence_of_signs(first: int, second: int) -> float:
    """log e against even odds, of so many events on either side: the uniform mixture over the odds.

    Example:
        >>> log_evidence_of_signs(8, 0) > log(20) > log_evidence_of_signs(6, 0)
        True
    """
    n = first + second
    return n * log(2.0) - log(n + 1) - float(special.gammaln(n + 1)) + float(
        special.gammaln(first + 1) + special.gammaln(second + 1)
    )  # fmt: skip


@dataclass(frozen=True)
class Sequential:
    """Seeds of an experiment, as many as its questions need: blocks with all activations, until each is decided.

    Attributes:
        most: seeds at most; what is not decided then is open.
        least: seeds before the first look.
        step: seeds from one look to the next.
        first: the first seed.

    Raises:
        ActsmithError: numbers that make no sequence.
    """

    most: int
    least: int = 5
    step: int = 1
    first: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.least <= self.most or self.step < 1 or self.first < 0:
            raise ActsmithError(
                f"sequential seeds: got least {self.least}, most {self.most}, step {self.step}, first {self.first}; "
                "expected 2 <= least <= most, a step of 1 or more, a first seed of 0 or more"
            )

    def blocks(self) -> list[tuple[int, ...]]:
        """The seeds of each look, the earlier ones among them."""
        ends = [*range(self.least, self.most, self.step), self.most]
        return [tuple(range(self.first, self.first + end)) for end in ends]

    def added(self, seeds: tuple[int, ...]) -> tuple[int, ...]:
        """Of the seeds of one look, those that the look before did not have.

        >>> Sequential(most=12, least=5, step=3).added(tuple(range(8)))
        (5, 6, 7)
        """
        before = [look for look in self.blocks() if len(look) < len(seeds)]
        return seeds[len(before[-1]) :] if before else seeds

    def until(self, decided: Callable[[tuple[int, ...]], bool]) -> tuple[int, ...]:
        """The seeds up to the first look at which all is decided, or all of them.

        Args:
            decided: called with the seeds of one look after the other.
        """
        looks = self.blocks()
        return next((seeds for seeds in looks if decided(seeds)), looks[-1])
