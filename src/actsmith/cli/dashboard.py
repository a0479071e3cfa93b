"""`actsmith dashboard`: optuna-dashboard on a search's storage."""

from __future__ import annotations

import argparse
import sys

from actsmith.cli.worker import STORAGE

NAME = "dashboard"
HELP = "Show a search's activations, their origin and the scores of their rungs in a browser, with optuna-dashboard."
EXAMPLES = (
    "dashboard runs/digits-relu-001",
    "dashboard postgresql+psycopg://me@db.lab/searches --port 8081",
)


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("storage", metavar="DIR|URL", help=STORAGE)
    parser.add_argument("--port", type=int, default=8080, help="of this machine (default: 8080)")


def run(request: argparse.Namespace) -> None:
    """Serve it to this machine alone, until Ctrl-C."""
    import warnings

    from actsmith.errors import ActsmithError, require
    from actsmith.trials.storage import journal_of, opened, shown

    dashboard = require("optuna_dashboard", "dashboard", "dashboard")
    if "://" not in request.storage and not (file := journal_of(request.storage)).is_file():
        raise ActsmithError(f"dashboard: no {str(file)!r}; a search with --workers 2 or more keeps one in its folder")
    print(f"{shown(request.storage)}: http://127.0.0.1:{request.port} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of optuna_dashboard's own
        dashboard.run_server(opened(request.storage, cached=True), host="127.0.0.1", port=request.port)
