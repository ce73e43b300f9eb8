"""Audit on both databases, which are made once and emptied for each test."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from chassis.testing import VirtualClock
from services.audit.app import Audit
from services.audit.tables import METADATA
from tests.infra.databases import Tables, copied, made_postgres, made_sqlite
from tests.unit.audit.world import made

__all__ = ["made_postgres", "made_sqlite"]  # fixtures


@pytest.fixture(scope="session")
def tables() -> Tables:
    return Tables("audit", METADATA)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tables: Tables, tmp_path: Path) -> str:
    """Audit's tables, empty. `sqlite_url` and `postgres_url` are databases of the test's own."""
    if request.param == "sqlite":
        return copied(request.getfixturevalue("made_sqlite"), tmp_path)
    url: str = request.getfixturevalue("made_postgres")
    tables.empty(url)
    return url


@pytest.fixture
async def audit(database_url: str, clock: VirtualClock) -> AsyncGenerator[Audit]:
    built = made(database_url, clock)
    yield built
    await built.service.database.close()
