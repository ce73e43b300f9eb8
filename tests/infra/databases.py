"""Databases for tests: an empty one of a test's own, or a service's tables, made once and emptied."""

import shutil
import uuid
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import MetaData
from sqlalchemy.engine import make_url

from chassis.database import Database
from chassis.migrations import migrate
from chassis.tables import METADATA as CHASSIS
from deploy.local.postgres import dsn
from deploy.roles import ensure, owner_of, role_of
from tests.infra.plan import Infrastructure

_WORD = "w" * 32


class Tables:
    """A service's tables, in the schema of its name. Its conftest's fixture `tables` tells them."""

    def __init__(self, service: str, metadata: MetaData) -> None:
        self._service = service
        self._names = ", ".join(f"{service}.{t}" for t in (*CHASSIS.tables, *metadata.tables))

    async def make(self, url: str, owner: str | None = None) -> None:
        database = Database(url, self._service)
        await migrate(database, owner)
        await database.close()

    def roles(self, server: str) -> tuple[str, str]:
        """The database as the service's role and as its tables' owner, as deployments have them."""
        ensure(dsn(server), lambda _role: _WORD)
        both = (role_of(self._service), owner_of(self._service))
        mine, owner = (make_url(server).set(username=each, password=_WORD) for each in both)
        return (
            mine.render_as_string(hide_password=False),
            owner.render_as_string(hide_password=False),
        )

    def empty(self, url: str) -> None:
        """No rows, and sequences begin anew. Needs a superuser, whom audit's guards let pass."""
        with psycopg.connect(dsn(url)) as connection:
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute(f"TRUNCATE {self._names} RESTART IDENTITY".encode())


@contextmanager
def own_database(server: str) -> Generator[str]:
    """An empty database on a PostgreSQL server, `postgresql+psycopg://…`; dropped at the end."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(dsn(server), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'".encode())
    yield dsn(server, database=name).replace("postgresql://", "postgresql+psycopg://", 1)
    with psycopg.connect(dsn(server), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def copied(made: Path, folder: Path) -> str:
    """The URL of a copy of a SQLite file."""
    return f"sqlite+aiosqlite:///{shutil.copy(made, folder / 'test.db')}"


@pytest.fixture(scope="session")
async def made_sqlite(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the service's empty tables."""
    path = tmp_path_factory.mktemp("made") / "made.db"
    await tables.make(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture(scope="session")
async def made_postgres(tables: Tables, infrastructure: Infrastructure) -> AsyncGenerator[str]:
    """A PostgreSQL database with the service's tables, which the tests of a folder share."""
    with own_database(infrastructure.database().url) as url:
        await tables.make(url)
        yield url


@pytest.fixture(scope="session")
async def made_bound(
    tables: Tables, infrastructure: Infrastructure
) -> AsyncGenerator[tuple[str, str]]:
    """A PostgreSQL database as whoever may do anything, and as the role that a service has."""
    with own_database(infrastructure.database().url) as url:
        mine, owner = tables.roles(url)
        await tables.make(mine, owner)
        yield url, mine


@pytest.fixture
def bound_url(tables: Tables, made_bound: tuple[str, str]) -> str:
    """That database, emptied, in the service's own role: row-level security holds it."""
    mighty, mine = made_bound
    tables.empty(mighty)
    return mine


@pytest.fixture
def sqlite_url(made_sqlite: Path, tmp_path: Path) -> str:
    """The service's tables in a file of this test's own."""
    return copied(made_sqlite, tmp_path)


@pytest.fixture
def postgres_url(tables: Tables, made_postgres: str) -> str:
    """The shared database, emptied."""
    tables.empty(made_postgres)
    return made_postgres
