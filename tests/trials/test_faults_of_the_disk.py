"""A full disk and a folder that cannot be written: a clear message, nothing half, and a run that goes on afterwards.

The faults are injected: who runs as root may write anywhere, and nobody fills a disk.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from trial_runners import FullDisk

from actsmith.errors import ActsmithError, JobError
from actsmith.training.checkpoint import Checkpoint
from actsmith.trials.folder import RunFolder
from actsmith.trials.ledger import Ledger
from actsmith.trials.pool import Here
from actsmith.trials.runner import Place
from actsmith.trials.session import session
from actsmith.trials.testing import SumRunner, trials
from actsmith.trials.trial import Outcome

WRITE = os.write


class Disk:
    """Takes so many bytes, then fails with an error; a write that does not fit is torn."""

    def __init__(self, room: int, error: int = errno.ENOSPC) -> None:
        self.room, self.error = room, error

    def write(self, descriptor: int, data: bytes) -> int:
        if self.room <= 0:
            raise OSError(self.error, os.strerror(self.error))
        done = WRITE(descriptor, data[: self.room])
        self.room -= done
        return done


@pytest.mark.parametrize("room", [0, 1, 100, 700])
def test_results_are_whole_lines_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    done = [Outcome(t, {"score": 1.0}) for t in trials(4)]
    with RunFolder(tmp_path / "run", {}, resume=False) as folder:
        folder.put(done[:2])
        monkeypatch.setattr(os, "write", Disk(room).write)
        with pytest.raises(JobError, match=r"cannot be written: No space left on device; mend that and go on"):
            folder.put(done[2:])
        monkeypatch.setattr(os, "write", WRITE)
        assert list(folder.all()) == [o.trial.key for o in done[:2]]
        folder.put(done[2:3])
    with RunFolder(tmp_path / "run", {}, resume=True) as folder:
        assert list(folder.all()) == [o.trial.key for o in done[:3]]


@pytest.mark.parametrize("room", [0, 1, 300])
def test_the_ledger_is_whole_lines_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    ledger = Ledger(tmp_path, "s")
    ledger.begin({}, resume=False)
    ledger.publish(trials(2), None)
    monkeypatch.setattr(os, "write", Disk(room).write)
    with pytest.raises(JobError, match="cannot be written: No space left on device; mend that and go on"):
        ledger.publish(trials(2), None)
    monkeypatch.setattr(os, "write", WRITE)
    ledger.publish(trials(1), None)
    again = Ledger(tmp_path, "s")
    assert again.join()
    assert [len(job.trials) for job in again.jobs()] == [len(job.trials) for job in ledger.jobs()] == [2, 1]


def test_a_folder_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunFolder(tmp_path / "run", {}, resume=False) as folder:
        folder.put([Outcome(trials(1)[0], {"score": 1.0})])

    def refuse(self: Path, *_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        for resume in (True, False):
            path = tmp_path / ("run" if resume else "new")
            with (
                pytest.raises(ActsmithError, match=r"run folder .* Permission denied"),
                RunFolder(path, {}, resume=resume),
            ):
                pass
    with RunFolder(tmp_path / "run", {}, resume=True) as folder, monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(JobError, match="cannot be written: Permission denied"):
            folder.write("leaderboard.json", {})
    with RunFolder(tmp_path / "run", {}, resume=True) as folder:
        assert len(folder.all()) == 1
        assert folder.read("leaderboard.json") is None


@pytest.mark.parametrize(("stage", "why"), [("full", "No space left on device"), ("refused", "Permission denied")])
def test_no_activation_is_blamed_for_the_disk(tmp_path: Path, stage: str, why: str) -> None:
    """The run ends, what was finished is kept, and it goes on once there is room."""
    asked = [*trials(2), *trials(1, stage)]
    with session(FullDisk(), tmp_path / "run", {}) as run, pytest.raises(JobError, match=why):
        run.train([asked], "s", "")
    with session(SumRunner(), tmp_path / "run", {}, resume=True) as run:
        assert len(run.history) == 2
        run.train([asked], "s", "")
        assert all(outcome.reason is None for outcome in run.history.values())
        assert len(run.history) == 3


def test_what_a_script_may_not_open_is_its_own_failure(tmp_path: Path) -> None:
    (outcome,) = next(Here(FullDisk()).run([trials(1, "own")], Place(tmp_path)))
    assert "Permission denied" in str(outcome.reason)


def test_a_checkpoint_that_does_not_fit_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch speaks of an archive instead."""
    checkpoint = Checkpoint.at(tmp_path, "k")
    checkpoint.save({"weights": torch.zeros(8)})
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    plain = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode="r", **_: plain(full if "w" in mode else self, mode))
    with pytest.raises(OSError, match="No space left on device"):
        checkpoint.save({"weights": torch.zeros(1 << 16)})
    monkeypatch.undo()
    kept = checkpoint.load()
    assert kept is not None
    assert kept["weights"].shape == (8,)
