"""`actsmith search`: better activations for a task."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from actsmith.cli.common import formula_of, formula_options, json_option, print_json, print_table, seconds

NAME = "search"
HELP = "The main job: better activations for a task, against baselines."
EXAMPLES = (
    "search",
    "search --task digits --start gelu --seeds 5 --budget 10m",
    'search --task mnist --data data/mnist --start "x*sigmoid(b*x)" --param b=1.5',
)


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "--task", default="digits", help="digits, mnist, mnist-5k, fashion-mnist, cifar10, or MODULE:OBJECT"
    )
    parser.add_argument("--start", default="relu", metavar="FORMULA", help="activation to start from (default: relu)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder that holds the task's data")
    parser.add_argument("--seeds", type=int, default=10, help="paired seeds per activation (default: 10, at least 2)")
    parser.add_argument("--budget", metavar="TIME", help="begin no activation after this long: 90s, 10m or 2h")
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: runs/TASK-START-NUMBER)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    formula_options(parser)
    json_option(parser)


def run(request: argparse.Namespace) -> None:
    """Search, and print the leaderboard."""
    from actsmith.progress import Progress
    from actsmith.report.run import render
    from actsmith.search.run import search

    with Progress() as progress:
        result = search(
            task=request.task,
            start=formula_of(request.start, request),
            seeds=request.seeds,
            budget=seconds(request.budget),
            data=request.data,
            out=request.out,
            resume=request.resume,
            progress=progress,
        )
    files = render(result.folder)
    if request.json:
        leaderboard: dict[str, Any] = json.loads((result.folder / "leaderboard.json").read_text())
        return print_json(leaderboard | {"folder": str(result.folder)})
    shown = []
    for row in result.rows:
        interval = f"{row['low']:.4f} to {row['high']:.4f}"
        gain = f"{row['difference']:+.4f} ({row['difference_low']:+.4f} to {row['difference_high']:+.4f})"
        entropy = "undefined" if row["entropy"] is None else f"{row['entropy']:+.3f}"
        step = f"{1e3 * row['step_seconds']:.1f} ms"
        shown.append([row["name"], f"{row['accuracy']:.4f}", interval, gain, entropy, row["universality"], step])
    headings = ["activation", "accuracy", "95 % interval", f"minus {result.start}, paired", "entropy", "class", "step"]
    print_table(headings, shown)
    if result.skipped:
        print(f"\nLeft out by the budget: {', '.join(result.skipped)}; --out {result.folder} --resume trains them.")
    print(f"\nRun folder: {result.folder}  ({', '.join(path.name for path in files)}, best.py)")
    return None
