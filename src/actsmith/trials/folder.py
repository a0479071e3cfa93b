"""The run folder: plain files, each written whole or not at all, from which an interrupted run goes on.

config.json        what was asked; a folder with another one is refused
versions.json      of everything that computed, one entry for each set that did
measured.json      what was measured to choose how to train, once
results.jsonl      one line for each finished training; the last may be torn, and is then dropped
checkpoints/       of the trainings in flight
failures/          the tracebacks of trainings that failed
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from actsmith.errors import ActsmithError, JobError
from actsmith.files import append_whole, read_json, to_json, write_atomically
from actsmith.trials.measured import MEASURED, measured
from actsmith.trials.store import Leases, unkept
from actsmith.trials.trial import History, Outcome

__all__ = ["RunFolder", "folder_for", "next_folder"]

PACKAGES = (
    "actsmith", "numpy", "scipy", "sympy", "torch", "scikit-learn", "accelerate", "timm", "transformers", "trl"
)  # fmt: skip


class RunFolder:
    """A folder that belongs to one configuration; a `Store`.

        with RunFolder(path, config, resume=True) as folder: ...

    It is locked before anything in it is read, for as long as the block lasts.

    Args:
        path: is made where there is none.
        config: plain JSON values.
        resume: whether results that are there already are taken over.
        must_exist: refuse a folder that holds no run, as `resume` of a mistyped one.
        lock: False for the further processes of one run, which do not write.
    """

    def __init__(
        self, path: str | Path, config: dict[str, Any], *, resume: bool, must_exist: bool = False, lock: bool = True
    ) -> None:
        self.path, self.config = Path(path).expanduser(), json.loads(to_json(config))
        self.resume, self.must_exist, self.lock = resume, must_exist, lock
        self.leases = Leases()
        self.results: dict[str, dict[str, Any]] = {}
        self.history = History()
        self._lock: Any = None

    # ---------------------------------------------------------------------------------------------- open and close

    def __enter__(self) -> Self:
        """Lock, check, read.

        Raises:
            ActsmithError: somebody else writes here; results are there and `resume` is false (a folder without any is
                begun again); they belong to another configuration, or to none; there is no run and `must_exist` says
                that there is one.
        """
        if self.must_exist and not self.path.is_dir():
            raise ActsmithError(f"run: no folder {str(self.path)!r} to go on with; without resume a new one is begun")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if self.lock:
                self._lock = _locked(self.path)
        except OSError as error:
            raise ActsmithError(f"run: cannot use the run folder {str(self.path)!r}: {error.strerror}") from None
        try:
            self._check()
            self._note_versions()
            self.results = self._read_results()
        except OSError as error:
            self.close()
            raise JobError(unkept(self.path, error)) from None
        except BaseException:
            self.close()
            raise
        outcomes = (r for r in self.results.values() if "formula" in r and "tested" in r)
        self.history = History(Outcome.from_dict(record) for record in outcomes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _check(self) -> None:
        there = self.path / "config.json"
        if there.is_file():
            if not self.resume and not (self.path / "results.jsonl").is_file():  # begun, and ended by a mistake
                (self.path / MEASURED).unlink(missing_ok=True)
                self.write("config.json", self.config)
                return
            if not self.resume:
                raise ActsmithError(
                    f"run: {str(self.path)!r} holds a run already; give resume=True (--resume) to go on with it, or "
                    "another folder"
                )
            _require_equal(self.path, read_json(there), self.config)
            return
        if (self.path / "results.jsonl").is_file():
            raise ActsmithError(
                f"run: {str(self.path)!r} holds results without config.json, so that nobody knows of what; give "
                "another folder"
            )
        if self.must_exist:
            raise ActsmithError(f"run: {str(self.path)!r} holds no run to go on with; without resume one is begun")
        self.write("config.json", self.config)

    # -------------------------------------------------------------------------------------------------------- files

    def write(self, name: str, values: Any) -> None:
        """A JSON file, whole or not at all.

        Raises:
            JobError: the disk is full, or the folder cannot be written.
        """
        try:
            write_atomically(self.path / name, to_json(values, indent=1) + "\n")
        except OSError as error:
            raise JobError(unkept(self.path, error)) from None

    def read(self, name: str) -> Any:
        """The JSON file's values, None where there is none."""
        path = self.path / name
        return read_json(path) if path.is_file() else None

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        """What was measured under this name: the first measurement holds for the whole run."""
        known = measured(self.path)
        if name not in known:
            self.note(name, json.loads(to_json(measure())))
        return self.measured(name)

    def measured(self, name: str, default: Any = None) -> Any:
        """What `once` keeps under this name."""
        return measured(self.path).get(name, default)

    def note(self, name: str, value: Any) -> None:
        """Let another value hold from now on, for a name that `once` knows."""
        self.write(MEASURED, {**measured(self.path), name: value})

    def append(self, key: str, record: dict[str, Any]) -> None:
        """A finished piece of work that is no trial: on the disk when this returns."""
        self._append([{"key": key, **record}])

    def _append(self, records: list[dict[str, Any]]) -> None:
        lines = "".join(to_json(record) + "\n" for record in records)
        if self.lock:
            self._write(lines)
        for line in lines.splitlines():
            record = json.loads(line)
            self.results[record["key"]] = record

    def _write(self, lines: str) -> None:
        try:
            append_whole(self.path / "results.jsonl", lines.encode())
        except OSError as error:
            raise JobError(unkept(self.path, error)) from None

    # -------------------------------------------------------------------------------------------------------- store

    def all(self) -> History:
        """Every outcome that was put, in earlier runs too."""
        return self.history

    def claim(self, key: str, worker: str, lease: float) -> bool:
        """See `actsmith.trials.store.Store`; the folder is one process's, whose workers these are."""
        return key not in self.history and self.leases.claim(key, worker, lease)

    def put(self, outcomes: Iterable[Outcome]) -> None:
        """See `actsmith.trials.store.Store`."""
        new = [o for o in outcomes if self.history.get(o.trial.key) != o]
        if new:
            self._append([outcome.to_dict() for outcome in new])
        for outcome in new:
            self.history.add(Outcome.from_dict(self.results[outcome.trial.key]))
            self.leases.release(outcome.trial.key)

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
        if whole != content and self.lock:
            write_atomically(path, whole)
        return records

    def _note_versions(self) -> None:
        now = _versions()
        known = self.read("versions.json") or []
        if now not in known and self.lock:
            self.write("versions.json", [*known, now])


def _locked(path: Path) -> Any:
    """An open file whose lock is held, None where the system has no such locks.

    Raises:
        ActsmithError: somebody else holds it.
    """
    try:
        import fcntl
    except ImportError:
        return None
    file = (path / ".lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ActsmithError(f"run: another run is writing to {str(path)!r}; give another folder") from None
    return file


def folder_for(kind: str, name: str, out: str | Path | None) -> Path:
    """The folder that was asked for, or runs/NAME-001 (of another kind than a search runs/KIND-NAME-001), or the first
    number that is not taken."""
    if out is not None:
        return Path(out).expanduser()
    slug = "".join(c if c.isalnum() or c in "-_" else "-" for c in (name if kind == "search" else f"{kind}-{name}"))
    return next_folder(Path("runs"), slug[:60])


def next_folder(parent: Path, name: str) -> Path:
    """parent/name-001, or the first number that is not taken."""
    number = 1
    while (path := parent / f"{name}-{number:03d}").exists():
        number += 1
    return path


def _require_equal(path: Path, there: dict[str, Any], asked: dict[str, Any]) -> None:
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
    versions: dict[str, Any] = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {**versions, "python": platform.python_version(), "platform": platform.platform(), "cores": os.cpu_count()}
