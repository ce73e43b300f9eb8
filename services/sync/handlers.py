"""What sync does when it hears how operations go: watch their VMs, and close what has no server."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, event, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import insert
from chassis.outbox import say
from contracts.errors import MEANINGS
from contracts.message import Body, Message
from contracts.operation import events as operation
from contracts.vm.states import Fault, VmSnapshot, VmState
from services.sync import watches
from services.sync.drift import differences, ended
from services.sync.saying import Cause, Clock, changed, known
from services.sync.settings import SyncSettings
from services.sync.tables import VMS, WATCHES, Account, Vm, Watch

Wake = Callable[[str], None]


class Handlers:
    """Takes `vm.events`. `wake` is called with an account once what began there is committed."""

    def __init__(self, settings: SyncSettings, clock: Clock, wake: Wake) -> None:
        self.look_after = timedelta(seconds=settings.look_after_seconds)
        self.delete_look_after = timedelta(seconds=settings.delete_look_after_seconds)
        self.clock = clock
        self.wake = wake

    async def on_vm_event(self, session: AsyncSession, message: Message[Body]) -> None:
        """Sync's own `vm.*` are no news to it; operations say what to watch."""
        match message.data:
            case operation.Started() as data:
                await self._watch(session, message, data, {"state": watches.STARTED})
            case operation.Issued() as data:
                await self._watch(session, message, data, self._issued(data))
                await self._issued_for(session, message, data)
            case operation.Retrying():
                later = {"state": watches.RETRYING, "look_due_at": None}
                mine = Watch.operation_id == message.operation_id
                await session.execute(update(Watch).where(mine).values(later))
            case operation.Succeeded():
                await self._end(session, message)
            case operation.Failed() as data:
                await self._end(session, message)
                if data.command == watches.CREATE:
                    await self._create_failed(session, message, data)
            case operation.Cancelled() as data:
                await self._end(session, message)
                if data.command == watches.CREATE:
                    await self._close(session, message, VmState.DELETED)
            case _:
                pass

    def _issued(self, data: operation.Issued) -> dict[str, Any]:
        """Where no sweep can answer it is looked at now; else if no sweep shows it in time."""
        wait = self.delete_look_after if data.command == watches.DELETE else self.look_after
        now = self.clock()
        due = now + wait if watches.shows_in_sweep(data.command) else now
        return {"state": watches.ISSUED, "called_at": data.called_at, "look_due_at": due}

    async def _watch(
        self,
        session: AsyncSession,
        message: Message[Body],
        data: operation.Started | operation.Issued,
        values: dict[str, Any],
    ) -> None:
        await self._expect(session, message, data)
        row = {
            "operation_id": message.operation_id,
            "vm_id": UUID(message.subject),
            "account": message.account,
            "command": data.command,
            "ends_by": self.clock() + watches.patience(data.command),
            "actor": message.actor,
            "request_id": message.request_id,
            "traceparent": message.traceparent,
        }
        upsert = insert(session, WATCHES).values({**row, **values})
        again = upsert.on_conflict_do_update(index_elements=["operation_id"], set_=values)
        await session.execute(again)
        self._wake_after_commit(session, message.account)

    async def _expect(
        self,
        session: AsyncSession,
        message: Message[Body],
        data: operation.Started | operation.Issued | operation.Failed | operation.Cancelled,
    ) -> None:
        """Know the VM, of which nothing is said yet. One that is no create's may be anything."""
        state = VmState.REQUESTED if data.command == watches.CREATE else VmState.UNKNOWN
        row = {
            "vm_id": UUID(message.subject),
            "project_id": message.project_id,
            "account": message.account,
            "server_id": data.server_id,
            "state": state.value,
            "version": 0,
        }
        await session.execute(insert(session, VMS).values(row).on_conflict_do_nothing())

    async def _issued_for(
        self, session: AsyncSession, message: Message[Body], data: operation.Issued
    ) -> None:
        """Take the server's id from the order. Of a create's two servers the provisioner's stays."""
        row = await session.get_one(Vm, UUID(message.subject), with_for_update=True)
        if data.server_id is None or row.server_id == data.server_id:
            return
        if row.server_id is None:
            row.server_id = data.server_id
        elif data.command == watches.CREATE:
            row.server_id, row.look_due_at = data.server_id, self.clock()

    async def _end(self, session: AsyncSession, message: Message[Body]) -> None:
        mine = Watch.operation_id == message.operation_id
        await session.execute(delete(Watch).where(mine))

    async def _create_failed(
        self, session: AsyncSession, message: Message[Body], data: operation.Failed
    ) -> None:
        """With nothing left the VM is deleted; with no server it is in error; else sweeps tell."""
        await self._expect(session, message, data)
        row = await session.get_one(Vm, UUID(message.subject), with_for_update=True)
        if data.gone:
            await self._close(session, message, VmState.DELETED)
        elif data.server_id is None and row.server_id is None:
            fault = Fault(code=MEANINGS[data.error.code].status, message=data.error.detail)
            await self._close(session, message, VmState.ERROR, fault)

    async def _close(
        self,
        session: AsyncSession,
        message: Message[Body],
        state: VmState,
        fault: Fault | None = None,
    ) -> None:
        """Say what has become of a VM of which the cloud holds nothing."""
        row = await session.get(Vm, UUID(message.subject), with_for_update=True)
        if row is None or row.state == state:
            return
        before = known(row) or VmSnapshot(state=VmState(row.state), server_id=row.server_id)
        after = ended(before, row.server_id, state)
        after = after.model_copy(update={"fault": fault or after.fault})
        old, new = differences(before, after)
        row.state, row.snapshot = after.state.value, after.model_dump(mode="json")
        row.version, row.look_due_at = row.version + 1, None
        row.observed_at = await self._cloud_time(session, row, message)
        cause = Cause(message.actor, message.operation_id, message.request_id, message.traceparent)
        await say(session, *changed(row, old, new, cause, self.clock))

    async def _cloud_time(self, session: AsyncSession, row: Vm, message: Message[Body]) -> datetime:
        """The latest that is known of the cloud's clock: a later sight of the VM must count."""
        account = await session.get(Account, row.account)
        times = [row.observed_at, account.since if account else None]
        return max((time for time in times if time), default=message.time)

    def _wake_after_commit(self, session: AsyncSession, account: str) -> None:
        waking: set[str] = session.info.setdefault("waking", set())
        if account not in waking:
            waking.add(account)

            def wake(_session: object) -> None:
                self.wake(account)

            event.listen(session.sync_session, "after_commit", wake, once=True)
