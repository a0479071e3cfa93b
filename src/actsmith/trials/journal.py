"""Optuna's journal in a file of one machine, safe against processes that are killed while they write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.storages.journal._file import BaseJournalFileLock

from actsmith.files import append_whole

__all__ = ["Journal"]


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
            append_whole(self.path, lines)
        finally:
            self._lock.release()


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
