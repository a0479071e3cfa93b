"""Pools whose jobs lie in a ledger, on a journal and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from databases import Database, missing

from actsmith.trials.ledger_pool import LedgerPool
from actsmith.trials.runner import Runner
from actsmith.trials.testing import PoolContract, SumRunner


class Kept(LedgerPool):
    """Stays open over the tests, since starting a worker takes seconds."""

    def close(self) -> None:
        """Nothing."""

    def __exit__(self, *_: object) -> None:
        """Nothing."""


class OnALedger(PoolContract):
    pool: Kept

    def make(self, make_runner: Callable[[], Runner]) -> LedgerPool:
        assert make_runner is SumRunner
        return self.pool


class TestOnAJournal(OnALedger):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _kept(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        pool = cls.pool = Kept(tmp_path_factory.mktemp("journal"), "sum", SumRunner, workers=2)
        yield
        LedgerPool.close(pool)
        LedgerPool.close(pool)


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    if (why := missing()) is not None:
        pytest.skip(why)
    server = Database()
    yield server
    server.stop()


class TestOnPostgreSQL(OnALedger):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _kept(cls, database: Database) -> Iterator[None]:
        pool = cls.pool = Kept(database.url, "sum", SumRunner, workers=2)
        yield
        LedgerPool.close(pool)
        LedgerPool.close(pool)
