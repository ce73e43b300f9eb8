"""Who works on which operation: claims under a lease token, which every later write has to hold.

A VM's operations are worked on one after the other, in their order of arrival.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from uuid import UUID

from sqlalchemy import exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from chassis.database import changed
from chassis.ids import new_id
from chassis.outbox import say
from contracts.operation import events
from contracts.operation.states import OperationState
from contracts.vm.commands import Create
from services.provisioner.saying import about
from services.provisioner.tables import Operation, Server


class Job(Enum):
    """What there is to do for a claimed operation."""

    PERFORM = auto()
    UNDO = auto()
    INQUIRE = auto()


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
    claimed: list[Claim] = []
    left = room
    while left.total > 0:
        full = [account for account in left.running if left.of(account) <= 0]
        rows = await _due(session, left.total, full, now)
        taken, left = _fitting(rows, left)
        claimed += [await _take(session, operation, now, until) for operation in taken]
        if len(taken) == len(rows):
            break
    return claimed


async def _due(
    session: AsyncSession, limit: int, full: list[str], now: datetime
) -> list[Operation]:
    earlier = aliased(Operation)
    blocked = exists().where(
        earlier.vm_id == Operation.vm_id,
        earlier.seq < Operation.seq,
        earlier.ended_at.is_(None),
    )
    due = select(Operation).where(Operation.due_at <= now, ~blocked)
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


async def _take(
    session: AsyncSession, operation: Operation, now: datetime, until: datetime
) -> Claim:
    _prepare(operation)
    before = operation.asked_at
    job = _job(operation)
    operation.lease_token = token = new_id()
    operation.due_at = until
    if job is Job.PERFORM:
        operation.state = OperationState.RUNNING
        operation.attempts += 1
        operation.asked_at = before or now
        started = events.Started(
            command=operation.command, server_id=operation.server_id, attempt=operation.attempts
        )
        await say(session, about(operation, started, now))
    server = await session.get(Server, operation.vm_id)
    known = operation.server_id or (server.server_id if server else None)
    return Claim(operation, job, token, known, before)


def _prepare(operation: Operation) -> None:
    """A worker died in a create's call, and meanwhile the create was cancelled: undo it."""
    if operation.cancel_requested and operation.command == Create.wire_name():
        operation.compensating = True


def _job(operation: Operation) -> Job:
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
