"""How a service's schema comes to be: Alembic, on start, under a lock, in one transaction."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from alembic.operations import Operations
from sqlalchemy import Connection

from chassis.database import Database, Instant, Json

SERVICES = Path(__file__).parent.parent / "services"


async def migrate(database: Database) -> None:
    """Bring the service's schema to its newest version; who comes second waits for the first."""
    async with database.engine.connect() as connection:
        await connection.run_sync(_upgrade, database.service)
        await connection.commit()


def _upgrade(connection: Connection, service: str) -> None:
    if connection.dialect.name == "postgresql":
        lock = sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"hostler.migrate.{service}"))
        connection.execute(sa.select(lock))
        connection.execute(sa.schema.CreateSchema(service, if_not_exists=True))
    else:
        connection.execute(sa.text("SELECT 1"))  # BEGIN IMMEDIATE: the file is ours
    command.upgrade(config(service, connection), "head")


def config(service: str, connection: Connection) -> Config:
    """Alembic's configuration for one service over an open connection."""
    made = Config(attributes={"connection": connection})
    made.set_main_option("script_location", str(SERVICES / service / "migrations"))
    return made


def run() -> None:
    """What each service's `migrations/env.py` calls."""
    context.configure(connection=context.config.attributes["connection"])
    with context.begin_transaction():
        context.run_migrations()


def create_chassis_v1(op: Operations) -> None:
    """The tables that every service has: outbox, inbox, leases (first version)."""
    op.create_table(
        "outbox",
        sa.Column("id", big_id(), primary_key=True, autoincrement=True),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("headers", Json, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("said_at", Instant, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "inbox",
        sa.Column("message_id", sa.Uuid, primary_key=True),
        sa.Column("taken_at", Instant, nullable=False, index=True),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("token", sa.Uuid, nullable=False),
        sa.Column("until", Instant, nullable=False),
    )


def big_id() -> sa.types.TypeEngine[int]:
    """A 64-bit key that counts up by itself on both databases."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
