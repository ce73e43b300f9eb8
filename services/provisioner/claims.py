"""Who works on which operation: claims under a lease token, which every later write has to hold.

A VM's operations are worked on one after the other, in their order of arrival.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from chassis.database import changed
from chassis.ids import new_id
from chassis.telemetry import bound
from contracts.errors import ErrorCode
from contracts.operation import events
from contracts.operation.states import OperationError, OperationState
from contracts.vm.commands import Create, Import
from contracts.vm.states import VmState
from services.provisioner import endings, imports, lanes, ledger
from services.provisioner.measures import UNREADABLE
from services.provisioner.saying import tell
from services.provisioner.tables import Operation, Server

LOG = logging.getLogger(__name__)


class Job(Enum):
    """What there is to do for a claimed operation."""

    PERFORM = auto()
    UNDO = auto()
    INQUIRE = auto()
    CLEAN = auto()
    """Of a delete whose server is gone: remove what belonged to it, and other servers of the VM."""
    CLEAR = auto()
    """Of a create that has ended: remove what came too late."""


@dataclass(frozen=True)
class Claim:
    """An operation that is this worker's until its lease runs out. The row is a copy.

    `kept` is, for CLEAR, the server that stays; None: the VM is to have none.
    """

    operation: Operation
    job: Job
    token: UUID
    server_id: str | None
    asked_before: datetime | None
    """Since when an attempt before this one may have got through."""
    kept: str | None = None


_READ_AGAIN = timedelta(seconds=30)
_Taken = tuple[Operation, str | None, datetime | None]
"""An operation, its VM's server, and since when an attempt before may have got through."""


async def claim(
    session: AsyncSession, room_in: Callable[[str], int], now: datetime, until: datetime
) -> list[Claim]:
    """Take the oldest due operations that there is room for in their account; say that they start.

    What waits in one account neither delays nor hides what is due in another.
    """
    taken: list[_Taken] = []
    for account in await lanes.with_work(session, now):
        if (room := room_in(account)) > 0:
            for operation, server_id in await lanes.due(session, account, now, room):
                if operation.unreadable:
                    _pass_over(operation, now)
                elif not await _is_refused(session, operation, now):
                    taken.append((operation, server_id, _take(operation, now, until)))
    claims = await _claims(session, taken, now) if taken else []
    await endings.conclude(session, now)
    return claims


def _pass_over(operation: Operation, now: datetime) -> None:
    """Another version may read it, as while one replaces the other; its deadline ends it if none does."""
    operation.lease_token = None
    operation.due_at = now + _READ_AGAIN if operation.ended_at is None else None
    UNREADABLE.inc()
    with bound(**operation.ids):
        LOG.error("%s cannot be read: %s", operation.command, operation.unreadable)


async def _is_refused(session: AsyncSession, operation: Operation, now: datetime) -> bool:
    """End an import of a server that is another VM's, before anybody hears of it."""
    if operation.state != OperationState.QUEUED or operation.command != Import.wire_name():
        return False
    owner = await imports.owner_of(session, operation)
    if owner is None:
        return False
    error = OperationError(code=ErrorCode.CONFLICT, detail=f"The server is the VM {owner}.")
    endings.fail(session, operation, error, now)
    return True


def _take(operation: Operation, now: datetime, until: datetime) -> datetime | None:
    """Make it this worker's; since when an attempt before may have got through."""
    _prepare(operation)
    before = operation.asked_at
    if _job(operation) is Job.PERFORM:
        operation.state = OperationState.RUNNING
        operation.attempts += 1
        operation.asked_at = before or now
    operation.lease_token = new_id()
    operation.due_at = until
    return before


async def _claims(session: AsyncSession, taken: Sequence[_Taken], now: datetime) -> list[Claim]:
    ended = [o for o, _, _ in taken if _job(o) is Job.CLEAR]
    kept = await _kept(session, ended) if ended else {}
    claims = [
        Claim(o, _job(o), o.lease_token or new_id(), o.server_id or known, before, kept.get(o.id))
        for o, known, before in taken
    ]
    begun = [c.operation for c in claims if c.job is Job.PERFORM]
    creates = [operation for operation in begun if operation.command == Create.wire_name()]
    if creates:
        await ledger.intend(session, creates, now)
    for operation in begun:
        tell(session, operation, _started(operation), now)
    return claims


async def _kept(session: AsyncSession, ended: Sequence[Operation]) -> dict[UUID, str | None]:
    """The servers that ended creates made and that stay: not of what was undone or is deleted."""
    theirs = among(Server.vm_id, {operation.vm_id for operation in ended})
    deleted = select(Server.vm_id).where(theirs, Server.state == VmState.DELETED)
    gone = set((await session.execute(deleted)).scalars())
    made = [o for o in ended if not o.compensating and o.vm_id not in gone]
    return {operation.id: operation.server_id for operation in made}


def _started(operation: Operation) -> events.Started:
    return events.Started(
        command=operation.command, server_id=operation.server_id, attempt=operation.attempts
    )


def _prepare(operation: Operation) -> None:
    """A worker died in a create's call, and meanwhile the create was cancelled: undo it."""
    if operation.ended_at is None and operation.cancel_requested and operation.creates is not None:
        operation.compensating = True


def _job(operation: Operation) -> Job:
    if operation.ended_at is not None:
        return Job.CLEAR
    if operation.compensating:
        return Job.UNDO
    if operation.leaving:
        return Job.CLEAN
    return Job.INQUIRE if operation.state == OperationState.WAITING else Job.PERFORM


async def held(session: AsyncSession, claims: Collection[Claim]) -> dict[UUID, Operation]:
    """The rows by token, locked, of what is still held; of the rest another one is in charge."""
    tokens = [claim.token for claim in claims]
    mine = select(Operation).where(
        among(Operation.id, [claim.operation.id for claim in claims]),
        among(Operation.lease_token, tokens),
    )
    rows = await session.execute(mine.order_by(Operation.seq).with_for_update())
    return {row.lease_token: row for row in rows.scalars() if row.lease_token is not None}


async def renew(session: AsyncSession, claims: Collection[Claim], until: datetime) -> int:
    """Put off the end of the leases that are still held; how many are."""
    mine = select(Operation.seq).where(
        among(Operation.id, [claim.operation.id for claim in claims]),
        among(Operation.lease_token, [claim.token for claim in claims]),
    )
    mine = mine.order_by(Operation.seq).with_for_update(skip_locked=True)
    rows = (await session.execute(mine)).scalars().all()
    put_off = update(Operation).where(among(Operation.seq, rows)).values(due_at=until)
    return await changed(session, put_off.execution_options(synchronize_session=False))
