"""What the database fixtures promise."""

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from deploy.local.postgres import LocalPostgres, dsn
from tests.infra.plan import Infrastructure


@pytest.mark.parametrize("_", [1, 2])
async def test_each_test_gets_an_empty_database_on_both_kinds(database_url: str, _: int) -> None:
    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE thing (id INTEGER PRIMARY KEY)"))
        await connection.execute(text("INSERT INTO thing VALUES (1)"))
    await engine.dispose()


def test_postgres_is_16_or_newer(postgres_url: str) -> None:
    with psycopg.connect(dsn(postgres_url)) as connection:
        assert connection.info.server_version >= 160000


def test_a_committed_row_survives_kill_and_restart_of_postgres(
    infrastructure: Infrastructure, postgres_url: str
) -> None:
    server = infrastructure.database()
    if not isinstance(server, LocalPostgres):
        pytest.skip("this PostgreSQL is not a process of ours")
    with psycopg.connect(dsn(postgres_url), autocommit=True) as connection:
        connection.execute("CREATE TABLE thing (id INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO thing VALUES (7)")
    for end in (server.kill, server.stop):
        end()
        assert server.pid is None
        server.start()
        with psycopg.connect(dsn(postgres_url)) as connection:
            assert connection.execute("SELECT id FROM thing").fetchall() == [(7,)]
