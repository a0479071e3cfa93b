"""A process that computes for the server, one job at a time, and is replaced when it hangs.

parent  <── ("ready", None) ──  child
parent  ── (job, arguments) ──>  child
parent  <── ("event", value)* then ("done", value) or ("refused", text) ──  child
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from actsmith.errors import ActsmithError, JobError

__all__ = ["Worker"]

Job = Callable[..., Any]
"""(emit, **arguments) -> plain values; `emit(value)` sends one ahead."""
Table = Callable[[], Mapping[str, Job]]
"""Imports what its jobs need, and returns them by name; a function of a module, so that it can be sent."""
STARTING = 120.0
"""Seconds that a process may take to import what its jobs need."""


class Worker:
    """One process.

    Args:
        table: the jobs; called once in the process, before the first.
        what: named in messages.
    """

    def __init__(self, table: Table, what: str) -> None:
        self.table, self.what = table, what
        self._turn, self._guard = threading.Lock(), threading.Lock()
        self._process: Any = None
        self._has_table = False
        self._pipe: Connection | None = None

    def start(self) -> None:
        """Begin before there is a job, so that the first does not wait."""
        with self._guard:
            if self._process is None or not self._process.is_alive():
                context = get_context("spawn")
                self._pipe, far = context.Pipe()
                self._process = context.Process(target=_serve, args=(far, self.table), daemon=True)
                self._process.start()
                self._has_table = False
                far.close()

    def stop(self) -> None:
        """End the process, whatever it does; a job in flight is refused. The next job starts another."""
        with self._guard:
            if self._process is not None:
                self._process.kill()
                self._process.join(5)
            self._process = None

    def call(
        self, job: str, arguments: Mapping[str, Any], seconds: float, emit: Callable[[Any], None] | None = None
    ) -> Any:
        """What the job returns; waits for a job before it, as long again at most, and for the process to be there.

        Args:
            job: a name of the table.
            arguments: plain values.
            seconds: after which the process is ended.
            emit: gets what the job sends ahead.

        Raises:
            ActsmithError: the job refused its arguments.
            JobError: it took too long, was stopped, or failed.
        """
        if not self._turn.acquire(timeout=seconds if self._has_table else seconds + STARTING):
            raise JobError(f"{self.what}: busy for {seconds:g} s; try again")
        try:
            pipe = self._ready()
            pipe.send((job, dict(arguments)))
            return _answer(pipe, time.monotonic() + seconds, emit or (lambda _: None))
        except TimeoutError:
            self.stop()
            self.start()
            raise JobError(
                f"{self.what}: took longer than {seconds:g} s and was ended; try something simpler"
            ) from None
        except (EOFError, OSError):
            self.stop()
            raise JobError(f"{self.what}: stopped") from None
        finally:
            self._turn.release()

    def _ready(self) -> Connection:
        """The pipe of a process that has its table: what it imports is no part of a job's time."""
        self.start()
        pipe = self._pipe
        assert pipe is not None
        if not self._has_table:
            if not pipe.poll(STARTING):
                raise TimeoutError
            pipe.recv()
            self._has_table = True
        return pipe


def _answer(pipe: Connection, until: float, emit: Callable[[Any], None]) -> Any:
    while True:
        if not pipe.poll(max(until - time.monotonic(), 0.0)):
            raise TimeoutError
        kind, value = pipe.recv()
        if kind == "event":
            emit(value)
        elif kind == "done":
            return value
        else:
            raise (ActsmithError if kind == "refused" else JobError)(value)


def _serve(pipe: Connection, table: Table) -> None:
    """The child: until the parent has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends this one
    jobs = table()
    pipe.send(("ready", None))
    while True:
        try:
            job, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = "done", jobs[job](lambda value: pipe.send(("event", value)), **arguments)
        except ActsmithError as error:
            answer = "refused", str(error)
        except Exception as error:  # the page shows it; the process goes on
            answer = "failed", f"{type(error).__name__}: {str(error)[:300]}"
        pipe.send(answer)
