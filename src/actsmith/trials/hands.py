"""One more pair of hands for a search that somebody else leads: takes jobs from its ledger until the study is closed.

Each training runs in a child process, which is killed at the search's time limit. A job that the leader withdraws is
left within seconds. A worker that is interrupted gives its job back; one that is killed loses it, and the leader gives
it to another.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

from actsmith.errors import ActsmithError, JobError
from actsmith.files import cache_folder, to_json, write_atomically
from actsmith.trials.joining import joined_runner
from actsmith.trials.ledger import Job, Ledger
from actsmith.trials.measured import MEASURED
from actsmith.trials.pool import Processes
from actsmith.trials.runner import Place, Runner
from actsmith.trials.storage import journal_of, shown
from actsmith.trials.tracebacks import told_traceback
from actsmith.trials.trial import Outcome, digest

__all__ = ["Hands", "join"]

BEAT = 60.0
"""Seconds between two signs of life."""
LOOK = 10.0
"""Seconds between two looks at whether the job is still wanted."""
RELEASING = 10.0
"""Seconds that giving a job back may take."""
PAUSES = (0.1, 2.0)
"""Seconds between two looks for a job, at first and at last."""
SAME_CLOCK = 2.0
"""Seconds by which two machines' clocks may differ and count as one."""

Say = Callable[[str], None]


def join(
    url: str | Path, study: str | None, *, data: Path | None = None, threads: int | None = None, wait: float, say: Say
) -> int:
    """Work for a study until it is closed.

    Args:
        url: of its storage.
        study: its name; None where the storage holds one that is open.
        data: the folder of the data on this machine.
        threads: of torch; all cores by default.
        wait: seconds for which nobody leads it, or it is not there yet, before this gives up.
        say: gets a line on what is being done.

    Returns:
        How many trainings were done.

    Raises:
        ActsmithError: no such study; or what it trains cannot be had here, and why.
    """
    ledger = _found(url, study, wait, say)
    config = ledger.attribute("config")
    request = config.get("request")
    if not isinstance(request, dict):
        raise ActsmithError(
            f"worker: study {ledger.name!r}: only the script that began it can train it: {request or 'it says nothing'}"
        )
    folder = cache_folder("workers") / digest([shown(url), ledger.name])
    folder.mkdir(parents=True, exist_ok=True)
    make = partial(joined_runner, request, config["context"], folder, None if data is None else data.resolve())
    say(f"joined study {ledger.name!r} of {shown(url)}")
    with closing(
        Hands(ledger, make, folder, threads=threads, timeout=config.get("timeout"), wait=wait, say=say)
    ) as own:
        return own.work()


def _found(url: str | Path, study: str | None, wait: float, say: Say) -> Ledger:
    """The study, once it is there."""
    until, said = time.monotonic() + wait, False
    while True:
        try:
            return _joined(url, study)
        except _NotThereError as error:
            if time.monotonic() > until:
                raise ActsmithError(str(error)) from None
        if not said:
            say(f"waiting for the study in {shown(url)}")
            said = True
        time.sleep(PAUSES[1])


class _NotThereError(Exception):
    """The study is not there."""


def _joined(url: str | Path, study: str | None) -> Ledger:
    if "://" not in str(url) and not journal_of(url).is_file():
        raise _NotThereError(
            f"storage: no journal {str(journal_of(url))!r}; expected a run folder, or the URL of a database"
        )
    ledger = Ledger(url, study or "")
    if study is None:
        names = [name for name in ledger.names() if (one := ledger.sister(name)).join() and not one.closed]
        if len(names) > 1:
            raise ActsmithError(f"study: {shown(url)} has several open ones; give --study, of {', '.join(names)}")
        ledger = ledger.sister(names[0] if names else "")
    if not ledger.join():
        raise _NotThereError(str(ledger.missing()))
    return ledger


class Hands:
    """Trains jobs of a ledger, one after another.

    Args:
        ledger: has joined its study.
        make_runner: as `Processes` takes it.
        folder: for checkpoints, and what was measured.
        threads, timeout: as `Processes` takes them.
        wait, say: see `join`.
    """

    def __init__(
        self,
        ledger: Ledger,
        make_runner: Callable[[], Runner],
        folder: Path,
        *,
        threads: int | None = None,
        timeout: float | None = None,
        wait: float = 600.0,
        say: Say = lambda _: None,
    ) -> None:
        self.ledger, self.folder, self.wait, self.say = ledger, folder, wait, say
        self.pool = Processes(make_runner, 1, threads, timeout)
        self.name = f"{socket.gethostname()} {os.getpid()} {os.urandom(3).hex()}"
        self.beats, self.done = 0, 0
        self.measured: Any = None
        self.leader = _Leader()

    def work(self) -> int:
        """Until the study is closed, or nobody has led it for too long; how many trainings were done."""
        pause = PAUSES[0]
        while True:
            job = self.ledger.claim(self.name)
            if job is not None:
                self._train(job)
                pause = PAUSES[0]
                continue
            if self.ledger.closed:
                self.say(f"the study is closed; {self.done} trainings were done here")
                return self.done
            if self.leader.silent(self.ledger.leader_beat()) > self.wait:
                self.say(f"nobody has led the study for {self.wait:g} s; {self.done} trainings were done here")
                return self.done
            time.sleep(pause)
            pause = min(2 * pause, PAUSES[1])

    def _train(self, job: Job) -> None:
        self._read_measured()
        deadline = job.attributes["deadline"]
        place = Place(self.folder, None if deadline is None else deadline - self.leader.ahead)
        began = time.monotonic()
        try:
            outcomes = self._outcomes(job, place)
            if outcomes is None:
                return
            if not outcomes:
                self.ledger.fail(job, "stopped")
                return
        except BaseException as error:
            self.ledger.patience = 0.0 if isinstance(error, JobError) else RELEASING
            with suppress(JobError):
                self.ledger.fail(job, "released")
            raise
        counts = self.ledger.finish(job, [told_traceback(outcome, self.folder) for outcome in outcomes])
        self.done += len(outcomes) if counts else 0
        names = ", ".join(dict.fromkeys(outcome.name for outcome in outcomes))
        late = "" if counts else "; too late: it was given to another"
        self.say(f"{job.trials[0].stage}: {names}, {len(outcomes)} in {time.monotonic() - began:.1f} s{late}")

    def _outcomes(self, job: Job, place: Place) -> list[Outcome] | None:
        """Of the job, [] where it stopped, None where it is not wanted any more."""
        looked = beaten = time.monotonic()
        with closing(self.pool.ticks(iter([job.trials]), place)) as ticks:
            for _, outcomes in ticks:
                if outcomes is not None:
                    return outcomes
                now = time.monotonic()
                with suppress(JobError):  # the database is away; the training goes on
                    if now - looked > LOOK:
                        looked = now
                        if not self.ledger.wants(job):
                            self.say("the job was withdrawn")
                            return None
                    if now - beaten > BEAT:
                        beaten = now
                        self.beats += 1
                        self.ledger.beat(job, self.beats)
        return []

    def _read_measured(self) -> None:
        measured = self.ledger.attribute("measured")
        if measured is not None and measured != self.measured:
            write_atomically(self.folder / MEASURED, to_json(measured))
            self.measured = measured

    def close(self) -> None:
        """End the child process, and leave the ledger."""
        self.pool.close()
        self.ledger.close()


class _Leader:
    """The leader as it is seen from here: when it last gave a sign of life, and how far its clock is ahead.

    Its beat holds its time: where two looks lie close together and a beat came between them, the two clocks compare.
    """

    def __init__(self) -> None:
        self.ahead = 0.0
        self.known = False
        self.before: Sequence[float] | None = None
        self.changed = self.looked = time.monotonic()

    def silent(self, beat: Sequence[float] | None) -> float:
        """Seconds without a beat; take in what was seen of it just now."""
        now = time.monotonic()
        if beat is not None and beat != self.before:
            if self.before is not None and not self.known and now - self.looked < SAME_CLOCK + PAUSES[1]:
                ahead = beat[1] - time.time()
                self.ahead, self.known = (ahead if abs(ahead) > SAME_CLOCK + PAUSES[1] else 0.0), True
            self.changed = now
        elif now - self.looked > SAME_CLOCK + PAUSES[1]:  # a training lies between
            self.changed = now
        self.before, self.looked = beat, now
        return now - self.changed
