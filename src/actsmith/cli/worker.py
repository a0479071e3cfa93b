"""`actsmith worker`: one more pair of hands for a search, on any machine."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import NoReturn

NAME = "worker"
HELP = "Train for a search that runs elsewhere, until it ends; start as many as there are cores to spare."
EXAMPLES = (
    "worker --storage postgresql+psycopg://me@db.lab/searches --study vit",
    "worker --storage runs/digits-relu-001",
    "worker --storage postgresql+psycopg://me@db.lab/searches --study vit --data /scratch/cifar10",
)
STORAGE = "run folder, or postgresql+psycopg://USER@HOST/DATABASE; its password from ~/.pgpass or PGPASSWORD"


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--storage", required=True, metavar="URL", help=STORAGE)
    parser.add_argument("--study", metavar="NAME", help="the search's name there (default: the one that is open)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the task's data on this machine")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch (default: all cores)")
    help_text = "give up when nobody has led the search for this long (default: 10m)"
    parser.add_argument("--wait", default="10m", metavar="TIME", help=help_text)


def run(request: argparse.Namespace) -> None:
    """Join, and say on standard error what is being done."""
    from actsmith.errors import ActsmithError
    from actsmith.trials.hands import join
    from actsmith.trials.setup import duration

    def say(line: str) -> None:
        print(f"actsmith worker: {line}", file=sys.stderr, flush=True)

    wait = duration(request.wait, "--wait")
    if request.threads is not None and request.threads < 1:
        raise ActsmithError(f"--threads: got {request.threads}; expected 1 or more")
    signal.signal(signal.SIGTERM, _interrupted)  # of Slurm and Kubernetes, before they kill
    join(request.storage, request.study, data=request.data, threads=request.threads, wait=wait or 0.0, say=say)


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt("ended; its job was given back")
