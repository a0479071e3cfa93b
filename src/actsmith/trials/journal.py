"""Optuna's journal in a file of one machine, safe against processes that are killed while they write."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.storages.journal._file import BaseJournalFileLock

__all__ = ["Journal"]

BLOCK = 1 << 16


class Journal(JournalFileBackend):
    """A line is there whole or not at all: one that a killed process or a full disk has torn is cut off.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), lock_obj=_Flock(path) if _Flock.there() else JournalFileOpenLock(str(path)))
        self.path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """See `JournalFileBackend`."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        self._lock.acquire()
        try:
            _append(self.path, lines)
        finally:
            self._lock.release()


def _append(path: Path, lines: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        end = _whole(descriptor)
        try:
            os.lseek(descriptor, end, os.SEEK_SET)
            rest = lines
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except BaseException:
            os.ftruncate(descriptor, end)
            raise
    finally:
        os.close(descriptor)


def _whole(descriptor: int) -> int:
    """Where the last whole line ends; what follows it is cut off."""
    size = end = os.lseek(descriptor, 0, os.SEEK_END)
    while end > 0:
        start = max(end - BLOCK, 0)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        end = start if found < 0 else start + found + 1
        if found >= 0:
            break
    if end < size:
        os.ftruncate(descriptor, end)
    return end


class _Flock(BaseJournalFileLock):
    """The lock of an open file, which the system gives back when its holder is killed (Optuna's own lock is a file that
    stays: others wait for 30 seconds, and two of them may then think that it is theirs)."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.lock")
        self.held: list[IO[str]] = []

    @staticmethod
    def there() -> bool:
        """Whether the system has such locks."""
        try:
            import fcntl  # noqa: F401
        except ImportError:
            return False
        return True

    def acquire(self) -> bool:
        """Wait for it."""
        import fcntl

        file = self.path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except BaseException:
            file.close()
            raise
        self.held.append(file)
        return True

    def release(self) -> None:
        """Give it back."""
        self.held.pop().close()
