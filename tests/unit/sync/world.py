"""Sync on a database and a cloud in memory, and the messages by which it hears of operations."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeVar, cast
from uuid import UUID

from sqlalchemy import event as sa_event

from chassis.ids import new_id
from chassis.testing import VirtualClock, hear, said
from contracts.errors import ErrorCode
from contracts.message import Body, Message
from contracts.operation import events as operation
from contracts.operation.states import OperationError
from contracts.vm import events
from contracts.vm.states import VmState
from drivers.base import Driver, Mark
from services.sync.app import SyncService, build
from services.sync.drift import digest
from services.sync.settings import SyncSettings
from services.sync.sweep import Sweeper
from services.sync.tables import VMS, Account, Vm
from tests.fakes.driver import FakeCloud, FakeDriver

ACCOUNT = "demo-cloud"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class SyncWorld:
    """One sync, one account, one cloud; time stands still unless told.

    Changes are said at once, unless it is given time to hear what explains them.
    """

    def __init__(
        self, url: str, driver: Driver | None = None, explain_seconds: float = 0.0
    ) -> None:
        self.explain_seconds = explain_seconds
        self.clock = VirtualClock()
        self.cloud = FakeCloud(self.clock)
        self.url = url
        self.driver = driver or FakeDriver(self.cloud, ACCOUNT)
        self.service = self.replica()

    def replica(self) -> SyncService:
        """Another process of the same service."""
        settings = SyncSettings(
            database_url=self.url, projects={"p1": ACCOUNT}, explain_seconds=self.explain_seconds
        )
        return build(settings, clock=self.clock, drivers=lambda _account: self.driver)

    @property
    def sweeper(self) -> Sweeper:
        return self.service.sweepers[ACCOUNT]

    async def sweep(self, after: float = 15) -> list[Message[Body]]:
        """Let time pass, sweep, and give what was said."""
        self.clock.advance(seconds=after)
        assert await self.sweeper.sweep_once()
        return await said(self.service.database)

    async def fail_to_sweep(self) -> list[Message[Body]]:
        self.clock.advance(seconds=15)
        assert not await self.sweeper.sweep_once()
        return await said(self.service.database)

    def server(self, vm_id: UUID, name: str = "web-1", state: VmState = VmState.ACTIVE) -> str:
        """A server with Hostler's mark; its id."""
        return self.cloud.add(name, state, Mark(vm_id, "p1"))

    async def row(self, vm_id: UUID) -> Vm | None:
        async with self.service.database.reading() as session:
            return await session.get(Vm, vm_id)

    async def remember(self, vm_ids: list[UUID]) -> None:
        """Have sync know servers as they are, without a sweep."""
        shown = {s.mark.vm_id: s.snapshot for s in self.cloud.shown() if s.mark}
        rows = [
            {
                "vm_id": vm_id,
                "project_id": "p1",
                "account": ACCOUNT,
                "server_id": shown[vm_id].server_id,
                "state": shown[vm_id].state.value,
                "snapshot": shown[vm_id].model_dump(mode="json"),
                "digest": digest(shown[vm_id]),
                "idle": True,
                "version": 1,
                "observed_at": self.cloud.now,
            }
            for vm_id in vm_ids
        ]
        async with self.service.database.session() as session:
            await session.execute(VMS.insert(), rows)

    async def account(self) -> Account:
        async with self.service.database.reading() as session:
            return await session.get_one(Account, ACCOUNT)

    async def known(self, name: str = "web-1") -> tuple[UUID, str]:
        """A VM that sync knows and has spoken of; its id and its server's."""
        vm_id = new_id()
        server_id = self.server(vm_id, name)
        await self.sweep()
        return vm_id, server_id

    async def hear(self, vm_id: UUID, operation_id: UUID, data: Body) -> list[Message[Body]]:
        """Take a message about an operation; what it makes sync say."""
        message = Message[Body](
            id=new_id(),
            source="hostler/provisioner",
            time=self.clock(),
            subject=str(vm_id),
            project_id="p1",
            account=ACCOUNT,
            actor="key:alice",
            operation_id=operation_id,
            request_id="req-1",
            traceparent=TRACE,
            data=data,
        )
        await hear(self.service, message)
        return await said(self.service.database)

    async def started(self, vm_id: UUID, command: str) -> UUID:
        operation_id = new_id()
        await self.hear(vm_id, operation_id, operation.Started(command=command, attempt=1))
        return operation_id

    async def issued(
        self,
        vm_id: UUID,
        command: str,
        server_id: str | None = None,
        operation_id: UUID | None = None,
        called_at: datetime | None = None,
    ) -> UUID:
        """Hear that an operation was begun and that the cloud has taken it now."""
        operation_id = operation_id or await self.started(vm_id, command)
        data = operation.Issued(
            command=command, server_id=server_id, called_at=called_at or self.cloud.now
        )
        await self.hear(vm_id, operation_id, data)
        return operation_id


WorldT = TypeVar("WorldT", bound=SyncWorld)


def failed(command: str, *, gone: bool, server_id: str | None = None) -> operation.Failed:
    error = OperationError(code=ErrorCode.CLOUD_FAULT, detail="No valid host was found.")
    return operation.Failed(command=command, server_id=server_id, error=error, gone=gone)


def changes(messages: list[Message[Body]]) -> list[events.Changed]:
    return [m.data for m in messages if isinstance(m.data, events.Changed)]


def names(messages: list[Message[Body]]) -> list[str]:
    return [message.type for message in messages]


@asynccontextmanager
async def opened(world: WorldT) -> AsyncGenerator[WorldT]:
    try:
        yield world
    finally:
        await world.service.database.close()


@asynccontextmanager
async def writes(world: SyncWorld) -> AsyncGenerator[list[str]]:
    """The INSERTs, UPDATEs and DELETEs on VMs and the outbox, one entry per row or more."""
    seen: list[str] = []

    def note(*args: object) -> None:
        statement, parameters = str(args[2]), args[3]
        if statement.startswith(("INSERT INTO vms", "UPDATE vms", "INSERT INTO outbox")):
            many = len(cast("list[object]", parameters)) if isinstance(parameters, list) else 1
            seen.extend([statement.split(" (", 1)[0]] * many)

    engine = world.service.database.engine.sync_engine
    sa_event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa_event.remove(engine, "before_cursor_execute", note)
