"""The ledger is append-only in the database itself, whoever asks."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from chassis.database import Database
from chassis.migrations import config, migrate
from chassis.testing import VirtualClock
from deploy.local.postgres import dsn
from deploy.roles import ensure, owner_of, role_of
from services.audit.app import Audit
from services.audit.checkpoints import sign_heads
from services.audit.copying import _typed  # pyright: ignore[reportPrivateUsage] - the same
from services.audit.ledger import Head, _row, written  # pyright: ignore[reportPrivateUsage] - to write one by hand
from services.audit.tables import LEDGER
from tests.unit.audit.world import at, deliver, heard, ledger, made, message, verify

FORBIDDEN = [
    "UPDATE ledger SET actor = 'nobody'",
    "DELETE FROM ledger",
    "UPDATE checkpoints SET hash = ''",
    "DELETE FROM checkpoints",
]
FORBIDDEN_ON_POSTGRES = [
    *FORBIDDEN,
    "TRUNCATE ledger",
    "TRUNCATE checkpoints",
    "UPDATE ledger_first SET actor = 'nobody'",
    "DELETE FROM ledger_first",
    "TRUNCATE ledger_first",
    "TRUNCATE ledger_default",
    "SET session_replication_role = replica",
]
FORBIDDEN_TO_THE_SERVICE = [
    *FORBIDDEN_ON_POSTGRES,
    "DROP TABLE ledger",
    "DROP TABLE ledger_first",
    "ALTER TABLE ledger DETACH PARTITION ledger_first",
    "ALTER TABLE ledger DISABLE TRIGGER ALL",
    "DROP TRIGGER ledger_keeps_rows ON ledger",
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
    "ALTER TABLE ledger OWNER TO hostler_audit",
    "SET ROLE hostler_audit_owner",
    "INSERT INTO ledger_first SELECT * FROM ledger",
    "CREATE TABLE mine (id int)",
    "UPDATE alembic_version SET version_num = '0001'",
    "SELECT * FROM gateway.api_keys",
]


def as_role(url: str, role: str) -> str:
    return make_url(url).set(username=role, password="p").render_as_string(hide_password=False)


@pytest.fixture
async def roles(postgres_url: str, clock: VirtualClock) -> AsyncIterator[tuple[Audit, Database]]:
    """An audit that has but its rights, with a row and a checkpoint, and its owner's database."""
    ensure(dsn(postgres_url), lambda _: "p")
    owner_url = as_role(postgres_url, owner_of("audit"))
    audit = made(as_role(postgres_url, role_of("audit")), clock)
    owner = Database(owner_url, "audit")
    await migrate(audit.service.database, owner_url)
    await deliver(audit, at(message()))
    async with audit.service.database.session() as session:
        await sign_heads(session, audit.signer, clock(), 1, timedelta(minutes=1))
    yield audit, owner
    await audit.service.database.close()
    await owner.close()


async def refused(database: Database, statement: str) -> bool:
    try:
        async with database.session() as session:
            await session.execute(text(statement))
    except DBAPIError:
        return True
    return False


async def test_the_services_role_can_append_and_read_and_nothing_else(
    roles: tuple[Audit, Database],
) -> None:
    audit, _ = roles
    before = await ledger(audit)
    allowed = [s for s in FORBIDDEN_TO_THE_SERVICE if not await refused(audit.service.database, s)]
    assert allowed == []
    assert await ledger(audit) == before
    await deliver(audit, at(message()))
    assert (await verify(audit)).rows == 2


async def test_the_owner_cannot_change_rows_either(roles: tuple[Audit, Database]) -> None:
    audit, owner = roles
    before = await ledger(audit)
    assert [s for s in FORBIDDEN_ON_POSTGRES if not await refused(owner, s)] == []
    assert await ledger(audit) == before


async def test_a_role_that_has_its_rights_starts_without_its_owner(
    roles: tuple[Audit, Database],
) -> None:
    audit, _ = roles
    await migrate(audit.service.database)


async def test_nobody_changes_rows_by_mistake(audit: Audit) -> None:
    await deliver(audit, at(message()))
    before = await ledger(audit)
    async with audit.service.database.session() as session:
        await session.execute(
            text("INSERT INTO checkpoints VALUES ('c', 1, 'head', '', '2026-01-01 00:00:00', '')")
        )
    assert [s for s in FORBIDDEN if not await refused(audit.service.database, s)] == []
    assert await ledger(audit) == before


async def test_a_ledger_of_the_first_schema_becomes_append_only_with_its_rows(
    request: pytest.FixtureRequest, clock: VirtualClock
) -> None:
    for kind in ("sqlite", "postgres"):
        audit = made(request.getfixturevalue(f"{kind}_url"), clock)
        database = audit.service.database
        await upgrade(database, "0001")
        await deliver_to_the_first_schema(database)
        await migrate(database)
        assert (await verify(audit)).rows == 1
        await deliver(audit, at(message()), at(message(), 1))
        assert (await verify(audit)).rows == 3
        assert await refused(database, "DELETE FROM ledger")
        assert len({row["id"] for row in await ledger(audit)}) == 3
        await database.close()


async def upgrade(database: Database, revision: str) -> None:
    """Bring a database to an earlier schema."""
    async with database.engine.connect() as connection:
        if database.is_postgres:
            await connection.execute(text("CREATE SCHEMA audit"))
        else:
            await connection.execute(text("SELECT 1"))
        await connection.run_sync(lambda c: command.upgrade(config("audit", c), revision))
        await connection.commit()


_LATER = {"address", "client", "credential", "permission"}
"""Columns that there were not yet."""


async def deliver_to_the_first_schema(database: Database) -> None:
    """A row as the first version of audit wrote it."""
    told, record = heard(message())
    row = _row(told, f"{record.topic}/0", Head(), written(told.time))
    async with database.session() as session:
        await session.execute(
            LEDGER.insert(), [{k: v for k, v in _typed(row).items() if k not in _LATER}]
        )
        head = {"chain": row["chain"], "position": 1, "hash": row["hash"]}
        insert = "INSERT INTO heads (chain, position, hash) VALUES (:chain, :position, :hash)"
        await session.execute(text(insert), head)
