"""The sweep that ends what is overdue: one indexed query, however many operations wait."""

import logging
from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database, is_outage
from contracts.errors import MEANINGS, ErrorCode
from contracts.operation.states import OperationError, OperationState
from contracts.vm.commands import Import, Sync
from services.provisioner import endings, undoing
from services.provisioner.measures import UNENDED
from services.provisioner.settings import ProvisionerSettings
from services.provisioner.settling import Failed
from services.provisioner.tables import Operation, Server

LOG = logging.getLogger(__name__)
BATCH = 100


async def expire(database: Database, now: datetime, rules: ProvisionerSettings) -> int:
    """End what is overdue, or begin to undo it; how many operations are due because of that.

    What fails together is tried one by one: an operation that cannot be ended harms no other.
    """
    try:
        return await _expire_some(database, now, rules)
    except Exception as error:
        if is_outage(error):
            raise
        LOG.exception("overdue operations were not ended together; taking them one by one")
    async with database.reading() as session:
        overdue = select(Operation.seq).where(*_overdue_at(now)).order_by(Operation.deadline_at)
        seqs = (await session.execute(overdue)).scalars().all()
    return sum([await _expire_one(database, now, rules, seq) for seq in seqs])


async def _expire_one(
    database: Database, now: datetime, rules: ProvisionerSettings, seq: int
) -> int:
    try:
        return await _expire_some(database, now, rules, Operation.seq == seq)
    except Exception as error:
        if is_outage(error):
            raise
        UNENDED.inc()
        LOG.exception("the overdue operation in row %s cannot be ended", seq)
        return 0


async def _expire_some(
    database: Database, now: datetime, rules: ProvisionerSettings, *which: ColumnElement[bool]
) -> int:
    async with database.session() as session:
        overdue = (
            select(Operation)
            .where(*_overdue_at(now), *which)
            .order_by(Operation.deadline_at)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        )
        for operation in (await session.execute(overdue)).scalars().all():
            await _expire(session, operation, now, rules)
        return await endings.conclude(session, now)


def _overdue_at(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """What has passed its deadline and is in no worker's hands."""
    nobodys = Operation.lease_token.is_(None) | (Operation.due_at <= now)
    return Operation.ended_at.is_(None), Operation.deadline_at <= now, nobodys


async def _expire(
    session: AsyncSession, operation: Operation, now: datetime, rules: ProvisionerSettings
) -> None:
    """The deadline has passed, for the operation, for undoing it, or for what a delete leaves."""
    if operation.unreadable:
        endings.fail(session, operation, endings.unread(operation), now)
    elif operation.compensating:
        error = operation.reason or _error(ErrorCode.DEADLINE, "It could not be cancelled")
        detail = f"{error.detail} (What it made could not be removed in time.)"
        endings.fail(session, operation, _error(error.code, detail), now)
    elif operation.leaving:
        error = operation.reason or past(operation)
        detail = f"The server is gone; not all that belonged to it: {error.detail}"
        endings.fail(session, operation, _error(error.code, detail), now)
    elif _builds(operation):
        hangs = Failed(await _overdue(session, operation))
        undoing.failed(session, operation, hangs, now, rules)
    else:
        error = await _overdue(session, operation)
        maybe_made = operation.asked_at is not None
        undoing.give_up(session, operation, error, now, rules, maybe_made=maybe_made)


def _builds(operation: Operation) -> bool:
    """Whether it is a create that the cloud took: it hangs, as one that outlasts `build_timeout`."""
    taken = operation.state == OperationState.WAITING and operation.called_at is not None
    return taken and operation.creates is not None


async def _overdue(session: AsyncSession, operation: Operation) -> OperationError:
    """STALLED with what is seen where the cloud had taken the request, else DEADLINE."""
    asks_cloud = not isinstance(operation.asks, Sync | Import)
    if operation.state != OperationState.WAITING or operation.called_at is None or not asks_cloud:
        return past(operation)
    server = await session.get(Server, operation.vm_id)
    taken = f"The cloud took the request at {operation.called_at:%H:%M:%S} UTC"
    return _error(ErrorCode.STALLED, f"{taken}; {_shown(server)}")


def _shown(server: Server | None) -> str:
    if server is None:
        return "nothing was seen of the server since."
    task = f"the task {server.task!r}" if server.task else "no task"
    since = f" since {server.since:%Y-%m-%d %H:%M:%S} UTC" if server.since else ""
    return f"the server is {server.state} with {task}{since}."


def past(operation: Operation) -> OperationError:
    """The deadline, with what the last attempt said."""
    last = operation.reason
    sentence = MEANINGS[ErrorCode.DEADLINE].sentence
    detail = f"{sentence} The last attempt: {last.detail}" if last else sentence
    return _error(ErrorCode.DEADLINE, detail)


def _error(code: ErrorCode, detail: str) -> OperationError:
    return OperationError(code=code, detail=detail)
