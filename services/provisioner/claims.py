"""Who works on which operation: claims under a lease token, which every later write has to hold.

A VM's operations are worked on one after the other, in their order of arrival.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import changed
from chassis.ids import new_id
from chassis.outbox import say
from contracts.message import Message
from contracts.operation import events
from contracts.operation.states import OperationState
from services.provisioner.line import is_behind
from services.provisioner.saying import about
from services.provisioner.tables import Operation, Server


class Job(Enum):
    """What there is to do for a claimed operation."""

    PERFORM = auto()
    UNDO = auto()
    INQUIRE = auto()
    CLEAR = auto()
    """Of a create that has ended: remove what came too late."""


@dataclass(frozen=True)
class Claim:
    """An operation that is this worker's until its lease runs out. The row is a copy."""

    operation: Operation
    job: Job
    token: UUID
    server_id: str | None
    asked_before: datetime | None
    """Since when an attempt before this one may have got through."""


@dataclass(frozen=True)
class Room:
    """How many more operations may be worked on, in all and per account."""

    total: int
    per_account: int
    running: Mapping[str, int]

    def of(self, account: str) -> int:
        """How many more of one account."""
        return self.per_account - self.running.get(account, 0)


async def claim(session: AsyncSession, room: Room, now: datetime, until: datetime) -> list[Claim]:
    """Take the oldest due operations that there is room for, and say that they start."""
    claimed: list[tuple[Operation, datetime | None]] = []
    left = room
    while left.total > 0:
        full = [account for account in left.running if left.of(account) <= 0]
        rows = await _due(session, left.total, full, now)
        taken, left = _fitting(rows, left)
        claimed += [(operation, _take(operation, now, until)) for operation in taken]
        if len(taken) == len(rows):
            break
    return await _claims(session, claimed, now) if claimed else []


async def _due(
    session: AsyncSession, limit: int, full: list[str], now: datetime
) -> list[Operation]:
    due = select(Operation).where(Operation.due_at <= now, ~is_behind())
    due = due.where(Operation.account.not_in(full)).order_by(Operation.due_at, Operation.seq)
    due = due.limit(limit).with_for_update(skip_locked=True, of=Operation)
    return list((await session.execute(due)).scalars())


def _fitting(rows: Iterable[Operation], room: Room) -> tuple[list[Operation], Room]:
    running = dict(room.running)
    taken: list[Operation] = []
    for operation in rows:
        if running.get(operation.account, 0) < room.per_account:
            running[operation.account] = running.get(operation.account, 0) + 1
            taken.append(operation)
    return taken, Room(room.total - len(taken), room.per_account, running)


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


async def _claims(
    session: AsyncSession, taken: Sequence[tuple[Operation, datetime | None]], now: datetime
) -> list[Claim]:
    vm_ids = [operation.vm_id for operation, _ in taken]
    found = select(Server.vm_id, Server.server_id).where(Server.vm_id.in_(vm_ids))
    known = dict((await session.execute(found)).tuples().all())
    claims = [
        Claim(o, _job(o), o.lease_token or new_id(), o.server_id or known.get(o.vm_id), before)
        for o, before in taken
    ]
    started = [_started(c.operation, now) for c in claims if c.job is Job.PERFORM]
    if started:
        await say(session, *started)
    return claims


def _started(operation: Operation, now: datetime) -> Message[events.Started]:
    started = events.Started(
        command=operation.command, server_id=operation.server_id, attempt=operation.attempts
    )
    return about(operation, started, now)


def _prepare(operation: Operation) -> None:
    """A worker died in a create's call, and meanwhile the create was cancelled: undo it."""
    if operation.ended_at is None and operation.cancel_requested and operation.creates is not None:
        operation.compensating = True


def _job(operation: Operation) -> Job:
    if operation.ended_at is not None:
        return Job.CLEAR
    if operation.compensating:
        return Job.UNDO
    return Job.INQUIRE if operation.state == OperationState.WAITING else Job.PERFORM


async def held(session: AsyncSession, claim: Claim) -> Operation | None:
    """The row, locked; None if the lease is another one's by now: then write nothing."""
    mine = select(Operation).where(
        Operation.id == claim.operation.id, Operation.lease_token == claim.token
    )
    return (await session.execute(mine.with_for_update())).scalar_one_or_none()


async def renew(session: AsyncSession, tokens: Iterable[UUID], until: datetime) -> int:
    """Put off the end of the leases that are still held; how many are."""
    mine = update(Operation).where(Operation.lease_token.in_(list(tokens)))
    return await changed(session, mine.values(due_at=until))
