"""How a service's schema comes to be: Alembic, on start, under a lock, in one transaction.

Where the settings name an owner (Postgres), it owns the schema and migrates it; the service's own
role is granted what it needs of the tables and no more: see docs/decisions/0016.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from alembic.operations import Operations
from sqlalchemy import Connection

from chassis.database import Database, Instant, Json

SERVICES = Path(__file__).parent.parent / "services"
CHANGES = ("SELECT", "INSERT", "UPDATE", "DELETE")
APPENDS = ("SELECT", "INSERT")


async def migrate(database: Database, owner_url: str | None = None) -> None:
    """Bring the service's schema to its newest version; who comes second waits for the first.

    `owner_url`: whose it is. Without one it is the role's that the database is used with.
    """
    if owner_url is None:
        return await _migrate(database, None)
    owner = Database(owner_url, database.service, pool=1)
    try:
        return await _migrate(owner, database.engine.url.username)
    finally:
        await owner.close()


async def _migrate(owner: Database, role: str | None) -> None:
    async with owner.engine.connect() as connection:
        await connection.run_sync(_upgrade, owner.service, role)
        await connection.commit()


def _upgrade(connection: Connection, service: str, role: str | None) -> None:
    if connection.dialect.name == "postgresql":
        lock = sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"hostler.migrate.{service}"))
        connection.execute(sa.select(lock))
        # What a migration changes is of all projects, where rows are kept apart.
        connection.execute(sa.select(sa.func.set_config("hostler.bypass", "on", True)))
        # Not IF NOT EXISTS, which asks for the right to create before it looks.
        if not sa.inspect(connection).has_schema(service):
            connection.execute(sa.schema.CreateSchema(service))
    else:
        connection.execute(sa.text("SELECT 1"))  # BEGIN IMMEDIATE: the file is ours
    command.upgrade(config(service, connection, role), "head")


def config(service: str, connection: Connection, role: str | None = None) -> Config:
    """Alembic's configuration for one service over an open connection; `role` gets its grants."""
    attributes = {"connection": connection, "service": service, "role": role}
    made = Config(attributes=attributes)
    made.set_main_option("script_location", str(SERVICES / service / "migrations"))
    return made


def run(
    *,
    append_only: Iterable[str] = (),
    after: Callable[[Connection, str], object] | None = None,
) -> None:
    """What each service's `migrations/env.py` calls.

    Of the tables that are `append_only` the service may change and remove no row, if it is not
    their owner. `after` is called last, with the schema's name.
    """
    attributes = context.config.attributes
    connection: Connection = attributes["connection"]
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
        if after is not None:
            after(connection, attributes["service"])
        if role := attributes["role"]:
            _grant(connection, attributes["service"], role, frozenset(append_only))


def _grant(connection: Connection, schema: str, role: str, append_only: frozenset[str]) -> None:
    """Leave `role` with exactly what a service does with its tables.

    Partitions are not granted: they are reached by way of their table.
    """
    quote = connection.dialect.identifier_preparer.quote_identifier
    here, to = quote(schema), quote(role)
    statements = [f"GRANT USAGE ON SCHEMA {here} TO {to}"]
    statements += [f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {here} TO {to}"]
    statements += [f"REVOKE ALL ON ALL TABLES IN SCHEMA {here} FROM {to}"]
    for table in _tables(connection, schema):
        rights = APPENDS if table in append_only else CHANGES
        rights = APPENDS[:1] if table == "alembic_version" else rights
        statements.append(f"GRANT {', '.join(rights)} ON {here}.{quote(table)} TO {to}")
    for statement in statements:
        connection.execute(sa.text(statement))


def _tables(connection: Connection, schema: str) -> list[str]:
    query = sa.text(
        "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(:schema)"
        " AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname"
    )
    return list(connection.execute(query, {"schema": schema}).scalars())


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


def create_chassis_v2(op: Operations) -> None:
    """What every service has since: what it was last told from its environment."""
    op.create_table(
        "settings_seen",
        sa.Column("service", sa.Text, primary_key=True),
        sa.Column("digests", Json, nullable=False),
        sa.Column("seen_at", Instant, nullable=False),
    )


def big_id() -> sa.types.TypeEngine[int]:
    """A 64-bit key that counts up by itself on both databases."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
