"""Files as the whole package treats them: written whole or not at all, plain JSON, one cache, one look-up of data."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from actsmith.errors import ActsmithError

__all__ = [
    "append_whole",
    "cache_folder",
    "data_folder",
    "plain",
    "read_json",
    "to_json",
    "write_atomically",
    "written_atomically",
]


def write_atomically(path: Path, content: str | bytes) -> None:
    """The file holds the old content or the new, whenever the process ends. Text is UTF-8."""
    with written_atomically(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def append_whole(path: Path, lines: bytes) -> None:
    """Add whole lines to a file, all of them or none, on the disk when this returns. An end without a line's end, which
    a process has left that was killed while it wrote, is cut off. One process at a time.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        end = _end_of_lines(descriptor)
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


def _end_of_lines(descriptor: int, block: int = 1 << 16) -> int:
    """Where the last whole line ends; what follows it is cut off."""
    size = end = os.lseek(descriptor, 0, os.SEEK_END)
    while end > 0:
        start = max(end - block, 0)
        os.lseek(descriptor, start, os.SEEK_SET)
        found = os.read(descriptor, end - start).rfind(b"\n")
        end = start if found < 0 else start + found + 1
        if found >= 0:
            break
    if end < size:
        os.ftruncate(descriptor, end)
    return end


@contextmanager
def written_atomically(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, in the place of `path` once the block ends; after an error `path` is as it was."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """The same nested values as plain JSON: a number that is not finite becomes null, a tuple a list, a path text, and
    a number of NumPy one of Python.

    >>> plain({"loss": float("nan"), "shape": (2, 3)})
    {'loss': None, 'shape': [2, 3]}
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if type(value).__module__ == "numpy":
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json(value: Any, indent: int | None = None) -> str:
    """`plain` values as JSON text."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)


def read_json(path: Path) -> Any:
    """The values of a JSON file.

    Raises:
        ActsmithError: it is not JSON.
        OSError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ActsmithError(f"{path}: not JSON; remove it, or give another folder") from None


def cache_folder(name: str = "") -> Path:
    """The user's own folder actsmith/NAME in $XDG_CACHE_HOME, or else in ~/.cache; made where it is missing.

    Others than its owner can neither read nor write it (mode 0700), since what is in it may be run.

    Raises:
        ActsmithError: it cannot be made, or belongs to another user.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        top = (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "actsmith"
        for folder in dict.fromkeys((top, top / name)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.stat()
            if hasattr(os, "getuid") and status.st_uid != os.getuid():
                raise ActsmithError(
                    f"the cache folder {folder} belongs to another user; set XDG_CACHE_HOME to your own"
                )
            if stat.S_IMODE(status.st_mode) != 0o700:
                folder.chmod(0o700)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        raise ActsmithError(f"the cache folder actsmith/{name} cannot be used: {error}; set XDG_CACHE_HOME") from None
    return top / name


def data_folder(data: str | Path | None, name: str) -> Path | None:
    """The folder of the data set `name`: data/name where there is such a folder, else `data` itself.

    Args:
        data: what the user gave (`--data`): the folder of this data set, or one that holds several by name; ~ is the
            home. None stays None: the data set's own default.

    Raises:
        ActsmithError: there is no folder `data`.
    """
    if data is None:
        return None
    given = Path(data).expanduser()
    if not given.is_dir():
        raise ActsmithError(f"{name}: no folder {str(given)!r}; give the folder that holds the data (--data)")
    own = given / name
    return own if own.is_dir() else given
