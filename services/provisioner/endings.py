"""The three ways in which an operation ends: its row and what is said of it, in one transaction."""

import logging
from datetime import datetime
from typing import cast
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.telemetry import bound
from contracts.errors import MEANINGS, ErrorCode
from contracts.message import Event
from contracts.operation import events
from contracts.operation.states import OperationError, OperationState
from contracts.vm.commands import Delete
from services.provisioner import ledger
from services.provisioner.line import move_up
from services.provisioner.measures import count_ended
from services.provisioner.saying import speak, tell
from services.provisioner.stragglers import may_come, next_check
from services.provisioner.tables import Operation
from services.provisioner.unheard import DEAD_LETTER

LOG = logging.getLogger(__name__)
_NOT_KEPT = frozenset({"user_data", "sealed_user_data"})
"""What a command carried that nobody needs once it has ended, and that may hold secrets."""
_ENDED = "ended"


def succeed(session: AsyncSession, operation: Operation, now: datetime) -> None:
    """What was asked for is seen; of a delete: and nothing is left."""
    server_id, command = operation.server_id, operation.asks
    said: list[Event] = [events.Succeeded(command=operation.command, server_id=server_id)]
    if command.emits is not None:
        said.append(command.emits(server_id=server_id))
    if isinstance(command, Delete):
        ledger.none_left(session, operation.vm_id)
    operation.error = None
    _end(session, operation, OperationState.SUCCEEDED, now, *said)
    _look_after(operation, now)


def fail(
    session: AsyncSession,
    operation: Operation,
    error: OperationError,
    now: datetime,
    *,
    gone: bool = False,
) -> None:
    """It ended without; `gone`: nothing of a create is left in the cloud."""
    if gone:
        ledger.none_left(session, operation.vm_id)
    _fail(session, operation, error, now, gone=gone)
    if gone or not operation.compensating:
        _look_after(operation, now)


def abandon(
    session: AsyncSession, operation: Operation, error: OperationError, now: datetime
) -> None:
    """It was given up: whatever it made, or makes yet, stays and is looked for no more."""
    _fail(session, operation, error, now, gone=False)


def cancel(session: AsyncSession, operation: Operation, now: datetime) -> None:
    """It was ended on request; nothing of it is left."""
    cancelled = events.Cancelled(command=operation.command, server_id=operation.server_id)
    if operation.creates is not None:
        ledger.none_left(session, operation.vm_id)
    _end(session, operation, OperationState.CANCELLED, now, cancelled)
    _look_after(operation, now)


def unread(operation: Operation) -> OperationError:
    """Why an operation whose command cannot be read was not carried out; not what was in it."""
    if operation.blocked_on == DEAD_LETTER and operation.reason is not None:
        return operation.reason
    sentence = MEANINGS[ErrorCode.UNREADABLE].sentence
    return OperationError(code=ErrorCode.UNREADABLE, detail=f"{sentence} {operation.unreadable}")


async def conclude(session: AsyncSession, now: datetime) -> int:
    """What every transaction about operations owes at its end; how many are due because of it.

    Those behind the ones that ended move up, and all that was told is said.
    """
    vm_ids = cast("set[UUID]", session.info.pop(_ENDED, set[UUID]()))
    await session.flush()
    moved = await move_up(session, now, vm_ids) if vm_ids else 0
    await ledger.write(session, now)
    await speak(session)
    return moved


def _look_after(operation: Operation, now: datetime) -> None:
    operation.doubts = 0
    operation.due_at = next_check(0, now) if may_come(operation) else None


def _fail(
    session: AsyncSession, operation: Operation, error: OperationError, now: datetime, *, gone: bool
) -> None:
    operation.error = error.model_dump(mode="json")
    failed = events.Failed(
        command=operation.command, server_id=operation.server_id, error=error, gone=gone
    )
    _end(session, operation, OperationState.FAILED, now, failed)


def _end(
    session: AsyncSession,
    operation: Operation,
    state: OperationState,
    now: datetime,
    *said: Event,
) -> None:
    operation.state = state
    operation.ended_at = now
    operation.due_at = operation.lease_token = operation.blocked_on = None
    operation.data = {k: v for k, v in operation.data.items() if k not in _NOT_KEPT}
    for event in said:
        tell(session, operation, event, now)
    cast("set[UUID]", session.info.setdefault(_ENDED, set[UUID]())).add(operation.vm_id)
    count_ended(operation, now)
    with bound(**operation.ids):
        LOG.info("%s %s", operation.command, state)
