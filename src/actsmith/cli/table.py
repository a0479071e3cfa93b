"""`actsmith table`: thousands of activations, each measured on several small tasks."""

from __future__ import annotations

import argparse
from pathlib import Path

from actsmith.cli.common import json_option, print_json

NAME = "table"
HELP = "Measure thousands of activations on small tasks."
EXAMPLES = ("table build --out runs/table --functions 500 --time 40m",)


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("what", choices=("build",), help="what to do")
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="the run folder")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the same")
    parser.add_argument("--functions", type=int, default=3000, metavar="N", help="build: how many (default: 3000)")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="build: some of the tasks (default: all)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="build: processes that train")
    parser.add_argument("--time", metavar="TIME", help="build: stop after a time such as 40m; the same goes on")
    json_option(parser)


def run(request: argparse.Namespace) -> None:
    """Do it."""
    {"build": _build}[request.what](request)


def _build(request: argparse.Namespace) -> None:
    from actsmith.errors import ActsmithError
    from actsmith.progress import Progress
    from actsmith.table.build import build

    out = request.out or request.folder
    if out is None:
        raise ActsmithError("table: build: no folder; give one (--out DIR)")
    with Progress() as progress:
        built = build(
            out, request.functions, request.tasks, workers=request.workers, time_limit=request.time, progress=progress
        )
    print_json(built.to_dict()) if request.json else print(built.conclusion)
