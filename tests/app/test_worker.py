"""A process that hangs is ended and replaced; a refusal does not end it."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from actsmith.app.worker import Worker
from actsmith.errors import ActsmithError, JobError


def table() -> Mapping[str, Callable[..., Any]]:
    def refused(_emit: Any) -> None:
        raise ActsmithError("no")

    def counted(emit: Any, to: int) -> int:
        for i in range(to):
            emit(i)
        return to

    return {
        "number": lambda _emit: os.getpid(),
        "sleep": lambda _emit, seconds: time.sleep(seconds),
        "die": lambda _emit: os._exit(3),
        "wrong": lambda _emit: 1 // 0,
        "refused": refused,
        "counted": counted,
    }


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    found = Worker(table, "test")
    found.call("number", {}, 60)
    yield found
    found.stop()


def test_what_a_job_raises_leaves_the_process(worker: Worker) -> None:
    before = worker.call("number", {}, 30)
    with pytest.raises(ActsmithError, match=r"^no$"):
        worker.call("refused", {}, 30)
    with pytest.raises(JobError, match="ZeroDivisionError"):
        worker.call("wrong", {}, 30)
    with pytest.raises(JobError, match="unexpected keyword"):
        worker.call("number", {"unheard_of": 1}, 30)
    assert worker.call("number", {}, 30) == before != os.getpid()


def test_events_come_before_the_result(worker: Worker) -> None:
    seen: list[int] = []
    assert worker.call("counted", {"to": 5}, 30, seen.append) == 5
    assert seen == [0, 1, 2, 3, 4]


def test_a_job_that_hangs_is_ended(worker: Worker) -> None:
    before, began = worker.call("number", {}, 30), time.monotonic()
    with pytest.raises(JobError, match=r"longer than 0\.3 s and was ended"):
        worker.call("sleep", {"seconds": 60}, 0.3)
    assert time.monotonic() - began < 20
    assert worker.call("number", {}, 60) != before


def test_a_process_that_dies_is_replaced(worker: Worker) -> None:
    with pytest.raises(JobError, match="stopped"):
        worker.call("die", {}, 30)
    assert worker.call("number", {}, 60)


def test_stop_ends_a_job_from_outside(worker: Worker) -> None:
    threading.Timer(0.3, worker.stop).start()
    with pytest.raises(JobError, match="stopped"):
        worker.call("sleep", {"seconds": 60}, 30)
