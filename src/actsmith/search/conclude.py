"""What a search may say: rows for the leaderboard, one verdict, one sentence. Pure functions of the outcomes.

The best is chosen by validation scores; the test split judges that one choice, and is read for nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.search.candidates import Candidate
from actsmith.theory.criticality import criticality
from actsmith.theory.entropy import entropy
from actsmith.training.problem import Metric
from actsmith.trials.policy import TuneThenScore
from actsmith.trials.statistics import Interval, holm, interval, paired_difference, paired_p, share_interval
from actsmith.trials.trial import History, Outcome
from actsmith.trials.verdict import Verdict, verdict

__all__ = ["Conclusion", "Confirmed", "conclude", "confirmed", "front", "rows"]


@dataclass(frozen=True)
class Confirmed:
    """A finalist against the start, on the seeds that both have.

    Attributes:
        name: of the activation.
        seeds: that were compared.
        validation: merit on the validation split, by which finalists are compared with each other.
        score: mean and interval on the test split; None where a net diverged. Geometric where the metric is compared
            by logarithm.
        difference: to the start, paired, positive where the finalist is better; in decades for a logarithm.
        p: of the paired t-test, Holm-corrected over the finalists.
        verdict: what that says.
    """

    name: str
    seeds: tuple[int, ...]
    validation: float
    score: Interval | None
    difference: Interval | None
    p: float | None
    verdict: Verdict


def confirmed(history: History, policy: TuneThenScore, start: Formula, finalists: Sequence[Formula]) -> list[Confirmed]:
    """The start first, then the finalists, as far as their seeds go; nothing where no two seeds are common to all."""
    metric = policy.metric
    scored: dict[str, dict[int, Outcome]] = {}
    for formula in (start, *finalists):
        trials = policy.scoring(formula, history)
        scored[formula.name] = {t.seed: history[t.key] for t in trials if t.key in history}
    common = sorted(set.intersection(*(set(own) for own in scored.values())))
    if len(common) < 2:
        return []
    found, compared = [], []
    base = metric.transformed([scored[start.name][s].score(metric, "test") for s in common])
    for name, own in scored.items():
        raw = [own[s].score(metric, "test") for s in common]
        mine, validation = metric.transformed(raw), metric.merit([own[s].score(metric) for s in common])
        difference, p = None, None
        if name != start.name and mine is not None and base is not None:
            a, b = ([metric.sign * v for v in values] for values in (mine, base))
            difference, p = paired_difference(a, b), paired_p(a, b)
            compared.append(p)
        found.append((name, validation, _mean(metric, mine), difference, p, (mine is None, base is None)))
    corrected = iter(holm(compared))
    results = []
    for name, validation, score, difference, p, lost in found:
        own_p = None if p is None else next(corrected)
        says: Verdict = verdict(difference, p=own_p)
        if name != start.name and lost[0] != lost[1]:  # one of the two alone diverged
            says = "worse" if lost[0] else "better"
        results.append(Confirmed(name, tuple(common), validation, score, difference, own_p, says))
    return results


def _mean(metric: Metric, values: list[float] | None) -> Interval | None:
    """Of transformed scores, back in the metric's units."""
    if values is None:
        return None
    found = (share_interval if metric.share else interval)(values)
    return Interval(10.0**found.mean, 10.0**found.low, 10.0**found.high, found.count) if metric.log else found


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
    found: Sequence[Confirmed], start: str, metric: Metric, trainings: int, *, go_on: str, known: str | None = None
) -> Conclusion:
    """The sentence at the end.

    Args:
        found: as `confirmed` gives it.
        start: name of the start.
        metric: of the scores.
        trainings: that were run in all.
        go_on: the command that goes on with the search.
        known: name of the best known function among the finalists, where it is another one.
    """
    counted = f"{trainings} training{'s' if trainings != 1 else ''}"
    if not found:
        sentence = (
            f"Not decided: too few seeds were confirmed in {counted}; go on with {go_on}. Until then keep {start}."
        )
        return Conclusion(sentence, "not decided", start, start)
    best = max(found, key=lambda c: (c.validation, c.name == start))
    if best.name == start or best.verdict in ("worse", "same"):
        others = len(found) - 1
        sentence = f"Nothing better than {start} was found in {counted}; keep {start}."
        if best.name == start and others:
            sentence = f"Nothing better than {start} was found in {counted}: it leads {others} finalist"
            sentence += f"{'s' if others != 1 else ''} on the validation split. Keep {start}."
        elif best.name != start:
            sentence += f" {best.name} leads on the validation split and is {best.verdict} on the test split"
            sentence += f"{_by(best, metric)}."
        return Conclusion(sentence, "nothing better", best.name, start)
    if best.verdict == "better":
        sentence = f"{best.name} is better than {start}{_by(best, metric)}, {len(best.seeds)} fresh paired seeds."
        other = next((c for c in found if c.name == known and c.name != best.name), None)
        if other is not None and other.score is not None and best.score is not None:
            sentence += f" The best known function among the finalists, {other.name}, scores {other.score.mean:.4g}, "
            sentence += f"{best.name} {best.score.mean:.4g}."
        return Conclusion(sentence, "better", best.name, best.name)
    sentence = (
        f"Not decided: {best.name} leads on the validation split; on the test split it differs from {start}"
        f"{_by(best, metric)}, {len(best.seeds)} paired seeds. Go on with {go_on}; until then keep {start}."
    )
    return Conclusion(sentence, "not decided", best.name, start)


def _by(one: Confirmed, metric: Metric) -> str:
    """by +0.0123 accuracy [+0.01, +0.02], p = 0.003"""
    if one.difference is None:
        return ", of which a network diverged" if one.verdict == "better" else ""
    d = one.difference
    unit = f"decades of {metric.name}" if metric.log else metric.name.replace("_", " ")
    p = "" if one.p is None else f", p = {one.p:.2g}"
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
        rate = policy.rate(arm.formula, history)
        if rate is None:
            continue
        row = _row(history, policy, arm, rate, by_name.get(arm.formula.name))
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
    history: History, policy: TuneThenScore, arm: Candidate, rate: float, one: Confirmed | None
) -> dict[str, Any]:  # fmt: skip
    formula, metric = arm.formula, policy.metric
    tuned = [history[t.key] for t in policy.tuning(formula) if t.rate == rate and t.key in history]
    scored = [history[t.key] for t in policy.scoring(formula, history) if t.key in history]
    trained = scored or tuned
    values = metric.transformed([o.score(metric) for o in tuned or scored])
    mean = None if not values else sum(values) / len(values)
    d = None if one is None else one.difference
    return {
        "name": formula.name,
        "formula": formula.text,
        "parameters": formula.to_dict()["params"],
        "kind": arm.kind,
        "origin": arm.origin,
        "same_as": [],
        "validation": 10.0**mean if mean is not None and metric.log else mean,
        "score": None if one is None or one.score is None else one.score.mean,
        "low": None if one is None or one.score is None else one.score.low,
        "high": None if one is None or one.score is None else one.score.high,
        "difference": None if d is None else d.mean,
        "difference_low": None if d is None else d.low,
        "difference_high": None if d is None else d.high,
        "p": None if one is None else one.p,
        "verdict": None if one is None else one.verdict,
        "seeds": 0 if one is None else len(one.seeds),
        "learning_rate": rate,
        "learning_rate_at_edge": policy.at_edge(rate),
        "step_seconds": sum(o.step_seconds for o in trained) / max(len(trained), 1),
        "diverged": sum(o.score(metric) is None for o in trained),
        "reason": next((o.reason for o in trained if o.reason is not None), None),
        "learned": _learned(trained),
        "entropy": _smoothed_entropy(formula),
        "universality": str(criticality(formula).universality),
    }


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
