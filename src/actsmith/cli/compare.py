"""`actsmith compare`: a table of activations on a task, no search."""

from __future__ import annotations

import argparse
import re

from actsmith.cli.common import formula_options, formulas_of, json_option, print_json
from actsmith.cli.search import job, job_options

NAME = "compare"
HELP = "Activations against each other on a task: tuned rates, paired seeds, intervals; no search."
EXAMPLES = (
    "compare digits relu gelu 'x*sigmoid(b*x)' --param b=1.5",
    "compare my_script:model my_script:train gelu silu --metric accuracy",
)
LOOP = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("task", metavar="TASK", help="as `actsmith search` takes it")
    parser.add_argument(
        "formulas", nargs="+", metavar="FORMULA",
        help="two or more; differences are to the first. Before them MODULE:TRAIN, where TASK is MODULE:MODEL",
    )  # fmt: skip
    job_options(parser)
    parser.add_argument(
        "--start", metavar="FORMULA", help="of your loop: what its network has, where no module shows it (F.gelu)"
    )
    parser.add_argument("--fine", action="store_true", help="tune on by steps of sqrt 2, in rate and output scale")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    formula_options(parser)
    json_option(parser)


def run(request: argparse.Namespace) -> None:
    """Compare, print the table, and the conclusion last."""
    from actsmith.files import read_json
    from actsmith.formula.catalogue import resolve
    from actsmith.progress import Progress
    from actsmith.trials.compare import compare

    texts = list(request.formulas)
    train = texts.pop(0) if LOOP.fullmatch(request.task) and LOOP.fullmatch(texts[0]) else None
    formulas = formulas_of(texts, request)
    start = None if request.start is None else resolve(request.start)
    with Progress() as progress:
        found = compare(
            request.task, formulas, train, start=start, fine=request.fine, out=request.out, resume=request.resume,
            progress=progress, **job(request),
        )  # fmt: skip
    if request.json:
        return print_json(read_json(found.folder / "comparison.json") | {"folder": str(found.folder)})
    print(f"{found}\n\nRun folder: {found.folder}")
    return None
