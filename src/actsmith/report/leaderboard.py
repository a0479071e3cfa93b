"""The leaderboard, with what it takes to believe it or not: once, for Markdown and for a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from actsmith.report.data import Row, RunData, read_run

__all__ = ["Part", "leaderboard", "leaderboard_markdown"]


@dataclass(frozen=True)
class Part:
    """A heading with a paragraph, a picture's file, a table (its first row the head) and a list.

    What stands between backticks is code.
    """

    title: str
    text: str = ""
    figure: str = ""
    rows: Sequence[Sequence[str]] = ()
    items: Sequence[str] = ()


def leaderboard(data: RunData) -> tuple[str, list[Part]]:
    """The title, and what follows the conclusion."""
    parts = [Part("Confirmed", figure="scores.svg" if data.rows else "", rows=_confirmed(data))]
    if not data.confirmed:
        none = f"No activation was confirmed on the {data.judge} split."
        parts = [Part("Scores", none, "scores.svg" if data.rows else "")]
    if data.curves:
        parts.append(Part("Shapes", figure="shapes.svg"))
    if data.rows:
        parts += [Part("Everything that was tuned", rows=_table(data)), Part("Formulas", items=_formulas(data))]
    parts.append(Part("How", _method(data), "laws.svg" if data.densities else ""))
    if data.dropped:
        parts.append(Part("Derived and not trained", items=_dropped(data)))
    return f"{data.task}: activations against {data.start}", parts


def leaderboard_markdown(folder: str | Path) -> str:
    """The Markdown text of a finished search: the conclusion first.

    Raises:
        ActsmithError: the folder holds no finished search.
    """
    data = read_run(folder)
    title, parts = leaderboard(data)
    lines = [f"# {title}", f"**{data.conclusion}**"]
    for part in parts:
        lines.append(f"## {part.title}")
        lines.append(part.text)
        lines.append(f"![{part.title}]({part.figure})" if part.figure else "")
        lines.append(_markdown(part.rows) if part.rows else "")
        lines.append("\n".join(f"- {item}" for item in part.items))
    return "\n\n".join(line for line in lines if line) + "\n"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = ["| " + " | ".join(cells) + " |" for cells in (escaped[0], ["---"] * len(rows[0]), *escaped[1:])]
    return "\n".join(lines)


def _confirmed(data: RunData) -> list[list[str]]:
    """What was scored on the split that judges."""
    unit = "decades" if data.log else data.metric
    gained = f"better than {data.start} by ({unit})"
    head = ["activation", f"validation {data.metric}", f"{data.judge} {data.metric}", "95 % interval", gained,
            "95 % interval", "p (Holm)", "verdict"]  # fmt: skip
    rows = [head]
    for r in data.confirmed:
        score = ["a net diverged", ""] if r.score is None else [f"{r.score:.4g}", f"{r.low:.4g} to {r.high:.4g}"]
        gain = ["", ""]
        if r.difference is not None:
            gain = [f"{r.difference:+.4g}", f"{r.difference_low:+.4g} to {r.difference_high:+.4g}"]
        p = "" if r.p is None else f"{r.p:.2g}"
        fresh = "" if r.confirmed is None else f"{r.confirmed:.4g}"
        verdict = (r.verdict or "") if r.name != data.start else "the start"
        rows.append([f"`{_cell(r.name)}`", fresh, *score, *gain, p, verdict])
    return rows


def _names(names: list[str]) -> str:
    return ", ".join(f"`{_cell(name)}`" for name in names) if names else "none"


def _table(data: RunData) -> list[list[str]]:
    head = ["#", "activation", "kind", f"validation {data.metric}", "learning rate", "ms per step", "J_0.1", "class"]
    return [head, *(_cells(number, row) for number, row in enumerate(data.rows, 1))]


def _cells(number: int, row: Row) -> list[str]:
    name = f"`{_cell(row.name)}`" + (f" (= {', '.join(map(_cell, row.same_as))})" if row.same_as else "")
    if row.diverged:
        name += f" ({row.diverged} without a score)"
    return [
        str(number), name, row.kind, "diverged" if row.validation is None else f"{row.validation:.4g}",
        f"{row.learning_rate:g}" + ("*" if row.learning_rate_at_edge else ""), f"{1e3 * row.step_seconds:.2f}",
        "" if row.entropy is None else f"{row.entropy:.4f}", row.universality,
    ]  # fmt: skip


def _formulas(data: RunData) -> list[str]:
    lines = []
    for row in data.rows:
        text = f"`{_cell(row.name)}`: `{row.formula.text}`"
        fixed = {n: p.value for n, p in row.formula.params.items()}
        if fixed:
            text += "; " + ", ".join(f"{n} = {v:g}" for n, v in fixed.items())
        if row.learned:
            text += "; learned, on average, " + ", ".join(f"{n} = {v:.4g}" for n, v in row.learned)
        if row.kind == "candidate":
            text += f". {row.origin}"
        lines.append(text + ".")
    return lines


def _method(data: RunData) -> str:
    plan, rates = data.plan, ", ".join(f"{rate:g}" for rate in data.config["rates"])
    tuned = (
        f"has its learning rate tuned over {rates}" if plan.get("rates", True) else "is tried at the script's own rate"
    )
    seeds, looks = max((r.seeds for r in data.rows), default=0), ""
    if len(data.looks) > 1:
        looks = f", times {len(data.looks)} for the looks at {', '.join(map(str, data.looks))} seeds"
    tested = data.judge == "test"
    scored = "scored on the test split, which nothing else reads" if tested else "scored on the validation split again"
    part = "" if plan["examples"] == 1 else f" Every training saw {plan['examples']:.0%} of the training examples."
    return (
        f"{data.trainings} trainings. Every activation, the known ones too, {tuned} "
        f"with {len(plan['tuning_seeds'])} seeds on the validation split (a star marks a rate at the end "
        "of that grid). The best of them, the start and the best known function are then trained with "
        f"{seeds} other seeds, the same for each, and {scored}; the best is "
        f"chosen by validation scores.{part} Equal seeds mean equal initial draws and equal batches; the "
        f"differences are paired by seed and their p-values Holm-corrected{looks}. J_0.1 is the smoothed "
        "entropy of the output "
        "under N(0, 1) at the starting parameters; alone it orders nothing. No other network of its score and its time "
        f"per step is better in both than {_names(list(data.front))}. Again: `{data.command}`."
    )


def _dropped(data: RunData) -> list[str]:
    counted: dict[str, list[str]] = {}
    for name, _, reason in data.dropped:
        counted.setdefault(reason, []).append(name)
    return [f"{reason}: {_names(names)}" for reason, names in counted.items()]


def _cell(text: str) -> str:
    return text.replace("`", "'").replace("\n", " ")
