"""The searches of a storage as they go on: what leads, what is trained at this moment and where. Nothing is changed.

torch is loaded with the ledger, which is why nothing else of the server's own process imports this.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from actsmith.app.runs import LATEST, LIVE, Trained, brief, table, trained
from actsmith.errors import JobError
from actsmith.trials.ledger import Job, Ledger, leader_name
from actsmith.trials.storage import shown

__all__ = ["Storage"]

MOST = 6
"""Searches of one storage that are shown: those that were begun last."""
NAMED = 8
"""Jobs in flight that are named."""


class Storage:
    """A storage that the command line named.

    Args:
        url: a journal's file, or of a database.

    Raises:
        ActsmithError: it is none that can be read.
    """

    def __init__(self, url: str) -> None:
        self.name = shown(url)
        self.ledger = Ledger(url, "", cached=True)
        self.ledger.patience = 0.0  # asked again in two seconds
        self._studies: dict[str, _Study] = {}

    def views(self) -> list[dict[str, Any]]:
        """A section for each search, the one that was begun last first; what is wrong where it cannot be read."""
        try:
            names = self.ledger.names()[: -MOST - 1 : -1]
            for name in names:
                if name not in self._studies:
                    self._studies[name] = _Study(self.ledger.sister(name), self.name)
            found = [view for name in names if (view := self._studies[name].view()) is not None]
        except JobError as error:
            return [_section(self.name, "storage", str(error))]
        return found or [_section(self.name, "storage", "it holds no search yet")]


class _Study:
    """One search; jobs that are done are read once."""

    def __init__(self, ledger: Ledger, where: str) -> None:
        self.ledger, self.where = ledger, where
        self.done: set[int] = set()
        self.trainings: list[Trained] = []
        self.other = 0

    def view(self) -> dict[str, Any] | None:
        """None while it is made."""
        if not self.ledger.join():
            return None
        jobs = self.ledger.jobs("WAITING", "RUNNING", "COMPLETE")
        for job in jobs:
            if job.state == "COMPLETE" and job.id not in self.done:
                self._take(job)
        config = self.ledger.attribute("config")
        state, since = self._state(jobs)
        view = _section(self.ledger.name, f"search on {config.get('name')}, in {self.where}", state)
        return view | {
            "trainings": len(self.trainings), "other": self.other, "seconds_since": since,
            "tables": self._tables(config.get("metric") or {}),
            "latest": [brief(t) for t in self.trainings[: -LATEST - 1 : -1]],
        }  # fmt: skip

    def _take(self, job: Job) -> None:
        self.done.add(job.id)
        for record in job.attributes.get("outcomes", []):
            training = trained(record)
            if training is None:
                self.other += 1
            else:
                self.trainings.append(training)

    def _state(self, jobs: Sequence[Job]) -> tuple[str, float | None]:
        """In words, and the seconds since its leader's last beat, by the leader's clock."""
        if self.ledger.closed:
            return "ended; its folder has the conclusion", None
        beat = self.ledger.leader_beat()
        since = None if beat is None else round(time.time() - beat[1], 1)
        waiting = sum(job.state == "WAITING" for job in jobs)
        running = [job for job in jobs if job.state == "RUNNING"]
        words = [_words(job) for job in running[:NAMED]] + (["…"] if len(running) > NAMED else [])
        queue = f"{len(running)} in training, {waiting} waiting"
        if since is None or since > LIVE:
            return f"nobody leads it now: interrupted; {queue} when it was", since
        return f"running: {queue}{': ' if words else ''}{'; '.join(words)}", since

    def _tables(self, metric: Mapping[str, Any]) -> list[dict[str, Any]]:
        tasks: dict[str, list[Trained]] = defaultdict(list)
        for training in self.trainings:
            tasks[training.task].append(training)
        return [table(task, own, metric.get("better"), metric.get("name")) for task, own in tasks.items()]


def _words(job: Job) -> str:
    """A job in flight: what, how much of it, on which worker."""
    trials = job.attributes["trials"]
    names = list(dict.fromkeys(trial["formula"]["name"] for trial in trials))
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    count = f"{len(trials)} networks" if len(trials) > 1 else "1 network"
    worker = job.worker or "just taken"
    where = "the search itself" if worker.startswith(leader_name("")) else worker
    return f"{trials[0]['stage']} {names[0]}{more} ({count}, {where})"


def _section(name: str, kind: str, state: str) -> dict[str, Any]:
    return {
        "name": name, "kind": kind, "state": state, "trainings": 0, "other": 0, "seconds_since": None,
        "conclusion": None, "tables": [], "latest": [],
    }  # fmt: skip
