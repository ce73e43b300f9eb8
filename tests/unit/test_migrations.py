"""The migrations make exactly the tables that the code declares."""

from importlib import import_module
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, inspect

from chassis import tables as chassis_tables
from chassis.database import Database
from chassis.migrations import migrate

SERVICES = ["gateway", "provisioner", "sync", "audit"]


def declared(service: str, dialect: str) -> MetaData:
    """The service's tables with those of the chassis, as they are on one kind of database."""
    import_module(f"services.{service}.app")  # with every module that declares tables
    tables = import_module(f"services.{service}.tables")
    own: MetaData = tables.Base.metadata if hasattr(tables, "Base") else tables.METADATA
    everything = MetaData()
    for table in [*chassis_tables.METADATA.tables.values(), *own.tables.values()]:
        made = table.to_metadata(everything)
        elsewhere = [c for c in made.constraints if c.info.get("only", dialect) != dialect]
        made.constraints.difference_update(elsewhere)
    return everything


def is_declared(name: str | None, kind: str, _parents: object) -> bool:
    """All but the parts of a table, which come and go with time."""
    return kind != "table" or not (name or "").startswith("ledger_")


@pytest.mark.parametrize("service", SERVICES)
async def test_migrations_make_what_the_tables_declare(service: str, database_url: str) -> None:
    database = Database(database_url, service)

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"include_name": is_declared})
        metadata = declared(service, connection.dialect.name)
        found: list[Any] = list(compare_metadata(context, metadata))
        return found

    try:
        await migrate(database)
        async with database.engine.connect() as connection:
            assert await connection.run_sync(differences) == []
    finally:
        await database.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_migrating_again_changes_nothing(service: str, database_url: str) -> None:
    database = Database(database_url, service)
    try:
        await migrate(database)
        await migrate(database)
        async with database.engine.connect() as connection:
            names = await connection.run_sync(lambda c: inspect(c).get_table_names())
        assert {"outbox", "inbox", "leases"} <= set(names)
    finally:
        await database.close()
