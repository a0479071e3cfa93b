"""How workers scale: a task that sleeps on 1 to 8 of them, what the ledger costs, and a thousand workers simulated.

The simulation is a queue: the storage does one operation at a time (a journal) or several (a database), each as long as
it was measured; the leader publishes, looks and keeps; workers claim, train, and give back.
"""

from __future__ import annotations

import heapq
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from actsmith.benchmarks.measure import Row, Say, absolute
from actsmith.formula.catalogue import resolve
from actsmith.trials.folder import RunFolder
from actsmith.trials.hands import PAUSES as WORKER_PAUSES
from actsmith.trials.ledger import Ledger
from actsmith.trials.ledger_pool import PAUSES, LedgerPool
from actsmith.trials.runner import Place, Runner
from actsmith.trials.testing import SumRunner
from actsmith.trials.trial import Outcome, Trial

__all__ = ["Costs", "Sleeper", "costs_of", "rows", "simulated", "throughput"]

SLEEP = 1.0
LINEAR = 1 / 0.9
"""Time over linear's that is allowed."""
COST = 0.05
"""Seconds of all operations on one job that are allowed: 0.1 % of a training of a minute."""
KEEPING = 0.005
"""Seconds in which a leader keeps an outcome in its run folder."""
KEPT = 2_000
"""Bytes of details in an outcome, about those of a real one."""


class Sleeper(SumRunner):
    """Sleeps for a second instead of training."""

    def run(self, group: Sequence[Trial], place: Place) -> list[Outcome]:
        """See `Runner`."""
        time.sleep(SLEEP)
        return super().run(group, place)

    def maker(self, folder: Path) -> Callable[[], Runner]:
        """See `Runner`."""
        return Sleeper


@dataclass(frozen=True)
class Costs:
    """Seconds of one operation: to publish a job, to claim one, to give it back, the leader's look at one, and
    a worker's look that finds none."""

    publish: float
    claim: float
    finish: float
    look: float
    idle: float

    @property
    def job(self) -> float:
        """Of one job, all in all."""
        return self.publish + self.claim + self.finish


def rows(quick: bool, say: Say) -> Iterator[Row]:
    """Times relative to linear, and seconds."""
    for workers in (1, 2, 4) if quick else (1, 2, 4, 8):
        ratio = throughput(workers, 3 if quick else 8)
        yield Row(f"{workers} workers, trainings of 1 s", "", "linear", None, ratio, ratio, ratio, ratio, LINEAR)
    with tempfile.TemporaryDirectory() as folder:
        count = 500 if quick else 10_000
        costs = costs_of(folder, count)
    yield absolute(f"ledger in a journal, a job among {count}", "", [costs.job], COST)
    for workers in (10, 100, 1000):
        for seconds in (10.0, 60.0):
            ratio = 1 / simulated(workers, seconds, costs)
            what = f"simulated: {workers} workers, trainings of {seconds:g} s"
            yield Row(what, "", "linear", None, ratio, ratio, ratio, ratio, None)


def trials(count: int, stage: str) -> list[list[Trial]]:
    """Groups of one."""
    return [[Trial("sleep", resolve("relu"), stage, 0.5, seed, context="c")] for seed in range(count)]


def throughput(workers: int, each: int, url: str | None = None) -> float:
    """Time over linear's of `each` trainings on each worker, when all have started.

    Args:
        workers: processes of this machine.
        each: trainings.
        url: of a storage; a journal in a folder of its own by default.
    """
    with tempfile.TemporaryDirectory() as folder, RunFolder(folder, {}, resume=False) as kept:
        place, study = Place(Path(folder)), f"sleep {time.time()}"
        with LedgerPool(url or folder, study, Sleeper, workers=workers, threads=1) as pool:
            for outcomes in pool.run(trials(workers, "start"), place):
                kept.put(outcomes)
            began = time.perf_counter()
            for outcomes in pool.run(trials(workers * each, "measure"), place):
                kept.put(outcomes)
            return (time.perf_counter() - began) / (each * SLEEP)


def costs_of(url: str | Path, count: int, last: int = 200) -> Costs:
    """What a ledger's operations cost once it holds `count` jobs, averaged over the `last` of them.

    Args:
        url: of the storage.
        count: of jobs; they stay there.
        last: how many are measured.
    """
    study, clock = f"costs {time.time()}", time.perf_counter
    details = {"curve": [1.25] * (KEPT // 6)}
    took: list[tuple[float, ...]] = []
    with closing(Ledger(url, study, cached=True)) as leader, closing(Ledger(url, study)) as worker:
        leader.begin({}, resume=False)
        worker.join()
        for number, group in enumerate(trials(count, "costs")):
            at = [clock()]
            leader.publish(group, None)
            at.append(clock())
            job = worker.claim("w")
            at.append(clock())
            assert job is not None
            worker.finish(job, [Outcome(job.trials[0], {"score": 1.0}, details=details)])
            at.append(clock())
            if number >= count - last or number % 10 == 0:
                leader.some([job.id])
                at.append(clock())
                worker.claim("w")
                at.append(clock())
            if number >= count - last:
                took.append(tuple(after - before for before, after in pairwise(at)))
    return Costs(*(fmean(column) for column in zip(*took, strict=True)))


def simulated(workers: int, seconds: float, costs: Costs, *, at_once: int = 1, each: int = 20, seed: int = 0) -> float:
    """Throughput over linear's of so many workers on one ledger.

    Args:
        workers: how many.
        seconds: of a training, give or take a fifth.
        costs: of the ledger's operations.
        at_once: operations that the storage does at the same time.
        each: trainings for each worker, of which the first and the last quarter are not counted.
        seed: of the lengths.
    """
    random_, total = random.Random(seed), workers * each
    free = [0.0] * at_once  # when each of the storage's hands is free
    events: list[tuple[float, int, str, float]] = [(0.0, -1, "lead", PAUSES[0])]
    events += [(0.0, worker, "claim", WORKER_PAUSES[0]) for worker in range(workers)]
    heapq.heapify(events)
    waiting = running = published = heard = given_back = 0
    done: list[float] = []

    def operate(now: float, cost: float) -> float:
        """When the storage has done it."""
        end = max(now, heapq.heappop(free)) + cost
        heapq.heappush(free, end)
        return end

    while len(done) < total:
        now, worker, what, pause = heapq.heappop(events)
        if what == "lead":  # as LedgerPool does: look, keep what came back, publish
            end = operate(now, costs.look) + KEEPING * (given_back - heard)
            pause = PAUSES[0] if given_back > heard else min(2 * pause, PAUSES[1])
            heard = given_back
            while published < total and waiting < max(2, running // 2):
                end, waiting, published = operate(end, costs.publish), waiting + 1, published + 1
            heapq.heappush(events, (end + pause, worker, "lead", pause))
        elif what == "claim" and waiting:
            waiting, running = waiting - 1, running + 1
            length = seconds * random_.uniform(0.8, 1.2)
            heapq.heappush(events, (operate(now, costs.claim) + length, worker, "finish", 0.0))
        elif what == "claim":
            end = operate(now, costs.idle) + pause
            heapq.heappush(events, (end, worker, "claim", min(2 * pause, WORKER_PAUSES[1])))
        else:
            end = operate(now, costs.finish)
            running, given_back = running - 1, given_back + 1
            done.append(end)
            heapq.heappush(events, (end, worker, "claim", WORKER_PAUSES[0]))
    first, last = total // 4, 3 * total // 4
    return (last - first) / (done[last] - done[first]) * seconds / workers
