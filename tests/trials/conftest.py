from __future__ import annotations

from collections.abc import Iterator

import pytest
from databases import Database, missing


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    """A PostgreSQL server; who kills it takes one of their own."""
    if (why := missing()) is not None:
        pytest.skip(why)
    server = Database()
    yield server
    server.stop()
