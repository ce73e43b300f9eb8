"""What the provisioner does with a message: it writes a row, or settles one, and no more."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from chassis.database import changed, insert
from chassis.leases import Clock
from chassis.telemetry import current_traceparent
from contracts.message import Body, Command, Message
from contracts.operation.commands import Cancel
from contracts.operation.states import OperationState
from contracts.vm.events import Changed, Observed
from contracts.vm.states import GONE, VmSnapshot
from services.provisioner import endings
from services.provisioner.outcome import Outcome
from services.provisioner.settling import Done, Doubt, Failed, NotYet, Observation, settled
from services.provisioner.tables import Operation, Server

_MOST_DOUBLINGS = 6


class Handlers:
    """The handlers of `vm.commands` and `vm.events`. `wake` tells the worker of new work."""

    def __init__(self, outcome: Outcome, wake: asyncio.Event, clock: Clock) -> None:
        self.outcome = outcome
        self.wake = wake
        self.clock = clock

    async def on_vm_command(self, session: AsyncSession, message: Message[Body]) -> None:
        """Queue a command, once; cancel an operation."""
        match message.data:
            case Cancel(target=target):
                await self._cancel(session, message, target)
            case Command() as command:
                await self._queue(session, message, command)
            case _:
                return
        self._wake_after_commit(session)

    async def on_vm_event(self, session: AsyncSession, message: Message[Body]) -> None:
        """Keep what sync saw of a VM, and settle the operation that waits for it."""
        if isinstance(message.data, Changed | Observed):
            await _keep(session, message, message.data)
            operation = await _open(session, UUID(message.subject))
            if operation is not None:
                await self._judge(session, operation, message, message.data)

    async def _queue(self, session: AsyncSession, message: Message[Body], command: Command) -> None:
        ahead = await _open(session, UUID(message.subject))
        row = insert(session, Operation.metadata.tables["operations"]).values(
            due_at=self.clock() if ahead is None else None, **_queued(message, command)
        )
        await session.execute(row.on_conflict_do_nothing(index_elements=["id"]))

    async def _cancel(self, session: AsyncSession, message: Message[Body], target: UUID) -> None:
        wanted = select(Operation).where(
            Operation.id == target,
            Operation.vm_id == UUID(message.subject),
            Operation.project_id == message.project_id,
        )
        operation = (await session.execute(wanted.with_for_update())).scalar_one_or_none()
        if operation is not None:
            await self.outcome.cancel(session, operation, self.clock())

    async def _judge(
        self,
        session: AsyncSession,
        operation: Operation,
        message: Message[Body],
        seen: Changed | Observed,
    ) -> None:
        if operation.compensating:
            self._undo_sooner(session, operation, seen)
        elif _is_others(operation, seen.vm):
            return
        elif operation.state == OperationState.WAITING and operation.called_at is not None:
            on_behalf = isinstance(seen, Observed) and message.operation_id == operation.id
            observation = Observation(seen.vm, seen.observed_at, on_behalf)
            await self._settle(session, operation, operation.called_at, observation)

    async def _settle(
        self,
        session: AsyncSession,
        operation: Operation,
        called_at: datetime,
        seen: Observation,
    ) -> None:
        operation.server_id = operation.server_id or seen.vm.server_id
        now = self.clock()
        match settled(operation.asks, called_at, seen):
            case Done():
                await endings.succeed(session, operation, now)
            case Failed() as failed:
                await self.outcome.failed(session, operation, failed, now)
            case Doubt() if operation.due_at is None:
                operation.due_at = now + _patience(operation.doubts)
            case Doubt() | NotYet():
                return
        self._wake_after_commit(session)

    def _undo_sooner(
        self, session: AsyncSession, operation: Operation, seen: Changed | Observed
    ) -> None:
        if seen.vm.state in GONE and operation.lease_token is None:
            operation.due_at = self.clock()
            self._wake_after_commit(session)

    def _wake_after_commit(self, session: AsyncSession) -> None:
        """Once per transaction, however many messages it takes."""
        if not session.info.setdefault("wakes", False):
            session.info["wakes"] = True
            event.listen(session.sync_session, "after_commit", self._wake, once=True)

    def _wake(self, _session: Session) -> None:
        self.wake.set()


def _queued(message: Message[Body], command: Command) -> dict[str, object]:
    return {
        "id": message.id,
        "vm_id": UUID(message.subject),
        "project_id": message.project_id,
        "account": message.account,
        "actor": message.actor,
        "request_id": message.request_id,
        "traceparent": current_traceparent() or message.traceparent,
        "command": command.wire_name(),
        "data": command.model_dump(mode="json", exclude={"type"}),
        "state": OperationState.QUEUED,
        "attempts": 0,
        "bugs": 0,
        "deadline_at": message.time + command.deadline,
        "doubts": 0,
        "cancel_requested": False,
        "compensating": False,
        "created_at": message.time,
    }


async def _keep(session: AsyncSession, message: Message[Body], seen: Changed | Observed) -> None:
    """The newest version of what is known of a VM wins, in whichever order they come."""
    values = {
        "project_id": message.project_id,
        "account": message.account,
        "server_id": seen.vm.server_id,
        "state": seen.vm.state,
        "version": seen.version,
        "observed_at": seen.observed_at,
    }
    table = Server.metadata.tables["servers"]
    row = insert(session, table).values(vm_id=UUID(message.subject), **values)
    newer = table.c.version < seen.version
    await changed(
        session,
        row.on_conflict_do_update(index_elements=["vm_id"], set_=values, where=newer),
    )


async def _open(session: AsyncSession, vm_id: UUID) -> Operation | None:
    """The VM's oldest operation that has not ended: the only one that can be under way."""
    oldest = (
        select(Operation)
        .where(Operation.vm_id == vm_id, Operation.ended_at.is_(None))
        .order_by(Operation.seq)
        .limit(1)
    )
    return (await session.execute(oldest.with_for_update())).scalar_one_or_none()


def _is_others(operation: Operation, vm: VmSnapshot) -> bool:
    """Whether what was seen is another server than the operation's: a surplus one of its VM."""
    return None not in {operation.server_id, vm.server_id} and operation.server_id != vm.server_id


def _patience(doubts: int) -> timedelta:
    """How long to wait before the cloud is asked for its record again."""
    return timedelta(seconds=2 ** min(doubts, _MOST_DOUBLINGS) - 1)
