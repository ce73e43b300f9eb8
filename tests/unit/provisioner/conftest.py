"""The bench on both databases, which are made once and emptied for each test."""

from collections.abc import AsyncIterator

import pytest

from services.provisioner.tables import Base
from tests.infra.databases import Tables, made_postgres, made_sqlite, postgres_url, sqlite_url
from tests.unit.provisioner.world import Bench

__all__ = ["made_postgres", "made_sqlite", "postgres_url", "sqlite_url"]  # fixtures


@pytest.fixture(scope="session")
def tables() -> Tables:
    return Tables("provisioner", Base.metadata)


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    made = Bench(database_url)
    yield made
    await made.close()
