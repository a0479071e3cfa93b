"""`actsmith table`: thousands of activations, each measured on several small tasks."""

from __future__ import annotations

import argparse
from pathlib import Path

from actsmith.cli.common import json_option, print_json

NAME = "table"
HELP = "Measure thousands of activations on small tasks (build), keep them (publish), say what they teach (report)."
EXAMPLES = ("table build --out runs/table --functions 500 --time 40m",)


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("what", choices=("build", "publish", "report"), help="what to do")
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="publish: the folder of a build")
    parser.add_argument("--out", type=Path, metavar="DIR", help="build: the run folder; else where files go")
    parser.add_argument("--functions", type=int, default=3000, metavar="N", help="build: how many (default: 3000)")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="build: some of the tasks (default: all)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="build: processes that train")
    parser.add_argument("--time", metavar="TIME", help="build: stop after a time such as 40m; the same goes on")
    json_option(parser)


def run(request: argparse.Namespace) -> None:
    """Do it."""
    {"build": _build, "publish": _publish, "report": _report}[request.what](request)


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


def _publish(request: argparse.Namespace) -> None:
    from actsmith.errors import ActsmithError
    from actsmith.table.publish import publish

    if request.folder is None:
        raise ActsmithError("table: publish: no build; name its folder, as in actsmith table publish runs/table")
    published = publish(request.folder, request.out or request.folder / "published")
    if request.json:
        return print_json(published.to_dict())
    print(published.conclusion)
    for line in (*map(str, published.files), *published.notes):
        print(line)
    return None


def _report(request: argparse.Namespace) -> None:
    from actsmith.report.methods_page import render_methods
    from actsmith.report.predicts_page import render_predicts
    from actsmith.report.which_page import render_which
    from actsmith.table.analysed import analysed
    from actsmith.theory.measured import read_table

    table = None if request.folder is None else read_table(request.folder / "activations.npz")
    found, home = analysed(table), request.out or Path("docs/results")
    files = render_predicts(found.predicts, home / "what-predicts", found.measured)
    files += render_methods(found.replayed, home / "search-methods", found.measured)
    files += render_which(found.kinds, found.everywhere, home / "which-activation", found.measured)
    if request.json:
        return print_json({"files": list(map(str, files)), "measured": found.measured})
    for file in files:
        print(file)
    return None
