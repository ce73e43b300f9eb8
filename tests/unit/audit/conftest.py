"""Audit on both databases, which are made once and emptied for each test."""

import shutil
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import psycopg
import pytest

from chassis.database import Database
from chassis.migrations import migrate
from chassis.tables import METADATA as CHASSIS
from chassis.testing import VirtualClock
from deploy.local.postgres import dsn
from services.audit.app import Audit
from services.audit.tables import METADATA
from tests.infra.plan import Infrastructure
from tests.unit.audit.world import made


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(scope="session")
async def made_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with audit's empty tables."""
    path = tmp_path_factory.mktemp("audit") / "made.db"
    database = Database(f"sqlite+aiosqlite:///{path}", "audit")
    await migrate(database)
    await database.close()
    return path


@pytest.fixture(scope="session")
async def made_postgres(infrastructure: Infrastructure) -> AsyncIterator[str]:
    """A PostgreSQL database with audit's tables."""
    server = infrastructure.database().url
    name = f"audit_{uuid.uuid4().hex}"
    with psycopg.connect(dsn(server), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'".encode())
    url = dsn(server, database=name).replace("postgresql://", "postgresql+psycopg://", 1)
    database = Database(url, "audit")
    await migrate(database)
    await database.close()
    yield url
    with psycopg.connect(dsn(server), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Audit's tables, empty. `sqlite_url` and `postgres_url` are databases of the test's own."""
    if request.param == "sqlite":
        copied = shutil.copy(request.getfixturevalue("made_sqlite"), tmp_path / "made.db")
        return f"sqlite+aiosqlite:///{copied}"
    url: str = request.getfixturevalue("made_postgres")
    tables = ", ".join(f"audit.{name}" for name in [*METADATA.tables, *CHASSIS.tables])
    with psycopg.connect(dsn(url)) as connection:
        # As a superuser, for whom the guards can be told not to look.
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(f"TRUNCATE {tables}".encode())
    return url


@pytest.fixture
async def audit(database_url: str, clock: VirtualClock) -> AsyncGenerator[Audit]:
    built = made(database_url, clock)
    yield built
    await built.service.database.close()
