"""A PostgreSQL server for tests: of the system's package, in a folder of its own; can be killed and started again."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

UNPRIVILEGED = "nobody"
"""Who the server runs as where the tests run as root, which it refuses."""


def missing() -> str | None:
    """Why there is no server here; None where there can be one."""
    programs = [name for name in ("initdb", "postgres") if program(name) is None]
    return f"PostgreSQL's {' and '.join(programs)} not found" if programs else None


def program(name: str) -> str | None:
    """The path of a program of PostgreSQL; Debian keeps them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


class Database:
    """A server on a port of its own, with a password.

    Args:
        folder: an empty one that anybody may enter.
    """

    password = "s3cret-of-the-test"

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="actsmith-pg-"))
        self.user = pwd.getpwnam(UNPRIVILEGED) if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        words = self.folder / "password"
        words.write_text(self.password)
        os.chmod(words, 0o644)
        self._run("initdb", "-D", str(self.data), "-U", "searcher", "-A", "scram-sha-256", f"--pwfile={words}", "-N")
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://searcher:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """And wait until it answers."""
        program_ = program("postgres")
        assert program_ is not None
        options = ["-p", str(self.port), "-k", str(self.folder), "-c", "listen_addresses=127.0.0.1"]
        options += ["-c", "max_connections=60", "-c", "shared_buffers=16MB"]
        with (self.folder / "log").open("ab") as log:
            command = [program_, "-D", str(self.data), *options]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, **self._demoted())  # type: ignore[call-overload]
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        raise TimeoutError((self.folder / "log").read_text())

    def kill(self) -> None:
        """The whole server, at once, as a power cut would; its files stay."""
        assert self.process is not None
        children = _children(self.process.pid)
        self.process.kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.process.wait()
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """And remove it."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, name: str, *arguments: str) -> None:
        path = program(name)
        assert path is not None
        subprocess.run([path, *arguments], check=True, capture_output=True, timeout=120, **self._demoted())  # type: ignore[call-overload]

    def _demoted(self) -> dict[str, object]:
        if os.getuid() != 0:
            return {}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": [], "cwd": str(self.folder)}


def _children(pid: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Until it holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.05)
