"""Progress of long work: a bar on a terminal, plain lines elsewhere, always on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

__all__ = ["Progress"]

LINE_EVERY = 5.0  # seconds between plain lines of one stage


class Progress:
    """A context manager to call with (stage, done, total, message)."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.tasks: dict[str, Any] = {}
        self.began = time.monotonic()
        self.last: tuple[str, float] = ("", 0.0)
        self.total = 0

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            columns = (
                progress.TextColumn("{task.description:<8}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
            )
            more = (progress.TimeElapsedColumn(), progress.TextColumn("{task.fields[message]}"))
            self.bar = progress.Progress(*columns, *more, console=Console(stderr=True))
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, stage: str, done: int, total: int, message: str) -> None:
        if self.bar is not None:
            if stage not in self.tasks:
                self.tasks[stage] = self.bar.add_task(stage, total=total, message=message)
            self.bar.update(self.tasks[stage], completed=done, total=total, message=message)
            return
        now = time.monotonic()
        same, since = self.last[0] == stage, now - self.last[1]
        if not same or total != self.total or done == total or since > LINE_EVERY:
            self.total = total
            print(f"[{now - self.began:6.1f} s] {stage} {done}/{total}  {message}", file=sys.stderr, flush=True)
            self.last = (stage, now)
