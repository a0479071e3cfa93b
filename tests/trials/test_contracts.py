"""The stores and pools that there are pass the suites that others inherit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from actsmith.trials.folder import RunFolder
from actsmith.trials.pool import Here, Processes
from actsmith.trials.runner import Runner
from actsmith.trials.store import MemoryStore, Store
from actsmith.trials.testing import PoolContract, StoreContract, SumRunner, trials


class TestMemoryStore(StoreContract):
    def make(self) -> Store:
        return MemoryStore()


class TestRunFolder(StoreContract):
    @pytest.fixture(autouse=True)
    def _path(self, tmp_path: Path) -> Iterator[None]:
        self.path = tmp_path
        with ExitStack() as self.opened:
            yield

    def make(self) -> Store:
        return self.opened.enter_context(RunFolder(self.path / "run", {"task": "sum"}, resume=False))

    def again(self, store: Store) -> Store:
        assert isinstance(store, RunFolder)
        store.close()
        return self.opened.enter_context(RunFolder(store.path, {"task": "sum"}, resume=True))


class TestHere(PoolContract):
    def make(self, make_runner: Callable[[], Runner]) -> Here:
        return Here(make_runner())


class Kept(Processes):
    """Stays open over the tests, since starting a worker takes seconds."""

    def close(self) -> None:
        """Nothing."""


class TestProcesses(PoolContract):
    pool: Kept

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _kept(cls) -> Iterator[None]:
        pool = cls.pool = Kept(SumRunner, 2)
        yield
        Processes.close(pool)
        assert not pool._workers
        Processes.close(pool)

    def make(self, make_runner: Callable[[], Runner]) -> Processes:
        assert make_runner is SumRunner
        return self.pool


class Forgetful(MemoryStore):
    """Claims to keep what it does not."""

    def claim(self, key: str, worker: str, lease: float) -> bool:
        return True


def test_the_suites_can_fail() -> None:
    class Wrong(StoreContract):
        def make(self) -> Store:
            return Forgetful()

    with pytest.raises(AssertionError):
        Wrong().test_nobody_claims_what_another_holds()
    with pytest.raises(NotImplementedError):
        PoolContract().test_nothing_is_nothing()


def test_the_runner_of_the_suites_is_a_runner() -> None:
    assert [len(group) for group in SumRunner().groups(trials(5))] == [2, 2, 1]
    assert isinstance(SumRunner().maker(Path())(), SumRunner)
