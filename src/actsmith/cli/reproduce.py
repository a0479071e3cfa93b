"""`actsmith reproduce`: a paper's experiment."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from actsmith.cli.common import json_option, print_json, print_table

if TYPE_CHECKING:
    from actsmith.papers.reproduce import Plan, Reproduction

NAME = "reproduce"
HELP = "A paper's experiment, with error bars."
EXAMPLES = (
    "reproduce",
    "reproduce mrepu-polynomial --preset smoke",
    "reproduce crrelu-vision --preset small --data data --activation gelu",
    "reproduce mrepu-vision --only mnist-5k-mlp6-critical --seeds 10 --dry-run",
)


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="which experiment (default: list them)")
    parser.add_argument("--preset", default="small", choices=("smoke", "small", "paper"), help="size (default: small)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder that holds the data sets")
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder, gone on with (default: runs/NAME-PRESET)")
    parser.add_argument("--pages", type=Path, metavar="DIR", help="where the page goes (default: the run folder)")
    parser.add_argument("--activation", action="append", default=[], metavar="FORMULA", help="compare this one, too")
    parser.add_argument("--only", action="append", default=[], metavar="TABLE", help="run and read this table alone")
    parser.add_argument("--seeds", type=int, metavar="N", help="scored trainings of each activation")
    parser.add_argument("--dry-run", action="store_true", help="say what is left to train, and train nothing")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu"), help="where to train (default: auto)")
    parser.add_argument("--precision", default="no", choices=("no", "bf16", "fp16"), help="mixed precision, or no")
    json_option(parser)


def run(request: argparse.Namespace) -> None:
    """Run it, write its page, and print its claims."""
    from actsmith.papers.reproduce import planned, reproduce, reproduction, reproduction_names

    if request.name is None:
        return _list_reproductions([reproduction(name) for name in reproduction_names()], as_json=request.json)
    asked = {"activations": request.activation, "only": request.only, "seeds": request.seeds}
    plan = planned(request.name, request.preset, request.out, **asked)
    if request.dry_run:
        return _plan(plan, as_json=request.json)
    print(f"{request.name}, preset {request.preset}: {plan.cost}", file=sys.stderr)
    from actsmith.papers.claims import counted
    from actsmith.progress import Progress
    from actsmith.report.claims import how_big
    from actsmith.report.findings import render_findings
    from actsmith.training.runtime import Runtime

    runtime = Runtime.create(request.device, request.precision)
    with Progress() as progress:
        result = reproduce(
            request.name,
            request.preset,
            request.out,
            data=request.data,
            report=progress if runtime.main else None,
            runtime=runtime,
            **asked,
        )
    if not runtime.main:
        return None
    files = render_findings(result, request.pages)
    if request.json:
        return print_json(json.loads(next(f for f in files if f.name == "findings.json").read_text()))
    print(result.findings.summary)
    if request.preset == "smoke":
        print(f"\nIt runs. So small a size answers nothing: `--preset small` does.\n\nRun folder: {result.folder}")
        return None
    for claim in result.findings.claims:
        print(f"\n{claim.verdict}: {claim.statement}\n  " + "; ".join(filter(None, (how_big(claim), claim.evidence))))
    print("\n" + ", ".join(f"{count} {answer}" for answer, count in counted(result.findings.claims).items()) + ".")
    print(f"\nRun folder: {result.folder}  (page: {files[0].parent / 'README.md'})")
    return None


def _list_reproductions(found: Sequence[Reproduction], *, as_json: bool) -> None:
    if as_json:
        rows = [{"name": r.name, "title": r.title, "presets": {n: p.cost for n, p in r.presets.items()}} for r in found]
        return print_json({"reproductions": rows})
    print_table(["name", "what", "small preset"], [[r.name, r.title, r.presets["small"].cost] for r in found])
    return None


def _plan(plan: Plan, *, as_json: bool) -> None:
    head = {"reproduction": plan.reproduction.name, "preset": plan.preset, "folder": str(plan.folder)}
    if as_json:
        return print_json({**head, "cost": plan.cost, "left": dict(plan.left)})
    print_table(["table", "trainings left"], [[name, str(left)] for name, left in plan.left.items()])
    print(f"\nIn all {sum(plan.left.values())}. Folder: {plan.folder}\nCost of the whole preset: {plan.cost}")
    return None
