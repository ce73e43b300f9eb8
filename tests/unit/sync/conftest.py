"""Sync in a world of its own, on both databases, which are made once and emptied for each test."""

from collections.abc import AsyncIterator

import pytest

from services.sync.tables import Base
from tests.infra.databases import Tables, made_postgres, made_sqlite, postgres_url, sqlite_url
from tests.unit.sync.world import SyncWorld, opened

__all__ = ["made_postgres", "made_sqlite", "postgres_url", "sqlite_url"]  # fixtures


@pytest.fixture(scope="session")
def tables() -> Tables:
    return Tables("sync", Base.metadata)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[SyncWorld]:
    async with opened(SyncWorld(database_url)) as made:
        yield made
