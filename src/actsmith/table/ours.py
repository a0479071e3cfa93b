"""What the search of this package would have found in a table: its decisions, each family of the table a proposer.

Its own code shares a round out (`search.bandit`): `shares`, `quotas`. The rest are the same rules in a few lines, since
the original trains networks and fits scikit-learn's process, seconds a run:

- Known functions come first, in whole, in a random order; where the budget is less than twice as many and a round,
  three of them, a round of others, then the rest (`search.stages`).
- Rounds of 16. Half of the places are for whoever is best, the others for proposers by what they earned
  (`search.round`). A Gaussian process on shape and theory takes the largest mean + deviation, as if what it took before
  were known; where its rank correlation with rounds that were left out is not above 0, chance chooses
  (`search.surrogate`; its constants are looked up in a small grid here).
- Short looks: the search itself gives fewer examples, a table has beginnings of trainings, which stand for them. The
  smallest of a quarter and a half is taken that ranks the known functions as whole trainings do, Spearman at least 0.7
  (`search.race`); the search asks so where it affords ten times the known functions, here always. The best quarter of
  all is trained on to its end. Where no share serves, every training is whole; the fresh seeds that the best quarter
  gets then are not in a table.
- Proposals here do not depend on what was found: a table holds none that do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from actsmith.formula.catalogue import resolve
from actsmith.search.bandit import quotas, shares
from actsmith.search.candidates import Candidate
from actsmith.search.evidence import Tried
from actsmith.search.explore import ROUND
from actsmith.search.race import AGREES, CHEAP, QUARTER
from actsmith.search.round import EARNED
from actsmith.search.stages import FIRST_KNOWN
from actsmith.search.surrogate import BOLD, FEWEST
from actsmith.table.replay import KNOWN, Play
from actsmith.table.screen import Screen

__all__ = ["Ours"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Ours:
    """The search, as it is by default; called as a `replay.Method`.

    Attributes:
        known: so many known functions come first; None for the rule above.
        look: share of a first training; None for the rule above.
        earned: share of the places that proposers earn.
        bold: deviations that hope adds to a mean.
        screened: whether a surrogate chooses.
        without: a family that is left out.
    """

    known: int | None = None
    look: float | None = None
    earned: float = EARNED
    bold: float = BOLD
    screened: bool = True
    without: str = ""

    def __call__(self, play: Play, rng: np.random.Generator) -> None:
        """Search until the play is over."""
        banned = play.draw.families == self.without
        known = rng.permutation(np.flatnonzero((play.draw.families == KNOWN) & ~banned))
        first = known if self.known is None else known[: self.known]
        if self.known is None and play.budget < 2 * len(known) + ROUND:
            play.train(first[:FIRST_KNOWN])
            play.train(self._round(play, rng, banned, 1.0, max(min(ROUND, play.budget // 3), 2)))
        play.train(first)
        if not play.tried:
            play.train(self._round(play, rng, banned, 1.0, ROUND))
        share = self.look if self.look is not None else agreeing(play)
        while not play.over:
            chosen = self._round(play, rng, banned, share, ROUND)
            if not len(chosen):
                return
            play.train(chosen, share)
            play.train(np.array(play.tried)[_ahead(play, share)])

    def _round(self, play: Play, rng: np.random.Generator, banned: Array, share: float, n: int) -> Array:
        """What to look at next: at most n places, in the order of choice."""
        families, scores = play.draw.families, play.normal(share)
        free = (play.done == 0) & ~banned
        n = min(n, int(free.sum()))
        names = sorted(set(families[~banned]))
        ahead = set(_ahead(play, share).tolist())
        history = [_tried(str(families[i]), k in ahead) for k, i in enumerate(play.tried)]
        places = _places(shares(history, names), round(self.earned * n), n, rng)
        screen = None
        if self.screened and len(scores) >= FEWEST and np.ptp(scores) > 0:
            screen = Screen(play.draw.kernels, np.array(play.tried), scores, n)
            screen = screen if screen.left_out(ROUND) > 0 else None
        chance, chosen = rng.random(len(free)), []
        for name in places:
            hope = chance if screen is None else self.bold * screen.deviation - screen.mean
            own = free & (families == name) if name else free
            among = np.flatnonzero(own if own.any() else free)
            chosen.append(int(among[np.argmax(hope[among])]))
            free[chosen[-1]] = False
            if screen is not None:
                screen.take(chosen[-1])
        return np.array(chosen, int)


def agreeing(play: Play) -> float:
    """The smallest share of a training that ranks what was trained as whole trainings do; 1 where none does."""
    whole = rankdata(play.scores())
    for share in CHEAP:
        if len(whole) >= 4 and np.corrcoef(rankdata(play.scores(share)), whole)[0, 1] >= AGREES:
            return share
    return 1.0


def _ahead(play: Play, share: float) -> Array:
    """The best quarter of what was tried and did not diverge, as numbers among these."""
    scores = play.scores(share)
    order = np.argsort(scores, kind="stable")
    return order[: math.ceil(np.isfinite(scores).sum() / QUARTER)]


def _places(parts: dict[str, float], earned: int, n: int, rng: np.random.Generator) -> Iterator[str]:
    """Whose each place is, empty for whoever is best."""
    yield from [""] * (n - earned)
    for name, count in quotas(parts, earned, rng).items():
        yield from [name] * count


@cache
def _tried(family: str, promoted: bool) -> Tried:
    """What the bandit reads: who proposed it, and whether it was promoted."""
    return Tried(Candidate(resolve("identity"), "candidate", "", family), 0.0, promoted)
