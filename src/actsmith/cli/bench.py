"""`actsmith bench`: this installation against named peers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from actsmith.cli.common import json_option, print_json

NAME = "bench"
HELP = "Measure this installation against named peers; ratios beside their targets."
EXAMPLES = (
    "bench",
    "bench activation --quick",
    "bench theory criticality --out theory.csv",
)


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help="activation, training, engine, adaptive, theory, criticality, surgery, workers, playground, gpu (all)",
    )
    parser.add_argument("--quick", action="store_true", help="fewer repeats and smaller sizes")
    parser.add_argument("--out", type=Path, default=Path("benchmarks.csv"), metavar="CSV", help="where the rows go")
    json_option(parser)


def run(request: argparse.Namespace) -> None:
    """Measure, print and write the rows."""
    from dataclasses import asdict

    from actsmith.benchmarks.run import line, machine, run

    notes: list[str] = []

    def say(note: str) -> None:
        notes.append(note)
        print(note, file=sys.stderr, flush=True)

    known, rows = machine(), []
    for row in run(request.parts, request.quick, request.out, say):
        rows.append(asdict(row) | {"met": row.met})
        if not request.json:
            print(line(row), flush=True)
    if request.json:
        return print_json({"machine": known, "rows": rows, "left_out": notes, "csv": str(request.out)})
    verdicts = [row["met"] for row in rows if row["met"] is not None]
    print(f"\n{verdicts.count(True)} of {len(verdicts)} targets met; {request.out} has the rows.")
    print(", ".join(f"{name} {value}" for name, value in known.items()) + " GB/s")
    return None
