"""The provisioner on a bench: a virtual clock, a cloud in memory, and sync's part played by hand."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import select

from chassis.ids import new_id
from chassis.testing import VirtualClock, hear, said
from contracts.message import Body, Command, Message
from contracts.operation.commands import Abandon, Cancel, Retry
from contracts.vm.commands import Create
from contracts.vm.events import Changed, Observed
from contracts.vm.states import VmSnapshot, VmState
from drivers.base import Mark
from services.provisioner.app import Provisioner, build
from services.provisioner.claims import Claim, Job
from services.provisioner.settings import ProvisionerSettings
from services.provisioner.tables import Operation
from tests.fakes.driver import FakeCloud, FakeDriver, ReadOnlyDriver

PROJECT = "p1"
CREATE = Create(name="web-1", flavor="m1", image="debian", user_data="c2VjcmV0")


class Bench:
    """Every message is delivered `times` times."""

    def __init__(self, url: str, *, times: int = 2, **settings: Any) -> None:
        self.url = url
        self.times = times
        self.settings = settings
        self.clock = VirtualClock()
        self.cloud = FakeCloud(self.clock)
        self.others: dict[str, FakeCloud] = {}
        """Accounts that are on clouds of their own."""
        self.driver: type[ReadOnlyDriver] = FakeDriver
        self.services: list[Provisioner] = []
        self.service = self.another()
        self.vm_id = new_id()
        self.version = 0
        self.log: list[Message[Body]] = []

    def another(self) -> Provisioner:
        """Another process on the same tables; also what comes after a kill."""
        settings = ProvisionerSettings(database_url=self.url, **self.settings)
        made = build(
            settings,
            clock=self.clock,
            drivers=lambda account: self.driver(self.others.get(account, self.cloud), account),
            random=lambda: 1.0,
        )
        self.services.append(made)
        return made

    async def close(self) -> None:
        for service in self.services:
            await service.database.close()

    async def kill(self) -> None:
        """The process is gone with all that it knew; another one takes its place."""
        self.services.remove(self.service)
        await self.service.database.close()
        self.service = self.another()

    async def ask(
        self, command: Command, *, vm_id: UUID | None = None, account: str = "demo"
    ) -> UUID:
        """Say a command as the gateway does; the operation's id."""
        return (await self.tell(command, vm_id or self.vm_id, account=account)).id

    async def cancel(self, operation_id: UUID) -> None:
        await self.tell(Cancel(target=operation_id), self.vm_id)

    async def retry(self, operation_id: UUID) -> None:
        await self.tell(Retry(target=operation_id), self.vm_id)

    async def abandon(self, operation_id: UUID, reason: str = "") -> None:
        await self.tell(Abandon(target=operation_id, reason=reason), self.vm_id)

    async def tell(
        self, data: Body, vm_id: UUID, operation_id: UUID | None = None, account: str = "demo"
    ) -> Message[Body]:
        """Have the provisioner hear a message."""
        message = Message[Body](
            id=new_id(),
            source="test",
            time=self.clock(),
            subject=str(vm_id),
            project_id=PROJECT,
            account=account,
            actor="key:ann",
            operation_id=operation_id,
            request_id="req-1",
            data=data,
        )
        await self.deliver(message)
        return message

    async def deliver(self, message: Message[Body]) -> None:
        for _ in range(self.times):
            await hear(self.service, message)

    @asynccontextmanager
    async def working(self) -> AsyncGenerator[asyncio.Task[None]]:
        """The worker at work, as in a process; cancelled when left, also by a test that fails.

        One that outlived its test would take the operations of the next from the database that
        they share.
        """
        running = asyncio.create_task(self.service.worker.run())
        try:
            yield running
        finally:
            if not running.cancelling():  # a second cancel would end the drain that the first began
                running.cancel()
            await asyncio.wait([running])

    async def work(self) -> int:
        """Work until nothing is due."""
        done = 0
        while some := await self.service.worker.step():
            done += some
        return done

    async def later(self, seconds: float) -> int:
        """Turn the clock and work."""
        self.clock.advance(seconds=seconds)
        return await self.work()

    async def see(self, vm: VmSnapshot | None = None, operation_id: UUID | None = None) -> None:
        """Say what sync would see of the VM a second later."""
        self.clock.advance(seconds=1)
        self.version += 1
        vm = vm or self.snapshot()
        seen = Observed(version=self.version, observed_at=self.cloud.now, vm=vm)
        await self.tell(seen, self.vm_id, operation_id)

    async def see_change(self, vm: VmSnapshot) -> None:
        self.clock.advance(seconds=1)
        self.version += 1
        changed = Changed(
            origin="external",
            old={},
            new={"state": vm.state},
            version=self.version,
            observed_at=self.cloud.now,
            vm=vm,
        )
        await self.tell(changed, self.vm_id)

    def snapshot(self) -> VmSnapshot:
        """The VM as the cloud holds it."""
        for server in reversed(self.cloud.shown()):
            if server.mark and server.mark.vm_id == self.vm_id:
                return server.snapshot
        return VmSnapshot(state=VmState.DELETED)

    async def have_server(self, state: VmState = VmState.ACTIVE) -> str:
        """A VM that was created long ago and that sync has spoken of."""
        server_id = self.cloud.add("web-1", state, Mark(self.vm_id, PROJECT))
        await self.see()
        await self.heard()
        self.clock.advance(seconds=10)
        return server_id

    async def create(self) -> tuple[UUID, str]:
        """A create that waits for its server; its id and the server's."""
        operation_id = await self.ask(CREATE)
        await self.work()
        return operation_id, self.cloud.alive()[0].snapshot.server_id or ""

    async def doubt(self, command: Command) -> tuple[UUID, Claim]:
        """A command that the cloud took and seems to have dropped; it, and the claim to ask."""
        server_id = await self.have_server()
        operation_id = await self.ask(command)
        await self.work()
        self.cloud.change(server_id, task=None)
        await self.see()
        await self.see()
        (asked,) = await self.service.worker.claim()
        assert asked.job is Job.INQUIRE
        return operation_id, asked

    async def heard(self) -> list[str]:
        """The types of what was said since the last time."""
        messages = await said(self.service.database)
        self.log += messages
        return [message.type for message in messages]

    def last(self, data: type[Body]) -> Any:
        """The last body of a type that `heard` has taken."""
        return next(m.data for m in reversed(self.log) if isinstance(m.data, data))

    async def rows(self) -> list[Operation]:
        """All operations in their order of arrival."""
        async with self.service.database.reading() as session:
            found = await session.execute(select(Operation).order_by(Operation.seq))
            return list(found.scalars())

    async def row(self, operation_id: UUID) -> Operation:
        async with self.service.database.reading() as session:
            found = await session.execute(select(Operation).where(Operation.id == operation_id))
            return found.scalar_one()

    async def state(self, operation_id: UUID) -> str:
        return (await self.row(operation_id)).state
