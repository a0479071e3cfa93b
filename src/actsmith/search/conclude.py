"""What a search may say: rows for the leaderboard, one verdict, one sentence. Pure functions of the outcomes.

The best is chosen by validation scores; the test split judges that one choice, and is read for nothing else. Where a
user's own loop has no test, the validation scores of fresh seeds judge, and the sentence says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.search.candidates import Candidate
from actsmith.theory.criticality import criticality
from actsmith.theory.entropy import entropy
from actsmith.training.problem import Metric
from actsmith.trials.policy import Setting, TuneThenScore
from actsmith.trials.statistics import Interval
from actsmith.trials.tables import Table, contest, table
from actsmith.trials.trial import History, Outcome
from actsmith.trials.verdict import LEVEL, Verdict, verdict

__all__ = ["Conclusion", "Confirmed", "by", "conclude", "confirmed", "front", "rows"]


@dataclass(frozen=True)
class Confirmed:
    """A finalist against the start, on the seeds that both have.

    Attributes:
        name: of the activation.
        seeds: that were compared.
        validation: merit on the validation split, by which finalists are compared with each other.
        score: mean and interval on the split that judges; None where a net diverged. Geometric where the metric is
            compared by logarithm.
        difference: to the start, paired, positive where the finalist is better; in decades for a logarithm.
        p: of the paired t-test, Holm-corrected over the finalists.
        verdict: what that says.
        over_known, p_over_known: the same to the best known function; None for itself and where there is none.
        diverged: how many of its nets did.
        where_trained: the difference on the seeds where it and the start trained, where it is beyond doubt (corrected
            as p is, by Bonferroni); None where none diverged.
    """

    name: str
    seeds: tuple[int, ...]
    validation: float
    score: Interval | None
    difference: Interval | None
    p: float | None
    verdict: Verdict
    over_known: Interval | None = None
    p_over_known: float | None = None
    diverged: int = 0
    where_trained: Interval | None = None


def confirmed(
    history: History,
    policy: TuneThenScore,
    start: Formula,
    finalists: Sequence[Formula],
    *,
    known: str | None = None,
    looks: int = 1,
) -> list[Confirmed]:
    """The start first, then the finalists, as far as their seeds go; nothing where no two seeds are common to all.

    Args:
        known: name of the best known function among the finalists, to which they are compared, too.
        looks: how many times, this one counted, scores were judged: each p is multiplied by it, since who goes on with
            more seeds until something is found would find something (Bonferroni over the looks so far).
    """
    metric = policy.metric
    scored: dict[str, dict[int, Outcome]] = {}
    for formula in (start, *finalists):
        trials = policy.scoring(formula, history)
        scored[formula.name] = {t.seed: history[t.key] for t in trials if t.key in history}
    common = tuple(sorted(set.intersection(*(set(own) for own in scored.values()))))
    if len(common) < 2:
        return []
    own = {name: [outcomes[seed] for seed in common] for name, outcomes in scored.items()}

    def judged(those: Mapping[str, Sequence[Outcome]]) -> Table:
        return table(
            those, metric, reference=start.name, rates=policy.rates, name=policy.task, title=policy.task,
            split=policy.judge,
        )  # fmt: skip

    scores = judged(own)
    duels = {duel.name: duel for duel in contest([(scores, f.name, start.name) for f in finalists])}
    others = [f.name for f in finalists if f.name != known] if known is not None else []
    above = {duel.name: duel for duel in contest([(scores, name, known) for name in others])}  # type: ignore[misc]
    results = []
    for name, outcomes in own.items():
        row, duel, over = scores.row(name), duels.get(name), above.get(name)
        p = None if duel is None or duel.difference is None else min(looks * duel.p, 1.0)
        says: Verdict = "open" if duel is None or (p is not None and p >= LEVEL) else duel.verdict
        results.append(Confirmed(
            name=name,
            seeds=common,
            validation=metric.merit([o.score(metric) for o in outcomes]),
            score=row.interval,
            difference=None if duel is None else duel.difference,
            p=p,
            verdict=says,
            over_known=None if over is None else over.difference,
            p_over_known=None if over is None or over.difference is None else min(looks * over.p, 1.0),
            diverged=row.diverged,
            where_trained=_where_trained(own[start.name], outcomes, policy, judged, looks * len(finalists))
            if row.diverged else None,
        ))  # fmt: skip
    return results


def _where_trained(
    base: Sequence[Outcome],
    other: Sequence[Outcome],
    policy: TuneThenScore,
    judged: Callable[[Mapping[str, Sequence[Outcome]]], Table],
    times: int,
) -> Interval | None:
    """The difference on the seeds that have a score of both, where `times` its p is below the level."""
    pairs = [
        (a, b) for a, b in zip(base, other, strict=True)
        if a.score(policy.metric, policy.judge) is not None and b.score(policy.metric, policy.judge) is not None
    ]  # fmt: skip
    if len(pairs) < 2:
        return None
    start, name = base[0].name, other[0].name
    [duel] = contest([(judged({start: [a for a, _ in pairs], name: [b for _, b in pairs]}), name, start)])
    return duel.difference if times * duel.p < LEVEL else None


@dataclass(frozen=True)
class Conclusion:
    """What a search says at its end.

    Attributes:
        sentence: for a reader.
        kind: "better", "nothing better" or "not decided".
        chosen: name of the best by validation.
        recommended: name of what to use: `chosen` where it is better, else the start.
    """

    sentence: str
    kind: str
    chosen: str
    recommended: str


def conclude(
    found: Sequence[Confirmed],
    start: str,
    policy: TuneThenScore,
    trainings: int,
    *,
    go_on: str,
    known: str | None = None,
    tried: bool = True,
    lost: bool = False,
    skipped: int = 0,
    untrained: bool = False,
    enough: float | None = None,
) -> Conclusion:
    """The sentence at the end.

    Args:
        found: as `confirmed` gives it.
        start: name of the start.
        policy: the metric, and which split judges.
        trainings: that were run in all.
        go_on: the command that goes on with the search.
        known: name of the best known function among the finalists, where it is another one.
        tried: whether anything was tuned beside the start.
        lost: whether nothing that was tuned has a score.
        skipped: how many activations the budget left out.
        untrained: whether the budget ended before the start was trained at all its rates.
        enough: seconds of a budget that would do, about; None where there was no budget.
    """
    counted = f"{trainings} training{'s' if trainings != 1 else ''}"
    if not found:
        why = _why_nothing(start, tried=tried, lost=lost, untrained=untrained)
        give = "" if enough is None or lost else f": give at least about {budget(enough)}"
        sentence = f"Not decided: {why} in {counted}{give}; go on with {go_on}. Until then keep {start}."
        return Conclusion(sentence, "not decided", start, start)
    metric, tested = policy.metric, policy.judge == "test"
    where = "on the test split" if tested else "with fresh seeds"
    closing = "" if tested else " These are validation scores: no test was given."
    if policy.examples < 1:
        closing = f" Every training saw {policy.examples:.1%} of the training examples, for the budget's sake.{closing}"
    best = max(found, key=lambda c: (c.validation, c.name == start))
    left_out = f" The budget left out {skipped} activation{'s' if skipped != 1 else ''}; go on with {go_on}."
    if best.name == start or best.verdict in ("worse", "same"):
        others = len(found) - 1
        sentence = f"Nothing better than {start} was found in {counted}; keep {start}."
        if best.name == start and others:
            sentence = f"Nothing better than {start} was found in {counted}: it leads {others} finalist"
            sentence += f"{'s' if others != 1 else ''} on the validation split. Keep {start}."
        elif best.name != start:
            sentence += f" {best.name} leads on the validation split and is {best.verdict} {where}{by(best, metric)}."
        sentence += _unstable(found, metric) + (left_out if skipped else "") + closing
        return Conclusion(sentence, "nothing better", best.name, start)
    if best.verdict == "better":
        sentence = f"{best.name} is better than {start}{by(best, metric)}, {len(best.seeds)} fresh paired seeds."
        if best.over_known is not None and known is not None:
            says = verdict(best.over_known, p=best.p_over_known)
            words = {"better": "It is better than", "worse": "It is worse than"}.get(says, "It is not told apart from")
            sentence += f" {words} the best known function, {known}{by(best, metric, known=True)}."
        return Conclusion(sentence + closing, "better", best.name, best.name)
    differs = f"it differs from {start}{by(best, metric)}"
    if best.difference is None:
        differs = f"it cannot be compared with {start}, of which a training failed or diverged"
    sentence = (
        f"Not decided: {best.name} leads on the validation split; {where} {differs}, {len(best.seeds)} paired seeds. "
        f"Go on with {go_on}; until then keep {start}."
    )
    return Conclusion(sentence + closing, "not decided", best.name, start)


def _unstable(found: Sequence[Confirmed], metric: Metric) -> str:
    """What would have led, had it always trained; "" where nothing would."""
    ahead = [(c.where_trained, c) for c in found if c.where_trained is not None and c.where_trained.low > 0]
    if not ahead:
        return ""
    d, best = max(ahead, key=lambda pair: pair[0].mean)
    return (
        f" {best.name} was ahead by {d.mean:.4g} {_unit(metric)} [{d.low:.4g}, {d.high:.4g}] where it trained, but "
        f"{best.diverged} of its {len(best.seeds)} trainings diverged or failed: try it with clipped gradients or a "
        "lower rate."
    )


def _unit(metric: Metric) -> str:
    return f"decades of {metric.name}" if metric.log else metric.name.replace("_", " ")


def _why_nothing(start: str, *, tried: bool, lost: bool, untrained: bool) -> str:
    """Why nothing was confirmed; see `conclude`."""
    if untrained:
        return f"the budget ended before the start's network, with {start}, was trained at every rate"
    if lost:
        return f"every activation that was tried diverged or failed, {start} too"
    return "too few seeds were confirmed" if tried else f"no other activation than {start} was tried to its end"


def budget(seconds: float) -> str:
    """A time as --budget takes it, rounded up.

    >>> budget(0.4), budget(89.2), budget(130), budget(7000)
    ('1s', '90s', '3m', '2h')
    """
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds > 1.6 * size:
            return f"{math.ceil(seconds / size)}{unit}"
    return f"{math.ceil(seconds)}s"


def by(one: Confirmed, metric: Metric, *, known: bool = False) -> str:
    """by +0.0123 accuracy [+0.01, +0.02], p = 0.003"""
    d, own_p = (one.over_known, one.p_over_known) if known else (one.difference, one.p)
    if d is None:
        return ", of which a network diverged" if one.verdict == "better" else ""
    unit = _unit(metric)
    unit += " (positive is better)" if metric.better == "lower" else ""
    p = "" if own_p is None else f", p = {own_p:.2g}"
    return f" by {d.mean:+.4g} {unit} [{d.low:+.4g}, {d.high:+.4g}]{p}"


# ------------------------------------------------------------------------------------------------------------- rows


def rows(
    history: History,
    policy: TuneThenScore,
    arms: Sequence[Candidate],
    found: Sequence[Confirmed],
    same: Mapping[str, Sequence[Formula]],
) -> list[dict[str, Any]]:
    """The leaderboard: what was confirmed, by its validation merit there, then what was tuned alone, by its own."""
    by_name = {c.name: c for c in found}
    made = []
    for arm in arms:
        setting = policy.setting(arm.formula, history)
        if setting is None:
            continue
        row = _row(history, policy, arm, setting, by_name.get(arm.formula.name))
        made.append(row)
        for twin in same.get(arm.formula.name, ()):  # trained once, listed under every name
            own = {"name": twin.name, "formula": twin.text, "parameters": twin.to_dict()["params"]}
            made.append(row | own | {"kind": "known", "origin": "known", "same_as": [arm.formula.name]})

    def place(row: dict[str, Any]) -> tuple[bool, float, bool, str]:
        one = by_name.get(row["same_as"][0] if row["same_as"] else row["name"])
        merit = one.validation if one is not None else policy.metric.merit([row["validation"]])
        return one is None, -merit, row["kind"] != "start", row["name"]

    return sorted(made, key=place)


def _row(
    history: History, policy: TuneThenScore, arm: Candidate, setting: Setting, one: Confirmed | None
) -> dict[str, Any]:  # fmt: skip
    formula, metric, (rate, scale) = arm.formula, policy.metric, setting
    tuned = policy.tuned(formula, history)
    scored = [history[t.key] for t in policy.scoring(formula, history) if t.key in history]
    trained, timed = scored or tuned, tuned or scored  # steps are timed in the stacks that all of them were tuned in
    values = metric.transformed([o.score(metric) for o in tuned or scored])
    mean = None if not values else sum(values) / len(values)
    d = None if one is None else one.difference
    return {
        "name": formula.name,
        "formula": formula.text,
        "parameters": formula.to_dict()["params"],
        "kind": arm.kind,
        "origin": arm.origin,
        "proposer": arm.proposer,
        "parents": list(arm.parents),
        "same_as": [],
        "validation": 10.0**mean if mean is not None and metric.log else mean,
        "confirmed": None if one is None else _score(metric, one.validation),
        "score": None if one is None or one.score is None else one.score.mean,
        "low": None if one is None or one.score is None else one.score.low,
        "high": None if one is None or one.score is None else one.score.high,
        "difference": None if d is None else d.mean,
        "difference_low": None if d is None else d.low,
        "difference_high": None if d is None else d.high,
        "p": None if one is None else one.p,
        "verdict": None if one is None else one.verdict,
        "seeds": 0 if one is None else len(one.seeds),
        "over_known": None if one is None or one.over_known is None else one.over_known.mean,
        "p_over_known": None if one is None else one.p_over_known,
        "learning_rate": rate,
        "learning_rate_at_edge": policy.at_edge(rate),
        "scale": scale,
        "step_seconds": sum(o.step_seconds for o in timed) / max(len(timed), 1),
        "diverged": sum(o.score(metric) is None for o in trained),
        "reason": next((o.reason for o in trained if o.reason is not None), None),
        "learned": _learned(trained),
        "entropy": _smoothed_entropy(formula),
        "universality": str(criticality(formula).universality),
    }


def _score(metric: Metric, merit: float) -> float | None:
    """The mean score that has this merit; None for the worst there is."""
    if not math.isfinite(merit):
        return None
    value = metric.sign * merit
    return 10.0**value if metric.log else value


def front(table: Sequence[Mapping[str, Any]], metric: Metric) -> list[str]:
    """Names that no other beats in validation score and time per step both, quickest first."""
    usable = [r for r in table if r["validation"] is not None and not r["same_as"]]
    best, names = -math.inf, []
    for row in sorted(usable, key=lambda r: (r["step_seconds"], -metric.merit([r["validation"]]))):
        merit = metric.merit([row["validation"]])
        if merit > best:
            best = merit
            names.append(row["name"])
    return names


def _smoothed_entropy(formula: Formula) -> float | None:
    """J_0.1 under N(0, 1); None where it has none."""
    try:
        value = entropy(formula).smoothed
    except ActsmithError:
        return None
    return None if value is None or not math.isfinite(value) else float(value)


def _learned(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The learned values after training, by name, the mean over seeds and layers."""
    values: dict[str, list[float]] = {}
    for outcome in outcomes:
        for path, learned in outcome.details.get("parameters", {}).items():
            values.setdefault(path.rpartition(".")[2], []).extend(v for v in learned if v is not None)
    return {name: sum(own) / len(own) for name, own in values.items() if own}
