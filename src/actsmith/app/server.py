"""The routes of the playground: each hands plain values to a worker process and its answer back.

GET  /  /static/...      the page
GET  /api/start          what the command line named: runs, the probed model
POST /api/JOB            function, verdict, place, map, depth, simulate, exits: JSON in, JSON out;
                         law: a .npy in; figure: a PDF out
POST /api/warm           a process loads torch before it is asked
POST /api/train, /api/stop;  GET /api/progress: server-sent events
GET  /api/runs           the runs as they are now
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

import actsmith
from actsmith.app import jobs
from actsmith.app.guard import Guard, TooLargeError
from actsmith.app.worker import Worker
from actsmith.errors import ActsmithError
from actsmith.files import plain

__all__ = ["SECONDS", "Live", "Playground", "make_app"]

STATIC = Path(__file__).parent / "static"
SECONDS = {
    "function": 6.0, "verdict": 6.0, "place": 6.0, "depth": 10.0, "map": 60.0, "law": 10.0, "simulate": 30.0,
    "exits": 20.0, "figure": 20.0,
}  # fmt: skip
"""After which a computation is ended."""
LONGEST_TRAINING = 600.0
BEAT = 10.0
"""Seconds between two signs of life of a stream in which nothing happens."""


class Live(Protocol):
    """What `--runs` named: a folder or a storage."""

    @property
    def name(self) -> str:
        """As the page shows it."""

    def views(self) -> list[dict[str, Any]]:
        """A section for each run, as it is now."""


@dataclass
class Training:
    """The training in flight, or the last one: what it reported, for whoever listens."""

    events: list[dict[str, Any]] = field(default_factory=list)
    number: int = 0
    running: bool = False


class Playground:
    """What the routes share.

    Args:
        runs: folders and storages to show.
        model: of `model.probed`; None where the command line named none.
        seconds: in place of `SECONDS`.
    """

    def __init__(
        self,
        runs: Sequence[Live] = (),
        model: Mapping[str, Any] | None = None,
        seconds: Mapping[str, float] = {},
    ) -> None:
        self.runs, self.model, self.seconds = list(runs), model, {**SECONDS, **seconds}
        self.drawing = Worker(jobs.drawing, "computation")
        self.background = Worker(jobs.drawing, "map")
        self.learning = Worker(jobs.learning, "computation")
        self.trainer = Worker(jobs.learning, "training")
        self.training = Training()
        self.map: Any = None
        self.lock, self.looking = asyncio.Lock(), asyncio.Lock()
        self.tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """End every process."""
        for worker in (self.drawing, self.background, self.learning, self.trainer):
            worker.stop()

    async def compute(self, job: str, arguments: Mapping[str, Any]) -> Any:
        """A job of a worker; the map is computed once."""
        if job == "map":
            return await self.whole_map()
        worker = self.learning if job in ("simulate", "exits", "figure") else self.drawing
        return await run_in_threadpool(worker.call, job, arguments, self.seconds[job])

    async def whole_map(self) -> Any:
        """Every activation's point; in a process of its own, so that nobody who drags waits for it."""
        async with self.lock:
            if self.map is None:
                self.map = await run_in_threadpool(self.background.call, "map", {}, self.seconds["map"])
                self.background.stop()
        return self.map

    def train(self, arguments: Mapping[str, Any]) -> int:
        """Begin a training; returns its number.

        Raises:
            ActsmithError: one is running.
        """
        if self.training.running:
            raise ActsmithError("training: one is running; stop it first")
        self.training = training = Training(number=self.training.number + 1, running=True)

        async def run() -> None:
            try:
                done = await run_in_threadpool(
                    self.trainer.call, "train", arguments, LONGEST_TRAINING, training.events.append
                )
                training.events.append({"done": done})
            except ActsmithError as error:
                training.events.append({"refused": str(error)})
            finally:
                training.running = False

        task = asyncio.create_task(run())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return training.number

    async def progress(self) -> AsyncIterator[str]:
        """The events of the training, from its first, as a stream of server-sent events."""
        training, sent, last = self.training, 0, time.monotonic()
        while training.running or sent < len(training.events):
            for event in training.events[sent:]:
                yield f"data: {json.dumps(plain({'number': training.number, **event}))}\n\n"
                sent, last = sent + 1, time.monotonic()
            if time.monotonic() - last > BEAT:
                yield ": alive\n\n"
                last = time.monotonic()
            await asyncio.sleep(0.05)
        yield "event: end\ndata: {}\n\n"


def make_app(playground: Playground, port: int) -> ASGIApp:
    """The guarded application.

    Args:
        playground: what it serves.
        port: that it will be asked under.
    """

    async def page(_: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def start(_: Request) -> Response:
        names = [run.name for run in playground.runs]
        return JSONResponse({"version": actsmith.__version__, "runs": names, "model": plain(playground.model)})

    async def runs(_: Request) -> Response:
        async with playground.looking:
            views = [view for run in playground.runs for view in await run_in_threadpool(run.views)]
        return JSONResponse(plain({"runs": views}))

    async def job(request: Request) -> Response:
        name = request.path_params["job"]
        if name not in SECONDS:
            raise HTTPException(404)
        arguments = {"content": await request.body()} if name == "law" else await _object(request)
        began = time.perf_counter()
        found = await playground.compute(name, arguments)
        if isinstance(found, bytes):
            return Response(found, media_type="application/pdf")
        milliseconds = round(1000 * (time.perf_counter() - began), 1)
        return JSONResponse({**plain(found), "milliseconds": milliseconds})

    async def train(request: Request) -> Response:
        return JSONResponse({"number": playground.train(await _object(request))})

    async def stop(_: Request) -> Response:
        await run_in_threadpool(playground.trainer.stop)
        playground.trainer.start()
        return JSONResponse({})

    async def warm(request: Request) -> Response:
        worker = playground.trainer if (await _object(request)).get("train") else playground.learning
        await run_in_threadpool(worker.start)
        return JSONResponse({})

    async def progress(_: Request) -> Response:
        return StreamingResponse(playground.progress(), media_type="text/event-stream")

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        playground.drawing.start()
        try:
            yield
        finally:
            playground.close()

    routes = [
        Route("/", page),
        Route("/api/start", start),
        Route("/api/runs", runs),
        Route("/api/progress", progress),
        Route("/api/train", _refusing(train), methods=["POST"]),
        Route("/api/warm", _refusing(warm), methods=["POST"]),
        Route("/api/stop", stop, methods=["POST"]),
        Route("/api/{job}", _refusing(job), methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Guard(Starlette(routes=routes, lifespan=life), port)


async def _object(request: Request) -> dict[str, Any]:
    """The JSON object of a request, whose names are arguments."""
    try:
        found = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError):
        raise HTTPException(400, "not JSON") from None
    if not isinstance(found, dict) or not all(name.isidentifier() for name in found):
        raise HTTPException(400, "expected a JSON object of arguments")
    return found


def _refusing(route: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """A refusal in words is an answer: a formula is half typed most of the time, and no browser need log that."""

    async def answered(request: Request) -> Response:
        try:
            return await route(request)
        except TooLargeError:
            return JSONResponse({"error": "too large"}, 413)
        except ActsmithError as error:
            return JSONResponse({"error": str(error)})

    return answered
