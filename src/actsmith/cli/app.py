"""`actsmith app`: the playground, a page on this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actsmith.app.server import Live

NAME = "app"
HELP = "The playground: draws what theory says while you drag, trains live, shows runs, on a page of this machine."
EXAMPLES = (
    "app",
    "app --runs runs/digits-relu-001",
    "app --runs postgresql+psycopg://me@db.lab/searches",
    "app --model my_module:my_model --example inputs.npy --port 8090",
)
RUNS = "to show live: run folders, a journal's file, or a database as `actsmith search --storage` takes it"


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--port", type=int, default=8090, help="of this machine (default: 8090)")
    parser.add_argument("--runs", nargs="+", default=[], metavar="DIR|URL", help=RUNS)
    parser.add_argument("--model", metavar="MODEL", help="probe it: module:object, timm:NAME, a transformers folder")
    parser.add_argument("--example", type=Path, metavar="FILE", help=".npy of the model's inputs (default: random)")
    parser.add_argument("--no-browser", action="store_true", help="open none, print the address alone")


def run(request: argparse.Namespace) -> None:
    """Serve it to this machine alone, until Ctrl-C."""
    from actsmith.errors import ActsmithError, require

    if not 1 <= request.port <= 65535:
        raise ActsmithError(f"--port: got {request.port}; expected 1 to 65535")
    if request.example is not None and request.model is None:
        raise ActsmithError("--example: there is no model to give it to; expected --model, too")
    uvicorn = require("uvicorn", "app", "app")
    require("starlette", "app", "app")
    from actsmith.app.model import probed
    from actsmith.app.server import Playground, make_app

    _require_free(request.port)
    runs = [_live(place) for place in request.runs]
    model = probed(request.model, request.example) if request.model else None
    address = f"http://127.0.0.1:{request.port}"
    print(f"The playground: {address} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    if not request.no_browser:
        import threading
        import webbrowser

        opening = threading.Timer(1.0, webbrowser.open, [address])
        opening.daemon = True
        opening.start()
    app = make_app(Playground(runs, model), request.port)
    uvicorn.run(
        app, host="127.0.0.1", port=request.port, log_level="warning", access_log=False, server_header=False,
        timeout_graceful_shutdown=1,
    )  # fmt: skip


def _live(place: str) -> Live:
    """What `--runs` named; only a storage needs torch."""
    if "://" in place or Path(place).is_file():
        from actsmith.app.ledgers import Storage

        return Storage(place)
    from actsmith.app.runs import Watched

    return Watched(Path(place))


def _require_free(port: int) -> None:
    import socket

    from actsmith.errors import ActsmithError

    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError as error:
            raise ActsmithError(f"--port: {port} is not to be had ({error.strerror}); give another") from None
