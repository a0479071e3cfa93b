"""`actsmith search`: better activations for a task, or for your own network and training loop."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actsmith.cli.common import formula_options, formulas_of, json_option, print_json, print_table

NAME = "search"
HELP = "The main job: a better activation for a task, or for your own network and training loop."
EXAMPLES = (
    "search",
    "search digits --start gelu --budget 10m",
    "search cifar10/vit --data data --budget 2h --workers 2",
    "search timm:resnet10t --data data/cifar10 --budget 2h",
    "search hf:gpt2 --config n_layer=2,n_embd=64,n_head=2 --train-file book.txt --budget 30m",
    "search my_script:model my_script:train --metric accuracy --start gelu --budget 1h",
    "search cifar10/vit --data data --budget 2h --dry-run",
    "search austen/resmlp --budget 1h --confirm-on python-manual/resmlp",
    "search --preset sanity --data data",
    "search --resume runs/digits-relu-001 --budget 10m",
)


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "task", nargs="?", metavar="TASK",
        help="a task's name (default: digits), timm:NAME, hf:NAME, MODULE:TASK, or MODULE:MODEL before MODULE:TRAIN",
    )  # fmt: skip
    parser.add_argument("train", nargs="?", metavar="MODULE:TRAIN", help="your training loop, train(net, trial)")
    job_options(parser)
    parser.add_argument("--start", metavar="FORMULA", help="activation to improve (default: the network's own)")
    parser.add_argument("--candidate", action="append", default=[], metavar="FORMULA", help="try this one, too")
    parser.add_argument("--trials", type=int, metavar="N", help="proposals to try (default: while the budget lasts)")
    parser.add_argument("--propose", metavar="MODULE:F", help="a proposer of yours, propose(history) -> formulas")
    parser.add_argument("--max-cost", type=float, metavar="R", help="of a proposal's kernel, over torch's GELU")
    parser.add_argument("--monotone", action="store_true", help="propose monotone functions alone")
    parser.add_argument("--smooth", type=int, metavar="K", help="propose K times differentiable functions alone")
    parser.add_argument("--operators", default="any", choices=("any", "onnx", "quantisable"), help="of proposals")
    parser.add_argument("--budget", metavar="TIME", help="end with a conclusion inside this time: 90s, 10m or 2h")
    parser.add_argument(
        "--confirm-on", action="append", default=[], metavar="TASK[=PATH]", help="confirm on this task, too (its data)"
    )
    parser.add_argument("--preset", choices=("sanity",), help="searches with a known answer, each with its claim")
    parser.add_argument("--dry-run", action="store_true", help="say what the budget buys, and end")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in this folder")
    parser.add_argument(
        "--storage", metavar="URL", help="ledger that `actsmith worker` joins (default: the run folder)"
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="train on the nodes of this Ray cluster")
    formula_options(parser)
    json_option(parser)


def job_options(parser: argparse.ArgumentParser) -> None:
    """What `search` and `compare` share."""
    parser.add_argument("--metric", metavar="KEY", help="of your loop: the key of its result")
    parser.add_argument("--lower", action="store_true", help="of your loop: a lower metric is better")
    parser.add_argument("--test", metavar="MODULE:TEST", help="of your loop: scores a network on the test split")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder that holds the task's data")
    parser.add_argument("--train-file", type=Path, metavar="FILE", help="text that hf: and text tasks learn")
    parser.add_argument("--config", metavar="K=V,...", help="sizes of an hf: model made from its type")
    parser.add_argument("--tokenizer", metavar="DIR", help="of an hf: model (default: bytes)")
    parser.add_argument("--seeds", type=int, default=15, help="fresh paired seeds (default: 15, at least 2)")
    parser.add_argument("--rate", action="append", type=float, metavar="RATE", help="of the grid, instead of its own")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="trainings at the same time (default: 1)")
    parser.add_argument("--trial-timeout", metavar="TIME", help="end a training of your loop after this long")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu"), help="where to train (default: auto)")
    parser.add_argument("--precision", default="no", choices=("no", "bf16", "fp16"), help="mixed precision, or no")
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: a new one under runs)")


def job(request: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `job_options` as the library takes them."""
    from actsmith.names import named_object

    chosen = {
        "train_file": request.train_file, "config": settings(request.config), "tokenizer": request.tokenizer
    }  # fmt: skip
    return {
        "metric": request.metric,
        "better": "lower" if request.lower else "higher",
        "test": None if request.test is None else named_object(request.test, "--test"),
        "data": request.data,
        "seeds": request.seeds,
        "rates": request.rate,
        "workers": request.workers,
        "trial_timeout": request.trial_timeout,
        "device": request.device,
        "precision": request.precision,
        "options": {name: value for name, value in chosen.items() if value is not None},
    }


def command(arguments: Sequence[str]) -> str:
    """The line that repeats this, for a shell; of a storage's address nothing, since it may hold a password.

    >>> command(["search", "digits", "--candidate", "sin(x)/x", "--storage=postgresql://me:pw@db/s", "--workers", "2"])
    "actsmith search digits --candidate 'sin(x)/x' --workers 2"
    """
    kept, skip = [], False
    for argument in arguments:
        if not skip and not argument.startswith("--storage"):
            kept.append(argument)
        skip = argument == "--storage"
    return shlex.join(["actsmith", *kept])


def settings(text: str | None) -> dict[str, Any] | None:
    """n_layer=2,dropout=0.1 as a dictionary; numbers, true and false are what they look like.

    Raises:
        ActsmithError: something without "=".

    >>> settings("n_layer=2,tie=false,act=gelu")
    {'n_layer': 2, 'tie': False, 'act': 'gelu'}
    """
    from actsmith.errors import ActsmithError

    if text is None:
        return None
    found: dict[str, Any] = {}
    for pair in text.split(","):
        name, sign, value = pair.partition("=")
        if not sign or not name.strip().isidentifier():
            raise ActsmithError(f"--config: got {pair!r}; expected NAME=VALUE, as in n_layer=2,n_embd=64")
        try:
            found[name.strip()] = json.loads(value)
        except ValueError:
            found[name.strip()] = value
    return found


def run(request: argparse.Namespace) -> int | None:
    """Search, print the leaderboard, and the conclusion last."""
    from actsmith.files import write_atomically
    from actsmith.progress import Progress
    from actsmith.search.run import rehearse, resume, search
    from actsmith.search.space import Constraints

    if request.preset is not None:
        return _sanity(request)
    with Progress() as progress:
        if request.resume is not None:
            _nothing_else(request)
            result = resume(
                request.resume, budget=request.budget, workers=request.workers, storage=request.storage,
                ray=request.ray, trial_timeout=request.trial_timeout, progress=progress,
            )  # fmt: skip
        else:
            start = [] if request.start is None else [request.start]
            formulas = formulas_of([*start, *request.candidate], request)
            asked = dict(
                task=request.task or "digits",
                train=request.train,
                start=formulas[0] if start else None,
                extra=formulas[len(start) :],
                trials=request.trials,
                propose=request.propose,
                constraints=Constraints(request.max_cost, request.monotone, request.smooth, request.operators),
                budget=request.budget,
                out=request.out,
                confirm_on=request.confirm_on,
                storage=request.storage,
                ray=request.ray,
                **job(request),
            )
            if request.dry_run:
                print(rehearse(**asked))
                return None
            result = search(progress=progress, **asked)
            write_atomically(result.folder / "command.txt", command(request.line) + "\n")
    _render(result.folder)
    if request.json:
        board: dict[str, Any] = json.loads((result.folder / "leaderboard.json").read_text())
        print_json(board | {"folder": str(result.folder)})
        return None
    _print(result)
    return None


def _sanity(request: argparse.Namespace) -> int:
    """The table of searches with a known answer; status 1 where one did not find it."""
    from actsmith.progress import Progress
    from actsmith.search.sanity import sanity
    from actsmith.trials.folder import folder_for

    folder = folder_for("search", "sanity", request.out)
    only = [] if request.task is None else request.task.split(",")
    with Progress() as progress:
        rows = sanity(folder, data=request.data, only=only, workers=request.workers, progress=progress)
    if request.json:
        print_json({"folder": str(folder), "rows": [vars(row) for row in rows]})
    else:
        print((folder / "sanity.md").read_text(encoding="utf-8"))
        held = sum(bool(row.held) for row in rows)
        print(f"{held} of {len(rows)} hold. Folder: {folder}; the same line with --out goes on.")
    return 0 if all(row.held for row in rows) else 1


def _nothing_else(request: argparse.Namespace) -> None:
    """What is resumed is as it was asked for; anything else on the line would be left aside in silence.

    Raises:
        ActsmithError: there is something.
    """
    from actsmith.errors import ActsmithError

    parser = argparse.ArgumentParser()
    options(parser)
    usual = vars(parser.parse_args([]))
    own = ("resume", "budget", "workers", "storage", "ray", "trial_timeout", "json")
    more = [n for n, value in vars(request).items() if n in usual and n not in own and value != usual[n]]
    if more:
        names = ", ".join(n if n in ("task", "train") else f"--{n.replace('_', '-')}" for n in more)
        raise ActsmithError(
            f"--resume: got {names} beside it; expected --budget, --workers, --storage, --ray, --trial-timeout or "
            "--json: the rest is as the run was asked for. Begin another search for anything else"
        )


def _render(folder: Path) -> None:
    """The page and its pictures; without the packages that draw, a word and no harm."""
    import sys

    from actsmith.errors import ActsmithError
    from actsmith.report.run import render

    try:
        render(folder)
    except ActsmithError as error:
        print(f"actsmith search: no page: {error}", file=sys.stderr)


def _print(result: Any) -> None:
    shown = []
    for row in result.rows:
        test = gain = fresh = ""
        if row["score"] is not None:
            fresh = "diverged" if row["confirmed"] is None else f"{row['confirmed']:.4g}"
            test = f"{row['score']:.4g} ({row['low']:.4g} to {row['high']:.4g})"
        if row["difference"] is not None:
            gain = f"{row['difference']:+.4g} ({row['difference_low']:+.4g} to {row['difference_high']:+.4g})"
        validation = "diverged" if row["validation"] is None else f"{row['validation']:.4g}"
        entropy = "undefined" if row["entropy"] is None else f"{row['entropy']:+.3f}"
        step = f"{1e3 * row['step_seconds']:.2f} ms"
        shown.append([row["name"], validation, fresh, test, gain, entropy, row["universality"], step])
    judged, minus = f"{result.judge}, 95 %", f"minus {result.start}, paired"
    headings = ["activation", "tuned", "validation", judged, minus, "entropy", "class", "step"]
    print_table(headings, shown)
    if result.skipped:
        print(f"\nLeft out by the budget: {', '.join(result.skipped)}.")
    print(f"\nRun folder: {result.folder}  (index.html, leaderboard.md, best.py)\n")
    print(result.conclusion)
