"""A service with nothing but the chassis' own tables, for tests of the chassis."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

from chassis.database import Database
from chassis.ids import new_id
from chassis.service import Service
from chassis.tables import METADATA
from contracts.message import Body, Message
from contracts.vm import commands, events
from contracts.vm.states import VmSnapshot, VmState

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Toy(Service):
    """Makes its tables without migrations."""

    async def _until_migrated(self) -> None:
        await create_tables(self.database)


async def create_tables(database: Database) -> None:
    """The chassis' tables, in the service's schema."""
    async with database.engine.begin() as connection:
        if database.is_postgres:
            await connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {database.service}")
        await connection.run_sync(METADATA.create_all)


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Database]:
    """A database with the chassis' tables, closed at the end."""
    database = Database(url, "toy")
    try:
        await create_tables(database)
        yield database
    finally:
        await database.close()


def command(vm_id: UUID | None = None, body: Body | None = None) -> Message[Body]:
    """A message as the gateway would say it."""
    identity = new_id()
    return Message(
        id=identity,
        source="hostler/gateway",
        time=NOW,
        subject=str(vm_id or new_id()),
        project_id="demo",
        account="simulator",
        actor="key:test",
        operation_id=identity,
        request_id=f"req-{identity}",
        data=body or commands.Reboot(hard=True),
    )


def changed(vm_id: UUID, version: int, state: VmState = VmState.ACTIVE) -> Message[Body]:
    """A message as sync would say it."""
    body = events.Changed(
        origin="external",
        old={},
        new={"state": state},
        version=version,
        observed_at=NOW,
        vm=VmSnapshot(server_id="s", name="n", state=state),
    )
    return command(vm_id, body).model_copy(update={"operation_id": None})
