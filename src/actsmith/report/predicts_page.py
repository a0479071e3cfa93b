"""docs/results/what-predicts: the conclusion, a forest of rank correlations, ten lines and a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from actsmith.files import write_atomically
from actsmith.report.figure import BLUE, ORANGE, drawing
from actsmith.table.predicts import Predictor, Predicts, Thesis

__all__ = ["render_predicts"]

THEORY = 8
"""Quantities of theory that are shown, the strongest."""
Triple = tuple[float, float, float]


def render_predicts(found: Predicts, folder: str | Path, measured: str) -> list[Path]:
    """Write README.md and predicts.svg.

    Args:
        found: the answer.
        folder: where the page goes; made where there is none.
        measured: how the table was measured, in a sentence.
    """
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    _draw(found, home / "predicts.svg")
    lines = "\n".join(f"- {line}" for line in _lines(found))
    parts = [
        "# What predicts how an activation trains?", f"**{conclusion(found)}**",
        "![Rank correlations with the error](predicts.svg)", lines, _table(found), measured,
        "Made from the shipped table by `actsmith table report`.",
    ]  # fmt: skip
    write_atomically(home / "README.md", "\n\n".join(part for part in parts if part) + "\n")
    return [home / "README.md", home / "predicts.svg"]


def conclusion(found: Predicts) -> str:
    """In a sentence, from the numbers alone."""
    theory, short, other, model = (found.best(kind) for kind in ("theory", "short", "task", "model"))
    early = _named(found, "10% of the training") or short
    parts = [
        f"the strongest quantity of theory ({theory.name}) {_rho(theory)}" if theory else "",
        f"a tenth of the training {_rho(early)}" if early else "",
        f"the other tasks {_rho(other)}" if other else "",
        f"the best model of functions that it has not seen ({model.name}) {_rho(model)}" if model else "",
    ]
    said = "; ".join(part for part in parts if part)
    fewer = f", {found.trained:,} pairs of the two" if found.trained < found.functions * found.tasks else ""
    over = f"over {found.functions} functions, means of {found.tasks} tasks{fewer}"
    return f"Rank correlations with the error, {over}: {said}."


def _lines(found: Predicts) -> list[str]:
    lines = []
    again = _named(found, "another seed")
    if again is not None and again.rho is not None:
        lines.append(f"One seed's test score orders another's with {_rho(again)}: so well do outcomes repeat.")
    shares = [p for p in found.predictors if p.kind == "short"]
    shares.sort(key=lambda p: float(p.name.partition("%")[0]))
    if shares:
        said = ", ".join(f"{_rho(p)} after {p.name.partition(' ')[0]}" for p in shares)
        lines.append(f"Short trainings (validation scores of the same trainings): {said}.")
        half = ", ".join(f"{_interval(p.better)} after {p.name.partition(' ')[0]}" for p in shares)
        lines.append(f"Among the better half of the functions ({found.halves}): {half}.")
    for kind, title in (
        ("theory", "Theory before any network"),
        ("start", "The untrained network"),
        ("model", "Models"),
    ):
        own = [p for p in found.predictors if p.kind == kind and p.rho is not None][:3]
        if own:
            said = ", ".join(f"{p.name} {_rho(p)}" for p in own)
            half = ", ".join(f"{_interval(p.better)}" for p in own)
            lines.append(f"{title}: {said}; among the better half {half}.")
    lost = sorted((p for p in found.predictors if p.auc and p.kind in ("theory", "start")), key=_distance)
    said = ", ".join(f"{p.name} {_chance(p.auc)}" for p in lost[:3]) or "too few on every task to say what predicts it"
    lines.append(
        f"{found.lost} of {found.trained} pairs of function and task diverged at some rate or seed; "
        f"AUC, 0.5 is chance: {said}."
    )
    other = found.best("task")
    if other is not None:
        lines.append(f"The mean place on the other tasks: {_rho(other)}; better half {_interval(other.better)}.")
    lines += [_said(thesis) for thesis in found.thesis[:1]]
    if len(found.thesis) > 1:
        groups = (f"{t.what} ({t.count}) {_interval((t.rho, t.low, t.high))}" for t in found.thesis[1:])
        lines.append(f"The same within groups: {', '.join(groups)}.")
    if found.pairs is not None:
        pair = found.pairs
        lines.append(
            f"Of {pair.count} pairs of EAFO corrections that differ in their sign alone the one of lower entropy wins "
            f"on {pair.rho:.0%} [{pair.low:.0%}, {pair.high:.0%}] of the tasks; a half is chance."
        )
    return lines


def _said(thesis: Thesis) -> str:
    """What became of "a lower output entropy is better"."""
    if thesis.low > 0:
        verdict = "the lower entropy trains better"
    elif thesis.high < 0:
        verdict = "the higher entropy trains better, against the thesis of arXiv:2405.12954"
    else:
        verdict = "no order can be seen"
    triple = (thesis.rho, thesis.low, thesis.high)
    return f"Output entropy among {thesis.what} ({thesis.count}): {_interval(triple)} with the error: {verdict}."


def _table(found: Predicts) -> str:
    rows = [["predictor", "what", "all functions", "better half", "AUC: diverges"]]
    rows += [[p.name, p.what, _rho(p), _interval(p.better), _chance(p.auc)] for p in _shown(found)]
    if not any(row[-1] for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    return _markdown(rows)


def _shown(found: Predicts) -> list[Predictor]:
    """All but the weaker quantities of theory."""
    theory = [p for p in found.predictors if p.kind == "theory"][:THEORY]
    return [p for p in found.predictors if (p.kind != "theory" or p in theory) and p.rho is not None]


def _draw(found: Predicts, path: Path) -> None:
    shown = _shown(found)
    with drawing(path, 1, 2, (8.5, 0.6 + 0.27 * len(shown)), sharex=True, sharey=True) as (_, axes):
        for axis, title, values in (
            (axes[0, 0], f"all {found.functions} functions", [_all(p) for p in shown]),
            (axes[0, 1], f"the better {found.halves}", [p.better for p in shown]),
        ):
            for place, (p, triple) in enumerate(zip(shown, values, strict=True)):
                if triple is not None:
                    colour = BLUE if p.kind == "theory" else ORANGE
                    axis.plot(triple[1:], [place, place], color=colour, linewidth=1.4)
                    axis.plot([triple[0]], [place], color=colour, marker="o" if p.kind == "theory" else "D")
            axis.axvline(0.0, color="black", linewidth=0.8)
            axis.set(title=title, xlabel="rank correlation with the test error")
            axis.set_yticks(range(len(shown)), [p.name for p in shown])
            axis.set_ylim(len(shown) - 0.4, -0.6)


def _named(found: Predicts, name: str) -> Predictor | None:
    return next((p for p in found.predictors if p.name == name), None)


def _distance(p: Predictor) -> float:
    return -abs((p.auc or (0.5,))[0] - 0.5)


def _all(p: Predictor) -> Triple | None:
    return None if p.rho is None or p.low is None or p.high is None else (p.rho, p.low, p.high)


def _rho(p: Predictor) -> str:
    return _interval(_all(p))


def _interval(triple: Triple | None) -> str:
    return "" if triple is None else f"{triple[0]:+.2f} [{triple[1]:+.2f}, {triple[2]:+.2f}]"


def _chance(triple: Triple | None) -> str:
    return "" if triple is None else f"{triple[0]:.2f} [{triple[1]:.2f}, {triple[2]:.2f}]"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *others = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *others))
