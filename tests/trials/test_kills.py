"""Kill -9 at random moments of the search, of its workers, of their children and of the database: nothing is lost,
nothing counts twice, and the table is that of a run that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kill_run
import pytest
from databases import Database, missing, wait_for

KILLS = int(os.environ.get("KILLS", "100"))
pytestmark = pytest.mark.slow


class Play:
    """A search with two workers elsewhere, each started again when it was killed."""

    def __init__(self, top: Path, database: Database | None) -> None:
        self.top, self.database, self.searches = top, database, 0
        self.processes: dict[str, Any] = {}
        self.kills: Counter[str] = Counter()
        self.random = random.Random(0)

    def begin(self) -> None:
        """Another search."""
        self.searches += 1
        self.folder = self.top / f"run-{self.searches:03d}"
        self.folder.mkdir()
        self.url = str(self.folder) if self.database is None else self.database.url
        for name in ("parent", "one", "two"):
            self.start(name)

    def start(self, name: str) -> None:
        function, folder = (kill_run.parent, self.folder) if name == "parent" else (kill_run.worker, self.top / name)
        log = self.top / f"{name}.log"
        self.processes[name] = kill_run.forked(function, log, folder, self.url, self.folder.name)

    def kill(self) -> None:
        """One of them, or one of their children."""
        names = [*self.processes, "child", *(["database"] if self.database is not None else [])]
        name = self.random.choice(names)
        if name == "database":
            assert self.database is not None
            self.database.kill()
            time.sleep(self.random.uniform(0.0, 2.0))
            self.database.start()
        elif name == "child":
            children = [c for p in self.processes.values() for c in training(p.pid)]
            if not children:
                return
            os.kill(self.random.choice(children), signal.SIGKILL)
        else:
            self.processes[name].kill()
            self.processes[name].join()
            self.start(name)
        self.kills[name] += 1

    def wait_for_work(self) -> None:
        """Until something was finished since the last call, and a moment more: else all kills meet who only starts."""
        wait_for(lambda before=self.finished: self.finished != before or self.ended(), 120.0)  # type: ignore[misc]
        time.sleep(self.random.uniform(0.0, 1.0))

    @property
    def finished(self) -> int:
        """Bytes of results."""
        path = self.folder / "results.jsonl"
        return path.stat().st_size if path.is_file() else 0

    def ended(self) -> bool:
        """Whether the search has; whoever else ended by itself must not have."""
        for name, process in self.processes.items():
            code = process.exitcode
            if code is not None:
                assert code == 0, (self.top / f"{name}.log").read_text()[-3000:]
        return self.processes["parent"].exitcode is not None

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.join()


def training(pid: int) -> list[int]:
    """The children, which train."""
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def table(folder: Path) -> dict[str, object]:
    """Key -> scores; each once."""
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert len({line["key"] for line in lines}) == len(lines), "something was counted twice"
    return {line["key"]: (line["name"] if "name" in line else line["formula"], line["validation"]) for line in lines}


@pytest.fixture(params=["journal", "postgresql"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Play]:
    database = None
    if request.param == "postgresql":
        if (why := missing()) is not None:
            pytest.skip(why)
        database = Database()
    play = Play(tmp_path, database)
    yield play
    play.stop()
    if database is not None:
        database.stop()


def test_a_hundred_kills(play: Play, tmp_path: Path) -> None:
    """As many searches, one after another, as it takes."""
    kill_run.undisturbed(tmp_path / "undisturbed")
    expected = table(tmp_path / "undisturbed")
    assert len(expected) == kill_run.ROUNDS * kill_run.EACH
    began = time.monotonic()
    while play.kills.total() < KILLS:
        play.begin()
        while not play.ended():
            play.wait_for_work()
            if play.kills.total() < KILLS and not play.ended():
                play.kill()
            assert time.monotonic() - began < 3000, play.kills
        assert table(play.folder) == expected
        play.stop()
    print(f"{dict(play.kills)}: {play.searches} searches, {time.monotonic() - began:.0f} s")
