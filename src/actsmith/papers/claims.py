"""Questions that are registered before a run, and the one rule by which its tables answer them.

A question is a contrast of two activations: per seed, the mean over its tables of what the first is better by. Its
interval (Student's t for a fixed number of seeds, the confidence sequence of `trials.sequential` where seeds were added
until it was decided) is held against a margin, in the metric's units, that says what is too small to matter:

| the interval lies ...         | a claim of the paper             | of others     |
|-------------------------------|----------------------------------|---------------|
| above the margin              | reproduced                       | holds         |
| below minus the margin        | contradicted (in its own setting)| does not hold |
| inside the margin             | no difference that matters       | the same      |
| anywhere else                 | open                             | open          |

and Holm's correction runs over the questions of a page. Nets that fail come first: where one of the two fails in more
seeds, by the sign test, it is the worse one; else the nets that trained are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import exp, isfinite, sqrt
from typing import Literal

import numpy as np
from scipy import stats

from actsmith.trials.sequential import confidence_sequence, log_evidence, log_evidence_of_signs
from actsmith.trials.statistics import Interval, holm, interval
from actsmith.trials.tables import Table
from actsmith.trials.verdict import LEVEL, Verdict, verdict

__all__ = [
    "SEQUENTIAL", "SPELLED", "Answer", "Claim", "Effect", "Origin", "Question", "certain", "counted", "decided",
    "effect_of", "judge", "out_of_reach", "over_a_page", "sampled", "worded",
]  # fmt: skip

Origin = Literal["paper", "reviewers", "ours"]
Answer = Literal[
    "reproduced", "contradicted", "holds", "does not hold", "no difference that matters", "open", "out of reach"
]
SPELLED = {"relu": "ReLU", "gelu": "GELU", "silu": "SiLU", "prelu": "PReLU"}
"""Activations as sentences name them."""
SEQUENTIAL = "sequential"
"""Label of a table whose seeds were added until its questions were decided."""


@dataclass(frozen=True)
class Question:
    """A statement, and the contrast that decides it.

    Attributes:
        statement: that the first is better than the second, in words.
        first, second: activations; of several the mean is taken.
        margin: what is too small to matter, in the metric's units; in decades where it is compared by logarithm.
        tables: pattern of the names of the tables that are averaged, as "xyz-critical-*".
        origin: whose statement it is.
        where: section of the paper, or who says so.
        paper: what the paper itself says on it, where that is another thing or a number.
        published: whether the setting is the paper's, so that the opposite contradicts it.
        useless: a net whose score is no better than this has failed; None leaves that to the loss.
        panel: of the first page, where it stands there.
    """

    statement: str
    first: str | tuple[str, ...]
    second: str | tuple[str, ...]
    margin: float
    tables: str = "*"
    origin: Origin = "ours"
    where: str = ""
    paper: str = ""
    published: bool = False
    useless: float | None = None
    panel: Literal["", "mrepu", "crrelu"] = ""


@dataclass(frozen=True)
class Effect:
    """What the first is better by.

    Attributes:
        mean, low, high: of the contrast over the seeds in which both trained, with a 95 % interval; None without two.
        count: of those seeds.
        failed: nets of the first and of the second that failed.
        verdict: of the page's rule, before its correction.
        p: of that verdict; 1 where it is open.
    """

    mean: float | None
    low: float | None
    high: float | None
    count: int
    failed: tuple[int, int]
    verdict: Verdict
    p: float


@dataclass(frozen=True)
class Claim:
    """A statement and what became of it here.

    Attributes:
        statement, origin, where, paper, published, margin, panel: as the question says.
        verdict: the answer.
        contrast: the two that are compared, as "crrelu - gelu", and the tables; nothing where it is no contrast.
        effect: behind it; None for a statement that is certain or out of reach.
        unit: of effect and margin.
        p: after the page's correction; None where nothing was drawn.
        size: at which size, in words.
        evidence: in words, where there is no effect, or more to say.
    """

    statement: str
    verdict: Answer
    evidence: str = ""
    origin: Origin = "ours"
    where: str = ""
    paper: str = ""
    published: bool = False
    panel: str = ""
    margin: float = 0.0
    contrast: str = ""
    effect: Effect | None = None
    unit: str = ""
    p: float | None = None
    size: str = ""


def judge(questions: Iterable[Question], tables: Iterable[Table], size: str = "") -> tuple[Claim, ...]:
    """The answers of these tables, corrected together; a question whose tables or activations are not there is left
    out.

    Args:
        questions: in the order of the page.
        tables: all that was found.
        size: of the runs, in words.
    """
    found = list(tables)
    claims = []
    for question in questions:
        mine = _holding(question, found)
        if mine:
            claims.append(_claim(question, effect_of(question, mine), mine, size))
    return over_a_page(claims)


def over_a_page(claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """The claims after Holm's correction over all that rest on an effect with a p; what does not survive it is open."""
    drawn = [i for i, claim in enumerate(claims) if claim.effect is not None and isfinite(claim.effect.p)]
    corrected = dict(zip(drawn, holm([claims[i].effect.p for i in drawn]), strict=True))  # type: ignore[union-attr]
    done = list(claims)
    for i, p in corrected.items():
        claim, effect = claims[i], claims[i].effect
        assert effect is not None
        final: Verdict = effect.verdict if p < LEVEL else "open"
        done[i] = replace(claim, p=p, verdict=worded(final, claim.origin, claim.published))
    return tuple(done)


def decided(questions: Iterable[Question], tables: Sequence[Table]) -> bool:
    """Whether no question of these tables is open."""
    return all(claim.verdict != "open" for claim in judge(questions, tables))


def worded(found: Verdict, origin: Origin = "paper", published: bool = True) -> Answer:
    """A verdict as the answer to a claim.

    >>> worded("better"), worded("worse"), worded("worse", published=False), worded("better", "ours")
    ('reproduced', 'contradicted', 'does not hold', 'holds')
    """
    if found == "better":
        return "reproduced" if origin == "paper" else "holds"
    if found == "worse":
        return "contradicted" if origin == "paper" and published else "does not hold"
    return "no difference that matters" if found == "same" else "open"


def certain(
    statement: str, cases: Sequence[bool], evidence: str, *, origin: Origin = "paper", where: str = "",
    published: bool = True, panel: str = "",
) -> Claim:  # fmt: skip
    """A statement about what is known without drawing anything: it is true if every case holds."""
    found: Verdict = "open" if not cases else "better" if all(cases) else "worse"
    return Claim(statement, worded(found, origin, published), evidence, origin, where, "", published, panel)


def out_of_reach(statement: str, why: str, origin: Origin = "paper", where: str = "") -> Claim:
    """A claim that needs more than is here, with what would decide it."""
    return Claim(statement, "out of reach", why, origin, where)


# ------------------------------------------------------------------------------------------------------ effects


def effect_of(question: Question, tables: Sequence[Table]) -> Effect:
    """The contrast of a question in its tables."""
    differences, fails = _by_seed(question, tables)
    sequential = any(SEQUENTIAL in t.labels for t in tables)
    signs = np.sign(fails[:, 1] - fails[:, 0])
    more, fewer = int((signs > 0).sum()), int((signs < 0).sum())
    p_of_fails = _p_of_signs(more, fewer, sequential)
    count, failed = len(differences), (int(fails[:, 0].sum()), int(fails[:, 1].sum()))
    around = None
    if count > 1:
        around = confidence_sequence(differences) if sequential else interval(differences)
    ends = _finite(around)
    if p_of_fails < LEVEL:
        return Effect(*ends, count, failed, "better" if more > fewer else "worse", p_of_fails)
    found = verdict(around, question.margin)
    return Effect(*ends, count, failed, found, _p(differences, found, question.margin, sequential))


def _finite(around: Interval | None) -> tuple[float | None, float | None, float | None]:
    if around is None:
        return None, None, None
    mean, low, high = (v if isfinite(v) else None for v in (around.mean, around.low, around.high))
    return mean, low, high


def _holding(question: Question, tables: Iterable[Table]) -> list[Table]:
    asked = {*_names(question.first), *_names(question.second)}
    return [
        t for t in tables if fnmatchcase(t.name, question.tables) and asked <= {row.name for row in t.rows}
    ]  # fmt: skip


def _names(side: str | tuple[str, ...]) -> tuple[str, ...]:
    return (side,) if isinstance(side, str) else side


def _side(side: str | tuple[str, ...]) -> str:
    names = _names(side)
    return names[0] if len(names) == 1 else f"mean of {', '.join(names)}"


def _by_seed(question: Question, tables: Sequence[Table]) -> tuple[list[float], np.ndarray]:
    """What the first is better by, of the seeds in which both trained somewhere, and the nets of either that failed,
    (seeds, 2)."""
    sides = [
        [[_trained(t, v, question.useless) for v in t.row(name).values] for name in _names(side)]
        for t in tables for side in (question.first, question.second)
    ]  # fmt: skip
    seeds = min(len(values) for side in sides for values in side)
    differences, fails = [], np.zeros((seeds, 2), dtype=int)
    for seed in range(seeds):
        here = []
        for k, t in enumerate(tables):
            means = []
            for which in (0, 1):
                values = [values[seed] for values in sides[2 * k + which]]
                fails[seed, which] += sum(v is None for v in values)
                means.append(t.metric.transformed(values))
            first, second = means
            if first is not None and second is not None:
                here.append(t.metric.sign * (float(np.mean(first)) - float(np.mean(second))))
        if here:
            differences.append(float(np.mean(here)))
    return differences, fails


def _trained(t: Table, value: float | None, useless: float | None) -> float | None:
    if value is None or not isfinite(value) or useless is None:
        return value
    return value if t.metric.sign * (value - useless) > 0 else None


def _p(differences: Sequence[float], found: Verdict, margin: float, sequential: bool) -> float:
    """Of the hypothesis next to the verdict: the interval's level at which it would just not be reached."""
    at = {"better": (margin,), "worse": (-margin,), "same": (-margin, margin), "open": ()}[found]
    if not at:
        return 1.0
    if sequential:
        return max(min(exp(-log_evidence(differences, m)), 1.0) for m in at)
    error = float(np.std(differences, ddof=1)) / sqrt(len(differences))
    mean = float(np.mean(differences))
    return max(0.0 if error == 0 else float(2 * stats.t.sf(abs(mean - m) / error, len(differences) - 1)) for m in at)


def _p_of_signs(first: int, second: int, sequential: bool) -> float:
    if first + second == 0:
        return 1.0
    if sequential:
        return min(exp(-log_evidence_of_signs(first, second)), 1.0)
    return float(stats.binomtest(first, first + second).pvalue)


def _claim(question: Question, effect: Effect, tables: Sequence[Table], size: str) -> Claim:
    metric = tables[0].metric
    unit = f"decades of {metric.name.replace('_', ' ')}" if metric.log else metric.name.replace("_", " ")
    evidence = f"{len(tables)} tables" if len(tables) > 1 else tables[0].name
    if any(effect.failed):
        first, second = (_nets(side, tables) for side in (question.first, question.second))
        of = f"{first} nets each" if first == second else f"{first} and {second} nets"
        evidence += f"; failed: {effect.failed[0]} and {effect.failed[1]} of {of}"
    contrast = f"{_side(question.first)} - {_side(question.second)} in {question.tables}"
    seeds = max(len(t.rows[0].values) for t in tables)
    return replace(_answered(question, effect, unit, evidence, seeds=seeds, size=size), contrast=contrast)


def _nets(side: str | tuple[str, ...], tables: Sequence[Table]) -> int:
    return sum(len(t.row(name).values) for t in tables for name in _names(side))


def sampled(question: Question, values: Sequence[float], unit: str, evidence: str = "", *, size: str = "") -> Claim:
    """The claim that a number is positive, beyond the question's margin, from its values over independent seeds."""
    around: Interval | None = interval(values) if len(values) > 1 else None
    found = verdict(around, question.margin)
    effect = Effect(*_finite(around), len(values), (0, 0), found, _p(values, found, question.margin, sequential=False))
    return replace(_answered(question, effect, unit, evidence, seeds=len(values), size=size), p=effect.p)


def _answered(question: Question, effect: Effect, unit: str, evidence: str, *, seeds: int, size: str) -> Claim:
    """What the question says of itself, with what was found; the answer before the page's correction."""
    q = question
    return Claim(
        q.statement, worded(effect.verdict, q.origin, q.published), evidence, q.origin, q.where, q.paper, q.published,
        q.panel, q.margin, effect=effect, unit=unit, size=f"{seeds} seeds; {size}" if size else f"{seeds} seeds",
    )  # fmt: skip


def counted(claims: Iterable[Claim]) -> Mapping[Answer, int]:
    """How often each answer was given, the decided ones first."""
    given = [claim.verdict for claim in claims]
    order: tuple[Answer, ...] = (
        "reproduced", "contradicted", "holds", "does not hold", "no difference that matters", "open", "out of reach"
    )  # fmt: skip
    return {answer: given.count(answer) for answer in order if answer in given}
