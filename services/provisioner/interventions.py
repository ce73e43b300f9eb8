"""What callers and operators may do to an operation that has not ended: cancel, retry, abandon.

Every function changes the row, which the caller holds locked, and tells what follows from it. Of
an operation that has ended nothing is changed, so that a late request does no harm.
"""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.errors import MEANINGS, ErrorCode
from contracts.operation.states import OperationError, OperationState
from services.provisioner import endings, undoing, unheard
from services.provisioner.settings import ProvisionerSettings
from services.provisioner.tables import Operation

_NOTHING_FAILED = OperationError(
    code=ErrorCode.STALLED, detail="An operator asked for another attempt; none has failed."
)


def cancel(
    session: AsyncSession, operation: Operation, now: datetime, rules: ProvisionerSettings
) -> None:
    """End what was never asked of the cloud, undo a create; withdraw the rest if it still can be.

    What may be on its way to the cloud ends as soon as it is known not to have got there; if the
    cloud has it, its outcome stands. The wish is kept in the row until then.
    """
    undone = operation.compensating and not operation.anew
    if operation.ended_at is not None or (undone and undoing.removes(operation)):
        return
    operation.cancel_requested = True
    if operation.state == OperationState.QUEUED and operation.asked_at is None and not undone:
        endings.cancel(session, operation, now)
    elif operation.creates is not None and operation.state != OperationState.RUNNING:
        undoing.compensate(operation, operation.reason if undone else None, now, rules)


def retry(
    session: AsyncSession, operation: Operation, now: datetime, rules: ProvisionerSettings
) -> None:
    """Another attempt now, and a whole deadline from now.

    While a worker is at it, or an earlier operation of the VM is, only the deadline moves. Of what
    waits for its effect the cloud is asked again, unless it is at it or has done it; that is the
    later word, also than a cancel which came when the cloud had it.
    """
    if operation.ended_at is not None:
        return
    if operation.unreadable:
        undoing.say_again(session, operation, endings.unread(operation), now)
        return
    undone = operation.compensating and not operation.anew
    operation.deadline_at = now + (rules.undo_limit if undone else operation.asks.deadline)
    if operation.state == OperationState.WAITING and not operation.leaving:
        operation.anew = True
        if operation.creates is None:
            operation.cancel_requested, operation.lease_token = False, None
    if operation.lease_token is None:
        _hasten(operation, now, rules)
    undoing.say_again(session, operation, operation.reason or _NOTHING_FAILED, now, moved=True)


def abandon(session: AsyncSession, operation: Operation, reason: str, now: datetime) -> None:
    """It fails now; a worker that is at it finds its lease gone, and the cloud is not asked."""
    if operation.ended_at is None:
        sentence = MEANINGS[ErrorCode.ABANDONED].sentence
        detail = f"{sentence} {reason}".strip()
        error = OperationError(code=ErrorCode.ABANDONED, detail=detail)
        endings.abandon(session, operation, error, now)


def give_up(session: AsyncSession, operation: Operation, reason: str, now: datetime) -> None:
    """It fails now, and never begins: its command has not come, and comes too late from now on."""
    if operation.ended_at is None:
        endings.abandon(session, operation, unheard.never_arrived(reason), now)


def _hasten(operation: Operation, now: datetime, rules: ProvisionerSettings) -> None:
    """A request that was not answered keeps the time to show, lest it be made twice."""
    operation.doubts = 0
    if operation.state == OperationState.WAITING:
        operation.due_at = now
        if operation.creates is None and not operation.leaving:
            operation.state = OperationState.QUEUED
    elif operation.due_at is not None:
        unanswered = operation.asked_at is not None and operation.server_id is None
        soonest = now + rules.settle if unanswered else now
        operation.due_at = min(operation.due_at, soonest)
