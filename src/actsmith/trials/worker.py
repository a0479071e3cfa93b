"""One process of a pool: it makes its runner once and trains what comes through the pipe until the pipe ends.

It is the head of a process group of its own, which holds what the training starts too (the workers of a DataLoader):
a Ctrl-C in the terminal reaches the parent alone, who ends the whole group. It does not outlive its parent.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from actsmith.errors import ActsmithError
from actsmith.files import write_atomically
from actsmith.names import in_current_folder
from actsmith.training.fit import Stopped
from actsmith.trials.runner import Place, Runner
from actsmith.trials.store import UnkeptError, unkept
from actsmith.trials.trial import Outcome, Trial

__all__ = ["UNGUARDED", "attempt", "failed", "leave_if_importing", "why_broken", "work"]

UNGUARDED = 77
"""Exit status of a worker that began to run the script that it should have imported."""


FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def work(pipe: Connection, made: bytes, threads: int) -> None:
    """The life of a worker: ("ready", None), then for each (group, place) that comes ("done", outcomes) or
    ("stopped", None); ("broken", why) where there is no runner, ("unkept", why) where its files cannot be written.

    Args:
        pipe: to the parent.
        made: the pickled function that makes the runner.
        threads: of torch.
    """
    if hasattr(os, "setsid"):
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    with contextlib.suppress(EOFError, OSError):  # the parent has ended, or closed the pipe
        _serve(pipe, made)


def _serve(pipe: Connection, made: bytes) -> None:
    try:
        with in_current_folder():
            runner: Runner = pickle.loads(made)()
    except Exception as error:
        pipe.send(("broken", why_broken(error)))
        return
    pipe.send(("ready", None))
    while True:
        job: tuple[list[Trial], Place] = pipe.recv()
        try:
            pipe.send(("done", attempt(runner, *job)))
        except Stopped:
            pipe.send(("stopped", None))
        except UnkeptError as error:
            pipe.send(("unkept", str(error)))
            return


def attempt(runner: Runner, group: Sequence[Trial], place: Place) -> list[Outcome]:
    """runner.run(group, place); whatever it raises is an outcome with its reason.

    Raises:
        Stopped: the deadline passed.
        UnkeptError: the disk is full, or the run folder cannot be written.
    """
    began = time.perf_counter()
    try:
        return runner.run(group, place)
    except (Stopped, UnkeptError):
        raise
    except (Exception, SystemExit) as error:
        seconds = (time.perf_counter() - began) / len(group)
        return [failed(trial, error, place, seconds) for trial in group]


def failed(trial: Trial, error: BaseException, place: Place, seconds: float) -> Outcome:
    """The outcome of a training that raised `error`: its last line is the reason, its traceback is kept in the run
    folder as failures/KEY.txt, or among the details where there is no folder.

    Raises:
        UnkeptError: it failed since its files cannot be written.
    """
    _require_disk(error, place)
    text = "".join(traceback.format_exception(error))
    reason = str(error) if isinstance(error, ActsmithError) else _last_line(error)
    details = {"traceback": text}
    if place.folder is not None:
        path = place.folder / "failures" / f"{trial.key}.txt"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text)
        except OSError as problem:
            raise UnkeptError(unkept(place.folder, problem)) from None
        details = {"traceback": f"{path.parent.name}/{path.name}"}
    return Outcome(trial, seconds=seconds, reason=reason or type(error).__name__, details=details)


def _require_disk(error: BaseException | None, place: Place) -> None:
    while error is not None:
        if isinstance(error, OSError):
            own = place.folder is not None and str(error.filename or "").startswith(str(place.folder))
            if error.errno in FULL or (own and error.errno in REFUSED):
                where = place.folder or Path(str(error.filename or "a file"))
                raise UnkeptError(unkept(where, error)) from None
        error = error.__cause__ or error.__context__


def leave_if_importing() -> None:
    """End this process where it is a worker that imports its parent's script and was led into its main part.

    To be called first by whatever starts workers: the parent then says what is missing, instead of every worker
    starting workers.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # what multiprocessing itself asks
        raise SystemExit(UNGUARDED)


def why_broken(error: Exception) -> str:
    """Why no runner could be made in a worker, with how to mend it."""
    if isinstance(error, ActsmithError):
        return str(error)
    last = _last_line(error)
    if isinstance(error, AttributeError | ImportError):
        return (
            f"worker: a worker process cannot import what it should run ({last}); define the functions at the top of a "
            'module or script, outside of `if __name__ == "__main__":`, or run in this process (workers=1)'
        )
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"worker: making what should be run failed with {last} ({where.filename}, line {where.lineno})"


def _last_line(error: BaseException) -> str:
    """Of its traceback, as far as the end of the line."""
    return traceback.format_exception_only(error)[-1].strip().partition("\n")[0]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def end_group(process: Any) -> None:
    """Kill a worker and what it started; returns when it is gone."""
    try:
        if hasattr(os, "killpg") and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.kill()
    process.join()
