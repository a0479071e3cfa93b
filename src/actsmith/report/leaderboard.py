"""The leaderboard as Markdown, with what it takes to believe it or not."""

from __future__ import annotations

from pathlib import Path

from actsmith.report.data import Row, RunData, read_run

__all__ = ["leaderboard_markdown"]


def leaderboard_markdown(folder: str | Path) -> str:
    """The Markdown text of a finished search.

    Raises:
        ActsmithError: the folder holds no finished search.
    """
    data = read_run(folder)
    parts = [
        f"# {data.task}: activations against {data.start}",
        _verdict(data),
        _table(data),
        "![Accuracy](accuracy.svg)",
        _formulas(data),
        "![Shapes](shapes.svg)",
        _method(data),
        "![Pre-activations](laws.svg)" if data.densities else "",
        _dropped(data),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _verdict(data: RunData) -> str:
    others = [r for r in data.rows if r.name != data.start]
    better = [r.name for r in others if r.difference_low > 0]
    worse = [r.name for r in others if r.difference_high < 0]
    seeds = data.rows[0].seeds
    lines = [
        f"Better than {data.start} beyond the 95 % interval of the paired difference ({seeds} seeds): "
        f"{_names(better)}. Worse: {_names(worse)}. Not told apart: {len(others) - len(better) - len(worse)}."
    ]
    lines.append(
        f"The {len(others)} intervals are not corrected for being many: about one in twenty excludes zero by chance."
    )
    return " ".join(lines)


def _names(names: list[str]) -> str:
    return ", ".join(f"`{_cell(name)}`" for name in names) if names else "none"


def _table(data: RunData) -> str:
    head = [
        "#", "activation", "kind", "test accuracy", "95 % interval", f"minus {data.start}", "95 % interval",
        "learning rate", "ms per step", "J_0.1", "class",
    ]  # fmt: skip
    rows = [_cells(number, row) for number, row in enumerate(data.rows, 1)]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def _cells(number: int, row: Row) -> list[str]:
    name = f"`{_cell(row.name)}`" + (f" (= {', '.join(map(_cell, row.same_as))})" if row.same_as else "")
    if row.diverged:
        name += f" ({row.diverged} of {row.seeds} diverged)"
    return [
        str(number), name, row.kind,
        f"{row.accuracy:.4f}", f"{row.low:.4f} to {row.high:.4f}",
        f"{row.difference:+.4f}", f"{row.difference_low:+.4f} to {row.difference_high:+.4f}",
        f"{row.learning_rate:g}" + ("*" if row.learning_rate_at_edge else ""), f"{1e3 * row.step_seconds:.2f}",
        "" if row.entropy is None else f"{row.entropy:.4f}", row.universality,
    ]  # fmt: skip


def _formulas(data: RunData) -> str:
    lines = ["## Formulas", ""]
    for row in data.rows:
        text = f"- `{_cell(row.name)}`: `{row.formula.text}`"
        fixed = {n: p.value for n, p in row.formula.params.items()}
        if fixed:
            text += "; " + ", ".join(f"{n} = {v:g}" for n, v in fixed.items())
        if row.learned:
            text += "; learned, on average, " + ", ".join(f"{n} = {v:.4g}" for n, v in row.learned)
        if row.kind == "derived":
            text += f". {row.origin}"
        lines.append(text + ".")
    return "\n".join(lines)


def _method(data: RunData) -> str:
    config, shape = data.config, data.config["shape"]
    rates = ", ".join(f"{rate:g}" for rate in config["learning_rates"])
    layers = f"{shape['depth']} hidden layers of {shape['width']}"
    return (
        f"## How\n\nNetworks of {layers}, {shape['epochs']} epochs in batches of {shape['batch']}, AdamW with the rate "
        "falling to zero. Every activation, the baselines too, starts at its own critical point and has its learning "
        f"rate tuned over {rates} with {len(config['tuning_seeds'])} seeds on the validation split (a star marks a "
        f"rate at the end of that grid); then {config['seeds']} other seeds, the same for every activation, are scored "
        "on the test split after the last epoch. Equal seeds mean equal initial draws and equal batches; the "
        "differences are paired by seed. Times are of one step of all scored networks together. J_0.1 is the smoothed "
        "entropy of the output under N(0, 1) at the starting parameters: lower is what the theory asks for."
    )


def _dropped(data: RunData) -> str:
    if not data.dropped:
        return ""
    counted: dict[str, list[str]] = {}
    for name, _, reason in data.dropped:
        counted.setdefault(reason, []).append(name)
    lines = ["## Derived and not trained", ""]
    lines += [f"- {reason}: {_names(names)}" for reason, names in counted.items()]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'").replace("\n", " ")
