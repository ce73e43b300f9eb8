"""Sync in a world of its own, on both databases, which are made once and emptied for each test."""

import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from chassis.database import Database
from chassis.migrations import migrate
from chassis.tables import METADATA
from deploy.local.postgres import dsn
from services.sync.tables import Base
from tests.infra.plan import Infrastructure
from tests.unit.sync.world import SyncWorld, opened


@pytest.fixture(scope="session")
async def made_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with sync's empty tables."""
    path = tmp_path_factory.mktemp("sync") / "made.db"
    database = Database(f"sqlite+aiosqlite:///{path}", "sync")
    await migrate(database)
    await database.close()
    return path


@pytest.fixture(scope="session")
async def made_postgres(infrastructure: Infrastructure) -> AsyncIterator[str]:
    """A PostgreSQL database with sync's tables."""
    server = dsn(infrastructure.database().url)
    name = f"sync_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'".encode())
    url = dsn(infrastructure.database().url, database=name)
    url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    database = Database(url, "sync")
    await migrate(database)
    await database.close()
    yield url
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def sqlite_url(made_sqlite: Path, tmp_path: Path) -> str:
    """A file of this test's own."""
    return f"sqlite+aiosqlite:///{shutil.copy(made_sqlite, tmp_path / 'test.db')}"


@pytest.fixture
def postgres_url(made_postgres: str) -> str:
    """The shared database, emptied."""
    tables = [*METADATA.tables, *Base.metadata.tables]
    with psycopg.connect(dsn(made_postgres), autocommit=True) as connection:
        for table in tables:
            connection.execute(f"DELETE FROM sync.{table}".encode())  # noqa: S608
    return made_postgres


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[SyncWorld]:
    async with opened(SyncWorld(database_url)) as made:
        yield made
