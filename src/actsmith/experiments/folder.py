"""The run folder: plain files, each written whole or not at all, from which an interrupted run goes on.

config.json        what was asked; a folder with another one is refused
versions.json      of everything that computed, one entry for each set that did
results.jsonl      one line for each finished training; the last may be torn, and is then dropped
checkpoints/       of the training in flight, in a reproduction
probe.json         a search's measured laws and their fits
shape.json         the shape that training gave its start activation
candidates.json    what it derived, what it dropped and why
leaderboard.json   its table
best.py            its best activation, for torch alone
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from actsmith.errors import ActsmithError

__all__ = ["RunFolder", "finite_or_none", "next_folder", "write_atomically"]


class RunFolder:
    """A folder that belongs to one configuration.

    Args:
        path: is made where there is none.
        config: plain JSON values.
        resume: whether results that are there already are taken over.

    Raises:
        ActsmithError: results are there and `resume` is false, or they belong to another configuration.
    """

    def __init__(self, path: str | Path, config: dict[str, Any], *, resume: bool) -> None:
        self.path = path = Path(path)
        there = path / "config.json"
        if there.is_file():
            if not resume:
                raise ActsmithError(
                    f"run: {str(path)!r} holds a run already; give resume=True (--resume) to go on with it, or "
                    "another folder"
                )
            _require_equal(path, _read_json(there), config)
        else:
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ActsmithError(f"run: cannot make the run folder {str(path)!r}: {error.strerror}") from None
            self.write("config.json", config)
        self._note_versions()
        self.results = self._read_results()

    def write(self, name: str, values: Any) -> None:
        """A JSON file, whole or not at all."""
        write_atomically(self.path / name, json.dumps(values, indent=1, allow_nan=False) + "\n")

    def read(self, name: str) -> Any:
        """The JSON file's values, None where there is none."""
        path = self.path / name
        return _read_json(path) if path.is_file() else None

    def append(self, key: str, record: dict[str, Any]) -> None:
        """A finished training batch: on the disk when this returns."""
        line = json.dumps({"key": key, **record}, allow_nan=False) + "\n"
        descriptor = os.open(self.path / "results.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            rest = line.encode()
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.results[key] = json.loads(line)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else writes here meanwhile.

        Raises:
            ActsmithError: somebody else does.
        """
        try:
            import fcntl
        except ImportError:  # no such lock on this system
            yield
            return
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ActsmithError(f"run: another run is writing to {str(self.path)!r}; give another folder") from None
            yield

    def _read_results(self) -> dict[str, dict[str, Any]]:
        path = self.path / "results.jsonl"
        if not path.is_file():
            return {}
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        records = {}
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                record = json.loads(line)
                records[record["key"]] = record
            except (ValueError, TypeError, KeyError):
                raise ActsmithError(
                    f"{path}: line {number} is no result; remove that line to train its batch again"
                ) from None
        if whole != content:
            write_atomically(path, whole.decode())
        return records

    def _note_versions(self) -> None:
        now = _versions()
        known = self.read("versions.json") or []
        if now not in known:
            self.write("versions.json", [*known, now])


def write_atomically(path: Path, text: str) -> None:
    """The file holds the old text or the new, whenever the process ends."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def finite_or_none(value: Any) -> Any:
    """The same nested values as plain JSON: a number that is not finite becomes null, a tuple a list."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: finite_or_none(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_none(v) for v in value]
    return value


def next_folder(parent: Path, name: str) -> Path:
    """parent/name-001, or the first number that is not taken."""
    number = 1
    while (path := parent / f"{name}-{number:03d}").exists():
        number += 1
    return path


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ActsmithError(f"{path}: not JSON; remove it, or give another folder") from None


def _require_equal(path: Path, there: dict[str, Any], asked: dict[str, Any]) -> None:
    asked = json.loads(json.dumps(asked))
    keys = [key for key in {**there, **asked} if there.get(key) != asked.get(key)]
    if keys:
        differences = "; ".join(f"{k}: there {_short(there.get(k))}, asked {_short(asked.get(k))}" for k in keys)
        raise ActsmithError(
            f"run: {str(path)!r} holds a run of another configuration ({differences}); resume with the same, or "
            "give another folder"
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _versions() -> dict[str, Any]:
    packages = (
        "actsmith",
        "numpy",
        "scipy",
        "sympy",
        "torch",
        "scikit-learn",
        "accelerate",
        "timm",
        "transformers",
        "trl",
    )
    versions: dict[str, Any] = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {**versions, "python": platform.python_version(), "platform": platform.platform(), "cores": os.cpu_count()}
