"""What to train next: proposals of every proposer, screened by the surrogate, shared out by the bandit. Pure.

    propose -> admit (the space) -> rank (the surrogate, or chance) -> make, until the round is full

For half of the places the surrogate chooses among all, the others belong to proposers by what they earned; in these it
chooses among the proposer's own. It takes what it hopes most of, and hopes less of what is like those taken before.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from actsmith.errors import ActsmithError
from actsmith.search.bandit import quotas, shares
from actsmith.search.candidates import Candidate
from actsmith.search.draft import Draft
from actsmith.search.evidence import Evidence
from actsmith.search.proposers import Proposer
from actsmith.search.proposers.known import Known
from actsmith.search.space import Space
from actsmith.search.surrogate import BOLD, Batch, Surrogate, coordinates

__all__ = ["Round", "next_round"]

POOL = 2000
"""Proposals that are looked at."""
EARNED = 0.5
"""Of the places, those that proposers earn."""
SHORT = 200
"""Proposals on the shortlist, where it counts how alike they are: the most promising of all, and of each proposer."""


@dataclass(frozen=True)
class Round:
    """What to train, and how it was chosen.

    Attributes:
        candidates: at most as many as were asked for; names are unique in the search.
        predicted: name of a candidate -> the share of what was tried that it is expected to beat; empty where chance
            chose.
        correlation: rank correlation of predictions and measurements so far, each round left out in turn; None where
            too little was tried to fit anything.
        screened: whether the surrogate chose; by chance where its correlation is not above 0.
        shares: proposer -> its share of the places that are earned.
        earned: proposer -> (tried, promoted) so far.
        pool: proposer -> proposals that were admitted.
        failed: what could not be proposed or built, and why.
    """

    candidates: tuple[Candidate, ...]
    predicted: Mapping[str, float]
    correlation: float | None
    screened: bool
    shares: Mapping[str, float]
    earned: Mapping[str, tuple[int, int]]
    pool: Mapping[str, int]
    failed: tuple[str, ...]

    @property
    def notes(self) -> dict[str, Any]:
        """All of it but the candidates, as plain JSON values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "candidates"}
        return {**values, "earned": {k: list(v) for k, v in self.earned.items()}, "failed": list(self.failed)}


def next_round(
    evidence: Evidence,
    proposers: Sequence[Proposer],
    space: Space,
    *,
    seed: int | Sequence[int],
    n: int,
    pool: int = POOL,
    late: Callable[[], bool] = lambda: False,
) -> Round:
    """The next n candidates: the same arguments, the same answer. Where nothing was tried, known functions come first.

    Args:
        evidence: what was tried, in rounds of n.
        proposers: where candidates come from, each with a name of its own.
        space: what may be tried; knows what was tried, and is told what is admitted.
        seed: of all that is random.
        n: places in the round.
        pool: how many proposals are looked at.
        late: asked between two pieces of work; what was chosen by then is the round, for which nobody has time.

    Raises:
        ActsmithError: two proposers of one name.
    """
    names = [proposer.name for proposer in proposers]
    if len(set(names)) < len(names):
        raise ActsmithError(f"next round: got proposers named {', '.join(names)}; expected each name once")
    rng = np.random.default_rng(seed)
    parts = shares(evidence.tried, names)
    drafts = _pool(evidence, proposers, space, [parts[name] for name in names], pool, rng=rng, late=late)
    surrogate = None if late() else _surrogate(evidence, drafts, n)
    trusted = surrogate if surrogate is not None and surrogate.correlation > 0 else None
    order = _Order(drafts, evidence, trusted, rng)
    picks = _Picks(drafts, space, {evidence.start.name, *(t.candidate.formula.name for t in evidence.tried)})
    for proposer in _places(evidence, parts, n, rng):
        if late():
            break
        found = picks.one_of(order.now(), proposer)
        if found is not None:
            order.take(found)
    tried = Counter(t.candidate.proposer for t in evidence.tried)
    promoted = Counter(t.candidate.proposer for t in evidence.tried if t.promoted)
    admitted = Counter(draft.proposer for draft in drafts)
    return Round(
        candidates=tuple(picks.chosen.values()),
        predicted={} if trusted is None else _predicted(trusted, picks.chosen),
        correlation=None if surrogate is None else surrogate.correlation,
        screened=trusted is not None,
        shares=parts,
        earned={name: (tried[name], promoted[name]) for name in names},
        pool={name: admitted[name] for name in names},
        failed=(*picks.failed, *(f"{p.name}: {note}" for p in proposers for note in p.notes)),
    )


def _pool(
    evidence: Evidence, proposers: Sequence[Proposer], space: Space, parts: Sequence[float], left: int,
    *, rng: np.random.Generator, late: Callable[[], bool],
) -> list[Draft]:  # fmt: skip
    """What the space admits of everyone's proposals, finite on the grid; what one leaves goes to those after it."""
    drafts = []
    for i, (proposer, own) in enumerate(zip(proposers, rng.spawn(len(proposers)), strict=True)):
        if late():
            break
        proposed = proposer.propose(evidence, own, max(round(left * parts[i] / sum(parts[i:])), 1))
        left = max(left - len(proposed), 0)
        drafts += [draft for draft in proposed if space.admit(draft) is None]
    return drafts


def _surrogate(evidence: Evidence, drafts: Sequence[Draft], n: int) -> Surrogate | None:
    """What the history teaches of these drafts; the start is a part of it, its merit is 0."""
    if not drafts:
        return None
    history = [(evidence.start, 0.0, 0)]
    history += [(t.candidate.formula, t.merit, i // max(n, 1)) for i, t in enumerate(evidence.tried)]
    looks = [evidence.grid.look(formula) for formula, _, _ in history]
    usable = [i for i, look in enumerate(looks) if np.isfinite(look).all()]
    values, slopes = (np.stack([looks[i][k] for i in usable]) for k in (0, 1))
    merits = np.array([history[i][1] for i in usable])
    rounds = [history[i][2] for i in usable]
    return Surrogate.fitted((values, slopes), merits, rounds, _stacked(drafts), evidence.grid)


def _stacked(drafts: Sequence[Draft]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.stack([d.values for d in drafts]), np.stack([d.slopes for d in drafts])


def _places(evidence: Evidence, parts: Mapping[str, float], n: int, rng: np.random.Generator) -> list[str | None]:
    """Whose each place is, None for whoever is best."""
    if not evidence.tried and Known.name in parts:
        return [Known.name] * n
    earned = quotas(parts, round(EARNED * n), rng)
    owned = [name for name, count in earned.items() for _ in range(count)]
    return [None] * (n - len(owned)) + owned


class _Order:
    """The drafts in an order that changes with what is taken: the surrogate's shortlist, then all the others."""

    def __init__(
        self, drafts: Sequence[Draft], evidence: Evidence, surrogate: Surrogate | None, rng: np.random.Generator
    ) -> None:
        whose = np.array([draft.proposer for draft in drafts], dtype=object)
        self.batch: Batch | None = None
        if surrogate is not None:
            mean, deviation = surrogate.predict()
            self.rest = np.argsort(-(mean + BOLD * deviation), kind="stable")
            names = sorted(set(whose))
            own = [self.rest[whose[self.rest] == name][: SHORT // len(names)] for name in names]
            self.batch = surrogate.batch(np.unique(np.concatenate([self.rest[:SHORT], *own])))
            return
        known = np.flatnonzero(whose == Known.name) if not evidence.tried else np.empty(0, dtype=np.intp)
        if known.size > 1:
            known = known[_apart(coordinates(*_stacked([drafts[i] for i in known.tolist()]), evidence.grid))]
        rest = rng.permutation(len(drafts))
        self.rest = np.concatenate([known, rest[~np.isin(rest, known)]])

    def now(self) -> list[int]:
        """Places in the pool, the first to be taken first."""
        first = [] if self.batch is None else self.batch.order().tolist()
        return [*first, *self.rest.tolist()]

    def take(self, place: int) -> None:
        """One is chosen."""
        if self.batch is not None:
            self.batch.take(place)


class _Picks:
    """What was chosen, each draft looked at once.

    Attributes:
        chosen: place in the pool -> candidate, in the order of choice.
        failed: what could not be built, and why.
    """

    def __init__(self, drafts: Sequence[Draft], space: Space, names: set[str]) -> None:
        self.drafts, self.space, self.names = drafts, space, names
        self.seen: set[int] = set()
        self.chosen: dict[int, Candidate] = {}
        self.failed: list[str] = []

    def one_of(self, order: Sequence[int], proposer: str | None) -> int | None:
        """Choose the first that can be had: the proposer's own, or else anyone's; its place, None for nothing."""
        own = [i for i in order if self.drafts[i].proposer == proposer]
        for i in (*own, *order):
            if i in self.seen:
                continue
            self.seen.add(i)
            try:
                candidate = self.drafts[i].make()
            except ActsmithError as error:
                self.failed.append(f"{self.drafts[i].origin}: {error}")
                continue
            if (reason := self.space.admit(candidate)) is not None:
                self.failed.append(f"{candidate.formula.name}: {reason}")
                continue
            self.chosen[i] = self._named(candidate)
            return i
        return None

    def _named(self, candidate: Candidate) -> Candidate:
        """Under a name that nothing else in the search has."""
        name = candidate.formula.name
        numbers = itertools.count(2)
        while name in self.names:
            name = f"{candidate.formula.name} #{next(numbers)}"
        self.names.add(name)
        return (
            candidate if name == candidate.formula.name else replace(candidate, formula=candidate.formula.renamed(name))
        )


def _predicted(surrogate: Surrogate, chosen: Mapping[int, Candidate]) -> dict[str, float]:
    """The share of what was tried that each is expected to beat: Phi of its normal score."""
    mean, _ = surrogate.predict()
    return {candidate.formula.name: float(ndtr(mean[i])) for i, candidate in chosen.items()}


def _apart(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """An order in which each point is the furthest from those before it, the most ordinary one first."""
    order: list[int] = []
    near = -np.linalg.norm(points - np.median(points, axis=0), axis=1)
    while len(order) < len(points):
        order.append(int(np.argmax(near)))
        away = np.linalg.norm(points - points[order[-1]], axis=1)
        near = away if len(order) == 1 else np.minimum(near, away)
        near[order] = -1.0
    return np.array(order, dtype=np.intp)
